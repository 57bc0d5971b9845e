"""A graceful rollout on Apache Kafka: workers are replaced one after the other while events come in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stream.events import CORE, DECISIONS
from stream.settings import Settings
from stream.shell.app import STOP_S
from stream.shell.demo import SAMPLES, sample_messages
from stream.shell.send import Message, messages, play
from tests.worker import Worker, by_root, live, read, replayed, wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # kafka-python reads its own resources by a way that Python 3.11 deprecates and later versions keep.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]

RATE = 25.0


def without_end(rolled: threading.Event) -> Iterator[Message]:
    """The sample sessions again and again, each time with other ids, until the rollout is over."""
    for run in count():
        for file in sorted(SAMPLES.glob("*.jsonl")):
            for message in messages(file, run=f"{run}."):
                if rolled.is_set():
                    return
                yield message


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    elif isinstance(value, str):
        yield value


def payloads(played: list[Message]) -> set[str]:
    """Texts long enough to be nobody else's: intents, argument values, results."""
    found: set[str] = set()
    for message in played:
        event = json.loads(message.value or b"{}")
        for name in ("intent", "arguments", "result", "text"):
            found |= {text for text in leaves(event.get(name)) if len(text) >= 12}
    return found


def test_workers_replaced_one_after_the_other_judge_each_call_once_and_log_no_payload(
    on_kafka: Settings, tmp_path: Path
) -> None:
    rolled = threading.Event()
    sending = threading.Thread(target=play, args=(on_kafka, without_end(rolled), RATE))
    logs: list[Path] = []

    with ExitStack() as stack:

        def started() -> Worker:
            logs.append(tmp_path / f"worker{len(logs)}.log")
            return stack.enter_context(
                Worker(on_kafka, logs[-1], environment={"DRIFTLINE_LOG_FORMAT": "json"})
            )

        def ready(worker: Worker) -> None:
            wait_until(lambda: b'"message": "ready"' in worker.log.read_bytes(), worker)

        running = [started(), started()]
        for worker in running:
            ready(worker)
        sending.start()
        stack.callback(sending.join)
        stack.callback(rolled.set)
        wait_until(lambda: len(read(on_kafka, DECISIONS)) >= 10, running[1])
        for number in range(2):
            code, took_s = running[number].stop()
            assert code == 0, running[number].log.read_text()
            assert took_s < STOP_S
            running[number] = started()
            ready(running[number])
        rolled.set()
        sending.join()
        expected, n = replayed(on_kafka)
        wait_until(lambda: len(read(on_kafka, DECISIONS)) >= n, running[0])
        assert [worker.stop()[0] for worker in running] == [0, 0]

    decisions = live(on_kafka, DECISIONS)
    assert len(decisions) == len({value for _, value in decisions}) == n > 50
    assert by_root(decisions) == by_root(expected[DECISIONS])

    text = "".join(log.read_text(encoding="utf-8") for log in logs)
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["core"] for line in lines} == {CORE}
    assert all(line["version"] and line["level"] in {"info", "warning"} for line in lines)
    texts = payloads(sample_messages())
    assert len(texts) > 100
    assert not [held for held in texts if held in text]
