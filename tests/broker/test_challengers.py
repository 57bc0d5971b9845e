"""Challengers on live traffic: killed, restarted, unable to start; the champion decides as if they were not there."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaConsumer

from models.release import registry
from stream import bootstrap
from stream.events import CASES, CHALLENGES, DECISIONS, EVENTS, dumps
from stream.offline import generate
from stream.offline.replay import replay
from stream.policy import load_policy, read_policy
from stream.settings import Settings
from stream.shell import export, releases, topics
from stream.shell.broker import EmbeddedBroker, free_port
from stream.shell.challenge_stage import SHELF, Challenger, would_be
from stream.shell.send import Message, play
from tests.unit.test_cli import run
from tests.worker import Worker, by_root, live, mixed, read, replayed, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        made = Settings(
            bootstrap=broker.bootstrap,
            prefix="t.",
            partitions=3,
            state_dir=tmp_path / "state",
            session_timeout_s=2.0,
            checkpoint_s=0.5,
        )
        topics.create(made)
        yield made


def folder(place: Path, changes: dict[str, str]) -> Path:
    """A release: the bundled model, under the shipped policy with other values."""
    shutil.copytree(registry.BUNDLED, place)
    text, _ = read_policy()
    for member, value in changes.items():
        text, n = re.subn(rf"(?m)^( *{member}:) .*$", rf"\1 {value}", text, count=1)
        assert n == 1, member
    (place / "policy.yaml").write_text(text, encoding="utf-8")
    return place


def challenger(settings: Settings, release: str | Path, name: str, directory: Path, port: int = 0) -> Worker:
    command = (sys.executable, "-m", "stream.cli.main", "challengers", "run", str(release), "--name", name)
    mine = replace(settings, state_dir=directory / name, metrics_port=port)
    return Worker(mine, directory / f"{name}.log", command)


def messages(seed: int, n: int) -> list[Message]:
    """Events of `n` generated sessions, half of them hijacked, each in its own order."""
    events = generate.sessions(seed, n, generate.Profile(hijacked=0.5), at_once=7)
    return list(mixed(events, random.Random(seed)))


def said(settings: Settings, name: str) -> dict[str, list[bytes]]:
    """What a challenger said, by root session in order, byte-identical repeats dropped."""
    found: dict[str, dict[bytes, None]] = defaultdict(dict)
    for record in read(settings, CHALLENGES):
        document = json.loads(record.value or b"")
        if document["challenger"] == name:
            found[document["root_session_id"]].setdefault(record.value or b"")
    return {root: list(values) for root, values in found.items()}


def expected(settings: Settings, release: Path, name: str) -> dict[str, list[bytes]]:
    """What it would have to say, by `replay` of the log under its release."""
    digest = bootstrap.release_digest(release, load_policy(release / "policy.yaml"))
    judge = bootstrap.challenger(settings, release)
    found: dict[str, list[bytes]] = defaultdict(list)
    for output in replay(export.records(settings, EVENTS), judge):
        if output.topic == DECISIONS:
            value = dumps(would_be(Challenger(name, digest), output.value))
            found[output.key.decode()].append(value)
    return dict(found)


def kept(settings: Settings) -> set[bytes]:
    """Challengers that have a checkpoint to go on from."""
    last = {
        (record.partition, record.key or b""): record.value for record in read(settings, SHELF.topic(EVENTS))
    }
    live = [key for (_, key), value in last.items() if value is not None]
    return {key.split(b"@")[0] for key in live if key.endswith(b"/ledger")}


def count(by_session: dict[str, list[bytes]]) -> int:
    return sum(map(len, by_session.values()))


def await_count(settings: Settings, name: str, n: int, process: Worker) -> None:
    wait_until(lambda: count(said(settings, name)) >= n, process)


def test_challengers_under_kill_lose_nothing_say_nothing_twice_and_leave_the_champion_s_bytes_alone(
    settings: Settings, tmp_path: Path
) -> None:
    assert_sound_under_kill(settings, tmp_path)


def assert_sound_under_kill(settings: Settings, tmp_path: Path) -> None:
    """Two challengers beside a worker, one of them killed: each says what `replay` says, and the worker decides as without them."""
    strict = folder(tmp_path / "strict", {"alert": "0.08", "watch": "0.04", "revoke": "0.2"})
    calm = folder(tmp_path / "calm", {"alert": "0.9", "revoke": "0.95"})
    played, port = messages(7, 60), free_port()
    third = len(played) // 3
    with (
        Worker(settings, tmp_path / "worker.log") as worker,
        challenger(settings, strict, "strict", tmp_path) as first,
        challenger(settings, calm, "calm", tmp_path, port) as second,
    ):
        for one in (worker, first, second):
            wait_until(one.ready, one)
        play(settings, played[:third], None)
        wait_until(lambda: b"strict" in kept(settings), first)  # killed with a state to go on from
        play(settings, played[third : 2 * third], None)
        first.kill()
        play(settings, played[2 * third :], None)
        _, n_decisions = replayed(settings)
        wait_until(lambda: len(by_root(live(settings, DECISIONS))) > 0, worker)
        with challenger(settings, strict, "strict", tmp_path) as again:
            for name, release, process in (("strict", strict, again), ("calm", calm, second)):
                whole = expected(settings, release, name)
                await_count(settings, name, count(whole), process)
                assert said(settings, name) == whole
            log = again.log.read_text(encoding="utf-8")
            assert max(int(n) for n in re.findall(r"is ours: \d+ states, next offset (\d+)", log)) > 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            shown = answer.read().decode()
        assert re.search(
            r'(?m)^driftline_challenger_verdicts_total\{challenger="calm",verdict="allow"\} [1-9]', shown
        )
        assert re.search(r'(?m)^driftline_challenger_info\{challenger="calm"', shown)
        wait_until(lambda: sum(map(len, by_root(live(settings, DECISIONS)).values())) >= n_decisions, worker)
        assert worker.process.poll() is None

    # The champion decided, and the input log holds, what they do without challengers.
    outputs, _ = replayed(settings)
    assert by_root(live(settings, DECISIONS)) == by_root(outputs[DECISIONS])
    assert by_root(live(settings, CASES)) == by_root(outputs[CASES])
    assert [record.value for record in read(settings, EVENTS)].count(None) == 0
    assert len(read(settings, EVENTS)) == len(played)
    assert_compared(settings, tmp_path)


def test_only_a_challenger_that_remembers_something_is_forgotten(settings: Settings, tmp_path: Path) -> None:
    topic = settings.topic(SHELF.topic(EVENTS))
    with releases.writing(settings, "test") as producer:
        for key in (b"ours@r/1", b"oursx@r/1"):
            releases.confirmed(producer.send(topic, key=key, value=b"state", partition=0))

    def remembering() -> set[bytes]:
        last = {record.key: record.value for record, _ in export.records(settings, SHELF.topic(EVENTS))}
        return {key.partition(b"@")[0] for key, value in last.items() if key and value is not None}

    def forget(name: str, *more: str) -> tuple[int, str]:
        where = {"DRIFTLINE_BOOTSTRAP": settings.bootstrap, "DRIFTLINE_PREFIX": settings.prefix}
        done = run("challengers", "forget", name, *more, cwd=tmp_path, COLUMNS="200", **where)
        return done.returncode, done.stdout + done.stderr

    code, told = forget("our")
    assert (code, "no challenger called our remembers anything; those that may: ours, oursx" in told) == (
        3,
        True,
    )
    assert remembering() == {b"ours", b"oursx"}
    # As a process of it would be, in its group.
    group = f"{settings.prefix}{settings.group}-challenger-ours-judge"
    member = KafkaConsumer(settings.topic(EVENTS), **settings.kafka(), group_id=group)
    deadline = time.monotonic() + 60
    while not member.assignment():
        member.poll(200)
        assert time.monotonic() < deadline
    code, told = forget("ours")
    assert (code, "challenger ours still runs: stop it first" in told) == (3, True), told
    assert remembering() == {b"ours", b"oursx"}
    assert forget("oursx", "--although-it-runs")[0] == 0
    with releases.writing(settings, "test") as producer:
        releases.confirmed(producer.send(topic, key=b"oursx@r/1", value=b"state", partition=0))
    member.close()
    assert forget("ours") == (0, "1 states of ours are gone\n")
    assert forget("ours")[0] == 3
    assert remembering() == {b"oursx"}


def assert_compared(settings: Settings, directory: Path) -> None:
    """The report says of both what the topics do; what a challenger remembers goes when it is asked to forget."""

    def command(*arguments: str, columns: str = "80") -> str:
        done = run(
            "challengers",
            *arguments,
            cwd=directory,
            DRIFTLINE_BOOTSTRAP=settings.bootstrap,
            DRIFTLINE_PREFIX=settings.prefix,
            COLUMNS=columns,
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    told = json.loads(command("report", "--json"))["challengers"]
    calls = sum(map(len, by_root(live(settings, DECISIONS)).values()))
    assert told.keys() == {"strict", "calm"}
    for each in told.values():
        assert each["calls"] == calls
        assert each["calls_not_judged_yet"] == each["calls_of_its_own"] == 0
        assert each["sessions"] == sum(row["sessions"] for row in each["verdicts"]) == 60
    tenants = {name: each["tenants"].values() for name, each in told.items()}
    alerts = {name: sum(row["alerts_challenger"] for row in rows) for name, rows in tenants.items()}
    (before,) = {sum(row["alerts_champion"] for row in rows) for rows in tenants.values()}
    assert alerts["calm"] <= before <= alerts["strict"]
    assert alerts["calm"] < alerts["strict"]
    assert told["strict"]["flips"] + told["calm"]["flips"] > 0
    shown = command("report")
    assert "calm beside the champion" in shown
    assert "strict beside the champion" in shown
    assert max(map(len, shown.splitlines())) <= 80

    assert kept(settings) == {b"strict", b"calm"}
    # One that was killed counts as running until its session is over, on the embedded broker for good.
    assert "states of strict are gone" in command("forget", "strict", "--although-it-runs")
    assert kept(settings) == {b"calm"}


def test_a_challenger_that_cannot_start_says_why_and_nobody_else_notices(
    settings: Settings, tmp_path: Path
) -> None:
    broken = folder(tmp_path / "broken", {})
    (broken / registry.MODEL_FILE).write_bytes(b"no model")
    with Worker(settings, tmp_path / "worker.log") as worker:
        wait_until(worker.ready, worker)
        with challenger(settings, broken, "broken", tmp_path) as one:
            assert one.process.wait(60) == 5
            assert "broken" in one.log.read_text(encoding="utf-8")
        with challenger(settings, "@nobody", "nobody", tmp_path) as one:
            assert one.process.wait(60) == 2
            assert "DRIFTLINE_ACTIVATION_JWKS" in one.log.read_text(encoding="utf-8")
        play(settings, messages(3, 3), None)
        wait_until(lambda: len(by_root(live(settings, DECISIONS))) == 3, worker)
