"""``python -m models.training.heads [NAME ...] [--to FOLDER]``: fits the small learned readers, measures them, writes their files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.release import readers
from models.release.registry import BUNDLED
from models.training.heads import acting, expectation, halves, handover, vagueness

FILES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "acting": acting.file,
    "expectation": expectation.file,
    "handover": handover.file,
    "vagueness": vagueness.file,
}
HALVES = "halves"
"""Not a head of a release: lies with the corpora."""
FIGURES = ("measured", "area under the ROC curve")
"""Where a file says how well its head holds."""


def write(name: str, folder: Path) -> dict[str, Any]:
    """Fit one head and write its file into `folder`, and its digest into a list there; returns what the file holds."""
    content = {**FILES[name](), "command": f"python -m models.training.heads {name}"}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    readers.write(folder, name, f"{text}\n".encode())
    return content


def main(arguments: Sequence[str]) -> None:
    """Fit the heads that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m models.training.heads", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(FILES)}; all of them without. {HALVES}: what training sees each half of the authors through",
    )
    parser.add_argument("--to", type=Path, default=BUNDLED, help="folder of the files (the bundled release)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - {*FILES, HALVES}:
        parser.error(f"no head is called {', '.join(sorted(unknown))}")
    if HALVES in asked.names:
        halves.write()
    for name in FILES:
        if asked.names and name not in asked.names:
            continue
        content = write(name, asked.to)
        for figures in (content[key] for key in FIGURES if key in content):
            for measured, value in figures.items():
                sys.stdout.write(f"{name}: {measured}: {value}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
