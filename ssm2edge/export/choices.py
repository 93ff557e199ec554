"""The kernel forms that a user chooses for single layers, noted at the operators of a traced model."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import fx

from ssm2edge.layers import mimo_operators, operators
from ssm2edge.lowering.choice import parse_choice
from ssm2edge.traced.errors import ExportError
from ssm2edge.traced.nodes import module_name
from ssm2edge.traced.program import TracedModel

COEFFICIENTS = {operators.siso_bank._opoverload: 4, mimo_operators.mimo._opoverload: mimo_operators.MATRICES}
"""Arguments of each operator between its samples and the form."""

BLOCK_SUFFIX = ".block"


def choose_forms(traced: TracedModel, choices: Mapping[str, str]) -> None:
    """Note choices in a traced model, in place.

    Parameters
    ----------
    traced
        Its layers are our operators.
    choices
        By layer name, or a pattern such as ``layers.*``; what :func:`ssm2edge.lowering.choice.parse_choice` reads.

    Raises
    ------
    ExportError
        If a choice cannot be read, or no layer has that name.
    """
    if traced.free is not None:
        choose_forms(traced.free, choices)
    found = {node: layer_name(node) for node in traced.program.graph.nodes if node.target in COEFFICIENTS}
    for pattern, text in choices.items():
        try:
            parse_choice(text)
        except ValueError as error:
            raise ExportError(f"The plan of {pattern} cannot be read: {error}") from error
        matched = [node for node, name in found.items() if fnmatchcase(name, pattern)]
        if not matched:
            known = ", ".join(dict.fromkeys(found.values()))
            raise ExportError(f"The plan names {pattern}, but the layers are {known}.")
        for node in matched:
            node.args = (*node.args[: 1 + COEFFICIENTS[node.target]], text)


def layer_name(node: fx.Node) -> str:
    """Return the name of the layer that calls an operator."""
    name = module_name(node)
    return "" if name == BLOCK_SUFFIX[1:] else name.removesuffix(BLOCK_SUFFIX)
