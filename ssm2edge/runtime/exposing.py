"""Inner values of a graph as outputs, without the onnx package.

A few bytes appended to the file merge with it and add outputs to its graph: a model (field 7: graph) whose graph has only outputs
(field 12), each with only a name (field 1).  onnxruntime infers their types.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssm2edge.runtime.protobuf import written

GRAPH, OUTPUT, NAME = 7, 12, 1
"""Field numbers of ModelProto, GraphProto and ValueInfoProto in onnx.proto."""


def expose(content: bytes, names: Sequence[str]) -> bytes:
    """Return the bytes of a model with more outputs.

    Parameters
    ----------
    content
        A serialised ModelProto.
    names
        Inner values of its main graph.
    """
    if not names:
        return content
    return content + written(GRAPH, b"".join(written(OUTPUT, written(NAME, name.encode())) for name in names))
