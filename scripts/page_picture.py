"""A picture of a page, as docs/report.png and docs/sweep.png are: report.html or sweep.html in headless Chromium.

python scripts/page_picture.py build/keywords/report.html docs/report.png --height 1500
python scripts/page_picture.py sweep/sweep.html docs/sweep.png [--width 390] [--choose model=keywords]

Needs Chromium.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

import click

from tests.browser import Page, served

CHOOSE = """(([label, value]) => {
  const select = [...document.querySelectorAll("#controls label")].find((one) => one.innerText.startsWith(label))
    .querySelector("select");
  select.value = value;
  select.dispatchEvent(new Event("change"));
})"""
"""Gives a select of the controls of a sweep's page a value, by the text of its label."""


@click.command()
@click.argument("page", type=click.Path(path_type=Path, exists=True))
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--width", default=1280, show_default=True, help="Of the window, in pixels.")
@click.option("--height", type=int, help="Of the picture.  [default: that of the page]")
@click.option("--choose", "choices", multiple=True, metavar="LABEL=VALUE", help="In the controls of a sweep's page.")
def main(page: Path, picture: Path, width: int, height: int | None, choices: tuple[str, ...]) -> None:
    """Write a PICTURE of a PAGE."""
    with tempfile.TemporaryDirectory() as profile, served(page.resolve().parent) as address, Page(Path(profile)) as shown:
        shown.open(f"{address}/{page.name}", width, 900)
        for choice in choices:
            shown.run(f"{CHOOSE}({json.dumps(choice.split('=', 1))})")
        shown.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        full, wide = shown.run("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(full, height or full), "scale": 1}
        found = shown.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        picture.write_bytes(base64.b64decode(found))
        said = "; ".join(shown.console)
    click.echo(f"{picture}: {picture.stat().st_size / 1e3:.0f} KB, page {wide} x {full}{said and f'; console: {said}'}")


if __name__ == "__main__":
    main()
