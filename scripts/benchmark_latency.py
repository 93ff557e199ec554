"""Latency of models/digits at order 8 against the original PyTorch model, one thread, batch 1, interleaved.

    python scripts/benchmark_latency.py [--artifact build/digits8] [--rounds 60] [--json figures.json]

Candidates: the original as published (kernels rebuilt in forward), the same with its kernels cached, with the kernels' spectra
cached too, and the artifact's whole-sequence graph in onnxruntime.  Every round times each of them once in random order, sessions
are rebuilt several times; ratios are medians over pairs, with bootstrap intervals.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssm2edge.latency import torch_threads
from ssm2edge.loading import load_model, load_samples, open_source
from ssm2edge.options import Options
from ssm2edge.pipeline import build
from ssm2edge.runtime import Model, Stream
from ssm2edge.verification import Comparison, interleaved, processor_name

MODEL = Path(__file__).resolve().parent.parent / "models" / "digits"
SESSIONS = 5
WARM = 0.03
"""Seconds a timing lasts at least: the caches are those of a candidate in use, not of the one before it."""


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


def whole_sequences(directory: Path, sample: NDArray[np.float32], rounds: int) -> Comparison:
    """Time the original's variants and the artifact on one sequence."""
    source = open_source(str(MODEL))
    length = sample.shape[1]
    published, cached, spectra = (load_model(source) for _ in range(3))
    with torch.no_grad():
        cached, spectra = with_cached_kernels(cached, length), with_cached_spectra(spectra, length)
    tensor = torch.from_numpy(sample)
    parts = []
    with torch_threads(1), torch.no_grad():
        for session in range(SESSIONS):
            with Model(directory / "offline.onnx") as artifact:
                candidates: dict[str, Callable[[], object]] = {
                    "original as published": lambda: published(tensor),
                    "original, kernels cached": lambda: cached(tensor),
                    "original, spectra cached": lambda: spectra(tensor),
                    "artifact": functools.partial(artifact.run, sample),
                }
                parts.append(
                    interleaved(candidates, baseline="artifact", rounds=-(-rounds // SESSIONS), seed=session, shortest=WARM)
                )
    return Comparison("artifact", {name: np.concatenate([part.seconds[name] for part in parts]) for name in parts[0].seconds})


def step_seconds(directory: Path, sample: NDArray[np.float32]) -> float | None:
    """Median time of one step of the streaming graph, or None without one."""
    if not (directory / "stream.onnx").exists():
        return None
    with Stream(directory / "stream.onnx") as stream:
        step = sample[:, : stream.block]
        comparison = interleaved({"step": lambda: stream.push(step)}, baseline="step", rounds=40)
    return comparison.median("step")


def markdown(figures: dict[str, Any]) -> str:
    """README's table of the figures."""
    lines = ["| what | median | relative to the artifact (95 % interval) |", "|---|---|---|"]
    for name, seconds in figures["median_seconds"].items():
        ratio = figures["ratio_to_artifact"].get(name)
        relative = "1" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
        lines.append(f"| {name} | {seconds * 1e3:.2f} ms | {relative} |")
    if figures["step_seconds"] is not None:
        lines.append(f"| one streaming step of the artifact | {figures['step_seconds'] * 1e6:.0f} us | |")
    lines.append(f"\n{figures['processor']}, {figures['rounds']} rounds.")
    return "\n".join(lines)


@click.command()
@click.option("--artifact", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Built otherwise at --order.")
@click.option("--order", default=8, show_default=True)
@click.option("--rounds", default=60, show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(artifact: Path | None, order: int, rounds: int, target: Path | None) -> None:
    """Print medians and ratios."""
    samples = load_samples(MODEL / "samples.npz", ["pixels"], 1)
    sample = np.ascontiguousarray(samples.held_out["pixels"][:1])
    with tempfile.TemporaryDirectory() as directory:
        if artifact is None:
            artifact = Path(directory) / "artifact"
            build(open_source(str(MODEL)), Options(order=order), artifact, False, lambda stage, share: None)
        comparison = whole_sequences(artifact, sample, rounds)
        step = step_seconds(artifact, sample)
    ratios = comparison.ratios()
    click.echo(f"{processor_name()}, one thread, batch 1, {sample.shape[1]} samples, {comparison.rounds} rounds")
    for name in comparison.seconds:
        ratio = ratios.get(name)
        times = "" if ratio is None else f"   {ratio.ratio:7.2f} times the artifact's ({ratio.low:.2f} to {ratio.high:.2f})"
        click.echo(f"{name:26s} {comparison.median(name) * 1e3:9.3f} ms{times}")
    if step is not None:
        click.echo(f"{'one streaming step':26s} {step * 1e6:9.1f} us")
    if target is not None:
        figures = {
            "processor": processor_name(),
            "order": order,
            "rounds": comparison.rounds,
            "median_seconds": {name: comparison.median(name) for name in comparison.seconds},
            "ratio_to_artifact": {name: [r.ratio, r.low, r.high] for name, r in ratios.items()},
            "step_seconds": step,
        }
        target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
