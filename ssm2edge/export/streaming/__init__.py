"""Streaming as a property of the whole model: a pass over the exported program.

:func:`to_streaming` follows the time axis by its symbol and returns a module that computes one block of samples from the states
before it, and the states after it.  A new way of meeting time is one rule in a file of its own and one line in ``RULES``.
"""

from __future__ import annotations

from ssm2edge.export.streaming.contract import Rule
from ssm2edge.export.streaming.convolution import ConvolutionRule
from ssm2edge.export.streaming.cumulative import CumulativeSumRule
from ssm2edge.export.streaming.first_sample import FirstSampleRule, RepeatedFirstRule
from ssm2edge.export.streaming.lti_block import LtiBlockRule
from ssm2edge.export.streaming.merging import MergingRule
from ssm2edge.export.streaming.module import StreamingModule, to_streaming
from ssm2edge.export.streaming.padding import JoinedPaddingRule, PaddingRule
from ssm2edge.export.streaming.pointwise import PointwiseRule
from ssm2edge.export.streaming.regrouping import ExpandRule, RegroupingRule
from ssm2edge.export.streaming.running_extremum import RunningExtremumRule
from ssm2edge.export.streaming.running_mean import RunningMeanRule
from ssm2edge.export.streaming.running_sum import RunningSumRule
from ssm2edge.export.streaming.sample_by_sample import SampleBySampleRule
from ssm2edge.export.streaming.slicing import LastSampleRule, ShapeReaderRule, SliceRule
from ssm2edge.export.streaming.steps import StateSpec
from ssm2edge.export.streaming.transposed_convolution import TransposedConvolutionRule
from ssm2edge.export.streaming.unfolding import UnfoldingRule
from ssm2edge.export.streaming.upsampling import UpsamplingRule
from ssm2edge.export.streaming.window_pooling import WindowPoolingRule

RULES: tuple[Rule, ...] = (
    PointwiseRule(),
    RegroupingRule(),
    ExpandRule(),
    LtiBlockRule(),
    ConvolutionRule(),
    FirstSampleRule(),
    RepeatedFirstRule(),
    PaddingRule(),
    JoinedPaddingRule(),
    SliceRule(),
    ShapeReaderRule(),
    LastSampleRule(),
    CumulativeSumRule(),
    RunningMeanRule(),
    RunningSumRule(),
    RunningExtremumRule(),
    WindowPoolingRule(),
    UnfoldingRule(),
    UpsamplingRule(),
    TransposedConvolutionRule(),
    MergingRule(),
    SampleBySampleRule(),
)

__all__ = ["RULES", "Rule", "StateSpec", "StreamingModule", "to_streaming"]
