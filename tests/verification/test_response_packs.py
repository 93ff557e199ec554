"""Packs of responses come back as they were saved; broken ones are refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssm2edge.artifact import ArtifactError, load_responses
from tests.verification.response_cases import Case


def test_pack_read_back_is_the_same(case: Callable[[str], Case], tmp_path: Path) -> None:
    made = case("quadratic outputs")
    made.pack.save(tmp_path)
    content = (tmp_path / "responses.npz").read_bytes()
    found = load_responses(tmp_path / "responses.npz")
    found.save(tmp_path)
    assert (tmp_path / "responses.npz").read_bytes() == content
    assert list(found.layers) == list(made.pack.layers)


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no times": lambda arrays: arrays.pop("times"),
    "descending times": lambda arrays: arrays.update(times=arrays["times"][::-1]),
    "times that would take hours": lambda arrays: arrays.update(times=arrays["times"] * (1 << 40)),
    "runs that would take hours": lambda arrays: arrays.update(times=np.append(arrays["times"][:-1], 1 << 15)),
    "times beyond the largest number": lambda arrays: arrays.update(times=np.array([0, 1 << 62, -(1 << 62) - 1])),
    "fractions of samples": lambda arrays: arrays.update(times=arrays["times"] / 2),
    "a layer without directions": lambda arrays: arrays.pop("directions.layers.0"),
    "directions alone": lambda arrays: arrays.update({"directions.more": arrays["directions.layers.0"]}),
    "half a layer": lambda arrays: arrays.pop("reduced.frequency.layers.0"),
    "no number": lambda arrays: arrays["original.impulse.layers.0"].fill(np.nan),
    "integers": lambda arrays: arrays.update({"reduced.impulse.layers.0": arrays["reduced.impulse.layers.0"].astype(np.int32)}),
    "fewer times": lambda arrays: arrays.update({"reduced.impulse.layers.0": arrays["reduced.impulse.layers.0"][..., 1:]}),
    "an unknown key": lambda arrays: arrays.update(surplus=arrays["times"]),
    "an unknown response": lambda arrays: arrays.update({"original.step.layers.0": arrays["times"]}),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_pack_is_refused_in_a_sentence(case: Callable[[str], Case], tmp_path: Path, fault: str) -> None:
    path = tmp_path / "responses.npz"
    case("S4D").pack.save(tmp_path)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    BROKEN[fault](arrays)
    np.savez(path, **arrays)
    with pytest.raises(ArtifactError, match=r"responses\.npz.*build (the artifact|it) again\.$"):
        load_responses(path)
