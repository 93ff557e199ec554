"""What is kept is found again, bit for bit; what is damaged, foreign or old is computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from ssm2edge.cache import Calibrations, Outputs, Reductions, Store, key_of
from ssm2edge.calibration import Calibrated, Matched
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.system import System
from tests.random_banks import random_bank

OUTPUTS = {"output.1": np.float32([[1, 2], [-0.0, 3]]), "output.0": np.float32([[0.1]])}


def never() -> Any:
    raise AssertionError("it was kept, but is made again")


def same_systems(first: System, second: System) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or (a.dtype == b.dtype and torch.equal(a, b)))
        for a, b in ((getattr(first, name), getattr(second, name)) for name in ("poles", "B", "C", "D", "M"))
    )


def test_kept_outputs_are_the_same_in_the_same_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    store.kept(Outputs(), "k", lambda: OUTPUTS)
    found = store.kept(Outputs(), "k", never)
    assert list(found) == list(OUTPUTS)
    assert all(found[name].tobytes() == value.tobytes() and found[name].dtype == np.float32 for name, value in OUTPUTS.items())


def test_kept_reductions_are_the_same(tmp_path: Path) -> None:
    bank = random_bank(5, 8, seed=1)
    made = {"a": reduce_system(bank, 4, "balanced", 50), "b": reduce_system(bank, 3, "modal", None)}
    store = Store(tmp_path / "cache")
    store.kept(Reductions(), "k", lambda: made)
    found = store.kept(Reductions(), "k", never)
    assert list(found) == ["a", "b"]
    for name, reduction in made.items():
        again = found[name]
        assert same_systems(again.system, reduction.system)
        assert (again.method, again.order, again.horizon) == (reduction.method, reduction.order, reduction.horizon)
        for column in ("error", "relative_error", "spectral_radius", "outcomes", "iterations"):
            assert torch.equal(getattr(again, column), getattr(reduction, column))


@pytest.mark.parametrize("matched", [None, Matched(0.25, 0.125, 100)])
def test_kept_calibrations_are_the_same(tmp_path: Path, matched: Matched | None) -> None:
    n = torch.complex128
    quadratic = System(
        torch.tensor([0.5 + 0.1j, 0.5 - 0.1j], dtype=n), torch.ones(2, 1, dtype=n), torch.ones(1, 2, dtype=n),
        torch.ones(1, 1, dtype=torch.float64), torch.full((1, 2, 2), 0.5, dtype=n),
    )  # fmt: skip
    made = Calibrated({"z": random_bank(3, 4, seed=2), "a": quadratic}, matched)
    store = Store(tmp_path / "cache")
    store.kept(Calibrations(), "k", lambda: made)
    found = store.kept(Calibrations(), "k", never)
    assert list(found.systems) == ["z", "a"]
    assert found.matched == matched
    assert all(same_systems(found.systems[name], system) for name, system in made.systems.items())


def test_other_keys_and_rebuilding_find_nothing(tmp_path: Path) -> None:
    made: list[int] = []
    for key, rebuild in (("a", False), ("b", False), ("a", True), ("a", False)):
        Store(tmp_path / "cache", rebuild).kept(Outputs(), key, lambda: made.append(1) or OUTPUTS)  # type: ignore[func-returns-value]  # appends by the way
    assert len(made) == 3


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: flip(content, len(content) - 3),
        lambda content: flip(content, 40),
        lambda content: (1 << 62).to_bytes(8, "little") + content[8:],
        lambda content: content + b"\0",
        lambda content: safetensors.numpy.save({"0": np.float32([1])}),
        lambda content: safetensors.numpy.save({"0": np.float32([1])}, {"record": "[" * 100_000, "sha256": "0" * 64}),
    ],
)
def test_damaged_results_are_removed_and_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = Store(tmp_path / "cache")
    store.kept(Outputs(), "k", lambda: OUTPUTS)
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    found = store.kept(Outputs(), "k", lambda: OUTPUTS)
    assert found["output.0"].tobytes() == OUTPUTS["output.0"].tobytes()
    assert store.kept(Outputs(), "k", never).keys() == OUTPUTS.keys()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    store = Store(tmp_path / "cache")
    assert store.kept(Outputs(), "k", lambda: OUTPUTS).keys() == OUTPUTS.keys()
    store.clean()
    assert (tmp_path / "cache").read_text() == "a file in its place"


def test_cleaning_removes_what_is_old_or_unfinished_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    for key in ("old", "new"):
        store.kept(Outputs(), key, lambda: OUTPUTS)
    folder = tmp_path / "cache"
    for name in ("dead.unfinished", "living.unfinished", "mine.txt"):
        (folder / name).write_text("x")
    long_ago = time.time() - 15 * 24 * 3600
    for name in ("outputs-old.safetensors", "dead.unfinished", "mine.txt"):
        os.utime(folder / name, (long_ago, long_ago))
    store.clean()
    left = {path.name for path in folder.iterdir()}
    assert left == {"outputs-new.safetensors", "living.unfinished", "mine.txt", ".gitignore", "CACHEDIR.TAG"}


def test_the_longest_unused_results_go_first_where_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "cache")
    for age, key in enumerate("abc"):
        store.kept(Outputs(), key, lambda: OUTPUTS)
        path = tmp_path / "cache" / f"outputs-{key}.safetensors"
        os.utime(path, (time.time() - 100 + age, time.time() - 100 + age))
    store.kept(Outputs(), "a", never)
    monkeypatch.setattr("ssm2edge.cache.store.LARGEST_FOLDER", 2 * path.stat().st_size)
    store.clean()
    assert {path.stem for path in (tmp_path / "cache").glob("*.safetensors")} == {"outputs-a", "outputs-c"}


VALUES: tuple[object, ...] = (
    None, True, 1, 1.0, "1", b"1", (1,), (1, ()), ((1,),), {"a": 1}, {"b": 1}, "", (), ("a", "bc"), ("ab", "c"),
    np.int32([1]), np.int64([1]), np.zeros((1, 2)), np.zeros((2, 1)), torch.zeros(2, dtype=torch.complex128), Matched(0, 0, 1),
    torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.ones(1, 2), torch.zeros(0, 2), torch.tensor(1.0),
)  # fmt: skip


def test_different_values_have_different_keys_and_equal_ones_the_same() -> None:
    keys = [key_of(value) for value in VALUES]
    assert len(set(keys)) == len(VALUES)
    assert keys == [key_of(value) for value in VALUES]
    with pytest.raises(TypeError, match="a set cannot"):
        key_of({1})
