"""A model and samples that are objects of the calling process, as a source and as the arrays of a samples file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.loading.samples import load_samples
from ssm2edge.loading.source import Source

Array = NDArray[Any]
Batch = tuple[dict[str, Array], dict[str, Array]]
"""Inputs and labels by name; labels of a model of one output have the empty name."""

HELD_BACK = 4
"""One sample in so many is held out if the caller gives no held-out samples."""
FEWEST = 8
"""Smallest number of samples of which some are kept for calibration."""
LARGEST = 1 << 32
"""Numbers of all samples together; a longer iterable is refused."""


def source_in_memory(model: nn.Module, **described: Any) -> Source:
    """Describe a module of this process as a source; ``described`` are fields of :class:`Source`."""
    kind = type(model)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    directory = Path(file).resolve().parent if isinstance(file, str) else Path.cwd()
    source = Source(f"{kind.__qualname__} (in memory)", directory, f"{kind.__module__}:{kind.__qualname__}", Path("samples"))
    return replace(source, in_memory=True, **described)


def arrays_in_memory(samples: Any, held_out: Any, labels: Any, names: Sequence[str], validation: Any = None) -> dict[str, Array]:
    """Return samples under the keys of a samples file.

    Parameters
    ----------
    samples
        A tensor or array, a dictionary by input name, a tuple of inputs, a path of an npz or npy file, a map-style dataset, or an
        iterable of batches of these (a DataLoader), whose batches may have labels after the inputs.
    held_out
        The same, to verify on; unless given, a quarter of the samples is held back.
    labels
        Of the held-out samples, or of all where these are held back: an array, or a dictionary by output name.
    names
        Inputs of the model that must be given, in the order of its arguments.
    validation
        Samples by which a size is chosen, with their labels after the inputs or, in a dictionary, by names with ``labels``.

    Raises
    ------
    UserError
        If there are no samples, or they are in none of these forms.
    """
    if validation is not None:
        chosen_by, marked = gathered(validation, names)
        others = arrays_in_memory(samples, held_out, labels, names)
        return {**others, **_keyed("validation", chosen_by), **_keyed("validation_labels", marked)}
    arrays = load_samples(Path(samples)) if isinstance(samples, str | Path) else None
    if isinstance(arrays, dict):
        if held_out is not None:
            raise UserError(f"{samples} holds held-out samples itself; leave held_out out, or give arrays.")
        return arrays | ({} if labels is None else _keyed("labels", _labels(labels)))
    inputs, marked = gathered(samples if arrays is None else arrays, names)
    counts = {name: len(value) for name, value in inputs.items() if value.ndim}
    if len(set(counts.values())) != 1:
        each = ", ".join(f"{number} of {name}" for name, number in counts.items())
        raise UserError(f"There are samples in unequal numbers ({each or 'none'}); give every input for every sample.")
    if held_out is not None:
        kept, judged = gathered(held_out, names)
        judged = judged if labels is None else _labels(labels)
        return {**_keyed("calibration", inputs), **_keyed("held_out", kept), **_keyed("labels", judged)}
    marked = marked if labels is None else _labels(labels)
    count = len(next(iter(inputs.values())))
    wrong = next((value for value in marked.values() if len(value) != count), None)
    if wrong is not None:
        raise UserError(f"There are {count} samples and {len(wrong)} labels; give one label for each sample.")
    if count < FEWEST:
        return {**_keyed("held_out", inputs), **_keyed("labels", marked)}
    # Spread over all samples, which may be sorted by class.
    back = np.zeros(count, bool)
    back[HELD_BACK - 1 :: HELD_BACK] = True
    return {
        **_keyed("calibration", {name: value[~back] for name, value in inputs.items()}),
        **_keyed("held_out", {name: value[back] for name, value in inputs.items()}),
        **_keyed("labels", {name: value[back] for name, value in marked.items()}),
    }


def gathered(samples: Any, names: Sequence[str]) -> Batch:
    """Return all inputs and labels of samples in any form.

    Raises
    ------
    UserError
        If there are none, or they are in no known form.
    """
    if isinstance(samples, Tensor | np.ndarray | Mapping | tuple):
        return _batch(samples, names, single=False)
    if isinstance(samples, torch.utils.data.Dataset) and hasattr(samples, "__len__"):
        items = (samples[index] for index in range(len(samples)))
        return _joined(items, names, single=True)
    if isinstance(samples, Iterable) and not isinstance(samples, str | bytes):
        return _joined(samples, names, single=False)
    raise UserError(
        f"Samples are a {type(samples).__name__}; give a tensor, an array, a dictionary by input name, a tuple of inputs, a "
        "DataLoader or another iterable of batches, or the path of an npz or npy file."
    )


def _joined(batches: Iterable[Any], names: Sequence[str], single: bool) -> Batch:
    inputs: dict[str, list[Array]] = {}
    labels: dict[str, list[Array]] = {}
    numbers = 0
    for batch in batches:
        for found, parts in zip(_batch(batch, names, single), (inputs, labels), strict=True):
            for name, value in found.items():
                parts.setdefault(name, []).append(value)
                numbers += value.size
        if numbers > LARGEST:
            raise UserError(f"The iterable of samples goes on behind {LARGEST:,} numbers; give a part of it.")
    if not inputs:
        raise UserError("The iterable of samples is empty; give at least one batch.")
    try:
        whole = [{name: np.concatenate(parts) for name, parts in found.items()} for found in (inputs, labels)]
    except ValueError as error:
        raise UserError(f"The batches of samples do not fit together ({error}); give sequences of one length.") from error
    return whole[0], whole[1]


def _batch(batch: Any, names: Sequence[str], single: bool) -> Batch:
    """Return inputs and labels of one batch; a single sample gets a batch axis."""
    if isinstance(batch, Mapping):
        inputs = {str(name): _array(value) for name, value in batch.items() if not str(name).startswith("labels")}
        labels = {str(name).partition(".")[2]: _array(value) for name, value in batch.items() if str(name).startswith("labels")}
    else:
        values = list(batch) if isinstance(batch, tuple | list) else [batch]
        if len(values) not in (len(names), len(names) + 1):
            raise UserError(
                f"A batch of samples has {len(values)} parts, but the model takes {', '.join(names) or 'no input'}; give one "
                "part for each input, and labels behind them if there are any."
            )
        inputs = {name: _array(value) for name, value in zip(names, values, strict=False)}
        labels = dict(zip([""], map(_array, values[len(names) :]), strict=False))
    if single:
        return tuple({name: value[None] for name, value in found.items()} for found in (inputs, labels))  # type: ignore[return-value]  # two of them
    return inputs, labels


def _labels(labels: Any) -> dict[str, Array]:
    return {str(k): _array(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {"": _array(labels)}


def _array(value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    found: Array = np.asarray(value)
    if found.dtype.kind == "O":
        raise UserError(f"Samples hold a {type(value).__name__} that is no array of numbers; give sequences of one length.")
    return found


def _keyed(part: str, values: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{part}.{name}" if name else part: value for name, value in values.items()}
