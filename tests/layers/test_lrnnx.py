"""The layers of lrnnx, by the names and layout of their parameters; the package imports only where its CUDA parts are built.

The modules here store what the package's layers store and compute it sample by sample or by kernels, in code of their own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.sysid.model import scan
from ssm2edge.layers import LayerError, exportable, find_layers
from tests.layer_answers import answers, full_order, noise, relative

FEATURES, MODES, LENGTH = 4, 5, 60


def hold(modes: Tensor, step: Tensor, _: None) -> tuple[Tensor, Tensor]:
    poles = torch.exp(modes * step)
    return poles, (poles - 1) / modes


def turned_round(modes: Tensor, step: Tensor, _: None) -> tuple[Tensor, Tensor]:
    """The package's bilinear rule, as its source has it."""
    return (1 - step * modes / 2) / (1 + step * modes / 2), step / (1 + step * modes / 2)


def unscaled(modes: Tensor, step: Tensor, _: None) -> tuple[Tensor, float]:
    return torch.exp(modes * step), 1.0


class InvariantS5(nn.Module):
    """As ``lrnnx.models.lti.S5`` stores it."""

    def __init__(self, rule: Any = hold) -> None:
        super().__init__()
        self.discretize_fn = rule
        self.A = nn.Parameter(torch.stack((torch.rand(MODES), 3 * torch.arange(MODES)), dim=-1))
        self.B = nn.Parameter(torch.randn(MODES, FEATURES))
        self.C = nn.Parameter(torch.randn(FEATURES, MODES, 2))
        self.D = nn.Parameter(torch.randn(FEATURES, FEATURES))
        self.log_dt = nn.Parameter(torch.linspace(-3.0, -1.0, MODES))

    def forward(self, x: Tensor, integration_timesteps: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        modes = torch.complex(-nn.functional.softplus(self.A[:, 0]), self.A[:, 1])
        poles, gains = self.discretize_fn(modes, self.log_dt.exp(), None)
        states = scan(poles, (x.to(poles.dtype) @ self.B.mT.to(poles.dtype)) * gains)
        return (states @ torch.view_as_complex(self.C).mT).real + x @ self.D


class VaryingS5(nn.Module):
    """As ``lrnnx.models.ltv.S5`` stores it; without timesteps it is time-invariant."""

    def __init__(self, discretization: str = "zoh", conj_sym: bool = True) -> None:
        super().__init__()
        self.discretization, self.conj_sym, self.step_rescale = discretization, conj_sym, 1.5
        self.A = nn.Parameter(torch.stack((-0.5 - torch.rand(MODES), 2 * torch.arange(MODES)), dim=-1))
        self.B = nn.Parameter(torch.randn(MODES, FEATURES, 2))
        self.C = nn.Parameter(torch.randn(FEATURES, MODES, 2))
        self.D = nn.Parameter(torch.randn(FEATURES))
        self.log_dt = nn.Parameter(torch.linspace(-3.0, -1.0, MODES))

    def forward(self, x: Tensor, integration_timesteps: Tensor | None = None) -> Tensor:
        modes, step = torch.view_as_complex(self.A), self.log_dt.exp() * self.step_rescale
        poles = torch.exp(modes * step)
        gains = (poles - 1) / modes if self.discretization == "zoh" else torch.ones_like(poles)
        states = scan(poles, (x.to(poles.dtype) @ torch.view_as_complex(self.B).mT) * gains)
        y = (states @ torch.view_as_complex(self.C).mT).real
        return (2 if self.conj_sym else 1) * y + x * self.D


class Kernel(nn.Module):
    """Shares the layer's parameters, and makes kernels of them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        for name in ("A_real", "A_imag", "B", "C", "inv_dt"):
            self.register_parameter(name, getattr(layer, name))
        self.disc = "zoh"

    def forward(self, length: int) -> Tensor:
        A = -torch.exp(self.A_real) - 1j * self.A_imag
        step = torch.exp(self.inv_dt) * A
        weights = torch.view_as_complex(self.B) * torch.view_as_complex(self.C) * torch.expm1(step) / A
        return 2 * (weights[..., None] * torch.exp(step[..., None] * torch.arange(length))).sum(-2).real


class Convolution(nn.Module):
    def __init__(self, layer: nn.Module, heads: int, l_max: int | None) -> None:
        super().__init__()
        self.kernel, self.channels, self.swap_channels, self.l_max = Kernel(layer), heads, False, l_max

    def forward(self, x: Tensor, state: None = None, **_: object) -> tuple[Tensor, None]:
        u, length = x.mT, x.shape[1]
        kernel = nn.functional.pad(self.kernel(min(length, self.l_max or length)), (0, length))[..., :length]
        spectrum = torch.fft.rfft(u, n=2 * length)[:, None] * torch.fft.rfft(kernel, n=2 * length)
        return torch.fft.irfft(spectrum, n=2 * length)[..., :length], None


class OuterS4(nn.Module):
    """As ``lrnnx.models.lti.S4D`` stores it: parameters on the layer, shared with the kernel of its convolution; skip outside."""

    def __init__(self, heads: int = 1, l_max: int | None = None, transposed: bool = True) -> None:
        super().__init__()
        self.transposed = transposed
        self.A_real = nn.Parameter(torch.randn(FEATURES, MODES).exp().log())
        self.A_imag = nn.Parameter(3 * torch.rand(FEATURES, MODES))
        self.B = nn.Parameter(torch.randn(1, FEATURES, MODES, 2))
        self.C = nn.Parameter(torch.randn(heads, FEATURES, MODES, 2))
        self.inv_dt = nn.Parameter(torch.linspace(-3.0, -1.0, FEATURES)[:, None])
        self.D = nn.Parameter(torch.randn(heads, FEATURES))
        self.layer = Convolution(self, heads, l_max)
        self.output_linear = nn.Linear(heads * FEATURES, FEATURES)

    def forward(self, x: Tensor, lengths: int | None = None, **kwargs: object) -> tuple[Tensor, None]:
        x = x.mT if self.transposed else x
        if lengths is not None:
            x = x * (torch.arange(x.shape[1]) < lengths)[:, None]
        y, state = self.layer(x, **kwargs)
        y = y + x.mT[:, None] * self.D[..., None]
        y = self.output_linear(nn.functional.gelu(y.flatten(1, 2).mT))
        return (y.mT if self.transposed else y), state


@pytest.mark.parametrize(
    "make",
    [InvariantS5, lambda: InvariantS5(unscaled), VaryingS5, lambda: VaryingS5("dirac", False)],
    ids=["invariant", "invariant dirac", "varying", "varying dirac"],
)
def test_s5_is_read_and_replaced(make: Any) -> None:
    torch.manual_seed(0)
    layer = make().eval()
    (found,) = find_layers(layer)
    assert (found.library, found.system.order) == ("lrnnx S5", 2 * MODES)
    replaced = full_order(layer)
    for length in (1, 2, LENGTH):
        u = noise(2, length, FEATURES)
        assert relative(answers(replaced, u), answers(layer, u)) < 1e-5
        assert relative(answers(exportable(replaced), u), answers(layer, u)) < 1e-5


def test_timesteps_and_the_bilinear_rule_of_the_package_are_refused_by_name() -> None:
    with pytest.raises(LayerError, match="called with integration_timesteps"):
        full_order(VaryingS5())(noise(2, 9, FEATURES), integration_timesteps=torch.ones(2, 9))
    with pytest.raises(LayerError, match=r"Layer 0 \(lrnnx S5\) is not stable"):
        find_layers(nn.Sequential(InvariantS5(turned_round)))
    with pytest.raises(LayerError, match="its discretisation is none of"):
        find_layers(VaryingS5("async"))


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"l_max": LENGTH}, {"transposed": False}], ids=str)
def test_s4_keeps_everything_around_its_convolution(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"s4": OuterS4(**options)}).eval()
    (found,) = find_layers(model)
    assert (found.name, found.library, found.lengths) == (
        "s4",
        "lrnnx S4",
        range(1, LENGTH + 1) if options.get("l_max") else None,
    )
    layer, replaced = model["s4"], full_order(model)["s4"]  # type: ignore[index]  # a dictionary of modules
    for length in (1, 2, LENGTH):
        u = noise(2, FEATURES, length) if layer.transposed else noise(2, length, FEATURES)
        for lengths in (None, length // 2):
            expected = answers(layer, u, lengths=lengths)
            assert relative(answers(replaced, u, lengths=lengths), expected) < 1e-5
            assert relative(answers(exportable(replaced), u, lengths=lengths), expected) < 1e-5
    kept = {name: value for name, value in layer.state_dict().items() if name.startswith(("D", "output_linear"))}
    after = replaced.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept.items())
    assert {name for name in after if not name.startswith("block.")} == set(kept)


def test_the_package_where_it_loads() -> None:
    try:
        from lrnnx.models.lti import LRU, S4D, S5
    except (ImportError, OSError) as error:
        pytest.skip(f"lrnnx imports only where its CUDA parts are built ({error}).")
    torch.manual_seed(0)
    for layer, shape in (
        (S5(FEATURES, MODES, "zoh"), (2, LENGTH, FEATURES)),
        (LRU(FEATURES, MODES), (2, LENGTH, FEATURES)),
        (S4D(FEATURES, d_state=2 * MODES, verbose=False), (2, FEATURES, LENGTH)),
    ):
        u = noise(*shape)
        expected = answers(layer.eval(), u)
        assert relative(answers(full_order(layer), u), expected) < 1e-5
