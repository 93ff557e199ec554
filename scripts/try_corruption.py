"""Damage copies of every file of an artifact, and of the stage cache, and print how each is met.

    python scripts/try_corruption.py --copies 200

Every copy is damaged in one way: bytes flipped, cut, swapped, put in, zeros, or a header that claims far too much.  For half of
the copies of each file the manifest's hash tells; for the other half it is made to agree with the damage, as an attacker would so
that the readers behind it are met, too.  Half of what is flipped or claimed in archives lies inside a member, with checksums that
agree.  Each copy is used in a forked process under a limit of time and of memory.  A fault is a traceback, a signal, a hang, more
than one sentence, or an exit code other than 2, 1 (a check that fails by its name) and, where the damage means nothing (another
digit of a figure), 0.  A damaged file of the cache must end with the result that was kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ssm2edge.cache import FOLDER, Calibrations, Outputs, Reductions, Store
from ssm2edge.cli import main as command_line

PROCESSOR_SECONDS, SECONDS = 60, 600
"""What a use may take of the processor, and altogether on a machine that is busy with other things; more is a hang."""
MEMORY = 1 << 30
"""Bytes that a process may take beyond what it has when it is forked."""

FORMS: dict[str, Any] = {form.name: form for form in (Outputs(), Reductions(), Calibrations())}
Tried = tuple[Counter[str], list[str], float]
"""How often which exit code, the faults, and the slowest use in seconds."""
Damage = Callable[[bytes, random.Random], bytes]


ARCHIVE = b"PK\x03\x04"
"""What npz files begin with."""


def repacked(content: bytes, damage: Damage, generator: random.Random) -> bytes:
    """An archive whose own checksums agree with the damage in one of its members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = generator.choice(sorted(members))
    members[name] = damage(members[name], generator)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return written.getvalue()


def few_bytes(content: bytes, generator: random.Random) -> bytes:
    """One to eight bytes changed."""
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 8))):
        damaged[generator.randrange(len(damaged))] ^= generator.randrange(1, 256)
    return bytes(damaged)


def first_bytes(content: bytes, generator: random.Random) -> bytes:
    """Some of the first 400 bytes changed."""
    return few_bytes(content[:400], generator) + content[400:]


def flipped(content: bytes, generator: random.Random) -> bytes:
    """Bytes changed anywhere."""
    if content[:4] == ARCHIVE and generator.random() < 0.5:
        return repacked(content, few_bytes, generator)
    return few_bytes(content, generator)


def flipped_in_front(content: bytes, generator: random.Random) -> bytes:
    """A byte changed where headers are."""
    if content[:4] == ARCHIVE and generator.random() < 0.5:
        return repacked(content, first_bytes, generator)
    return first_bytes(content, generator)


def cut(content: bytes, generator: random.Random) -> bytes:
    """The end is missing."""
    return content[: generator.randrange(len(content))]


def swapped(content: bytes, generator: random.Random) -> bytes:
    """Two stretches change places."""
    a, b, c = sorted(generator.randrange(len(content) + 1) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def grown(content: bytes, generator: random.Random) -> bytes:
    """Bytes put in."""
    place = generator.randrange(len(content) + 1)
    return content[:place] + generator.randbytes(generator.choice((1, 50, 5000))) + content[place:]


def zeros(content: bytes, generator: random.Random) -> bytes:
    """A stretch of zeros."""
    start = generator.randrange(len(content))
    stop = min(len(content), start + generator.choice((4, 64, 4096)))
    return content[:start] + bytes(stop - start) + content[stop:]


def oversized(content: bytes, generator: random.Random) -> bytes:
    """A length, count or shape that claims far too much, in the manner of the file's format."""
    huge = generator.choice((1 << 31, 1 << 40, 1 << 62))
    if content[:4] == ARCHIVE:
        if generator.random() < 0.5:
            return repacked(content, lambda member, _: member.replace(b"'shape': (", b"'shape': (9999999, ", 1), generator)
        place = content.rfind(b"PK\x01\x02")
        return content[: place + 20] + (0xFFFFFFF0).to_bytes(4, "little") * 2 + content[place + 28 :]
    if content[:1] == b"{":
        text = generator.choice((b"[" * 100_000, b'{"schema":' + b"9" * 10_000 + b"}", b'"' + b"x" * 20_000_000 + b'"', b"1e999"))
        place = content.find(b":") + 1
        return text if generator.random() < 0.5 else content[:place] + text + content[place:]
    if content[:9] == b"<!doctype":
        return content + b"<p>" * 1_000_000
    if content[8:9] == b"{":
        return huge.to_bytes(8, "little") + content[8:]
    # ONNX is protocol buffers: a field of the model with a length beyond the file's end.
    length = bytearray()
    while huge >= 0x80:
        length.append(huge & 0x7F | 0x80)
        huge >>= 7
    length.append(huge)
    place = 0 if generator.random() < 0.5 else generator.randrange(len(content))
    return content[:place] + b"\x3a" + bytes(length) + content[place:]


DAMAGES: tuple[Damage, ...] = (flipped, flipped_in_front, cut, swapped, grown, zeros, oversized)


def used(call: Callable[[], tuple[int, str]]) -> tuple[str, int, float]:
    """How a forked process ends: what is wrong with it (nothing: empty), its exit code, and its seconds."""
    reading, writing = os.pipe()
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        os.close(reading)
        code, said = 99, ""
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
            signal.alarm(SECONDS)
            code, said = call()
        except BaseException:
            said = traceback.format_exc()
        with os.fdopen(writing, "w", errors="replace") as stream:
            stream.write(said[-4000:])
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    seconds = time.monotonic() - start
    if status in (-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL):
        return "hang", status, seconds
    if status < 0:
        return f"signal {-status}", status, seconds
    if "Traceback" in said or status not in (0, 1, 2):
        return f"exit code {status}: {said.strip().splitlines()[-1] if said.strip() else ''}", status, seconds
    if status == 2 and said.count("\n") != 1:
        return f"not one sentence: {said}", status, seconds
    if os.environ.get("SHOW"):
        print(status, said, file=sys.stderr)
    return "", status, seconds


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and errors of the command line."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            command_line.main(list(arguments), standalone_mode=True)
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return code, errors.getvalue() if code else ""


def use(directory: Path, page: bool, place: Path) -> tuple[str, int, float]:
    """Verify an artifact, or draw its page, in a process of its own."""
    arguments = ("report", str(directory), "--output", str(place / "page.html")) if page else ("verify", str(directory), "--json")
    return used(lambda: command(*arguments))


def agree(directory: Path, name: str) -> None:
    """Make the manifest agree with a damaged file."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    content = (directory / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    del manifest["seal"]
    path.write_text(json.dumps(manifest))


def try_file(directory: Path, name: str, copies: int, generator: random.Random, place: Path) -> Tried:
    """Use damaged copies of one file of an artifact."""
    content = (directory / name).read_bytes()
    codes: Counter[str] = Counter()
    faults, slowest = [], 0.0
    for turn in range(copies):
        damage = DAMAGES[turn // 2 % len(DAMAGES)]
        damaged = damage(content, generator)
        if damaged == content:
            continue
        copy = place / "copy"
        shutil.copytree(directory, copy)
        (copy / name).write_bytes(damaged)
        agreeing = turn % 2 == 1 and name != "manifest.json"
        if agreeing:
            agree(copy, name)
        fault, code, seconds = use(copy, name.startswith("report."), place)
        if not agreeing and name != "manifest.json" and code != 2:
            fault = fault or f"exit code {code} although the hash differs"
        if fault:
            faults.append(f"{damage.__name__}, {'agreeing' if agreeing else 'plain'}: {fault}")
        codes[str(code)] += 1
        slowest = max(slowest, seconds)
        shutil.rmtree(copy)
    return codes, faults, slowest


def try_entry(path: Path, copies: int, generator: random.Random, place: Path) -> Tried:
    """Read damaged copies of one file of the stage cache."""
    content = path.read_bytes()
    name, _, key = path.stem.partition("-")
    form = FORMS[name]

    def never() -> object:
        raise AssertionError("the whole file is not read")

    whole = Store(path.parent).kept(form, key, never)
    expected = _packed(form, whole)
    codes: Counter[str] = Counter()
    faults, slowest = [], 0.0
    for turn in range(copies):
        damage = DAMAGES[turn % len(DAMAGES)]
        damaged = damage(content, generator)
        folder = place / "cache"
        folder.mkdir()
        (folder / path.name).write_bytes(damaged)

        def read(folder: Path = folder) -> tuple[int, str]:
            found = Store(folder).kept(form, key, lambda: whole)
            return (0, "") if _packed(form, found) == expected else (3, "another result")

        fault, code, seconds = used(read)
        if fault or code:
            faults.append(f"{damage.__name__}: {fault}")
        codes[str(code)] += 1
        slowest = max(slowest, seconds)
        shutil.rmtree(folder)
    return codes, faults, slowest


def _packed(form: Any, value: object) -> tuple[object, dict[str, bytes]]:
    arrays, record = form.pack(value)
    return record, {name: array.tobytes() for name, array in arrays.items()}


@click.command()
@click.argument("source", default="models/sysid")
@click.option("--copies", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--order", default="4", show_default=True)
def main(source: str, copies: int, seed: int, order: str) -> None:
    """Build SOURCE, damage the artifact and the cache, and print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        options = ("--order", order, "--method", "balanced", "--calibrate", "spectrum")
        fault, code, _ = used(lambda: command("build", source, "--out", str(home / "build"), *options, "--json"))
        if code:
            sys.exit(f"The artifact cannot be built: {fault}")
        place = home / "copies"
        place.mkdir()
        for page in (False, True):
            fault, code, _ = use(home / "build", page, place)
            if fault or code:
                sys.exit(f"The whole artifact is refused: exit code {code} {fault}")
        print("| file | copies | exit code 2 | 1 | 0 | slowest | faults |")
        print("|---|---|---|---|---|---|---|")
        failed = 0
        names = sorted(path.name for path in (home / "build").iterdir())
        entries = sorted((home / FOLDER).glob("*.safetensors"))
        for path in [*(home / "build" / name for name in names), *entries]:
            generator = random.Random(f"{seed} {path.name}")
            if path in entries:
                codes, faults, slowest = try_entry(path, copies, generator, place)
                shown = f"cache: {path.name.partition('-')[0]}"
            else:
                codes, faults, slowest = try_file(home / "build", path.name, copies, generator, place)
                shown = path.name
            failed += len(faults)
            counts = " | ".join(str(codes[code]) for code in "210")
            print(f"| {shown} | {sum(codes.values())} | {counts} | {slowest:.1f} s | {len(faults)} |", flush=True)
            for fault in faults:
                print(f"  {shown}: {fault}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
