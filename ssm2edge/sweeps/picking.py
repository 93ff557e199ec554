"""The artifact of a sweep that holds some limits: chosen on a part of the held-out samples and judged on the other.

Cells that differ in their size alone stand on a ladder, and the search on each ladder is that of ``--max-drop``
(`ssm2edge.orders.selection`): a sequence that is fixed beforehand, each step at the whole confidence.  Ladders share the
probability of a mistake.  No label of the judging part is seen before the choice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ssm2edge.artifact import Artifact, open_artifact, staging
from ssm2edge.artifact.manifest import NAME as MANIFEST
from ssm2edge.artifact.sweep import CellFigures, CellRecord, ChoiceRecord, SweepRecord
from ssm2edge.errors import UserError, VerificationError
from ssm2edge.options import SIZES, bytes_of
from ssm2edge.orders.judging import Answers, check_judgeable, drop_shown
from ssm2edge.orders.selection import Selection, select, start_of
from ssm2edge.stages.choosing import FEWEST, halves
from ssm2edge.verification import Subject, Verdict
from ssm2edge.verification.check import Check
from ssm2edge.verification.paired import Evidence

Rows = Sequence[int]


@dataclass(frozen=True)
class Limits:
    """Limits of an artifact.

    Attributes
    ----------
    max_drop
        Points of the metric, shown with the confidence.
    max_bytes
        Of the largest graph.
    max_ram
        Bytes of RAM of the stream as C.
    confidence
        Probability with which the drop holds beyond the samples.
    seed
        Draws the samples that choose.
    """

    max_drop: float | None = None
    max_bytes: int | str | None = None
    max_ram: int | str | None = None
    confidence: float = 0.95
    seed: int = 0

    @property
    def asked(self) -> dict[str, float]:
        """The limits that there are, in numbers."""
        found = {"max_drop": self.max_drop, "max_bytes": bytes_of(self.max_bytes), "max_ram": bytes_of(self.max_ram)}
        return {name: float(value) for name, value in found.items() if value is not None}

    def check(self) -> None:
        """Refuse limits that say nothing.

        Raises
        ------
        UserError
            If there are none, or the confidence or the drop is out of range.
        """
        if not self.asked:
            raise UserError("Say what the artifact must hold: --max-drop, --max-bytes or --max-ram.")
        if self.max_drop is not None and not 0 <= self.max_drop < float("inf"):
            raise UserError(f"A largest drop of {self.max_drop:g} cannot be held; give a number of at least 0.")
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"A confidence of {self.confidence:g} shows nothing; give one from 0.5 to below 1, such as 0.95.")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cell whose artifact may be picked.

    Attributes
    ----------
    record, figures
        Of the cell.
    place
        Of its artifact.
    seed
        Draws the samples that choose.
    """

    record: CellRecord
    figures: CellFigures
    place: Path
    seed: int

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact, whose files are whole."""
        return open_artifact(self.place)

    @cached_property
    def parts(self) -> tuple[Rows, Rows]:
        """Places of the samples that choose, and of those that judge."""
        choosing, judging = halves(self.artifact.reference.samples, self.seed)
        return choosing.tolist(), judging.tolist()

    @cached_property
    def _answers(self) -> Answers:
        return Subject.of(self.artifact).outputs

    def evidence(self, rows: Rows, confidence: float) -> Evidence:
        """Return what some samples show of the drop."""
        reference = self.artifact.reference
        labels, before, after = (
            {name: values[name][list(rows)] for name in reference.labels}
            for values in (reference.labels, reference.original, self._answers)
        )
        return drop_shown(labels, before, after, confidence)

    def check(self, limit: float, confidence: float) -> None:
        """Refuse samples that could show no drop to be small enough."""
        reference = self.artifact.reference
        if reference.labels and reference.samples < FEWEST:
            raise UserError(f"Half of {reference.samples} held-out samples cannot choose; give at least {FEWEST}.")
        choosing = list(self.parts[0])
        labels, original = (
            {name: values[name][choosing] for name in reference.labels} for values in (reference.labels, reference.original)
        )
        check_judgeable(labels, original, limit, confidence, "--max-bytes or --max-ram")


@dataclass(frozen=True)
class Found:
    """A choice, the number of cells that samples were asked about, and what they show of it."""

    candidate: Candidate
    compared: int
    shown: Evidence | None = None


def pick(directory: Path, sweep: SweepRecord, out: Path, limits: Limits, model: str | None, force: bool) -> ChoiceRecord:
    """Copy the artifact that holds the limits, and return the choice.

    Parameters
    ----------
    directory, sweep
        The sweep and its record.
    out
        Directory to make.
    limits
        To be held.
    model
        Short name of the model; None if there is one.
    force
        Replace an artifact that is there.

    Raises
    ------
    UserError
        If no cell fits, or none is shown to lose as little as asked for; the sentence says what could be had.
    VerificationError
        If the choice does not hold on the samples that judge; nothing is copied then.
    """
    limits.check()
    candidates = fitting(of_model(directory, sweep, model, limits.seed), limits)
    found = by_drop(candidates, limits) if limits.max_drop is not None else by_loss(candidates)
    chosen = found.candidate
    choosing, judging = chosen.parts
    labelled = bool(chosen.artifact.reference.labels)
    judged = chosen.evidence(judging, limits.confidence).loss if labelled else None
    if limits.max_drop is not None and judged is not None and judged > limits.max_drop:
        sentence = (
            f"{chosen.record.name} loses {judged:.2f} points on the {len(judging):,} samples that judge, more than "
            f"{limits.max_drop:g}; ask for a smaller drop, or for a higher --confidence."
        )
        raise VerificationError(sentence, Verdict((Check("accuracy", judged, limits.max_drop, False, sentence),)))
    copied(chosen.place, out, force)
    shown = found.shown
    return ChoiceRecord(
        chosen.record.name, limits.asked, limits.confidence, found.compared, len(choosing), len(judging),
        None if shown is None else shown.loss, None if shown is None else shown.bound, judged,
    )  # fmt: skip


def of_model(directory: Path, sweep: SweepRecord, model: str | None, seed: int) -> list[Candidate]:
    """Return the finished cells of one model.

    Raises
    ------
    UserError
        If there are several models and none is named, or there is no such model.
    """
    models = list(dict.fromkeys(cell.model for cell in sweep.cells))
    if model is None and len(models) > 1:
        raise UserError(f"The sweep has the models {', '.join(models)}; name one with --model.")
    if model is not None and model not in models:
        raise UserError(f"The sweep has no model {model}; it has {', '.join(models)}.")
    return [
        Candidate(cell, cell.figures, directory / cell.directory, seed)
        for cell in sweep.cells
        if cell.model == (model or models[0]) and cell.status == "done" and cell.figures is not None
    ]


def fitting(candidates: Sequence[Candidate], limits: Limits) -> list[Candidate]:
    """Return the candidates that are small enough.

    Raises
    ------
    UserError
        If there is none, or they were judged on different samples.
    """
    found = list(candidates)
    if not found:
        raise UserError("The sweep has no finished cell; let it end first.")
    for name, noun in (("bytes", "bytes"), ("ram", "bytes of RAM")):
        limit = limits.asked.get(f"max_{name}")
        sizes = [size for one in found if (size := getattr(one.figures, name)) is not None]
        if limit is None:
            continue
        if not sizes:
            raise UserError("No cell knows its RAM, for none streams as C; leave --max-ram out.")
        if min(sizes) > limit:
            raise UserError(f"No cell has at most {limit:,.0f} {noun}; the smallest has {min(sizes):,}: sweep smaller sizes.")
        found = [one for one in found if (size := getattr(one.figures, name)) is not None and size <= limit]
    if len({one.figures.samples for one in found}) > 1:
        raise UserError("Cells were judged on different numbers of samples; leave --max-drop and --max-error out of the sweep.")
    return found


def ladders(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return candidates that differ in their size alone, the smallest first."""
    found: dict[str, list[Candidate]] = {}
    for one in candidates:
        rest = {name: value for name, value in one.record.options.items() if name not in SIZES}
        found.setdefault(json.dumps(rest, sort_keys=True), []).append(one)
    return [sorted(ladder, key=lambda one: (one.figures.bytes, one.record.name)) for ladder in found.values()]


def by_drop(candidates: Sequence[Candidate], limits: Limits) -> Found:
    """Return the smallest candidate that the choosing samples show to lose at most so many points.

    Raises
    ------
    UserError
        If there is none, or the samples cannot show it of any.
    """
    assert limits.max_drop is not None
    stood = ladders(candidates)
    each = 1 - (1 - limits.confidence) / len(stood)
    candidates[0].check(limits.max_drop, each)
    held: list[tuple[Candidate, Evidence]] = []
    seen: list[tuple[Candidate, Evidence]] = []
    for ladder in stood:
        selection = _selected(ladder, limits.max_drop, each)
        seen += [(ladder[place], shown) for place, shown in selection.evidence.items()]
        if selection.size is not None:
            held.append((ladder[selection.size], selection.evidence[selection.size]))
    if not held:
        best, shown = min(seen, key=lambda one: one[1].bound)
        raise UserError(
            f"No cell is shown to lose at most {limits.max_drop:g} points on the {shown.samples:,} samples that choose; "
            f"{best.record.name} loses {shown.loss:.2f} there, at most {shown.bound:.2f}: ask for that, or sweep larger sizes."
        )
    chosen, shown = min(held, key=lambda one: (one[0].figures.bytes, one[1].bound))
    return Found(chosen, len(seen), shown)


def by_loss(candidates: Sequence[Candidate]) -> Found:
    """Return the candidate that loses least on the choosing samples; without labels the one whose outputs err least."""
    if not candidates[0].artifact.reference.labels:
        return Found(min(candidates, key=lambda one: (one.figures.error or 0.0, one.figures.bytes)), len(candidates))
    losses = [(one.evidence(one.parts[0], 0.5).loss, one.figures.bytes, place) for place, one in enumerate(candidates)]
    return Found(candidates[min(losses)[2]], len(candidates))


def copied(place: Path, out: Path, force: bool) -> None:
    """Copy an artifact by one rename; every file is compared with its recorded hash first."""
    artifact = open_artifact(place)
    with staging(out, force) as folder:
        for name in (*artifact.manifest.files, MANIFEST):
            shutil.copyfile(place / name, folder / name)


def _selected(ladder: Sequence[Candidate], limit: float, confidence: float) -> Selection:
    start = start_of([max(1, one.figures.parameters) for one in ladder], max(1, ladder[0].figures.original_parameters))

    def evidence(place: int, each: float) -> Evidence:
        return ladder[place].evidence(ladder[place].parts[0], each)

    return select(range(len(ladder)), start, evidence, limit, confidence)
