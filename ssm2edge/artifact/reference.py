"""The reference pack: held-out inputs, the outputs of the original and of the reduced model, labels.

Keys of the npz file: ``inputs.<name>``, ``original.<output>``, ``reduced.<output>``, and the labels, if there are any: ``labels``
of the first output alone, or ``labels.<output>``.  The first axis of every array counts the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssm2edge.artifact.arrays import Array, load_arrays, save_arrays, unknown_key
from ssm2edge.artifact.errors import ArtifactError

NAME = "reference.npz"
PROBES = "probes.npz"
"""A second pack of the same form: artificial signals, with the outputs of every layer, ``original.layer.<name>``."""

LAYER = "layer."
"""Prefix of the names of layer outputs in the pack of probes."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Arrays of a reference pack.

    Attributes
    ----------
    inputs
        By input name, ``[samples, time, ...]``, or ``[samples, ...]`` for an input of the whole sequence.
    original, reduced
        By output name, ``[samples, ...]``, float32: of the original and of the reduced torch model.
    labels
        By output name: integers ``[samples]`` or ``[samples, time]`` (classes), or numbers of the output's shape (true values).
    """

    inputs: Mapping[str, Array]
    original: Mapping[str, Array]
    reduced: Mapping[str, Array]
    labels: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {len(value) if value.ndim else 0 for value in self._arrays().values()}
        if not self.inputs or not self.reduced or set(self.original) != set(self.reduced):
            raise ArtifactError(f"{NAME} must hold inputs, and original and reduced outputs of the same names.")
        foreign = [name for name in self.labels if name not in self.original]
        if foreign:
            raise ArtifactError(f"{NAME} has labels of {foreign[0]}, which is no output.")
        if len(counts) != 1 or counts == {0}:
            raise ArtifactError(f"{NAME} must hold the same number of samples, at least 1, in every array.")

    @property
    def one_head(self) -> bool:
        """True if no output but the first has labels."""
        return all(name == first_output(self.original) for name in self.labels)

    @property
    def samples(self) -> int:
        """Number of held-out samples."""
        return len(next(iter(self.inputs.values())))

    def take(self, rows: slice) -> Reference:
        """Return the pack cut to some samples."""

        def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: value[rows] for name, value in arrays.items()}

        return Reference(cut(self.inputs), cut(self.original), cut(self.reduced), cut(self.labels))

    def save(self, directory: Path, name: str = NAME) -> None:
        """Write the pack into a directory; equal arrays give equal bytes."""
        save_arrays(directory / name, self._arrays())

    def _arrays(self) -> dict[str, Array]:
        groups = {"inputs": self.inputs, "original": self.original, "reduced": self.reduced}
        arrays = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
        return arrays | {"labels" if self.one_head else f"labels.{name}": value for name, value in self.labels.items()}


def first_output(outputs: Iterable[str]) -> str:
    """Return the output that labels without a name judge."""
    return next(iter(outputs))


def load_reference(path: Path) -> Reference:
    """Read a reference pack.

    Raises
    ------
    ArtifactError
        If the file is no archive of plain arrays (see :func:`ssm2edge.artifact.arrays.load_arrays`), or keys or sample counts
        do not fit.
    """
    groups: dict[str, dict[str, Array]] = {"inputs": {}, "original": {}, "reduced": {}, "labels": {}}
    plain = None
    for key, value in load_arrays(path).items():
        group, _, name = key.partition(".")
        if key == "labels":
            plain = value
        elif group in groups and name:
            groups[group][name] = value
        else:
            raise unknown_key(path, key)
    if plain is not None and groups["original"]:
        groups["labels"][first_output(groups["original"])] = plain
    return Reference(**groups)
