"""docs/commands.md: every line in it runs, in its order, and every command and option has its place in it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ssm2edge.cli import main
from ssm2edge.options import TABLE
from tests.command_line import call

pytestmark = pytest.mark.usefixtures("brief_latencies")

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "commands.md"
LINES = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
REGRESSION = {"check": {0, 1, 3}}
"""Commands whose verdict depends on figures."""


@pytest.mark.slow
def test_every_line_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(LINES) > 10
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        program, *arguments = shlex.split(line)
        if program == "python":
            done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 0, (line, done.stderr)
        else:
            assert program == "ssm2edge"
            if arguments[0] == "build" or arguments[:2] == ["sweep", "mine"]:
                # What it shows does not depend on how long matching takes.
                arguments += ["--calibration-steps", "3", "--method", "balanced"]
            result = call(*arguments)
            assert result.exit_code in REGRESSION.get(arguments[0], {0}), (line, result.output)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_its_place(name: str) -> None:
    assert f"\n## {name}\n" in PAGE.read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_option_is_told_where_its_command_is(name: str) -> None:
    head = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    # Inspecting takes a SOURCE with the options that building has.
    told = head + section(name) + (section("build") if name in ("inspect", "sweep") else "")
    command = main.commands[name]
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    parameters = [parameter for one in (command, *inner) for parameter in one.params]
    options = {option for parameter in parameters for option in parameter.opts if option.startswith("--")}
    assert [option for option in sorted(options) if f"{option}`" not in told and f"{option} " not in told] == []


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_row_of_an_option_names_the_options_that_its_help_names(name: str) -> None:
    rows = [line for line in section("build").splitlines() if line.startswith("|") and f"`--{name.replace('_', '-')}" in line]
    named = set(re.findall(r"--[a-z-]+", TABLE[name].help))
    assert named <= set(re.findall(r"--[a-z-]+", " ".join(rows))), rows
    assert not any(" above " in row and " hold" in row for row in rows), "rows move"
