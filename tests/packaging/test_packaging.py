"""The installed package: importing it is cheap, and its data are part of it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import try_wheel

PYTHON = Path(sys.executable)


def test_importing_the_package_imports_nothing_heavy() -> None:
    found = try_wheel.imported(PYTHON, "import ssm2edge", try_wheel.ROOT)
    assert "ssm2edge" in found
    assert found.isdisjoint(try_wheel.HEAVY)


def test_heavy_imports_are_seen() -> None:
    assert "onnxruntime" in try_wheel.imported(PYTHON, "import onnxruntime", try_wheel.ROOT)


def test_every_file_of_the_package_is_installed() -> None:
    """Files of a package that are no modules are named as its data."""
    files = try_wheel.package_files(try_wheel.ROOT)
    package = try_wheel.ROOT / "ssm2edge"
    patterns = tomllib.loads((try_wheel.ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ssm2edge"]
    data = {path.relative_to(try_wheel.ROOT).as_posix() for pattern in patterns for path in package.glob(pattern)}
    modules = {name for name in files if name.endswith(".py") and (try_wheel.ROOT / name).with_name("__init__.py").exists()}
    assert files == modules | data
