"""Pages about artifacts: every file, key and check of one has its place in them, and their Python runs on one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssm2edge.artifact import open_artifact
from ssm2edge.loading.source import KEYS
from ssm2edge.verification import verify
from tests.command_line import call
from tests.model_directories import BUILD, model_directory

pytestmark = pytest.mark.usefixtures("brief_latencies")

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS, VERIFICATION = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("formats.md", "verification.md"))
ABSENT_HERE = {
    "offline.allowed_error",
    "budget.bytes",
    "budget.ram",
    "budget.latency",
    "nrmse",
    "live.original",
    "accuracy.<output>",
    "nrmse.<output>",
}
"""Checks of other artifacts: of one that is judged by its error, and of one whose original is run again."""


def section(text: str, title: str) -> str:
    """From a heading to the next one of its rank."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def told(text: str, column: int = 0) -> set[str]:
    """What stands in code type in a column of the tables."""
    rows = (line.split(" | ")[column].strip("| ") for line in text.splitlines() if line.startswith("| "))
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("built")
    source = model_directory(place / "model", BUILD + 'plan = { "layers.*" = "sequence:12+elementwise:2" }\n')
    result = call("build", source, "--out", place / "build" / "digits")
    assert result.exit_code == 0, result.output
    return place / "build" / "digits"


def test_every_key_of_build_toml_is_told() -> None:
    page = section(FORMATS, "The model directory")
    assert told(page) >= set(KEYS)
    assert told(page.partition("Samples are an npz")[0], column=1) == {key for keys in KEYS.values() for key in keys}


@pytest.mark.slow
def test_every_file_is_told(built: Path) -> None:
    assert told(section(FORMATS, "The build directory")) == {path.name for path in built.iterdir()}


@pytest.mark.slow
def test_every_key_of_a_graphs_metadata_is_told(built: Path) -> None:
    keys = {entry.key for name in ("offline", "stream") for entry in onnx.load(built / f"{name}.onnx").metadata_props}
    assert keys == told(section(FORMATS, "The graphs"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference.npz", "responses.npz"])
def test_every_key_of_an_archive_is_told(built: Path, name: str) -> None:
    layers = [layer.name for layer in open_artifact(built).manifest.layers]
    with np.load(built / name) as archive:
        general = set(archive.files)
    for place, names in (("<layer>", layers), ("<input>", ["pixels"]), ("<output>", ["output"])):
        general = {next((key.removesuffix(x) + place for x in names if key.endswith("." + x)), key) for key in general}
    documented = told(section(FORMATS, name))
    assert general <= documented
    # This model's outputs are linear, and it has one.
    assert documented - general <= {"original.quadratic.<layer>", "reduced.quadratic.<layer>", "labels.<output>"}


@pytest.mark.slow
def test_every_check_is_told(built: Path) -> None:
    names = {check.name for check in verify(built).checks}
    general = {re.sub(r"^(impulse|frequency|block)\..*", r"\1.<layer>", name) for name in names}
    assert general | ABSENT_HERE == told(VERIFICATION)


@pytest.mark.slow
def test_the_python_of_the_page_on_streaming_runs(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.parent.parent)
    page = "docs/streaming.md"
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    known: dict[str, object] = {"pixels": np.ones((2, 5, 1), np.float32)}
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), known)
    answers = [value for name, value in known.items() if name in ("logits", "running", "scores")]
    assert answers
    assert all(value.shape[-1] == 10 and value.dtype == np.float32 for value in answers if isinstance(value, np.ndarray))
