"""The C form of an artifact against its stream.onnx: references, probes and a long stream, on the host or an emulated core."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Artifact, DeviceRecord, Reference
from ssm2edge.audio.log_mel import LogMel
from ssm2edge.firmware.comparing import blocks_of, largest_error, run_stream
from ssm2edge.firmware.cortex import BOARDS, CortexRun, run_on_cortex
from ssm2edge.firmware.driver import Array, Blocks, Program, sound_program, step_program
from ssm2edge.firmware.host import HostRun, run_on_host
from ssm2edge.firmware.node import hear_in_node, run_in_node
from ssm2edge.firmware.package import Firmware, firmware_of
from ssm2edge.firmware.sources import struct_bytes
from ssm2edge.firmware.web_package import web_files
from ssm2edge.options import bytes_of
from ssm2edge.verification import Check, Verdict
from ssm2edge.verification.check import within
from ssm2edge.verification.subject import LIMITS

HOST, WEB = "c", "web"
TARGETS = (HOST, *BOARDS, WEB)
"""Targets by name: the host's compiler, emulated processors, and WebAssembly in Node."""
LIMIT = 1e-5
"""Largest error of a long stream, relative to the largest magnitude of an output."""
SHORT_LIMIT = LIMITS.streaming
"""The same of references, probes and sounds: that between the two graphs."""
LONG = 100_000
"""Samples of the long stream on the host."""
EMULATED_SAMPLES = 4_000
"""Samples of each group on an emulated core, which is a thousand times slower than the host."""
TIMED = 20_000
"""Steps of a timed run."""
FRAMES = 200
"""Frames of the sound that goes through a front end."""

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class TargetVerdict:
    """Checks of a target, and its figures."""

    verdict: Verdict
    record: DeviceRecord


def verify_target(artifact: Artifact, target: str, progress: Callable[[str], None] | None = None) -> TargetVerdict:
    """Compile the C form of an artifact for a target, run it, and compare it with stream.onnx in onnxruntime.

    The figures are those of the model with its front end, if it has one; the time on the host is that of a step alone.

    Parameters
    ----------
    artifact
        The artifact.
    target
        One of `TARGETS`.
    progress
        Called with the name of each part.

    Raises
    ------
    FirmwareError
        If there is no C form, or a tool is missing or fails.
    """
    report = progress or (lambda name: None)
    firmware = firmware_of(artifact)
    assert artifact.stream is not None
    groups = _groups(artifact, firmware, target)
    sequences = [sequence for group in groups.values() for sequence in group]
    report("onnxruntime")
    expected = run_stream(artifact.stream, sequences)
    report(target)
    program = step_program(firmware.step, firmware.names)
    files = web_files(artifact, firmware.names.model) if target == WEB else {}
    run = _run_web(files, program, sequences) if target == WEB else _run(program, target, sequences)
    checks, start = list[Check](), 0
    samples, block = sum(len(next(iter(part.values()))) for part in sequences), firmware.step.signature.block or 1
    for group, parts in groups.items():
        stop = start + len(parts)
        error = largest_error(run.outputs[start:stop], expected[start:stop])
        count = sum(len(next(iter(part.values()))) for part in parts) * block
        runs = f"{len(parts)} run{'s' * (len(parts) > 1)}"
        detail = f"{count:,} samples in {runs} in blocks of {block}, against stream.onnx in onnxruntime"
        checks.append(within(f"{target}.{group}", error, LIMIT if group == "long" else SHORT_LIMIT, detail))
        start = stop
    whole = run
    if firmware.sound is not None:
        report(f"{target}.sound")
        if target == WEB:
            checks.append(_hear_web(artifact.stream, firmware, firmware.sound, files))
        else:
            found, whole = _hear(artifact.stream, firmware, firmware.sound, target)
            checks.append(found)
    worst = max((check.figure for check in checks if check.figure is not None), default=0.0)
    limit = bytes_of(artifact.manifest.options.get("max_ram"))
    if isinstance(whole, CortexRun) and limit is not None:
        checks.append(within("budget.ram", float(whole.ram), float(limit), f"bytes of RAM with stack, measured on {target}"))
    digest = artifact.manifest.files["stream.onnx"].sha256
    ram = struct_bytes(firmware.step)
    record = (
        DeviceRecord(worst, samples * block, None, ram, None, None, run.seconds, run.compiler, None, digest)
        if isinstance(run, HostRun)
        else _emulated(worst, samples * block, whole, digest)
    )
    return TargetVerdict(Verdict(tuple(checks)), record)


def _run(program: Program, target: str, sequences: Sequence[Blocks]) -> HostRun | CortexRun:
    with tempfile.TemporaryDirectory() as folder:
        if target == HOST:
            return run_on_host(program, sequences, Path(folder), turns=TIMED)
        return run_on_cortex(program, target, sequences, Path(folder))


def _run_web(files: Files, program: Program, sequences: Sequence[Blocks]) -> HostRun:
    with tempfile.TemporaryDirectory() as folder:
        return run_in_node(files, program, sequences, Path(folder))


def _emulated(error: float, samples: int, run: HostRun | CortexRun, digest: str) -> DeviceRecord:
    assert isinstance(run, CortexRun)
    figures = (run.flash, run.ram, run.stack, run.instructions)
    return DeviceRecord(error, samples, *figures, None, f"arm-none-eabi-gcc {run.compiler}", run.emulator, digest)


def _hear(stream: Path, firmware: Firmware, sound: LogMel, target: str) -> tuple[Check, HostRun | CortexRun]:
    """Compare answers to samples of a microphone with those to the front end's frames."""
    hop = sound.hop
    samples = _sound(sound)
    expected = _heard(stream, firmware, sound, samples)
    program = sound_program(firmware.step, firmware.names, sound)
    run = _run(program, target, [{"samples": samples.reshape(-1, hop)}])
    first = -(-sound.window // hop) - 1
    count = min(len(next(iter(expected.values()))), len(samples) // hop - first)
    found = {name: value[first : first + count] for name, value in run.outputs[0].items()}
    return _sounds(target, samples, found, {name: value[:count] for name, value in expected.items()}), run


def _hear_web(stream: Path, firmware: Firmware, sound: LogMel, files: Files) -> Check:
    samples = _sound(sound)
    expected = _heard(stream, firmware, sound, samples)
    program = step_program(firmware.step, firmware.names)
    with tempfile.TemporaryDirectory() as folder:
        found = hear_in_node(files, program, samples / 32768, Path(folder))
    return _sounds(WEB, samples, found, expected)


def _sound(front_end: LogMel) -> Array:
    """Return 16-bit samples: a rising tone, noise and silence."""
    hop, calls = front_end.hop, FRAMES + -(-front_end.window // front_end.hop)
    time = np.arange(calls * hop) / front_end.sample_rate
    loudness = np.where(np.arange(len(time)) % (40 * hop) < 30 * hop, 0.3, 0.0)
    tone = np.sin(2 * np.pi * 0.2 * front_end.sample_rate * time**2 / time[-1])
    noise = np.random.default_rng(0).standard_normal(len(time))
    samples: Array = np.clip((loudness * tone + 0.05 * loudness * noise) * 32768, -32768, 32767).astype(np.int16)
    return samples


def _heard(stream: Path, firmware: Firmware, front_end: LogMel, samples: Array) -> Mapping[str, Array]:
    frames = front_end.frames(samples.astype(np.float32) / 32768)
    (expected,) = run_stream(stream, [{firmware.step.inputs[0].name: frames}])
    return expected


def _sounds(target: str, samples: Array, found: Mapping[str, Array], expected: Mapping[str, Array]) -> Check:
    detail = f"{len(samples):,} samples of a microphone, against the front end and stream.onnx in onnxruntime"
    return within(f"{target}.sound", largest_error([found], [expected]), SHORT_LIMIT, detail)


def _groups(artifact: Artifact, firmware: Firmware, target: str) -> dict[str, list[Blocks]]:
    """Return references, probes and one long stream, in blocks; on an emulated core fewer samples of each."""
    most = EMULATED_SAMPLES if target in BOARDS else None
    groups = {"references": _blocks(firmware, artifact.reference, most)}
    if artifact.probes is not None:
        groups["probes"] = _blocks(firmware, artifact.probes, most)
    groups["long"] = [long_stream(firmware, artifact.reference, most or LONG)]
    return {name: [part for part in parts if len(next(iter(part.values())))] for name, parts in groups.items()}


def _blocks(firmware: Firmware, reference: Reference, most: int | None) -> list[Blocks]:
    signature, found, total = firmware.step.signature, list[Blocks](), 0
    block = signature.block or 1
    for row in range(len(next(iter(reference.inputs.values())))):
        inputs = {name: value[row : row + 1] for name, value in reference.inputs.items()}
        part = blocks_of(inputs, signature.inputs, block)
        if most is not None:
            part = {name: value[: max(1, (most - total) // block)] for name, value in part.items()}
        found.append(part)
        total += len(next(iter(part.values()))) * block
        if most is not None and total >= most:
            break
    return found


def long_stream(firmware: Firmware, reference: Reference, samples: int) -> Blocks:
    """Return held-out sequences one after the other, again and again, as one stream."""
    signature = firmware.step.signature
    rows = _blocks(firmware, reference, samples)
    joined = {port.name: np.concatenate([row[port.name] for row in rows]) for port in signature.inputs}
    count = samples // (signature.block or 1)
    return {name: np.resize(value, (count, value.shape[1])) for name, value in joined.items()}
