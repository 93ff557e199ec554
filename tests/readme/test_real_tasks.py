"""The tables in the READMEs of models/f16 and models/imdb: of the stored figures, of the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import f16_table, imdb_table
from scripts.reproduce_tables import digest

MODELS = imdb_table.MODEL_DIRECTORY.parent
REVIEWS = ("imdb", *imdb_table.OTHERS)


def table_of(name: str) -> str:
    """The table of a model as it should stand in its README."""
    if name == "f16":
        return f16_table.markdown(f16_table.stored())
    return imdb_table.markdown(imdb_table.all_figures(MODELS / name / "results"), others=name == "imdb")


@pytest.mark.parametrize("name", ["f16", *REVIEWS])
def test_readme_has_the_table_of_the_shipped_weights(name: str) -> None:
    directory = MODELS / name
    file = f16_table.RESULTS if name == "f16" else directory / "results" / imdb_table.RESULTS.name
    assert json.loads(file.read_text(encoding="utf-8"))["weights"] == digest(directory / "weights.safetensors")
    assert table_of(name) in (directory / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["spoken", "spoken_waveform"])
def test_spoken_readme_has_the_accuracy_of_every_method_at_an_eighth(name: str) -> None:
    directory = MODELS / name
    figures = json.loads((directory / "results" / "tables.json").read_text(encoding="utf-8"))
    assert figures["weights"] == digest(directory / "weights.safetensors")
    readme = " ".join((directory / "README.md").read_text(encoding="utf-8").split())
    cells = {key.split()[0]: cell["value"] for key, cell in figures["cells"].items() if key.endswith(" 1/8")}
    assert "match" in cells
    for way, value in cells.items():
        assert f"`{way}` {value:.4f}" in readme
    assert f"the original has {figures['original']['value']:.4f}" in readme


@pytest.mark.parametrize("name", REVIEWS)
def test_readme_has_the_accuracy_on_the_test_part(name: str) -> None:
    directory = MODELS / name
    figures = json.loads((directory / "results" / "training.json").read_text(encoding="utf-8"))
    readme = " ".join((directory / "README.md").read_text(encoding="utf-8").split())
    every = "all " if figures["reviews"] == 25_000 else ""
    assert f"right on {figures['accuracy']:.4f} of {every}{figures['reviews']:,} test reviews" in readme


def test_fewest_modes_lie_between_what_was_too_few_and_what_sufficed() -> None:
    cells = {f"balanced {modes}": [float(modes)] * 3 for modes in (100, 50, 25, 37, 31)} | {"modal 99": [0.0] * 3}
    assert f16_table.bracket(cells, "balanced", 33.0) == (31, 37)
    assert f16_table.bracket(cells, "modal", 1.0) == (99, 100)
    assert f16_table.bracket({}, "modal", 1.0) == (0, 100)


def test_models_trained_with_a_regulariser_stand_beside_the_published_figures() -> None:
    plain = {"original": [100.0] * 3, "cells": {"balanced 72": [99.5] * 3, "balanced 71": [98.0] * 3}}
    hankel = {"original": [90.0] * 3, "cells": {"balanced 10": [89.5] * 3, "balanced 9": [80.0] * 3, "modal 50": [10.0] * 3}}
    table = f16_table.markdown({"no regulariser": plain, "hankel": hankel})
    assert "| `balanced` | 28 | 28 | 99.50 |" in table
    assert "| `balanced` | 90 | 89 |" in table
    assert "| `modal` | fewer than 50 | 18 |" in table


def test_points_lost_stand_with_their_interval_and_all_parameters_are_counted() -> None:
    cell = {"accuracy": 0.87, "standard_error": 0.004, "parameters": 1234}
    figures = {"original": 0.88, "reviews": 1000, "parameters": 5678, "cells": {"match 4": cell}}
    table = imdb_table.markdown(figures)
    # 1.96 standard errors to each side.
    assert "| `match` | 0.8700 (1.0 ± 0.8) |" in table
    assert "5,678; 1,234 at 4 states" in table
    assert "| `match` | 0.8700 (1.00 ± 0.78) |" in imdb_table.markdown(figures | {"reviews": 10_000})
    assert "88.24, of 88.88" in table


def test_one_table_holds_what_several_runs_measured_on_the_same_reviews(tmp_path: Path) -> None:
    cell = {"accuracy": 0.87, "standard_error": 0.004, "parameters": 1234}
    shared = {"weights": "abc", "original": 0.88, "reviews": 25_000, "parameters": 5678}
    for file, way in ((imdb_table.RESULTS.name, "match"), (imdb_table.AFTER.name, "match retrained")):
        (tmp_path / file).write_text(json.dumps(shared | {"cells": {f"{way} 4": cell}}), encoding="utf-8")
    table = imdb_table.markdown(imdb_table.all_figures(tmp_path))
    assert "| `match` | 0.8700" in table
    assert "| `match retrained` | 0.8700" in table
    (tmp_path / imdb_table.DRAWN).write_text(json.dumps(shared | {"reviews": 5000, "cells": {}}), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"without-data\.json is of other weights or other reviews"):
        imdb_table.all_figures(tmp_path)


def test_a_folder_keeps_what_one_set_of_settings_made(tmp_path: Path) -> None:
    file = tmp_path / "abc-settings.json"
    for _ in range(2):
        imdb_table.keep_to(file, {"steps": 60, "batch": 16})
    with pytest.raises(SystemExit, match=r"what --steps 60, --batch 16 made; .*for --steps 300, --batch 16"):
        imdb_table.keep_to(file, {"steps": 300, "batch": 16})
