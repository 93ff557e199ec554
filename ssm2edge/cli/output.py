"""JSON to stdout for programs; progress to stderr for people."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ssm2edge.errors import UserError

Progress = Callable[[str], None]


def print_json(value: Any) -> None:
    """Print one JSON value; every number in it must be finite."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Return nested lists with None in place of numbers that JSON cannot express."""
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def stages_to_stderr(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Return a callback that shows the stages of a build, each with its bar, on stderr; nothing if ``quiet``."""
    if quiet:
        yield lambda stage, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    console = Console(stderr=True)
    # Bars are for people who watch them; in a log they would hide the one sentence of an error.
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        running: dict[str, Any] = {}

        def show(stage: str, share: float) -> None:
            name = stage.split(maxsplit=1)[0]
            if name not in running:
                for task in running.values():
                    bars.update(task, total=1.0, completed=1.0)
                running[name] = bars.add_task(stage, total=1.0 if share > 0 else None)
            bars.update(running[name], description=stage, total=1.0 if share > 0 else None, completed=share)

        yield show
        for task in running.values():
            bars.update(task, total=1.0, completed=1.0)


@contextlib.contextmanager
def progress_to_stderr(title: str, quiet: bool) -> Iterator[Progress]:
    """Return a callback that shows the current step on stderr if it is a terminal; nothing if ``quiet``."""
    if quiet:
        yield lambda step: None
        return
    from rich.console import Console

    with Console(stderr=True).status(title) as status:
        yield lambda step: status.update(f"{title}: {step}")


def write_text(path: Path, text: str, append: bool = False) -> None:
    """Write a report to a file.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    try:
        with path.open("a" if append else "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as fault:
        raise UserError(f"{path} cannot be written ({fault.strerror or fault}).") from fault
