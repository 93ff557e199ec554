"""A sweep as a TOML file says it: the same names as the command line has."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm2edge.errors import UserError

SECTIONS: Mapping[str, frozenset[str]] = {
    "sweep": frozenset({"sources", "out", "seeds", "search", "engine", "scheduler", "jobs", "memory"}),
    "model": frozenset({"weights", "samples", "time_axis", "metric", "lti", "static", "shape", "scale", "rate", "trust_pickle"}),
}
"""Sections of the file beside ``grid``, which has the options of a build, and their keys."""

GRIDS = "grids"
"""Name among the arguments of a sweep for the tables ``[[grid]]``."""


def read_plan(path: Path) -> dict[str, Any]:
    """Return the arguments of a sweep that a file gives; its paths are relative to it.

    Raises
    ------
    UserError
        If it cannot be read, or has unknown sections or keys.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise UserError(f"{path} cannot be read ({fault}); mend it.") from fault
    known = [*SECTIONS, "grid"]
    grids = content.pop("grid") if isinstance(content.get("grid"), list) else None
    for section, entries in content.items():
        if section not in known or not isinstance(entries, dict):
            raise UserError(f"{path} has the unknown section [{section}]; known are {', '.join(known)}.")
        unknown = sorted(set(entries) - SECTIONS.get(section, frozenset(entries)))
        if unknown:
            raise UserError(
                f"{path} has the unknown key {section}.{unknown[0]}; known are {', '.join(sorted(SECTIONS[section]))}."
            )
    asked = dict(content.get("sweep", {}))
    sources = asked.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(source, str) for source in sources):
        raise UserError(f"{path} must give sweep.sources as a list of models.")
    asked["sources"] = [_beside(path, source) for source in sources]
    if "out" in asked:
        asked["out"] = _beside(path, str(asked["out"]))
    model = dict(content.get("model", {}))
    model |= {name: _beside(path, str(model[name])) for name in ("weights", "samples") if name in model}
    if grids is None:
        return {**asked, **model, **_with_paths(path, content.get("grid", {}))}
    return {**asked, **model, GRIDS: tuple(_grid(path, grid, asked["sources"]) for grid in grids)}


def _grid(path: Path, grid: Any, sources: list[str]) -> dict[str, Any]:
    """Return one of several grids; ``sources`` in it are some of the sweep's."""
    if not isinstance(grid, dict):
        raise UserError(f"{path} has a grid that is no table; begin each with [[grid]].")
    options = _with_paths(path, grid)
    if "sources" not in options:
        return options
    own = options["sources"]
    if not isinstance(own, list) or not all(isinstance(source, str) for source in own):
        raise UserError(f"{path} must give grid.sources as a list of models.")
    places = [_beside(path, source) for source in own]
    foreign = next((source for source, place in zip(own, places, strict=True) if place not in sources), None)
    if foreign is not None:
        raise UserError(f"{path} has a grid of {foreign}, which sweep.sources does not name; add it there.")
    return {**options, "sources": places}


def _with_paths(plan: Path, grid: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a grid; functions to retrain with are named relative to the plan."""
    given = grid.get("retrain")
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        return {**grid, "retrain": [_code_beside(plan, name) for name in given]}
    return {**grid, "retrain": _code_beside(plan, given)} if isinstance(given, str) else grid


def _code_beside(plan: Path, given: str) -> str:
    return os.path.normpath(plan.parent / given) if given.rpartition(":")[0].endswith(".py") else given


def _beside(plan: Path, given: str) -> str:
    """Return a path of the file; packages are no paths."""
    place = plan.parent / given
    file = plan.parent / given.rpartition(":")[0]
    return given if ":" in given and not file.is_file() else str(place)
