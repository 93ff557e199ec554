"""Kernel forms from the command line and from build.toml."""

from __future__ import annotations

import click
import pytest

from ssm2edge.cli.options import plan_of
from ssm2edge.options import Options, described


def test_layers_and_their_forms() -> None:
    assert plan_of(()) is None
    assert plan_of(("layers.0.s4=sequence:40+chunked:8", "*=elementwise")) == {
        "layers.0.s4": "sequence:40+chunked:8",
        "*": "elementwise",
    }


@pytest.mark.parametrize("text", ["layers.0", "layers.0=", "sequence:8"])
def test_what_names_no_form_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="LAYER=FORM"):
        plan_of((text,))


def test_a_build_says_which_forms_were_chosen() -> None:
    assert described(Options(order=1, plan={"*": "chunked"}), 5)["plan"] == {"*": "chunked"}
    assert "plan" not in described(Options(order=1), 5)
