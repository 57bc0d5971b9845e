"""What a run leaves: its figures as a file, the pages' tables, and a line in the ledger of looks at what is locked."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import results
from benchmarks.detection.fits import score_of
from benchmarks.detection.tables import tables
from models.evidence.features.registry import FEATURES, FEATURES_VERSION
from models.training import recipes

ROOT = results.ROOT
PAGES = (ROOT / "docs" / "detection.md", ROOT / "docs" / "detection-appendix.md")
"""A table goes into the one that has its marks."""
LEDGER = ROOT / "docs" / "detection-ledger.md"
IMAGES = ROOT / "docs" / "img"
FILE = ROOT / "build" / "detection.json"
"""The last run, whatever it was for."""
FIGURES = ROOT / "docs" / "figures" / "detection.json"
"""The run that the document shows."""


def look(module: str, why: str) -> None:
    """Add to the ledger that the report sets were looked at, by this command of `module`."""
    command = " ".join(["python -m", module, *sys.argv[1:]])
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    what = "report wordings and report tasks; travel and apibank with all other domains"
    line = f"| {day} | {what} | {why} | `{command}` |\n"
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(line)


def show(report: Mapping[str, Any], docs: bool) -> None:
    """Print the tables; with `docs` write them into the pages."""
    results.show_all(tables(report), PAGES if docs else ())
    if docs:
        FIGURES.write_text(json.dumps(report) + "\n", encoding="utf-8")  # the order is the tables'
        took = f"{report['minutes']:.0f} minutes on {report['machine']}"
        many = len(report["seeds"])
        seeds = f"{many} seed{'s' * (many > 1)}"
        text = f"Run of {report['date']}, {seeds}, {report['fits']} models, {took}."
        results.write_between(results.page_with(PAGES, "run"), "run", text)


def kept_run() -> dict[str, Any]:
    """The report of the last run.

    Raises `SystemExit` where there was none, or one of another recipe.
    """
    report: dict[str, Any] = json.loads(FILE.read_bytes()) if FILE.exists() else {}
    ours = recipes.recipe_for(FEATURES).as_manifest(), FEATURES_VERSION
    if (report.get("recipe"), report.get("features_version")) != tuple(json.loads(json.dumps(ours))):
        sys.exit(f"{FILE} holds no run of this recipe: run `make evaluate` first")
    return report


def kept_limits() -> dict[str, dict[float, int]]:
    """The thresholds that the last run's first seed took for each domain from the others, as `Bench.limits` gives them.

    Raises `SystemExit` as `kept_run` does.
    """
    report = kept_run()
    return {
        "" if domain == "any other" else domain: {
            float(budget): score_of(limit) for budget, limit in one.items()
        }
        for domain, one in report["seeds"][0]["thresholds"].items()
    }
