"""Build a zoo of small models as people write them, at full order, and print what becomes of each.

    python scripts/try_models.py
    python scripts/try_models.py --only "head" --out zoo.json

Each model is right (the artifact answers as the model does: whole sequences, one sequence, another length, block by block),
refused with the sentence that a user sees, wrong, or a crash.  The exit code is 1 if any is wrong or a crash, or has another
outcome than the zoo expects.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from zoo import fronts, heads, inputs, libraries, norms, structure
from zoo.case import LENGTH, Case

import ssm2edge
from ssm2edge.runtime import Model, Port, Stream
from ssm2edge.verification import sessions

CASES: dict[str, Case] = {
    **libraries.CASES,
    **heads.CASES,
    **inputs.CASES,
    **norms.CASES,
    **fronts.CASES,
    **structure.CASES,
}
TOLERANCE = 2e-4
"""Largest difference relative to the largest answer: what float32 leaves after a few layers."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a model: ``right``, ``refused``, ``wrong`` or ``crash``, and whether this was expected."""

    name: str
    kind: str
    streams: bool
    expected: bool
    words: str
    seconds: float


def main() -> None:
    """Print a line for each model, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the names of the models to try")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every N-th model, from the K-th")
    parser.add_argument("--out", type=Path, help="JSON file for the outcomes")
    given = parser.parse_args()
    first, step = (int(number) for number in given.part.split("/"))
    chosen = [name for name in CASES if given.only in name][first - 1 :: step]
    # Timings are part of a build; nothing is claimed from them here.
    sessions.TURNS = sessions.FEWEST
    outcomes = []
    for name in chosen:
        outcomes.append(attempt(name, CASES[name]))
        print(line(outcomes[-1]), flush=True)
    counts = Counter(outcome.kind for outcome in outcomes)
    print(f"{len(outcomes)} models: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    if given.out:
        given.out.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    sys.exit(0 if all(outcome.expected for outcome in outcomes) else 1)


def line(outcome: Outcome) -> str:
    """One line of the list."""
    mark = "" if outcome.expected else "  <- not expected"
    stream = ", streams" if outcome.kind == "right" and outcome.streams else ""
    return f"{outcome.kind + stream:<16} {outcome.name:<48} {outcome.seconds:5.1f} s  {outcome.words}{mark}"


def attempt(name: str, case: Case) -> Outcome:
    """Build a model, and compare the artifact with it."""
    start = time.perf_counter()
    torch.manual_seed(0)
    kind, streams, words = "crash", False, ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model, samples = case.make(), case.samples()
            reference = copy.deepcopy(model).eval()
            if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in reference.parameters()):
                # Weights in half precision are computed with in float32.
                reference.float()
            built = ssm2edge.build(
                model, samples, Path(folder) / "out", keep=1.0, calibrate="none", held_out=samples, **case.options
            )
            streams = built.manifest.streaming.available
            words = faults(built, reference, samples)
            kind = "wrong" if words else "right"
            words = words or (built.manifest.streaming.reason or "")
        except ssm2edge.VerificationError as error:
            kind, words = "wrong", str(error)
        except ssm2edge.Error as error:
            kind, words = "refused", str(error)
        except Exception:  # a crash of any kind is an outcome, and is printed whole
            words = traceback.format_exc()
    return Outcome(name, kind, streams, as_expected(case, kind, streams, words), words, time.perf_counter() - start)


def as_expected(case: Case, kind: str, streams: bool, words: str) -> bool:
    """Return True if the outcome is the one that a user would expect."""
    if case.refused is None:
        return kind == "right" and streams == case.streams
    return kind == "refused" and re.search(case.refused, words) is not None


def faults(built: ssm2edge.Artifact, original: nn.Module, samples: Any) -> str:
    """Return what the artifact does other than the model, or nothing."""
    with Model(built.directory) as model:
        given = arrays_of(samples, model.inputs)
        shorter = max(model.shortest, (LENGTH - 5) // model.multiple * model.multiple)
        parts = {"whole sequences": given, "one sequence": {name: value[:1] for name, value in given.items()}}
        if model.length is None:
            parts[f"sequences of {shorter}"] = beginning(given, model.inputs, shorter)
        for words, part in parts.items():
            if fault := differs(model.run(part), expected(original, part, samples)):
                return f"{words}: {fault}"
    if built.manifest.streaming.available:
        with Stream(built.directory, len(next(iter(given.values())))) as stream:
            for steps in (1, 3, 7):
                part = beginning(given, stream.inputs, LENGTH // stream.block * stream.block)
                stream.reset()
                if fault := differs(streamed(stream, part, steps * stream.frame), expected(original, part, samples)):
                    return f"stream, {steps} samples at a time: {fault}"
    return ""


def arrays_of(samples: Any, ports: Sequence[Port]) -> dict[str, NDArray[Any]]:
    """Samples by the names of the graph's inputs, in its types where a wider one holds the same numbers."""
    values = list(samples.values()) if isinstance(samples, dict) else samples if isinstance(samples, tuple) else (samples,)
    by_name = samples if isinstance(samples, dict) else {port.name: value for port, value in zip(ports, values, strict=True)}
    return {port.name: by_name[port.name].float().numpy().astype(port.dtype) for port in ports}


def beginning(given: Mapping[str, NDArray[Any]], ports: Sequence[Port], length: int) -> dict[str, NDArray[Any]]:
    """The first samples of every input that runs along time; numbers of samples no larger than that."""
    cut = {
        port.name: given[port.name] if port.time_axis is None else given[port.name][port.along_time(0, length)] for port in ports
    }
    return {name: np.minimum(value, length) if name == "lengths" else value for name, value in cut.items()}


def streamed(stream: Stream, part: Mapping[str, NDArray[Any]], size: int) -> dict[str, NDArray[Any]]:
    """Outputs of a stream that takes so many samples at a time."""
    length = next(part[port.name].shape[port.time_axis] for port in stream.inputs if port.time_axis is not None)
    pieces: dict[str, list[NDArray[Any]]] = {port.name: [] for port in stream.outputs}
    for start in range(0, length, size):
        stop = min(start + size, length)
        taken = {
            port.name: part[port.name] if port.time_axis is None else part[port.name][port.along_time(start, stop)]
            for port in stream.inputs
        }
        for name, value in stream.push(taken).items():
            pieces[name].append(value)
    return {
        port.name: pieces[port.name][-1] if port.time_axis is None else np.concatenate(pieces[port.name], port.time_axis)
        for port in stream.outputs
    }


def expected(original: nn.Module, part: Mapping[str, NDArray[Any]], samples: Any) -> list[NDArray[Any]]:
    """The model's own answers, in the order of its outputs."""
    kind = next((parameter.dtype for parameter in original.parameters()), torch.float32)
    values = {name: torch.from_numpy(value) for name, value in part.items()}
    arguments = [value.to(kind) if value.is_floating_point() else value for value in values.values()]
    named = dict(zip(values, arguments, strict=True))
    with torch.no_grad():
        if not isinstance(samples, dict):
            answer = original(*arguments)
        elif set(named) <= set(inspect.signature(original.forward).parameters):
            answer = original(**named)
        else:
            answer = original(named)
    return [value.numpy() for value in tensors(answer)]


def tensors(answer: Any) -> list[Tensor]:
    """Tensors of an answer, however it holds them."""
    if isinstance(answer, Tensor):
        return [answer]
    if answer is None:
        return []
    parts = answer.values() if isinstance(answer, Mapping) else answer
    return [tensor for part in parts for tensor in tensors(part)]


def differs(found: Mapping[str, NDArray[Any]], answers: Sequence[NDArray[Any]]) -> str:
    """Return the first difference in words, or nothing."""
    if len(found) != len(answers):
        return f"{len(found)} outputs for {len(answers)}"
    for (name, value), answer in zip(found.items(), answers, strict=True):
        if value.shape != answer.shape:
            return f"{name} has shape {value.shape} for {answer.shape}"
        if (
            answer.size
            and (worst := float(np.abs(value.astype(float) - answer).max() / max(1.0, np.abs(answer).max()))) > TOLERANCE
        ):
            return f"{name} is off by {worst:.1e}"
    return ""


if __name__ == "__main__":
    main()
