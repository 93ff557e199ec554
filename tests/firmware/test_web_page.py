"""The page for the web in headless Chromium: words of a file and of a microphone, scores of samples, sentences for refusals."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import Page, browser, served
from tests.command_line import call
from tests.firmware.conftest import MODELS
from tests.model_directories import LENGTH, Built
from tests.node import ONNXRUNTIME_WEB, needs_onnxruntime_web, needs_web_tools

WORDS = MODELS / "keywords" / "words.wav"
EXPECTED = ["yes", "left", "stop", "go"]
FAKE = (
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={WORDS}%noloop",
)
FIRST = 0.3
"""Seconds from opening a model to its first answer."""
pytestmark = [
    needs_web_tools,
    pytest.mark.skipif(browser() is None and not os.environ.get("CI"), reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,
]

LOAD = """
(async () => {
  const { Listener, mixed, readWav } = await import("./index.js");
  const samples = mixed(readWav(new Uint8Array(await (await fetch("words.wav")).arrayBuffer())).channels);
  const times = [];
  for (let turn = 0; turn < 5; ++turn) {
    const began = performance.now();
    let first = null;
    const onFrame = ({ scores }) => (first ??= scores && performance.now() - began);
    const listener = await Listener.open({ wasm: `./keywords.wasm?${turn}`, onFrame });
    await listener.push(samples);
    await listener.close();
    times.push(first / 1000);
  }
  return times;
})()
"""


@pytest.fixture(scope="module")
def address(keywords_web: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("served") / "keywords"
    shutil.copytree(keywords_web, place)
    shutil.copy(WORDS, place)
    with served(place) as found:
        yield found


def ready(page: Page, address: str, width: int = 1280, query: str = "") -> None:
    page.open(f"{address}/index.html{query}", width)
    page.until("!document.getElementById('controls').hidden")


def words(page: Page) -> list[str]:
    found: list[str] = page.run("[...document.querySelectorAll('#words strong')].map((word) => word.textContent)")
    return found


def status(page: Page) -> Any:
    return page.run("document.getElementById('status').textContent")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_words_of_a_file_are_right(address: str, tmp_path: Path, width: int) -> None:
    with Page(tmp_path) as page:
        ready(page, address, width)
        page.choose("#file", WORDS)
        page.until("document.getElementById('status').textContent.includes('heard in')")
        assert words(page) == EXPECTED
        assert page.run("[...document.querySelectorAll('#words small')].map((note) => note.textContent.slice(0, 16))") == [
            "0.99 s to 1.46 s", "2.34 s to 2.81 s", "3.59 s to 4.02 s", "4.84 s to 5.19 s",
        ]  # fmt: skip
        assert not page.run("document.documentElement.scrollWidth > innerWidth")
        assert painted(page) == 2
        assert page.console == []


def painted(page: Page) -> int:
    """The number of canvases with more than five colours."""
    script = """
[...document.querySelectorAll("canvas")].filter((canvas) => {
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size > 5;
}).length
"""
    found: int = page.run(script)
    return found


def test_the_first_answer_comes_at_once(address: str, tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        ready(page, address)
        times = page.run(LOAD)
        # Other work of this machine may delay one turn; each loads and compiles the module anew.
        assert min(times) <= FIRST, times


def test_a_microphone_is_heard(address: str, tmp_path: Path) -> None:
    with Page(tmp_path, *FAKE) as page:
        ready(page, address)
        page.run("document.getElementById('microphone').click()")
        page.until("document.querySelectorAll('#words li').length === 4", 60)
        assert words(page) == EXPECTED[::-1]
        page.run("document.getElementById('microphone').click()")
        page.until("document.getElementById('status').textContent === 'The microphone is off.'")
        assert page.console == []


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((), "There is no microphone here: choose a recording."),
        (
            ("--use-fake-device-for-media-stream", "--deny-permission-prompts"),
            "The microphone was refused: allow it for this page in the browser, or choose a recording.",
        ),
    ],
)
def test_without_a_microphone_the_page_says_so(address: str, tmp_path: Path, flags: tuple[str, ...], sentence: str) -> None:
    with Page(tmp_path, *flags) as page:
        ready(page, address)
        page.run("document.getElementById('microphone').click()")
        page.until("document.getElementById('status').classList.contains('bad')")
        assert status(page) == sentence
        page.choose("#file", WORDS)
        page.until("document.getElementById('status').textContent.includes('heard in')")
        assert words(page) == EXPECTED


@needs_onnxruntime_web
def test_onnxruntime_web_of_the_same_server_hears_the_same(address: str, tmp_path: Path, keywords_web: Path) -> None:
    place = tmp_path / "served"
    shutil.copytree(keywords_web, place)
    shutil.copytree(Path(str(ONNXRUNTIME_WEB)) / "dist", place / "ort")
    with served(place) as other, Page(tmp_path / "profile") as page:
        ready(page, other, query="?onnxruntime=ort/ort.wasm.bundle.min.mjs")
        page.choose("#file", WORDS)
        page.until("document.getElementById('status').textContent.includes('heard in')", 60)
        assert words(page) == EXPECTED


def test_an_address_runs_no_script_of_others(address: str, tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        page.open(f"{address}/index.html?onnxruntime=http://127.0.0.1:9/ort.mjs")
        page.until("document.getElementById('status').classList.contains('bad')")
        assert status(page) == "onnxruntime-web must lie on this page's own server."


def test_samples_are_drawn_and_others_taken(tiny_build: Built, tmp_path: Path) -> None:
    assert call("package", tiny_build.place / "deep" / "out", "--target", "web", "--out", tmp_path / "web").exit_code == 0
    samples = np.random.default_rng(1).standard_normal((LENGTH, 1)).astype(np.float32)
    np.savetxt(tmp_path / "samples.csv", samples)
    np.save(tmp_path / "samples.npy", samples[None])
    (tmp_path / "wrong.csv").write_text("1,2\n3\n")
    with served(tmp_path / "web") as address, Page(tmp_path / "profile") as page:
        ready(page, address, 390)
        page.until("document.getElementById('status').textContent.includes('difference from onnxruntime')")
        assert float(status(page).rsplit(" ", 1)[1].rstrip(".")) < 1e-5
        assert painted(page) == 2
        said = []
        for name in ("samples.csv", "samples.npy"):
            page.choose("#file", tmp_path / name)
            page.until("/^Answer.*samples in \\d+ ms\\.$/.test(document.getElementById('status').textContent)")
            said.append(status(page).split(".")[0])
            page.run("document.getElementById('status').textContent = ''")
        assert said[0] == said[1]
        page.choose("#file", tmp_path / "wrong.csv")
        page.until("document.getElementById('status').classList.contains('bad')")
        assert status(page) == "Row 2 of the table is not like the others."
        assert not page.run("document.documentElement.scrollWidth > innerWidth")
        assert page.console == []


def test_a_model_that_looks_ahead_says_what_it_needs(tmp_path: Path) -> None:
    from tests.first_order import build

    build(tmp_path / "whole", mean=True, streams=False)
    assert call("package", tmp_path / "whole", "--target", "web", "--out", tmp_path / "web").exit_code == 0
    with served(tmp_path / "web") as address, Page(tmp_path / "profile") as page:
        page.open(f"{address}/index.html")
        page.until("document.getElementById('status').classList.contains('bad')")
        assert "onnxruntime-web" in status(page)
