"""Rows of built artifacts: models/digits against its original in PyTorch, and the sizes of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latency.rows import Row, compare, medians_of, ratio_of
from latency.sessions import bound, open_session, profile
from ssm2edge.loading import load_arrays, load_model, open_source

MODELS = Path(__file__).resolve().parent.parent.parent / "models"
ORDER = 8
PUBLISHED_TARGET, CACHED_TARGET = 1 / 60, 0.32
SIZE_FACTOR, SIZE_EXTRA = 1.3, 200e3
WARM = 0.03


def with_cached_kernels(model: Any, length: int) -> Any:
    """The original with each layer's kernel computed once."""
    for layer in model.layers:
        kernel = layer.kernel(length).detach()
        layer.kernel.forward = lambda _, kernel=kernel: kernel
    return model


def with_cached_spectra(model: Any, length: int) -> Any:
    """The original with each layer's kernel spectrum computed once."""
    for layer in model.layers:
        spectrum = torch.fft.rfft(layer.kernel(length), n=2 * length).detach()

        def forward(u: Tensor, layer: Any = layer, spectrum: Tensor = spectrum) -> tuple[Tensor, None]:
            y = torch.fft.irfft(spectrum * torch.fft.rfft(u, n=2 * length), n=2 * length)[..., :length]
            return layer.output_linear(layer.dropout(layer.activation(y + u * layer.D.unsqueeze(-1)))), None

        layer.forward = forward
    return model


def digits_rows(rounds: int, directory: Path) -> Iterator[Row]:
    """One whole sequence of models/digits; ``directory`` holds its artifact."""
    source = open_source(str(MODELS / "digits"))
    samples = load_arrays(MODELS / "digits" / "samples.npz")
    sample = torch.from_numpy(np.ascontiguousarray(samples["held_out.pixels"][:1].astype(np.float32)))
    length = sample.shape[1]
    published, cached, spectra = (load_model(source) for _ in range(3))
    with torch.no_grad():
        cached, spectra = with_cached_kernels(cached, length), with_cached_spectra(spectra, length)
    graph = directory / "offline.onnx"

    def make() -> dict[str, Callable[[], object]]:
        return {
            "artifact": bound(open_session(graph), {"time": length}),
            "published": lambda: published(sample),
            "kernels cached": lambda: cached(sample),
            "spectra cached": lambda: spectra(sample),
        }

    compared = compare(make, "artifact", rounds, WARM)
    for name, target in {"published": PUBLISHED_TARGET, "kernels cached": CACHED_TARGET}.items():
        yield Row(
            f"digits/{name}",
            f"whole models/digits at order {ORDER}, L = {length}",
            f"the original in PyTorch, {'as published' if name == 'published' else 'its ' + name}",
            target,
            ratio_of(compared, "artifact", name),
            medians=medians_of(compared, "artifact", name, *(("spectra cached",) if name == "kernels cached" else ())),
            bound_by=profile(graph, {"time": length}),
        )


def size_rows(directory: Path, parameters: int) -> Iterator[Row]:
    """Size of the files of models/digits; ``parameters`` counts those that are left in its artifact."""
    allowed = SIZE_FACTOR * 4 * parameters + SIZE_EXTRA
    for name in ("offline.onnx", "stream.onnx"):
        size = (directory / name).stat().st_size
        share = size / allowed
        yield Row(
            f"size/{name}",
            f"file size, {name} of models/digits at order {ORDER}: {size / 1e3:.0f} KB",
            f"{SIZE_FACTOR} times the parameters' {4 * parameters / 1e3:.0f} KB plus {SIZE_EXTRA / 1e3:.0f} KB",
            1.0,
            (share, share, share),
        )
