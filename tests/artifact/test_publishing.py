"""An artifact is there whole or not at all, whatever happens while it is made."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssm2edge.artifact import ArtifactError, open_artifact, seal, staging
from tests.first_order import build, manifest, reference


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def fail_halfway(place: Path, fault: BaseException, force: bool = False) -> None:
    """A build that fails after its first file."""
    with staging(place, force=force) as folder:
        (folder / "offline.onnx").write_bytes(b"half")
        raise fault


def build_twice_at_once(place: Path) -> None:
    """A build during which another one ends, at the same place."""
    with staging(place) as folder:
        build(place, block=7)
        seal(folder, manifest(reference(True), None, 4))


def test_what_was_sealed_can_be_opened_and_nothing_else_is_left(tmp_path: Path) -> None:
    directory = build(tmp_path / "a" / "b" / "build")
    artifact = open_artifact(directory)
    assert sorted(artifact.manifest.files) == ["offline.onnx", "reference.npz", "stream.onnx"]
    assert listing(tmp_path) == sorted(["a", "b", "build", "manifest.json", *artifact.manifest.files])
    umask = os.umask(0)
    os.umask(umask)
    assert directory.stat().st_mode & 0o777 == 0o777 & ~umask


def test_the_place_is_empty_until_the_end(tmp_path: Path) -> None:
    with staging(tmp_path / "build") as folder:
        assert folder.parent == tmp_path
        assert not (tmp_path / "build").exists()
        seal(folder, manifest(reference(True), None, 4))
    assert (tmp_path / "build").is_dir()


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("force", [True, False])
def test_any_fault_leaves_nothing_behind(tmp_path: Path, fault: type[BaseException], force: bool) -> None:
    with pytest.raises(fault):
        fail_halfway(tmp_path / "a" / "b" / "build", fault(), force)
    assert listing(tmp_path) == []


def test_a_fault_leaves_the_old_artifact_as_it_was(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        fail_halfway(directory, KeyboardInterrupt(), force=True)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_what_was_not_sealed_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not published"), staging(tmp_path / "build") as folder:
        (folder / "offline.onnx").write_bytes(b"graph")
    assert listing(tmp_path) == []


def test_force_replaces_an_artifact_and_only_that(tmp_path: Path) -> None:
    directory = build(tmp_path / "build", block=4)
    with pytest.raises(ArtifactError, match="--force"):
        build(directory, block=7)
    build(directory, block=7, force=True)
    assert open_artifact(directory).manifest.streaming.block == 7
    assert [path.name for path in tmp_path.iterdir()] == ["build"]

    (directory / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes\.txt"):
        build(directory, force=True)
    assert (directory / "notes.txt").read_text() == "mine"


def test_force_does_not_replace_what_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, said in (("thesis", "not an ssm2edge artifact"), ("file", "is a file")):
        with pytest.raises(ArtifactError, match=said):
            build(tmp_path / name, force=True)
    assert listing(tmp_path) == ["chapter.tex", "file", "thesis"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="exists already"):
        build(tmp_path / "empty")
    build(tmp_path / "empty", force=True)


def test_force_follows_a_link_to_the_artifact(tmp_path: Path) -> None:
    build(tmp_path / "build", block=4)
    (tmp_path / "current").symlink_to("build")
    build(tmp_path / "current", block=7, force=True)
    assert (tmp_path / "current").is_symlink()
    assert open_artifact(tmp_path / "build").manifest.streaming.block == 7


def test_two_builds_to_one_place_leave_one_whole_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="appeared"):
        build_twice_at_once(tmp_path / "build")
    assert open_artifact(tmp_path / "build").manifest.streaming.block == 7
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtifactError, match="cannot be made"):
        build(tmp_path / "file" / "deep" / "build")
    assert listing(tmp_path) == ["file"]
    with pytest.raises(ArtifactError, match="cannot be written"):
        build(tmp_path / "file" / "build")
    assert listing(tmp_path) == ["file"]


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files is a full disk that any user can have.
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(ArtifactError, match="no space left"), staging(tmp_path / "build") as folder:
            (folder / "offline.onnx").write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(ArtifactError, match="no space left"), staging(tmp_path / "build"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert listing(tmp_path) == []


BUILDER = """
import sys
from pathlib import Path
from tests.first_order import build
place = Path(sys.argv[1])
print("ready", flush=True)
while True:
    build(place, block=4, force=True)
    build(place, block=7, force=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_there_is_a_whole_artifact_or_none(tmp_path: Path) -> None:
    place = tmp_path / "build"
    generator = random.Random(0)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", BUILDER, str(place)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(generator.uniform(0.0, 0.15))
            process.kill()
        if place.exists():
            assert open_artifact(place).manifest.streaming.block in (4, 7)
    # The next build clears away what the killed ones left beside the place.
    build(place, block=4, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_leftovers_of_a_living_build_are_not_touched(tmp_path: Path) -> None:
    with staging(tmp_path / "build") as folder:
        build(tmp_path / "other")
        with pytest.raises(KeyboardInterrupt), staging(tmp_path / "build"):
            raise KeyboardInterrupt
        assert folder.is_dir()
        seal(folder, manifest(reference(True), None, 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "other"]
