"""Damaged, tampered and hostile artifacts are refused in one sentence."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.artifact import ArtifactError, Reference, fingerprint, load_reference, open_artifact
from ssm2edge.runtime import GraphError, Model
from tests.first_order import build, reference
from tests.slow_cases import slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("whole") / "build")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def rewrite(directory: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the manifest as JSON."""
    path = directory / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    del value["seal"]  # one that is not sealed shows what else is checked
    path.write_text(json.dumps(value))


def test_whole_artifact_gives_its_files(copy: Path) -> None:
    artifact = open_artifact(str(copy))
    assert artifact.offline == copy / "offline.onnx"
    assert artifact.stream == copy / "stream.onnx"
    assert artifact.reference.samples == 12
    with pytest.raises(ArtifactError, match=r"report\.html"):
        artifact.path("report.html")


@pytest.mark.parametrize("name", ["offline.onnx", "stream.onnx", "reference.npz"])
@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "gone", "folder", "link"])
def test_damaged_files_are_named(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "longer":
        path.write_bytes(content + b"\0")
    elif damage == "changed":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "folder":
        path.mkdir()
    elif damage == "link":
        (copy.parent / "elsewhere").write_bytes(content)
        path.symlink_to(copy.parent / "elsewhere")
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        open_artifact(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "..", ".", "", "a\\b", ".hidden", "x" * 300, "nul\0"])
def test_names_cannot_leave_the_directory(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_bytes(b"x")
    record = fingerprint(copy.parent / "outside")

    def add(value: dict[str, object]) -> None:
        value["files"] = {**value["files"], name: {"sha256": record.sha256, "bytes": record.bytes}}  # type: ignore[dict-item]

    rewrite(copy, add)
    with pytest.raises(ArtifactError, match="plain file name"):
        open_artifact(copy)


@pytest.mark.parametrize("name", ["offline.onnx", "stream.onnx", "reference.npz"])
def test_needed_files_must_be_listed(copy: Path, name: str) -> None:
    rewrite(copy, lambda value: value["files"].pop(name))  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match=f"does not list {name}"):
        open_artifact(copy)


def test_places_without_an_artifact_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a directory"):
        open_artifact(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        open_artifact(tmp_path)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_artifact(tmp_path)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("manifest.json", "offline.onnx"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        open_artifact(tmp_path)
    for place in (tmp_path, tmp_path / "offline.onnx"):
        with pytest.raises(GraphError, match=r"offline\.onnx cannot be read"):
            Model(place)


def test_endless_manifest_is_not_read(copy: Path) -> None:
    with (copy / "manifest.json").open("ab") as stream:
        os.truncate(stream.fileno(), 1 << 40)
    with pytest.raises(ArtifactError, match="larger than"):
        open_artifact(copy)


def refusal(directory: Path) -> str | None:
    """What is said on opening an artifact; None if it opens."""
    try:
        open_artifact(directory)
    except ArtifactError as fault:
        return str(fault)
    return None


@pytest.mark.parametrize("name", ["manifest.json", slow("offline.onnx"), slow("stream.onnx"), slow("reference.npz")])
def test_two_hundred_corrupted_copies_are_refused(copy: Path, name: str) -> None:
    path = copy / name
    content = path.read_bytes()
    generator = np.random.default_rng(len(name))
    for turn in range(200):
        damaged = bytearray(content)
        start, stop = sorted(int(place) for place in generator.integers(0, len(content), 2))
        kind = turn % 4
        if kind == 0:
            damaged[start] ^= int(generator.integers(1, 256))
        elif kind == 1:
            del damaged[stop:]
        elif kind == 2:
            damaged[start:stop] = damaged[start:stop][::-1]
        else:
            damaged[start:start] = generator.bytes(50)
        if bytes(damaged) == content:
            continue
        path.write_bytes(damaged)
        sentence = refusal(copy)
        if sentence is None:
            assert name == "manifest.json"
            assert json.loads(damaged) == json.loads(content), "only white space may change unnoticed"
        else:
            assert "\n" not in sentence


def save_archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(value: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value))
    return stream.getvalue()


def test_reference_pack_read_back_is_the_same_and_its_bytes_are_fixed(tmp_path: Path) -> None:
    pack = reference(True)
    contents = []
    for _ in range(2):
        pack.save(tmp_path)
        contents.append((tmp_path / "reference.npz").read_bytes())
    assert contents[0] == contents[1]
    back = load_reference(tmp_path / "reference.npz")
    np.testing.assert_array_equal(back.inputs["u"], pack.inputs["u"])
    np.testing.assert_array_equal(back.reduced["output"], pack.reduced["output"])
    np.testing.assert_array_equal(back.original["output"], pack.original["output"])
    np.testing.assert_array_equal(back.labels["output"], pack.labels["output"])
    # Anyone can read it with numpy alone.
    with np.load(tmp_path / "reference.npz") as plain:
        assert sorted(plain) == ["inputs.u", "labels", "original.output", "reduced.output"]


# A header of 128 bytes that announces four tebibytes.
HUGE = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}".ljust(117) + b"\n"


@pytest.mark.parametrize(
    "members",
    [
        {"inputs.u.npy": HUGE},
        {"inputs.u.npy": npy(np.zeros(3))[:-4]},
        {"inputs.u.npy": npy(np.zeros(3)) + b"\0\0\0\0"},
        {"inputs.u.npy": b""},
        {"inputs.u.npy": npy(["text"])},
        {"elsewhere.u.npy": npy(np.zeros(3))},
        {"../inputs.u.npy": npy(np.zeros(3))},
        {},
    ],
)
def test_hostile_reference_packs_are_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(ArtifactError):
        load_reference(save_archive(tmp_path / "reference.npz", members))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "reference.npz", **{"inputs.u": np.array([Trap()], dtype=object)})
    with pytest.raises(ArtifactError):
        load_reference(tmp_path / "reference.npz")
    assert not (tmp_path / "sprung").exists()


def test_sample_counts_must_agree() -> None:
    pack = reference(True)
    for change in (
        {"labels": {name: value[:-1] for name, value in pack.labels.items()}},
        {"original": {"output": pack.original["output"][1:]}},
        {"reduced": {}},
        {"inputs": {}},
        {"original": {"other": pack.original["output"]}},
    ):
        arguments = {"inputs": pack.inputs, "original": pack.original, "reduced": pack.reduced, "labels": pack.labels} | change
        with pytest.raises(ArtifactError):
            Reference(**arguments)
