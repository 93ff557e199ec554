"""A reader of the output that has read enough ends a command quietly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from ssm2edge.cli.group import Commands
from tests.first_order import build


@pytest.mark.parametrize(("name", "code"), [("run", 0), ("verify", 141)])
def test_a_closed_pipe_ends_a_command_quietly(name: str, code: int) -> None:
    @click.command(name)
    def command() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    group = Commands(commands={name: command})
    found = CliRunner().invoke(group, [name])
    assert (found.exit_code, found.output) == (code, "")


@pytest.mark.slow
def test_the_first_answer_of_a_stream_can_be_read_alone(tmp_path: Path) -> None:
    directory = build(tmp_path / "artifact")
    np.save(tmp_path / "samples.npy", np.zeros((1, 20_000, 1), np.float32))
    arguments = ["run", str(directory), "--input", str(tmp_path / "samples.npy"), "--stream"]
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "ssm2edge.cli", *arguments], stdout=writer, stderr=subprocess.PIPE, env={**os.environ}
    )
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    _, errors = child.communicate(timeout=120)
    assert (child.returncode, errors) == (0, b"")
