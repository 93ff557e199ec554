"""The page is whole by itself: nothing to fetch, nothing that a name could inject, small enough for a phone."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ssm2edge.artifact import Ratio
from ssm2edge.report import render
from ssm2edge.report.chart import Scale, linear, logarithmic
from ssm2edge.report.words import THIN, count, figure, label, seconds, size
from tests.command_line import call
from tests.report_pages import FILES, large, odd
from tests.slow_cases import slow


class Tags(HTMLParser):
    """What a browser would see: elements with their attributes, and whether they close in order."""

    VOID = frozenset({"meta", "link", "br", "input", "img", "line", "path", "circle", "rect"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("make", [slow(large), odd])
def test_it_fetches_nothing_and_closes_what_it_opens(make: object) -> None:
    assert callable(make)
    page = render(*make(), FILES)
    for tag, attributes in tags(page).seen:
        for name, value in attributes.items():
            if name in ("src", "href", "data", "action"):
                assert (tag, value) == ("link", "data:,") or (tag == "a" and str(value).startswith("#"))
            assert not name.startswith("on")
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)


def test_names_are_text_and_never_markup() -> None:
    found = tags(render(*odd(), FILES))
    assert "img" not in {tag for tag, _ in found.seen}
    assert "</script><img src=x>" in found.words


@pytest.mark.slow
def test_three_layers_of_64_channels_and_64_states_stay_small() -> None:
    page = render(*large(), FILES)
    assert len(page.encode()) < 1_200_000
    assert page == render(*large(), FILES)


def test_what_hovering_shows_is_what_was_measured() -> None:
    manifest, figures = large()
    page = render(manifest, figures, FILES)
    data = re.search(r'id="impulse-0-0".*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    lines = json.loads(data[1])
    assert [series["value"] for series in lines["series"]] == [
        list(figures.layers[0].responses[0].impulse_before), list(figures.layers[0].responses[0].impulse_after)
    ]  # fmt: skip
    assert len({len(lines["x"]), len(lines["title"]), *(len(series["y"]) for series in lines["series"])}) == 1


def test_other_artifacts_make_a_curve() -> None:
    manifest, figures = large()
    assert 'id="accuracy-size"' not in render(manifest, figures, FILES)
    page = render(manifest, figures, FILES, [("build/other", manifest)])
    assert 'id="accuracy-size"' in page
    assert "build/other: 3" in page


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 3.7], linear([0.0, 3.7], 10, 200)),
        ([-0.31, 0.5], linear([-0.31, 0.5], 10, 200)),
        ([5.0, 5.0], linear([5.0, 5.0], 10, 200)),
        ([], linear([], 10, 200)),
        ([1e-7, 2.0], logarithmic([1e-7, 2.0], 10, 200)),
        ([0.4, 0.5], logarithmic([0.4, 0.5], 10, 200)),
        ([0.0], logarithmic([0.0], 10, 200)),
    ],
)
def test_scales_hold_their_values_and_mark_round_places(values: list[float], scale: Scale) -> None:
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    places = [scale(value) for value, _ in ticks]
    assert places == sorted(places)
    assert all(10 <= place <= 200 for place in places)
    inner = [value for value in values if not scale.logarithmic or value > 0]
    assert all(scale.low <= value <= scale.high for value in inner)
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (figure(0.012345), "0.0123"), (figure(1.0), "1.00"), (figure(-12345.0), f"−12{THIN}345"),
        (figure(1.5e-7), f"1.50{THIN}·{THIN}10⁻⁷"), (label(0.25), "0.25"),
        (label(60000.0), f"60{THIN}000"), (label(-0.5), "−0.5"),
        (count(1234567), f"1{THIN}234{THIN}567"), (seconds(0.0123), f"12.3{THIN}ms"), (seconds(4e-6), f"4.00{THIN}µs"),
        (size(2048), f"2.00{THIN}KiB"), (size(12), f"12{THIN}B"),
    ],
)  # fmt: skip
def test_figures_are_written_as_people_read_them(said: str, wanted: str) -> None:
    assert said == wanted


def test_the_command_refuses_to_write_into_the_artifact(tmp_path: Path) -> None:
    from tests.first_order import build

    directory = build(tmp_path / "build")
    result = call("report", directory, "--output", tmp_path / "page.html")
    assert (result.exit_code, "report.json" in result.stderr) == (2, True)


def test_charts_have_one_width_and_so_one_size_of_text() -> None:
    page = render(*large(), FILES)
    widths = set(re.findall(r'viewBox="0 0 (\d+) ', page))
    assert len(widths) == 1
    assert f"svg.chart{{display:block;width:{widths.pop()}px" in page


def test_both_references_stand_beside_each_other_and_the_weights_file_beside_the_graphs() -> None:
    manifest, figures = large()
    assert manifest.latency is not None
    cached = dataclasses.replace(manifest.latency, cached=2e-3, cached_ratios={"offline": Ratio(0.25, 0.2, 0.5)})
    original = dataclasses.replace(manifest.original, bytes=2048)
    page = render(dataclasses.replace(manifest, latency=cached, original=original), figures, FILES)
    published = manifest.latency.ratios["offline"].ratio
    tiles = page.partition('<div class="tiles">')[2].partition("<nav>")[0]
    assert f"{figure(1 / published)}× faster" in tiles
    assert "than the original as published; 4.00× faster (2.00 to 5.00) than the original, kernels cached" in tiles
    assert "2.00\u202fKiB → " in tiles
    assert "kernels cached" not in render(manifest, figures, FILES)


def test_checks_are_folded_but_for_those_that_failed() -> None:
    manifest, figures = large()
    shown = render(manifest, figures, FILES).partition('<section id="checks">')[2].partition("</section>")[0]
    assert shown.count("<table>") == 1
    assert shown.index("<details") < shown.index("<table>")
    assert "2 checks passed" in shown
    parity = manifest.parity or {}
    first, second = parity["checks"]
    failing = {"passed": False, "checks": [first | {"passed": False}, second]}
    page = render(dataclasses.replace(manifest, parity=failing), figures, FILES)
    shown = page.partition('<section id="checks">')[2].partition("</section>")[0]
    before = shown.partition("<details")[0]
    assert "offline.parity" in before
    assert second["name"] not in before
    assert "1 of 2 checks failed" in shown
