"""Front end of models for sound: log-mel energies of overlapping windows, of whole recordings or as the samples come in.

Frame k covers samples ``[hop k, hop k + window)`` and is known with the last of them.  Energies are those of a Hann
window, normalised so that a full-scale sine is near one, summed over triangles that are equally spaced on O'Shaughnessy's mel
scale, with a floor under the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class LogMel:
    """Log-mel energies ``[frames, mels]`` of a signal ``[samples]``.

    Attributes
    ----------
    sample_rate
        Samples per second.
    window, hop
        Samples of a frame, and from one frame to the next.
    mels
        Energies of a frame, from 20 Hz to half the sample rate.
    floor
        Smallest energy.
    """

    sample_rate: int
    window: int
    hop: int
    mels: int
    floor: float = 1e-6

    @property
    def points(self) -> int:
        """Points of the Fourier transform: the next power of two."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def taper(self) -> NDArray[np.float32]:
        """The window, periodic, scaled so that a full-scale sine has a spectral peak of one."""
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        scaled: NDArray[np.float32] = (2 * hann / hann.sum()).astype(np.float32)
        return scaled

    @cached_property
    def filters(self) -> NDArray[np.float32]:
        """Weights ``[points / 2 + 1, mels]`` of the triangles, each 1 at its centre."""
        edges = _frequency(np.linspace(_mel(20.0), _mel(self.sample_rate / 2), self.mels + 2))
        bins = np.arange(self.points // 2 + 1)[:, None] * self.sample_rate / self.points
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        triangles: NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
        return triangles

    def frames(self, signal: Array) -> NDArray[np.float32]:
        """Return every whole frame of a signal; none if it is shorter than a window."""
        signal = np.asarray(signal, np.float32)
        if len(signal) < self.window:
            return np.zeros((0, self.mels), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(signal, self.window)[:: self.hop]
        spectrum = np.fft.rfft(windows * self.taper, self.points)
        energies = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self.filters
        logarithms: NDArray[np.float32] = np.log(np.maximum(energies, np.float32(self.floor)))
        return logarithms


@dataclass
class LogMelStream:
    """Frames as the samples come in, equal to those of the whole signal."""

    front_end: LogMel
    pending: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    skipped: int = 0
    """Coming samples that no frame covers, if the hop is longer than the window."""

    def push(self, samples: Array) -> NDArray[np.float32]:
        """Return the frames ``[frames, mels]``, perhaps none, that these samples complete."""
        samples = np.asarray(samples, np.float32)
        dropped = min(self.skipped, len(samples))
        pending = np.concatenate((self.pending, samples[dropped:]))
        frames = self.front_end.frames(pending)
        used = len(frames) * self.front_end.hop
        self.skipped += max(0, used - len(pending)) - dropped
        self.pending = pending[used:]
        return frames


def _mel(frequency: Any) -> Any:
    return 2595.0 * np.log10(1.0 + frequency / 700.0)


def _frequency(mel: Any) -> Any:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
