"""Operators that compute every element from the elements at the same place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.language import c_literal, c_type
from ssm2edge.firmware.lowering import Emitter, Lowering

HELPERS = ("exp", "log", "erf", "tanh", "sigmoid")
"""Functions of float that the firmware brings along; those of double are the C library's."""


@dataclass(frozen=True)
class Pointwise:
    """An operator by its formula.

    Attributes
    ----------
    text
        Of elements ``{0}``, ``{1}``, ...; ``NAME(`` of a function stands for its form in the type, ``#`` for a constant's suffix.
    defaults
        Attributes that are numbers, with their defaults; ``{name}`` in the formula.
    whole
        The formula for whole numbers; empty where it is the same.
    """

    text: str
    defaults: Mapping[str, float] | None = None
    whole: str = ""

    def __call__(self, operation: Operation, lowering: Lowering) -> None:
        """Emit the formula."""
        given = operation.inputs[0]
        assert given is not None
        kind = c_type(given.dtype)
        text = self.whole if self.whole and given.dtype.kind in "iub" else self.text
        for name, default in (self.defaults or {}).items():
            text = text.replace(f"{{{name}}}", f"({c_literal(given.dtype.type(operation.number(name, default)))})")
        text, helpers = functions(text, kind)
        lowering.pointwise(operation, text, helpers)


LIBRARY = ("sqrt", "fabs", "floor", "ceil", "rint", "sin", "cos", "tan", "pow", "fmod")
"""Functions of the C library; on floats by their names with an f."""


def functions(text: str, kind: str) -> tuple[str, list[str]]:
    """Return a formula with its functions and constants as the type has them, and the firmware's own ones among them."""
    helpers = [name for name in HELPERS if f"{name}(" in text] if kind == "float" else []
    if kind == "float":
        for name in HELPERS:
            text = text.replace(f"{name}(", f"{name}_of(")
        for name in LIBRARY:
            text = text.replace(f"{name}(", f"{name}f(")
    elif "sigmoid(" in text:
        text = text.replace("sigmoid({0})", "1.0 / (1.0 + exp(-{0}))")
    text = re.sub(r"(?<![\d.])(\d+)#", r"\1.0#", text)
    return text.replace("#", "f" if kind == "float" else ""), helpers


def several(join: str) -> Emitter:
    """Return the emitter of an operator of any number of inputs, joined two by two."""

    def emit(operation: Operation, lowering: Lowering) -> None:
        text = "{0}"
        for place in range(1, len(operation.inputs)):
            text = join.format(f"({text})", f"{{{place}}}")
        lowering.pointwise(operation, text)

    return emit


def cast(operation: Operation, lowering: Lowering) -> None:
    """Convert elements to the output's type."""
    kind = c_type(operation.outputs[0].dtype)
    lowering.pointwise(operation, "{0} != 0" if operation.outputs[0].dtype == np.bool_ else f"({kind}){{0}}")


def clip(operation: Operation, lowering: Lowering) -> None:
    """Keep elements between two limits, each of which may be absent."""
    text, operands = "{0}", [lowering.view(operation.inputs[0])]
    for place, sign in ((1, "<"), (2, ">")):
        limit = operation.inputs[place] if place < len(operation.inputs) else None
        if limit is not None:
            bound = f"{{{len(operands)}}}"
            text = f"({text} {sign} {bound} ? {bound} : {text})"
            operands.append(lowering.view(limit))
    lowering.pointwise(operation, text, (), operands)


def divide(operation: Operation, lowering: Lowering) -> None:
    """Divide; by a constant, multiply by its reciprocal, which is quicker."""
    divisor = operation.inputs[1]
    assert divisor is not None
    if divisor.constant is not None and divisor.dtype == np.float32 and np.all(np.isfinite(1 / divisor.constant)):
        reciprocal = lowering.constant((1 / divisor.constant.astype(np.float64)).astype(np.float32), f"1 / {divisor.name}")
        lowering.pointwise(operation, "{0} * {1}", (), [lowering.view(operation.inputs[0]), reciprocal])
    else:
        lowering.pointwise(operation, "{0} / {1}")


def power(operation: Operation, lowering: Lowering) -> None:
    """Raise to a power; squares and roots without the C library's function."""
    exponent = operation.inputs[1]
    assert exponent is not None
    constant = exponent.constant
    source = [lowering.view(operation.inputs[0])]
    kind = c_type(operation.outputs[0].dtype)
    short = {2.0: "{0} * {0}", 3.0: "{0} * {0} * {0}", 0.5: "sqrt({0})", 1.0: "{0}"}
    if constant is not None and constant.size == 1 and float(constant.ravel()[0]) in short:
        lowering.pointwise(operation, functions(short[float(constant.ravel()[0])], kind)[0], (), source)
    else:
        lowering.pointwise(operation, functions("pow({0}, {1})", kind)[0])


def gelu(operation: Operation, lowering: Lowering) -> None:
    """Emit GELU, exact or by the hyperbolic tangent."""
    approximate = operation.attributes.get("approximate", b"none") == b"tanh"
    Pointwise(GELU_TANH if approximate else GELU)(operation, lowering)


GELU = "0.5# * {0} * (1# + erf({0} * 0.70710678118654752#))"
GELU_TANH = "0.5# * {0} * (1# + tanh(0.79788456080286536# * ({0} + 0.044715# * {0} * {0} * {0})))"

FORMULAS: Mapping[str, Pointwise] = {
    "Add": Pointwise("{0} + {1}"),
    "Sub": Pointwise("{0} - {1}"),
    "Mul": Pointwise("{0} * {1}"),
    "PRelu": Pointwise("{0} < 0# ? {0} * {1} : {0}"),
    "Neg": Pointwise("-{0}"),
    "Abs": Pointwise("fabs({0})", whole="({0} < 0 ? -{0} : {0})"),
    "Sqrt": Pointwise("sqrt({0})"),
    "Reciprocal": Pointwise("1# / {0}"),
    "Exp": Pointwise("exp({0})"),
    "Log": Pointwise("log({0})"),
    "Erf": Pointwise("erf({0})"),
    "Tanh": Pointwise("tanh({0})"),
    "Sigmoid": Pointwise("sigmoid({0})"),
    "Sin": Pointwise("sin({0})"),
    "Cos": Pointwise("cos({0})"),
    "Tan": Pointwise("tan({0})"),
    "Floor": Pointwise("floor({0})"),
    "Ceil": Pointwise("ceil({0})"),
    "Round": Pointwise("rint({0})"),
    "Sign": Pointwise("({0} > 0) - ({0} < 0)"),
    "Relu": Pointwise("{0} < 0 ? 0 : {0}"),
    "LeakyRelu": Pointwise("{0} < 0# ? {0} * {alpha} : {0}", {"alpha": 0.01}),
    "Elu": Pointwise("{0} < 0# ? {alpha} * (exp({0}) - 1#) : {0}", {"alpha": 1.0}),
    "Selu": Pointwise(
        "{gamma} * ({0} < 0# ? {alpha} * (exp({0}) - 1#) : {0})",
        {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    ),
    "Celu": Pointwise("{0} < 0# ? {alpha} * (exp({0} / {alpha}) - 1#) : {0}", {"alpha": 1.0}),
    "Softplus": Pointwise("({0} > 0# ? {0} : 0#) + log(1# + exp(-fabs({0})))"),
    "Softsign": Pointwise("{0} / (1# + fabs({0}))"),
    "HardSigmoid": Pointwise(
        "{alpha} * {0} + {beta} < 0# ? 0# : {alpha} * {0} + {beta} > 1# ? 1# : {alpha} * {0} + {beta}",
        {"alpha": 0.2, "beta": 0.5},
    ),
    "HardSwish": Pointwise("{0} * ({0} < -3# ? 0# : {0} > 3# ? 1# : {0} * 0.16666666666666667# + 0.5#)"),
    "Mish": Pointwise("{0} * tanh(({0} > 0# ? {0} : 0#) + log(1# + exp(-fabs({0}))))"),
    "Mod": Pointwise("fmod({0}, {1})", whole="({0} % {1} + {1}) % {1}"),
    "Not": Pointwise("!{0}"),
    "And": Pointwise("{0} && {1}"),
    "Or": Pointwise("{0} || {1}"),
    "Xor": Pointwise("!{0} != !{1}"),
    "Equal": Pointwise("{0} == {1}"),
    "Greater": Pointwise("{0} > {1}"),
    "GreaterOrEqual": Pointwise("{0} >= {1}"),
    "Less": Pointwise("{0} < {1}"),
    "LessOrEqual": Pointwise("{0} <= {1}"),
    "Where": Pointwise("{0} ? {1} : {2}"),
}
"""Operators that are one formula."""

EMITTERS: Mapping[str, Callable[[Operation, Lowering], None]] = {
    **FORMULAS,
    "Sum": several("{0} + {1}"),
    "Max": several("{0} < {1} ? {1} : {0}"),
    "Min": several("{0} > {1} ? {1} : {0}"),
    "Cast": cast,
    "Clip": clip,
    "Div": divide,
    "Pow": power,
    "Gelu": gelu,
}
"""Emitters of this file by operator."""
