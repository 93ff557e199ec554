"""Parts of tables: their frame, and figures in words."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ssm2edge.artifact.notes import Note


def noted(note: Note) -> Text:
    """Return a sentence, in red where something is wrong."""
    return Text(note.sentence, "bold red" if note.bad else "yellow")


def extent(channels: int) -> str:
    """Return the content of a layer: a bank of channels, or one system with its inputs and outputs."""
    return "one system" if channels == 1 else f"{channels} channels"


def titled_table(title: str, *columns: str) -> Table:
    """Return an empty table whose columns wrap."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size:,} bytes" if size < 1024 else f"{size / 1024:,.0f} KB"


def time_text(seconds: float) -> str:
    """Return a duration for people."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
