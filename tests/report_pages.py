"""Manifests and figures of builds that never were, large and odd ones, and their pages."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from ssm2edge.artifact import (
    Figures,
    FileRecord,
    KeptLayer,
    LayerFigures,
    LayerRecord,
    Manifest,
    Parameters,
    Profile,
    RealisedRecord,
    Share,
)
from ssm2edge.stages.portray import layer_figures
from ssm2edge.systems.system import System
from tests.first_order import manifest, reference, stream_graph
from tests.random_banks import random_bank

FILES = {"offline.onnx": FileRecord("0" * 64, 123456), "reference.npz": FileRecord("1" * 64, 99)}


def random_mimo(order: int, inputs: int, outputs: int, seed: int, quadratic: bool) -> System:
    """One system of many inputs and outputs, with quadratic outputs if asked for."""
    bank = random_bank(1, order, seed)[0]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(order, inputs + outputs, generator=generator, dtype=torch.float64).to(torch.complex128)
    M = torch.zeros(outputs, order, order, dtype=torch.complex128) + torch.eye(order) if quadratic else None
    poles = bank.poles.real.to(torch.complex128)
    return System(
        poles, rows[:, :inputs].real.to(rows), rows[:, inputs:].real.to(rows).mT, torch.zeros(outputs, inputs).double(), M
    )


def record(figures: LayerFigures, channels: int, before: int, after: int) -> LayerRecord:
    """What a manifest says of such a layer."""
    worst = figures.errors[-1]
    return LayerRecord(
        figures.name, "tests", "SISO bank", channels, before, after, 100, 2.0, worst, 0.97, {"converged": channels}
    )


def of_layers(layers: list[tuple[LayerFigures, LayerRecord]], **changes: Any) -> tuple[Manifest, Figures]:
    """A manifest and figures of these layers, profiled, with a bound and checks."""
    names = [figures.name for figures, _ in layers]
    shares = [
        Share(name, kind, 1e-4 / (index + 1), 3) for name in [*names, ""] for index, kind in enumerate(["Scan", "Mul", "Add"])
    ]
    bound = {
        "available": True,
        "estimated": {"value": 2.0, "layers": {name: {"error": 1.0, "injected": 0.5, "arriving": 0.0} for name in names}},
        "certified": {"value": 50.0},
    }
    checks = [{"name": "offline.parity", "figure": 1e-6, "limit": 1e-4, "passed": True, "detail": "as the reduced model"}]
    longest = f"frequency.backbone.encoder.blocks.10.residual.mixer.{names[0]}"
    checks += [{"name": longest, "figure": 0.4386, "limit": 0.4387, "passed": True, "detail": "response to 32 sines; as built"}]
    made = dataclasses.replace(
        manifest(reference(True), stream_graph(True, 4), 4),
        layers=tuple(record for _, record in layers),
        parameters=Parameters(24960, 3264, 51210, 29514),
        bound=bound,
        parity={"passed": True, "checks": checks},
        **changes,
    )
    profiles = tuple(Profile(graph, 21, steps, tuple(shares)) for graph, steps in (("offline.onnx", 784), ("stream.onnx", 1)))
    return made, Figures(tuple(figures for figures, _ in layers), 0.1, 10.0, profiles)


def large() -> tuple[Manifest, Figures]:
    """Three banks of 64 channels with 64 states, reduced to 8 by leaving states out."""
    layers = []
    for number in range(3):
        bank = random_bank(64, 64, seed=number, largest=0.9999, pairs=32)
        kept = System(bank.poles[:, :8], bank.B[:, :8], bank.C[:, :, :8], bank.D)
        figures = layer_figures(f"layers.{number}", bank, kept, 784)
        layers.append((figures, record(figures, 64, 64, 8)))
    return of_layers(layers)


def odd() -> tuple[Manifest, Figures]:
    """A layer of one channel and one state, an equal pair of layers, a quadratic MIMO one; names that are markup."""
    one = random_bank(1, 1, seed=1, pairs=0)
    mimo = random_mimo(6, 3, 2, seed=2, quadratic=True)
    small = System(mimo.poles[:2], mimo.B[:2], mimo.C[:, :2], mimo.D, mimo.M[:, :2, :2] if mimo.M is not None else None)
    layers = []
    for name, before, after in (("</script><img src=x>", one, one), ("mimo & more", mimo, small)):
        figures = layer_figures(name, before, after, None)
        layers.append((figures, record(figures, before.batch_shape.numel(), before.order, after.order)))
    kept = KeptLayer("mixer <i>", "tests", "its output depends on its input twice")
    realised = RealisedRecord(512, 1e-6, 0)
    layers = [(figures, dataclasses.replace(record, realised=realised)) for figures, record in layers]
    return of_layers(layers, accuracy=None, latency=None, kept_layers=(kept,))


def close(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether figures of five digits say the same."""
    return bool(np.allclose(values, others, rtol=1e-4, atol=1e-12))
