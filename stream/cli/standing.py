"""What stands on the bus, as training takes it: the sessions of a topic, and what was said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from models.errors import InputError
from stream.cli import ranging
from stream.cli.terminal import say

if TYPE_CHECKING:
    from models.contracts import Label
    from stream.events import Record
    from stream.offline.study import OnBus
    from stream.settings import Settings

LABELS = "labels.jsonl"
"""The name by which a manifest knows labels of the bus: that of the file into which `driftline labels collect` writes them."""


def sessions(configured: Settings, asked: ranging.Asked, tombstone_hours: float) -> OnBus:
    """The sessions in a range of the input topic, partition by partition, as its dump has them; the manifest knows them by that dump.

    Sessions that go on in the range are read from as far before it as is asked.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    """
    from stream.offline import study, traffic
    from stream.shell import ranges
    from stream.shell.export import log_line

    base = ranging.input_topic(configured, asked.topic)
    digest = hashlib.sha256()
    with ranges.reading(configured, base) as topic:
        spans = asked.spans(topic, tombstone_hours)
        begins = {(topic.name, span.partition): span.begin for span in spans}

        def dumped(heard: ranging.Heard) -> Iterator[Record]:
            for span in spans:
                for record, partitions in topic.records(span, heard):
                    digest.update(log_line(record, partitions) + b"\n")
                    yield record

        with ranging.meter(spans, "reading") as heard:
            trees, unread = traffic.trees_in(dumped(heard), configured.tenants(), begins)
    first, last = (
        ranges.as_option((span.partition, at) for span, at in zip(spans, ends, strict=True))
        for ends in ([span.begin for span in spans], [span.end for span in spans])
    )
    say(f"read from {topic.name}; the same again: --from {first} --to {last}")
    return study.OnBus(topic.name, trees, unread, {f"{base}.jsonl": digest.hexdigest()})


def labels(configured: Settings) -> tuple[list[Label], dict[str, str]]:
    """The labels on the bus, and SHA-256 of their file by its name.

    Raises
    ------
    InputError
        Nothing there says what a session was.
    """
    from stream.cli.labelling import on_bus
    from stream.offline.labels import store

    found = on_bus(configured)
    if not found:
        raise InputError(
            "nothing on the bus says what a session was: `driftline feedback CASE --verdict ...` does, or give --labels FILE (docs/labels.md)"
        )
    say(f"{len(found)} labels on the bus")
    return found, {LABELS: hashlib.sha256(store.lines_of(found)).hexdigest()}
