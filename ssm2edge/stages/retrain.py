"""The compressed model, trained further by the user's function: the second setting of Sakamoto and Sato (arXiv 2510.14542)."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.cache import Store, Weights, attributes, bytecode, key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.loading import baked
from ssm2edge.loading.code import loaded_code
from ssm2edge.loading.functions import beside, function_of, import_code, settings_kept
from ssm2edge.loading.weights import first_line
from ssm2edge.loading.wrappers import unwrapped
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.stages.budgets import excess_of
from ssm2edge.stages.compress import Compressed, compressed_already
from ssm2edge.stages.progress import Progress
from ssm2edge.workers import threads_for_users

SEED = "seed"
"""Name of the argument of a function that takes the seed of the build."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """A function of the user's that trains the compressed model.

    Attributes
    ----------
    named
        As the user names it.
    function, module
        The function, and the code that it is in.
    """

    named: str
    function: Callable[..., Any]
    module: ModuleType


def trainer_of(options: Options) -> Trainer | None:
    """Import the function to retrain with; None where nothing is retrained.

    Raises
    ------
    UserError
        If it cannot be imported.
    """
    if options.retrain is None:
        return None
    with settings_kept():
        module, name = import_code(options.retrain, Path(), "training function")
    return Trainer(options.retrain, function_of(module, name, options.retrain, "name the function that trains the model"), module)


def retrain(
    task: Task, found: Compressed, options: Options, trainer: Trainer, store: Store, progress: Progress
) -> tuple[Task, Compressed]:
    """Let the user's function train the compressed model, and read the reductions of what it returns.

    The function gets the module, in eval mode, its blocks in the layers' places, and the build's seed if it has an argument
    ``seed``.  It returns the trained module, or trains in place and returns None.  Finished trainings are kept by the weights
    that went in, the seed, and the function's file with its neighbours; data that it reads are not seen.

    Raises
    ------
    UserError
        If the function fails, or returns no such module with finite weights.
    """
    progress("retrain", 0.0)
    before, trainer = found.model, _of_the_models_file(trainer, found.model)
    form = (repr(before), attributes(before), bytecode(before))
    name = trainer.named.rpartition(":")[2]
    key = key_of(tool(), list(_tensors(before).items()), form, name, _code(trainer.module), options.seed)
    with beside(trainer.module), settings_kept():
        weights = store.kept(Weights(), key, lambda: _trained(trainer, found.model, options.seed))
    model = copy.deepcopy(found.model)
    # All tensors are there; what else modules may keep in their state is the copy's own.
    model.load_state_dict(weights, strict=False)
    task, trained = compressed_already(task, model.eval(), options, found.weights, excess_of(task, options))
    return task, dataclasses.replace(trained, matched=found.matched, selection=found.selection)


def _of_the_models_file(trainer: Trainer, model: nn.Module) -> Trainer:
    """Take the function from the code that made the model, where both are in one file: a second import has other classes."""
    home = sys.modules.get(type(model).__module__)
    files = [getattr(module, "__file__", None) for module in (home, trainer.module)]
    if home is None or None in files or len({Path(str(file)).resolve() for file in files}) > 1:
        return trainer
    return dataclasses.replace(trainer, function=getattr(home, trainer.named.rpartition(":")[2], trainer.function))


def _code(module: ModuleType) -> list[tuple[str, bytes]]:
    """Return the content of the Python files beside the function's, and of loaded ones below, or of its package's loaded ones."""
    package = (module.__package__ or "").partition(".")[0]
    if package:
        return list(loaded_code(None, [package]).items())
    folder = Path(str(module.__file__)).resolve().parent
    # A function may import its neighbours only while it runs.
    beside_it = {path.name: path.read_bytes() for path in sorted(folder.glob("*.py")) if path.is_file()}
    return sorted((loaded_code(folder) | beside_it).items())


def _trained(trainer: Trainer, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return the weights that the function leaves, under the model's names and in its precision."""
    named, given = trainer.named, copy.deepcopy(model).eval()
    # What the function prints is no part of the command's answer.
    with torch.random.fork_rng([]), torch.enable_grad(), threads_for_users(), redirect_stdout(sys.stderr):
        torch.manual_seed(seed)
        try:
            returned = trainer.function(given, **({SEED: seed} if _takes_seed(trainer.function) else {}))
        except (Exception, SystemExit) as error:  # the user's own code may raise anything, and leave
            raise UserError(f"{named} failed to train the model ({type(error).__name__}: {first_line(error)}).") from error
    result = given if returned is None else returned
    if not isinstance(result, nn.Module):
        raise UserError(f"{named} returned a {type(result).__name__}; it must return the model, or train it in place.")
    wanted, weights = _tensors(model), _tensors(baked(unwrapped(result).eval()))
    weights = {name: value.to(wanted[name].dtype).clone() if name in wanted else value for name, value in weights.items()}
    _check(weights, wanted, named)
    return weights


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict().items()
    return {name: value.detach().cpu().to_dense() for name, value in state if isinstance(value, Tensor)}


def _takes_seed(function: Callable[..., Any]) -> bool:
    try:
        return SEED in inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Functions of C may have no signature.
        return False


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
