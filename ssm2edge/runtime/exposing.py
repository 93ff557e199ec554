"""Inner values of a graph as outputs, without the onnx package.

A serialised protobuf message with another one behind it is the two merged: fields that repeat are joined.  So a graph gets
further outputs by a few bytes behind the file's own: a model (field 7: graph) whose graph has nothing but outputs (field 12),
each with nothing but a name (field 1).  onnxruntime infers their types.
"""

from __future__ import annotations

from collections.abc import Sequence

GRAPH, OUTPUT, NAME = 7, 12, 1
"""Field numbers of ModelProto, GraphProto and ValueInfoProto in onnx.proto."""


def expose(content: bytes, names: Sequence[str]) -> bytes:
    """Bytes of a model with more outputs.

    Parameters
    ----------
    content
        A serialised ModelProto.
    names
        Inner values of its main graph.
    """
    if not names:
        return content
    return content + _field(GRAPH, b"".join(_field(OUTPUT, _field(NAME, name.encode())) for name in names))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: its number and wire type 2, its length, itself."""
    return _variable(number << 3 | 2) + _variable(len(content)) + content


def _variable(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first, with the eighth set in all but the last."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
