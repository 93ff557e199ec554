"""Layers of HiPPO-LegS at initialisation, reduced to many orders: more states never do worse.

    PYTHONPATH=. python scripts/compare_legs.py [--states 64,128,256] [--seconds 150]
    python scripts/write_pages.py                                             # the table in docs/method.md

Two channels by the bilinear rule with random outputs: each has a step and so poles of its own, or both share step and poles.
The error is that of the impulse response on 256 taps and what a float32 recurrence adds to it, relative to the response, which is
computed by powers of the dense matrix.  Figures go to docs/legs.json as they come, and what is there is not computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ssm2edge.reduction import Reduction, reduce_system
from ssm2edge.reduction.tied import reduce_tied
from ssm2edge.systems.system import System
from ssm2edge.systems.tie import Tie

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "legs.json"
SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1.0)
"""Orders, as shares of the states."""
STEPS = {"each channel": (0.005, 0.05), "shared": (0.01, 0.01)}
"""Steps of the two channels, by whose the poles are."""


def reduced(system: System, order: int, poles: str, taps: int) -> Reduction:
    """Return the reduction of a bank, or of a bank whose channels share poles."""
    if poles == "each channel":
        return reduce_system(system, order, "gradient", taps)
    tie = Tie(system.poles[:1], torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.float64))
    return reduce_tied(System(*system.arrays(), tie=tie), order, "gradient", taps)


def markdown(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The errors as a table, one row for each layer."""
    lines = [
        f"| states | poles of | {' | '.join(f'{share:g}' for share in SHARES)} | outcome at full order |",
        "|---|---|" + "---|" * len(SHARES) + "---|",
    ]
    for states in sorted({int(key.split()[0]) for key in known}):
        for poles in STEPS:
            found = [known.get(f"{states} {poles} {round(share * states)}") for share in SHARES]
            errors = " | ".join("" if cell is None else f"{cell['error']:.1e}" for cell in found)
            outcome = "" if found[-1] is None else ", ".join(found[-1]["outcomes"])
            lines.append(f"| {states} | {poles} | {errors} | {outcome} |")
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--states", default="64,128,256", show_default=True)
@click.option("--seconds", default=float("inf"), help="Begin no figure later than this; exit with 3 then.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(states: str, seconds: float, out: Path) -> None:
    # The page needs none of it.
    from tests.reduction.test_more_states import TAPS, legs, missed

    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    begun = time.monotonic()
    for count in (int(text) for text in states.split(",")):
        for poles, steps in STEPS.items():
            system, response = legs(count, steps)
            size = float(np.linalg.norm(response))
            for order in (round(share * count) for share in SHARES):
                key = f"{count} {poles} {order}"
                if key in known:
                    continue
                if time.monotonic() - begun > seconds:
                    raise SystemExit(3)
                reduction = reduced(system, order, poles, TAPS)
                error = float(np.linalg.norm(missed(reduction.system, response) * np.linalg.norm(response, axis=-1))) / size
                known[key] = {"error": error, "outcomes": dict(reduction.outcome_counts)}
                out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                click.echo(f"{key}: {error:.2e}, {known[key]['outcomes']}, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
