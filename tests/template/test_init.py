"""What `ssm2edge init` writes builds as it is, without an option; and nothing of the user's is ever overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import call
from tests.model_directories import BUILD, model_directory, samples

pytestmark = pytest.mark.usefixtures("brief_latencies")


@pytest.mark.slow
def test_directory_builds_and_verifies_as_it_is(tmp_path: Path) -> None:
    written = call("init", tmp_path / "mine")
    assert written.exit_code == 0, written.stderr
    assert "make_samples.py" in written.stdout
    script = [sys.executable, str(tmp_path / "mine" / "make_samples.py")]
    made = subprocess.run(script, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    built = call("build", tmp_path / "mine", "--out", tmp_path / "build", "--calibration-steps", 5, "--json")
    assert built.exit_code == 0, built.stderr
    assert "0.125 of the states" in built.stderr
    manifest = json.loads(built.stdout)["manifest"]
    assert (manifest["options"]["keep"], manifest["options"]["calibrate"]) == (0.125, "match")
    assert manifest["streaming"]["available"] is True
    assert call("verify", tmp_path / "build").exit_code == 0


def test_init_tells_its_files_to_programs(tmp_path: Path) -> None:
    told = json.loads(call("init", tmp_path / "deep" / "mine", "--json").stdout)
    assert told["files"] == sorted(file.name for file in (tmp_path / "deep" / "mine").iterdir())


@pytest.mark.parametrize("kind", ["file", "full"])
def test_init_leaves_what_is_there(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "mine"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "model.py").write_text("mine")
    refused = call("init", place)
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert (place if kind == "file" else place / "model.py").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_empty_directory_is_filled(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    assert call("init", place).exit_code == 0
    assert (place / "build.toml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calibration", "said"), [(False, {"keep": 0.25, "calibrate": "match"}), (True, {"keep": 1 / 6, "calibrate": "spectrum"})]
)
def test_size_is_decided_by_the_samples_there_are(tmp_path: Path, calibration: bool, said: dict[str, object]) -> None:
    place = model_directory(tmp_path / "mine", BUILD.partition("[build]")[0])
    if not calibration:
        np.savez(place / "samples.npz", **{key: value for key, value in samples().items() if key != "calibration.pixels"})
    options = ("--calibrate", "spectrum") if calibration else ()
    built = call("build", place, "--out", tmp_path / "build", "--method", "balanced", "--json", *options)
    assert built.exit_code == 0, built.stderr
    assert "No size was given" in built.stderr
    # An eighth of six states would leave some channel without any.
    told = json.loads(built.stdout)["manifest"]["options"]
    assert {name: told[name] for name in ("keep", "calibrate") if name in told} == said
