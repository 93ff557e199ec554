"""Options of a build: build.toml may give every one of them, the command line wins, and a manifest's can be given again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ssm2edge.loading import open_source
from ssm2edge.options import SIZES, TABLE, BuildOptions, Options, described, options_from
from tests.model_directories import BUILD, model_directory

GIVEN: dict[str, tuple[str, Any]] = {
    "order": ("3", 3),
    "keep": ("0.25", 0.25),
    "max_error": ("0.1", 0.1),
    "max_error_of": ('"bound"', "bound"),
    "max_drop": ("1", 1),
    "max_bytes": ('"96k"', "96k"),
    "max_ram": ("8000", 8000),
    "max_latency": ("12.5", 12.5),
    "confidence": ("0.9", 0.9),
    "max_loss": ("2.5", 2.5),
    "method": ('"modal"', "modal"),
    "block": ("4", 4),
    "length": ("24", 24),
    "horizon": ('"inf"', None),
    "calibrate": ('"match"', "match"),
    "calibration_steps": ("7", 7),
    "retrain": ('"package.training:retrain"', "package.training:retrain"),
    "seed": ("5", 5),
    "plan": ('{ "layers.*" = "sequence:28+elementwise:8" }', {"layers.*": "sequence:28+elementwise:8"}),
    "device": ('"cuda"', "cuda"),
    "feedthrough": ('"own"', "own"),
    "precision": ('"int4"', "int4"),
}
"""By option: what build.toml says, and what is meant."""


def options_of(place: Path, text: str, **given: Any) -> Options:
    source = model_directory(place / "model", BUILD.replace('order = 6\ncalibrate = "none"', text))
    return options_from(open_source(str(source)).defaults, given)


def test_every_option_is_known_to_build_toml() -> None:
    assert {field.name for field in fields(Options)} == set(TABLE) == set(BuildOptions.__annotations__) == set(GIVEN)


@pytest.mark.parametrize("name", GIVEN)
def test_build_toml_gives_any_option(tmp_path: Path, name: str) -> None:
    text, meant = GIVEN[name]
    assert getattr(options_of(tmp_path, f"{name} = {text}"), name) == meant


@pytest.mark.parametrize("name", sorted(set(GIVEN) - {"horizon"}))
def test_the_command_line_wins(tmp_path: Path, name: str) -> None:
    text, _ = GIVEN[name]
    assert getattr(options_of(tmp_path, f"{name} = {text}", **{name: "said"}), name) == "said"


def test_a_size_on_the_command_line_takes_the_place_of_any_other(tmp_path: Path) -> None:
    options = options_of(tmp_path, "order = 3", keep=0.5)
    assert (options.order, options.keep) == (None, 0.5)


@pytest.mark.parametrize("size", SIZES)
def test_options_of_a_manifest_can_be_given_again(tmp_path: Path, size: str) -> None:
    others = [f"{name} = {text}" for name, (text, _) in GIVEN.items() if name not in SIZES]
    options = options_of(tmp_path, "\n".join([f"{size} = {GIVEN[size][0]}", *others]))
    told = described(options, None)
    again = tmp_path / "again"
    again.mkdir()
    source = model_directory(again / "model")
    lines = [f"{key} = {GIVEN[key][0]}" for key in told]
    assert all(told[key] == (GIVEN[key][1] if key != "horizon" else "inf") for key in told)
    (source / "build.toml").write_text(BUILD.replace('order = 6\ncalibrate = "none"', "\n".join(lines)))
    once_more = options_from(open_source(str(source)).defaults, {})
    assert described(once_more, None) == told
