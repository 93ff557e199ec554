"""Loops as C text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ssm2edge.firmware.kernels import Formula, Loop, Store
from ssm2edge.firmware.language import c_type
from ssm2edge.firmware.segments import Nest, combinations, nests
from ssm2edge.firmware.views import Buffer, View

COUNTERS = "ijklmnpq"
Resolve = Callable[[Buffer], tuple[str, int]]
"""Returns the C array in which a buffer lies, and the place of its first element there."""


def write_loop(loop: Loop, resolve: Resolve, table: Callable[[tuple[int, ...]], str]) -> list[str]:
    """Return the C lines of a loop.

    Parameters
    ----------
    loop
        The loop.
    resolve
        Says where buffers lie.
    table
        Returns the name of a table of places.
    """
    lines = []
    for store in loop.stores:
        if store.join:
            lines += _start(store, resolve)
    for nest in nests(loop):
        lines += _Writer(loop, nest, resolve, table).lines()
    return lines


def _start(store: Store, resolve: Resolve) -> list[str]:
    """Return the lines that put the first value where numbers are joined."""
    shape = tuple(1 if stride == 0 else size for size, stride in zip(store.view.shape, store.view.strides, strict=True))
    view = View(store.view.buffer, shape, store.view.strides, store.view.offset)
    loop = Loop(shape, [Formula(store.first, (), c_type(view.buffer.dtype))], [Store(view, 0)])
    return [line for nest in nests(loop) for line in _Writer(loop, nest, resolve, lambda _: "").lines()]


class _Writer:
    """Writes one nest of a loop."""

    def __init__(self, loop: Loop, nest: Nest, resolve: Resolve, table: Callable[[tuple[int, ...]], str]) -> None:
        self._loop, self._nest, self._resolve, self._table = loop, nest, resolve, table
        self._loads = iter(nest.views[: len(loop.reads)])
        self._names = [COUNTERS[axis] for axis in range(len(nest.shape))]

    def lines(self) -> list[str]:
        """Return the lines of the nest."""
        axes = [axis for axis in range(len(self._nest.shape)) if axis != self._nest.unrolled]
        block, before, after = self._body(axes[-1] if axes else None)
        for axis in reversed(axes):
            name = self._names[axis]
            head = f"for (int {name} = 0; {name} < {self._nest.shape[axis]}; ++{name}) {{"
            block = [head, *(f"  {line}" for line in block), "}"]
            if axis == axes[-1]:
                block = [*before, *block, *after]
        return block

    def _body(self, inner: int | None) -> tuple[list[str], list[str], list[str]]:
        """Return the lines of one turn, and those before and after the innermost counter runs."""
        nest, loop = self._nest, self._loop
        turns = list(combinations(nest))
        careful = len(turns) * len(loop.stores) > 1
        loads: dict[str, str] = {}
        lines: list[str] = []
        ends: list[str] = []
        before: list[str] = []
        after: list[str] = []
        views = nest.views[len(loop.reads) :]
        for number, turn in enumerate(turns):
            texts = self._values(turn, number, careful, loads, lines)
            for place, (store, view) in enumerate(zip(loop.stores, views, strict=True)):
                target, value = self._element(view, turn), texts[store.value]
                if not store.join:
                    ends.append(f"{target} = {value};")
                    continue
                if inner is not None and view.strides[inner] == 0:
                    name, kind = f"sum{place}", c_type(view.buffer.dtype)
                    if number == 0:
                        before.append(f"{kind} {name} = {target};")
                        after.append(f"{target} = {name};")
                    target = name
                ends.append(_join(target, store.join, value))
        return lines + ends, before, after

    def _values(self, turn: Mapping[int, int], number: int, careful: bool, loads: dict[str, str], lines: list[str]) -> list[str]:
        loop, nest = self._loop, self._nest
        uses = _uses(loop)
        views = iter(nest.views)
        texts: list[str] = []
        for place, value in enumerate(loop.values):
            if isinstance(value, Formula):
                text = value.text.format(*(f"({texts[o]})" if _composite(texts[o]) else texts[o] for o in value.operands))
                if uses[place] > 1 and value.operands:
                    lines.append(f"const {value.kind} v{place}_{number} = {text};")
                    text = f"v{place}_{number}"
                texts.append(text)
                continue
            view = next(views)
            text = self._element(view, turn)
            if careful or uses[place] > 1:
                if text not in loads:
                    loads[text] = f"x{len(loads)}"
                    lines.append(f"const {c_type(view.buffer.dtype)} {loads[text]} = {text};")
                text = loads[text]
            texts.append(text)
        return texts

    def _element(self, view: View, turn: Mapping[int, int]) -> str:
        array, start = self._resolve(view.buffer)
        constant, parts = start + view.offset, []
        for axis, stride in enumerate(view.strides):
            if axis in view.tables:
                name = str(turn.get(axis, self._names[axis]))
                parts.append(f"{stride} * {self._table(view.tables[axis])}[{name}]")
            elif axis in turn:
                constant += turn[axis] * stride
            elif stride:
                parts.append(self._names[axis] if stride == 1 else f"{stride} * {self._names[axis]}")
        text = " + ".join(parts)
        if constant or not parts:
            text = f"{text} + {constant}" if parts and constant > 0 else f"{text} - {-constant}" if parts else str(constant)
        return f"{array}[{text.replace('+ -', '- ')}]"


def _uses(loop: Loop) -> list[int]:
    """Return how many times each value is written in the text of others or stored."""
    uses = [0] * len(loop.values)
    for value in loop.values:
        if isinstance(value, Formula):
            for place, operand in enumerate(value.operands):
                uses[operand] += value.text.count(f"{{{place}}}")
    for store in loop.stores:
        uses[store.value] += 1 + store.join.count("{1}") - bool(store.join)
    return uses


def _composite(text: str) -> bool:
    return not re.fullmatch(r"[\w.]+|[\w>.\-]+\[[^][]*\]|[a-z_]\w*\([^()]*\)", text)


def _join(target: str, join: str, value: str) -> str:
    part = f"({value})" if _composite(value) else value
    if join == "{0} + {1}":
        return f"{target} += {value};"
    return f"{target} = {join.format(target, part)};"
