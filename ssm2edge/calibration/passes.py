"""Passes of a network over samples that halt before each of its layers: none of it is computed again for the next layer.

A pass runs on a thread of its own, in a copy of the network, and waits at a layer's place until the layer's block is decided.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssm2edge.calibration.signals import Batch, Place, Runs, Signals
from ssm2edge.layers import Block, exchange_block
from ssm2edge.workers import Workers

LEAST, SHARE, MOST = 3 << 28, 5, 5 << 30
"""Halted passes may hold this part of the machine's memory, within these bytes; other batches run from the start."""

ALIVE, LARGE_ALIVE = 8, 4
"""Inputs of a layer that a halted pass holds, in bytes: what goes around the layer, and what the allocator cannot give back."""

LARGE = 1 << 25
"""Bytes of an input from which on the allocator gives back what is free."""


def may_hold() -> int:
    """Return the bytes that halted passes may hold on this machine; nothing that is computed depends on it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return LEAST
    return min(max(LEAST, memory // SHARE), MOST)


class _Left(Exception):
    """Nobody waits for the pass any more."""


class _Gate(nn.Module):
    """Stands in a block's place, and halts the pass before it."""

    def __init__(self, at: Pass, name: str, block: nn.Module) -> None:
        super().__init__()
        self.block, self._pass, self._name = block, (at,), name

    def forward(self, u: Tensor) -> Tensor:
        self._pass[0].halt(self._name, u)
        y: Tensor = self.block(u)
        return y


class Pass:
    """One pass of a network over a batch.

    Parameters
    ----------
    network
        With blocks of ``layers``; its parameters are shared.
    layers
        Each runs once.
    batch
        Inputs.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str], batch: Batch) -> None:
        shared: dict[int, object] = {id(parameter): parameter for parameter in network.parameters()}
        shared |= {id(module): module for module in network.modules() if isinstance(module, Block)}
        self._network: nn.Module = copy.deepcopy(network, shared)
        self._gates = {}
        for name in layers:
            self._gates[name] = _Gate(self, name, self._network.get_submodule(f"{name}.block" if name else "block"))
            exchange_block(self._network, name, self._gates[name])
        self._batch = batch
        self._go, self._halted = threading.Semaphore(0), threading.Semaphore(0)
        self._at: tuple[str, Tensor] | None = None
        self._error: BaseException | None = None
        self._left = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def halt(self, name: str, u: Tensor) -> None:
        """Wait at a layer; called by the pass itself."""
        self._at = (name, u.detach())
        self._halted.release()
        self._go.acquire()
        if self._left:
            raise _Left

    def reach(self, name: str) -> Tensor:
        """Run on to a layer, and return its input."""
        while self._at is None or self._at[0] != name:
            if not self._thread.is_alive():
                self._thread.start()
            else:
                self._go.release()
            self._halted.acquire()
            if self._error is not None:
                raise self._error
            if self._at is None:
                raise RuntimeError(f"the model ran past layer {name}; its layers run in another order for other samples.")
        return self._at[1]

    def put(self, name: str, block: nn.Module) -> None:
        """Go on with another block in a layer's place."""
        self._gates[name].block = block

    def leave(self) -> None:
        """End the pass where it is."""
        self._left = True
        if self._thread.is_alive():
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        try:
            with torch.no_grad():
                self._network(*self._batch)
        except _Left:
            pass
        except BaseException as error:  # the user's own code may raise anything; it is raised where it is waited for
            self._error = error
        self._at = None
        self._halted.release()


class Passes:
    """Passes of the original and of a reduced network over the same samples.

    Parameters
    ----------
    original, reduced
        Networks; the same one where nothing is compared.
    runs
        Of their layers, in order.
    signals
        Samples.
    pool
        Threads that passes run on.
    """

    def __init__(
        self, original: nn.Module, reduced: nn.Module, runs: Mapping[str, Runs], signals: Signals, pool: Workers
    ) -> None:
        self._networks, self._runs, self._pool = (original, reduced), runs, pool
        networks = [reduced] if original is reduced else [reduced, original]
        largest = max((run.bytes for run in runs.values()), default=1)
        once = all(run.count == 1 for run in runs.values())
        size = largest * signals.at_once
        batches = may_hold() // ((LARGE_ALIVE if size >= LARGE else ALIVE) * len(networks) * size) if once else 0
        self._rest = signals[batches * signals.at_once :]
        held = [batch for _, batch in zip(range(batches), signals, strict=False)]
        self._passes = [[Pass(network, runs, batch) for batch in held] for network in networks]

    def at(self, name: str) -> Place:
        """Return the place of a layer; the passes halt there."""
        every = [one for of_network in self._passes for one in of_network]
        inputs = list(self._pool.map(lambda one: one.reach(name), every))
        count = len(self._passes[0])
        pairs = zip(inputs[:count], inputs[count:] or inputs, strict=True)
        return Place(*self._networks, name, self._runs[name].count, self._rest, tuple(pairs))

    def put(self, name: str, block: nn.Module) -> None:
        """Go on with another block in a layer's place in the reduced network, which has it already."""
        for one in self._passes[0]:
            one.put(name, block)

    def leave(self) -> None:
        """End all passes."""
        for of_network in self._passes:
            for one in of_network:
                one.leave()


@contextmanager
def halted(
    original: nn.Module, reduced: nn.Module, runs: Mapping[str, Runs], signals: Signals, pool: Workers
) -> Iterator[Passes]:
    """Start passes, and end them wherever they are."""
    passes = Passes(original, reduced, runs, signals, pool)
    try:
        yield passes
    finally:
        passes.leave()
