"""Rule: operations that treat every sample by itself stay as they are."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, as_is
from ssm2edge.export.streaming.timeline import timeline
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, normal_dimensions, operator_name, tensor_arguments, traced_value
from ssm2edge.traced.program import TracedModel, contains_symbol

ELEMENTWISE = frozenset(
    {
        "abs", "add", "bitwise_not", "ceil", "celu", "clamp", "clamp_max", "clamp_min", "clone", "contiguous", "cos", "detach",
        "div", "dropout", "elu", "eq", "erf", "exp", "expm1", "feature_dropout", "floor", "ge", "gelu", "gt", "hardsigmoid",
        "hardswish", "hardtanh", "le", "leaky_relu", "log", "log1p", "log_sigmoid", "logical_and", "logical_not", "logical_or",
        "lt", "masked_fill", "maximum", "minimum", "mish", "mul", "ne", "neg", "ones_like", "pow", "prelu", "reciprocal", "relu",
        "relu6", "remainder", "round", "rsqrt", "rsub", "selu", "sigmoid", "sign", "silu", "sin", "softplus", "sqrt", "square",
        "sub", "tan", "tanh", "to", "type_as", "where", "zeros_like", "_to_copy", "alias", "lift_fresh_copy", "embedding",
        "one_hot",
    }
)  # fmt: skip
"""aten operators, by name, whose every output element depends on the elements at its own time only."""

WIDENING = frozenset({"embedding", "one_hot"})
"""Of these, those that put an axis of their own behind the argument's."""

NAMED_AXES = frozenset({"permute", "transpose", "movedim", "swapaxes", "mT"})
"""aten operators that exchange axes as wholes."""


class PointwiseRule:
    """Elementwise operations, products with weights, and operations along axes other than time."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept the node if no output sample depends on another time."""
        name, operands, traced = operator_name(node), walk.timed(node), walk.traced
        value = node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        lines = [*map(walk.timeline, operands), *(timeline(v, traced) for v in values)]
        known = [line for line in lines if line is not None]
        if any(contains_symbol(x.meta.get("val"), traced.time_symbol) for x in node.all_input_nodes):
            # Along other axes a length is a number, and would become the block's.
            return None
        if name is None or not operands or len(known) != len(lines) or len({(line.rate, line.offset) for line in known}) != 1:
            return None
        x, axis = operands[0].meta["val"], known[0].axis
        if name in ELEMENTWISE:
            # Broadcasting aligns axes from the right: time must be the same axis everywhere.
            from_right = {o.meta["val"].ndim - line.axis for o, line in zip(operands, known, strict=False)}
            accepted = len(from_right) == 1 or name in WIDENING
        elif name in NAMED_AXES:
            accepted = True
        else:
            check = ALONG_OTHER_AXES.get(name)
            accepted = check is not None and check(node, x, axis, traced)
        return as_is(node, *walk.aligned(operands)) if accepted else None


def _other_dimension(position: int, default: int | None = None) -> Callable[..., bool]:
    def check(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
        return time not in normal_dimensions(argument_of(node, position, "dim", default), x.ndim)

    return check


def _not_normalised_over_time(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
    shape = traced_value(node.args[1])
    assert isinstance(shape, list | tuple)
    return time < x.ndim - len(shape)


def _time_is_a_row(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
    return tensor_arguments(node)[0] is x and time != x.ndim - 1


def _time_is_not_contracted(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
    left, right = tensor_arguments(node)
    if x is left and traced.time_axes(right):
        # Products of the two at every time: time must be one batch axis of both.
        return time < x.ndim - 2 and x.ndim - time == right.ndim - traced.time_axes(right)[0]
    return time != x.ndim - 1 if x is left else time != max(0, x.ndim - 2)


def _trained_channels(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
    training = node.args[5]
    return training is False and time != 1


def _kernel_of_one(node: fx.Node, x: Tensor, time: int, traced: TracedModel) -> bool:
    weight = traced_value(node.args[1])
    if not isinstance(weight, Tensor) or traced_value(node.args[0]) is not x:
        return False
    stride = node.args[3] if len(node.args) > 3 else [1]
    padding = node.args[4] if len(node.args) > 4 else [0]
    assert isinstance(stride, list | tuple)
    assert isinstance(padding, list | tuple | str)
    unpadded = padding in ("valid", "same") or all(p == 0 for p in padding)
    return time == x.ndim - 1 and weight.shape[-1] == 1 and all(s == 1 for s in stride) and unpadded


ALONG_OTHER_AXES: dict[str, Callable[[fx.Node, Tensor, int, TracedModel], bool]] = {
    "layer_norm": _not_normalised_over_time,
    "rms_norm": _not_normalised_over_time,
    "linear": _time_is_a_row,
    "matmul": _time_is_not_contracted,
    "batch_norm": _trained_channels,
    "conv1d": _kernel_of_one,
    "glu": _other_dimension(1, default=-1),
    "softmax": _other_dimension(1),
    "log_softmax": _other_dimension(1),
    "split": _other_dimension(2, default=0),
    "split_with_sizes": _other_dimension(2, default=0),
    "chunk": _other_dimension(2, default=0),
    "unbind": _other_dimension(1, default=0),
    "select": _other_dimension(1),
    "slice": _other_dimension(1, default=0),
    "mean": _other_dimension(1),
    "sum": _other_dimension(1),
    "std": _other_dimension(1),
    "var": _other_dimension(1),
    "amax": _other_dimension(1),
    "amin": _other_dimension(1),
    "cat": _other_dimension(1, default=0),
    "stack": lambda node, x, time, traced: True,
    "flip": _other_dimension(1),
}
