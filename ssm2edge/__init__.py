"""Compress the linear time-invariant layers of trained deep state-space models and export them to ONNX.

On a device, with numpy and onnxruntime alone: ``ssm2edge.runtime`` (`Model`, `Stream`, `Listener`).  Artifacts are read by
``ssm2edge.artifact``, checked by ``ssm2edge.verification`` and compared by ``ssm2edge.verification.gate``.

With torch: ``ssm2edge.pipeline.build`` does what the command ``ssm2edge build`` does.  Its parts are ``ssm2edge.layers``
(`find_layers`, `replace_layers`), ``ssm2edge.systems.system`` (`System`), ``ssm2edge.reduction`` (`reduce_system`, `METHODS`),
``ssm2edge.calibration`` (`calibrate`, `finetune`) and ``ssm2edge.export`` (`trace`, `export_offline`, `export_stream`).

Importing this package imports none of them.
"""

from __future__ import annotations

__version__ = "0.1.0"
