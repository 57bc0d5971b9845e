"""The table of topics: what each is keyed by, how long it keeps what, and why it exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stream.events import (
    ALERTS,
    CASES,
    CHALLENGES,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    RELEASES,
    REVOCATIONS,
    RISK,
    STREAMS,
)
from stream.settings import Settings
from stream.shell.checkpoints import CHALLENGER_STATE_TOPIC, STATE_TOPIC, state_topic

DAY_MS = 86_400_000
HEADROOM_BYTES = 65_536
"""What an output may take above the input's largest record (design, chosen)."""

Use = Literal["input", "output", "between", "state", "streams", "releases", "challenges"]


@dataclass(frozen=True)
class Topic:
    """One topic: what its key is, how long it keeps what, and why it exists."""

    base: str
    key: str
    use: Use
    partitions: int
    retention_ms: int
    content: str
    compacted: bool = False

    def configuration(self, settings: Settings) -> dict[str, str]:
        """The topic's settings on the broker."""
        largest = settings.message_max_bytes + (0 if self.use == "input" else HEADROOM_BYTES)
        entries = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(largest),
        }
        if not self.compacted:
            entries["retention.ms"] = str(self.retention_ms)
        if self.use == "input" or self.base == CASES:
            # The partition's clock: only the broker's own stamp cannot be forged by a producer.
            entries["message.timestamp.type"] = "LogAppendTime"
        if self.use == "input":
            # The broker limits a batch as it comes, compressed: a megabyte may expand to a gigabyte in the worker.
            # Stored uncompressed, it is limited again as it is, and no reader needs the producer's codec.
            entries["compression.type"] = "uncompressed"
        if settings.replication >= 3:
            entries["min.insync.replicas"] = "2"
        if self.use in ("state", "streams"):
            # Small segments: compaction never touches the active one, and recovery reads what is left.
            entries["segment.bytes"] = str(64 * 1024 * 1024)
            entries["min.cleanable.dirty.ratio"] = "0.2"
            # A deletion must be seen by whoever reads from the beginning; recovery takes seconds to minutes.
            entries["delete.retention.ms"] = str(10 * 60_000)
        return entries


def topic_table(settings: Settings) -> tuple[Topic, ...]:
    """Every topic Driftline reads or writes, inputs first.

    Notes
    -----
    Retention is chosen: decisions and alerts are the audit trail (a year), cases and inputs a working week or
    two, quarantine a month to mend it. Compacted topics keep the last record of each key for good.
    """
    n = settings.partitions
    inputs = tuple(
        Topic(base, "root session", "input", n, 7 * DAY_MS, "what agents do: declarations, calls, results")
        for base in settings.input_topics
    )
    return (
        *inputs,
        Topic(OUTCOMES, "tenant", "input", n, 30 * DAY_MS, "what became of a revocation"),
        Topic(FEEDBACK, "tenant", "input", n, 365 * DAY_MS, "an analyst's verdict on an alert"),
        Topic(DECISIONS, "root session", "output", n, 365 * DAY_MS, "one decision for each call"),
        Topic(CASES, "tenant", "between", n, 14 * DAY_MS, "a session's changes of state, from judge to act"),
        Topic(HELD, "tenant", "output", n, 14 * DAY_MS, "revocations that the circuit breaker holds"),
        Topic(ALERTS, "tenant", "output", n, 365 * DAY_MS, "OCSF detection findings for the SOC"),
        Topic(REVOCATIONS, "tenant", "output", n, 30 * DAY_MS, "signed CAEP session-revoked tokens"),
        Topic(RISK, "tenant", "output", n, 30 * DAY_MS, "signed CAEP risk-level-change tokens"),
        Topic(
            ENDS,
            "tenant",
            "output",
            n,
            30 * DAY_MS,
            "signed word on credentials that ended sessions released",
        ),
        Topic(
            QUARANTINE, "the input's", "output", n, 30 * DAY_MS, "input that could not be read, byte for byte"
        ),
        Topic(
            STREAMS, "stream", "streams", 1, -1, "the transmitter's streams, and their places", compacted=True
        ),
        Topic(
            RELEASES,
            "digest or @alias",
            "releases",
            1,
            -1,
            "signed releases of model and policy",
            compacted=True,
        ),
        Topic(
            CHALLENGES, "root session", "challenges", n, 30 * DAY_MS, "what challengers would have decided"
        ),
        *(
            Topic(
                state_topic(base, plain),
                key,
                "state",
                n,
                -1,
                f"open sessions of {base}, for recovery{whose}",
                compacted=True,
            )
            for plain, key, whose in (
                (STATE_TOPIC, "owner/slot/state", ""),
                (CHALLENGER_STATE_TOPIC, "challenger:owner/slot/state", " of challengers"),
            )
            for base in settings.input_topics
        ),
    )
