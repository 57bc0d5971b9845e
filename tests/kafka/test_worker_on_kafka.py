"""What only a real broker shows: its stamps and ticks, takeovers, the truth of health and readiness."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from stream import policy as policies
from stream.events import CASES, DECISIONS, EVENTS, FEEDBACK, OUTCOMES, QUARANTINE, dumps
from stream.settings import Settings
from stream.shell import topics
from stream.shell.demo import sample_messages
from stream.shell.send import Message, play
from stream.shell.topic_check import check
from tests.broker.test_reading import told_of
from tests.cluster import Cluster, free_ports
from tests.worker import Worker, live, make_anew, read, replayed, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

IDLE_S = 3.0


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    """The bundled policy, with sessions that are over after three silent seconds."""
    policy = yaml.safe_load((Path(policies.__file__).parent / "policy.yaml").read_text(encoding="utf-8"))
    policy["limits"]["idle_minutes"] = IDLE_S / 60
    path = tmp_path / "impatient.yaml"
    path.write_text(yaml.safe_dump(policy), encoding="utf-8")
    return path


def declared(session: str) -> Message:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {
        "type": "session.declared",
        "id": f"{session}/0",
        "session_id": session,
        "seq": 0,
        "time": now,
        "intent": {"text": "look a ticket up"},
        "credentials": [{"broker": "demo", "kind": "jti", "value": session}],
    }
    return Message(EVENTS, session.encode(), (), dumps(event))


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_topics_are_stamped_by_the_broker(on_kafka: Settings) -> None:
    assert check(on_kafka) == []
    play(on_kafka, sample_messages()[:5], None)
    assert {record.timestamp_type for record in read(on_kafka, EVENTS)} == {"append"}


def test_a_silent_session_ends_by_a_tick_and_once(
    on_kafka: Settings, impatient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_POLICY_PATH", str(impatient))
    settings = on_kafka
    log = tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        play(settings, [declared("quiet")], None)
        wait_until(lambda: len(live(settings, CASES)) >= 1, worker, limit_s=60)
        time.sleep(IDLE_S + 2)
        assert worker.stop()[0] == 0
    ticks = [r for r in read(settings, EVENTS) if b"clock.tick" in (r.value or b"")]
    assert 1 <= len(ticks) <= 2, "one tick brings the end about; quiet partitions without deadlines get none"
    cases = [json.loads(value or b"") for _, value in live(settings, CASES)]
    assert [case["session_id"] for case in cases] == ["quiet"], "it owed the end of its credentials, once"
    assert read(settings, QUARANTINE) == []
    again = Settings.from_environment(
        bootstrap=settings.bootstrap, prefix=settings.prefix, partitions=settings.partitions
    )
    expected, _ = replayed(again)
    assert live(settings, CASES) == expected[CASES]


def called(base: str, session: str, n: int) -> list[Message]:
    """A session of `n` calls as records of the input topic `base`."""
    first = json.loads(declared(session).value)
    events = [first] + [
        {
            **{name: first[name] for name in ("session_id", "time")},
            "type": "tool.called",
            "id": f"{session}/{seq}",
            "seq": seq,
            "call_id": str(seq),
            "tool": "get_ticket",
            "arguments": {"id": seq},
        }
        for seq in range(1, n + 1)
    ]
    return [Message(base, session.encode(), (), dumps(event)) for event in events]


def decided(settings: Settings) -> set[tuple[str, str]]:
    """Tenant and event of every decision on the bus."""
    found = (json.loads(value or b"") for _, value in live(settings, DECISIONS))
    return {(one["tenant"], one["event_id"]) for one in found}


def test_a_tenant_that_comes_first_in_the_setting_takes_nobody_s_state(
    on_kafka: Settings, tmp_path: Path
) -> None:
    """Another order of input topics, or one more, must not give a topic the state, and so the offset, of another."""
    log = tmp_path / "worker.log"

    def run(inputs: dict[str, str | None], expected: int) -> None:
        settings = replace(on_kafka, input_topics=inputs)
        topics.create(settings)
        with Worker(settings, log, environment={"DRIFTLINE_INPUT_TOPICS": json.dumps(inputs)}) as worker:
            for base, tenant in inputs.items():
                play(settings, called(base, f"{tenant}-{len(inputs)}", 5), None)
            wait_until(lambda: len(decided(on_kafka)) >= expected, worker)
            assert worker.stop()[0] == 0, log.read_text()

    run({"beta.events.v1": "beta"}, 5)
    run({"acme.events.v1": "acme", "beta.events.v1": "beta"}, 15)
    assert len(decided(on_kafka)) == 15
    assert live(on_kafka, QUARANTINE) == []


def test_an_input_topic_made_anew_is_judged_from_its_beginning(on_kafka: Settings, tmp_path: Path) -> None:
    """Offsets begin again: a state that knows higher ones is another log's, and must not hide what comes."""
    settings, log = on_kafka, tmp_path / "worker.log"
    with Worker(settings, log) as worker:
        play(settings, called(EVENTS, "before", 40), None)
        wait_until(lambda: len(decided(settings)) >= 40, worker)
        assert worker.stop()[0] == 0, log.read_text()
    make_anew(settings, EVENTS)
    with Worker(settings, log) as worker:
        play(settings, called(EVENTS, "before", 3), None)  # of the same session, so in the same partition
        play(settings, called(EVENTS, "after", 3), None)
        wait_until(lambda: ("default", "after/3") in decided(settings), worker)
        wait_until(lambda: "begins again at offset 0" in log.read_text(), worker)
        assert worker.stop()[0] == 0, log.read_text()
    with Worker(settings, log) as worker:  # and its state is the one that the next owner finds
        play(settings, [called(EVENTS, "before", 4)[-1], called(EVENTS, "after", 4)[-1]], None)
        wait_until(lambda: {("default", "before/4"), ("default", "after/4")} <= decided(settings), worker)
        assert worker.stop()[0] == 0
    assert log.read_text().count("begins again") == 1


def test_health_and_readiness_tell_the_truth(on_kafka: Settings, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = Settings.from_environment(
        {}, **{**vars(on_kafka), "metrics_port": port, "state_dir": tmp_path}
    )
    play(settings, sample_messages(), None)
    _, n = replayed(settings)
    log = tmp_path / "worker.log"
    seen: list[int] = []
    with Worker(settings, log) as worker:

        def ready() -> bool:
            seen.append(fetch(port, "/readyz")[0])
            return seen[-1] == 200

        wait_until(ready, worker)
        assert 503 in seen, "not ready while it joins"
        assert fetch(port, "/healthz") == (200, "ok\n")
        assert fetch(port, "/nowhere")[0] == 404
        wait_until(lambda: len(live(settings, DECISIONS)) >= n, worker)

        def sample(text: str, name: str) -> float:
            return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

        def durable() -> bool:
            text = fetch(port, "/metrics")[1]  # gauges are renewed every second
            waits = sample(text, "driftline_checkpoint_age_seconds") + sample(text, "driftline_lag_records{")
            return sample(text, "driftline_states{") > 0 == waits  # act's share of the lag is worked off last

        wait_until(durable, worker)
        text = fetch(port, "/metrics")[1]
        assert sample(text, "driftline_decisions_total") == n
        assert sample(text, "driftline_state_bytes{") > sample(text, "driftline_states{") > 0
        assert sample(text, 'driftline_decision_seconds_bucket{le="+Inf"}') == len(read(settings, EVENTS))
        assert sample(text, "driftline_recovery_seconds_count") >= 1
        worker.pause()
        assert fetch(port, "/readyz")[0] == 0
        worker.resume()
        assert worker.stop()[0] == 0, log.read_text()


@pytest.mark.timeout(420)
def test_a_worker_whose_broker_is_away_is_alive_and_not_ready(jars: None, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Cluster(1, tmp_path / "cluster") as cluster:
        settings = Settings.from_environment(
            {},
            bootstrap=cluster.bootstrap,
            prefix="away.",
            partitions=4,
            metrics_port=port,
            state_dir=tmp_path,
        )
        topics.create(settings)
        with Worker(settings, tmp_path / "worker.log") as worker:
            wait_until(lambda: fetch(port, "/readyz")[0] == 200, worker)
            (node,) = cluster.nodes
            node.pause()
            wait_until(lambda: fetch(port, "/readyz")[0] == 503, worker, limit_s=50)
            assert fetch(port, "/healthz")[0] == 200, "a restart would mend nothing"
            node.resume()
            wait_until(lambda: fetch(port, "/readyz")[0] == 200, worker, limit_s=60)
            play(settings, sample_messages(), None)
            _, n = replayed(settings)
            wait_until(lambda: len(live(settings, DECISIONS)) >= n, worker)
            assert worker.stop()[0] == 0


def read_by_both(settings: Settings, stage: str) -> set[str]:
    """Topics of which each of two workers has at least one partition in a stage's group."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(**settings.kafka())
    try:
        group = f"{settings.prefix}{settings.group}-{stage}"
        given = [m["member_assignment"] or {} for m in admin.describe_groups([group])[group]["members"]]
        topics = [{row["topic"] for row in one.get("assigned_partitions", ())} for one in given]
        return topics[0] & topics[1] if len(topics) == 2 else set()
    finally:
        admin.close()


def test_a_second_worker_takes_half_and_gives_it_back(on_kafka: Settings, tmp_path: Path) -> None:
    settings = on_kafka
    played = sample_messages()
    third = len(played) // 3
    log = tmp_path / "worker.log"
    other = tmp_path / "other.log"
    with Worker(settings, log) as first:
        play(settings, played[:third], None)
        wait_until(lambda: len(live(settings, DECISIONS)) >= 5, first)
        with Worker(settings, other) as second:
            wait_until(lambda: b" is ours" in other.read_bytes(), second)
            play(settings, played[third : 2 * third], None)
            wait_until(second.ready, second)
            for stage, topics in {"judge": [EVENTS], "act": [CASES, FEEDBACK, OUTCOMES]}.items():
                names = {settings.topic(topic) for topic in topics}
                wait_until(lambda stage=stage, names=names: read_by_both(settings, stage) == names, second)
            assert second.stop()[0] == 0, other.read_text()
        play(settings, played[2 * third :], None)
        _, n = replayed(settings)
        wait_until(lambda: len({value for _, value in live(settings, DECISIONS)}) >= n, first)
        assert first.stop()[0] == 0, log.read_text()
    expected, n = replayed(settings)
    values = [value for _, value in live(settings, DECISIONS)]
    assert sorted(values) == sorted(value for _, value in expected[DECISIONS]), "none lost, none twice"
    ours = [line for line in log.read_text().splitlines() if " is ours: " in line]
    assert len(ours) < 3 * settings.partitions, "what stayed with the first worker was not read again"


def test_act_reads_back_two_hours_of_cases_and_a_day_of_alerts(kafka: str) -> None:
    settings = Settings(bootstrap=kafka, prefix="past.", partitions=4)
    topics.create(settings)
    admin = KafkaAdminClient(**settings.kafka())
    stamped = {"message.timestamp.type": "CreateTime"}  # only so can a test write into the past
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(CASES), stamped)])
    admin.close()
    told = told_of(settings)
    assert told.cases == {0: [b"a", b"b"], 1: [b"c", b"d"]}
    assert told.held == {1: [b"h"]}
    assert sorted(told.alerts) == [b"x", b"z"]
    assert told.calls == 2
