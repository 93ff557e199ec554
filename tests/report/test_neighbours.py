"""Artifacts of the same model beside a place are what was tried; anything else there is left out."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from ssm2edge.artifact import open_artifact
from ssm2edge.cli import main
from ssm2edge.stages.report import neighbours
from tests.first_order import build


def test_only_artifacts_of_the_same_source_are_neighbours(tmp_path: Path) -> None:
    for name in ("small", "large", "here", ".hidden"):
        build(tmp_path / name)
    other = build(tmp_path / "other model") / "manifest.json"
    value = json.loads(other.read_text())
    value["source"]["sha256"] = {"first_order.py": "1" * 64}
    del value["seal"]
    other.write_text(json.dumps(value))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (build(tmp_path / "older") / "manifest.json").write_text('{"schema": 1}')
    manifest = open_artifact(tmp_path / "here").manifest
    assert [name for name, _ in neighbours(manifest, tmp_path / "here")] == ["large", "small"]
    assert neighbours(manifest, tmp_path / "thesis" / "alone") == []


def test_the_report_refuses_artifacts_of_another_model(tmp_path: Path) -> None:
    build(tmp_path / "mine")
    build(tmp_path / "same")
    other = build(tmp_path / "other") / "manifest.json"
    value = json.loads(other.read_text())
    value["layers"][0]["order_before"] += 1
    del value["seal"]
    other.write_text(json.dumps(value))
    arguments = ["report", str(tmp_path / "mine"), "--output", str(tmp_path / "page.html")]
    refused = CliRunner().invoke(main, [*arguments, "--with", str(tmp_path / "other")])
    assert refused.exit_code == 2
    assert "another model" in refused.stderr
    assert not (tmp_path / "page.html").exists()
    assert "another model" not in CliRunner().invoke(main, [*arguments, "--with", str(tmp_path / "same")]).stderr
