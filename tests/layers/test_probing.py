"""Modules that the user names: measured where they are linear, time-invariant and causal, refused with the reason where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import exportable, find_layers, find_refused, realise_layers
from tests.layer_answers import noise, refusal, relative
from tests.layers.filters import (
    CHANNELS,
    LENGTH,
    Around,
    DampedFilter,
    ImplicitFilter,
    Mixing,
    TimeFirst,
    at_full_order,
    examples,
)

AGREEMENT = 1e-5
"""Relative difference in float32 between a layer and its full-order replacement."""


def around(inner: nn.Module, time_first: bool = False) -> nn.Module:
    return Around(inner, time_first).eval()


class WithLength(nn.Module):
    """Calls an implicit filter with the length and a keyword, and takes the first of what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = ImplicitFilter()
        self.gain = nn.Parameter(torch.rand(1) + 0.5)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.filter(u, u.shape[-1], gain=self.gain)[0]
        return y


@pytest.mark.parametrize(
    ("make", "time_first", "named", "kind", "order"),
    [
        (DampedFilter, False, "inner", "SISO bank", 6),
        (lambda: TimeFirst(DampedFilter()), True, "inner", "SISO bank", 6),
        (lambda: TimeFirst(DampedFilter()), True, "inner.inn*", "SISO bank", 6),
        (Mixing, True, "inner", "MIMO", 6),
        (WithLength, False, "inner.filter", "SISO bank", None),
        (lambda: nn.LSTM(CHANNELS, CHANNELS) and DampedFilter(CHANNELS, 1), False, "inner", "SISO bank", 2),
        (lambda: nn.Conv1d(CHANNELS, CHANNELS, 1), False, "inner", "MIMO", None),
    ],
)
def test_named_modules_become_layers_that_compute_what_they_did(
    make: Callable[[], nn.Module], time_first: bool, named: str, kind: str, order: int | None
) -> None:
    torch.manual_seed(0)
    model = around(make(), time_first)
    known, reduced = at_full_order(model, lti=[named])
    (layer,) = find_layers(known)
    path = named.replace("inn*", "inner")
    assert (layer.name, layer.library, layer.kind) == (path, "probed", kind)
    assert order is None or layer.system.order == order
    assert layer.parameters == sum(p.numel() for p in model.get_submodule(path).parameters())
    assert layer.realised is not None
    assert layer.realised.taps == LENGTH
    assert layer.realised.error < AGREEMENT
    u = noise(3, LENGTH, 2)
    with torch.no_grad():
        expected = model(u)
        assert torch.equal(known(u), expected)
        assert relative(reduced(u), expected) < AGREEMENT
        assert relative(exportable(reduced)(u), expected) < AGREEMENT
        for length in (1, 17):
            assert relative(reduced(u[:, :length]), model(u[:, :length])) < AGREEMENT


def test_batches_dtype_and_other_lengths_go_through_the_layer_alone() -> None:
    torch.manual_seed(1)
    model = around(Mixing(), time_first=True)
    _, reduced = at_full_order(model, lti=["inner"])
    u = noise(5, 3 * LENGTH, CHANNELS)
    with torch.no_grad():
        # A filter of three damped modes is the same recurrence far beyond the samples it was measured on.
        assert relative(reduced.inner(u), model.inner(u)) < 5e-5
        assert reduced.inner(u.half()).dtype == torch.float16


def test_what_is_added_to_every_sample_stays() -> None:
    torch.manual_seed(2)
    model = around(Mixing(), time_first=True)
    _, reduced = at_full_order(model, lti=["inner"])
    silence = torch.zeros(1, 9, CHANNELS)
    with torch.no_grad():
        assert relative(reduced.inner(silence), model.inner(silence)) < AGREEMENT
        assert torch.allclose(reduced.inner.offset, model.inner.leave.bias, atol=1e-6)


def test_hooks_and_plain_attributes_stay() -> None:
    torch.manual_seed(3)
    model = around(DampedFilter())
    model.inner.d_model = CHANNELS
    seen: list[int] = []
    model.inner.register_forward_hook(lambda module, args, answer: seen.append(args[0].shape[-1]))
    known, reduced = at_full_order(model, lti=["inner"])
    seen.clear()
    with torch.no_grad():
        known(noise(1, 30, 2))
        reduced(noise(1, 20, 2))
    assert seen == [30, 20]
    assert reduced.inner.d_model == CHANNELS
    assert set(dict(model.inner.named_parameters())) == {"decay", "angle", "gain", "skip"}


def test_patterns_name_several_layers() -> None:
    torch.manual_seed(4)
    blocks = nn.Sequential(*(Around(DampedFilter(), channels=CHANNELS) for _ in range(2)))
    blocks[0].decoder = nn.Linear(CHANNELS, 2)
    model = blocks.eval()
    known, reduced = at_full_order(model, lti=["*.inner"])
    assert [layer.name for layer in find_layers(known)] == ["0.inner", "1.inner"]
    u = noise(2, LENGTH, 2)
    with torch.no_grad():
        assert relative(reduced(u), model(u)) < AGREEMENT


class Shared(nn.Module):
    """Calls one filter twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.first = DampedFilter()
        self.again = self.first

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples).transpose(1, 2)
        y: Tensor = self.again(torch.tanh(self.first(z)))
        return y


def test_shared_layers_stay_shared() -> None:
    torch.manual_seed(5)
    model = Shared().eval()
    known, reduced = at_full_order(model, lti=["first"])
    assert len(find_layers(known)) == 1
    assert reduced.first is reduced.again
    u = noise(2, LENGTH, 2)
    with torch.no_grad():
        assert relative(reduced(u), model(u)) < AGREEMENT


class Gated(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) * torch.sigmoid(u)


class Slightly(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u + 0.01 * u**2)


class Varying(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) * (1 + 0.1 * torch.cos(torch.arange(u.shape[-1]) * 0.3))


class EverySecond(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        kept = (torch.arange(u.shape[-1]) % 2 == 0).to(u)
        return super().forward(u * kept)


class Backwards(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u.flip(-1)).flip(-1)


class LooksAhead(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) + 0.5 * nn.functional.pad(u[..., 1:], (0, 1))


class Positional(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) + torch.sin(torch.arange(u.shape[-1]) * 0.1)


class Noisy(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) + 0.01 * torch.randn_like(u)


class Dropping(DampedFilter):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.dropout(super().forward(u))
        return y


class Shortening(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u)[..., ::2].repeat_interleave(2, -1)[..., 1:]


class Named(DampedFilter):
    def forward(self, u: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # the difference is the point
        return {"output": super().forward(u)}


class Flat(nn.Module):
    def forward(self, u: Tensor) -> Tensor:
        return u.flatten(1).unflatten(1, u.shape[1:])[:, None]


class Infinite(DampedFilter):
    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u) / 0.0


class Selective(nn.Module):
    """Steps that follow the input, in a class of no known name."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, u: Tensor) -> Tensor:
        keep = torch.sigmoid(self.step(u.transpose(1, 2))).transpose(1, 2)
        state, states = torch.zeros_like(u[..., 0]), []
        for k in range(u.shape[-1]):
            state = keep[..., k] * state + (1 - keep[..., k]) * u[..., k]
            states.append(state)
        return torch.stack(states, -1)


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(CHANNELS, CHANNELS, batch_first=True)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.gru(u.transpose(1, 2))[0].transpose(1, 2)
        return y


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Gated, "inner is not linear: superposition and scaling"),
        (Slightly, "inner is not linear"),
        (Selective, "inner is not linear"),
        (Gru, "inner is not linear"),
        (Varying, "inner is not time-invariant: a delayed input"),
        (EverySecond, "inner is not time-invariant: a delayed input"),
        (Positional, "inner is not time-invariant: it answers silence"),
        (Backwards, "inner is not causal"),
        (LooksAhead, "inner is not causal"),
        (Noisy, "inner is not deterministic"),
        (Shortening, "changes the length"),
        (Named, "returns neither a tensor nor a tensor followed by states"),
        (Flat, "takes and returns (batch, channels, time)"),
        (Infinite, "NaN or infinite"),
    ],
)
def test_what_is_no_causal_system_is_refused_with_the_property_and_its_size(kind: Callable[[], nn.Module], said: str) -> None:
    torch.manual_seed(6)

    class Unread(Around):
        """Uses of the module's answer no more than its size, so that any will do."""

        def forward(self, samples: Tensor) -> Tensor:
            z = self.encoder(samples)
            self.inner(z.transpose(1, 2))
            return z

    text = refusal(lambda: realise_layers(Unread(kind()).eval(), examples(), lti=["inner"]))
    assert said in text
    if "inner is not" in text:
        assert ";" in text  # the mend


def test_violations_are_measured() -> None:
    torch.manual_seed(7)
    text = refusal(lambda: realise_layers(around(LooksAhead()), examples(), lti=["inner"]))
    told = float(text.partition("(by ")[2].partition(" of")[0])
    # Half of two noises' difference, of a filtered noise whose largest value is a few times as large.
    assert 0.01 < told < 0.5


def test_dropout_in_training_mode_is_refused_by_name_and_in_eval_mode_is_nothing() -> None:
    torch.manual_seed(8)
    model = around(Dropping())
    assert find_layers(realise_layers(model, examples(), lti=["inner"]))
    text = refusal(lambda: realise_layers(model.train(), examples(), lti=["inner"]))
    assert "inner.dropout, p = 0.1" in text
    assert "model.eval()" in text


class TwoSignals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.inner = nn.Bilinear(CHANNELS, CHANNELS, CHANNELS)

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples)
        y: Tensor = self.inner(z, z * 2)
        return y


class Uncalled(nn.Module):
    """Uses a filter's taps without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.inner = DampedFilter()
        self.outer = nn.Identity()

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples).transpose(1, 2)
        y: Tensor = self.outer(z * self.inner.kernel(z.shape[-1]))
        return y


class ReadsAttribute(Uncalled):
    """Calls its filter, and asks it for more."""

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples).transpose(1, 2)
        y: Tensor = self.inner(z) + self.inner.skip[:, None]
        return y


class TwoWays(nn.Module):
    """One filter with two gains."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.inner = ImplicitFilter()
        self.gains = nn.Parameter(torch.tensor([0.5, 2.0]))

    def forward(self, samples: Tensor) -> Tensor:
        z: Any = self.encoder(samples).transpose(1, 2)
        for gain in self.gains:
            z = self.inner(z, z.shape[-1], gain)[0]
        return z


@pytest.mark.parametrize(
    ("make", "pattern", "said"),
    [
        (TwoSignals, "inner", "2 inputs that change"),
        (Uncalled, "inner", "does not call it"),
        (ReadsAttribute, "inner", "put what is linear and time-invariant into a module of its own"),
        (TwoWays, "inner", "in more than one way (its argument 2"),
        (
            lambda: Around(DampedFilter()),
            "blocks.*.ssm",
            "No module of the model is named 'blocks.*.ssm'; its modules are encoder, inner",
        ),
        (lambda: Around(DampedFilter()), "inner2", "No module"),
    ],
)
def test_modules_that_cannot_be_replaced_are_refused(make: Callable[[], nn.Module], pattern: str, said: str) -> None:
    torch.manual_seed(9)
    assert said in refusal(lambda: realise_layers(make().eval(), examples(), lti=[pattern]))


def test_models_that_nothing_is_named_in_are_left_alone() -> None:
    model = around(DampedFilter())
    assert realise_layers(model, examples()) is model


def test_naming_a_layer_goes_before_refusing_it() -> None:
    """A filter with the parameters of a selective layer is measured if the user asks, and then is no refused layer."""
    torch.manual_seed(10)
    model = around(DampedFilter())
    model.inner.A_log = nn.Parameter(torch.zeros(2))
    known = realise_layers(model, examples(), lti=["inner"])
    assert [layer.name for layer in find_layers(known)] == ["inner"]
    assert find_refused(known) == []
