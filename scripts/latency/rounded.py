"""Rows of the reference models with weights in 8 bits, against the same graphs in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from latency.artifacts import MODELS
from latency.rows import Row, compare, medians_of, ratio_of
from latency.sessions import bound, open_session, profile
from ssm2edge.cache import Store
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.stages.compress import compress
from ssm2edge.stages.export import export
from ssm2edge.stages.load import load
from ssm2edge.stages.progress import silent
from ssm2edge.stages.resolve import resolve

ORDERS = {"digits": 8, "fashion": 48, "activity": 16, "keywords": 8, "sysid": 8, "text": 8}
"""An eighth of the states."""
TARGET = 1.05
GRAPHS = {"stream": "a streaming step", "offline": "a whole sequence"}
PRECISIONS = ("int8", "float32")


def written(name: str, precision: str, folder: Path) -> int:
    """Write the graphs of a model, and return the length of its sequences.  Calibration would not change what they compute."""
    options = Options(order=ORDERS[name], calibrate="none", precision=precision)
    task, options, _ = resolve(load(open_source(str(MODELS / name))), options)
    folder.mkdir()
    export(task.traced(compress(task, options, Store(None), silent).model), task.length, options, folder, silent)
    return task.length


def rounded_rows(rounds: int) -> Iterator[Row]:
    """Streams and whole sequences of all six models."""
    for name, order in ORDERS.items():
        with tempfile.TemporaryDirectory() as place:
            folders = {precision: Path(place) / precision for precision in PRECISIONS}
            length = max(written(name, precision, folder) for precision, folder in folders.items())
            for graph, what in GRAPHS.items():
                paths = {precision: folder / f"{graph}.onnx" for precision, folder in folders.items()}
                if not paths["int8"].exists():
                    continue
                sizes = {"time": length} if graph == "offline" else {}

                def make(paths: dict[str, Path] = paths, sizes: dict[str, int] = sizes) -> dict[str, Callable[[], object]]:
                    return {precision: bound(open_session(path), sizes) for precision, path in paths.items()}

                compared = compare(make, "float32", rounds)
                yield Row(
                    f"int8/{name} {graph}",
                    f"{what}, models/{name} at order {order}, int8",
                    "the same in float32",
                    TARGET,
                    ratio_of(compared, "int8", "float32"),
                    medians=medians_of(compared, *PRECISIONS),
                    bound_by=profile(paths["int8"], sizes),
                )
