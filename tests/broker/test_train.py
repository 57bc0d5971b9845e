"""`driftline train --from topics` learns what stands on the bus: the very same as dumps of it give, and sessions in whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.cli import ranging, standing
from stream.events import ALERTS, DECISIONS, EVENTS, dumps
from stream.offline import study
from stream.offline.labels import store
from stream.offline.traffic import Tree
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, Sender
from tests import builders as b
from tests.broker.test_breaker import World, astray
from tests.broker.test_feedback import run

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]


def sent(settings: Settings, *sessions: list[dict[str, Any]]) -> None:
    with Sender(settings) as sender:
        for events in sessions:
            for event in events:
                sender.send(Message(EVENTS, event["session_id"].encode(), (), dumps(event)))


def offering(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same session, which declares tools: scenarios are made of them."""
    return [{**events[0], "tools": b.TOOLS}, *events[1:]]


def labelled(world: World) -> None:
    """Three sessions on the bus, judged by a worker; somebody says of two what they were: s-1 by its case, quiet by its name."""
    worker = world.worker()
    try:
        first, second, third = (offering(astray(name)) for name in ("s-1", "quiet", "s-3"))
        sent(world.settings, first, second[:2], third[:3])
        case = json.loads(world.read(ALERTS, bool)[-1].value)["finding_info"]["uid"]
        world.read(DECISIONS, lambda seen: len(seen) >= 4)
        by = ("--by", "ada", "--key", str(world.key), "--wait", "0")
        for name, verdict in ((case, "true_positive"), ("quiet", "benign")):
            said = run(world, "feedback", name, "--verdict", verdict, *by)
            assert said.returncode == 0, said.stderr
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_the_bus_and_dumps_of_it_give_training_the_same(tmp_path: Path) -> None:
    """Sessions, labels, catalogues and the digests of the manifest: beside the plan all that decides a release, byte for byte."""
    dump, file = tmp_path / "agent.events.v1.jsonl", tmp_path / "labels.jsonl"
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=3, session_timeout_s=4.0)
        topics.create(settings)
        world = World(settings, tmp_path)
        labelled(world)
        dump.write_text(run(world, "topics", "dump", "agent.events.v1").stdout)
        assert run(world, "labels", "collect", "--out", str(file)).returncode == 0
        trusting = replace(settings, responder_jwks=Path(world.environment["DRIFTLINE_RESPONDER_JWKS"]))
        bus = standing.sessions(trusting, ranging.Asked(None, None, None, None, None), 24.0)
        labels, digest = standing.labels(trusting)
    told: list[str] = []
    of_bus = study.given([], None, labels, {}, told.append, need_tools=True, bus=bus)
    of_files = study.given([dump], None, store.read([file]), {}, told.append, need_tools=True)
    assert of_bus == of_files
    assert {each["session_id"]: each["label"] for each in of_bus[0][study.BUS]} == {
        "s-1": "hijacked",
        "quiet": "benign",
    }
    assert told[: len(told) // 2] == told[len(told) // 2 :] == ["1 of 3 sessions have no label: left out"]
    assert bus.digest | digest == study.digests([dump, file])


def ids(trees: list[Tree]) -> dict[str, list[str]]:
    return {tree.events[0]["session_id"]: [event["id"] for event in tree.events] for tree in trees}


def test_a_range_has_the_sessions_that_go_on_in_it_with_what_stood_before(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=1, session_timeout_s=4.0)
        topics.create(settings)
        over, open_, late = astray("over"), astray("open"), astray("late")
        sent(settings, over, open_[:2], open_[2:], late)

        def read(begin: str | None, hours: float | None = None) -> Any:
            asked = ranging.Asked(begin, "0:11", None, None, hours)
            return standing.sessions(settings, asked, 24.0)

        whole, part, blind = read(None), read("0:6"), read("0:6", 0.0)
    assert ids(whole.trees) == {
        "over": [e["id"] for e in over],
        "open": [e["id"] for e in open_],
        "late": [e["id"] for e in late[:3]],
    }
    assert ids(part.trees) == {name: told for name, told in ids(whole.trees).items() if name != "over"}
    assert not any(tree.is_cut for tree in part.trees)
    assert part.digest == whole.digest  # the same records were read
    # Stamps of records sent at once may be equal: then all of them are read, however few hours are asked for.
    assert {*ids(blind.trees)} == {"open", "late"}
