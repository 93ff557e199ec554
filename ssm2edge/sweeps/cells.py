"""Cells: each is one build, at a place that follows from what it depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ssm2edge.artifact.sweep import CellRecord, read_cell
from ssm2edge.cache import key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.loading import Source, open_source
from ssm2edge.options import Options, options_from
from ssm2edge.stages.resolve import check
from ssm2edge.sweeps.grid import distinct

FOLDER = "cells"
MOST_FILES = 5_000
"""Python files of a source that are read for its key."""
UNREAD = {"site-packages", "node_modules", "__pycache__"}
"""Folders that hold none of the user's code."""
ELSEWHERE = ("given", "directory", "weights", "samples", "defaults", "in_memory", "trust_pickle")
"""Fields of a source that say where it is, or whose content counts in another way."""


@dataclass(frozen=True)
class Cell:
    """A build that a sweep asks for.

    Attributes
    ----------
    name
        Name of its directory.
    key
        SHA-256 of all that its result depends on.
    source, model
        The source as given, and its short name.
    given
        Options as the sweep gives them to the build.
    options
        Options that differ from their defaults, build.toml's included.
    arguments
        Arguments of `ssm2edge.build` about the source.
    out
        Directory of the sweep.
    """

    name: str
    key: str
    source: str
    model: str
    given: Mapping[str, Any]
    options: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    out: Path = Path(".")

    @cached_property
    def place(self) -> Path:
        """Directory of the artifact; those of one model lie together and share finished stages."""
        return self.out / self.directory

    @property
    def directory(self) -> str:
        """The same, relative to the directory of the sweep."""
        return f"{FOLDER}/{plain_name(self.model)}/{self.name}"

    @property
    def record_file(self) -> Path:
        """The file of the cell's record, beside its artifact."""
        return self.place.with_name(f"{self.name}.json")

    @property
    def running_file(self) -> Path:
        """The file that is there while the cell runs."""
        return self.place.with_name(f".{self.name}.running")

    def record(self, status: str, **more: Any) -> CellRecord:
        """Return a record of the cell."""
        return CellRecord(self.name, self.key, self.source, self.model, dict(self.options), status, self.directory, **more)

    def finished(self) -> CellRecord | None:
        """Return the record of the finished cell; None if it has not been built, or its artifact is gone."""
        if not (self.place / "manifest.json").is_file():
            return None
        found = read_cell(self.record_file)
        return found if found is not None and found.status == "done" and found.key == self.key else None


class Cells:
    """Makes the cells of some sources.

    Parameters
    ----------
    sources
        As given.
    arguments
        Arguments of `ssm2edge.build` about the sources.
    out
        Directory of the sweep.

    Raises
    ------
    UserError
        If a source cannot be read.
    """

    def __init__(self, sources: Sequence[str], arguments: Mapping[str, Any], out: Path) -> None:
        self._sources, self._arguments, self._out = sources, arguments, out
        self._functions: dict[str, list[Any]] = {}
        self._opened = [open_source(source, **arguments) for source in sources]
        self.names, self.keys = model_names(sources), [source_key(source) for source in self._opened]

    def cell(self, place: int, given: Mapping[str, Any]) -> Cell:
        """Return the cell of the source at a place and some options.

        Raises
        ------
        UserError
            If the options cannot be used.
        """
        options = options_from(self._opened[place].defaults, given)
        check(options)
        values = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(options)}
        key, chosen = key_of(self.keys[place], tool(), self._content(values)), distinct(values)
        model = self.names[place]
        return Cell(cell_name(chosen, key), key, self._sources[place], model, dict(given), chosen, self._arguments, self._out)

    def all(self, combined: Sequence[Mapping[str, Any]], places: Sequence[int] | None = None) -> list[Cell]:
        """Return the cells of some combinations of options, each once, of all sources or those at some places; they vary fastest.

        Raises
        ------
        UserError
            If options cannot be used: before anything is built.
        """
        cells = [
            self.cell(place, given) for given in combined for place in (range(len(self._sources)) if places is None else places)
        ]
        return list({cell.key: cell for cell in cells}.values())

    def current(self, record: CellRecord) -> bool:
        """Return whether a record is of the content that its model has now; of other models it counts as it is."""
        if record.model not in self.names:
            return True
        try:
            options = Options(**record.options)
        except TypeError:
            return False
        values = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(options)}
        try:
            content = self._content(values)
        except UserError:
            return False
        return record.key in {key_of(key, tool(), content) for key in self.keys}

    def _content(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return options as they count for a key: of the function to retrain with, its code in place of the path to it.

        Raises
        ------
        UserError
            If the code cannot be read, or there is too much of it.
        """
        named = values["retrain"]
        if named is None:
            return dict(values)
        if named not in self._functions:
            self._functions[named] = _function_key(named)
        return {**values, "retrain": self._functions[named]}


def source_key(source: Source) -> str:
    """Return the SHA-256 of a source's content: its description, weights, samples and Python files.

    Modules elsewhere that its code imports are not seen.

    Raises
    ------
    UserError
        If a file cannot be read, or there are too many.
    """
    described = {entry.name: getattr(source, entry.name) for entry in dataclasses.fields(source) if entry.name not in ELSEWHERE}
    data = [None if path is None else digest_of(path) for path in (source.weights, source.samples)]
    code = [(name, digest_of(path)) for name, path in python_files(source.factory, source.directory)]
    return key_of(described, data, code)


def python_files(named: str, directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a function of the user's: those of a directory, or of the package that it is in.

    Raises
    ------
    UserError
        If there are too many.
    """
    module = named.rpartition(":")[0]
    home: Path | None = directory
    if not module.endswith(".py"):
        found = importlib.util.find_spec(module.partition(".")[0])
        home = None if found is None or found.origin is None else Path(found.origin).parent
    paths = [] if home is None else (path for path in sorted(home.rglob("*.py")) if not _foreign(path.relative_to(home)))
    for count, path in enumerate(paths):
        if count == MOST_FILES:
            raise UserError(f"{home} has more than {MOST_FILES:,} Python files; give {named} a directory of its own.")
        yield path.relative_to(home or path).as_posix(), path


def _function_key(named: str) -> list[Any]:
    """Return a function's name and the digests of the Python files that it is among."""
    code, _, function = named.rpartition(":")
    path = Path(code)
    if not code:
        raise UserError(f"The training function {named!r} names no function; give file.py:function or package.module:function.")
    if code.endswith(".py") and not path.is_file():
        raise UserError(f"{path} does not exist; name the file of the training function.")
    name = path.name if code.endswith(".py") else code
    return [name, function, *((file, digest_of(place)) for file, place in python_files(named, path.parent))]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise UserError(f"{path} cannot be read ({fault.strerror}).") from fault


def model_names(sources: Sequence[str]) -> list[str]:
    """Return a short name of each source; equal ones are numbered."""
    names: list[str] = []
    for source in sources:
        plain = Path(source).resolve().name if Path(source).is_dir() else re.sub(r"\.py:", ":", source.rpartition("/")[2])
        count = sum(name.partition(" #")[0] == plain for name in names)
        names.append(f"{plain} #{count + 1}" if count else plain)
    return names


def cell_name(options: Mapping[str, Any], key: str) -> str:
    """Return a name that people can read, unique by its end."""
    words = "-".join(f"{name}-{value}" for name, value in options.items())
    return f"{plain_name(words)[:60] or 'default'}-{key[:10]}"


def plain_name(text: str) -> str:
    """Return a text as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.") or "model"


def _foreign(path: Path) -> bool:
    return any(part in UNREAD or part.startswith(".") for part in path.parts)
