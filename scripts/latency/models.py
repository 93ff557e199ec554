"""Rows of whole networks: streaming steps and blocks, whole sequences, costs per sample, sizes and loading."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import onnx

from latency.networks import gru_model, traced_network
from latency.rows import Row, compare, medians_of, ratio_of
from latency.sessions import bound, open_session, profile
from ssm2edge.export import export_offline, export_stream

WIDTH, ORDER, LAYERS, LENGTH = 128, 8, 4, 1024
NETWORK = f"{LAYERS} layers of {WIDTH}, order {ORDER}"
GRU = f"ONNX GRU, {LAYERS} layers of {WIDTH}"
CUT_TARGETS, GRU_TARGETS = {1: 1.7, 16: 1.6, 64: 1.4}, {1: 0.78, 16: 0.7}
WHOLE_TARGET, FLAT_TARGET, LOAD_TARGET = 0.24, 1.25, 1.0
LENGTHS = (1024, 4096, 16384, 65536)


@cache
def offline_graph(order: int | None) -> onnx.ModelProto:
    """Whole-sequence graph of the network, or of what is left without its LTI blocks."""
    return export_offline(traced_network(WIDTH, order, LAYERS), LENGTH)


@cache
def stream_graph(order: int | None, block: int) -> onnx.ModelProto:
    """Streaming graph of the same."""
    return export_stream(traced_network(WIDTH, order, LAYERS), block)[0]


def stream_rows(rounds: int) -> Iterator[Row]:
    """Steps and blocks against the network without LTI blocks, and against a GRU."""
    for block, target in CUT_TARGETS.items():

        def make(block: int = block) -> dict[str, Callable[[], object]]:
            graphs = {"artifact": stream_graph(ORDER, block), "without LTI": stream_graph(None, block)}
            graphs |= {"GRU": gru_model(WIDTH, LAYERS, block)}
            return {name: bound(open_session(graph)) for name, graph in graphs.items()}

        compared = compare(make, "without LTI", rounds)
        what = "one streaming step" if block == 1 else f"one block of {block} samples"
        shares = profile(stream_graph(ORDER, block), runs=400)
        yield Row(
            f"stream/cut {block}",
            f"{what}, {NETWORK}",
            "the same network with its LTI blocks cut out",
            target,
            ratio_of(compared, "artifact", "without LTI"),
            medians=medians_of(compared, "artifact", "without LTI"),
            bound_by=shares,
        )
        if block in GRU_TARGETS:
            yield Row(
                f"stream/gru {block}",
                f"{what}, {NETWORK}",
                GRU,
                GRU_TARGETS[block],
                ratio_of(compared, "artifact", "GRU"),
                medians=medians_of(compared, "artifact", "GRU"),
                bound_by=shares,
            )


def whole_rows(rounds: int) -> Iterator[Row]:
    """Whole sequences against a GRU."""

    def make() -> dict[str, Callable[[], object]]:
        size = {"time": LENGTH}
        return {
            "artifact": bound(open_session(offline_graph(ORDER)), size),
            "without LTI": bound(open_session(offline_graph(None)), size),
            "GRU": bound(open_session(gru_model(WIDTH, LAYERS, LENGTH))),
        }

    compared = compare(make, "GRU", rounds)
    yield Row(
        "whole/gru",
        f"whole model, L = {LENGTH:,}, {NETWORK}",
        GRU,
        WHOLE_TARGET,
        ratio_of(compared, "artifact", "GRU"),
        medians=medians_of(compared, "artifact", "without LTI", "GRU"),
        bound_by=profile(offline_graph(ORDER), {"time": LENGTH}),
    )


def flat_rows(rounds: int) -> Iterator[Row]:
    """Cost per sample of long sequences relative to that of short ones."""

    def make() -> dict[str, Callable[[], object]]:
        return {str(length): bound(open_session(offline_graph(ORDER)), {"time": length}) for length in LENGTHS}

    compared = compare(make, str(LENGTHS[0]), min(rounds, 9))
    for length in LENGTHS[1:]:
        yield Row(
            f"flat/{length}",
            f"cost per sample, offline, L = {length:,}, {NETWORK}",
            f"itself at {LENGTHS[0]:,}",
            FLAT_TARGET,
            ratio_of(compared, str(length), str(LENGTHS[0]), LENGTHS[0] / length),
            medians=medians_of(compared, str(length), str(LENGTHS[0])),
            bound_by=profile(offline_graph(ORDER), {"time": length}, runs=3),
        )


def load_rows(rounds: int) -> Iterator[Row]:
    """Seconds to open the files, and the first answer, of any length."""
    graphs = {"offline": offline_graph(ORDER)} | {f"blocks of {block}": stream_graph(ORDER, block) for block in CUT_TARGETS}
    with tempfile.TemporaryDirectory() as directory:
        candidates: dict[str, Callable[[], object]] = {}
        for name, graph in graphs.items():
            path = Path(directory) / f"{name}.onnx"
            onnx.save(graph, path)
            candidates[name] = functools.partial(open_session, path)
        compared = compare(lambda: candidates, "offline", min(rounds, 12))
        slowest = max(candidates, key=compared.median)
    yield Row(
        "load/seconds",
        f"time to load, {NETWORK}, offline (any length) and blocks of {', '.join(map(str, CUT_TARGETS))}; the slowest",
        "the clock",
        LOAD_TARGET,
        (compared.median(slowest), compared.percentile(slowest, 2.5), compared.percentile(slowest, 97.5)),
        unit="s",
        medians=medians_of(compared, *candidates),
    )
