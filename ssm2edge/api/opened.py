"""``ssm2edge.open`` and the artifact that it and builds return."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssm2edge.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ssm2edge.artifact import Artifact as Files
    from ssm2edge.artifact import Manifest
    from ssm2edge.pipeline import Built
    from ssm2edge.runtime import Stream
    from ssm2edge.tables.results import Compared, Measured, Verified
    from ssm2edge.verification import Verdict
    from ssm2edge.verification.gate import Policy


def open(directory: str | os.PathLike[str]) -> Artifact:
    """Open a build directory; every file is compared with its recorded hash first.

    Raises
    ------
    UserError
        If a file is missing, damaged or foreign.

    Examples
    --------
    >>> artifact = ssm2edge.open("build/digits")  # doctest: +SKIP
    >>> artifact.run(pixels)["output"]  # doctest: +SKIP
    """
    from ssm2edge.artifact import open_artifact

    if not isinstance(directory, str | os.PathLike):
        raise UserError(f"The directory is a {type(directory).__name__}; give the path of an artifact.")
    return Artifact(open_artifact(directory))


class Artifact:
    """A build directory: its graphs run, are verified, timed and compared.  A base install suffices.

    Attributes
    ----------
    verdict
        The checks of the build; None where the artifact was opened from disk.
    seconds
        Duration of the build; None where it was opened from disk.
    decided
        Sentences on the size and the block that the build decided itself; None where the user gave them.
    """

    def __init__(
        self, files: Files, verdict: Verdict | None = None, seconds: float | None = None, decided: str | None = None
    ) -> None:
        self._files, self.verdict, self.seconds, self.decided = files, verdict, seconds, decided

    @property
    def directory(self) -> Path:
        """The build directory."""
        return self._files.directory

    @property
    def manifest(self) -> Manifest:
        """Layers, errors, accuracy, latency, sizes and versions, as the build recorded them."""
        return self._files.manifest

    @property
    def report(self) -> Path:
        """The page of the build."""
        return self._files.path("report.html")

    def run(self, samples: Any, *, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Return the outputs on whole sequences, by name.

        Parameters
        ----------
        samples
            ``(batch, time, ...)``, or one such array per input name; tensors are taken, too.
        threads
            Threads within an operator.

        Raises
        ------
        Error
            If a name, dtype, shape or length does not fit.
        """
        from ssm2edge.runtime import Model

        with Model(self.directory, threads=threads) as model:
            return model.run(_arrays(samples))

    def stream(self, batch: int = 1, *, threads: int = 1) -> Stream:
        """Open a stream, to be used in a ``with`` statement: ``push`` samples as they come.

        Raises
        ------
        Error
            If the model cannot stream; the sentence gives the reason.
        """
        from ssm2edge.runtime import Stream

        return Stream(self.directory, batch, threads=threads)

    def verify(self, *, threads: int = 1, progress: Callable[[str], None] | None = None) -> Verified:
        """Run every check on the directory, without torch and without the model's code."""
        from ssm2edge.artifact import open_artifact
        from ssm2edge.tables.results import Verified
        from ssm2edge.verification import Subject, time_graphs, verify

        files = open_artifact(self.directory)
        verdict = verify(files, threads=threads, progress=progress)
        return Verified(files.manifest, verdict, time_graphs(Subject.of(files, threads=threads)))

    def bench(self, *, threads: int | Sequence[int] = 1, seconds: float = 10.0) -> Measured:
        """Measure latency, throughput and memory here; ``seconds`` is the most that one comparison takes."""
        from ssm2edge.tables.results import Measured
        from ssm2edge.verification import Subject
        from ssm2edge.verification.bench import bench

        found = bench(Subject.of(self._files), threads=(threads,) if isinstance(threads, int) else tuple(threads), budget=seconds)
        return Measured(self.directory, self.manifest, found)

    def compare(self, baseline: Artifact | str | os.PathLike[str], *, policy: Policy | None = None, threads: int = 1) -> Compared:
        """Compare sizes, costs, errors, accuracy and latency with a baseline, as ``ssm2edge check`` does.

        Parameters
        ----------
        baseline
            An artifact, its directory, or its ``manifest.json``.
        policy
            Limits, as ``ssm2edge.verification.gate.read_policy`` reads them.
        threads
            Threads within an operator.
        """
        from ssm2edge.tables.results import Compared
        from ssm2edge.verification.gate import Policy, compare, open_baseline

        place = baseline.directory if isinstance(baseline, Artifact) else baseline
        return Compared(compare(self._files, open_baseline(place), policy or Policy(), threads=threads))

    def show(self, console: Any) -> None:
        """Print layers, accuracy and latency."""
        from ssm2edge.tables.artifact import show_artifact

        show_artifact(console, self.directory, self.manifest)

    def __repr__(self) -> str:
        return f"Artifact({str(self.directory)!r})"

    def __str__(self) -> str:
        from ssm2edge.tables.results import text_of

        return text_of(self.show)

    def _repr_html_(self) -> str:
        from ssm2edge.tables.results import html_of

        return html_of(self.show)


def artifact_of(built: Built) -> Artifact:
    """Return the artifact of a build."""
    from ssm2edge.artifact import Artifact as Files

    return Artifact(Files(built.directory, built.manifest), built.verdict, built.seconds, built.decided)


def _arrays(samples: Any) -> Any:
    """Return arrays of tensors, without importing torch."""
    if isinstance(samples, Mapping):
        return {name: _arrays(value) for name, value in samples.items()}
    if not hasattr(samples, "detach"):
        return samples
    try:
        return samples.detach().cpu().numpy()
    except TypeError as fault:
        raise UserError(f"The samples are {samples.dtype}, which numpy does not have: convert them first, .float().") from fault
