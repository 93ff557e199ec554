"""Loads a file of weights into a model, under the names from training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.loading.wrappers import unwrapped


def load_weights(model: nn.Module, path: Path, trust_pickle: bool) -> None:
    """Load a file of weights into a model, in place.

    The names may have a prefix of wrappers and trainers (``module.``, ``_orig_mod.``, ``model.``), and other tensors, such as
    those of a loss, may be beside them.  For tensors that the model ties together, one in the file suffices.

    Raises
    ------
    UserError
        If the file cannot be read, or does not fit the model under one prefix alone.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the weights file.")
    weights = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, trust_pickle)
    holder, wanted = model, model.state_dict(keep_vars=True)
    fitting = _fitting(weights, wanted)
    if not fitting:
        holder = unwrapped(model)
        wanted = holder.state_dict(keep_vars=True)
        fitting = _fitting(weights, wanted)
    if len(fitting) > 1:
        raise UserError(
            f"{path} holds weights of this model under several prefixes ({', '.join(fitting[:3])}); save those of one alone."
        )
    named = _behind(fitting[0] if fitting else _closest(weights, wanted), weights)
    missing, extra = _missing(named, wanted), sorted(set(named) - set(wanted))
    if missing:
        raise UserError(
            f"{path} does not fit the model: it lacks {missing[0]}" + _more(missing) + "; give the weights of this model."
        )
    if extra:
        raise UserError(
            f"{path} does not fit the model: the model has no {extra[0]}" + _more(extra) + "; give the weights of this model."
        )
    for name, value in named.items():
        if value.shape != wanted[name].shape:
            raise UserError(
                f"{path} does not fit the model: {name} has shape {tuple(value.shape)}, the model's has "
                f"{tuple(wanted[name].shape)}; check the factory's arguments."
            )
    holder.load_state_dict(named, strict=False)


def _fitting(weights: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> list[str]:
    """Return the prefixes after which the names are the model's; the empty one alone if it is among them."""
    fitting = []
    for prefix in _prefixes(weights):
        named = _behind(prefix, weights)
        if named.keys() <= wanted.keys() and not _missing(named, wanted):
            fitting.append(prefix)
    return [""] if "" in fitting else fitting


def _prefixes(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes of the names, at every depth."""
    found = {"": None}
    for name in weights:
        parts = name.split(".")[:-1]
        found |= {".".join(parts[: i + 1]) + ".": None for i in range(len(parts))}
    return list(found)


def _behind(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _missing(named: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of the model that the weights lack, even under the name of a tied tensor."""
    said = {id(value) for name, value in wanted.items() if name in named}
    return sorted(name for name, value in wanted.items() if name not in named and id(value) not in said)


def _closest(weights: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> str:
    """Return the prefix after which most names are the model's; of equals the shortest."""
    return max(_prefixes(weights), key=lambda prefix: (len(_behind(prefix, weights).keys() & wanted.keys()), -len(prefix)))


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({first_line(error)}); save the weights again.") from error


def _read_torch(path: Path, trust_pickle: bool) -> Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:  # unpickling foreign bytes may raise anything
        if trust_pickle:
            raise UserError(
                f"{path} cannot be unpickled ({type(error).__name__}: {first_line(error)}); save model.state_dict()."
            ) from error
        raise UserError(
            f"{path} is not a torch file of plain weights; save it as safetensors, or allow running its code with --trust-pickle."
        ) from error
    if isinstance(content, nn.Module):
        return content.state_dict()
    if _is_state(content):
        return content  # type: ignore[no-any-return]  # just seen
    held = {name: value for name, value in content.items() if _is_state(value)} if isinstance(content, Mapping) else {}
    name = "state_dict" if "state_dict" in held else next(iter(held), None)
    if name is None:
        raise UserError(f"{path} holds no state dict; save model.state_dict().")
    if name != "state_dict" and len(held) > 1:
        raise UserError(f"{path} holds several state dicts ({', '.join(map(str, held))}); save the one of this model alone.")
    return held[name]  # type: ignore[no-any-return]  # a state dict, as seen


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(isinstance(v, Tensor) for v in value.values())


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for a sentence."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
