"""GELU written in the order of operations that onnxruntime recognises and computes in one kernel.

The exporter's own order, ``x (0.5 (1 + erf(x / sqrt 2)))``, is not recognised and runs as five passes over memory.
"""

from __future__ import annotations

from ssm2edge.lowering.functions import function_text

NAME = "Gelu"


def gelu_function() -> str:
    """Text of the ONNX function ``Gelu (x) => (y)``, exact form."""
    lines = [
        "root = Constant <value = float {1.4142135381698608}> ()",
        "one = Constant <value = float {1.0}> ()",
        "half = Constant <value = float {0.5}> ()",
        "scaled = Div (x, root)",
        "error = Erf (scaled)",
        "shifted = Add (error, one)",
        "doubled = Mul (x, shifted)",
        "y = Mul (doubled, half)",
    ]
    return function_text(NAME, "x", "y", lines)
