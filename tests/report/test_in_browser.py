"""The page in a real browser, from disk: every chart drawn, nothing on the console, and hovering shows values.

A probe in a copy of the page moves a pointer over every chart and writes what it saw into the document, which headless Chromium
prints.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssm2edge.report import render
from tests.browser import browser
from tests.report_pages import FILES, large, odd

PROBE = """
<script>
const faults = [];
addEventListener("error", (event) => faults.push(String(event.message)));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
</script>
"""

AFTER = """
<script>
document.querySelectorAll("details").forEach((part) => { part.open = true; });
const tip = document.getElementById("tip");
const overlays = (svg) => svg.querySelectorAll(".spot, .lit").length;
const charts = [...document.querySelectorAll("svg.chart")].map((svg) => {
  const radio = svg.closest(".pane") && document.getElementById(svg.id.replace(/^(impulse|frequency)/, "response"));
  if (radio) radio.checked = true;
  const box = svg.getBoundingClientRect();
  const drawn = [...svg.querySelectorAll(".mark")].filter((mark) => {
    const at = mark.getBoundingClientRect();
    return at.width + at.height > 0;
  });
  const target = svg.querySelector("[data-tip]") || svg;
  const spot = target.getBoundingClientRect();
  const where = { clientX: spot.left + spot.width / 2, clientY: spot.top + spot.height / 2, bubbles: true, pointerType: "mouse" };
  target.dispatchEvent(new PointerEvent("pointermove", where));
  const hovered = tip.hidden ? "" : tip.innerText, marked = overlays(svg);
  const shown = tip.getBoundingClientRect();
  const inside = shown.left >= 0 && shown.right <= innerWidth;
  svg.dispatchEvent(new PointerEvent("pointerleave", where));
  const gone = tip.hidden && overlays(svg) === 0;
  svg.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  const keyed = tip.hidden ? "" : tip.innerText;
  svg.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  const texts = [...svg.querySelectorAll("text")].map((text) => {
    const at = text.getBoundingClientRect();
    return at.left < box.left - 2 || at.right > box.right + 2 || at.bottom > box.bottom + 2 ? text.textContent : "";
  }).filter((words) => words);
  return { id: svg.id, width: box.width, height: box.height, drawn: drawn.length, hovered, marked, inside, gone, keyed, texts };
});
const wide = document.documentElement.scrollWidth > innerWidth + 1;
const verdicts = document.querySelector("#checks .scroll");
const cut = verdicts.scrollWidth > verdicts.clientWidth + 1;
const seen = document.createElement("pre");
seen.id = "probe";
seen.textContent = JSON.stringify({ charts, faults, wide, cut, width: innerWidth });
parent.document.body.appendChild(seen);
</script>
"""


def chromium() -> str:
    """Chromium's path; without one the test is skipped, but not in CI, which installs it."""
    found = browser()
    if found is None:
        assert not os.environ.get("CI"), "CI must have Chromium: .ci/run installs it"
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


def look(page: str, place: Path, width: int) -> tuple[dict[str, Any], str]:
    """What the probe saw, and what the console said."""
    file = place / "page.html"
    assert page.count("</head>") == page.count("</body>") == 1
    probed = page.replace("</head>", PROBE + "</head>").replace("</body>", AFTER + "</body>")
    # Windows of desktop browsers have a smallest width, frames have none.
    frame = f'<!doctype html><iframe width="{width}" height="800" style="border:0" srcdoc="{html.escape(probed)}"></iframe>'
    file.write_text(frame if width < 600 else probed, encoding="utf-8")
    command = [
        chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={place / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom",
        file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    probe = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert probe is not None, done.stderr[-2000:]
    console = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)
    return json.loads(html.unescape(probe[1])), console


@pytest.mark.slow
@pytest.mark.parametrize(("make", "width"), [(large, 1280), (large, 390), (odd, 1280)])
def test_every_chart_is_drawn_and_hovering_works(tmp_path: Path, make: Any, width: int) -> None:
    manifest, figures = make()
    page = render(manifest, figures, FILES)
    seen, console = look(page, tmp_path, width)
    assert seen["width"] == width
    assert (seen["faults"], console) == ([], "")
    assert not seen["wide"]
    assert not seen["cut"], "the verdicts have to be moved sideways"
    charts = {chart["id"]: chart for chart in seen["charts"]}
    assert len(charts) == page.count('<svg class="chart"')
    wanted = {"parameters", "orders", "layer-errors", "bound", "time-0", "time-1"}
    for number, layer in enumerate(figures.layers):
        wanted |= {f"{kind}-{number}" for kind in ("hankel", "disc", "memory")}
        wanted |= {f"{kind}-{number}-{index}" for kind in ("impulse", "frequency") for index in range(len(layer.responses))}
    assert wanted <= set(charts)
    for name, chart in charts.items():
        assert chart["drawn"] > 0, name
        assert chart["width"] > 200, name
        assert chart["height"] > 80, name
        assert chart["hovered"], name
        assert chart["marked"] > 0, name
        assert chart["inside"], name
        assert chart["gone"], name
        assert chart["keyed"], name
        assert chart["texts"] == [], name
    for number, layer in enumerate(figures.layers):
        drawn = len(layer.poles_before) + len(layer.poles_after)
        assert charts[f"disc-{number}"]["drawn"] == charts[f"memory-{number}"]["drawn"] == drawn
        assert charts[f"impulse-{number}-0"]["drawn"] == 2
        assert charts[f"frequency-{number}-0"]["drawn"] == 3
    assert "original" in charts["impulse-0-0"]["hovered"]
    assert "reduced" in charts["impulse-0-0"]["hovered"]
