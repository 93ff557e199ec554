"""The latency table: every row in one run, in interleaved pairs, with medians, ratios and 95 % intervals.

    python scripts/benchmark_latency.py [--rows bank,mimo,stream,whole,threads,batch,flat,digits,size,load,int8] [--rounds 30]
                                        [--artifact build/digits8] [--json models/digits/results/latency.json]

One thread and batch 1 unless a row says otherwise; orders are in real states per channel.  With --json rows that were run take
the place of the same rows in the file, the others stay.  A row that is missed says by how much, and where its time goes
(onnxruntime's profiler, by operator).
`write_pages.py` puts the file's rows into docs/speed.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import onnxruntime
import torch
from latency import artifacts, models, rounded, scaling, systems
from latency.rows import Row
from latency.table import text

from ssm2edge.artifact import open_artifact
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.original.latency import torch_threads
from ssm2edge.pipeline import build
from ssm2edge.verification import processor_name

GROUPS: dict[str, Callable[[int], Iterator[Row]]] = {
    "bank": systems.bank_rows,
    "mimo": systems.mimo_rows,
    "stream": models.stream_rows,
    "whole": models.whole_rows,
    "flat": models.flat_rows,
    "load": models.load_rows,
    "threads": scaling.thread_rows,
    "batch": scaling.batch_rows,
    "int8": rounded.rounded_rows,
}
OF_ARTIFACTS = ("digits", "size")
ALL = ("bank", "mimo", "stream", "whole", "digits", "flat", "threads", "batch", "size", "load", "int8")


def measure(group: str, rounds: int, artifact: Path | None) -> Iterator[Row]:
    """Rows of one group."""
    if group not in OF_ARTIFACTS:
        yield from GROUPS[group](rounds)
        return
    with tempfile.TemporaryDirectory() as directory:
        if artifact is None:
            artifact = Path(directory) / "artifact"
            build(
                open_source(str(artifacts.MODELS / "digits")),
                Options(order=artifacts.ORDER, calibrate="none"),
                artifact,
                False,
                _silent,
            )
        if group == "digits":
            yield from artifacts.digits_rows(rounds, artifact)
        else:
            yield from artifacts.size_rows(artifact, open_artifact(artifact).manifest.parameters.model_after)


def _silent(stage: str, share: float) -> None:
    pass


def merged(before: list[dict[str, object]], rows: list[Row]) -> list[dict[str, object]]:
    """Rows of a file with those that were run in their places, in the order of the groups."""
    by_key = {str(record["key"]): record for record in before} | {row.key: row.to_json() for row in rows}
    return sorted(by_key.values(), key=lambda record: ALL.index(str(record["key"]).partition("/")[0]))


@click.command()
@click.option("--rows", "chosen", default=",".join(ALL), show_default=True, help="Groups of rows, separated by commas.")
@click.option("--rounds", default=30, show_default=True)
@click.option("--artifact", type=click.Path(exists=True, file_okay=False, path_type=Path), help="models/digits built at order 8.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Merge the rows into this file.")
def main(chosen: str, rounds: int, artifact: Path | None, target: Path | None) -> None:
    """Print the table."""
    groups = chosen.split(",")
    unknown = [group for group in groups if group not in ALL]
    if unknown:
        raise click.BadParameter(f"there are no rows {unknown[0]!r}; there are {', '.join(ALL)}.", param_hint="--rows")
    rows = []
    click.echo(f"{processor_name()}, onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    with torch_threads(1), torch.no_grad():
        for group in groups:
            for row in measure(group, rounds, artifact):
                click.echo(text([row.to_json()]))
                rows.append(row)
    if target is not None:
        before = json.loads(target.read_text(encoding="utf-8")).get("rows", []) if target.exists() else []
        figures = {
            "processor": processor_name(),
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
            "rows": merged(before, rows),
        }
        target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
