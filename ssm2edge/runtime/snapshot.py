"""Snapshots: the states of a stream as bytes, from which another process continues.

Layout, little-endian::

    8 bytes   b"SSM2EDGE"
    4         version of this layout, 1
    4         length of the header
    .         header, JSON: model (SHA-256 of the graph), batch, block, pending, answered, arrays [[name, dtype, shape], ...]
    .         the arrays' elements, one after the other
    32        SHA-256 of all before
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssm2edge.runtime.errors import SnapshotError
from ssm2edge.runtime.ports import Array

MAGIC = b"SSM2EDGE"
VERSION = 1
_HEAD = struct.Struct("<8sII")
_DIGEST = 32


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The content of a snapshot.

    Attributes
    ----------
    model
        SHA-256 of the graph, hexadecimal.
    batch, block
        Rows in the arrays, samples in a block.
    pending
        Samples waiting for their block to fill.
    answered
        True if a block was run since the last reset, so that running answers exist.
    arrays
        States and running answers ``[batch, ...]``, and pending inputs, by unique keys.
    """

    model: str
    batch: int
    block: int
    pending: int
    answered: bool
    arrays: Mapping[str, Array]

    def to_bytes(self) -> bytes:
        """Return the layout above."""
        arrays = {name: value.astype(value.dtype.newbyteorder("<"), copy=False) for name, value in self.arrays.items()}
        header = json.dumps(
            {
                "model": self.model,
                "batch": self.batch,
                "block": self.block,
                "pending": self.pending,
                "answered": self.answered,
                "arrays": [[name, value.dtype.str, list(value.shape)] for name, value in arrays.items()],
            }
        ).encode()
        body = _HEAD.pack(MAGIC, VERSION, len(header)) + header + b"".join(value.tobytes() for value in arrays.values())
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """Return the snapshot of some bytes; the inverse of `to_bytes`.

        Raises
        ------
        SnapshotError
            If the bytes are no snapshot, of another version, or damaged.
        """
        if (
            not isinstance(data, bytes | bytearray | memoryview)
            or len(data) < _HEAD.size + _DIGEST
            or data[: len(MAGIC)] != MAGIC
        ):
            raise SnapshotError("These bytes are no snapshot of a stream: give what Stream.snapshot returned.")
        _, version, length = _HEAD.unpack_from(data)
        if version != VERSION:
            raise SnapshotError(f"The snapshot has version {version}, but this runtime reads {VERSION}: take it again.")
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        if hashlib.sha256(body).digest() != digest:
            raise SnapshotError("The snapshot is damaged: its checksum does not fit; take it again.")
        try:
            header = json.loads(body[_HEAD.size : _HEAD.size + length])
            arrays, start = {}, _HEAD.size + length
            for name, dtype, shape in header["arrays"]:
                kind = np.dtype(dtype)
                count = math.prod(shape)
                arrays[name] = np.frombuffer(body, kind, count, start).reshape(shape).astype(kind.newbyteorder("="))
                start += count * kind.itemsize
            return cls(
                str(header["model"]),
                int(header["batch"]),
                int(header["block"]),
                int(header["pending"]),
                bool(header["answered"]),
                arrays,
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise SnapshotError(f"The snapshot cannot be read ({fault}): take it again.") from fault
