"""Builds by the size of a device, on three models: what each kept, and what the published artifact takes.

    python scripts/try_budgets.py [sysid ...] [--json docs/budgets.json]

A model that no order fits is recorded with the sentence that says so.  `--calibrate none` keeps it short; it changes no size.
Rows that stand in the file already are left as they are.  Exit code 1 if an artifact exceeds its limit.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware.ram import ram_of

ROOT = Path(__file__).parents[1]
BUDGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "max-ram": {"sysid": ("1100", "600"), "digits": ("9k",), "keywords": ("12k",)},
    "max-bytes": {"sysid": ("28k", "8k"), "digits": ("160k",), "keywords": ("160k",)},
    "max-latency": {"sysid": ("60", "1"), "digits": ("90",), "keywords": ("90",)},
}
"""Limits by option and model: what can be held, and, on the smallest model, what cannot."""
MODELS = tuple(BUDGETS["max-ram"])


def built(model: str, option: str, limit: str) -> dict[str, Any]:
    """Build a model to a limit and return what was published, or the sentence that nothing was."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        command = ["build", str(ROOT / "models" / model), f"--{option}", limit, "--calibrate", "none", "--out", str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "ssm2edge.cli", *command], capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode not in (0, 2):
            raise click.ClickException(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
        if done.returncode:
            return {"refused": done.stderr.strip().splitlines()[-1].removeprefix("ssm2edge: ")}
        artifact = open_artifact(out)
        name = "budget." + option.removeprefix("max-")
        assert artifact.stream is not None
        assert artifact.manifest.parity is not None
        check = next(check for check in artifact.manifest.parity["checks"] if check["name"] == name)
        return {
            "orders": [layer.order_after for layer in artifact.manifest.layers],
            "figure": check["figure"],
            "limit": check["limit"],
            "bytes": max(record.bytes for file, record in artifact.manifest.files.items() if file.endswith(".onnx")),
            "ram": ram_of(artifact.stream, artifact.manifest.task),
        }


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to add the rows to.")
def main(models: tuple[str, ...], target: Path | None) -> None:
    """Build all models to all limits."""
    found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target is not None and target.exists() else {}
    exceeded = False
    chosen = [
        (model, f"--{option} {limit}", option, limit)
        for option, limits in BUDGETS.items()
        for model in models or MODELS
        for limit in limits[model]
    ]
    for model, key, option, limit in chosen:
        row = found.setdefault(model, {}).get(key) or built(model, option, limit)
        found[model][key] = row
        told = row.get("refused") or f"orders {row['orders']}, {row['figure']:,.0f} of at most {row['limit']:,.0f}"
        click.echo(f"{model} {key}: {told}")
        exceeded |= "refused" not in row and not row["figure"] <= row["limit"]
        if target is not None:
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(exceeded)


if __name__ == "__main__":
    main()
