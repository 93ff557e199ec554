"""The RAM that the emitter says is what a compiler makes of the structs, and the stack that is allowed for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.firmware.front_end import log_mel
from ssm2edge.firmware.ram import STACK, ram_bytes, struct_size
from ssm2edge.firmware.sources import Names, write_header
from tests.firmware.test_distributing import SIZES, joined_states
from tests.streaming_graphs import needs_compiler, step_of

FRAMES = LogMel(16_000, 399, 160, sum(SIZES))


@needs_compiler
@pytest.mark.parametrize("sound", [None, FRAMES])
def test_a_compiler_makes_structs_of_the_same_size(sound: LogMel | None, tmp_path: Path) -> None:
    step = step_of(joined_states(tmp_path / "stream.onnx"))
    names = Names.of(step, "tiny")
    header = write_header(step, names, (), None if sound is None else log_mel(sound, step, names))
    (tmp_path / "tiny.h").write_text(header)
    kind = "tiny_stream" if sound is None else "tiny_sound"
    size = struct_size(step, sound)
    samples = 4 * FRAMES.mels if sound is None else 2 * sound.hop
    assert ram_bytes(step, sound) == size + samples + 4 * sum(SIZES) + STACK
    program = f'#include "tiny.h"\nint main(void) {{ return sizeof({kind}) == {size} ? 0 : 1; }}\n'
    (tmp_path / "main.c").write_text(program)
    subprocess.run(["cc", "main.c", "-o", "main"], cwd=tmp_path, check=True)
    assert subprocess.run([str(tmp_path / "main")], check=False).returncode == 0
