"""docs/tutorial.ipynb with the outputs of its cells, without a Jupyter kernel.

    python scripts/run_tutorial.py

The cells run in order in one namespace and in an empty directory.  A test does the same.
"""

from __future__ import annotations

import ast
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tutorial.ipynb"

RICH = {"text/html": "_repr_html_", "image/svg+xml": "_repr_svg_"}
"""Forms in which notebooks show a value, the preferred one first."""


def cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(source: str, known: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run one cell and return its outputs in the notebook format: what it prints, and the value of its last line.

    Parameters
    ----------
    source
        The cell's code.
    known
        Names of earlier cells; the cell's own are added.
    number
        Position among the code cells, from 1.
    """
    tree = ast.parse(source, f"cell {number}")
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, f"cell {number}", "exec"), known)
        value = None if last is None else eval(compile(last, f"cell {number}", "eval"), known)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        rich = {
            kind: getattr(value, method)().splitlines(keepends=True) for kind, method in RICH.items() if hasattr(value, method)
        }
        data = {**rich, "text/plain": repr(value).splitlines(keepends=True)}
        found.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return found


@contextmanager
def inside(place: Path) -> Iterator[None]:
    """Change the working directory for a while."""
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def executed(notebook: dict[str, Any], place: Path) -> dict[str, Any]:
    """Return the notebook with the outputs of its code cells, run in an empty directory."""
    known: dict[str, Any] = {"__name__": "__main__"}
    done = json.loads(json.dumps(notebook))
    with inside(place):
        for number, cell in enumerate(cells(done), 1):
            cell["outputs"] = outputs("".join(cell["source"]), known, number)
            cell["execution_count"] = number
    return done  # type: ignore[no-any-return]


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        done = executed(json.loads(NOTEBOOK.read_text(encoding="utf-8")), Path(place))
    NOTEBOOK.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    click.echo(f"wrote {NOTEBOOK}")


if __name__ == "__main__":
    main()
