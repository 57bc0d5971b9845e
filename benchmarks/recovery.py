"""Recovery: a partition with 100,000 open sessions is taken over; what that costs in time, bytes and memory.

The states are those of generated sessions in the middle of their work, made by the core and copied under other
ids, and written by the real `Checkpointer` through Kafka. Then a fresh process does what a new owner does: read
the partition of the state topic, fold it, load it, and write its own first checkpoint, which holds every state.

``--transactions`` measures the alternative that the record of the decision names: a transactional producer for
each partition, committed every two seconds, beside the same records and ledgers without transactions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer, TopicPartition

from benchmarks import results
from benchmarks.load import RESULT_CHARS, messages
from benchmarks.peer import producer_options
from benchmarks.rig import PARTITIONS, ROOT, Rig
from models.session import Session, dump, load
from stream import bootstrap
from stream.core.partition import Partition, state_key
from stream.events import EVENTS, Record
from stream.settings import Settings
from stream.shell.checkpoints import LEDGER, STATE_TOPIC, Checkpointer, Owner, Recovered, StateRecord, fold

SESSIONS = 100_000
REPEATS = 2
ROUNDS = 20
"""Commits timed, of each kind."""
MODELS = 1_000
"""Sessions judged by the core; the others are copies of them under ids of their own."""


def open_states(n: int) -> tuple[dict[str, bytes], int]:
    """States of `n` open sessions with their catalogues and ledger, and the offset they belong to."""
    judge = bootstrap.judge(Settings(), mode="enforce")
    partition = Partition.empty()
    log = [
        item for item in messages(1, MODELS, at_once=MODELS, result_chars=RESULT_CHARS) if item.ends is None
    ]
    for start in range(0, len(log), 500):
        batch = [
            Record(EVENTS, 0, start + i, 1_780_000_000_000 + start + i, "append", item.key, (), item.value)
            for i, item in enumerate(log[start : start + 500])
        ]
        partition.apply(judge.judge(partition, batch).changes)
    states = {key: raw for key, raw in partition.states.items() if not key.startswith("s/")}
    models = [
        s
        for key, raw in partition.states.items()
        if key.startswith("s/") and isinstance(s := load(raw), Session)
    ]
    offset = 0
    for i in range(n):
        name = f"open-{i:07d}"
        copy = msgspec.structs.replace(
            models[i % len(models)], root=name, session=name, born=offset, offset=offset + 13
        )
        states[state_key(copy.tenant, name, name)] = dump(copy)
        offset += 14
    ledger = partition.ledger
    ledger.offset = offset
    states[LEDGER] = msgspec.msgpack.encode(ledger)
    return states, offset


def write(producer: Producer, topic: str, items: list[StateRecord], number: int = 0) -> int:
    """Send state records and have them confirmed; gives their bytes, keys and headers included."""
    size = 0
    for item in items:
        size += len(item.key) + len(item.value or b"") + sum(len(n) + len(v) for n, v in item.headers)
        while True:
            try:
                producer.produce(
                    topic, key=item.key, value=item.value, headers=list(item.headers), partition=number
                )
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        raise RuntimeError("the broker did not confirm the states")
    return size


def checkpoint(
    producer: Producer, topic: str, made: Checkpointer, states: dict[str, bytes], offset: int
) -> tuple[int, int]:
    """One checkpoint; gives its records and bytes."""
    items = made.begin(states, offset)
    size = write(producer, topic, items) + write(producer, topic, [made.seal()])
    made.done()
    return len(items) + 1, size


def take_over(settings: Settings) -> dict[str, float]:
    """What a new owner of partition 0 does, timed; to be run in a process of its own."""
    from stream.shell.checkpoints import Shelf
    from stream.shell.recovery import read_states

    _judge = bootstrap.judge(settings, mode="enforce")  # what a worker holds besides
    began, cpu = time.monotonic(), time.process_time()
    place = settings.topic(EVENTS), 0
    records = asyncio.run(read_states(settings, [place], Shelf()))[place]
    read = time.monotonic()
    recovered = fold(records)
    folded = time.monotonic()
    count = len(records)
    del records
    partition = Partition.load(recovered.states)
    loaded = time.monotonic()
    ready_cpu = time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    producer = Producer(producer_options(settings))
    made = Checkpointer(Owner(recovered.epoch + 1, secrets.token_hex(4)), recovered)
    written, size = checkpoint(
        producer, settings.topic(STATE_TOPIC), made, partition.states, partition.offset
    )
    return {
        "records_read": count,
        "states": len(partition.states),
        "read_s": read - began,
        "fold_s": folded - read,
        "load_s": loaded - folded,
        "ready_s": loaded - began,
        "ready_cpu_s": ready_cpu,
        "peak_rss_mb": rss / 1e6,
        "first_checkpoint_s": time.monotonic() - loaded,
        "first_checkpoint_records": written,
        "first_checkpoint_mb": size / 1e6,
    }


def recovery(rig: Rig, sessions: int = SESSIONS, repeats: int = REPEATS) -> dict[str, Any]:
    """Fill a partition, then take it over in fresh processes."""
    settings = rig.settings(partitions=1)
    results.console.print(f"[dim]recovery: {sessions:,} open sessions[/]")
    states, offset = open_states(sessions)
    producer = Producer(producer_options(settings))
    made = Checkpointer(Owner(1, secrets.token_hex(4)), Recovered({}, -1, 0, ()))
    made.note(states)
    records, size = checkpoint(producer, settings.topic(STATE_TOPIC), made, states, offset)
    sizes = [len(raw) for key, raw in states.items() if key.startswith("s/")]
    runs = []
    for _ in range(repeats):
        command = [sys.executable, str(Path(__file__)), "--take-over", settings.bootstrap, settings.prefix]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=None)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        "sessions": sessions,
        "state_bytes_mean": sum(sizes) / len(sizes),
        "changelog_records": records,
        "changelog_mb": size / 1e6,
        **{key: results.spread(run[key] for run in runs) for key in runs[0]},
    }


def transactions(rig: Rig, partitions: int = PARTITIONS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Cost of making two seconds' work durable for `partitions` partitions, with and without transactions.

    Both write the same records to the same topic: 40 states and a ledger for each partition. The one flushes
    twice, ledgers after states, whatever the number of partitions, and commits the offsets once; the other
    commits one transaction for each partition, offsets and ledger inside it.
    """
    settings = rig.settings(partitions=partitions)
    topic, group = settings.topic(STATE_TOPIC), f"{settings.prefix}group"
    states, _ = open_states(40)
    values = [raw for key, raw in states.items() if key.startswith("s/")]
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": rig.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([settings.topic(EVENTS)])
    rig.wait(lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == partitions)

    def send(client: Producer, number: int, turn: int) -> None:
        for n, raw in enumerate(values):
            client.produce(topic, key=f"{turn % 2}/{n}".encode(), value=raw, partition=number)

    shared = Producer(producer_options(settings))
    keys_wall, keys_cpu = [], []
    for turn in range(rounds):
        began, cpu = time.monotonic(), time.process_time()
        for number in range(partitions):
            send(shared, number, turn)
        shared.flush(30)
        for number in range(partitions):
            shared.produce(topic, key=b"ledger", value=b"x" * 200, partition=number)
        shared.flush(30)
        consumer.commit(
            offsets=[TopicPartition(settings.topic(EVENTS), n, turn) for n in range(partitions)],
            asynchronous=False,
        )
        keys_wall.append(1000 * (time.monotonic() - began))
        keys_cpu.append(1000 * (time.process_time() - cpu))
    fenced = []
    began = time.monotonic()
    for number in range(partitions):
        client = Producer({**producer_options(settings), "transactional.id": f"{group}-{number}"})
        client.init_transactions(30)
        fenced.append(client)
    opened = time.monotonic() - began
    wall, cpus = [], []
    for turn in range(rounds):
        began, cpu = time.monotonic(), time.process_time()
        for client in fenced:
            client.begin_transaction()
        for number, client in enumerate(fenced):
            send(client, number, turn)
            client.produce(topic, key=b"ledger", value=b"x" * 200, partition=number)
        for number, client in enumerate(fenced):
            client.send_offsets_to_transaction(
                [TopicPartition(settings.topic(EVENTS), number, turn)], consumer.consumer_group_metadata(), 30
            )
            client.commit_transaction(30)
        wall.append(1000 * (time.monotonic() - began))
        cpus.append(1000 * (time.process_time() - cpu))
    threads = len(list(Path("/proc/self/task").iterdir()))
    consumer.close()
    return {
        "partitions": partitions,
        "owner_keys": {"wall_ms": results.spread(keys_wall), "cpu_ms": results.spread(keys_cpu)},
        "transactions": {
            "wall_ms": results.spread(wall),
            "cpu_ms": results.spread(cpus),
            "open_s": opened,
            "threads": threads,
        },
    }


COLUMNS = (
    "open sessions",
    "bytes each",
    "changelog MB",
    "read s",
    "fold s",
    "load s",
    "ready s",
    "peak MB",
    "first checkpoint s",
)
COMMIT_COLUMNS = ("2 s of work made durable", "wall ms", "CPU ms")


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `recovery`."""
    cells = [results.cell(found[key], 1) for key in ("read_s", "fold_s", "load_s", "ready_s")]
    return [
        [
            f"{found['sessions']:,}",
            results.cell(found["state_bytes_mean"]),
            results.cell(found["changelog_mb"]),
            *cells,
            results.cell(found["peak_rss_mb"]),
            results.cell(found["first_checkpoint_s"], 1),
        ]
    ]


def commit_rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of `transactions`."""
    names = {"owner_keys": "owner's keys, ledger last", "transactions": "a transaction for each partition"}
    return [
        [
            f"{label}, {found['partitions']} partitions",
            results.cell(found[key]["wall_ms"], 1),
            results.cell(found[key]["cpu_ms"], 1),
        ]
        for key, label in names.items()
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--transactions", action="store_true", help="transactions beside owners' keys only")
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--take-over", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take_over:
        bootstrap_, prefix = options.take_over
        print(json.dumps(take_over(Settings(bootstrap=bootstrap_, prefix=prefix, partitions=1))))
        return
    with Rig() as rig:
        if not options.transactions:
            found = recovery(rig, options.sessions, options.repeats)
            results.merge("recovery", found)
            results.show("A partition taken over", COLUMNS, rows(found))
        commits = transactions(rig, options.partitions)
    results.merge("commits", commits)
    results.show("Fencing", COMMIT_COLUMNS, commit_rows(commits))


if __name__ == "__main__":
    main()
