"""The C form of a streaming graph: kernels in their order, with a place for every number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssm2edge.firmware.distributing import distribute
from ssm2edge.firmware.fusing import fuse
from ssm2edge.firmware.graph import Graph
from ssm2edge.firmware.kernels import Call, Kernel
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.memory import Memory, plan
from ssm2edge.firmware.operators import EMITTERS
from ssm2edge.firmware.placing import place_states, without_copies
from ssm2edge.firmware.scheduling import schedule
from ssm2edge.firmware.views import Buffer
from ssm2edge.runtime.ports import Signature


@dataclass(frozen=True, eq=False)
class Step:
    """One block of samples through a model.

    Attributes
    ----------
    signature
        Ports and states.
    inputs, outputs, states
        Buffers in the order of the signature.
    kernels
        In their order.
    copied
        States that are copied at the end, each with what it becomes.
    memory
        Places of intermediate values.
    """

    signature: Signature
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    states: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    copied: tuple[tuple[Buffer, Buffer], ...]
    memory: Memory

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of products, convolutions and elementwise products of one step."""
        total = 0
        for kernel in self.kernels:
            if isinstance(kernel, Call):
                total += kernel.multiply_adds
            else:
                size = 1
                for axis in kernel.shape:
                    size *= axis
                total += size * sum(value.text.count("*") for value in kernel.values if hasattr(value, "text"))
        return total

    @property
    def constants(self) -> list[Buffer]:
        """The constants that it reads, in the order of their use."""
        found = dict.fromkeys(view.buffer for kernel in self.kernels for view in kernel.reads)
        return [buffer for buffer in found if buffer.role == "constant"]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Elements of scratch memory by C type."""
        return self.memory.sizes


def make_step(graph: Graph) -> Step:
    """Turn a graph into its C form.

    Raises
    ------
    FirmwareError
        If a node has none.
    """
    lowering = Lowering(graph)
    signature = graph.signature
    ends = [graph.tensors[name] for name in (*(p.name for p in signature.outputs), *(s.output for s in signature.states))]
    lowering.run(distribute(graph.operations, ends), EMITTERS)
    count = len(graph.signature.outputs)
    outputs, after = lowering.ends[:count], lowering.ends[count:]
    kernels = without_copies(fuse(lowering.kernels))
    placed = place_states(kernels, list(zip(lowering.states, after, strict=True)))
    ordered = schedule(placed.kernels, placed.orders)
    kept = [buffer for _, buffer in placed.copied]
    memory = plan(ordered, kept)
    return Step(
        graph.signature,
        tuple(lowering.inputs),
        tuple(outputs),
        tuple(lowering.states),
        tuple(ordered),
        tuple(placed.copied),
        memory,
    )
