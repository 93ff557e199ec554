"""Arguments of the functions of the door: how errors name them, and what is refused before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ssm2edge.errors import Error, UserError

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def naming_arguments(function: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """Let the errors of a function name its arguments, where they would name options of the command line."""

    @wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        try:
            return function(*args, **kwargs)
        except Error as error:
            from ssm2edge.options import as_arguments

            error.name_arguments(as_arguments)
            raise

    return called


def pipeline_of() -> Any:
    try:
        from ssm2edge import pipeline
    except ModuleNotFoundError as missing:
        raise UserError(f"This needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'.") from missing
    return pipeline


def check_model(model: object) -> None:
    """Refuse what is neither a module nor a place."""
    from torch import nn

    if not isinstance(model, nn.Module | str | os.PathLike):
        raise UserError(f"The model is a {type(model).__name__}; give a torch.nn.Module, a model directory or file.py:function.")


def check_axis(time_axis: object) -> None:
    if time_axis is not None and (type(time_axis) is not int or time_axis < 1):
        raise UserError(f"The time axis is {time_axis!r}; it must be a whole number of at least 1, for the batch is axis 0.")


def check_names(options: Mapping[str, Any]) -> None:
    from ssm2edge.options import TABLE

    unknown = next((name for name in options if name not in TABLE), None)
    if unknown is not None:
        raise UserError(f"There is no option {unknown}; the options are {', '.join(TABLE)}.")


def known_of(samples: Any, held_out: Any, shape: Any, scale: Any) -> dict[str, Any]:
    """Return the fields of a source that say what is known of inputs without samples."""
    from ssm2edge.signals.shape import scales_of, shapes_of

    if shape is not None and (samples is not None or held_out is not None):
        raise UserError("There are samples and a shape in place of samples; give one of them.")
    return {"shapes": {} if shape is None else shapes_of(shape), "scales": scales_of(scale)}


def path_of(given: Any) -> Path | None:
    return None if given is None else Path(given)
