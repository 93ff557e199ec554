"""The picture of calibration shows every figure that belongs, where it belongs, and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from scripts.calibration_picture import FIRST, HEIGHT, LITERATURE, RIGHT, WIDTH, picture, spread

RESULTS = Path(__file__).resolve().parent.parent.parent / "models" / "digits" / "results"
SVG = "{http://www.w3.org/2000/svg}"
PLAIN = ("balanced", "singular_perturbation", "modal", "last", "aire", "tlh2", "gradient")
ORDERS = (2, 4, 8, 16)


def figures() -> dict[str, Any]:
    """A complete set of figures, each accuracy another one."""
    known: dict[str, Any] = {"original": 0.983, "held_out": 2000}
    for row, name in enumerate(PLAIN):
        known |= {f"{name} {order}": 0.1 + 0.03 * order + 0.01 * row for order in ORDERS}
    known |= {f"spectrum {order} seed 0 sequences 500": 0.5 + 0.02 * order for order in ORDERS}
    for seed, shift in enumerate((-0.02, 0.0, 0.05)):
        known |= {f"match {order} seed {seed} sequences 500": 0.6 + 0.015 * order + shift for order in ORDERS}
    return known | {"match 8 seed 0 sequences 25": 0.05}


def points(known: dict[str, Any]) -> list[tuple[str, int, float, float, float]]:
    """Name, order, the accuracy it tells, and where the middle of the marker is."""
    found = []
    for circle in ElementTree.fromstring(picture(known)).iter(f"{SVG}circle"):
        told = re.match(r"(\w+), (\d+) of 64 states: ([\d.]+) %", circle.findtext(f"{SVG}title") or "")
        assert told is not None
        found.append((told[1], int(told[2]), float(told[3]), float(circle.attrib["cx"]), float(circle.attrib["cy"])))
    return found


def test_every_figure_is_one_point() -> None:
    known = figures()
    expected = {(name, order): 100 * known[f"{name} {order}"] for name in PLAIN for order in ORDERS}
    expected |= {("spectrum", order): 100 * known[f"spectrum {order} seed 0 sequences 500"] for order in ORDERS}
    # The mean of the three shifts is 0.01; what fewer sequences gave is not part of it.
    expected |= {("match", order): 100 * (0.6 + 0.015 * order + 0.01) for order in ORDERS}
    expected[("original", 64)] = 98.3
    found = points(known)
    assert len(found) == len(expected) == 37
    assert {(name, order): value for name, order, value, _, _ in found} == pytest.approx(expected, abs=0.006)


def test_points_stand_on_a_linear_and_a_logarithmic_scale() -> None:
    found = points(figures())
    columns = {order: {x for _, other, _, x, _ in found if other == order} for order in (*ORDERS, 64)}
    assert all(len(places) == 1 for places in columns.values())
    middle = {order: places.pop() for order, places in columns.items()}
    octave = (RIGHT - FIRST) / 5
    assert [middle[order] - middle[2] for order in (4, 8, 16, 64)] == pytest.approx(
        [octave, 2 * octave, 3 * octave, 5 * octave], abs=0.2
    )
    (_, _, low, _, below), (_, _, high, _, above) = min(found, key=lambda p: p[2]), max(found, key=lambda p: p[2])
    slope = (above - below) / (high - low)
    assert slope < 0
    for _, _, value, _, y in found:
        assert y == pytest.approx(below + slope * (value - low), abs=0.3)


def test_the_literature_is_hollow_and_whole() -> None:
    polygons = list(ElementTree.fromstring(picture({})).iter(f"{SVG}polygon"))
    assert all(polygon.attrib["fill"] == "none" for polygon in polygons)
    assert Counter(polygon.attrib["class"] for polygon in polygons) == {"other": 24, "key": 6}
    told = {polygon.findtext(f"{SVG}title") for polygon in polygons if polygon.attrib["class"] == "other"}
    assert told == {
        f"{task}, {method}, {kept} % kept: {value} %"
        for (task, method), values in LITERATURE.items()
        for kept, value in zip((40, 30, 20, 10), values, strict=True)
    }


@pytest.mark.parametrize("count", [0, 1, 2, 9, 20, 40])
def test_unfinished_figures_are_drawn(count: int) -> None:
    known = dict(list(figures().items())[:count])
    plain = [key for key in known if key.split()[0] in PLAIN]
    spectra = [key for key in known if key.startswith("spectrum")]
    matched = {key.split()[1] for key in known if key.startswith("match")}
    assert len(points(known)) == len(plain) + len(spectra) + len(matched) + ("original" in known)


@pytest.mark.parametrize("wanted", [[300.0] * 9, [549.0, 550.0, 551.0, 552.0], [90.0, 91.0, 300.0, 301.0, 540.0]])
def test_labels_keep_their_distance(wanted: list[float]) -> None:
    placed = spread(wanted, 93, 547)
    assert all(later - earlier >= 16.999 for earlier, later in pairwise(placed))
    assert min(placed) >= 93
    assert max(placed) <= 547


def test_text_is_large_enough_and_within_the_picture() -> None:
    for line in ElementTree.fromstring(picture(figures())).iter(f"{SVG}text"):
        assert int(line.attrib["font-size"]) >= 11
        assert 0 < float(line.attrib["x"]) < WIDTH
        assert 0 < float(line.attrib["y"]) < HEIGHT


def test_the_picture_is_made_of_committed_figures() -> None:
    known = json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))
    assert (RESULTS / "calibration.svg").read_text(encoding="utf-8") == picture(known)
