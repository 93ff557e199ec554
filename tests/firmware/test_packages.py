"""`package` and `verify --target`: a folder that passes its own test, figures in the manifest, sentences for faults."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware import package, verifying
from ssm2edge.firmware.cortex import BOARDS
from tests.command_line import call
from tests.first_order import build
from tests.model_directories import Built
from tests.streaming_graphs import needs_compiler

FILES = {"tiny.h", "tiny.c", "tiny_vectors.h", "main.c", "Makefile", "CMakeLists.txt", "README.md"}
CROSS = ("arm-none-eabi-gcc", "qemu-system-arm")


@pytest.fixture
def artifact(tiny_build: Built, tmp_path: Path) -> Path:
    shutil.copytree(tiny_build.place / "deep" / "out", tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_package_is_whole_and_says_its_sizes(artifact: Path, tmp_path: Path) -> None:
    result = call("package", artifact, "--target", "c", "--out", tmp_path / "firmware")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "firmware").iterdir()} == FILES
    page = (tmp_path / "firmware" / "README.md").read_text()
    for word in (
        "constants",
        "RAM of a stream",
        "multiply-adds",
        "tiny_step(&stream, ",
        open_artifact(artifact).manifest.files["stream.onnx"].sha256,
    ):
        assert word in page
    header = (tmp_path / "firmware" / "tiny.h").read_text()
    assert "#define TINY_BLOCK 4" in header
    assert "@" not in header


def test_a_folder_that_is_taken_stays_as_it_is(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "firmware"
    assert call("package", artifact, "--out", out).exit_code == 0
    again = call("package", artifact, "--out", out)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert call("package", artifact, "--out", out, "--force").exit_code == 0
    (out / "notes.txt").write_text("mine")
    refused = call("package", artifact, "--out", out, "--force")
    assert refused.exit_code == 2
    assert "notes.txt" in refused.stderr
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if "staging" in path.name] == []


def test_what_has_no_c_form_is_refused_in_one_sentence(artifact: Path, tmp_path: Path) -> None:
    build(tmp_path / "whole", mean=True, streams=False)
    for arguments in ((tmp_path / "whole",), (artifact, "--name", "2 words")):
        result = call("package", *arguments, "--out", tmp_path / "firmware")
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "firmware").exists()


@needs_compiler
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
@pytest.mark.slow
def test_a_package_passes_its_own_test(artifact: Path, tmp_path: Path) -> None:
    package(open_artifact(artifact), tmp_path / "firmware", "small_model")
    flags = "CFLAGS=-O2 -Wall -Wextra -Werror"
    done = subprocess.run(["make", "-C", tmp_path / "firmware", flags, "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "small_model: " in done.stdout


@needs_compiler
@pytest.mark.slow
def test_a_target_that_passes_is_recorded_and_sealed(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("verify", artifact, "--target", "c", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [check["name"] for check in told["checks"]] == ["c.references", "c.probes", "c.long"]
    recorded = open_artifact(artifact).manifest
    assert recorded.devices["c"].error == max(check["figure"] for check in told["checks"])
    assert recorded.devices["c"].seconds is not None
    assert recorded.devices["c"].stream == recorded.files["stream.onnx"].sha256
    assert call("verify", artifact).exit_code == 0
    monkeypatch.setattr(verifying, "LIMIT", 0.0)
    before = (artifact / "manifest.json").read_bytes()
    assert call("verify", artifact, "--target", "c").exit_code == 1
    assert (artifact / "manifest.json").read_bytes() == before


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in CROSS), reason=f"this machine lacks {' or '.join(CROSS)}")
@pytest.mark.parametrize("target", BOARDS)
@pytest.mark.slow
def test_an_emulated_core_gives_the_same_answers(artifact: Path, target: str) -> None:
    result = call("verify", artifact, "--target", target, "--json")
    assert result.exit_code == 0, result.output
    record = open_artifact(artifact).manifest.devices[target]
    assert record.flash is not None
    assert record.stack is not None
    assert record.instructions is not None
    assert 1000 < record.flash < 64_000
    assert 0 < record.stack < 1024
    assert record.stack + 200 < record.ram < 16_000
    # A step of four samples has some thousand multiply-adds; an instruction does at most one.
    assert 1000 < record.instructions < 100_000


def test_a_missing_tool_is_named(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for target, tool in (("c", "cc or gcc or clang"), ("cortex-m4", "arm-none-eabi-gcc")):
        monkeypatch.setattr(verifying, "LONG", 100)
        result = call("verify", artifact, "--target", target)
        assert result.exit_code == 2
        assert tool in result.stderr
