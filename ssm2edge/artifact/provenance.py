"""Sentences on the samples that an artifact rests on: real ones, or synthetic ones."""

from __future__ import annotations

from ssm2edge.artifact.records import Manifest


def calibrated_on(manifest: Manifest) -> str | None:
    """Return what the layers were calibrated on, for people; None without calibration."""
    if "calibrate" not in manifest.options:
        return None
    nouns = {"samples": "calibration sample", "synthetic": "synthetic sequence"}
    named = [f"{count:,} {nouns.get(kind, kind)}{'s' if count > 1 else ''}" for kind, count in manifest.calibrated_on.items()]
    # Artifacts of earlier versions do not say how many.
    return " and ".join(named) or "calibration samples"


def trained_by(manifest: Manifest) -> str:
    """Return by whom the reduced model was trained further, as the end of a sentence; empty without."""
    named = manifest.options.get("retrain")
    return f", then trained further by {named} (seed {manifest.options.get('seed', 0)})" if named else ""


def size_chosen(manifest: Manifest) -> str | None:
    """Return what speaks for the size, for people; None where it was not chosen on samples."""
    if manifest.selection is None:
        return None
    return manifest.selection.sentence + (" The training came after the choice." if trained_by(manifest) else "")


def held_out_synthetic(manifest: Manifest) -> bool:
    """Return True if the held-out samples are synthetic: no samples were given, but shapes."""
    return "shape" in manifest.options
