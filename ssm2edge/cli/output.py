"""JSON to stdout for programs; progress to stderr for people."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
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
    """Return a callback that shows the stages of a build on stderr: each with its bar on a terminal, else a line; or nothing."""
    if quiet:
        yield lambda stage, share: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        running: dict[str, Any] = {}

        def show(stage: str, share: float) -> None:
            name = _stage_of(stage)
            if name not in running:
                for task in running.values():
                    bars.update(task, total=1.0, completed=1.0)
                running[name] = bars.add_task(stage, total=1.0 if share > 0 else None)
            bars.update(running[name], description=stage, total=1.0 if share > 0 else None, completed=share)

        yield show
        for task in running.values():
            bars.update(task, total=1.0, completed=1.0)


def _stage_of(text: str) -> str:
    """Return the stage that a report is of, without its part and its cost."""
    return text.partition(": ")[0].split(maxsplit=1)[0]


def _lines() -> Callable[[str, float], None]:
    """Return a callback that writes a line for each stage that begins, with the seconds since the start, and its cost if known.

    That of the first stage is written when it has ended, so that input which cannot even be loaded gets one sentence alone.
    """
    start = time.monotonic()
    begun: dict[str, float] = {}
    told: set[str] = set()

    def show(stage: str, share: float) -> None:
        name, _, cost = stage.partition(": ")
        if cost and name not in told:
            told.add(name)
            click.echo(f"{time.monotonic() - start:6.1f} s  {stage}", err=True)
        name = _stage_of(stage)
        if name in begun:
            return
        begun[name] = time.monotonic() - start
        for one in list(begun) if len(begun) == 2 else [name] if len(begun) > 2 else []:
            click.echo(f"{begun[one]:6.1f} s  {one}", err=True)

    return show


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
