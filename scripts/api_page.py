"""docs/api.md from the docstrings of the public functions and classes.

    python scripts/api_page.py

A test compares page and docstrings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

import ssm2edge
import ssm2edge.audio
import ssm2edge.layers
import ssm2edge.layers.contract
import ssm2edge.retraining
import ssm2edge.runtime
import ssm2edge.sweeps.result
import ssm2edge.tables.results
from ssm2edge.options import TABLE, Options

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"

INTRODUCTION = """# Python

`import ssm2edge` imports neither torch nor onnxruntime. `compress`, `build` and `inspect` need the `build` extra; `open` needs
numpy and onnxruntime. [tutorial.ipynb](tutorial.ipynb) shows these functions at work, [commands.md](commands.md) has the same for
the command line. `scripts/api_page.py` writes this page from the docstrings.
"""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    title, introduction
        Its heading and a sentence.
    module
        Where users import its names from.
    names
        Functions and classes.
    made
        True if users construct the classes themselves, so that the page shows how.
    """

    title: str
    introduction: str
    module: Any
    names: tuple[str, ...]
    made: bool = False


SECTIONS = (
    Section("Functions", "", ssm2edge, ("compress", "build", "inspect", "open", "sweep")),
    Section("Artifact", "`build` and `open` return an `Artifact`.", ssm2edge, ("Artifact",)),
    Section("Stream", "`Artifact.stream` returns a `Stream`.", ssm2edge.runtime, ("Stream",)),
    Section(
        "Results",
        "`Artifact.verify`, `bench` and `compare`, and `inspect`, return values that print as tables and show in notebooks.",
        ssm2edge.tables.results,
        ("Verified", "Measured", "Compared", "Inspected"),
    ),
    Section("", "", ssm2edge.sweeps.result, ("Sweep",)),
    Section("Blocks", "The reduced layers of a compressed model.", ssm2edge.layers, ("blocks",)),
    Section("", "", ssm2edge.layers.contract, ("Origin",)),
    Section("Sound", "Front ends for recordings.", ssm2edge.audio, ("LogMel", "LogMelStream", "Gate", "Listener", "Heard"), True),
    Section(
        "Retraining",
        "Training with labels, from a reduced model; and regularisers of your own training loop, which leave less to reduce.",
        ssm2edge.retraining,
        ("finetune", "Training", "Finetuned", "modal_l1", "hankel_nuclear_norm"),
        True,
    ),
    Section("Errors", "", ssm2edge, ("Error", "UserError", "VerificationError")),
)
"""All of the page, in its order."""


def prose(text: str) -> str:
    """Return reStructuredText as Markdown: roles and double backticks become code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text).replace(".  ", ". ")


def sections_of(doc: str) -> dict[str, str]:
    """Return the parts of a NumPy docstring by title; the text before the first title has the empty one."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", doc, flags=re.MULTILINE)
    return {"": parts[0].strip()} | {title: body.strip("\n") for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def fields_of(body: str) -> list[tuple[str, str]]:
    """Return the entries of a section as (names, text)."""
    entries = re.split(r"^(?=\S)", body, flags=re.MULTILINE)
    split = (entry.partition("\n") for entry in entries if entry.strip())
    return [(names.strip(), " ".join(text.split())) for names, _, text in split]


def documented(thing: Any, heading: str) -> str:
    """Return a heading and the docstring of a function, a class or a property."""
    parts = sections_of(inspect.getdoc(thing) or "")
    lines = [heading, "", prose(parts.pop("")), ""]
    for title, body in parts.items():
        if title == "Examples":
            code = re.sub(r"\s*# doctest:.*", "", body)
            lines += ["```python", *(re.sub(r"^(>>>|\.\.\.) ?", "", line) for line in code.splitlines()), "```", ""]
            continue
        lines += [f"*{title}*", ""]
        for names, text in fields_of(body):
            code = ", ".join(f"`{name.strip()}`" for name in names.partition(":")[0].split(","))
            lines.append(f"- {code}: {prose(text)}")
        lines.append("")
    return "\n".join(lines)


def call(name: str, function: Callable[..., Any]) -> str:
    """Return how a function is called: names and defaults, without types."""
    signature = inspect.signature(function)
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values() if one.name not in ("self", "cls")]
    return f"`{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}`"


def members(cls: type, prefix: str) -> list[str]:
    """Return the public methods and properties of a class, in their order."""
    found = []
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property | cached_property):
            found.append(documented(member, f"#### `{prefix}.{name}`"))
        elif inspect.isfunction(member) or isinstance(member, classmethod):
            function = member.__func__ if isinstance(member, classmethod) else member
            found.append(documented(function, f"#### {call(f'{prefix}.{name}', function)}"))
    return found


def options() -> str:
    """Return the table of the options that `compress` and `build` take."""
    rows = ["## Options", "", "`compress` and `build` take these keyword arguments.", ""]
    rows += ["| option | default | meaning |", "|---|---|---|"]
    for name, option in TABLE.items():
        default = default_of(name) if option.default_text is None else option.default_text
        rows.append(f"| `{name}` | {default} | {prose(option.help)} |")
    return "\n".join([*rows, ""])


def default_of(name: str) -> str:
    """Return an option's default as it is written, or nothing if the build decides."""
    value = getattr(Options(), name)
    return "" if value is None else f"`{value}`"


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        if section.title:
            parts.append(f"## {section.title}\n")
        if section.introduction:
            parts.append(f"{section.introduction}\n")
        for name in section.names:
            thing = getattr(section.module, name)
            path = f"{section.module.__name__}.{name}"
            if not inspect.isclass(thing):
                parts.append(documented(thing, f"### {call(path, thing)}"))
                continue
            parts.append(documented(thing, f"### {call(path, thing) if section.made else f'`{path}`'}"))
            parts += members(thing, name)
        if section.title == "Functions":
            parts.append(options())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


@click.command(help=__doc__)
def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    click.echo(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
