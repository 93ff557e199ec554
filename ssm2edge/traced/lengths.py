"""For which lengths a model is traced: for all, from a shortest one on, or for the multiples of a number.

The exporter is asked for all lengths first.  Two of its complaints are no fault of the model:

* values of a single sample would be broadcast, so that lengths which give one are excepted (``length // 4 != 1``), and with them
  lengths that give an empty value (``4 <= length``); a slice ``[:3]`` excepts 3 and less in the same way.  The trace then begins
  above them, and the graph holds for them all the same.  A bound that no such value explains is the model's own choice between
  two computations, and refused.
* samples are grouped (``reshape(batch, -1, 4)``), which holds for multiples of 4.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch.export import Dim

EXAMPLE_STEPS = 37
"""Length of the traced example, in multiples and above the least."""
LARGEST = 1 << 16

GUARD = re.compile(r"satisfy the generated guard (.+?)(?: and \S+ <= IntInfinity\(\))?\.?$", re.MULTILINE)
DIFFERENT = re.compile(r"^(.+) != (\d+)$")
LONG_ENOUGH = re.compile(r"^(\d+) <= n$")
LENGTH = re.compile(r"L\['\w+'\]\.size\(\)\[\d+\]")
UNEQUAL = re.compile(r"The size of tensor a \(.+\) must match the size of tensor b \(.+\)")
UNGROUPED = re.compile(r"shape '\[(.+)\]' is invalid for input of size (?:(\d+)\*)?|sizes \[(.+)\] don't multiply up")


@dataclass(frozen=True)
class Lengths:
    """Lengths to trace a model for.

    Attributes
    ----------
    multiple
        What they are divisible by.
    least
        Smallest length in multiples that the trace covers.
    """

    multiple: int = 1
    least: int = 0

    def dimension(self) -> Any:
        """The exporter's value for it."""
        free = Dim("steps" if self.multiple > 1 else "time", min=self.least or None)
        return self.multiple * free if self.multiple > 1 else free

    def example(self) -> int:
        """A length for the traced example."""
        return self.multiple * (self.least + EXAMPLE_STEPS)

    def narrowed(self, report: str) -> Lengths | None:
        """Return the lengths to try next after the exporter's report; None if none would do."""
        guards = [LENGTH.sub("n", guard) for guard in GUARD.findall(report)]
        if self.multiple == 1 and guards and "specialized" not in report:
            return self._longer(guards)
        ungrouped, unequal = UNGROUPED.search(report), UNEQUAL.search(report)
        factor = 1
        if ungrouped is not None:
            shape, common = ungrouped[1] or ungrouped[3], int(ungrouped[2] or 1)
            group = math.prod(int(size) for size in shape.split(", ") if size.isdigit())
            factor = group // math.gcd(group, common)
        elif unequal is not None:
            factor = _divisors([unequal[0]])
        return self._grouped(factor)

    def _longer(self, guards: list[str]) -> Lengths | None:
        bounds = [int(found[1]) for guard in guards if (found := LONG_ENOUGH.match(guard)) is not None]
        excepted = max(self.least, *bounds, 0) - 1
        for guard in guards:
            different, broken = DIFFERENT.match(guard), _broken_by(guard)
            if different is not None and int(different[2]) in (0, 1, 2, *bounds):
                excepted = max([excepted, *broken])
            elif broken and not LONG_ENOUGH.match(guard):
                return None
        if excepted >= max(self.least, 2):
            return replace(self, least=excepted + 1) if excepted < LARGEST else None
        # All hold, but the exporter cannot see it where lengths are divided.
        return None if any(map(_broken_by, guards)) else self._grouped(_divisors(guards))

    def _grouped(self, factor: int) -> Lengths | None:
        multiple = self.multiple * factor
        return Lengths(multiple) if factor > 1 and multiple <= LARGEST else None


def _divisors(expressions: list[str]) -> int:
    """A number that all divisions in some expressions divide."""
    return math.lcm(*(int(k) for expression in expressions for k in re.findall(r"// ?(\d+)", expression)))


def _broken_by(guard: str) -> list[int]:
    """Return lengths n up to 4,096 for which a guard does not hold; all where that cannot be decided."""
    lengths = range(1, 4097)
    try:
        tree = ast.parse(guard, mode="eval").body
        return [n for n in lengths if not _holds(tree, n)]
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError):
        return list(lengths)


OPERATIONS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARISONS: dict[type, Callable[[int, int], bool]] = {
    ast.NotEq: operator.ne,
    ast.Eq: operator.eq,
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
}


def _holds(tree: ast.expr, n: int) -> bool:
    """Return True if a comparison of whole-number arithmetic in n holds."""
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1:
        return COMPARISONS[type(tree.ops[0])](_value(tree.left, n), _value(tree.comparators[0], n))
    raise ValueError(f"{ast.dump(tree)} is no single comparison")


def _value(tree: ast.expr, n: int) -> int:
    """The value of whole-number arithmetic in n."""
    if isinstance(tree, ast.BinOp):
        return OPERATIONS[type(tree.op)](_value(tree.left, n), _value(tree.right, n))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand, n)
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name) and tree.id == "n":
        return n
    raise ValueError(f"{ast.dump(tree)} is no arithmetic of whole numbers")
