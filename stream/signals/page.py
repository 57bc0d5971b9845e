"""Writes what people read and edit of the signals: the table in docs/signals.md, and the lines of the policies we ship.

``python -m stream.signals.page`` writes them; with ``--check`` it only says what is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any

from stream.signals.registry import SIGNALS
from stream.signals.signal import Signal

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/signals.md"
POLICIES = ("stream/policy.yaml", "deploy/kubernetes/overlays/example/policy.yaml")
BEGIN, END = "<!-- made by `make schemas`: begin -->", "<!-- made by `make schemas`: end -->"
_HEADER = "| signal | shipped | means | typical honest cause | look at | then |\n" + "| --- " * 6 + "|\n"


def table() -> str:
    """The table of signals as Markdown."""
    return _HEADER + "".join(map(_row, SIGNALS))


def _row(signal: Signal[Any]) -> str:
    means = " ".join((getdoc(type(signal)) or "").split()).rstrip(".")
    benign, look, do = signal.runbook
    return f"| `{signal.id}` | `{signal.shipped}` | {means} | {benign} | {look} | {do} |\n"


def policy_lines() -> str:
    """The section ``signals`` of a policy that ships."""
    return "signals:\n" + "".join(f"  {signal.id}: {signal.shipped}\n" for signal in SIGNALS)


def page(text: str) -> str:
    """The page `text` with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def policy(text: str) -> str:
    """The policy `text` with the consequences that signals ship with."""
    before, head, rest = text.partition("\nsignals:\n")
    lines = rest.splitlines(keepends=True)
    n_lines = next((n for n, line in enumerate(lines) if not line.startswith("  ")), len(lines))
    return before + head[:1] + policy_lines() + "".join(lines[n_lines:])


def documents(root: Path = ROOT) -> dict[str, str]:
    """What the files under `root` should hold, by their paths."""
    made = {path: policy((root / path).read_text(encoding="utf-8")) for path in POLICIES}
    return {PAGE: page((root / PAGE).read_text(encoding="utf-8")), **made}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: up to date, or written; 1: stale."""
    parser = argparse.ArgumentParser(prog="python -m stream.signals.page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    options = parser.parse_args(arguments)
    stale = [path for path, text in documents().items() if (ROOT / path).read_text(encoding="utf-8") != text]
    for path in stale:
        if options.check:
            sys.stderr.write(f"stale: {path}; run `make schemas`\n")
        else:
            (ROOT / path).write_text(documents()[path], encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
