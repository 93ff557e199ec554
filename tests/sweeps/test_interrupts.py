"""Ctrl-C and SIGTERM, once and again: the sweep ends with what it says, and leaves nothing unfinished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssm2edge
from ssm2edge.artifact.sweep import CellFigures, read_sweep
from ssm2edge.interrupts import interrupted_once
from ssm2edge.sweeps import request
from ssm2edge.sweeps.cells import Cell
from tests.command_line import call
from tests.model_directories import model_directory
from tests.sweeps import stub_cells

COMMAND = """
from ssm2edge.cli import main
from ssm2edge.sweeps import request
from tests.sweeps import stub_cells
request.run.__defaults__ = (stub_cells.unfinished,)
main()
"""


CALL = """
import sys
import ssm2edge
from ssm2edge.sweeps import request
from tests.sweeps import stub_cells
request.run.__defaults__ = (stub_cells.unfinished,)
ssm2edge.sweep(sys.argv[1], sys.argv[2], order=2, seeds=4, jobs=2)
"""


BETWEEN = """
import os
import signal
import time
from ssm2edge.cli import main
from ssm2edge.sweeps import request
from tests.sweeps import stub_cells

def work(cell, threads):
    if cell.given["seed"]:
        return stub_cells.unfinished(cell, threads)
    while not (cell.out / "runs").exists():
        time.sleep(0.05)
    return stub_cells.publish(cell)

class Counting(request.Counting):
    def ended(self, record):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().ended(record)

request.run.__defaults__ = (work,)
request.Counting = Counting
main()
"""


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


def test_the_second_ctrl_c_does_not_end_the_cleaning_up() -> None:
    cleaned = []

    def work() -> None:
        try:
            interrupt()
        finally:
            interrupt()
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), interrupted_once():
        work()
    interrupt()
    assert cleaned == [True]


def test_commands_that_end_leave_ctrl_c_as_it_was() -> None:
    with interrupted_once():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupted_once():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_interrupted_sweep_removes_what_its_workers_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(cell: Cell, threads: int) -> CellFigures:
        """End as a worker that is killed in the middle of a build."""
        (cell.place.parent / f".{cell.name}.staging-x").mkdir()
        for _ in range(3):
            interrupt()
        raise AssertionError("The first one ends it.")

    monkeypatch.setattr(request.run, "__defaults__", (killed,))
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    result = call("sweep", source, "--out", out, "--order", 2, "--engine", "here")
    assert result.exit_code == 130
    assert "nothing unfinished was left behind" in result.stderr
    assert not list(out.glob("cells/*/.*"))
    assert [cell.status for cell in read_sweep(out).cells] == ["open"]


def test_an_interrupted_call_keeps_its_finished_cells_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(cell: Cell, threads: int) -> CellFigures:
        """End as a person does who presses Ctrl-C in the second cell, and again while it is cleaned up."""
        if cell.given["seed"] == 0:
            return stub_cells.publish(cell)
        try:
            interrupt()
        finally:
            interrupt()
        raise AssertionError("The first one ends it.")

    monkeypatch.setattr(request.run, "__defaults__", (interrupted,))
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    with pytest.raises(KeyboardInterrupt, match=r"interrupted with 1 of 3 cells in .*; the same call goes on from them"):
        ssm2edge.sweep(source, out, order=2, seeds=3, engine="here")
    assert [cell.status for cell in read_sweep(out).cells] == ["done", "open", "open"]
    assert not list(out.glob("cells/*/.*"))
    # Ctrl-C has its way again.
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    monkeypatch.setattr(request.run, "__defaults__", (stub_cells.quick,))
    assert [cell.status for cell in ssm2edge.sweep(source, out, order=2, seeds=3, engine="here").cells] == ["done"] * 3
    assert len(stub_cells.runs(out)) == 2


@pytest.mark.slow
def test_ctrl_c_three_times_leaves_with_130_and_nothing_unfinished(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    options = ["--order", "2", "--seeds", "4", "--jobs", "2"]
    code, said = interrupted_thrice([COMMAND, "sweep", str(source), "--out", str(out), *options], out)
    assert code == 130
    assert said.strip().startswith("ssm2edge: interrupted; nothing unfinished was left behind")
    assert "Traceback" not in said
    assert not list(out.glob("cells/*/.*"))


@pytest.mark.slow
def test_a_terminated_sweep_ends_as_an_interrupted_one_and_its_workers_with_it(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    child = started([COMMAND, "sweep", str(source), "--out", str(out), "--order", "2", "--seeds", "4", "--jobs", "2"], out)
    # A supervisor ends the process that it began alone.
    child.terminate()
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.strip().startswith("ssm2edge: interrupted; nothing unfinished was left behind")
    assert not list(out.glob("cells/*/.*"))
    assert ends(child.pid)


@pytest.mark.slow
def test_a_sweep_terminated_while_it_counts_a_cell_ends_its_workers_and_says_one_sentence(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    options = ["--order", "2", "--seeds", "4", "--jobs", "2"]
    command = [sys.executable, "-c", BETWEEN, "sweep", str(source), "--out", str(out), *options]
    child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert said.strip().startswith("ssm2edge: interrupted; nothing unfinished was left behind")
    assert len(said.strip().splitlines()) == 1
    assert [cell.status for cell in read_sweep(out).cells].count("done") == 1
    assert not list(out.glob("cells/*/.*"))
    assert ends(child.pid)


@pytest.mark.slow
def test_ctrl_c_three_times_ends_a_call_with_one_sentence_and_nothing_unfinished(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    code, said = interrupted_thrice([CALL, str(source), str(out)], out)
    assert code != 0
    assert said.count("KeyboardInterrupt: The sweep was interrupted with 0 of 4 cells") == 1
    assert not list(out.glob("cells/*/.*"))


def lives(session: int) -> bool:
    """True while a process of a group is left."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def ends(session: int) -> bool:
    """True if the last process of a group ends soon."""
    limit = time.monotonic() + 30
    while lives(session) and time.monotonic() < limit:
        time.sleep(0.05)
    return not lives(session)


def started(command: list[str], out: Path) -> subprocess.Popen[str]:
    """Python in a session of its own, from where two cells run."""
    child = subprocess.Popen([sys.executable, "-c", *command], start_new_session=True, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (out / "runs").exists() or len((out / "runs").read_text().splitlines()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return child


def interrupted_thrice(command: list[str], out: Path) -> tuple[int, str]:
    """The exit code of Python, and what it said, after three presses of Ctrl-C while two cells ran."""
    child = started(command, out)
    for _ in range(3):
        os.killpg(child.pid, signal.SIGINT)
        time.sleep(0.2)
    _, said = child.communicate(timeout=60)
    return child.returncode, said
