"""What a run leaves: its figures as a file, the page's tables, and a line in the ledger of looks at what is locked."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import results
from benchmarks.detection.tables import tables

ROOT = results.ROOT
DOCUMENT = ROOT / "docs" / "detection.md"
LEDGER = ROOT / "docs" / "detection-ledger.md"
IMAGES = ROOT / "docs" / "img"
FILE = ROOT / "build" / "detection.json"


def look(module: str, why: str) -> None:
    """Add to the ledger that the report sets were looked at, by this command of `module`."""
    command = " ".join(["python -m", module, *sys.argv[1:]])
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    what = "report wordings and report tasks; travel and apibank with all other domains"
    line = f"| {day} | {what} | {why} | `{command}` |\n"
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(line)


def show(report: Mapping[str, Any], docs: bool) -> None:
    """Print the tables; with `docs` write them into the document."""
    results.show_all(tables(report), DOCUMENT if docs else None)
    if docs:
        took = f"{report['minutes']:.0f} minutes on {report['machine']}"
        text = f"Run of {report['date']}, {len(report['seeds'])} seeds, {report['fits']} models, {took}."
        results.write_between(DOCUMENT, "run", text)
