"""A grid: the values of some options, and every combination of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssm2edge.errors import UserError
from ssm2edge.options import DEFAULTS, SIZES, TABLE

Axes = Mapping[str, tuple[Any, ...]]
"""Values by option."""

MOST = 100_000
"""Cells of a grid."""


PLURALS: Mapping[str, str] = {"orders": "order", "methods": "method", "seeds": "seed"}
"""Other names of options in a sweep."""


@dataclass(frozen=True)
class Grid:
    """Axes, and the models that they are for.

    Attributes
    ----------
    axes
        Values by option.
    places
        Of its models among those of the sweep.
    """

    axes: Axes
    places: tuple[int, ...]


def option_of(name: str) -> str:
    """Return the option that a name means, its own or its plural.

    Raises
    ------
    UserError
        If there is no such option.
    """
    option = PLURALS.get(name, name)
    if option not in TABLE:
        raise UserError(f"There is no option {name}; the options are {', '.join(TABLE)}.")
    return option


def axes_of(given: Mapping[str, Any], seeds: int | None = None) -> dict[str, tuple[Any, ...]]:
    """Return the axes of a grid: an option with a list has as many values, another one has one; None is passed over.

    Parameters
    ----------
    given
        Values by option, or by its plural.
    seeds
        Number of seeds, from 0 on; ``seeds`` among the options means the same if it is one number.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has no value.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    counted = given.get("seeds", seeds)
    if counted is not None and not isinstance(counted, Sequence):
        if type(counted) is not int or counted < 1:
            raise UserError(f"The number of seeds is {counted!r}; give a whole number of at least 1, or a list as seed.")
        given = {**given, "seeds": range(counted)}
    for name, value in given.items():
        if value is None:
            continue
        option = option_of(name)
        if option in axes:
            raise UserError(f"The option {option} is given twice, once as {name}; leave one of them out.")
        several = isinstance(value, Sequence) and not isinstance(value, str)
        values = tuple(dict.fromkeys(value)) if several else (value,)
        if not values:
            raise UserError(f"The option {option} has no value; give one, or leave it out.")
        axes[option] = values
    return axes


def grids_of(
    given: Mapping[str, Any], seeds: int | None, tables: Iterable[Mapping[str, Any]], sources: Sequence[str]
) -> list[Grid]:
    """Return the grids of a sweep: one, or several of a file, in each of which what is given takes the place of the file's.

    Parameters
    ----------
    given
        Values by option, for all grids.
    seeds
        Number of seeds, for all grids.
    tables
        Values by option, and ``sources`` where a grid is for some models only; none for a single grid.
    sources
        Models of the sweep.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has no value.
    """
    everywhere = {option_of(name) for name in given}
    grids = []
    for table in list(tables) or [{}]:
        own = {name: value for name, value in table.items() if name != "sources"}
        kept = {name: value for name, value in own.items() if option_of(name) not in everywhere}
        own_sources = table.get("sources", sources)
        places = tuple(place for place, source in enumerate(sources) if source in own_sources)
        grids.append(Grid(axes_of({**kept, **given}, seeds), places))
    return grids


def joined(grids: Iterable[Grid]) -> dict[str, list[Any]]:
    """Return all values of each option, of all grids."""
    values: dict[str, list[Any]] = {}
    for grid in grids:
        for name, axis in grid.axes.items():
            known = values.setdefault(name, [])
            known += [value for value in axis if value not in known]
    return values


def combinations(axes: Axes) -> list[dict[str, Any]]:
    """Return every combination of values; sizes exclude each other and are one axis together.

    Seeds vary slowest, so that a sweep that is interrupted has compared everything else, and sizes fastest, so that cells that
    run at once share no stage that each of them would then compute.

    Raises
    ------
    UserError
        If there are too many.
    """
    sizes = [{name: value} for name in SIZES for value in axes.get(name, ())]
    others = sorted((name for name in axes if name not in SIZES), key=lambda name: name != "seed")
    count = max(1, len(sizes))
    for name in others:
        count *= len(axes[name])
    if count > MOST:
        raise UserError(
            f"The grid has {count:,} cells of each model, more than {MOST:,}; give fewer values, or ask for --search."
        )
    rest = [dict(zip(others, values, strict=True)) for values in itertools.product(*(axes[name] for name in others))]
    return [{**size, **more} for more in rest for size in sizes or [{}]]


def distinct(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not at their defaults, in the table's order."""
    return {name: options[name] for name in TABLE if name in options and options[name] != DEFAULTS[name]}
