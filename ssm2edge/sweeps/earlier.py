"""Cells that other sweeps into the same directory finished: ``sweep.json`` keeps them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ssm2edge.artifact.sweep import CellRecord, read_cell
from ssm2edge.sweeps.cells import FOLDER, Cells


class Earlier:
    """Finds finished cells on disk that a sweep does not ask for.

    Parameters
    ----------
    out
        Directory of the sweep.
    makes
        Makes the cells of the sweep that runs.
    """

    def __init__(self, out: Path, makes: Cells) -> None:
        self._out, self._makes = out, makes
        self._read: dict[Path, CellRecord | None] = {}

    def found(self, wanted: Collection[Path]) -> tuple[CellRecord, ...]:
        """Return the records of finished cells whose files are none of those that are wanted, by model and name.

        A cell of a model whose files or versions have changed since is none: its figures are those of another model.
        """
        files = sorted(file for file in self._out.glob(f"{FOLDER}/*/*.json") if file not in wanted)
        for file in files:
            if self._read.get(file) is None:
                self._read[file] = self._finished(file)
        return tuple(record for file in files if (record := self._read[file]) is not None)

    def _finished(self, file: Path) -> CellRecord | None:
        record = read_cell(file)
        if record is None or record.status != "done" or not (self._out / record.directory / "manifest.json").is_file():
            return None
        return record if self._makes.current(record) else None
