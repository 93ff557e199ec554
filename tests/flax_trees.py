"""Trees of S5 parameters in Flax's formats, and what they mean, written down without the package: plain recurrences in numpy."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ndarray_bytes(value: Array, dtype: str | None = None) -> bytes:
    """Content of Flax's extension type 1."""
    return bytes(msgpack.packb((list(value.shape), dtype or value.dtype.name, value.tobytes("C")), use_bin_type=True))


def packed(tree: Any) -> bytes:
    """A tree as Flax's ``msgpack_serialize`` writes it."""

    def extension(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return msgpack.ExtType(1, ndarray_bytes(value))
        if isinstance(value, np.generic):
            return msgpack.ExtType(3, ndarray_bytes(np.asarray(value)))
        if isinstance(value, complex):
            return msgpack.ExtType(2, msgpack.packb((value.real, value.imag)))
        return value

    return bytes(msgpack.packb(tree, default=extension, strict_types=True))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Array]:
    """The same tree with paths as names."""
    entries: dict[str, Array] = {}
    for name, value in tree.items():
        entries |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return entries


def seq(features: int, states: int, bidirectional: bool = False, joined: bool = False, seed: int = 0) -> dict[str, Array]:
    """Parameters of one S5 layer; ``joined``: both directions' output matrices in one, as complex_normal stores them."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return (generator.standard_normal(shape) / states**0.5).astype(np.float32)

    tree = {
        "Lambda_re": -0.5 - generator.random(states).astype(np.float32),
        "Lambda_im": (3 * np.arange(states)).astype(np.float32),
        "B": normal(states, features, 2),
        "D": normal(features),
        "log_step": np.log(generator.uniform(0.01, 0.2, (states, 1))).astype(np.float32),
    }
    if joined:
        return {**tree, "C": normal(features, 2 * states, 2)}
    return {**tree, **{name: normal(features, states, 2) for name in (("C1", "C2") if bidirectional else ("C",))}}


def dense(inputs: int, outputs: int, seed: int) -> dict[str, Array]:
    """A dense layer."""
    generator = np.random.default_rng(seed)
    kernel = generator.standard_normal((inputs, outputs)).astype(np.float32) / inputs**0.5
    return {"kernel": kernel, "bias": generator.standard_normal(outputs).astype(np.float32)}


def model(inputs: int, features: int, states: int, classes: int, activation: str, batchnorm: bool) -> dict[str, Any]:
    """Variables of a whole classification model of two layers."""
    generator = np.random.default_rng(9)
    layers: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for i in range(2):
        gates = {"full_glu": ("out1", "out2"), "gelu": ()}.get(activation, ("out2",))
        scale, bias = (generator.standard_normal(features).astype(np.float32) for _ in range(2))
        layers[f"layers_{i}"] = {
            "norm": {"scale": scale, "bias": bias},
            "seq": seq(features, states, seed=i),
            **{gate: dense(features, features, 10 * i + j) for j, gate in enumerate(gates)},
        }
        mean, variance = generator.standard_normal(features), generator.random(features) + 0.5
        statistics[f"layers_{i}"] = {"norm": {"mean": mean.astype(np.float32), "var": variance.astype(np.float32)}}
    parameters = {"encoder": {"encoder": dense(inputs, features, 5), **layers}, "decoder": dense(features, classes, 6)}
    return {"params": parameters, **({"batch_stats": {"encoder": statistics}} if batchnorm else {})}


def run_seq(tree: dict[str, Array], u: Array, conj_sym: bool = True, clip: bool = False, rule: str = "zoh") -> Array:
    """What an S5 layer makes of ``(time, features)``: sample by sample, in complex128."""
    real = np.minimum(tree["Lambda_re"], -1e-4) if clip else tree["Lambda_re"]
    modes = real.astype(np.float64) + 1j * tree["Lambda_im"].astype(np.float64)
    step = np.exp(tree["log_step"].astype(np.float64)).ravel()
    if rule == "zoh":
        poles = np.exp(modes * step)
        gains = (poles - 1) / modes
    else:
        gains = step / (1 - step * modes / 2)
        poles = (1 + step * modes / 2) / (1 - step * modes / 2)
    B = gains[:, None] * (tree["B"][..., 0] + 1j * tree["B"][..., 1])
    C = [tree[name][..., 0] + 1j * tree[name][..., 1] for name in ("C", "C1", "C2") if name in tree]
    if len(C) == 1 and C[0].shape[1] == 2 * len(modes):
        C = [C[0][:, : len(modes)], C[0][:, len(modes) :]]
    y = tree["D"] * u.astype(np.float64)
    for output, order in zip(C, (1, -1), strict=False):
        x = np.zeros(len(modes), np.complex128)
        for k in range(len(u))[::order]:
            x = poles * x + B @ u[k]
            y[k] += (2 if conj_sym else 1) * (output @ x).real
    return np.asarray(y)


def run_model(tree: dict[str, Any], u: Array, activation: str, prenorm: bool, mode: str = "pool") -> Array:
    """Log-probabilities of one sequence ``(time, inputs)``."""

    def linear(part: dict[str, Array], x: Array) -> Array:
        return x @ part["kernel"].astype(np.float64) + part["bias"]

    def gelu(x: Array) -> Array:
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))

    def gate(part: dict[str, Array], x: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-linear(part, x))))

    parameters = tree["params"]
    x = linear(parameters["encoder"]["encoder"], u.astype(np.float64))
    for name in sorted(name for name in parameters["encoder"] if name != "encoder"):
        part = parameters["encoder"][name]

        def norm(x: Array, part: dict[str, Any] = part, name: str = name) -> Array:
            if "batch_stats" in tree:
                running = tree["batch_stats"]["encoder"][name]["norm"]
                centred = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5)
            else:
                centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
            return np.asarray(centred * part["norm"]["scale"] + part["norm"]["bias"])

        y = run_seq(part["seq"], norm(x) if prenorm else x)
        if activation == "full_glu":
            y = linear(part["out1"], gelu(y)) * gate(part["out2"], gelu(y))
        elif activation == "half_glu1":
            y = gelu(y) * gate(part["out2"], gelu(y))
        elif activation == "half_glu2":
            y = y * gate(part["out2"], gelu(y))
        else:
            y = gelu(y)
        x = x + y if prenorm else norm(x + y)
    pooled = x.mean(0) if mode == "pool" else x[-1] if mode == "last" else x
    logits = linear(parameters["decoder"], pooled)
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
