"""The result of a sweep."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssm2edge.api import Artifact, naming_arguments
from ssm2edge.api import open as open_directory
from ssm2edge.artifact.sweep import CellRecord, SweepRecord, read_sweep
from ssm2edge.errors import UserError
from ssm2edge.sweeps.picking import Limits, pick
from ssm2edge.sweeps.writing import write_sweep
from ssm2edge.tables.results import Shown
from ssm2edge.tables.sweep import show_sweep


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Shown):
    """The cells of a sweep; it prints as a table.

    Attributes
    ----------
    directory
        Where ``sweep.json``, ``sweep.csv``, ``sweep.html`` and the artifacts are.
    record
        The content of ``sweep.json``.
    """

    directory: Path
    record: SweepRecord

    @classmethod
    def open(cls, directory: Path) -> Sweep:
        """Read a sweep."""
        return cls(directory, read_sweep(directory))

    @property
    def cells(self) -> tuple[CellRecord, ...]:
        """All cells, in the order in which they were asked for; those that earlier sweeps finished follow."""
        return self.record.cells

    @property
    def failures(self) -> tuple[CellRecord, ...]:
        """The cells that failed, each with its sentence."""
        return tuple(cell for cell in self.cells if cell.status == "failed")

    def artifact(self, name: str) -> Artifact:
        """Open the artifact of a cell; every file is compared with its recorded hash first."""
        found = next((cell for cell in self.cells if cell.name == name and cell.status == "done"), None)
        if found is None:
            raise UserError(f"The sweep has no finished cell {name}.")
        return open_directory(self.directory / found.directory)

    @naming_arguments
    def pick(
        self,
        out: str | os.PathLike[str],
        *,
        max_drop: float | None = None,
        max_bytes: int | str | None = None,
        max_ram: int | str | None = None,
        model: str | None = None,
        confidence: float = 0.95,
        seed: int = 0,
        force: bool = False,
    ) -> Artifact:
        """Copy the artifact that holds some limits: with a largest drop the smallest, otherwise the one that loses least.

        A half of the held-out samples chooses, drawn at random; the other half judges.  The choice is marked on the page.

        Parameters
        ----------
        out
            Directory to make.
        max_drop
            Points of the metric; the smallest cell that is shown to lose no more is picked.
        max_bytes
            Of the largest graph, such as ``"40k"``.
        max_ram
            Bytes of RAM of the stream as C, its stack included.
        model
            Short name of the model, where the sweep has several.
        confidence
            Probability with which the drop holds beyond the samples.
        seed
            Draws the samples that choose.
        force
            Replace an artifact that is there.

        Raises
        ------
        UserError
            If no cell fits, or none is shown to lose as little as asked for.
        VerificationError
            If the choice does not hold on the samples that judge.
        """
        limits = Limits(max_drop, max_bytes, max_ram, confidence, seed)
        choice = pick(self.directory, self.record, Path(out), limits, model, force)
        write_sweep(self.directory, replace(read_sweep(self.directory), chosen=choice))
        return open_directory(out)

    def show(self, console: Any) -> None:
        """Print a line for each cell, and the numbers of those that are done and failed."""
        show_sweep(console, self.directory, self.record)
