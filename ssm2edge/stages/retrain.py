"""The compressed model, trained further by the user's function: the second setting of Sakamoto and Sato (arXiv 2510.14542)."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.cache import Store, Weights, attributes, bytecode, key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.loading.code import loaded_code
from ssm2edge.loading.functions import beside, function_of, import_code
from ssm2edge.loading.weights import first_line
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.stages.compress import Compressed, compressed_already
from ssm2edge.stages.progress import Progress
from ssm2edge.workers import threads_for_users

SEED = "seed"
"""Name of the argument of a function that takes the seed of the build."""


def retrain(task: Task, found: Compressed, options: Options, store: Store, progress: Progress) -> tuple[Task, Compressed]:
    """Let the user's function train the compressed model, and read the reductions of what it returns.

    The function gets the module, in eval mode, its blocks in the layers' places, and the build's seed if it has an argument
    ``seed``.  It returns the trained module, or trains in place and returns None.  Finished trainings are kept by the weights
    that went in, the seed, and the function's file with its neighbours; data that it reads are not seen.

    Raises
    ------
    UserError
        If the function cannot be imported or fails, or returns no such module with finite weights.
    """
    named = options.retrain
    assert named is not None
    progress("retrain", 0.0)
    module, name = import_code(named, Path(), "training function")
    function = function_of(module, name, named, "name the function that trains the model")
    before = found.model
    form = (repr(before), attributes(before), bytecode(before))
    key = key_of(tool(), list(before.state_dict().items()), form, name, _code(module), options.seed)
    with beside(module):
        weights = store.kept(Weights(), key, lambda: _trained(function, found.model, named, options.seed))
    model = copy.deepcopy(found.model)
    model.load_state_dict(weights)
    task, trained = compressed_already(task, model.eval(), options)
    return task, dataclasses.replace(trained, matched=found.matched, selection=found.selection)


def _code(module: ModuleType) -> list[tuple[str, bytes]]:
    """Return the content of the function's file and of loaded ones beside it, or of its package."""
    package = (module.__package__ or "").partition(".")[0]
    return list((loaded_code(None, [package]) if package else loaded_code(Path(str(module.__file__)).parent)).items())


def _trained(function: Callable[..., Any], model: nn.Module, named: str, seed: int) -> dict[str, Tensor]:
    """Return the weights that the function leaves, under the model's names."""
    given = copy.deepcopy(model).eval()
    arguments = {SEED: seed} if SEED in inspect.signature(function).parameters else {}
    # What the function prints is no part of the command's answer.
    with torch.random.fork_rng([]), torch.enable_grad(), threads_for_users(), redirect_stdout(sys.stderr):
        torch.manual_seed(seed)
        try:
            returned = function(given, **arguments)
        except (Exception, SystemExit) as error:  # the user's own code may raise anything, and leave
            raise UserError(f"{named} failed to train the model ({type(error).__name__}: {first_line(error)}).") from error
    result = given if returned is None else returned
    if not isinstance(result, nn.Module):
        raise UserError(f"{named} returned a {type(result).__name__}; it must return the model, or train it in place.")
    weights = {name: value.detach().cpu().clone() for name, value in result.state_dict().items()}
    _check(weights, model.state_dict(), named)
    return weights


def _check(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], named: str) -> None:
    """Raise an error for weights of another model, and for weights that are not finite."""
    for name, value in wanted.items():
        if name not in weights or weights[name].shape != value.shape:
            raise UserError(f"{named} returned a model whose {name} is gone or has another shape; train the model that it gets.")
        if bool(torch.isfinite(value).all()) and not bool(torch.isfinite(weights[name]).all()):
            raise UserError(f"{named} left NaN or infinite values in {name}; lower its learning rate.")
    extra = next((name for name in weights if name not in wanted), None)
    if extra is not None:
        raise UserError(f"{named} returned a model that has {extra} beside its own weights; train the model that it gets.")
