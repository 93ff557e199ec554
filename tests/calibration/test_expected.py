"""The time that calibration is expected to take is proportional to its work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssm2edge.calibration import expected
from ssm2edge.calibration.expected import match_seconds, pass_seconds, spectrum_seconds
from ssm2edge.calibration.signals import Signals
from ssm2edge.systems.system import System, siso_bank


class _Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.samples = 0

    def answer(self, u: Tensor) -> tuple[Tensor]:
        self.samples += len(u)
        return (u,)


def test_one_batch_is_run_twice_to_know_the_time_of_a_sample() -> None:
    counted = _Counted()
    of_pass, of_kernels = pass_seconds(counted, Signals([torch.zeros(40, 8)], 4, 8))  # type: ignore[arg-type]  # what is called of a teacher
    assert of_pass > 0
    assert of_kernels >= 0
    assert counted.samples == 8


def test_matching_takes_what_its_steps_and_samples_take() -> None:
    assert match_seconds(0.1, 0, 20, 8) == 2 * match_seconds(0.1, 0, 20, 4) == 4 * match_seconds(0.1, 0, 10, 4)
    assert match_seconds(0.1, 30, 20, 4) > match_seconds(0.1, 10, 20, 4)


def test_fits_count_in_layers_that_are_reduced_alone() -> None:
    generator = torch.Generator().manual_seed(0)

    def bank(order: int) -> System:
        poles = torch.rand(4, order, generator=generator, dtype=torch.float64).to(torch.complex128) * 0.9
        return siso_bank(poles, torch.ones_like(poles), torch.zeros(4, dtype=torch.float64))

    whole, half = bank(8), bank(4)
    kept = spectrum_seconds(0.0, 0.0, {"a": whole}, {"a": whole}, 10, 256)
    fitted = spectrum_seconds(0.0, 0.0, {"a": whole}, {"a": half}, 10, 256)
    assert kept == 0.0 < fitted
    assert spectrum_seconds(1.0, 0.0, {"a": whole}, {"a": whole}, 10, 256) == expected.SPECTRUM_PASSES * 10
