"""The original model, run again where its code and torch are: against what was recorded, and against the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.artifact import Manifest, Reference
from ssm2edge.errors import UserError
from ssm2edge.loading import Arguments, Signature, Source, load_user_model, open_source
from ssm2edge.original.calling import called
from ssm2edge.original.devices import Device, Processor
from ssm2edge.original.recording import record_outputs
from ssm2edge.verification import Check
from ssm2edge.verification.check import relative_error, within

LIMIT = 1e-3
"""Largest relative difference to what was recorded: a GPU and a processor sum in different orders."""

OTHER = "other weights than the artifact was built from"
"""Words for another training of the model, in all sentences."""

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Original:
    """The user's model, loaded.

    Attributes
    ----------
    source
        What it was loaded from.
    model
        The model, in eval mode, on the CPU.
    changed
        Files of the source that are not what the artifact was built from.
    other
        True if its weights are not those that the artifact was built from.
    """

    source: Source
    model: nn.Module
    changed: tuple[str, ...]
    other: bool = False

    def check_weights(self) -> None:
        """Refuse other weights than those that the artifact was built from.

        Raises
        ------
        UserError
            If they differ.
        """
        if self.other:
            raise UserError(f"{self.source.given} has {OTHER}; give the model that was built with --source and --weights.")

    def call(self, inputs: Inputs) -> Callable[[], object]:
        """A call on inputs, with one thread and without gradients, for timing."""
        arguments = self._arguments(inputs)
        args, kwargs = arguments.filled([torch.tensor(inputs[name]) for name in arguments.names])
        torch.set_num_threads(1)

        def run() -> object:
            with torch.no_grad():
                return self.model(*args, **kwargs)

        return run

    def outputs(self, inputs: Inputs, device: Device | None = None) -> dict[str, NDArray[np.float32]]:
        """Return its answers on samples."""
        arguments = self._arguments(inputs)
        model, _ = called(self.model, arguments, [torch.tensor(inputs[name][:1]) for name in arguments.names])
        given = {name: inputs[name] for name in arguments.names}
        return record_outputs(model, given, self.source.time_axis, device=device)

    def _arguments(self, inputs: Inputs) -> Arguments:
        arguments = Signature.of(self.model).fill(list(inputs))
        if arguments is None:
            raise UserError(f"The model's forward does not take {', '.join(inputs)} any more; it has changed since the build.")
        return arguments


def open_original(
    manifest: Manifest, given: str | None = None, weights: Path | None = None, trust_pickle: bool = False
) -> Original:
    """Load the model an artifact was built from.

    Parameters
    ----------
    manifest
        Of the artifact.
    given
        SOURCE where it is now; what the manifest says unless given.
    weights
        Weights file, where SOURCE is a factory.
    trust_pickle
        Load weights files that can run code.

    Raises
    ------
    UserError
        If the source is not there, or cannot be loaded.
    """
    # A factory needs a samples file named, which is not read here: the reference pack has the samples.
    unread = None if given is None and ":" not in manifest.source.path else Path("samples.npz")
    place = given or manifest.source.path
    path = place.rpartition(":")[0] or place
    if given is None and not Path(path).exists() and (path == place or path.endswith(".py")):
        raise UserError(f"The model was built from {place}, which is not here; say with --source where it is.")
    samples = None if Path(place).is_dir() else unread
    source = open_source(place, weights, samples, trust_pickle=trust_pickle)
    user, recorded = load_user_model(source), manifest.source.sha256
    changed = tuple(name for name, found in source.hashes().items() if name in recorded and recorded[name] != found)
    return Original(source, user.model, changed, manifest.source.weights not in (None, user.fingerprint))


def check_original(original: Original, reference: Reference) -> Check:
    """The original, run now on the processor, answers what was recorded of it."""
    where = Processor()
    error = relative_error(original.outputs(reference.inputs, where), reference.original)
    detail = f"the original run again on {where.name} against its record, {reference.samples} held-out samples"
    if original.changed:
        detail += f"; {', '.join(original.changed)} changed since the build"
    check = within("live.original", error, LIMIT, detail)
    return replace(check, passed=False, detail=f"{detail}; the model has {OTHER}") if original.other else check
