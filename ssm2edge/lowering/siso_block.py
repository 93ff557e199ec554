"""ONNX functions for one block of a bank of SISO channels with states in and out, as text.

    y = Toep u + O x        x' = A^T x + R u        (see :mod:`ssm2edge.lowering.siso_bank`)

In the recurrent form (T = 1) and the elementwise form a block is three functions: what the states before it alone decide, O x and
A^T x; its outputs; and the states after it.  The first does not wait for the layers below, and no layer above waits for the last,
so that these two can be computed for all layers at once (:mod:`ssm2edge.export.passes.joint_states`): of a small bank a node
costs more than its arithmetic.  The chunked form is one matrix product for each channel.

States stay out of the subnormal range because A^T x is lifted by f - A^T f with f = 2^-70: silence ends at states of f, which no
float32 signal could show, and on the way there they are sums of numbers near f, whose roundings are far above 2^-126.
"""

from __future__ import annotations

from ssm2edge.lowering.functions import FLUSH, function_text
from ssm2edge.lowering.plan import Plan
from ssm2edge.lowering.siso_bank import chunk_constants, constant32, swap_constant


def states_function(plan: Plan, name: str) -> str:
    """Text of ``name(x, a, b, c, d) => (moved, seen)``: A^T x and O x of states (batch, order, channels).

    ``seen`` is (batch, channels) in the recurrent form and (batch, T, channels) in the elementwise one.
    """
    lines = _one_sample_of_states(plan) if plan.form == "recurrent" else _samples_of_states(plan)
    return function_text(name, "x, a, b, c, d", "moved, seen", lines)


def outputs_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, seen, a, b, c, d) => (y)``: samples and outputs have the shape of ``seen``."""
    lines = ["through = Mul (u, d)", "y = Add (seen, through)"] if plan.form == "recurrent" else _several_outputs(plan)
    return function_text(name, "u, seen, a, b, c, d", "y", lines)


def arrivals_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, moved, a, b, c, d) => (x_next)``."""
    lines = _one_arrival() if plan.form == "recurrent" else _several_arrivals(plan)
    return function_text(name, "u, moved, a, b, c, d", "x_next", lines)


def chunk_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, x, a, b, c, d) => (y, x_next)``: one block (batch, channels, T), states (batch, order, channels)."""
    return function_text(name, "u, x, a, b, c, d", "y, x_next", _chunked_block(plan))


def _one_sample_of_states(plan: Plan) -> list[str]:
    return [
        swap_constant(plan),
        "at = Transpose <perm = [1, 0]> (a)",
        "bt = Transpose <perm = [1, 0]> (b)",
        "ct = Transpose <perm = [1, 0]> (c)",
        *_moved("at", "bt"),
        "cx = Mul (ct, x)",
        # onnxruntime multiplies by a row of ones a third faster than it sums over an axis.
        f"ones_shape = Constant <value = int64[2] {{1, {plan.order}}}> ()",
        "ones = ConstantOfShape <value = float[1] {1.0}> (ones_shape)",
        "seen_row = MatMul (ones, cx)",
        "state_axis = Constant <value = int64[1] {1}> ()",
        "seen = Squeeze (seen_row, state_axis)",
    ]


def _moved(a: str, b: str) -> list[str]:
    """A^T x + f - A^T f of the sections (a, b)."""
    return [
        "one32 = Constant <value = float[1] {1.0}> ()",
        f"flush32 = Constant <value = float[1] {{{FLUSH}}}> ()",
        f"without_a = Sub (one32, {a})",
        f"stays = Sub (without_a, {b})",
        "lift = Mul (stays, flush32)",
        "xs = Gather <axis = 1> (x, swap)",
        f"ax = Mul ({a}, x)",
        f"bx = Mul ({b}, xs)",
        "turned = Add (ax, bx)",
        "moved = Add (turned, lift)",
    ]


def _one_arrival() -> list[str]:
    return [
        "state_axis = Constant <value = int64[1] {1}> ()",
        "sample = Unsqueeze (u, state_axis)",
        "x_next = Add (moved, sample)",
    ]


def _samples_of_states(plan: Plan) -> list[str]:
    """Sums over the states of elementwise products: no matrix of a channel is large enough to be worth a product of its own."""
    return [
        *chunk_constants(plan),
        "aTt = Transpose <perm = [1, 0]> (aT64)",
        "bTt = Transpose <perm = [1, 0]> (bT64)",
        *constant32("aT", "aTt"),
        *constant32("bT", "bTt"),
        *_moved("aT", "bT"),
        "outward_t = Transpose <perm = [2, 1, 0]> (outward)",
        *constant32("onto", "outward_t"),
        "x_each = Unsqueeze (x, order_axis)",
        "shares = Mul (onto, x_each)",
        "axis2 = Constant <value = int64[1] {2}> ()",
        "seen = ReduceSum <keepdims = 0> (shares, axis2)",
    ]


def _several_arrivals(plan: Plan) -> list[str]:
    return [
        *chunk_constants(plan),
        "axis2 = Constant <value = int64[1] {2}> ()",
        "u_each = Unsqueeze (u, order_axis)",
        "reach_t = Transpose <perm = [2, 1, 0]> (reach)",
        *constant32("arrive", "reach_t"),
        "shares = Mul (arrive, u_each)",
        "arriving = ReduceSum <keepdims = 0> (shares, axis2)",
        "x_next = Add (moved, arriving)",
    ]


def _several_outputs(plan: Plan) -> list[str]:
    """The Toeplitz part is a depthwise convolution over time, in the 2-D spelling that onnxruntime blocks over channels."""
    T = plan.block
    return [
        *chunk_constants(plan),
        "u_each = Unsqueeze (u, order_axis)",
        "latest_first = Slice (kernel, from_last, to_first, last, next1)",
        f"kernel_shape = Constant <value = int64[4] {{{plan.channels}, 1, 1, {T}}}> ()",
        "latest_first4 = Reshape (latest_first, kernel_shape)",
        *constant32("weight", "latest_first4"),
        "by_channel = Transpose <perm = [0, 3, 1, 2]> (u_each)",
        f"filtered = Conv <group = {plan.channels}, pads = [0, {T - 1}, 0, 0]> (by_channel, weight)",
        "by_time = Transpose <perm = [0, 2, 3, 1]> (filtered)",
        "within = Squeeze (by_time, order_axis)",
        "y = Add (within, seen)",
    ]


def _chunked_block(plan: Plan) -> list[str]:
    """One product for everything, [y | x'] = [u | x] [Toep^T, R^T; O^T, A^T], with A^T as a full matrix of each channel.

    The n^2 multiply-adds more than sections need are paid back by half the nodes, up to orders of about 50.
    """
    T, n = plan.block, plan.order
    return [
        *chunk_constants(plan),
        f"square = Constant <value = int64[2] {{{n}, {n}}}> ()",
        "blank = ConstantOfShape <value = double[1] {0.0}> (square)",
        "unit = EyeLike (blank)",
        "unit_swapped = Gather <axis = 0> (unit, swap)",
        "aT_row = Unsqueeze (aT64, order_axis)",
        "bT_row = Unsqueeze (bT64, order_axis)",
        "diagonal = Mul (unit, aT_row)",
        "across = Mul (unit_swapped, bT_row)",
        "power = Add (diagonal, across)",
        "from_samples = Concat <axis = -1> (toeplitz, reach)",
        "from_states = Concat <axis = -1> (outward, power)",
        "all64 = Concat <axis = 1> (from_samples, from_states)",
        *constant32("all", "all64"),
        "by_channel = Transpose <perm = [0, 2, 1]> (x)",
        "known = Concat <axis = -1> (u, by_channel)",
        "axis2 = Constant <value = int64[1] {2}> ()",
        "known_row = Unsqueeze (known, axis2)",
        "found_row = MatMul (known_row, all)",
        "found = Squeeze (found_row, axis2)",
        f"parts = Constant <value = int64[2] {{{T}, {n}}}> ()",
        "y, after = Split <axis = -1> (found, parts)",
        "lifted = Add (after, flush)",
        "flushed = Sub (lifted, flush)",
        "x_next = Transpose <perm = [0, 2, 1]> (flushed)",
    ]
