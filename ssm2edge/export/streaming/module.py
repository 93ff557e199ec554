"""The pass itself: choose a rule for every node that meets time, then interpret the program block by block."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from ssm2edge.export.streaming.contract import Rule
from ssm2edge.export.streaming.delay import delayed
from ssm2edge.export.streaming.positions import counted
from ssm2edge.export.streaming.steps import BlockStep, StateSpec
from ssm2edge.export.streaming.walk import Walk, fixed_length, refusal
from ssm2edge.traced.errors import StreamingError
from ssm2edge.traced.nodes import at_line_of, tensor_arguments
from ssm2edge.traced.positions import positional
from ssm2edge.traced.program import TracedModel, contains_symbol
from ssm2edge.traced.running import held_tensors

SIZE_CONSUMERS = frozenset(
    {"view", "reshape", "expand", "_unsafe_view", "slice", "narrow", "select", "upsample_nearest1d", "unflatten"}
)
"""Operators that use a length only as a size or a place, and whose rules find both from the shapes."""

OUTPUT = "output"


@dataclass
class BlockProgram:
    """The steps by which a program is computed block by block.

    Attributes
    ----------
    steps
        By node name; nodes without a step are computed as they are.
    late
        By node name and number of samples, the steps that hold a node's value back.
    delays
        By the name of the node that uses them, the values it takes late, and by how many samples.
    left_out
        Names of nodes that nothing needs, because a table stands for what is made of them.
    """

    steps: dict[str, BlockStep] = field(default_factory=dict)
    late: dict[str, dict[int, BlockStep]] = field(default_factory=dict)
    delays: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    def keep(self, node: fx.Node, step: BlockStep, walk: Walk) -> None:
        """Note the step of a node."""
        walk.note(node, step)
        self.use(node.name, step.delays, walk)
        self.steps[node.name] = step

    def use(self, user: str, delays: Mapping[fx.Node, int], walk: Walk) -> None:
        """Let a node take some of its arguments late."""
        for node, samples in delays.items():
            self.delays.setdefault(user, {})[node.name] = samples
            held_back = self.late.setdefault(node.name, {})
            if samples not in held_back:
                held_back[samples] = delayed(node, samples, walk)


class StreamingModule(nn.Module):
    """One block of a model: ``forward(*inputs, *states) -> (*outputs, *next states)``.

    Attributes
    ----------
    states
        The states, in the order of the arguments.
    frame
        Blocks are multiples of this many samples.
    """

    def __init__(self, traced: TracedModel, program: BlockProgram, frame: int) -> None:
        super().__init__()
        self.frame = frame
        self._nodes = list(traced.program.graph.nodes)
        self._program = program
        held = held_tensors(traced.program)
        self._user_inputs = [node.name for node in self._nodes if node.op == "placeholder" and node.name not in held]
        for name, value in held.items():
            self.register_buffer("held_" + name, value)
        self._held = tuple(held)
        owned: dict[tuple[str, int], StateSpec] = {}
        for node in self._nodes:
            for samples, step in ((0, program.steps.get(node.name)), *program.late.get(node.name, {}).items()):
                if step is not None and step.state is not None:
                    owned[node.name, samples] = step.state
        self.states: tuple[StateSpec, ...] = _unique(list(owned.values()))
        self._state_index = {key: index for index, key in enumerate(owned)}

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Compute one block; see the class."""
        inputs, states = arguments[: len(self._user_inputs)], arguments[len(self._user_inputs) :]
        following = list(states)
        environment: dict[tuple[str, int], Any] = {}

        def run(name: str, samples: int, step: BlockStep, args: Any, kwargs: Any) -> None:
            index = self._state_index.get((name, samples))
            value, after = step.compute(args, kwargs, None if index is None else states[index])
            environment[name, samples] = value
            if index is not None:
                assert after is not None
                following[index] = after

        known = dict(zip(self._user_inputs, inputs, strict=True)) | {x: getattr(self, "held_" + x) for x in self._held}
        for node in self._nodes:
            if node.name in self._program.left_out:
                continue
            step = self._program.steps.get(node.name)
            # A table of positions needs no arguments, which may be left out.
            args, kwargs = ((), {}) if step is not None and step.alone else self._arguments(node, environment)
            if node.op == "output":
                return (*args[0], *following)
            with at_line_of(node):
                if node.op == "placeholder":
                    environment[node.name, 0] = known[node.name]
                elif step is not None:
                    more = () if step.beside is None else (environment[step.beside.name, 0],)
                    run(node.name, 0, step, (*args, *more), kwargs)
                else:
                    environment[node.name, 0] = node.target(*args, **kwargs)
                for samples, held_back in self._program.late.get(node.name, {}).items():
                    run(node.name, samples, held_back, (environment[node.name, 0],), {})
        raise AssertionError("an exported program ends with its output")

    def _arguments(self, node: fx.Node, environment: Mapping[tuple[str, int], Any]) -> Any:
        """Values of a node's arguments, late where it takes them late."""
        delays = self._program.delays.get(OUTPUT if node.op == "output" else node.name, {})
        return fx.map_arg((node.args, node.kwargs), lambda argument: environment[argument.name, delays.get(argument.name, 0)])

    def initial_states(self, batch: int) -> tuple[Tensor, ...]:
        """Zero states for ``batch`` streams."""
        return tuple(torch.zeros(batch, *state.shape) for state in self.states)


def to_streaming(traced: TracedModel, rules: Sequence[Rule]) -> StreamingModule:
    """Turn a traced model into its block form.

    Requires a program traced with one time symbol; ensures that blocks of any multiple of ``frame`` samples, computed in order
    from zero states, give what the model gives on the whole sequence (see
    :class:`~ssm2edge.export.streaming.contract.Rule`).

    Raises
    ------
    StreamingError
        If an operation mixes time in a way no rule covers; the sentence names it and the line that calls it.
    """
    if traced.length is not None:
        raise StreamingError(fixed_length(traced))
    walk, program, positions = Walk(traced), BlockProgram(), positional(traced.program)
    for node in traced.program.graph.nodes:
        if node.op == "placeholder" and traced.time_axes(node.meta.get("val")):
            walk.note_input(node)
        elif node.op == "output":
            for value in node.args[0]:
                if isinstance(value, fx.Node) and traced.time_axes(value.meta.get("val")):
                    _count_positions([value], value, walk, program)
                    program.use(OUTPUT, walk.settled(value), walk)
        elif node.op == "call_function":
            if node in positions and all(x in walk.positional for x in walk.timed(node)):
                walk.positional.add(node)
            step = _step(node, walk, rules, program)
            if step is not None:
                walk.positional.discard(node)
                program.keep(node, step, walk)
    program.left_out = frozenset(node.name for node in walk.positional if traced.time_axes(node.meta.get("val")))
    return StreamingModule(traced, program, walk.frame)


def _step(node: fx.Node, walk: Walk, rules: Sequence[Rule], program: BlockProgram) -> BlockStep | None:
    """Return the step that computes a node; None if it is computed as it is, or nothing is made of it but positions."""
    if isinstance(node.meta.get("val"), int | torch.SymInt | torch.SymFloat | torch.SymBool):
        # Numbers made of sizes; what uses them is looked at.
        return None
    from_final = any(walk.is_final(x) for x in node.all_input_nodes)
    if node.target is operator.getitem:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        walk.note_element(node, source)
    if node.target is operator.getitem or not _meets_time(node, walk.traced):
        _refuse_length(node, walk.traced)
        if from_final:
            walk.note_final(node)
        return None
    if from_final:
        raise StreamingError(refusal(node, "brings a value of the whole sequence back to its samples"))
    if node in walk.positional and not walk.timed(node):
        # Zeros of the input's length, say; else it is a part of a table.
        return _accepted(node, walk, rules)
    if node in walk.positional:
        if not walk.traced.time_axes(node.meta.get("val")):
            raise StreamingError(refusal(node, "uses the length of the whole sequence"))
        return None
    _count_positions(walk.timed(node), node, walk, program)
    step = _accepted(node, walk, rules)
    if step is None:
        mixes = "mixes samples of different times" if walk.timed(node) else "makes a value of the length of the whole sequence"
        raise StreamingError(refusal(node, mixes))
    if _name(node) not in SIZE_CONSUMERS:
        _refuse_length(node, walk.traced)
    return step


def _count_positions(values: Sequence[fx.Node], user: fx.Node, walk: Walk, program: BlockProgram) -> None:
    """Give a step to those among a node's arguments that are positional."""
    rank = user.meta["val"].ndim if isinstance(user.meta.get("val"), Tensor) else 0
    for value in values:
        if value in walk.positional:
            program.keep(value, counted(value, rank, walk), walk)
            walk.positional.discard(value)
            walk.ranks[value] = rank
        elif walk.ranks.get(value, rank) != rank:
            raise StreamingError(refusal(value, "meets values of different numbers of axes"))


def _accepted(node: fx.Node, walk: Walk, rules: Sequence[Rule]) -> BlockStep | None:
    return next((step for rule in rules if (step := rule.accept(node, walk)) is not None), None)


def _meets_time(node: fx.Node, traced: TracedModel) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(traced.time_axes(x) for x in (*tensor_arguments(node), *values))


def _refuse_length(node: fx.Node, traced: TracedModel) -> None:
    """A length that enters arithmetic would silently become the block's length."""
    if any(contains_symbol(x.meta.get("val"), traced.time_symbol) for x in node.all_input_nodes):
        raise StreamingError(refusal(node, "uses the length of the whole sequence"))


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))


def _unique(states: list[StateSpec]) -> tuple[StateSpec, ...]:
    seen: dict[str, int] = {}
    named = []
    for state in states:
        count = seen.get(state.name, 0)
        seen[state.name] = count + 1
        named.append(replace(state, name=f"{state.name}.{count + 1}") if count else state)
    return tuple(named)
