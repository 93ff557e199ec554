"""All operators by name.  A new one is a function in a file of this room and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from ssm2edge.firmware.lowering import Emitter
from ssm2edge.firmware.operators import (
    axes,
    convolution,
    cumulative,
    elementwise,
    gathering,
    joining,
    normalisation,
    pooling,
    products,
    reductions,
    slicing,
    softmax,
    transposed_convolution,
)

EMITTERS: Mapping[str, Emitter] = {
    **elementwise.EMITTERS,
    "Reshape": axes.reshape,
    "Flatten": axes.reshape,
    "Squeeze": axes.reshape,
    "Unsqueeze": axes.reshape,
    "Identity": axes.reshape,
    "Dropout": axes.reshape,
    "Transpose": axes.transpose,
    "Expand": axes.expand,
    "Slice": slicing.slice_,
    "Split": slicing.split,
    "Gather": gathering.gather,
    "Concat": joining.concat,
    "Pad": joining.pad,
    "Tile": joining.tile,
    "MatMul": products.matmul,
    "Gemm": products.gemm,
    "Conv": convolution.conv,
    "ConvTranspose": transposed_convolution.conv_transpose,
    "ReduceSum": reductions.emitter("sum"),
    "ReduceMean": reductions.emitter("mean"),
    "ReduceMax": reductions.emitter("max"),
    "ReduceMin": reductions.emitter("min"),
    "ReduceProd": reductions.emitter("prod"),
    "ReduceL2": reductions.emitter("l2"),
    "ReduceSumSquare": reductions.emitter("square"),
    "GlobalAveragePool": reductions.global_average,
    "AveragePool": pooling.average,
    "MaxPool": pooling.largest,
    "CumSum": cumulative.cumsum,
    "LayerNormalization": normalisation.layer_norm,
    "BatchNormalization": normalisation.batch_norm,
    "InstanceNormalization": normalisation.instance_norm,
    "Softmax": softmax.softmax,
    "LogSoftmax": softmax.log_softmax,
}
"""Emitters by operator."""
