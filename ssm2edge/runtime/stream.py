"""Streams: samples go in as they come, outputs come out as soon as they are known.

The graph takes blocks of T samples.  `Stream.push` takes any number, runs every block that is full, and keeps the rest until
more come.  Two kinds of output follow from this:

* an output that runs along time comes back for every sample whose block was run; `flush` returns the rest at the end;
* a running answer (the class scores of a mean-pooled classifier, say) is the answer over all whole blocks so far.  It is absent
  before the first whole block, and samples that never fill a block do not enter it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from types import TracebackType
from typing import Self

import numpy as np

from ssm2edge.runtime.block import BoundBlock
from ssm2edge.runtime.errors import EdgeError, GraphError, InputError, SnapshotError
from ssm2edge.runtime.finite import check_finite
from ssm2edge.runtime.graph import Graph, Settings, open_graph
from ssm2edge.runtime.ports import Array, Port
from ssm2edge.runtime.snapshot import Snapshot


class Stream:
    """One or several streams in lockstep, through a streaming graph.  Not safe to share between threads.

    Parameters
    ----------
    path
        Build directory, or a ``stream.onnx``.
    batch
        Number of streams, one row each.
    threads
        Threads within an operator.
    flush_subnormals
        See `Settings`.
    checks
        Refuse answers and states that are not finite; verification, which judges them itself, leaves them.

    Raises
    ------
    GraphError
        If the file is damaged, foreign, of another schema, an offline graph, or absent because the model cannot stream.
    InputError
        If ``batch`` is less than one, or does not fit into memory.

    Examples
    --------
    >>> with Stream("build/digits") as stream:  # doctest: +SKIP
    ...     for sample in pixels:  # float32 [1]
    ...         scores = stream.push(sample[None, None])["output"]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        batch: int = 1,
        *,
        threads: int = 1,
        flush_subnormals: bool = False,
        checks: bool = True,
    ) -> None:
        if isinstance(batch, bool) or not isinstance(batch, Integral):
            raise InputError(f"A stream with {batch!r} rows cannot run: give a whole number of at least 1.")
        if batch < 1:
            raise InputError(f"A stream with {batch} rows cannot run: give a batch of at least 1.")
        self._begin(open_graph(path, "stream", Settings(threads, flush_subnormals)), int(batch), checks)

    def _begin(self, graph: Graph, batch: int, checks: bool) -> None:
        signature = graph.signature
        for port in signature.inputs:
            if isinstance(port.shape[0], int) and port.shape[0] != batch:
                raise GraphError(f"{graph.path} was built for {port.shape[0]} streams at a time, not {batch}.")
        self._graph: Graph | None = graph
        try:
            self._bound = BoundBlock(graph, batch, checks)
            self._taken = np.zeros((batch, 1), np.int64)
        except MemoryError as fault:
            raise InputError(f"A stream with {batch:,} rows does not fit into memory: give a smaller batch.") from fault
        self.batch = batch
        self.block = signature.block or 1
        self.frame = signature.frame
        """Samples that belong together; a block is a multiple. Above one only for models that change the rate of time."""
        self.pending = 0
        """Samples that wait for their block to fill."""
        self._answered = False
        names = [port.name for port in signature.outputs]
        self._results = tuple(tuple(zip(names, side.outputs, strict=True)) for side in self._bound.sides)
        self.reset()
        # A step of one sample costs a few microseconds in all, so the values that `push` compares are prepared once.
        self._dtype = self._bound.inputs[0].dtype
        self._flat = self._bound.inputs[0].reshape(-1)
        self._bind(signature.longest, signature.only)

    def _bind(self, longest: int | None, only: int | None) -> None:
        """Let sequences have no more than ``longest`` samples, and exactly ``only``."""
        self._longest, self._only = longest, only
        inputs = self._bound.inputs
        self._whole = inputs[0].shape if len(inputs) == 1 and longest is None else None

    def unbind(self) -> None:
        """Take sequences of any length, also where the answers do not hold for it: to time calls, and to look at states."""
        self._open()
        self._bind(None, None)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs of `push`; their time axis may have any length."""
        return self._open().signature.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs of `push`: with a time axis, the part of the sequence; without one, a running answer."""
        return self._open().signature.outputs

    @property
    def length(self) -> int | None:
        """The only number of samples of a sequence; None for models that take any."""
        self._open()
        return self._only

    @property
    def longest(self) -> int | None:
        """Largest number of samples of a sequence; None for models without one."""
        self._open()
        return self._longest

    @property
    def sha256(self) -> str:
        """Hash of the graph's file."""
        return self._open().sha256

    @property
    def states(self) -> dict[str, Array]:
        """Copies of the states after the last whole block, ``[batch, ...]``, by the graph's input names."""
        signature = self._open().signature
        return {state.input: value.copy() for state, value in zip(signature.states, self._bound.states, strict=True)}

    def push(self, samples: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Take samples and run the blocks that they fill.

        Parameters
        ----------
        samples
            ``[batch, n, ...]`` with any n >= 0, or one such array per input name if the model has several; an input without a
            time axis is given whole with every push, and holds for the blocks that the push fills.

        Returns
        -------
        dict
            By name: the newly known part of each output that runs along time (possibly of length 0), and each running
            answer as of the last whole block (absent before the first).

        Raises
        ------
        InputError
            If a name, dtype or shape does not fit, a sample, an answer or a state is not finite, or the sequence becomes longer
            than the model takes; no sample is taken then.
        """
        if (
            self.pending == 0
            and type(samples) is np.ndarray
            and samples.shape == self._whole
            and samples.dtype == self._dtype
            and self._graph is not None
        ):
            self._bound.inputs[0][...] = samples
            # One product shows NaN and infinity; a sum that is too large for the type needs a second look.
            if not math.isfinite(np.vdot(self._flat, self._flat)):
                check_finite(self.inputs[0].name, samples)
            bound = self._bound
            bound.advance()
            self._answered = True
            return {name: value.copy() for name, value in self._results[bound.side]}
        return self._push(samples)

    def flush(self) -> dict[str, Array]:
        """End the sequences: return the outputs of the pending samples, then start afresh as `reset` does.

        Outputs that run along time are causal, so a block filled up with zeros yields them exactly; running answers are those of
        the last whole block, because the zeros would enter them. Models that change the rate of time yield outputs for whole
        frames.

        Raises
        ------
        InputError
            If the model takes sequences of one length only, and a row has got fewer samples, or an answer is not finite; the
            stream stays as it is.
        """
        signature = self._open().signature
        short = self._taken[(self._taken > 0) & (self._taken < (self._only or 0))]
        if short.size:
            raise InputError(
                f"The sequence ends after {short[0]} samples, but the model takes sequences of exactly {self._only}: push "
                "the rest, or reset the stream."
            )
        outputs = {port.name: self._empty(port, value) for port, value in self._along_time()} | self._answers()
        if self.pending and any(port.time_axis is not None for port in signature.outputs):
            # The places behind pending samples hold nothing that is read again.
            for port, buffer in zip(signature.inputs, self._bound.inputs, strict=True):
                if port.time_axis is not None:
                    buffer[port.along_time(self.pending, self.block)] = 0
            self._bound.advance()
            for port, value in self._along_time():
                whole = self.pending // signature.frame * signature.frame
                known = whole * value.shape[port.time_axis or 0] // self.block
                outputs[port.name] = value[port.along_time(0, known)].copy()
        self.reset()
        return outputs

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Forget the past of all rows, with pending samples and answers, or of the given rows only.

        Running answers of single rows are NaN (integers: 0) until their next whole block.

        Raises
        ------
        InputError
            If a row does not exist, or rows are given while samples are pending, which belong to all rows.
        """
        self._open()
        if rows is None:
            index = np.arange(self.batch)
            self.pending = 0
            self._answered = False
        else:
            index = self._rows(rows, "reset")
        self._bound.reset(index)
        self._taken[index] = 0
        # NaN marks a row without an answer among rows that have one.
        for port, value in zip(self.outputs, self._bound.outputs, strict=True):
            if port.time_axis is None:
                value[index] = np.nan if value.dtype.kind == "f" else 0

    def place(self, states: Mapping[str, Array]) -> None:
        """Set states, ``[batch, ...]`` by the graph's input names; states that are not named keep their values.

        Raises
        ------
        InputError
            If a name, dtype or shape is not that of a state, or a value is not finite; no state is changed then.
        """
        signature = self._open().signature
        buffers = {state.input: value for state, value in zip(signature.states, self._bound.states, strict=True)}
        for name, value in states.items():
            if name not in buffers:
                raise InputError(f"The stream has no state {name}: it has {', '.join(buffers)}.")
            wanted = buffers[name]
            if not isinstance(value, np.ndarray):
                raise InputError(f"{name} is a {type(value).__name__}: give an array of {wanted.dtype} {wanted.shape}.")
            if value.shape != wanted.shape or value.dtype != wanted.dtype:
                raise InputError(f"{name} is {wanted.dtype} {wanted.shape}, but {value.dtype} {value.shape} was given.")
            check_finite(name, value)
        for name, value in states.items():
            buffers[name][...] = value

    def snapshot(self, rows: Sequence[int] | None = None) -> bytes:
        """Return states, pending samples and running answers as bytes, of all rows or of the given ones in the given order.

        Raises
        ------
        InputError
            If a row does not exist.
        """
        graph = self._open()
        index = np.arange(self.batch) if rows is None else self._rows(rows, "snapshot", pending=True)
        arrays = {key: value[index] for key, value in self._stored().items()}
        return Snapshot(graph.sha256, len(index), self.block, self.pending, self._answered, arrays).to_bytes()

    def restore(self, data: bytes, rows: Sequence[int] | None = None) -> None:
        """Continue where `snapshot` was taken, with all rows, or with the given rows while the others stay as they are.

        Raises
        ------
        SnapshotError
            If the bytes are damaged, of another model or number of rows, or (for given rows) have other pending samples.
        InputError
            If a row does not exist.
        """
        graph = self._open()
        stored = Snapshot.from_bytes(data)
        if stored.model != graph.sha256:
            raise SnapshotError("The snapshot was taken from another model: restore it into the stream.onnx it came from.")
        index = np.arange(self.batch) if rows is None else self._rows(rows, "restore", pending=True)
        if stored.batch != len(index):
            raise SnapshotError(f"The snapshot holds {stored.batch} rows, but {len(index)} are to be restored: name as many.")
        if rows is not None and stored.pending != self.pending:
            raise SnapshotError(
                f"The snapshot has {stored.pending} pending samples and the stream {self.pending}: "
                "rows can join only at the same point of a block."
            )
        # Pending samples fill the front of the buffers, so their number comes first.
        before, self.pending = self.pending, stored.pending
        places = self._stored()
        if {key: value.shape[1:] for key, value in places.items()} != {
            key: value.shape[1:] for key, value in stored.arrays.items()
        } or any(value.dtype != stored.arrays[key].dtype for key, value in places.items()):
            self.pending = before
            raise SnapshotError("The snapshot's arrays do not fit this stream: take it again.")
        for key, value in places.items():
            value[index] = stored.arrays[key]
        self._answered = stored.answered or (rows is not None and self._answered)

    def split(self, rows: Sequence[int]) -> Stream:
        """Return a new stream with copies of some rows, in the given order; this one stays as it is.

        The two share the loaded graph, not their states; closing one leaves the other open.

        Raises
        ------
        InputError
            If a row does not exist, or none is given.
        """
        graph = self._open()
        index = self._rows(rows, "split off", pending=True)
        if len(index) == 0:
            raise InputError("A stream of no rows cannot run: split off at least one.")
        other = Stream.__new__(Stream)
        other._begin(graph, len(index), self._bound.checks)
        other.restore(self.snapshot(rows))
        return other

    @classmethod
    def join(cls, streams: Sequence[Stream]) -> Stream:
        """Return a new stream with the rows of several streams of one model, one after the other; these stay as they are.

        Raises
        ------
        InputError
            If there is no stream, they run different models, or they are not at the same point of a block.
        """
        if not streams:
            raise InputError("No streams were given to join: give at least one.")
        other = next((stream for stream in streams if not isinstance(stream, Stream)), None)
        if other is not None:
            raise InputError(f"{other!r} is no stream and cannot be joined: give streams.")
        graph = streams[0]._open()
        for stream in streams:
            if stream.sha256 != graph.sha256:
                raise InputError("The streams run different models and cannot be joined: open them from one stream.onnx.")
            if stream.pending != streams[0].pending:
                raise InputError(
                    f"The streams have {streams[0].pending} and {stream.pending} pending samples: "
                    "streams can be joined only at the same point of a block."
                )
        joined = cls.__new__(cls)
        joined._begin(graph, sum(stream.batch for stream in streams), streams[0]._bound.checks)
        joined.pending, first = streams[0].pending, 0
        for stream in streams:
            joined.restore(stream.snapshot(), rows=range(first, first + stream.batch))
            first += stream.batch
        return joined

    def close(self) -> None:
        """Release the session's memory; the stream cannot run afterwards."""
        if self._graph is not None:
            self._graph = None
            del self._bound, self._results, self._flat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _push(self, samples: Array | Mapping[str, Array]) -> dict[str, Array]:
        signature = self._open().signature
        values = signature.gather(samples)
        if values[0].shape[0] != self.batch:
            raise InputError(f"The samples have {values[0].shape[0]} rows, but the stream has {self.batch}.")
        length = signature.length(values)
        kept = self._bound.keep(), self.pending, self._answered, self._taken.copy()
        try:
            if self._longest is not None:
                self._count(length, self._longest)
            return self._run(values, length)
        except EdgeError:
            before, self.pending, self._answered, self._taken[...] = kept
            self._bound.go_back(before)
            raise

    def _run(self, values: Sequence[Array], length: int) -> dict[str, Array]:
        """Run the blocks that samples fill, and keep the rest."""
        signature, block, start = self._open().signature, self.block, 0
        blocks = (self.pending + length) // block
        parts = {port.name: self._empty(port, value, blocks) for port, value in self._along_time()}
        # Views with time first make the loop over blocks short.
        feeds = []
        for port, value, buffer in zip(signature.inputs, values, self._bound.inputs, strict=True):
            if port.time_axis is None:
                buffer[...] = value
            else:
                feeds.append((np.moveaxis(buffer, port.time_axis, 0), np.moveaxis(value, port.time_axis, 0)))
        results = [
            [
                (np.moveaxis(value, port.time_axis, 0), np.moveaxis(parts[port.name], port.time_axis, 0))
                for port, value in zip(signature.outputs, side.outputs, strict=True)
                if port.time_axis is not None
            ]
            for side in self._bound.sides
        ]
        for number in range(blocks + 1):
            stop = min(start + block - self.pending, length)
            filled = self.pending + stop - start
            for target, source in feeds:
                target[self.pending : filled] = source[start:stop]
            self.pending, start = filled, stop
            if filled < block:
                break
            self._bound.advance()
            self.pending = 0
            self._answered = True
            for source, target in results[self._bound.side]:
                target[number * len(source) : (number + 1) * len(source)] = source
        return parts | self._answers()

    def _count(self, length: int, longest: int) -> None:
        """Count samples, of which the model takes no more than so many in one sequence."""
        taken = int(self._taken.max())
        if taken + length > longest:
            raise InputError(
                f"The sequence has {taken} samples and gets {length} more, but the model takes no more than {longest}: flush or "
                "reset the stream where a new sequence begins."
            )
        self._taken += length

    def _along_time(self) -> list[tuple[Port, Array]]:
        pairs = zip(self.outputs, self._bound.outputs, strict=True)
        return [(port, value) for port, value in pairs if port.time_axis is not None]

    def _answers(self) -> dict[str, Array]:
        pairs = zip(self.outputs, self._bound.outputs, strict=True)
        return {port.name: value.copy() for port, value in pairs if port.time_axis is None} if self._answered else {}

    def _stored(self) -> dict[str, Array]:
        """Return views of everything a snapshot holds, batch first."""
        signature = self._open().signature
        views = {f"state {state.input}": value for state, value in zip(signature.states, self._bound.states, strict=True)}
        for port, buffer in zip(signature.inputs, self._bound.inputs, strict=True):
            views[f"input {port.name}"] = buffer if port.time_axis is None else buffer[port.along_time(0, self.pending)]
        for port, value in zip(signature.outputs, self._bound.outputs, strict=True):
            if port.time_axis is None:
                views[f"answer {port.name}"] = value
        if self._longest is not None:
            views["taken"] = self._taken
        return views

    @staticmethod
    def _empty(port: Port, value: Array, blocks: int = 0) -> Array:
        shape = list(value.shape)
        shape[port.time_axis or 0] *= blocks
        return np.empty(shape, value.dtype)

    def _rows(self, rows: Sequence[int], purpose: str, pending: bool = False) -> Array:
        try:
            given = np.asarray(rows)
        except ValueError:
            given = np.zeros((), np.object_)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise InputError(f"The rows {rows!r} cannot be {purpose}: give the numbers of rows, such as [0], not a mask.")
        index = given.astype(np.int64)
        if len(set(index.tolist())) != len(index) or any(not 0 <= row < self.batch for row in index):
            raise InputError(f"The rows {list(rows)} cannot be {purpose}: give different rows from 0 to {self.batch - 1}.")
        if self.pending and not pending:
            raise InputError(f"{self.pending} samples are pending: single rows can be {purpose} only between whole blocks.")
        return index

    def _open(self) -> Graph:
        if self._graph is None:
            raise EdgeError("The stream is closed: open it again.")
        return self._graph
