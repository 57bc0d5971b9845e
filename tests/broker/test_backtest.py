"""A backtest of a topic is one of its dump, and its base is what the worker decided."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.contracts import GRAVITY
from stream.events import DECISIONS, dumps
from stream.offline import generate
from stream.settings import Settings
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import play
from tests.broker.test_features import command, settings, shuffled
from tests.broker.test_release import World, settings_of
from tests.unit.test_backtest import SHIPPED
from tests.unit.test_cli import run
from tests.worker import Worker, live, replayed, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]
__all__ = ["settings"]


def test_a_topic_is_judged_by_its_partitions_as_the_worker_judged_it(
    settings: Settings, tmp_path: Path
) -> None:
    play(settings, shuffled(3, 60), None)
    _, n = replayed(settings)
    with Worker(settings, tmp_path / "worker.log") as worker:
        wait_until(lambda: len({value for _, value in live(settings, DECISIONS)}) >= n, worker)
        assert worker.stop()[0] == 0
    gravest: dict[str, int] = {}
    for value in {value for _, value in live(settings, DECISIONS)}:
        row = json.loads(value or b"")
        if "refused" not in row["marks"]:
            name = row["session_id"]
            gravest[name] = max(gravest.get(name, 0), GRAVITY.index(row["verdict"]))
    decided = {verdict: [*gravest.values()].count(n) for n, verdict in enumerate(GRAVITY)}

    (tmp_path / "new.yaml").write_text(SHIPPED.replace("alert: {budget: 0.01}", "alert: 0.7"))
    asked = ("backtest", "--policy", "new.yaml", "--json")
    told = json.loads(command(settings, tmp_path, *asked, "--jobs", "2"))
    assert told["combinations"][0]["verdicts"] == {
        name: count for name, count in sorted(decided.items()) if count
    }
    assert told["candidates"][0]["changed"] > 0
    assert json.loads(command(settings, tmp_path, *asked, "--jobs", "1")) == told
    (tmp_path / "dump.jsonl").write_text(command(settings, tmp_path, "topics", "dump"))
    dumped = json.loads(command(settings, tmp_path, *asked, "dump.jsonl", "--jobs", "2"))
    assert {**dumped, "source": None} == {**told, "source": None}

    ends = {each["partition"]: each["to"] for each in told["source"]}
    begin = ",".join(f"{partition}:{end // 2}" for partition, end in sorted(ends.items()))
    half = json.loads(command(settings, tmp_path, *asked, "--from", begin))
    assert 0 < half["calls"] < told["calls"]
    assert half["not_whole"] == 0
    assert [each["read_from"] for each in half["source"]] == [0, 0, 0]
    done = run("backtest", *asked[1:], "--from", "0:9999", cwd=tmp_path, DRIFTLINE_BOOTSTRAP=settings.bootstrap, DRIFTLINE_PREFIX=settings.prefix)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "and not 9999" in done.stderr


def test_a_registered_release_is_compared_by_its_alias_and_its_digest(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        world = World(settings_of(broker, tmp_path), tmp_path)
        world.worker.kill()  # nothing here is judged live
        folder = world.folder("challenger")
        quiet = SHIPPED.replace("alert: {budget: 0.01}", "alert: 0.9").replace(
            "revoke: {budget: 0.001}", "revoke: 0.95"
        )
        (folder / "policy.yaml").write_text(quiet)
        digest = world.command("publish", str(folder), "--alias", "challenger", "--by", "ada").strip()
        profile = generate.Profile(hijacked=0.5)
        (tmp_path / "events.jsonl").write_bytes(
            b"".join(dumps(each) + b"\n" for each in generate.sessions(5, 20, profile, at_once=10))
        )
        found = [
            run("backtest", "events.jsonl", "--release", which, "--json", cwd=tmp_path, **trusting)
            for trusting in [{**world.trust, "DRIFTLINE_BOOTSTRAP": broker.bootstrap}]
            for which in ("@challenger", digest[:12], "challenger", "@nobody", "00000000")
        ]
    assert [each.returncode for each in found] == [0, 0, 0, 3, 3], [each.stderr for each in found]
    reports = [json.loads(each.stdout)["candidates"] for each in found[:3]]
    assert reports[0][0]["lost"] > 0
    assert reports[0] == reports[1] == reports[2]
