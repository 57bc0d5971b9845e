"""An output that changes must change CORE: the digests of what the samples lead to under the core version at hand.

After a change that is meant to alter outputs: raise ``CORE`` in ``stream/events.py``, then
``python tests/golden/test_core_version.py`` writes the new digests; say in the commit which outputs moved.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.contracts import Family
from models.release.readers import load
from stream import bootstrap
from stream.core.releases import Release
from stream.events import CORE
from stream.offline import files, replay
from stream.policy import Levels, load_policy
from stream.settings import Settings

ROOT = Path(__file__).parents[2]
HELD = Path(__file__).with_name("digests.json")


class RowSum:
    """A scorer that any feature and the calls before move, so that the digests see features without depending on a model."""

    def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        weights = 1 + np.arange(X.shape[1], dtype=np.int64) % 7
        return ((X.astype(np.int64) * weights).sum(axis=1) + 13 * seen) % 10_001

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        return [("scope", int(sum(row)) % 400 - 100), ("intent", -7)]


def digests() -> dict[str, str]:
    """SHA-256 of all outputs of each sample file."""
    policy = load_policy(ROOT / "stream" / "policy.yaml", mode="enforce")
    release = Release(
        "golden", RowSum(), load(), policy.model_copy(update={"name": "golden"}), Levels(4000, 7000, 9000)
    )
    settings = Settings(attestation_issuers=ROOT / "stream" / "samples" / "issuers.json")
    judge = bootstrap.judge_with(settings, release)
    found = {}
    for path in sorted((ROOT / "stream" / "samples").glob("*.jsonl")):
        total = hashlib.sha256()
        for output in replay.replay(files.read_records(path), judge):
            total.update(replay.line_of(output) + b"\n")
        found[path.name] = total.hexdigest()
    return found


def test_an_output_that_changed_has_changed_the_core_version() -> None:
    held = json.loads(HELD.read_text())
    assert CORE in held, f"no digests for core {CORE}: write them with python {Path(__file__).name}"
    now = digests()
    moved = [name for name in held[CORE] if now.get(name) != held[CORE][name]]
    assert not moved, (
        f"outputs of {moved} changed, but CORE is still {CORE}: raise it, see this file's docstring"
    )


if __name__ == "__main__":
    # Of this core alone: nobody can run another one from this tree.
    HELD.write_text(json.dumps({CORE: digests()}, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"digests of core {CORE} written\n")
