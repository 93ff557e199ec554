"""Input-weighted reduction of a bank of SISO channels, on the inputs that it gets in the reduced network.

With inputs u of the reduced network and u_o of the original, the best response is not the original's G but ``G S_ou / S_uu``, the
least-squares estimate of the original's output from the input that there is.  It corrects the errors of the layers below as far
as one channel can.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.calibration.spectra import Spectra
from ssm2edge.calibration.weighted import WeightedTarget, fit_poles, fitted
from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.sections import sections_of, slowest_decay
from ssm2edge.systems.response import channel_responses
from ssm2edge.systems.system import System, concatenate, siso_bank
from ssm2edge.workers import equal_spans, workers

STARTS = ("balanced", "tlh2", "modal")
"""Methods whose poles are tried beside the given ones."""

PIECE, SMALL = 64, 16
"""Most channels of a piece of work, and the fewest of one that is cut for the sake of several threads."""

SILENT = 1e-14
"""Power, relative to the channel's mean, below which a frequency says nothing."""


def calibrated_bank(system: System, reduced: System, spectra: Spectra) -> System:
    """Return a bank of the reduced order that errs least on inputs of the given spectra.

    A bank without feedthrough, as against time, gets none: it would store more numbers, and a layer in two directions has one
    already.

    Parameters
    ----------
    system
        The original bank.
    reduced
        A reduction of it; its poles are a start, and the result is no worse than they can be made by residues and feedthrough.
    spectra
        Of the bank's inputs.
    """
    feedthrough = bool((system.D != 0).any() or (reduced.D != 0).any())
    spans = equal_spans(len(system.poles), PIECE, SMALL)
    with workers() as pool:
        parts = list(pool.map(lambda span: _calibrated(system[span], reduced[span], spectra[span], feedthrough), spans))
    return replace(concatenate(parts), tie=reduced.tie)


def _calibrated(system: System, reduced: System, spectra: Spectra, feedthrough: bool) -> System:
    moments = replace(target_of(system, spectra), feedthrough=feedthrough).moments()
    slowest = slowest_decay(system.poles, spectra.length)
    # Samples that never reach a channel say nothing about it: it stays as the reduction left it.
    silent = spectra.power.sum(-1) == 0
    if reduced.tie is not None:
        # Shared poles stay; residues and feedthroughs are fitted to the inputs.
        tied = fitted(moments, sections_of(reduced.poles, slowest))
        return put(siso_bank(reduced.poles, tied.residues, tied.D[..., 0, 0]), silent, reduced[silent])
    poles = [reduced.poles]
    poles += [reduce_system(system, reduced.order, method, spectra.length).system.poles for method in STARTS]
    with torch.no_grad():
        best = fit_poles(moments, [sections_of(start, slowest) for start in poles])
        return put(fitted(moments, best.sections), silent, reduced[silent])


def target_of(system: System, spectra: Spectra) -> WeightedTarget:
    """Return the response that a bank should have, weighted by the power of its inputs; weights have mean one per channel."""
    taps = spectra.length - 1
    response = torch.fft.rfft(channel_responses(system, spectra.length), n=2 * spectra.length)
    mean = spectra.power.mean(-1, keepdim=True)
    heard = spectra.power > SILENT * mean
    power: Tensor = torch.where(heard, spectra.power, torch.ones_like(mean))
    response = response * torch.where(heard, spectra.cross / power, torch.zeros_like(spectra.cross))
    weight = torch.where(heard, spectra.power, torch.zeros_like(mean))
    # All frequencies but the first and the last stand for two.
    weight = torch.cat((weight[:, :1], 2 * weight[:, 1:-1], weight[:, -1:]), dim=-1)
    total = weight.mean(-1, keepdim=True)
    return WeightedTarget(response, weight / torch.where(total > 0, total, torch.ones_like(total)), taps)
