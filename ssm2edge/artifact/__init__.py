"""The build directory: its files, manifest and hashes; written whole or not at all."""

from __future__ import annotations

from ssm2edge.artifact.device_records import DeviceGraphRecord, DeviceRecord
from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.figures import Figures, LayerFigures, Pole, Profile, Response, Share, load_figures
from ssm2edge.artifact.latency_records import BatchLatency, Latency, OriginalRecord, Ratio
from ssm2edge.artifact.provenance import calibrated_on, held_out_synthetic, size_chosen, trained_by
from ssm2edge.artifact.reading import Artifact, fingerprint, open_artifact, open_manifest
from ssm2edge.artifact.records import (
    SCHEMA,
    Accuracy,
    FileRecord,
    GraphCost,
    KeptLayer,
    LayerRecord,
    Manifest,
    Parameters,
    RealisedRecord,
    SelectionRecord,
    Source,
    StateRecord,
    Streaming,
    WeightRecord,
)
from ssm2edge.artifact.reference import LAYER, PROBES, Reference, load_reference
from ssm2edge.artifact.responses import LARGEST_SIGNAL, LayerResponses, Responses, SystemResponse, load_responses
from ssm2edge.artifact.staging import record_device, record_device_graphs, seal, staging

__all__ = [
    "LARGEST_SIGNAL",
    "LAYER",
    "PROBES",
    "SCHEMA",
    "Accuracy",
    "Artifact",
    "ArtifactError",
    "BatchLatency",
    "DeviceGraphRecord",
    "DeviceRecord",
    "Figures",
    "FileRecord",
    "GraphCost",
    "KeptLayer",
    "Latency",
    "LayerFigures",
    "LayerRecord",
    "LayerResponses",
    "Manifest",
    "OriginalRecord",
    "Parameters",
    "Pole",
    "Profile",
    "Ratio",
    "RealisedRecord",
    "Reference",
    "Response",
    "Responses",
    "SelectionRecord",
    "Share",
    "Source",
    "StateRecord",
    "Streaming",
    "SystemResponse",
    "WeightRecord",
    "calibrated_on",
    "fingerprint",
    "held_out_synthetic",
    "load_figures",
    "load_reference",
    "load_responses",
    "open_artifact",
    "open_manifest",
    "record_device",
    "record_device_graphs",
    "seal",
    "size_chosen",
    "staging",
    "trained_by",
]
