"""Writes docs/features.md, the page of all features, from the features themselves.

``python -m models.evidence.features.page`` writes it; with ``--check`` it writes nothing and exits 1 when what is
checked in is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.contracts import Family
from models.evidence.features.registry import FEATURES_VERSION, SPECS
from models.evidence.features.spec import FALLING, RISING, Feature

PAGE = Path(__file__).resolve().parents[3] / "docs" / "features.md"
FAMILIES: dict[Family, str] = {
    "intent": "does this call, with these arguments, serve what was asked for?",
    "provenance": "where do the arguments come from?",
    "sequence": "do texts that were read lead to this call, and do harmless steps add up?",
    "scope": "what can the call do, and how much of it can be seen?",
}
"""The families that a model reads, with the question that each answers."""
_DIRECTIONS = {RISING: "rises", FALLING: "falls"}
_HEAD = f"""# Features

What the model reads of a call: {len(SPECS)} whole numbers, features of version {FEATURES_VERSION}. This page is made of their
definitions in `models/evidence/features/` by `make schemas`. A decision names the family of each as its evidence; how a new
one is made stands in [CONTRIBUTING.md](../CONTRIBUTING.md#rules). `driftline features` writes them of whole topics, for
[data frames](data-science.md).

- *Column* is the place in a row, and in the list of a model's manifest.
- *Score* says which way a feature may move a score by itself: it only `rises` or only `falls` with it. Where nothing stands,
  either may be learnt.
- *Trees* says more of how the forest uses it. `half`: it says what the intent means, and half of the trees do without it.
  `own from n`: from that value on other trees of one half judge the call. `gives up x`: log odds that a score gives up for
  each unit.
- *Left out with* is the group of which `make evaluate` measures what it is worth.

A feature about something absent is 0, except where said.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return _HEAD + "".join(_section(family, question) for family, question in FAMILIES.items())


def _section(family: Family, question: str) -> str:
    rows = [_row(column, spec) for column, spec in enumerate(SPECS) if spec.family == family]
    head = "| column | feature | means | unit | score | trees | left out with |\n" + "| --- " * 7 + "|\n"
    return f"\n## {family.capitalize()}\n\nIt asks: {question}\n\n{head}{''.join(rows)}"


def _row(column: int, spec: Feature) -> str:
    cells = (
        str(column),
        f"`{spec.name}`",
        spec.meaning,
        spec.unit,
        _DIRECTIONS.get(spec.direction, ""),
        _trees(spec),
        spec.ablation,
    )
    return f"| {' | '.join(cells)} |\n"


def _trees(spec: Feature) -> str:
    said = ["half"] if spec.means_intent else []
    if spec.gate is not None:
        said.append(f"own from {spec.gate.least}")
    if spec.allowance:
        said.append(f"gives up {spec.allowance:g}")
    return ", ".join(said)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: up to date, or written; 1: stale."""
    parser = argparse.ArgumentParser(prog="python -m models.evidence.features.page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    options = parser.parse_args(arguments)
    stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page()
    if stale and options.check:
        sys.stderr.write("stale: docs/features.md; run `make schemas`\n")
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
