"""From nodes to kernels: operators hand in formulas, views and calls, and this keeps account of where values are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Graph, Operation, Tensor
from ssm2edge.firmware.kernels import Call, Formula, Kernel, Load, Loop, Store
from ssm2edge.firmware.language import c_literal, c_type
from ssm2edge.firmware.views import Buffer, Shape, View

Emitter = Callable[[Operation, "Lowering"], None]
"""Hands the kernels of one node to a lowering."""


class Lowering:
    """The kernels so far, and the storage of every value so far.

    Parameters
    ----------
    graph
        The graph to lower.
    """

    def __init__(self, graph: Graph) -> None:
        self.kernels: list[Kernel] = []
        self._views: dict[Tensor, View] = {}
        self._constants: dict[tuple[object, ...], Buffer] = {}
        self._title = ""
        signature, tensors = graph.signature, graph.tensors
        self.inputs = [self._port(tensors[port.name], "input") for port in signature.inputs]
        self.states = [self._port(tensors[state.input], "state") for state in signature.states]
        self._outputs = [(tensors[port.name], "output") for port in signature.outputs]
        self._outputs += [(tensors[state.output], "next") for state in signature.states]
        self.ends: list[Buffer] = []

    def run(self, operations: Sequence[Operation], emitters: Mapping[str, Emitter]) -> None:
        """Lower all nodes, then put outputs and next states into their places.

        Raises
        ------
        FirmwareError
            If there is no C for a node.
        """
        for operation in operations:
            emitter = emitters.get(operation.kind)
            if emitter is None:
                raise FirmwareError(operation.refusal("has no C form here"))
            self._title = operation.name
            emitter(operation, self)
        for tensor, role in self._outputs:
            self._title = tensor.name
            buffer = Buffer(tensor.name, max(1, int(np.prod(tensor.shape))), tensor.dtype, role)
            self.copy(self.view(tensor), View.whole(buffer, tensor.shape))
            self.ends.append(buffer)

    def view(self, tensor: Tensor | None) -> View:
        """Return where a value stands."""
        assert tensor is not None
        if tensor not in self._views:
            assert tensor.constant is not None
            self._views[tensor] = self.constant(tensor.constant, tensor.name)
        return self._views[tensor]

    def constant(self, array: np.typing.NDArray[np.generic], name: str) -> View:
        """Return numbers as a constant; equal ones are kept once."""
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            self._constants[key] = Buffer(name, array.size, array.dtype, "constant", np.ascontiguousarray(array))
        return View.whole(self._constants[key], array.shape)

    def bind(self, tensor: Tensor, view: View) -> None:
        """Say that a value stands in a view, which costs nothing."""
        self._views[tensor] = view

    def scratch(self, tensor: Tensor, shape: Shape | None = None) -> View:
        """Return new storage for a value."""
        shape = tensor.shape if shape is None else shape
        return View.whole(Buffer(tensor.name, max(1, int(np.prod(shape))), tensor.dtype, "scratch"), shape)

    def dense(self, tensor: Tensor | None) -> View:
        """Return a value that stands in one row without gaps, copied there if need be."""
        view = self.view(tensor)
        if view.contiguous:
            return view
        assert tensor is not None
        target = self.scratch(tensor)
        self.copy(view, target)
        return target

    def copy(self, source: View, target: View) -> None:
        """Copy elements."""
        self.append(Loop(target.shape, [Load(source.broadcast(target.shape))], [Store(target, 0)]))

    def reshape(self, operation: Operation, shape: Shape) -> None:
        """Give the first input other axes."""
        source = operation.inputs[0]
        found = self.view(source).reshaped(shape)
        if found is None:
            found = self.dense(source).reshaped(shape)
        assert found is not None
        self.bind(operation.outputs[0], found)

    def pointwise(self, operation: Operation, text: str, helpers: Sequence[str] = (), operands: Sequence[View] = ()) -> None:
        """Compute every element of the output by a formula of the inputs' elements at the same index."""
        output = operation.outputs[0]
        views = list(operands) or [self.view(tensor) for tensor in operation.inputs]
        target = self.scratch(output)
        kind = c_type(output.dtype)
        values: list[Load | Formula] = [self.element(view.broadcast(output.shape)) for view in views]
        values.append(Formula(text, tuple(range(len(views))), kind))
        self.append(Loop(output.shape, values, [Store(target, len(views))], helpers=set(helpers)))
        self.bind(output, target)

    def element(self, view: View) -> Load | Formula:
        """Return the element of a view at the loop's index; a single constant is a literal."""
        constant = view.buffer.constant
        if constant is not None and constant.size == 1:
            return Formula(c_literal(constant.ravel()[0]), (), c_type(constant.dtype))
        return Load(view)

    def reduce(self, source: View, target: View, text: str, join: str, first: str, kind: str) -> None:
        """Reduce elements: the target has stride zero along the axes that go."""
        values: list[Load | Formula] = [Load(source), Formula(text, (0,), kind)]
        self.append(Loop(source.shape, values, [Store(target, 1, join, first)]))

    def call(
        self,
        reads: Sequence[View],
        writes: Sequence[View],
        text: Callable[[Sequence[str]], list[str]],
        helpers: Sequence[str] = (),
        multiply_adds: int = 0,
    ) -> None:
        """Append a call."""
        self.kernels.append(Call(list(reads), list(writes), text, [self._title], set(helpers), multiply_adds))

    def append(self, loop: Loop) -> None:
        """Append a loop."""
        loop.titles = [self._title]
        self.kernels.append(loop)

    def _port(self, tensor: Tensor, role: str) -> Buffer:
        buffer = Buffer(tensor.name, max(1, int(np.prod(tensor.shape))), tensor.dtype, role)
        self._views[tensor] = View.whole(buffer, tensor.shape)
        return buffer
