"""States that a graph puts together and takes apart again are moved on one by one, in place, with the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from tests.streaming_graphs import both, needs_compiler, save_stream, step_of

ORDER, SIZES = 4, (3, 5)


def joined_states(path: Path) -> Path:
    """Two banks of channels: x' = a x + b (x with pairs exchanged) + f + u, y = the sum of c x, for both at once."""
    generator = np.random.default_rng(0)
    total = sum(SIZES)
    a, b, c = generator.standard_normal((3, ORDER, total)).astype(np.float32) / 3
    integers = {"one": [1], "swap": [1, 0, 3, 2], "sizes": list(SIZES)}
    constants = {name: np.array(value, np.int64) for name, value in integers.items()}
    constants |= {"a": a, "b": b, "c": c, "f": np.full((1, total), 0.1, np.float32), "ones": np.ones((1, ORDER), np.float32)}
    made = [
        helper.make_node("Squeeze", ["u", "one"], ["v"]),
        helper.make_node("Split", ["v", "sizes"], ["v0", "v1"], axis=1),
        helper.make_node("Concat", ["state.0", "state.1"], ["x"], axis=-1),
        helper.make_node("Mul", ["c", "x"], ["cx"]),
        helper.make_node("MatMul", ["ones", "cx"], ["y"]),
        helper.make_node("Squeeze", ["y", "one"], ["z"]),
        helper.make_node("Split", ["z", "sizes"], ["z0", "z1"], axis=1),
        helper.make_node("Add", ["z0", "v0"], ["y0"]),
        helper.make_node("Add", ["z1", "v1"], ["y1"]),
        helper.make_node("Concat", ["v0", "v1"], ["w"], axis=-1),
        helper.make_node("Unsqueeze", ["w", "one"], ["t"]),
        helper.make_node("Gather", ["x", "swap"], ["turned"], axis=1),
        helper.make_node("Mul", ["a", "x"], ["ax"]),
        helper.make_node("Mul", ["b", "turned"], ["bx"]),
        helper.make_node("Add", ["ax", "bx"], ["moved"]),
        helper.make_node("Add", ["moved", "f"], ["lifted"]),
        helper.make_node("Add", ["lifted", "t"], ["after"]),
        helper.make_node("Split", ["after", "sizes"], ["next.0", "next.1"], axis=-1),
    ]
    states = {f"state.{k}": (f"next.{k}", (ORDER, size)) for k, size in enumerate(SIZES)}
    return save_stream(path, made, {"u": (1, total)}, {"y0": SIZES[:1], "y1": SIZES[1:]}, states, constants)


def test_joined_states_need_no_memory_of_their_own(tmp_path: Path) -> None:
    step = step_of(joined_states(tmp_path / "stream.onnx"))
    assert step.copied == ()
    assert sum(step.sizes.values()) <= sum(SIZES)


@needs_compiler
def test_parts_give_the_numbers_of_the_whole(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).standard_normal((40, sum(SIZES))).astype(np.float32)
    (found,), (expected,) = both(joined_states(tmp_path / "stream.onnx"), [{"u": samples}], tmp_path)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6 * np.abs(value).max())
