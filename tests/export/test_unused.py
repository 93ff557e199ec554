"""What nothing uses is dropped; what the body of a loop takes from outside is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import parser
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import RemoveUnusedNodesPass

TEXT = """
<ir_version: 9, opset_import: ["" : 18]>
agraph (float[n, 2] x) => (float[n, 2] y)
<float[2] scale = {2.0, 3.0}, float[2] forgotten = {1.0, 1.0}>
{
  dead = Constant <value = float[1] {7.0}> ()
  deader = Add (dead, dead)
  start = Constant <value = float[2] {0.0, 0.0}> ()
  last, y = Scan <num_scan_inputs = 1, body = sum (float[2] s, float[2] u) => (float[2] s_next, float[2] out) {
    scaled = Mul (u, scale)
    s_next = Add (s, scaled)
    out = Identity (s_next)
  }> (start, x)
}
"""


def test_dead_nodes_and_constants_go_and_results_stay() -> None:
    model = parser.parse_model(TEXT)
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    (before,) = ReferenceEvaluator(model).run(None, {"x": x})
    model = ir.to_proto(RemoveUnusedNodesPass()(ir.from_proto(model)).model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Constant", "Scan"]
    assert [tensor.name for tensor in model.graph.initializer] == ["scale"]
    (after,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(after, before)
