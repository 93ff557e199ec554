"""Record an artifact's reference again: the original's outputs, latency and device, on another machine.

    python scripts/record_reference.py build/digits --device cuda

The graphs stay byte for byte.  They are verified against the new reference before anything is replaced; if that fails, the
artifact is left as it is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssm2edge.artifact import OriginalRecord, Reference, load_figures, open_artifact, seal, staging
from ssm2edge.artifact.figures import NAME as FIGURES
from ssm2edge.errors import UserError
from ssm2edge.original.batches import measure_original
from ssm2edge.original.devices import DEVICES, open_device
from ssm2edge.original.latency import compare_with_original
from ssm2edge.original.live import LIMIT, Original, open_original
from ssm2edge.report import NAME as PAGE
from ssm2edge.stages.report import write_page
from ssm2edge.verification import Subject, Verdict, examine, relative_latencies
from ssm2edge.verification.check import relative_error


def main() -> int:
    """Record, verify, replace; exit code 1 if the graphs fail against the new reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="build directory")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where the original runs")
    parser.add_argument("--source", help="the model, where it is no longer where it was built from")
    parser.add_argument("--weights", type=Path, help="weights, where the model is a factory")
    parser.add_argument("--trust-pickle", action="store_true", help="load weights files that can run code")
    given = parser.parse_args()
    try:
        artifact = open_artifact(given.directory)
        original = open_original(artifact.manifest, given.source, given.weights, given.trust_pickle)
        verdict, record, difference = rerecord(given.directory, original, given.device)
    except UserError as fault:
        print(f"record_reference: {fault}", file=sys.stderr)
        return 2
    for check in verdict.failures:
        print(f"{check.name} failed: {check.detail}")
    if not verdict.passed:
        print(f"{given.directory} was left as it is.")
        return 1
    print(f"{given.directory}: the original ran on {record.device} with torch {record.torch}")
    print(f"largest relative difference to the outputs recorded before: {difference:.2g}")
    for latency in record.latencies:
        per_second = latency.batch / latency.median
        print(f"batch {latency.batch}: {1e3 * latency.median:.3f} ms (median), {per_second:,.0f} sequences a second")
    return 0


def rerecord(directory: Path, original: Original, kind: str) -> tuple[Verdict, OriginalRecord, float]:
    """Replace the reference of an artifact, if its graphs pass against the new one.

    Returns
    -------
    Verdict
        Of the graphs on the new reference.
    OriginalRecord
        Where the original ran, and how fast.
    float
        Largest relative difference between its outputs now and before.

    Raises
    ------
    UserError
        If the model's files are not those the artifact was built from, or it answers something else.
    """
    device = open_device(kind)
    artifact = open_artifact(directory)
    if original.changed:
        raise UserError(f"{', '.join(original.changed)} changed since {directory} was built; build it again.")
    before = artifact.reference
    reference = Reference(before.inputs, original.outputs(before.inputs, device), before.reduced, before.labels)
    difference = relative_error(reference.original, before.original)
    if not difference <= LIMIT:
        raise UserError(
            f"The original answers {difference:.2g} off its record: it is not the model of {directory}; build that again."
        )
    manifest = artifact.manifest
    radii = {layer.name: layer.spectral_radius for layer in manifest.layers}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in manifest.files:
            shutil.copy(directory / name, folder / name)
        reference.save(folder)
        subject = replace(
            Subject.staged(folder, reference, radii), probes=artifact.probes, bound=manifest.bound, responses=artifact.responses
        )
        verdict = examine(subject)
        sample = [np.array(value[:1]) for value in reference.inputs.values()]
        latency, record = compare_with_original(original.model, folder, sample, relative_latencies(subject))
        if device.kind != "cpu":
            record = measure_original(original.model, list(reference.inputs.values()), device)
        found = replace(manifest, accuracy=verdict.accuracy, parity=verdict.to_json(), latency=latency, original=record)
        if verdict.passed:
            with staging(directory, force=True) as place:
                for name in set(manifest.files) - {PAGE}:
                    shutil.copy(folder / name, place / name)
                write_page(place, found, load_figures(place / FIGURES), directory)
                seal(place, found)
    return verdict, record, difference


if __name__ == "__main__":
    sys.exit(main())
