"""A search in place of a grid: Optuna proposes the next cells by what is known of the others, for few bytes and little loss."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssm2edge.artifact.sweep import CellRecord
from ssm2edge.errors import UserError
from ssm2edge.options import SIZES
from ssm2edge.sweeps.cells import Cell, Cells
from ssm2edge.sweeps.grid import Axes

JOURNAL = "search.journal"
SIZE = "size"
"""Parameter of the search: the place among all sizes that are given."""


def rounds(cells: Cells, axes: Axes, count: int, size: int, out: Path, known: Mapping[str, CellRecord]) -> Iterator[list[Cell]]:
    """Yield cells to be built next; ``known`` holds their records when the next ones are asked for.

    Parameters
    ----------
    cells
        Makes them.
    axes
        Values to choose from.
    count
        Trials of each model, with those of earlier searches in the same directory.
    size
        Trials of each model that are proposed at once.
    out
        Directory of the sweep; its journal goes there.
    known
        Records by key.

    Raises
    ------
    UserError
        If Optuna is not installed, the count is no number of trials, or the journal is of other values.
    """
    if type(count) is not int or count < 1:
        raise UserError(f"A search of {count!r} cells finds nothing; give a whole number of at least 1.")
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as missing:
        raise UserError(f"A search needs {missing.name}: pip install 'ssm2edge[sweep]'.") from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = importlib.import_module("optuna.storages.journal")
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(out / JOURNAL)))
    studies = [_study(optuna, storage, f"{name} {key[:16]}") for name, key in zip(cells.names, cells.keys, strict=True)]
    text = json.dumps(axes)
    for study in studies:
        if study.user_attrs.get("axes", text) != text:
            raise UserError(f"{out / JOURNAL} is of a search with other values; give the same, or another directory.")
        study.set_user_attr("axes", text)
    complete = (optuna.trial.TrialState.COMPLETE,)
    earlier = [(place, trial) for place in range(len(studies)) for trial in studies[place].get_trials(states=complete)]
    yield list({cell.key: cell for cell in (cells.cell(place, chosen(trial.params, axes)) for place, trial in earlier)}.values())
    while True:
        asked: list[tuple[Any, Any, Cell]] = []
        for place, study in enumerate(studies):
            for _ in range(min(size, count - len(study.get_trials(deepcopy=False)))):
                trial = study.ask()
                given = proposal(trial, axes)
                asked.append((study, trial, cells.cell(place, given)))
        if not asked:
            return
        yield list({cell.key: cell for _, _, cell in asked}.values())
        for study, trial, cell in asked:
            values = judged(known.get(cell.key))
            if values is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, values)


def proposal(trial: Any, axes: Axes) -> dict[str, Any]:
    """Return the options that a trial proposes: of all sizes one, of every other option one value."""
    found: dict[str, Any] = {}
    sizes = _sizes(axes)
    if len(sizes) > 1:
        found[SIZE] = trial.suggest_int(SIZE, 0, len(sizes) - 1)
    for name, values in axes.items():
        if name not in SIZES and len(values) > 1:
            found[name] = trial.suggest_categorical(name, list(values))
    return chosen(found, axes)


def chosen(parameters: Mapping[str, Any], axes: Axes) -> dict[str, Any]:
    """Return the options that parameters of a trial mean."""
    given = {name: parameters.get(name, values[0]) for name, values in axes.items() if name not in SIZES}
    sizes = _sizes(axes)
    return given | dict([sizes[parameters.get(SIZE, 0)]] if sizes else [])


def _sizes(axes: Axes) -> list[tuple[str, Any]]:
    return [(name, value) for name in SIZES for value in axes.get(name, ())]


def judged(record: CellRecord | None) -> tuple[float, float] | None:
    """Return what a search makes small: the loss (or the error, without labels) and the bytes; None of a cell that failed."""
    figures = None if record is None else record.figures
    if figures is None:
        return None
    loss = figures.loss if figures.loss is not None else figures.error
    return None if loss is None else (loss, float(figures.bytes))


def _study(optuna: Any, storage: Any, name: str) -> Any:
    """Open the study of a model; trials of a search that was killed are given up, and count."""
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True)
    study = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, directions=["minimize", "minimize"], load_if_exists=True
    )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study
