"""The systems and networks that are measured: random, of the sizes in the table."""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ssm2edge.layers import exportable
from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.traced import InputAxes, TracedModel, trace

GRU_OPSET = 18


def random_modes(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Poles of the upper half plane as S4D-Lin layers have them, ``(*shape, modes)`` complex128."""
    steps = np.exp(generator.uniform(math.log(1e-3), math.log(1e-1), (*shape[:-1], 1)))
    return np.asarray(np.exp(steps * (-0.5 + 1j * math.pi * np.arange(1, shape[-1] + 1))))


def random_bank(channels: int, order: int, seed: int = 0) -> System:
    """A bank of ``channels`` with ``order`` real states each, all in conjugate pairs."""
    generator = np.random.default_rng(seed)
    upper = random_modes(generator, channels, order // 2)
    weights = (generator.standard_normal(upper.shape) + 1j * generator.standard_normal(upper.shape)) * 0.1
    poles, residues = (np.stack([x, x.conj()], -1).reshape(channels, order) for x in (upper, weights))
    feedthrough = torch.from_numpy(generator.standard_normal(channels))
    return siso_bank(torch.from_numpy(poles), torch.from_numpy(residues), feedthrough)


def random_mimo(width: int, order: int, seed: int = 0) -> System:
    """One system of ``width`` inputs and outputs with ``order`` real states in conjugate pairs."""
    generator = np.random.default_rng(seed)
    upper = random_modes(generator, 1, order // 2)[0]

    def paired(x: np.ndarray, axis: int) -> Tensor:
        both = np.stack([x, x.conj()], axis + 1)
        shape = list(x.shape)
        shape[axis] *= 2
        return torch.from_numpy(both.reshape(shape))

    B, C = (generator.standard_normal((2, order // 2, width)).astype(np.complex128) / math.sqrt(width) for _ in range(2))
    B, C = B[0] + 1j * B[1], (C[0] + 1j * C[1]).T
    D = torch.from_numpy(generator.standard_normal((width, width)) / math.sqrt(width))
    return System(poles=paired(upper, 0), B=paired(B, 0), C=paired(C, 1), D=D)


class Layer(nn.Module):
    """Residual layer: LayerNorm, LTI bank (or nothing in its place), GELU, gated pointwise mixing."""

    def __init__(self, width: int, order: int | None, seed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lti = nn.Identity() if order is None else ReducedBank(random_bank(width, order, seed))
        self.activation = nn.GELU()
        self.mixing = nn.Sequential(nn.Conv1d(width, 2 * width, kernel_size=1), nn.GLU(dim=-2))

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.mixing(self.activation(self.lti(self.norm(z).transpose(-1, -2))))
        return z + y.transpose(-1, -2)


class Network(nn.Module):
    """``(batch, time, 1)`` to ``(batch, time, 10)``; ``order`` None cuts the LTI blocks out."""

    def __init__(self, width: int, order: int | None, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(1, width)
        self.layers = nn.Sequential(*(Layer(width, order, seed) for seed in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, 10)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.norm(self.layers(self.encoder(u))))
        return y


def traced_network(width: int, order: int | None, layers: int) -> TracedModel:
    """The network, ready to export."""
    return trace(exportable(Network(width, order, layers).eval()), [InputAxes("u", 1, torch.zeros(1, 5, 1))])


def traced_block(block: ReducedBank | ReducedMimo) -> TracedModel:
    """One block alone, ready to export: a bank takes ``(batch, channels, time)``, a system ``(batch, time, inputs)``."""
    if isinstance(block, ReducedBank):
        example, time_axis = torch.zeros(1, len(block.feedthrough), 5), 2
    else:
        example, time_axis = torch.zeros(1, 5, block.input.shape[1]), 1
    return trace(exportable(nn.Sequential(block)), [InputAxes("input", time_axis, example)])


def gru_model(width: int, layers: int, time: int) -> onnx.ModelProto:
    """A stack of GRUs as PyTorch exports them, ``time`` samples, batch 1, states in and out."""
    generator = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(np.array([1]), "direction")]
    inputs = [helper.make_tensor_value_info("u", TensorProto.FLOAT, [time, 1, width])]
    states, nodes, value = [], [], "u"
    for layer in range(layers):
        names = [f"{part}{layer}" for part in "WRB"]
        shapes = ((1, 3 * width, width), (1, 3 * width, width), (1, 6 * width))
        for name, shape in zip(names, shapes, strict=True):
            weights = generator.standard_normal(shape) / math.sqrt(width)
            tensors.append(numpy_helper.from_array(weights.astype(np.float32), name))
        state = [1, 1, width]
        inputs.append(helper.make_tensor_value_info(f"state.{layer}", TensorProto.FLOAT, state))
        states.append(helper.make_tensor_value_info(f"next.{layer}", TensorProto.FLOAT, state))
        results = [f"directions{layer}", f"next.{layer}"]
        arguments = [value, *names, "", f"state.{layer}"]
        nodes.append(helper.make_node("GRU", arguments, results, hidden_size=width, linear_before_reset=1))
        value = f"y{layer}"
        nodes.append(helper.make_node("Squeeze", [results[0], "direction"], [value]))
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [time, 1, width]), *states]
    graph = helper.make_graph(nodes, "gru", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", GRU_OPSET)], ir_version=9)


def dft_bank(kernel: Tensor) -> onnx.ModelProto:
    """Convolution of ``u (1, channels, time)`` with kernels ``(channels, time)`` by ONNX ``DFT``, the kernels' spectra stored."""
    channels, time = kernel.shape
    size = 2 * time
    spectrum = torch.view_as_real(torch.fft.rfft(kernel, n=size)).numpy()
    # Multiplying complex numbers stored as pairs, and the half of the spectrum that a real inverse needs.
    constants = {
        "real": spectrum[None, ..., :1],
        "imaginary": np.concatenate([-spectrum[..., 1:], spectrum[..., 1:]], -1)[None],
        "length": np.array(size),
        "last": np.array([3]),
        "time": np.array([time]),
        "zero": np.array([0]),
        "axis": np.array([2]),
        "swap": np.array([1, 0]),
        "first": np.array(0),
        "mirror": np.arange(time - 1, 0, -1),
        "conjugate": np.array([1.0, -1.0], np.float32),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["u", "last"], ["pairs"]),
        helper.make_node("DFT", ["pairs", "length"], ["half"], axis=2, onesided=1),
        helper.make_node("Mul", ["half", "real"], ["direct"]),
        helper.make_node("Gather", ["half", "swap"], ["turned"], axis=3),
        helper.make_node("Mul", ["turned", "imaginary"], ["across"]),
        helper.make_node("Add", ["direct", "across"], ["product"]),
        helper.make_node("Gather", ["product", "mirror"], ["mirrored"], axis=2),
        helper.make_node("Mul", ["mirrored", "conjugate"], ["other"]),
        helper.make_node("Concat", ["product", "other"], ["whole"], axis=2),
        helper.make_node("DFT", ["whole", "length"], ["back"], axis=2, inverse=1),
        helper.make_node("Gather", ["back", "first"], ["circular"], axis=3),
        helper.make_node("Slice", ["circular", "zero", "time", "axis"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, time]) for name in ("u", "y")]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "dft", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
