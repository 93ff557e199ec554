"""For which lengths a model is traced: for all, from a shortest one on, or for the multiples of a number.

The exporter is asked for all lengths first.  Some of its complaints are no fault of the model:

* values of a single sample would be broadcast, so that lengths which give one are excepted (``length // 4 != 1``), and with them
  lengths that give an empty value (``4 <= length``); a slice ``[:3]`` excepts 3 and less in the same way.  The trace then begins
  above them, and the graph holds for them all the same.  A bound that no such value explains is the model's own choice between
  two computations, and refused.
* samples are grouped (``reshape(batch, -1, 4)``), which holds for multiples of 4; every fourth sample is taken (``[:, ::4]``),
  and lies in memory one way or another by whether the length is a multiple.
* the example is a single patch of a strided convolution, or shorter than one: a longer one is traced.
* a condition that holds for all lengths is beyond what it can prove, such as ``1 % (1 + (n - 1) // 4) != 0``: it is left to be
  asserted, and taken out of the program.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.export import Dim

EXAMPLE_STEPS = 37
"""Length of the first traced example, in multiples and above the least."""
LONGER = 16
"""Times as long is the next example, where one gives a single patch or none."""
LARGEST = 1 << 16
SHORTEST_SPAN = 3
"""Lengths there are at least, where there is a longest one."""

GUARD = re.compile(r"satisfy the generated guard (.+?)(?: and \S+ <= IntInfinity\(\))?\.?$", re.MULTILINE)
DIFFERENT = re.compile(r"^(.+) != (\d+)$")
SHORT_ENOUGH = re.compile(r"^\d+ <= n and n <= (\d+)$")
TOO_LONG = re.compile(
    r"must match the size of tensor b \((\d+)\)|size of tensor a \((\d+)\) must match|exceeds dimension size \((\d+)\)"
    r"|Expected s\d+ in dimension \d+ but got (\d+)|Expected (\d+) in dimension \d+ but got s\d+"
)
"""Reports of an example that is longer than something that is cut to the length, such as learned positions."""
LONG_ENOUGH = re.compile(r"^(\d+) <= n$")
TOO_SHORT = re.compile(r"// ?\d+\)* == [01]\b|Kernel size can't be greater than actual input size")
"""Reports of an example that a strided convolution makes one sample of, or that is shorter than its kernel."""
BATCH = re.compile(r"L\['\w+'\]\.size\(\)\[0\]")
LENGTH = re.compile(r"L\['\w+'\]\.size\(\)\[\d+\]")
BATCHES = (1, 2, 3, 5)
"""Batch sizes at which conditions are looked at."""
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
    deferred
        Whether conditions that the exporter cannot prove are asserted in the program.
    most
        Largest length in multiples; None without one.
    steps
        Length of the example, in multiples and above the least.
    """

    multiple: int = 1
    least: int = 0
    deferred: bool = False
    most: int | None = None
    steps: int = EXAMPLE_STEPS

    def dimension(self) -> Any:
        """The exporter's value for it."""
        free = Dim("steps" if self.multiple > 1 else "time", min=self.least or None, max=self.most)
        return self.multiple * free if self.multiple > 1 else free

    def example(self) -> int:
        """A length for the traced example."""
        steps = self.least + self.steps
        return self.multiple * (steps if self.most is None else min(steps, self.most))

    def narrowed(self, report: str) -> Lengths | None:
        """Return the lengths to try next after the exporter's report; None if none would do."""
        if TOO_SHORT.search(report) and self.most is None and self.multiple * self.steps * LONGER < LARGEST:
            return replace(self, steps=self.steps * LONGER)
        guards = [LENGTH.sub("n", BATCH.sub("b", guard)) for guard in GUARD.findall(report)]
        most = min((int(found[1]) for guard in guards if (found := SHORT_ENOUGH.match(guard)) is not None), default=None)
        if most is not None and "specialized" not in report and self.multiple == 1 and self._may_end_at(most):
            return replace(self, most=most)
        if guards and "specialized" not in report:
            if not self.deferred and not any(map(self._broken_by, guards)):
                return replace(self, deferred=True)
            if (factor := self._where_alike(guards)) > 1:
                return self._grouped(factor)
            if self.multiple == 1:
                return self._longer(guards)
        ungrouped, unequal = UNGROUPED.search(report), UNEQUAL.search(report)
        factor = 1
        if ungrouped is not None:
            shape, common = ungrouped[1] or ungrouped[3], int(ungrouped[2] or 1)
            group = math.prod(int(size) for size in shape.split(", ") if size.isdigit())
            factor = group // math.gcd(group, common)
        elif unequal is not None:
            factor = _divisors([unequal[0]])
        longer = TOO_LONG.search(report)
        if factor == 1 and longer is not None and self.multiple == 1:
            most = int(next(filter(None, longer.groups())))
            return replace(self, most=most) if most < self.example() and self._may_end_at(most) else None
        return self._grouped(factor)

    def _where_alike(self, guards: list[str]) -> int:
        """Return the number whose multiples, and no others, make two lengths equal that are said to differ; else 1."""
        for guard in guards:
            factor = _divisors([guard])
            if " != " not in guard or factor // math.gcd(factor, self.multiple) == 1:
                continue
            broken = self._broken_by(guard)
            if broken and broken == [n for n in range(broken[0], broken[-1] + 1, self.multiple) if n % factor == 0]:
                return factor // math.gcd(factor, self.multiple)
        return 1

    def _may_end_at(self, most: int) -> bool:
        return SHORTEST_SPAN + self.least <= most < (self.most or LARGEST)

    def _longer(self, guards: list[str]) -> Lengths | None:
        bounds = [int(found[1]) for guard in guards if (found := LONG_ENOUGH.match(guard)) is not None]
        excepted = max(self.least, *bounds, 0) - 1
        for guard in guards:
            different, broken = DIFFERENT.match(guard), self._broken_by(guard)
            # A slice that is as long as the sequence lies in memory otherwise: one length is excepted, as 4 n != 40.
            if different is not None and (int(different[2]) in (0, 1, 2, *bounds) or len(broken) == 1):
                excepted = max([excepted, *broken])
            elif broken and not LONG_ENOUGH.match(guard):
                return None
        if excepted >= max(self.least, 2):
            return replace(self, least=excepted + 1) if excepted < LARGEST else None
        # All hold, but the exporter cannot see it where lengths are divided.
        return None if any(map(self._broken_by, guards)) else self._grouped(_divisors(guards))

    def _broken_by(self, guard: str) -> list[int]:
        """Return lengths n, up to 4,096 or the most, for which a guard does not hold; all where that cannot be decided."""
        last = max(4096, self.multiple * (self.least + 64)) if self.most is None else self.multiple * self.most
        lengths = range(self.multiple * max(self.least, 1), last + 1, self.multiple)
        try:
            tree = ast.parse(guard, mode="eval").body
            batches = BATCHES if "b" in guard else BATCHES[:1]
            return [n for n in lengths if not all(_holds(tree, {"n": n, "b": b}) for b in batches)]
        except (SyntaxError, ValueError, KeyError):
            return list(lengths)

    def _grouped(self, factor: int) -> Lengths | None:
        multiple = self.multiple * factor
        return Lengths(multiple) if factor > 1 and multiple <= LARGEST else None


def _divisors(expressions: list[str]) -> int:
    """A number that all divisions in some expressions divide."""
    return math.lcm(*(int(k) for expression in expressions for k in re.findall(r"// ?(\d+)", expression)))


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


def _holds(tree: ast.expr, sizes: Mapping[str, int]) -> bool:
    """Return True if a comparison of whole-number arithmetic in the sizes holds; False where it divides by zero."""
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1:
        try:
            return COMPARISONS[type(tree.ops[0])](_value(tree.left, sizes), _value(tree.comparators[0], sizes))
        except ZeroDivisionError:
            # A sequence too short for one patch: nothing is computed of it.
            return False
    raise ValueError(f"{ast.dump(tree)} is no single comparison")


def _value(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    """Return the value of whole-number arithmetic in the sizes."""
    if isinstance(tree, ast.BinOp):
        return OPERATIONS[type(tree.op)](_value(tree.left, sizes), _value(tree.right, sizes))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand, sizes)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id.lower() in ("min", "max"):
        values = [_value(argument, sizes) for argument in tree.args]
        return min(values) if tree.func.id.lower() == "min" else max(values)
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name) and tree.id in sizes:
        return sizes[tree.id]
    raise ValueError(f"{ast.dump(tree)} is no arithmetic of whole numbers")
