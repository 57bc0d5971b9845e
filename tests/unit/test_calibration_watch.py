"""The worker's alarm: sessions in the order in which they began, bounded, and no reason ever to stop judging."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

import tests.builders as b
from models.promise.alarm import Alarm, tie
from stream import bootstrap
from stream.core.partition import Partition
from stream.core.releases import Release
from stream.offline import promise
from stream.offline.generate import Profile, sessions
from stream.policy import load_policy
from stream.shell import calibration_watch
from stream.shell.calibration_watch import CalibrationWatch

MODEL = b.shipped_model()
POLICY = load_policy(mode="enforce")
PLAIN = bootstrap.make_release(MODEL, POLICY)
USUAL = Profile(hijacked=0.0, calls=(2, 5))
N = 60


def events(seed: int, profile: Profile = USUAL, at_once: int = 1) -> list[dict[str, Any]]:
    return list(sessions(seed, N, profile, at_once=at_once))


def seen_in(listed: Iterable[dict[str, Any]]) -> dict[tuple[str, str], promise.Seen]:
    run = b.play(listed, bundled=PLAIN)
    return promise.sessions((("here", one) for one in run.decisions), PLAIN.name)


@pytest.fixture(scope="module")
def promising() -> Release:
    """The bundled release with a promise by sixty usual sessions."""
    seen = seen_in(events(1))
    alone = promise.alerting(POLICY)
    asked = promise.Asked("session", Fraction(1, 10), Fraction(0), "session")
    told = promise.document(promise.make(seen, asked, alone, lambda _: (0, 10_000)), seen, alone)
    return PLAIN._replace(scorer=dataclasses.replace(MODEL, manifest={**MODEL.manifest, "promise": told}))


class Watched:
    """A judge with a watch, step by step, as the stage runs it."""

    def __init__(self, release: Release) -> None:
        self.judge = b.judge(release)
        self.registry = CollectorRegistry()
        gauge = Gauge("wealth", "w", ["tenant", "of"], registry=self.registry)
        self.watch = CalibrationWatch(self.judge.releases, gauge)
        self.partition = Partition.empty()

    def feed(self, listed: Iterable[dict[str, Any]], batch: int = 7) -> Watched:
        records = b.log(listed)
        for at in range(0, len(records), batch):
            step = self.judge.judge(self.partition, records[at : at + batch])
            self.partition.apply(step.changes)
            self.watch.take(step.outputs, step.changes)
        return self

    def wealth(self, tenant: str = "(all)", of: str = "now") -> float | None:
        return self.registry.get_sample_value("wealth", {"tenant": tenant, "of": of})


def expected(release: Release, listed: list[dict[str, Any]]) -> Alarm:
    """The alarm over these sessions in the order of their first calls."""
    told = promise.read(release.scorer.manifest)  # type: ignore[attr-defined]
    assert told is not None
    alarm = Alarm(promise.scores_of(told["pooled"]))
    for name, one in seen_in(listed).items():
        alarm.take(promise.score(one, set(told["signals"])), tie(*name))
    return alarm


@pytest.mark.parametrize("at_once", [1, 6])
def test_sessions_are_bet_on_as_they_began_whatever_the_batches(promising: Release, at_once: int) -> None:
    listed = events(2, at_once=at_once)
    wanted = expected(promising, listed)
    for batch in (1, 7, 500):
        found = Watched(promising).feed(listed, batch)
        assert found.wealth() == pytest.approx(wanted.wealth)
        assert found.wealth(of="highest") == pytest.approx(wanted.highest)
    assert wanted.sessions == N
    assert not wanted.rings()


def test_a_session_waits_for_those_that_began_before_it(promising: Release) -> None:
    listed = events(2)
    first = listed[0]["session_id"]
    held = [
        event for event in listed if not (event["session_id"] == first and event["type"] == "session.ended")
    ]
    assert Watched(promising).feed(held).wealth() is None
    end = next(event for event in listed if event["session_id"] == first and event["type"] == "session.ended")
    assert Watched(promising).feed([*held, end]).wealth() == pytest.approx(expected(promising, listed).wealth)


def test_a_tenant_to_which_nothing_is_promised_is_not_bet_on(promising: Release) -> None:
    told = promise.read(promising.scorer.manifest)  # type: ignore[attr-defined]
    assert told is not None
    listed = events(2)
    tenants = {str(event.get("tenant", "default")) for event in listed}
    without = {**told, "refused": dict.fromkeys(tenants, "why")}
    scorer = dataclasses.replace(MODEL, manifest={**MODEL.manifest, "promise": without})
    assert Watched(promising).feed(listed).wealth() is not None
    assert Watched(promising._replace(scorer=scorer)).feed(listed).wealth() is None


def test_other_traffic_rings(promising: Release) -> None:
    listed = [
        {**event, "tool": f"x_{event['tool']}"} if event["type"] == "tool.called" else event
        for event in events(2)
    ]
    highest = Watched(promising).feed(listed).wealth(of="highest")
    assert highest is not None
    assert highest >= 2


def test_a_release_without_a_promise_has_no_alarm() -> None:
    found = Watched(PLAIN).feed(events(2))
    assert found.wealth() is None
    assert not found.watch._followed


def test_a_session_seen_from_its_middle_is_left_out(promising: Release) -> None:
    listed = events(2)
    calls = [n for n, event in enumerate(listed) if event["type"] == "tool.called"]
    judge = Watched(promising)
    quiet = judge.watch
    judge.watch = CalibrationWatch({}, Gauge("none", "n", ["tenant", "of"], registry=CollectorRegistry()))
    judge.feed(listed[: calls[0] + 1])
    judge.watch = quiet
    judge.feed(listed[calls[0] + 1 :])
    rest = [event for event in listed if event["session_id"] != listed[0]["session_id"]]
    assert judge.wealth() == pytest.approx(expected(promising, rest).wealth)


def test_what_is_followed_is_bounded(promising: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_watch, "MOST_FOLLOWED", 10)
    unended = [event for event in events(2) if event["type"] != "session.ended"]
    found = Watched(promising).feed(unended, batch=1)
    assert len(found.watch._followed) == len(found.watch._seen) == 10


@pytest.mark.parametrize("told", [{"version": 1}, {"version": 99}, "x", 7])
def test_a_promise_that_cannot_be_read_is_passed_over(told: Any, promising: Release) -> None:
    broken = PLAIN._replace(scorer=dataclasses.replace(MODEL, manifest={**MODEL.manifest, "promise": told}))
    assert Watched(broken).feed(events(2)[:40]).wealth() is None


def test_a_fault_in_the_watch_ends_the_watch_and_nothing_else(
    promising: Release, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("secret text")

    monkeypatch.setattr(promise, "fold", fails)
    found = Watched(promising).feed(events(2)[:60])
    assert found.partition.states
    assert [record.message for record in caplog.records].count(
        "the alarm of the promise on false alerts is off until the worker starts again"
    ) == 1
