"""Picking: the smallest cell that is shown to hold, chosen on samples that do not judge it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ssm2edge
from ssm2edge.artifact.sweep import CellRecord, SweepRecord, read_sweep
from ssm2edge.errors import UserError, VerificationError
from ssm2edge.sweeps import picking
from ssm2edge.sweeps.figures import figures_of
from ssm2edge.sweeps.picking import Candidate, Limits, by_drop, fitting, ladders, of_model
from ssm2edge.sweeps.result import Sweep
from ssm2edge.sweeps.writing import write_sweep
from ssm2edge.verification.paired import Evidence, lost_answers
from tests.command_line import call
from tests.model_directories import Built
from tests.sweeps.sweep_records import cell, many


class Known(Candidate):
    """A candidate whose answers are known to be right or wrong."""

    def __init__(self, record: CellRecord, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> None:
        assert record.figures is not None
        super().__init__(record, record.figures, Path("."), 0)
        object.__setattr__(self, "before", before)
        object.__setattr__(self, "after", after)

    @property
    def parts(self) -> Any:
        half = len(self.before) // 2  # type: ignore[attr-defined]
        return list(range(half)), list(range(half, 2 * half))

    def evidence(self, rows: Any, confidence: float) -> Evidence:
        return lost_answers(self.before[rows], self.after[rows], confidence)  # type: ignore[attr-defined]

    def check(self, limit: float, confidence: float) -> None:
        pass


def known(order: int, loss: float, method: str = "gradient", samples: int = 4000, seed: int = 0) -> Known:
    """A cell that loses so many points, up to chance."""
    generator = np.random.default_rng([seed, order, len(method)])
    before = np.ones(samples, bool)
    return Known(cell("digits", "accuracy", order, method, "float32"), before, generator.random(samples) >= loss / 100)


def test_the_smallest_that_is_shown_to_hold_is_picked() -> None:
    candidates = [known(order, loss) for order, loss in ((32, 0.0), (16, 0.1), (8, 0.1), (4, 0.2), (2, 3.0), (1, 20.0))]
    found = by_drop(candidates, Limits(max_drop=1.0))
    assert found.candidate.record.options["order"] == 4
    assert found.shown is not None
    assert found.shown.loss <= found.shown.bound <= 1.0


def test_ladders_are_cells_that_differ_in_size_alone() -> None:
    candidates = [known(order, 0.0, method) for order in (2, 8, 4) for method in ("gradient", "modal")]
    found = ladders(candidates)
    assert [[one.record.options["order"] for one in ladder] for ladder in found] == [[2, 4, 8]] * 2
    assert [{one.record.options["method"] for one in ladder} for ladder in found] == [{"gradient"}, {"modal"}]


def test_the_smallest_of_all_ladders_is_picked() -> None:
    good = [known(order, 0.1, "gradient") for order in (2, 4, 8)]
    bad = [known(order, 8.0, "modal") for order in (1, 2, 4)]
    assert by_drop([*bad, *good], Limits(max_drop=1.0)).candidate is good[0]


def test_what_is_picked_holds_as_often_as_asked_for() -> None:
    """Three ladders of cells that all lose a little more than the limit: to pick any is a mistake."""
    mistakes, trials = 0, 60
    for trial in range(trials):
        every = [known(o, 1.05, m, 2000, trial) for o in (2, 4, 8) for m in ("gradient", "modal", "balanced")]
        try:
            by_drop(every, Limits(max_drop=1.0, confidence=0.9))
            mistakes += 1
        except UserError:
            pass
    # One in ten, and three standard deviations of chance.
    assert mistakes <= trials * 0.1 + 3 * (trials * 0.09) ** 0.5


def test_nothing_is_picked_that_is_not_shown_to_hold() -> None:
    with pytest.raises(UserError, match=r"No cell is shown to lose at most 0\.5 points on the 2,000 samples"):
        by_drop([known(order, 2.0) for order in (4, 8)], Limits(max_drop=0.5))


def test_limits_on_bytes_are_held_by_all_that_are_left() -> None:
    candidates = of_model(Path("."), many(), "digits", 0)
    left = fitting(candidates, Limits(max_bytes="40k"))
    assert 0 < len(left) < len(candidates)
    assert {one.record.name for one in left} == {one.record.name for one in candidates if one.figures.bytes <= 40960}


@pytest.mark.parametrize(
    ("limits", "model", "word"),
    [(Limits(), "digits", "max-drop"), (Limits(max_drop=1), None, "--model"), (Limits(max_drop=1), "other", "no model other"),
     (Limits(max_bytes=10), "digits", "smallest has"), (Limits(max_ram=10), "digits", "RAM"),
     (Limits(max_drop=-1), "digits", "largest drop"), (Limits(max_drop=1, confidence=1), "digits", "confidence")],
)  # fmt: skip
def test_a_request_that_means_nothing_is_refused(tmp_path: Path, limits: Limits, model: str | None, word: str) -> None:
    with pytest.raises(UserError, match=word):
        picking.pick(tmp_path, many(), tmp_path / "out", limits, model, False)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def swept(tmp_path: Path, tiny_build: Built) -> Path:
    """A sweep of one cell, whose artifact is real."""
    directory = tmp_path / "sweep"
    artifact = ssm2edge.open(tiny_build.out)
    record = dataclasses.replace(
        cell("tiny", "accuracy", 6, "gradient", "float32"), figures=figures_of(tiny_build.out, artifact.manifest)
    )
    shutil.copytree(tiny_build.out, directory / record.directory)
    write_sweep(directory, SweepRecord({}, ("tiny",), {"order": [6]}, (record,)))
    return directory


def test_a_copy_is_the_artifact_and_the_choice_is_recorded(swept: Path, tmp_path: Path) -> None:
    found = Sweep.open(swept).pick(tmp_path / "chosen", max_drop=90)
    original = swept / Sweep.open(swept).cells[0].directory
    assert {file.name: file.read_bytes() for file in found.directory.iterdir()} == {
        file.name: file.read_bytes() for file in original.iterdir()
    }
    choice = read_sweep(swept).chosen
    assert choice is not None
    assert (choice.name, choice.choosing, choice.judging) == ("order-6-gradient-float32", 8, 8)
    assert '"chosen":{"name":"order-6-gradient-float32"' in (swept / "sweep.html").read_text()
    with pytest.raises(ssm2edge.Error, match="exists already"):
        Sweep.open(swept).pick(tmp_path / "chosen", max_drop=90)


def test_samples_that_choose_do_not_judge(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    evidence = Candidate.evidence

    def noted(self: Candidate, rows: Any, confidence: float) -> Evidence:
        asked.append(set(rows))
        return evidence(self, rows, confidence)

    monkeypatch.setattr(Candidate, "evidence", noted)
    Sweep.open(swept).pick(tmp_path / "chosen", max_drop=90)
    *choosing, judging = asked
    assert choosing
    assert all(rows == choosing[0] for rows in choosing)
    assert judging.isdisjoint(choosing[0])
    assert judging | choosing[0] == set(range(16))


def test_a_choice_that_does_not_hold_on_the_judging_part_is_not_copied(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Evidence(95.0, 99.0, 8)
    judging = set(ladders(of_model(swept, read_sweep(swept), None, 0))[0][0].parts[1])
    evidence = Candidate.evidence
    monkeypatch.setattr(Candidate, "evidence", lambda s, rows, c: judged if set(rows) == judging else evidence(s, rows, c))
    with pytest.raises(VerificationError, match="more than 90"):
        Sweep.open(swept).pick(tmp_path / "chosen", max_drop=90)
    assert not (tmp_path / "chosen").exists()
    assert call("sweep", "pick", swept, "--max-drop", 90, "--out", tmp_path / "chosen").exit_code == 1


def test_a_damaged_artifact_is_not_picked(swept: Path, tmp_path: Path) -> None:
    graph = swept / Sweep.open(swept).cells[0].directory / "offline.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(ssm2edge.Error, match=r"offline\.onnx"):
        Sweep.open(swept).pick(tmp_path / "chosen", max_bytes="1M")
    assert not (tmp_path / "chosen").exists()


def test_the_command_says_what_was_picked(swept: Path, tmp_path: Path) -> None:
    result = call("sweep", "pick", swept, "--max-bytes", "1M", "--out", tmp_path / "chosen")
    assert result.exit_code == 0, result.output
    assert re.search(r"Picked order-6-gradient-float32: on 8 other samples it loses -?\d+\.\d\d points\.\n", result.stdout)
    assert call("sweep", "pick", tmp_path / "none", "--max-drop", 1, "--out", tmp_path / "b").exit_code == 2


def test_without_labels_limits_that_need_none_are_named(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = dataclasses.replace(Candidate(*_first(swept)).artifact.reference, labels={})
    monkeypatch.setattr("ssm2edge.artifact.Artifact.reference", property(lambda _: reference))
    result = call("sweep", "pick", swept, "--max-drop", 1, "--out", tmp_path / "chosen")
    assert result.exit_code == 2
    assert "--max-bytes or --max-ram" in result.stderr
    assert "--max-error" not in result.stderr


def _first(swept: Path) -> tuple[CellRecord, Any, Path, int]:
    (found, *_) = of_model(swept, read_sweep(swept), None, 0)
    return found.record, found.figures, found.place, found.seed
