"""The word recogniser, and the folder of it for the web: built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import call
from tests.conftest import few_turns

MODELS = Path(__file__).resolve().parent.parent.parent / "models"


@pytest.fixture(scope="session")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of models/keywords at an eighth of its states, reduced in a few seconds."""
    place = tmp_path_factory.mktemp("keywords") / "keywords"
    quick = ("--order", 8, "--method", "balanced", "--calibrate", "none")
    with few_turns():
        result = call("build", MODELS / "keywords", "--out", place, *quick, "--json")
    assert result.exit_code == 0, result.output
    return place


@pytest.fixture(scope="session")
def keywords_web(keywords: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the web of `keywords`."""
    place = tmp_path_factory.mktemp("web") / "keywords"
    result = call("package", keywords, "--target", "web", "--out", place)
    assert result.exit_code == 0, result.output
    return place
