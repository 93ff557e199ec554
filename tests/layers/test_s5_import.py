"""JAX S5 parameters become PyTorch modules that compute what plain recurrences say; files that are no such trees are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from ssm2edge.errors import UserError
from ssm2edge.layers import LayerError, exportable, find_layers, replace_layers
from ssm2edge.layers.s5_import import s5_from_flax, s5_model_from_flax
from ssm2edge.loading import read_flax_tree
from tests import flax_trees as trees
from tests.layer_answers import answers, noise, relative

LAYER = "params/encoder/layers_0/seq"


@pytest.mark.parametrize(
    ("tree", "options"),
    [
        ({}, {}),
        ({}, {"conj_sym": False}),
        ({}, {"rule": "bilinear"}),
        ({}, {"clip": True}),
        ({"bidirectional": True}, {}),
        ({"joined": True}, {"conj_sym": False, "rule": "bilinear"}),
    ],
    ids=str,
)
def test_the_imported_layer_and_its_full_order_replacement_are_the_recurrence(
    tree: dict[str, Any], options: dict[str, Any]
) -> None:
    parameters = trees.seq(4, 6, **tree)
    if options.get("clip"):
        parameters["Lambda_re"][:2] = 0.3
    layer = s5_from_flax(
        {"deep": parameters}, "deep", conj_sym=options.get("conj_sym", True), clip_eigs=options.get("clip", False),
        discretization=options.get("rule", "zoh"),
    )  # fmt: skip
    found = find_layers(layer)
    directions = 2 if tree else 1
    assert [(x.library, x.system.order) for x in found] == [("S5", 12)] * directions
    replaced = replace_layers(layer, {x.name: x.system for x in found})
    for length in (1, 2, 45):
        u = noise(2, length, 4)
        expected = torch.from_numpy(np.stack([trees.run_seq(parameters, x.numpy(), **options) for x in u]))
        assert relative(answers(layer, u), expected) < 1e-5
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("activation", ["full_glu", "half_glu1", "half_glu2", "gelu"])
@pytest.mark.parametrize(("prenorm", "batchnorm", "mode"), [(True, True, "pool"), (False, False, "last"), (True, False, "none")])
def test_the_imported_model_is_the_original(activation: str, prenorm: bool, batchnorm: bool, mode: str) -> None:
    tree = trees.model(2, 4, 3, 5, activation, batchnorm)
    norm = None if batchnorm else False
    model = s5_model_from_flax(tree, activation=activation, prenorm=prenorm, batchnorm=norm, mode=mode)
    u = noise(2, 20, 2)
    expected = torch.from_numpy(np.stack([trees.run_model(tree, x.numpy(), activation, prenorm, mode) for x in u]))
    assert relative(answers(model, u), expected) < 1e-5
    assert [layer.name for layer in find_layers(model)] == ["layers.0.seq", "layers.1.seq"]


def test_what_the_tree_says_of_its_activation_is_believed() -> None:
    for activation in ("full_glu", "half_glu1", "gelu"):
        assert s5_model_from_flax(trees.model(2, 4, 3, 5, activation, True)).layers[0].activation == activation
    with pytest.raises(LayerError, match="has the gates"):
        s5_model_from_flax(trees.model(2, 4, 3, 5, "gelu", True), activation="full_glu")


def test_double_precision_stays() -> None:
    parameters = {name: value.astype(np.float64) for name, value in trees.seq(4, 6).items()}
    layer = s5_from_flax(parameters)
    assert {p.dtype for p in layer.parameters()} == {torch.float64}
    u = noise(1, 30, 4).double()
    expected = torch.from_numpy(trees.run_seq(parameters, u[0].numpy()))[None]
    assert relative(answers(layer, u), expected) < 1e-12


def test_both_file_formats_give_the_tree_back(tmp_path: Path) -> None:
    tree = trees.model(2, 4, 3, 5, "full_glu", True)
    state = {"step": 7, "opt_state": {"count": np.int32(3), "scale": 1 + 2j, "nothing": None}, **tree}
    (tmp_path / "state.msgpack").write_bytes(trees.packed(state))
    np.savez(tmp_path / "slashes.npz", **trees.flat(tree))  # type: ignore[arg-type]  # arrays by name
    np.savez(tmp_path / "dots.npz", **{k.replace("/", "."): v for k, v in trees.flat(tree).items()})  # type: ignore[arg-type]  # as above
    keys = {"".join(f"['{step}']" for step in k.split("/")): v for k, v in trees.flat(tree).items()}
    np.savez(tmp_path / "keys.npz", **keys)  # type: ignore[arg-type]  # as above
    expected = trees.flat(tree)
    read = read_flax_tree(tmp_path / "state.msgpack")
    assert (read["step"], read["opt_state"]) == (7, {"count": 3, "scale": 1 + 2j, "nothing": None})
    for name in ("state.msgpack", "slashes.npz", "dots.npz", "keys.npz"):
        actual = trees.flat({k: v for k, v in read_flax_tree(tmp_path / name).items() if k in tree})
        assert actual.keys() == expected.keys()
        assert all(np.array_equal(actual[k], expected[k]) and actual[k].dtype == np.float32 for k in expected)


def test_bfloat16_and_chunked_arrays_are_read(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0], [0.0, 3.0]], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    chunked = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 2, "1": 2},
        "chunks": {"0": values.ravel()[:3].copy(), "1": values.ravel()[3:].copy()},
    }
    tree = {"half": msgpack.ExtType(1, trees.ndarray_bytes(halves, "bfloat16")), "large": chunked}
    (tmp_path / "tree.msgpack").write_bytes(trees.packed(tree))
    read = read_flax_tree(tmp_path / "tree.msgpack")
    assert np.array_equal(read["half"], values)
    assert np.array_equal(read["large"], values)


def array_of(shape: Any, dtype: Any, buffer: Any) -> bytes:
    return trees.packed({"x": msgpack.ExtType(1, msgpack.packb((shape, dtype, buffer)))})


CORRUPT = {
    "empty": b"",
    "text": b"not a tree at all",
    "a list": msgpack.packb([1, 2]),
    "cut off": trees.packed(trees.seq(4, 3))[:-20],
    "followed by more": trees.packed(trees.seq(4, 3)) + b"more",
    "negative shape": array_of([-1, 4], "float32", b""),
    "huge shape": array_of([1 << 40, 1 << 40], "float32", b"abcd"),
    "too few bytes": array_of([3], "float32", b"abcd"),
    "objects": array_of([1], "object", b"12345678"),
    "structure": array_of([1], "V8", b"12345678"),
    "no dtype": array_of([1], 5, b"12345678"),
    "no triple": trees.packed({"x": msgpack.ExtType(1, msgpack.packb((1, 2)))}),
    "number": trees.packed({"x": msgpack.ExtType(1, msgpack.packb(7))}),
    "garbage in an array": trees.packed({"x": msgpack.ExtType(1, b"\xc1\xc1")}),
    "unknown type": trees.packed({"x": msgpack.ExtType(42, b"payload")}),
    "no complex": trees.packed({"x": msgpack.ExtType(2, msgpack.packb(1.0))}),
    "number as name": msgpack.packb({3: 1}),
    "chunks missing": trees.packed({"x": {"__msgpack_chunked_array__": True, "shape": {"0": 2}, "chunks": {"1": np.ones(2)}}}),
    "chunks too few": trees.packed({"x": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"0": np.ones(2)}}}),
    "deep": b"\x81\xa1x" * 2000 + b"\x01",
    "deep within bounds of the parser": b"\x81\xa1x" * 100 + b"\x01",
}


@pytest.mark.parametrize("name", CORRUPT)
def test_files_that_hold_no_tree_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    file = tmp_path / "params.msgpack"
    file.write_bytes(CORRUPT[name])
    with pytest.raises(UserError, match=r"params\.msgpack is no readable tree of parameters \(.+\); save it again\.$") as error:
        read_flax_tree(file)
    assert "\n" not in str(error.value)


def test_archives_that_hold_no_tree_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    np.savez(tmp_path / "inside.npz", **{"a": np.ones(2), "a/b": np.ones(2)})  # type: ignore[arg-type]  # arrays by name
    with zipfile.ZipFile(tmp_path / "broken.npz", "w") as archive:
        archive.writestr("x.npy", b"nothing of the kind")
    for name in ("text", "objects", "inside", "broken"):
        with pytest.raises(UserError, match=rf"{name}\.npz is no readable tree of parameters"):
            read_flax_tree(tmp_path / f"{name}.npz")
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 20))
    monkeypatch.setattr("ssm2edge.loading.flax_trees.LARGEST_FILE", 1 << 20)
    with pytest.raises(UserError, match="unpacks to"):
        read_flax_tree(tmp_path / "bomb.npz")
    (tmp_path / "large.msgpack").write_bytes(b"\0" * ((1 << 20) + 1))
    with pytest.raises(UserError, match="more than the"):
        read_flax_tree(tmp_path / "large.msgpack")
    with pytest.raises(UserError, match="cannot be read"):
        read_flax_tree(tmp_path / "missing.msgpack")


def test_trees_that_are_no_s5_are_refused_by_the_name_of_what_is_wrong() -> None:
    tree = trees.model(2, 4, 3, 5, "full_glu", True)
    with pytest.raises(LayerError, match="has no params/encoder/layers_7/seq"):
        s5_from_flax(tree, "params/encoder/layers_7/seq")
    with pytest.raises(LayerError, match="holds no S5 layer: it lacks Lambda_re"):
        s5_from_flax(tree, "params/decoder")
    layer: dict[str, Any] = tree["params"]["encoder"]["layers_0"]["seq"]
    with pytest.raises(LayerError, match="B has shape"):
        s5_from_flax({**layer, "B": layer["B"][:, :3]})
    with pytest.raises(LayerError, match="norm_1 is unknown"):
        s5_from_flax({**layer, "norm_1": layer["D"]})
    with pytest.raises(LayerError, match="no array of real numbers"):
        s5_from_flax({**layer, "D": "text"})
    with pytest.raises(ValueError, match="discretisation"):
        s5_from_flax(layer, discretization="euler")
    with pytest.raises(LayerError, match=r"has no batch_stats.*batchnorm=False"):
        s5_model_from_flax({"params": tree["params"]})
    with pytest.raises(LayerError, match="said to be layer norms"):
        s5_model_from_flax(tree, batchnorm=False)
    tree["params"]["encoder"]["attention_0"] = {}
    with pytest.raises(LayerError, match="it also holds attention_0"):
        s5_model_from_flax(tree)
