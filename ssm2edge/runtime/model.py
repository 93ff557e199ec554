"""Whole sequences: one call, every sample at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ssm2edge.runtime.errors import EdgeError, InputError
from ssm2edge.runtime.finite import check_answers
from ssm2edge.runtime.graph import Graph, Settings, open_graph
from ssm2edge.runtime.ports import Array, Port


class Model:
    """An offline graph, any batch size and any length, or those that it was built for.

    Parameters
    ----------
    path
        Build directory, or an ``offline.onnx``.
    threads
        Threads within an operator.
    flush_subnormals
        See `Settings`.
    exposed
        Inner values of the graph that `run` returns as well; `layers` has their names.
    checks
        Refuse answers that are not finite; verification, which judges them itself, leaves them.

    Raises
    ------
    GraphError
        If the file is damaged, foreign, of another schema, or a streaming graph.

    Examples
    --------
    >>> with Model("build/digits") as model:  # doctest: +SKIP
    ...     scores = model.run(pixels)["output"]  # pixels: float32 [batch, time, 1]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        flush_subnormals: bool = False,
        exposed: Sequence[str] = (),
        checks: bool = True,
    ) -> None:
        self._graph: Graph | None = open_graph(path, "offline", Settings(threads, flush_subnormals), exposed)
        self._names = [port.name for port in self._graph.signature.outputs] + list(exposed)
        self._checked = {port.name for port in self._graph.signature.outputs} if checks else set()

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs of `run`."""
        return self._open().signature.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs of `run`."""
        return self._open().signature.outputs

    @property
    def layers(self) -> dict[str, str]:
        """The output value of each reduced layer, by the layer's name."""
        return {layer.name: layer.output for layer in self._open().signature.layers}

    @property
    def layer_inputs(self) -> dict[str, str]:
        """The input value of each reduced layer, by the layer's name, for layers whose input the graph names."""
        return {layer.name: layer.input for layer in self._open().signature.layers if layer.input is not None}

    @property
    def sha256(self) -> str:
        """Hash of the graph's file."""
        return self._open().sha256

    @property
    def multiple(self) -> int:
        """Divisor of the lengths of sequences; above one only for models that change the rate of time."""
        return self._open().signature.frame

    @property
    def shortest(self) -> int:
        """Smallest number of samples of a sequence."""
        return self._open().signature.shortest

    @property
    def length(self) -> int | None:
        """The only number of samples of a sequence; None for models that take any."""
        return self._open().signature.only

    @property
    def longest(self) -> int | None:
        """Largest number of samples of a sequence; None for models without one."""
        return self._open().signature.longest

    def run(self, samples: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of whole sequences, by name.

        Parameters
        ----------
        samples
            ``[batch, time, ...]``, or one array per input name if the model has several.

        Raises
        ------
        InputError
            If a name, dtype, shape or length does not fit, there is no sample at all, or an answer is not finite.
        EdgeError
            If onnxruntime cannot run the graph.
        """
        graph = self._open()
        values = graph.signature.gather(samples)
        self._check_length(graph.signature.length(values))
        feed = {port.name: value for port, value in zip(graph.signature.inputs, values, strict=True)}
        try:
            results = graph.session.run(self._names, feed)
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            raise EdgeError(f"onnxruntime could not run {graph.path}: {' '.join(str(fault).split())[:200]}") from fault
        answers = dict(zip(self._names, results, strict=True))
        check_answers({name: value for name, value in answers.items() if name in self._checked}, values)
        return answers

    def close(self) -> None:
        """Release the session's memory; the model cannot run afterwards."""
        self._graph = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_length(self, length: int) -> None:
        if length == 0:
            raise InputError("The sequence has no sample: give at least one.")
        if self.length not in (None, length):
            raise InputError(f"The sequence has {length} samples, but the model takes sequences of exactly {self.length}.")
        if self.longest is not None and length > self.longest:
            raise InputError(f"The sequence has {length} samples, but the model takes no more than {self.longest}: cut it.")
        if length < self.shortest:
            raise InputError(f"The sequence has {length} samples, but the model takes no fewer than {self.shortest}.")
        if length % self.multiple:
            raise InputError(
                f"The sequence has {length} samples, but the model takes lengths that are multiples of {self.multiple}: "
                f"cut it to {length // self.multiple * self.multiple} or fill it up."
            )

    def _open(self) -> Graph:
        if self._graph is None:
            raise EdgeError("The model is closed: open it again.")
        return self._graph
