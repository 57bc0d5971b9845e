"""The console's pictures in the docs: the bundled samples judged, their cases, and one session, in both themes.

    python -m tests.console.pictures [FOLDER]

Without FOLDER they go to ``docs/img`` (`make pictures`). Look at each before you commit it.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from stream.console.index import Index
from stream.events import Record
from tests.console.served import Served
from tests.unit.test_console import SAMPLES, indexed, of_samples

FOLDER = Path(__file__).parents[2] / "docs" / "img"
SESSION = "support-ticket-exfiltration"
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTH, CASES_HEIGHT, MARGIN = 1280, 900, 8
COLOURS = 256
"""As many as a palette has: smaller than true colour, and text stays as sharp as it was."""


def samples() -> list[Record]:
    """Every bundled sample as the bus has it."""
    with tempfile.TemporaryDirectory() as state:
        return of_samples(Path(state), *(path.stem for path in sorted(SAMPLES.glob("*.jsonl"))))


def taken(page: Page, height: int) -> bytes:
    """The page's upper part as PNG."""
    shot = page.screenshot(
        full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height}, animations="disabled"
    )
    made = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        made, "png", optimize=True
    )
    return made.getvalue()


def take(made: Index, folder: Path) -> list[Path]:
    """Write each picture into `folder`; their paths."""
    (case_id,) = (
        each.case_id for each in made.cases() if each.name is not None and each.name.session == SESSION
    )
    served, written = Served(made), []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for theme in THEMES:
                page = browser.new_page(viewport={"width": WIDTH, "height": CASES_HEIGHT}, color_scheme=theme)
                page.goto(f"http://{served.host}/")
                page.wait_for_selector("#state:text('live')")
                written.append(folder / f"console-cases-{theme}.png")
                written[-1].write_bytes(taken(page, CASES_HEIGHT))
                page.goto(f"http://{served.host}/sessions/{case_id}")
                page.wait_for_selector("#state:text('live')")
                box = page.locator("section", has=page.locator("svg.reach")).bounding_box()
                assert box is not None, "the page draws nothing of what the session reached"
                written.append(folder / f"console-session-{theme}.png")
                written[-1].write_bytes(taken(page, round(box["y"] + box["height"]) + MARGIN))
            browser.close()
    finally:
        served.close()
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="take the console's pictures in the docs")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args(arguments).folder
    for path in take(indexed(samples()), folder):
        sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
