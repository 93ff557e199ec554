"""Calibration of all reduced layers of a network: for the spectrum of their inputs, or until the outputs match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from ssm2edge.calibration.distances import Metric
from ssm2edge.calibration.expected import match_seconds, pass_seconds, spectrum_seconds
from ssm2edge.calibration.kinds import KINDS
from ssm2edge.calibration.matching import Matched, Matching, match
from ssm2edge.calibration.passes import halted
from ssm2edge.calibration.rounded import rounded_beside
from ssm2edge.calibration.signals import Signals, runs_of_layers
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import block_of, blocks, exchange_block, replace_layers
from ssm2edge.systems.system import System
from ssm2edge.workers import workers

CALIBRATIONS = ("none", "spectrum", "match")

Progress = Callable[[str, float], None]
"""Called with the name of the step and the share of it that is done."""

Expect = Callable[[str, float], None]
"""Called before a step with its name and the seconds that it will take, roughly."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated systems by layer, and the network around them.

    Attributes
    ----------
    systems
        By layer.
    matched
        The record of the matching; None without.
    around
        Parameters outside of the systems that were rounded, or tuned with those that were, by their names in the network.
    reasons
        For the bits of each, where the outputs decided them.
    """

    systems: dict[str, System]
    matched: Matched | None
    around: dict[str, Tensor] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def calibrate(
    model: nn.Module,
    systems: Mapping[str, System],
    reduced: Mapping[str, System],
    signals: Signals,
    kind: str,
    metric: Metric = None,
    matching: Matching | None = None,
    method: str = "gradient",
    progress: Progress = lambda what, share: None,
    precision: str = "float32",
    expect: Expect = lambda what, seconds: None,
    bits: Mapping[str, int] | None = None,
    careful: bool = False,
) -> Calibrated:
    """Improve reduced systems on unlabelled samples, and round the weights around them.

    Parameters
    ----------
    model
        The user's model; it stays as it is.
    systems, reduced
        Original and reduced systems by layer.
    signals
        Samples, as :func:`signals_of` checks them.
    kind
        One of ``CALIBRATIONS``.
    metric
        Metric of the model, or of each output: ``accuracy`` (they are logits), ``nrmse``, or None.
    matching
        Budget, rate and seed of ``match``.
    method
        Reduction method for systems of many inputs, which are reduced again for the covariance of their inputs.
    progress
        Called as it goes.
    precision
        Of the weights outside of the layers: one of :data:`ssm2edge.quantisation.PRECISIONS`.
    expect
        Called before each step.
    bits
        Of each of these weights, where they were chosen before; those without stay as they are.
    careful
        The samples only resemble the inputs of the network, see :func:`calibrate_spectrum`.

    Raises
    ------
    ValueError
        If there is no calibration of that kind.
    """
    if kind not in CALIBRATIONS:
        raise ValueError(f"there is no calibration {kind!r}; choose one of {', '.join(CALIBRATIONS)}.")
    own = all(reduced[name].order == system.order for name, system in systems.items())
    if kind == "none" or (own and precision == "float32"):
        return Calibrated(dict(reduced), None)
    if not own:
        # To time the model on samples is a part of it: of a wide model it takes as long as the reduction.
        progress("spectrum", 0.0)
    teacher = Teacher(model, systems)
    (of_pass, of_kernels), count = pass_seconds(teacher, signals), len(signals)
    better = dict(reduced)
    if not own:
        expect("spectrum", spectrum_seconds(of_pass, of_kernels, systems, reduced, count, signals.length))
        better = calibrate_spectrum(teacher, model, systems, reduced, signals, method, progress, careful)
    if kind == "spectrum" and precision == "float32":
        return Calibrated(better, None)
    network = replace_layers(model, better)
    beside = rounded_beside(network, precision, signals, teacher, metric, bits)
    matched = None
    if kind == "match" and not own:
        matching, runs = matching or Matching(), runs_of_layers(network, list(systems), signals)
        expect("match", match_seconds(of_pass, count, matching.steps, matching.samples_of_a_step(count, runs)))
        matched = match(teacher, network, signals, metric, matching, partial(progress, "match"), beside.coordinates)
        better = {name: block.system() for name, block in blocks(network).items()}
    return Calibrated(better, matched, beside.values(), beside.reasons)


def calibrate_spectrum(
    teacher: Teacher,
    model: nn.Module,
    systems: Mapping[str, System],
    reduced: Mapping[str, System],
    signals: Signals,
    method: str = "gradient",
    progress: Progress = lambda what, share: None,
    careful: bool = False,
) -> dict[str, System]:
    """Reduce every layer for the inputs it gets, from the first to the last; each with those before it reduced already.

    Systems with quadratic outputs stay as they were reduced if ``careful``: squares fitted to the energies of signals that only
    resemble the inputs are wrong on these.
    """
    network = replace_layers(model, systems).eval().requires_grad_(False)
    runs = runs_of_layers(network, list(systems), signals)
    better = dict(reduced)
    with workers() as pool, halted(teacher.network, network, runs, signals, pool) as passes:
        for done, name in enumerate(runs):
            progress("spectrum", done / len(runs))
            system = systems[name]
            if reduced[name].order == system.order:
                continue
            if not careful or system.M is None:
                kind = KINDS[type(blocks(network)[name])]
                better[name] = kind.spectrum(passes.at(name), system, reduced[name], method)
            block = block_of(better[name])
            exchange_block(network, name, block)
            passes.put(name, block)
    return better
