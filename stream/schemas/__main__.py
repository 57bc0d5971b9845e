"""The published contracts: JSON Schemas, one file each, and an AsyncAPI 3 document, from `models.contracts`.

``python -m stream.schemas`` writes them under ``docs/``; with ``--check`` it writes nothing and exits 1 when
what is checked in is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stream.schemas.documents import DOCS, stale, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: up to date, or written; 1: stale."""
    parser = argparse.ArgumentParser(prog="python -m stream.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder (default: docs/)")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.docs)
        return 0
    names = stale(options.docs)
    for name in names:
        sys.stderr.write(f"stale: {name}; run `python -m stream.schemas`\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
