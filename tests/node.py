"""Scripts in Node, and what they print as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssm2edge.firmware.sources import template
from ssm2edge.firmware.web_module import FOLDER
from ssm2edge.firmware.web_package import SCRIPTS

TOOLS = ("clang", "wasm-ld", "node")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="this machine has no Node")
needs_web_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"this machine lacks one of {', '.join(TOOLS)}"
)

ONNXRUNTIME_WEB = os.environ.get("ONNXRUNTIME_WEB")
needs_onnxruntime_web = pytest.mark.skipif(
    ONNXRUNTIME_WEB is None, reason="ONNXRUNTIME_WEB does not name a folder of the npm package onnxruntime-web"
)


def scripts(folder: Path) -> Path:
    """A folder with the scripts that all models share."""
    folder.mkdir(exist_ok=True)
    for name in SCRIPTS:
        (folder / name).write_text(template(name, FOLDER), encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def node(folder: Path, script: str, *arguments: object) -> Any:
    """Return the output of a script beside a folder's module."""
    (folder / "try.mjs").write_text(script, encoding="utf-8")
    command = ["node", folder / "try.mjs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / "try.mjs").unlink()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
