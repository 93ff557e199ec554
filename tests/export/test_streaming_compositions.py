"""Operations one after the other in any order: refused, or block by block what the model computes on the whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.traced import ExportError, InputAxes, trace
from tests.block_by_block import streamed
from tests.small_models import CHANNELS

functional = nn.functional

Operation = tuple[str, int, int]


class Composition(nn.Module):
    """Operations with small numbers, on ``(batch, 4, time)``."""

    def __init__(self, operations: list[Operation], ending: str) -> None:
        super().__init__()
        self.operations, self.ending = operations, ending
        self.plain = nn.Conv1d(CHANNELS, CHANNELS, 3)
        self.padded = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=2, groups=2)
        self.dilated = nn.Conv1d(CHANNELS, CHANNELS, 2, dilation=2, padding=1)
        self.strided = nn.Conv1d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose1d(CHANNELS, CHANNELS, 3, stride=2)

    def forward(self, u: Tensor) -> Any:
        z, earlier = u, [u]
        for name, a, b in self.operations:
            z = OPERATIONS[name](self, z, a, b) if name != "residual" else z + earlier[a % len(earlier)]
            earlier.append(z)
        return ENDINGS[self.ending](z)


OPERATIONS: dict[str, Callable[[Composition, Tensor, int, int], Tensor]] = {
    "residual": lambda m, z, a, b: z,
    "curve": lambda m, z, a, b: (z + 0.3).tanh() + 0.1 * a,
    "pad": lambda m, z, a, b: functional.pad(z, (a, b), value=0.5 * b),
    "join": lambda m, z, a, b: torch.cat([z.new_ones(z.shape[0], CHANNELS, a), z, z.new_zeros(z.shape[0], CHANNELS, b)], 2),
    "cut": lambda m, z, a, b: z[..., a : -b or None],
    "plain": lambda m, z, a, b: m.plain(z),
    "padded": lambda m, z, a, b: m.padded(z),
    "padded and cut": lambda m, z, a, b: m.padded(z)[..., :-2],
    "dilated": lambda m, z, a, b: m.dilated(z),
    "strided": lambda m, z, a, b: m.strided(z),
    "up": lambda m, z, a, b: m.up(z)[..., : 2 * z.shape[2]],
    "up and centred": lambda m, z, a, b: m.up(z)[..., 1:],
    "average": lambda m, z, a, b: functional.avg_pool1d(z, 2 + a, 2, padding=b % 2),
    "every": lambda m, z, a, b: z[..., a :: 2 + b],
    "repeat": lambda m, z, a, b: z.repeat_interleave(2, 2),
    "frames": lambda m, z, a, b: z.unflatten(2, (-1, 2)).mean(3),
    "cumulative": lambda m, z, a, b: 0.1 * z.cumsum(2),
    "shifted": lambda m, z, a, b: functional.pad(z, (1 + a, 0))[..., : -1 - a],
    "turned": lambda m, z, a, b: z.mT.softmax(2).mT,
}
ENDINGS: dict[str, Callable[[Tensor], Any]] = {
    "sequence": lambda z: z,
    "mean": lambda z: z.mean(2),
    "last": lambda z: z[..., -1],
    "both": lambda z: (z.amax(2), z),
}
CHAINS = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6)


def test_outputs_of_a_transposed_convolution_behind_the_end_are_refused_though_later_samples_are_known() -> None:
    # Delayed by a sample, a sequence is known one sample ahead; the last output still gets no part of the sample that it drops.
    model = Composition([("shifted", 0, 0), ("up and centred", 0, 0)], "sequence").eval()
    form = trace(model, [InputAxes("u", 2, torch.zeros(1, CHANNELS, 5))])
    with pytest.raises(ExportError, match=r"conv_transpose1d.*looks ahead"):
        to_streaming(form, RULES)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@example(operations=[("shifted", 0, 0), ("up", 0, 0)], ending="sequence")
@example(operations=[("shifted", 1, 0), ("padded and cut", 0, 0), ("up", 0, 0)], ending="both")
@given(operations=CHAINS, ending=st.sampled_from(sorted(ENDINGS)))
def test_any_chain_is_refused_or_streams(operations: list[Operation], ending: str) -> None:
    torch.manual_seed(0)
    model = Composition(operations, ending).eval()
    try:
        form = trace(model, [InputAxes("u", 2, torch.zeros(1, CHANNELS, 5))])
        module = to_streaming(form, RULES)
    except ExportError:
        assume(False)
        raise
    frame = module.frame
    u = torch.randn(2, CHANNELS, 12 * frame)
    with torch.no_grad():
        for blocks in (12, max(3, -(-form.shortest // frame))):
            part = u[..., : blocks * frame]
            whole = model(part)
            whole = whole if isinstance(whole, tuple) else (whole,)
            for cuts in ([frame] * blocks, [2 * frame, (blocks - 2) * frame]):
                for found, expected in zip(streamed(module, form, (part,), (2,), cuts), whole, strict=True):
                    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
