"""Methods side by side on trained systems of many inputs and outputs: linear ones, and ones with quadratic outputs.

    python scripts/compare_mimo.py --out models/sysid/results/reduction.json

The linear ones are the layers of tests/reduction/data/linear_lru.npz (`scripts/train_sysid.py --rank 0`), the quadratic ones
those of models/sysid.  For every layer and order it prints each method's relative h2 error on the horizon, and its time.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ssm2edge.layers import find_layers
from ssm2edge.loading import load_model, open_source
from ssm2edge.reduction import METHODS, reduce_system
from ssm2edge.systems.system import System, from_conjugate_half

ROOT = Path(__file__).resolve().parent.parent
LINEAR = ROOT / "tests" / "reduction" / "data" / "linear_lru.npz"


def linear_layers() -> dict[str, System]:
    """The trained linear recurrent units."""
    arrays = np.load(LINEAR)
    stacked = from_conjugate_half(*(torch.from_numpy(arrays[name]) for name in ("poles", "B", "C", "D")))
    return {f"linear {i}": stacked[i] for i in range(len(stacked.poles))}


@click.command(help=__doc__)
@click.option("--orders", default="2,4,8,16,32", show_default=True)
@click.option("--horizon", default=512, show_default=True, help="Taps; 0 for the infinite horizon.")
@click.option("--out", type=click.Path(path_type=Path))
def main(orders: str, horizon: int, out: Path | None) -> None:
    torch.set_num_threads(1)
    quadratic = {
        f"quadratic {layer.name}": layer.system for layer in find_layers(load_model(open_source(str(ROOT / "models" / "sysid"))))
    }
    rows: list[dict[str, Any]] = []
    for name, system in (linear_layers() | quadratic).items():
        click.echo(f"{name}: {system.order} states, {system.inputs} inputs, {system.outputs} outputs; relative h2 errors")
        click.echo("  ".join(["order", *(f"{method:>12.12}" for method in METHODS)]))
        for order in map(int, orders.split(",")):
            errors, seconds, outcomes = {}, {}, {}
            for method in METHODS:
                start = time.perf_counter()
                reduction = reduce_system(system[None], order, method, horizon or None)
                seconds[method] = time.perf_counter() - start
                errors[method] = float(reduction.relative_error)
                outcomes[method] = reduction.outcome_counts
            rows.append(
                {"system": name, "order": order, "horizon": horizon or None, "relative_error": errors}
                | {"outcomes": outcomes, "seconds": seconds}
            )
            click.echo("  ".join([f"{order:5d}", *(f"{error:12.5g}" for error in errors.values())]))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    worse = [row for row in rows if row["relative_error"]["gradient"] > min(row["relative_error"].values())]
    click.echo(f"gradient is above another method in {len(worse)} of {len(rows)} rows")
    if worse:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
