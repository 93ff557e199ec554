"""Firmware: the streaming graph as C99 without a heap, and its verification by compilers and emulators."""

from __future__ import annotations

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.onnx_package import package_onnx
from ssm2edge.firmware.package import Firmware, firmware_of, package
from ssm2edge.firmware.verifying import TARGETS, verify_target
from ssm2edge.firmware.verifying_graphs import verify_graphs
from ssm2edge.firmware.web_package import package_web

__all__ = [
    "TARGETS",
    "Firmware",
    "FirmwareError",
    "firmware_of",
    "package",
    "package_onnx",
    "package_web",
    "verify_graphs",
    "verify_target",
]
