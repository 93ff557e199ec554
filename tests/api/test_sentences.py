"""Sentences name what the user gave: arguments of functions in Python, options on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ssm2edge
from models.digits.model import S4D
from ssm2edge.errors import Error, UserError
from ssm2edge.options import as_arguments
from ssm2edge.stages.converging import converging
from tests.command_line import call
from tests.model_directories import model_directory

SENTENCES = {
    "ask for --calibrate spectrum.": 'ask for calibrate="spectrum".',
    "or --calibrate none, please": 'or calibrate="none", please',
    "name it with --samples, or not": "name it with samples, or not",
    "choose another --method or order": "choose another method or order",
    "say with --static mask that it does not run": 'say with static=["mask"] that it does not run',
    "name it with --lti blocks.*.ssm.": 'name it with lti=["blocks.*.ssm"].',
    "with --lti, or": "with lti, or",
    "replace it with --force.": "replace it with force=True.",
    "take --block 4; --keep 0.5.": "take block=4; keep=0.5.",
    "--max-error-of measured.": 'max_error_of="measured".',
    "say --horizon inf": 'say horizon="inf"',
    "where --time-axis stands": "where time_axis stands",
    "an em-dash -- or a - sign": "an em-dash -- or a - sign",
}


@pytest.mark.parametrize("text", SENTENCES)
def test_options_become_arguments(text: str) -> None:
    assert as_arguments(text) == SENTENCES[text]


def test_errors_carry_both_forms() -> None:
    error = UserError("Give --samples.")
    assert (str(error), error.commanded) == ("Give --samples.", "Give --samples.")
    for _ in range(2):
        error.name_arguments(as_arguments)
    assert (str(error), error.commanded) == ("Give samples.", "Give --samples.")


def test_python_names_arguments_and_the_command_line_options(tmp_path: Path) -> None:
    directory = model_directory(tmp_path / "model")
    given: dict[str, Any] = {"max_loss": 1.0, "time_axis": 1}
    arrays = {key: value for key, value in np.load(directory / "samples.npz").items() if key != "labels"}
    np.savez(directory / "samples.npz", **arrays)
    with pytest.raises(Error) as caught:
        ssm2edge.build(str(directory), out=tmp_path / "out", **given)
    assert "--" not in str(caught.value)
    assert "leave max_loss out" in str(caught.value)
    refused = call("build", directory, "--out", tmp_path / "out", "--max-loss", "1")
    assert refused.exit_code == 2
    assert "leave --max-loss out" in refused.stderr
    assert refused.stderr == f"ssm2edge: {caught.value.commanded}\n"


def test_a_model_without_layers_is_refused_in_pythons_words() -> None:
    with pytest.raises(Error) as caught:
        ssm2edge.inspect(nn.Linear(2, 2), torch.randn(4, 8, 2))
    assert "with lti" in str(caught.value)
    assert not re.search(r"--\w", str(caught.value))


@pytest.mark.parametrize(
    "fault",
    [
        lambda: torch.linalg.cholesky(-torch.eye(2)),
        lambda: torch.linalg.eig(torch.full((2, 2), torch.nan)),
        lambda: torch.linalg.svd(torch.full((2, 2), torch.nan)),
        lambda: np.linalg.eig(np.full((2, 2), np.nan)),
        lambda: np.linalg.cholesky(-np.eye(2)),
    ],
)
def test_matrices_that_do_not_converge_are_one_sentence(fault: Any) -> None:
    with pytest.raises(UserError, match="did not converge") as caught, converging():
        fault()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="mine"), converging():
        raise RuntimeError("mine")


def test_eigenvalues_that_do_not_converge_end_a_call_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise torch.linalg.LinAlgError("linalg.eig: The algorithm failed to converge.")

    monkeypatch.setattr(torch.linalg, "eigh", never)
    monkeypatch.setattr(torch.linalg, "eigvals", never)
    monkeypatch.setattr(torch.linalg, "eig", never)
    monkeypatch.setattr(torch.linalg, "svd", never)
    with pytest.raises(UserError, match=r"did not converge.*another method or order"):
        ssm2edge.compress(nn.Sequential(S4D(4, 6)).eval(), order=2, method="balanced")
