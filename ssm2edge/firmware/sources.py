"""The header and the source of a step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources

import numpy as np

from ssm2edge.firmware.kernels import Loop
from ssm2edge.firmware.language import c_literal, c_name, c_type
from ssm2edge.firmware.step import Step
from ssm2edge.firmware.views import Buffer
from ssm2edge.firmware.writing import write_loop

NEEDED = {"sigmoid": ("exp",)}
"""Functions that functions call."""
ORDER = ("exp", "log", "erf", "tanh", "sigmoid", "product", "product8", "product4", "normalise")
SPOKEN = frozenset((*ORDER, "samples", "count", "row", "column", "place", "given", "found", "top", "stream", "block", "error"))
"""Names that the C text has for other things."""
WIDTH = 118
MADE = "/* Made by ssm2edge: change the model, not this file. */"


@dataclass(frozen=True)
class Names:
    """Names in C of everything that has one.

    Attributes
    ----------
    model
        Prefix of all that others see.
    ports
        Of inputs and outputs, by the graph's name.
    states
        Of states, by the graph's name.
    """

    model: str
    ports: dict[str, str]
    states: dict[str, str]

    @classmethod
    def of(cls, step: Step, model: str) -> Names:
        """Choose the names for a step."""
        ports: dict[str, str] = {}
        states: dict[str, str] = {}
        for buffer in (*step.inputs, *step.outputs):
            plain = c_name(buffer.name)
            # Short words are counters, values and functions of the C text.
            short = len(plain) == 1 or re.fullmatch(r"[xv]\d\w*|sum\d*", plain) is not None or plain in SPOKEN
            ports[buffer.name] = c_name(f"{plain}_port" if short else plain, ports.values())
        for buffer in step.states:
            own = buffer.name.removeprefix("state.")
            states[buffer.name] = c_name(own, [*states.values(), *(f"scratch_{kind}" for kind in step.sizes), "scratch"])
        return cls(c_name(model), ports, states)


@dataclass(frozen=True)
class Extra:
    """Source code that goes along with a step: a front end.

    Attributes
    ----------
    declarations, definitions
        C text of the header and of the source.
    helpers
        Functions that the definitions call.
    """

    declarations: str = ""
    definitions: str = ""
    helpers: frozenset[str] = field(default_factory=frozenset)


def template(name: str, folder: str = "c") -> str:
    """Return the text of a file of this package."""
    return (resources.files("ssm2edge.firmware") / folder / name).read_text(encoding="utf-8")


def filled(file: str, folder: str = "c", /, **values: object) -> str:
    """Return the text of a file of this package with values in the place of ``@name@``."""
    text = template(file, folder)
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def write_header(step: Step, names: Names, classes: Sequence[str] = (), extra: Extra | None = None) -> str:
    """Return the header of a step."""
    model, upper = names.model, names.model.upper()
    fields = [f"  {c_type(buffer.dtype)} {names.states[buffer.name]}[{buffer.size}];" for buffer in step.states]
    fields += [
        f"  {kind} {_scratch(kind)}[{size}]; /* of one step: nothing in it is kept */" for kind, size in step.sizes.items()
    ]
    ports = zip((*step.signature.inputs, *step.signature.outputs), (*step.inputs, *step.outputs), strict=True)
    sizes = [f"#define {upper}_{names.ports[port.name].upper()}_SIZE {buffer.size}" for port, buffer in ports]
    if step.signature.longest is not None:
        sizes.append(f"#define {upper}_LONGEST {step.signature.longest} /* samples of a sequence: then call {model}_init */")
    notes = [
        f"     {names.ports[port.name]}: {' x '.join(map(str, port.shape[1:])) or 1}"
        + (", along time" if port.time_axis is not None else ", the answer so far" if port in step.signature.outputs else "")
        for port in (*step.signature.inputs, *step.signature.outputs)
    ]
    named = (
        [f"#define {upper}_CLASSES {len(classes)}", f"extern const char *const {model}_classes[{upper}_CLASSES];"]
        if classes
        else []
    )
    return filled(
        "model.h",
        name=model,
        NAME=upper,
        block=step.signature.block or 1,
        sizes="\n".join(sizes),
        fields="\n".join(fields) or "  char unused;",
        classes="\n".join(named),
        step=_prototype(step, names),
        notes="\n".join(notes),
        extra=extra.declarations if extra else "",
    )


def write_source(step: Step, names: Names, classes: Sequence[str] = (), extra: Extra | None = None) -> str:
    """Return the source of a step."""
    writer = _Source(step, names)
    body = writer.body()
    helpers = {helper for kernel in step.kernels for helper in kernel.helpers} | (extra.helpers if extra else set())
    helpers |= {other for helper in helpers for other in NEEDED.get(helper, ())}
    listed = ", ".join(f'"{_escaped(name)}"' for name in classes)
    named = [f"const char *const {names.model}_classes[{names.model.upper()}_CLASSES] = {{{listed}}};"] if classes else []
    zero = "memset(self, 0, sizeof *self);"
    initial = [
        f"  for (int i = 0; i < {buffer.size}; ++i) self->{names.states[buffer.name]}[i] = {value};"
        for buffer, state in zip(step.states, step.signature.states, strict=True)
        for value in [c_literal(buffer.dtype.type(state.initial))]
        if state.initial
    ]
    parts = [
        f'{MADE}\n#include "{names.model}.h"\n\n#include <math.h>\n#include <string.h>',
        *named,
        *(template(f"{helper}.c").strip() for helper in ORDER if helper in helpers),
        *writer.tables(),
        f"void {names.model}_init({names.model}_stream *self) {{\n  {zero}\n" + "".join(f"{line}\n" for line in initial) + "}",
        f"{_prototype(step, names)} {{\n{body}\n}}",
    ]
    if extra and extra.definitions:
        parts.append(extra.definitions.strip())
    return "\n\n".join(parts) + "\n"


def array(kind: str, name: str, values: Iterable[object]) -> str:
    """Return the definition of a constant array."""
    texts = [c_literal(value) for value in values]
    lines, line = [], " "
    for text in texts:
        if len(line) + len(text) > WIDTH:
            lines.append(line)
            line = " "
        line += f" {text},"
    return "\n".join([f"static const {kind} {name}[{len(texts)}] = {{", *lines, line, "};"])


class _Source:
    """Names constants while it writes the kernels."""

    def __init__(self, step: Step, names: Names) -> None:
        self._step, self._names = step, names
        taken = {*names.ports.values(), *ORDER}
        self._constants: dict[Buffer, str] = {}
        for buffer in step.constants:
            self._constants[buffer] = c_name(f"c_{buffer.name}", {*taken, *self._constants.values()})
        self._tables: dict[tuple[int, ...], str] = {}

    def body(self) -> str:
        """Return the lines of a step."""
        lines: list[str] = []
        if not self._step.states and not self._step.sizes:
            lines.append("(void)self;")
        lines += [f"(void){self._names.ports[b.name]};" for b in self._step.inputs if not self._used(b)]
        for kernel in self._step.kernels:
            titles = ", ".join(dict.fromkeys(kernel.titles))
            lines.append(f"/* {titles.replace('*/', 'all/')} */")
            if isinstance(kernel, Loop):
                written = write_loop(kernel, self._place, self._table)
            else:
                written = kernel.text([self._pointer(view.buffer, view.offset) for view in (*kernel.reads, *kernel.writes)])
            lines += ["{", *(f"  {line}" for line in written), "}"]
        for state, after in self._step.copied:
            target = f"self->{self._names.states[state.name]}"
            lines.append(f"memcpy({target}, {self._pointer(after, 0)}, sizeof {target});")
        return "\n".join(f"  {line}" for line in lines)

    def tables(self) -> list[str]:
        """Return the constants, after the kernels were written."""
        made = []
        for buffer, name in self._constants.items():
            assert buffer.constant is not None
            made.append(array(c_type(buffer.dtype), name, buffer.constant.ravel()))
        for places, name in self._tables.items():
            made.append(array("uint16_t" if max(places) < 1 << 16 else "int32_t", name, places))
        return made

    def _used(self, buffer: Buffer) -> bool:
        return any(view.buffer.base is buffer for kernel in self._step.kernels for view in kernel.reads)

    def _table(self, places: tuple[int, ...]) -> str:
        if places not in self._tables:
            self._tables[places] = f"places_{len(self._tables)}"
        return self._tables[places]

    def _place(self, buffer: Buffer) -> tuple[str, int]:
        base, start = buffer.base, buffer.start
        if base.over is not None:
            base = base.over
        if base.role == "state":
            return f"self->{self._names.states[base.name]}", start
        if base.role == "constant":
            return self._constants[base], start
        if base.role in ("input", "output"):
            return self._names.ports[base.name], start
        return f"self->{_scratch(c_type(base.dtype))}", start + self._step.memory.places[base]

    def _pointer(self, buffer: Buffer, offset: int) -> str:
        array, start = self._place(buffer)
        return f"({array} + {start + offset})" if start + offset else array


def _scratch(kind: str) -> str:
    return "scratch" if kind == "float" else f"scratch_{kind}"


def _prototype(step: Step, names: Names) -> str:
    given = [f"const {c_type(buffer.dtype)} *{names.ports[buffer.name]}" for buffer in step.inputs]
    found = [f"{c_type(buffer.dtype)} *{names.ports[buffer.name]}" for buffer in step.outputs]
    return f"void {names.model}_step({', '.join([f'{names.model}_stream *self', *given, *found])})"


def _escaped(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(
        letter if 32 <= ord(letter) < 127 else "".join(f"\\{byte:03o}" for byte in letter.encode()) for letter in plain
    )


def bytes_of(buffers: Iterable[Buffer]) -> int:
    """Return the bytes of buffers."""
    return sum(buffer.size * np.dtype(buffer.dtype).itemsize for buffer in buffers)


def struct_bytes(step: Step) -> int:
    """Return the bytes of the struct: states and scratch memory."""
    widths = {"float": 4, "double": 8, "int64_t": 8, "int32_t": 4, "uint8_t": 1}
    return bytes_of(step.states) + sum(math.ceil(widths[kind] * size / 4) * 4 for kind, size in step.sizes.items())
