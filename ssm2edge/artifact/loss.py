"""Loss of an artifact against its original, on the held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

from ssm2edge.artifact.records import Manifest

LARGE = {"accuracy": 2.0, "nrmse": 10.0}
"""Losses above which a result is shown in red: points of accuracy, and per cent by which the NRMSE rises."""


@dataclass(frozen=True)
class Loss:
    """Loss of one output.

    Attributes
    ----------
    output
        Name of the output; empty for the first one.
    metric
        ``accuracy`` or ``nrmse``.
    original, artifact
        The metric before and after.
    matched
        Whether the layers were matched on the user's samples already.
    """

    output: str
    metric: str
    original: float
    artifact: float
    matched: bool = False

    @property
    def amount(self) -> float:
        """Points of accuracy that are lost, or per cent by which the NRMSE rises; negative where the artifact is better."""
        if self.metric == "nrmse":
            return 100.0 * (self.artifact / self.original - 1.0) if self.original > 0 else 0.0
        return 100.0 * (self.original - self.artifact)

    @property
    def large(self) -> bool:
        """True if no user would want it without knowing."""
        return self.amount > LARGE[self.metric]

    @property
    def sentence(self) -> str:
        """The loss and its mend, for people."""
        of = f" of {self.output}" if self.output else ""
        lost = (
            f"the NRMSE{of} rises by {self.amount:.1f} %" if self.metric == "nrmse" else f"{self.amount:.2f} points{of} are lost"
        )
        return f"LARGE LOSS: {lost} ({self.original:.4f} to {self.artifact:.4f}). {self.mend}"

    @property
    def mend(self) -> str:
        """Return the cases to try."""
        return f"{more_states(self.matched)} or let the loss choose the size (--max-drop)."


def more_states(matched: bool) -> str:
    """Return the beginning of the advice on a loss: states, and a calibration where it was not done yet."""
    return f"Keep more states (--keep, --order),{'' if matched else ' calibrate on samples (--calibrate match),'}"


def losses(manifest: Manifest) -> list[Loss]:
    """Return the loss of every output that was judged."""
    matched = manifest.options.get("calibrate") == "match" and "samples" in manifest.calibrated_on
    return [
        Loss(name, manifest.metric(name) or "accuracy", one.original, one.artifact, matched)
        for name, one in manifest.judged.items()
    ]
