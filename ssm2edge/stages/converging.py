"""Matrices whose eigenvalues, singular values or factors do not converge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ssm2edge.errors import UserError

BEGINNINGS = ("linalg.", "torch.linalg.")
"""Beginning of torch's text on matrices that are not finite."""


@contextmanager
def converging() -> Iterator[None]:
    """Turn the errors of linear algebra into a sentence for the user.

    Raises
    ------
    UserError
        If a computation on the matrices of a layer did not converge.
    """
    try:
        yield
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError) as error:  # type: ignore[attr-defined]  # public, and not in its __all__
        raise UserError(_sentence(error)) from error
    except RuntimeError as error:
        if not str(error).startswith(BEGINNINGS):
            raise
        raise UserError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return (
        f"The matrices of a layer are beyond float64: their eigenvalues or factors did not converge ({said}); look for huge or "
        "tiny weights, leave the layer out, or try another --method or order."
    )
