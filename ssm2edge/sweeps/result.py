"""The result of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm2edge.api import Artifact
from ssm2edge.api import open as open_directory
from ssm2edge.artifact.sweep import CellRecord, SweepRecord, read_sweep
from ssm2edge.errors import UserError
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
        """All cells, in the order in which they were asked for."""
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

    def show(self, console: Any) -> None:
        """Print a line for each cell, and the numbers of those that are done and failed."""
        show_sweep(console, self.directory, self.record)
