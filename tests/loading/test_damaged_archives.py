"""Whoever reads an npz archive refuses one whose headers Python's own parser stumbles over, in one sentence."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.artifact import ArtifactError, load_reference, load_responses
from ssm2edge.cli.resampling import Resampling
from ssm2edge.cli.samples import read_samples
from ssm2edge.errors import UserError
from ssm2edge.loading import Signature, read_flax_tree
from ssm2edge.runtime import Port
from tests.model_directories import load_samples

READERS: dict[str, Callable[[Path], object]] = {
    "reference": load_reference,
    "responses": load_responses,
    "samples": lambda path: load_samples(path, Signature(("u",)), 1),
    "parameters": read_flax_tree,
    "inputs": lambda path: read_samples(path, [Port("u", ("batch", "time", 1), np.dtype(np.float32), 1)], Resampling()),
}

HEADERS = {
    "a brace that does not close": b"{'descr': '<f4', 'shape': (3,",
    "a key that cannot be one": b"{[]: '<f4'}",
    "keys without an order": b"{'descr': '<f4', 3: True}",
    "too many parentheses": b"(" * 117,
    "nothing": b"",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_cannot_be_parsed_are_refused(tmp_path: Path, reader: str, header: str) -> None:
    path = tmp_path / "archive.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.u.npy", b"\x93NUMPY\x01\x00\x76\x00" + HEADERS[header].ljust(117) + b"\n" + bytes(12))
    with pytest.raises((ArtifactError, UserError), match=r"archive\.npz .*(again|samples of every input)"):
        READERS[reader](path)
