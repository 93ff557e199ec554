"""A traced network as the bounds read it: nodes by operator, weights as float64, LTI banks by layer.  It can be run, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from ssm2edge.systems.mimo_form import to_mimo_sections
from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.response import channel_responses, pole_sequences
from ssm2edge.systems.system import System
from ssm2edge.traced.errors import ExportError

BANK, MIMO = "ssm2edge.siso_bank", "ssm2edge.mimo"
"""Operators that stand for LTI layers; their second argument is the constant ``<layer>.block.a``."""

SUFFIX = ".block.a"

Watch = Callable[[fx.Node, tuple[Any, ...], Any], Any]
"""Called with a node, its arguments' values and its own value; what it returns takes the value's place."""


class Network:
    """An exported program whose LTI layers are reduced blocks."""

    def __init__(self, program: ExportedProgram) -> None:
        self.nodes = list(program.graph.nodes)
        self.inputs: list[fx.Node] = []
        self.weights: dict[fx.Node, Tensor] = {}
        targets: dict[fx.Node, str] = {}
        placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
        for node, specification in zip(placeholders, program.graph_signature.input_specs, strict=True):
            if specification.kind == InputKind.USER_INPUT:
                self.inputs.append(node)
                continue
            assert specification.target is not None
            held = program.state_dict.get(specification.target, program.constants.get(specification.target))
            if not isinstance(held, Tensor):
                raise ExportError(f"The constant {specification.target} is no tensor.")
            self.weights[node] = held.detach()
            targets[node] = specification.target
        self.layers: dict[fx.Node, str] = {}
        for node in self.nodes:
            if operator(node) in (BANK, MIMO):
                constant = node.args[1]
                assert isinstance(constant, fx.Node)
                self.layers[node] = ("." + targets[constant]).removesuffix(SUFFIX).removeprefix(".")

        last_use = {argument: node for node in self.nodes for argument in node.all_input_nodes}
        self._spent: dict[fx.Node, list[fx.Node]] = {}
        """By node: those that it is the last to use; of deep networks only few values are held at a time."""
        for argument, node in last_use.items():
            self._spent.setdefault(node, []).append(argument)

    def run(self, systems: Mapping[str, System], inputs: list[Tensor], watch: Watch | None = None) -> list[Tensor]:
        """Compute the outputs with the given systems in the layers' places, whole sequences, differentiable in the inputs.

        Parameters
        ----------
        systems
            By layer.
        inputs
            In the order of the model's arguments, ``(batch, ...)``.
        watch
            Sees, and may exchange, every computed value.
        """
        values: dict[fx.Node, Any] = dict(zip(self.inputs, inputs, strict=True))
        values |= self.weights
        for node in self.nodes:
            if node.op == "placeholder":
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: values[argument])
            if node.op == "output":
                return list(args[0])
            assert callable(node.target)
            layer = self.layers.get(node)
            value = node.target(*args, **kwargs) if layer is None else filtered(systems[layer], args[0])
            values[node] = value if watch is None else watch(node, args, value)
            for spent in self._spent.get(node, ()):
                del values[spent]
        raise AssertionError("an exported program ends with its output")


def operator(node: fx.Node) -> str:
    """Name of a node's operator with its namespace; aten's without."""
    namespace, name = getattr(node.target, "namespace", None), getattr(node.target, "_opname", None)
    if node.op != "call_function" or name is None:
        return str(node.target)
    return str(name) if namespace == "aten" else f"{namespace}.{name}"


def filtered(system: System, u: Tensor) -> Tensor:
    """Run a layer on whole sequences from zero states, by fast convolution.

    Parameters
    ----------
    system
        A bank, or one system of many inputs and outputs.
    u
        ``(batch, channels, time)`` for a bank, ``(batch, time, inputs)`` for one system; the result is alike, in its precision.
    """
    if not system.batch_shape:
        return _simulated(system, u)
    length = u.shape[-1]
    kernel = channel_responses(system, length).to(u.dtype)
    return _convolved(kernel, u)


def _simulated(system: System, u: Tensor) -> Tensor:
    """Every section by itself, as a complex mode: ``z[k+1] = sum_{j<=k} pole^(k-j) drive[j]``; then the outputs in real form."""
    sections = to_mimo_sections(system)
    paired, odd = sections.b != 0, torch.arange(system.order) % 2 == 1
    stored = ~(paired & odd)
    poles = torch.complex(sections.a, -sections.b)[stored]
    partner = torch.where(paired[:, None], sections.input[swap_indices(system.order)], 0.0)
    samples = u.double().mT
    drive = torch.complex(sections.input, partner)[stored] @ samples.to(torch.complex128)
    points, length = 2 * u.shape[1], u.shape[1]
    powers = torch.fft.fft(pole_sequences(poles, length), n=points)
    after = torch.fft.ifft(powers * torch.fft.fft(drive, n=points), n=points)[..., :length]
    # Real parts of all stored modes, then the imaginary parts; the second state of a pair is the imaginary part of its mode.
    mode = torch.cumsum(stored, 0) - 1
    following = torch.cat((after.real, after.imag), dim=1)[:, torch.where(stored, mode, mode + len(poles))]
    x = torch.nn.functional.pad(following[..., :-1], (1, 0))
    y = sections.output @ (following if sections.after_sample else x)
    if (D := sections.feedthrough) is not None:
        y = y + (D[:, None] * samples if sections.after_sample else D @ samples)
    if sections.factors is not None and sections.mixing is not None:
        y = y + sections.mixing @ (sections.factors @ x).square()
    return y.mT.to(u.dtype)


def _convolved(kernel: Tensor, u: Tensor) -> Tensor:
    points = 2 * u.shape[-1]
    y: Tensor = torch.fft.irfft(torch.fft.rfft(kernel, n=points) * torch.fft.rfft(u, n=points), n=points)[..., : u.shape[-1]]
    return y
