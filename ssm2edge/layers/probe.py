"""Any module as a system: tests of linearity, time-invariance and causality, and the measured impulse response.

The tests feed noise of the level that the module gets in its model.  A module that passes them is a convolution; the last test
compares its answer to noise with that noise convolved with the measured response.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.convolution import causal_convolution
from ssm2edge.layers.observation import Arguments, Passage

VIOLATION = 1e-4
"""Largest violation of a property, relative to the largest answer, that counts as rounding."""
NUMBERS_AT_ONCE = 1 << 22
"""Samples of all channels of all impulses in one call."""
LARGEST_RESPONSE = 1 << 27
"""Numbers of a measured response: one gigabyte."""
SEED = 0

Apply = Callable[[Tensor], Tensor]
"""The module as a function ``(batch, inputs, time) -> (batch, outputs, time)``."""


@dataclass(frozen=True, eq=False)
class Response:
    """Measured impulse response of a module.

    Attributes
    ----------
    taps
        ``(channels, 1, 1, time)`` of a bank whose channels do not mix, or ``(outputs, inputs, time)``; float64.
    offset
        Offset of every sample, ``(outputs,)`` float64; None for none.
    """

    taps: Tensor
    offset: Tensor | None


def probe(path: str, module: nn.Module, passage: Passage, signal: Tensor) -> Response:
    """Test a module and measure its impulse response.

    Parameters
    ----------
    path
        Name for the sentences.
    module
        It is not changed.
    passage
        Its call.
    signal
        Its input in the model, ``(1, inputs, time)``: the length to measure, and the level of the tests.

    Raises
    ------
    LayerError
        If the module is in training mode while that matters, or not linear, time-invariant or causal: the property, the size of
        the violation, and the mend.
    """
    refuse_training(path, module)
    apply, like = _most_precise(module, passage, signal)
    level = float(signal.double().square().mean().sqrt()) or 1.0
    generator = torch.Generator().manual_seed(SEED)

    def noise() -> Tensor:
        return level * torch.randn(signal.shape, generator=generator, dtype=torch.float64).to(like)

    u, v = noise(), noise()
    rest = apply(torch.zeros_like(u))
    y = apply(u)
    largest = float((y - rest).abs().max())
    if not torch.isfinite(y).all():
        raise LayerError(f"{path} answers noise with NaN or infinite values; give weights of a finished training.")

    def violation(actual: Tensor, expected: Tensor) -> float:
        return float((actual - expected).abs().max()) / max(largest, 1e-30)

    _refuse(
        violation(apply(u), y),
        f"{path} is not deterministic: the same input twice gives answers that differ by {{:.2g}} of the largest; switch off "
        "what is random in it.",
    )
    linear = max(violation(apply(factor * u) - rest, factor * (y - rest)) / max(1.0, abs(factor)) for factor in (-2.0, 0.1))
    linear = max(linear, violation(apply(u + v) + rest, y + apply(v)))
    _refuse(
        linear,
        f"{path} is not linear: superposition and scaling of its inputs fail by {{:.2g}} of its answer; name the module "
        "inside it that comes before its activation, gate or normalisation.",
    )
    length = u.shape[-1]
    ahead = max(
        violation(apply(torch.cat((u[..., :cut], v[..., cut:]), dim=-1))[..., :cut], y[..., :cut])
        for cut in {max(1, length // 3), length - 1}
    )
    _refuse(
        ahead,
        f"{path} is not causal: its answer depends on later samples (by {{:.2g}} of its answer); only a layer that does not look "
        "ahead is one recurrence: name the parts that run forward in time, and run it on the reversed sequence outside of them.",
    )
    _refuse(
        violation(rest, rest[..., -1:]),
        f"{path} is not time-invariant: it answers silence with something that changes over time (by {{:.2g}} of its answer to "
        "noise); name a module without the part that adds it, a positional encoding for example.",
    )
    moved = max(
        violation(
            apply(nn.functional.pad(u, (delay, 0))[..., :length])[..., delay:] - rest[..., delay:], (y - rest)[..., :-delay]
        )
        for delay in sorted({1, 2, 3, length // 4, length // 2} & set(range(1, length)))
    )
    _refuse(
        moved,
        f"{path} is not time-invariant: a delayed input gives more than a delayed answer (by {{:.2g}} of its answer); its "
        "weights or steps change with time, and no fixed system does that.",
    )
    response = _measured(path, apply, u, y, rest, level)
    expected = convolved(response.taps, u.double()).to(y) + rest
    _refuse(
        violation(y, expected),
        f"{path} answers noise with something else than the convolution with its impulse response (by {{:.2g}} of its "
        "answer); it is not linear and time-invariant at the level of its inputs.",
    )
    return response


def refuse_training(path: str, module: nn.Module) -> None:
    """Refuse modules whose dropout is on.

    Raises
    ------
    LayerError
        If one is.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            where = f"{path}.{name}" if name else path
            raise LayerError(
                f"{path} is in training mode and its dropout is on ({where}, p = {part.p:g}), so it answers at random; call "
                "model.eval() first."
            )


def convolved(taps: Tensor, u: Tensor) -> Tensor:
    """Convolve ``(batch, inputs, time)`` with a response of :class:`Response`."""
    if taps.ndim == 4:
        return causal_convolution(u, taps[:, 0, 0])
    points = 2 * u.shape[-1]
    product = torch.einsum("pmf,bmf->bpf", torch.fft.rfft(taps, n=points), torch.fft.rfft(u, n=points))
    y: Tensor = torch.fft.irfft(product, n=points)[..., : u.shape[-1]]
    return y


def _refuse(violation: float, sentence: str) -> None:
    if not violation <= VIOLATION:
        raise LayerError(sentence.format(violation))


def _most_precise(module: nn.Module, passage: Passage, signal: Tensor) -> tuple[Apply, Tensor]:
    """Return the module as a function, in float64 if it computes the same there, with a tensor of the right dtype."""

    def function(one: nn.Module, others: Arguments) -> Apply:
        def apply(u: Tensor) -> Tensor:
            with torch.no_grad():
                return passage.call(one, u, others)

        return apply

    plain, like = function(module, passage.others), signal[:1].new_zeros(())
    answer = plain(signal[:1])
    try:
        others = {k: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for k, x in passage.others.items()}
        precise = function(copy.deepcopy(module).double(), others)
        better = precise(signal[:1].double())
    except Exception:  # the user's own code may raise anything; what cannot run in float64 is measured as it is
        return plain, like
    agrees = float((better - answer).abs().max()) <= VIOLATION * float(answer.abs().max())
    return (precise, like.double()) if better.dtype == torch.float64 and agrees else (plain, like)


def _measured(path: str, apply: Apply, u: Tensor, y: Tensor, rest: Tensor, level: float) -> Response:
    """Return the responses to impulses in every channel: all at once if channels do not mix, else one after the other."""
    inputs, length, outputs = u.shape[1], u.shape[2], y.shape[1]
    constant = rest[0, :, -1].double()
    offset = constant if float(constant.abs().max()) > VIOLATION * float(y.abs().max()) * 1e-3 else None
    impulse = torch.zeros_like(u)
    if inputs == outputs and not _mixes(apply, u, y):
        impulse[..., 0] = level
        taps = (apply(impulse) - rest).double()[0] / level
        return Response(taps[:, None, None], offset)
    if inputs * outputs * length > LARGEST_RESPONSE:
        raise LayerError(
            f"{path} mixes {inputs} inputs into {outputs} outputs over {length} samples; its response would not fit into memory: "
            "name the module inside it whose channels do not mix, or give shorter samples."
        )
    rows = max(1, NUMBERS_AT_ONCE // (max(inputs, outputs) * length))
    if not _takes_batches(apply, u, y):
        rows = 1
    taps = torch.empty((outputs, inputs, length), dtype=torch.float64)
    for start in range(0, inputs, rows):
        channels = torch.arange(start, min(start + rows, inputs))
        impulses = impulse.repeat(len(channels), 1, 1)
        impulses[torch.arange(len(channels)), channels, 0] = level
        taps[:, channels] = ((apply(impulses) - rest).double() / level).transpose(0, 1)
    return Response(taps, offset)


def _mixes(apply: Apply, u: Tensor, y: Tensor) -> bool:
    """Return whether an output depends on another channel's input.

    For every two channels there is a bit in which their numbers differ: changing the channels of one bit's value, then those of
    the other, shows every dependence in twice the logarithm of their count.
    """
    channels = torch.arange(u.shape[1])
    for bit in range((u.shape[1] - 1).bit_length()):
        for value in (0, 1):
            changed = ((channels >> bit) & 1) == value
            other = apply(torch.where(changed[:, None], u.flip(-1), u))
            if float((other - y)[:, ~changed].abs().max()) > VIOLATION * float(y.abs().max()):
                return True
    return False


def _takes_batches(apply: Apply, u: Tensor, y: Tensor) -> bool:
    """Return whether sequences of a batch are answered each by itself: an argument may hold something for one sequence only."""
    try:
        both = apply(torch.cat((torch.zeros_like(u), u)))
    except Exception:  # the user's own code may raise anything
        return False
    return both.shape[0] == 2 and float((both[1:] - y).abs().max()) <= VIOLATION * float(y.abs().max())
