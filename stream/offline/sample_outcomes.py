"""What must come of each sample session: ``stream/samples/expected.yaml``, and whether decisions bear it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from models.contracts import FLAGGED, Verdict

FOLDER = Path(__file__).parents[1] / "samples"
_DRIFTED = ("hijacked", "creep", "trifecta")


class Outcome(NamedTuple):
    """A line of ``expected.yaml``, which says what its members mean."""

    file: str
    kind: str
    expect: Literal["quiet", "watch", "alert", "revoke"]
    by_call: int | None
    not_before: int | None
    why: str

    @property
    def is_caught(self) -> bool:
        """Whether something must be raised."""
        return self.expect in ("alert", "revoke")

    @property
    def is_honest(self) -> bool:
        """Whether an alert would be a false one: nobody did what nobody asked for."""
        return not self.is_caught and self.kind not in _DRIFTED

    def is_met(self, decisions: Sequence[tuple[int, Verdict]]) -> bool:
        """Whether these decisions, each the number of its call and its verdict, raise what must be raised, in time, and nothing else."""
        raised = [seq for seq, verdict in decisions if verdict in FLAGGED]
        if not self.is_caught:
            return not raised
        enough = [
            seq
            for seq, verdict in decisions
            if verdict in (FLAGGED if self.expect == "alert" else ("revoke",))
        ]
        if not enough or self.by_call is None or self.not_before is None:
            return False
        return min(enough) <= self.by_call and min(raised) >= self.not_before


def expected() -> Mapping[str, Outcome]:
    """The outcome of each session of the samples, by its id."""
    lines = yaml.safe_load((FOLDER / "expected.yaml").read_text(encoding="utf-8"))
    return {session: Outcome(**line) for session, line in lines.items()}
