"""The picture of the web page in docs/devices.md: a recording in the page of a folder, in headless Chromium.

ssm2edge package build/keywords --target web --out web
python scripts/web_picture.py web models/keywords/words.wav docs/web.png [--width 1000]

Needs Chromium.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tests.browser import Page, served


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("recording", type=click.Path(path_type=Path, exists=True))
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--width", default=1000, show_default=True, help="Of the window, in pixels.")
def main(folder: Path, recording: Path, picture: Path, width: int) -> None:
    """Write a PICTURE of the page in FOLDER that has heard a RECORDING."""
    with tempfile.TemporaryDirectory() as profile, served(folder) as address, Page(Path(profile)) as page:
        page.open(f"{address}/index.html", width, 600)
        page.until("!document.getElementById('controls').hidden")
        page.choose("#file", recording.resolve())
        page.until("document.getElementById('status').textContent.includes('heard in')")
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture.write_bytes(page.picture())
    click.echo(f"{picture}: {picture.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
