"""The code of the shipped models, imported by its path: they are no package, as a user's file is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def load_model_module(directory: Path) -> ModuleType:
    """Import ``model.py`` of a model directory."""
    spec = importlib.util.spec_from_file_location(f"{directory.name}_model", directory / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
