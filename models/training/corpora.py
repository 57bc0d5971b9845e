"""Where the scenario texts and invented catalogues lie that training reads: data, beside the code and not in the wheel."""

from __future__ import annotations

from pathlib import Path

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
"""In a checkout of the repository."""
