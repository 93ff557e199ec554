"""The pass itself: choose a rule for every node that meets time, then interpret the program block by block."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from ssm2edge.export.errors import StreamingError
from ssm2edge.export.program import TracedModel, contains_symbol
from ssm2edge.export.streaming.contract import BlockStep, Rule, StateSpec, tensor_arguments, user_line

SIZE_CONSUMERS = frozenset({"view", "reshape", "expand", "_unsafe_view"})
"""Operators that use a length only as a size, which in a block is the block's."""

ASSERTIONS = frozenset({"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size"})
"""Operators with which the exporter notes what it relied on; they compute nothing."""


class StreamingModule(nn.Module):
    """One block of a model: ``forward(*inputs, *states) -> (*outputs, *next states)``.

    Attributes
    ----------
    states
        The states, in the order of the arguments.
    """

    def __init__(self, traced: TracedModel, steps: dict[str, BlockStep]) -> None:
        super().__init__()
        program = traced.program
        self.states: tuple[StateSpec, ...] = _unique([step.state for step in steps.values() if step.state is not None])
        self._nodes = list(program.graph.nodes)
        self._steps = steps
        stateful = [name for name, step in steps.items() if step.state is not None]
        self._state_index = {name: index for index, name in enumerate(stateful)}
        self._user_inputs: list[str] = []
        self._attributes: dict[str, str] = {}
        placeholders = [node for node in self._nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                self._user_inputs.append(node.name)
                continue
            assert spec.target is not None
            held = program.state_dict.get(spec.target, program.constants.get(spec.target))
            assert isinstance(held, Tensor)
            attribute = "held_" + spec.target.replace(".", "__")
            self._attributes[node.name] = attribute
            self.register_buffer(attribute, held.detach())

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Compute one block; see the class."""
        inputs, states = arguments[: len(self._user_inputs)], arguments[len(self._user_inputs) :]
        following = list(states)
        environment: dict[str, Any] = dict(zip(self._user_inputs, inputs, strict=True))
        environment |= {name: getattr(self, attribute) for name, attribute in self._attributes.items()}
        for node in self._nodes:
            if node.op == "placeholder" or _name(node) in ASSERTIONS:
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: environment[argument.name])
            if node.op == "output":
                return (*args[0], *following)
            step = self._steps.get(node.name)
            if step is None:
                environment[node.name] = node.target(*args, **kwargs)
                continue
            index = self._state_index.get(node.name)
            value, after = step.compute(args, kwargs, None if index is None else states[index])
            environment[node.name] = value
            if index is not None:
                assert after is not None
                following[index] = after
        raise AssertionError("an exported program ends with its output")

    def initial_states(self, batch: int) -> tuple[Tensor, ...]:
        """Zero states for ``batch`` streams."""
        return tuple(torch.zeros(batch, *state.shape) for state in self.states)


def to_streaming(traced: TracedModel, rules: Sequence[Rule]) -> StreamingModule:
    """Turn a traced model into its block form.

    Requires a program traced with one time symbol; ensures that blocks of any length, computed in order from zero states,
    give what the model gives on the whole sequence (see :class:`~ssm2edge.export.streaming.contract.Rule`).

    Raises
    ------
    StreamingError
        If an operation mixes time in a way no rule covers; the sentence names it and the line that calls it.
    """
    steps: dict[str, BlockStep] = {}
    # Values without time that were pooled over it: right after the last sample only, so that no sample may depend on them.
    pooled: set[fx.Node] = set()
    for node in traced.program.graph.nodes:
        if node.op != "call_function" or _name(node) in ASSERTIONS or _name(node) == "sym_size":
            continue
        from_pooled = not pooled.isdisjoint(node.all_input_nodes)
        if node.target is operator.getitem or not _meets_time(node, traced):
            _refuse_length_as_number(node, traced)
            if from_pooled:
                pooled.add(node)
            continue
        if from_pooled:
            raise StreamingError(_refusal(node, "brings a mean over the whole sequence back to its samples"))
        step = next((step for rule in rules if (step := rule.accept(node, traced)) is not None), None)
        if step is None:
            raise StreamingError(_refusal(node, "mixes samples of different times"))
        _refuse_length_as_number(node, traced)
        steps[node.name] = step
        if not traced.time_axes(node.meta.get("val")) and isinstance(node.meta.get("val"), Tensor):
            pooled.add(node)
    return StreamingModule(traced, steps)


def _meets_time(node: fx.Node, traced: TracedModel) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(traced.time_axes(x) for x in (*tensor_arguments(node), *values))


def _refuse_length_as_number(node: fx.Node, traced: TracedModel) -> None:
    """A length that enters arithmetic would silently become the block's length."""
    symbols = [x for x in node.all_input_nodes if contains_symbol(x.meta.get("val"), traced.time_symbol)]
    if symbols and _name(node) not in SIZE_CONSUMERS:
        raise StreamingError(_refusal(node, "uses the length of the whole sequence"))


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))


def _refusal(node: fx.Node, what: str) -> str:
    where = user_line(node)
    place = f" at {where}" if where else ""
    return (
        f"The model cannot stream: the operation {node.target}{place} {what}, which no streaming rule covers; "
        "only the whole-sequence graph can be built from it."
    )


def _unique(states: list[StateSpec]) -> tuple[StateSpec, ...]:
    seen: dict[str, int] = {}
    named = []
    for state in states:
        count = seen.get(state.name, 0)
        seen[state.name] = count + 1
        named.append(StateSpec(f"{state.name}.{count + 1}", state.shape) if count else state)
    return tuple(named)
