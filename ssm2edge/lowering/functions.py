"""What the texts of all ONNX functions have in common: domain, opset, header, whole numbers, and the number that flushes states.

States of decaying modes would end in subnormal numbers, which some processors compute 5 to 30 times slower.  Adding ``FLUSH`` at
every step makes them decay to it instead of zero; adding and subtracting it rounds a state to a multiple of 2^-94.  Neither
changes anything a float32 signal could show.
"""

from __future__ import annotations

from collections.abc import Sequence

DOMAIN = "ssm2edge"
OPSET = 18
FLUSH = "8.470329472543003e-22"
"""2^-70 in decimal digits."""


def integers(name: str, *values: int) -> str:
    """Line of a constant of int64, of one axis."""
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def function_text(name: str, inputs: str, outputs: str, lines: Sequence[str]) -> str:
    """Text of the ONNX function ``name (inputs) => (outputs)``."""
    body = "\n  ".join(lines)
    return f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n{name} ({inputs}) => ({outputs})\n{{\n  {body}\n}}'
