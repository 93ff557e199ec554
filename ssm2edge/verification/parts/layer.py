"""One reduced layer of a whole-sequence graph, by itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ssm2edge.runtime.errors import EdgeError, GraphError
from ssm2edge.runtime.graph import Settings, new_session, read_graph, unloadable
from ssm2edge.runtime.ports import Array
from ssm2edge.verification.parts.extracting import extract


class Layer:
    """The nodes of one layer, cut out of an ``offline.onnx``, to run on other signals.

    Parameters
    ----------
    path
        The ONNX file.
    source, target
        The layer's input and output among the inner values, by the names of ``Model.layer_inputs`` and ``Model.layers``.
    threads
        Threads within an operator.

    Raises
    ------
    GraphError
        If the file cannot be read, or the output does not depend on the input alone.
    """

    def __init__(self, path: str | os.PathLike[str], source: str, target: str, *, threads: int = 1) -> None:
        self._path, self._source, self._target = Path(path), source, target
        try:
            self._session = new_session(extract(read_graph(self._path), source, target), Settings(threads))
        except GraphError:
            raise
        except OSError as fault:
            raise GraphError(f"{path} cannot be read ({fault.strerror or fault}).") from fault
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            raise GraphError(unloadable(self._path, fault)) from fault

    def run(self, samples: Array) -> Array:
        """Return the layer's outputs.

        Parameters
        ----------
        samples
            float32 ``[batch, time, inputs]``, at least one sample long.

        Returns
        -------
        Array
            ``[batch, time, outputs]``.

        Raises
        ------
        EdgeError
            If onnxruntime cannot run the layer, or it takes other signals.
        """
        try:
            found: Array = self._session.run([self._target], {self._source: samples})[0]
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            reason = " ".join(str(fault).split())[:200]
            raise EdgeError(f"onnxruntime could not run a layer of {self._path}: {reason}") from fault
        if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[:2] != samples.shape[:2]:
            raise EdgeError(f"A layer of {self._path} gives no sequences of the length that it takes: build it again.")
        return found
