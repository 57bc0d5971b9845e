"""The plumbing against a Kafka that trusts nobody: who may do what, and what a wrong credential is told.

Every principal holds exactly what `driftline topics --acls` lists for its role. The authorizer's own log then
shows that each right was used, so that none is too much, and that nothing was asked for and refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stream.bridge.order import addressee
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    RISK,
    case_id_of,
    dumps,
)
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell import export, topics
from stream.shell.acl_check import compare
from stream.shell.acls import Acl, acls
from stream.shell.broker import free_port
from stream.shell.checkpoints import state_topic
from stream.shell.demo import SAMPLES, sample_messages
from stream.shell.send import Message, play
from stream.shell.send import messages as in_file
from tests import builders as b
from tests.secured import ADMIN, Authority, Poison, Secured, password
from tests.unit.test_console import finding
from tests.worker import Worker, live, wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("jars"),
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
ACME, BETA = "acme.events.v1", "beta.events.v1"
INPUTS: dict[str, str | None] = {ACME: "acme", BETA: "beta"}
WORKER, SOC, BROKER, BRIDGE, TRANSMIT, RECEIVER, ONCALL, OPERATOR, DESK = (
    f"driftline-{role}"
    for role in ("worker", "soc", "broker", "bridge", "transmit", "risk", "oncall", "operator", "console")
)
ACME_AGENTS, BETA_AGENTS = "driftline-producer-acme", "driftline-producer-beta"
STATE = state_topic(ACME)
OUTPUTS = (DECISIONS, CASES, ALERTS, REVOCATIONS, RISK, ENDS, QUARANTINE, STATE, state_topic(BETA))
PROTOCOLS = ("SASL_SSL", "SSL")


@pytest.fixture(scope="module")
def secured(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(
        tmp_path_factory.mktemp("secured"),
        (WORKER, SOC, BROKER, BRIDGE, TRANSMIT, RECEIVER, ONCALL, OPERATOR, DESK, ACME_AGENTS, BETA_AGENTS),
    )
    try:
        made.cluster.start()
        yield made
    finally:
        made.cluster.stop()


class Installation:
    """Topics under a prefix of their own, made by the operator, with the rights that the list says."""

    def __init__(self, secured: Secured, prefix: str, protocol: str) -> None:
        self.secured, self.prefix, self.protocol = secured, prefix, protocol
        self.rights = acls(self.of(OPERATOR))
        secured.grant(self.rights)
        self.made = topics.create(self.of(OPERATOR))

    def of(self, name: str, **more: Any) -> Settings:
        return self.secured.settings(
            name, self.protocol, prefix=self.prefix, input_topics=dict(INPUTS), **more
        )

    def rights_of(self, *roles: str) -> list[Acl]:
        return [one for one in self.rights if one.role in roles]


@pytest.fixture(scope="module", params=PROTOCOLS)
def installed(secured: Secured, request: pytest.FixtureRequest) -> Installation:
    return Installation(secured, f"{request.param.lower().replace('_', '-')}.", request.param)


def environment(settings: Settings) -> dict[str, str]:
    """`settings` as the program reads them, defaults left away."""
    plain = asdict(Settings())
    told = {
        name: value for name, value in asdict(settings).items() if value is not None and value != plain[name]
    }
    return {
        f"DRIFTLINE_{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in told.items()
    }


def start(settings: Settings, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    more = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", *arguments],
        env={**known, **environment(settings), **more},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def driftline(settings: Settings, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command."""
    process = start(settings, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def write_error(settings: Settings, base: str, value: bytes = b'{"type":"clock.tick"}') -> str:
    """Name of the error that one record to `base` meets; empty if it is taken."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    # Not idempotent: who may write to no topic at all would fail at its producer id, before any topic.
    producer = KafkaProducer(**settings.kafka(), acks="all", enable_idempotence=False)
    try:
        producer.send(settings.topic(base), value=value, partition=0).get(timeout=20)
    except KafkaError as error:
        return type(error).__name__
    finally:
        producer.close(5)
    return ""


def send(
    settings: Settings, base: str, event: dict[str, Any], *, compression_type: str | None = None, **more: Any
) -> Any:
    """Send one event as any client may: with headers, a time and a codec of its own."""
    from kafka import KafkaProducer

    producer = KafkaProducer(
        **settings.kafka(), acks="all", compression_type=compression_type, max_request_size=1 << 30, retries=0
    )
    try:
        key = str(event.get("session_id", "")).encode()
        return producer.send(settings.topic(base), key=key, value=dumps(event), **more).get(timeout=60)
    finally:
        producer.close(5)


def read_error(settings: Settings, base: str, group: str | None = None) -> str:
    """Name of the error that a reader of `base` meets; empty if it may read."""
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    consumer = KafkaConsumer(
        **settings.kafka(), group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        if group is None:
            consumer.assign([TopicPartition(settings.topic(base), 0)])
        else:
            consumer.subscribe([settings.topic(base)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if consumer.poll(timeout_ms=500):
                break
            place = TopicPartition(settings.topic(base), 0)
            if (
                group is None
                and consumer.position(place) is not None
                and consumer.highwater(place) is not None
            ):
                break  # a fetch was answered, though the topic is empty
        else:
            return "silence"
        if group is not None:
            consumer.commit()
    except KafkaError as error:
        return type(error).__name__
    finally:
        with contextlib.suppress(KafkaError):
            consumer.close()
    return ""


REFUSED = "TopicAuthorizationFailedError"
ASKED = re.compile(
    r"Principal = User:(\S+) is (Allowed|Denied) operation = (\w+) .*? on resource = (\w+):LITERAL:(\S+) "
    r".*? based on rule (.*)$",
    re.M,
)


def asked(secured: Secured, prefix: str) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Principal, answer, operation, resource, name and rule of each question about names under `prefix`."""
    for match in ASKED.finditer(secured.audit.read_text(encoding="utf-8")):
        if match.group(5).startswith(prefix):
            yield match.groups()  # type: ignore[misc]


def policy_file(folder: Path) -> Path:
    """The shipped policy, enforcing, with sessions that are idle after three seconds, and a small budget: ticks fall due, and the
    circuit breaker holds some revocations."""
    text = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")
    text = text.replace("mode: shadow", "mode: enforce").replace("idle_minutes: 60 ", "idle_minutes: 0.05 ")
    text = text.replace("  tenant: 50\n", "  tenant: 5\n")
    assert "idle_minutes: 0.05 " in text
    assert "  tenant: 5\n" in text
    made = folder / "policy.yaml"
    made.write_text(text, encoding="utf-8")
    return made


# ------------------------------------------------------------------------------------- the whole installation


def test_worker_runs_end_to_end_and_each_right_on_the_list_is_used_and_no_other_asked_for(
    installed: Installation, tmp_path: Path
) -> None:
    secured = installed.secured
    messages = [message._replace(topic=ACME) for message in sample_messages()]
    messages.append(Message(ACME, b"silent", (), dumps(b.called("silent", 0))))  # a tick will find it idle
    play(installed.of(ACME_AGENTS), messages, None)
    play(installed.of(BETA_AGENTS), [Message(BETA, b"silent", (), dumps(b.called("silent", 0)))], None)
    send(installed.of(ACME_AGENTS), ACME, b.called("odd", 0), headers=[(Poison("x"), b"y")])
    assert write_error(installed.of(BETA_AGENTS), BETA, b"\xff") == ""
    worker = installed.of(WORKER, state_dir=tmp_path)
    everything = installed.of(ADMIN)
    log = tmp_path / "worker.log"
    with Worker(
        worker,
        log,
        environment={**environment(worker), "DRIFTLINE_POLICY_PATH": str(policy_file(tmp_path))},
    ) as running:
        calls = sum(json.loads(m.value or b"{}")["type"] == "tool.called" for m in messages)
        wait_until(lambda: len(live(everything, DECISIONS)) >= calls + 2, running, 150)
        wait_until(lambda: len(live(everything, QUARANTINE)) == 1, running)
        wait_until(lambda: bool(live(everything, ALERTS)), running)
        wait_until(lambda: bool(live(everything, REVOCATIONS)), running)
        wait_until(lambda: bool(live(everything, RISK)), running)
        wait_until(lambda: bool(live(everything, HELD)), running)
        wait_until(lambda: bool(live(everything, ENDS)), running)
        tick = dumps({"type": "clock.tick"})
        for base in INPUTS:
            wait_until(lambda base=base: tick in {v for _, v in live(everything, base)}, running)  # type: ignore[misc]
        code, _ = running.stop()
    assert code == 0, log.read_text()
    with Worker(
        worker, log, environment=environment(worker)
    ) as again:  # recovery reads the state, and act what it held
        wait_until(lambda: log.read_text().count("ready") >= 2, again)
        before = len(live(everything, ALERTS))
        drifts = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
        play(installed.of(ACME_AGENTS), [m._replace(topic=ACME) for m in in_file(drifts, run="again")], None)
        wait_until(lambda: len(live(everything, ALERTS)) > before, again)
        assert again.stop()[0] == 0, log.read_text()
    told = log.read_text()
    assert "Traceback" not in told
    assert password(WORKER) not in told
    assert {json.loads(v or b"")["tenant"] for _, v in live(everything, DECISIONS)} == {"acme", "beta"}
    readers(installed, tmp_path)
    carries_out(installed, tmp_path)
    transmits(installed, tmp_path)
    seen = [*asked(secured, installed.prefix)]
    refused = [one for one in seen if one[0] == WORKER and one[1] == "Denied"]
    # Topics that the worker has no business with are asked about when it lists what there is.
    assert {(operation, name) for _, _, operation, _, name, _ in refused} <= {
        ("DESCRIBE", installed.of(WORKER).topic(base)) for base in topics_not_of_the_worker()
    }
    # These two ask for nothing else: neither for other topics, nor for a cluster's rights as an idempotent producer would.
    assert [one for one in seen if one[0] in (BRIDGE, TRANSMIT) and one[1] == "Denied"] == []
    used = {
        (principal, resource.lower(), name, operation.lower())
        for principal, answer, operation, resource, name, rule in seen
        if answer == "Allowed" and f"operation={operation}," in rule
    }
    listed = {
        (one.principal.removeprefix("User:"), one.resource, one.name, one.operation)
        for one in installed.rights
        if one.role
        in ("worker", "soc", "broker", "bridge", "transmit", "risk", "oncall", "operator", ACME, BETA)
    }
    assert used - {one for one in used if one[0] == ADMIN} == listed


def carries_out(installed: Installation, tmp_path: Path) -> None:
    """`driftline bridge` in each of its ways that read the bus; without a provider of that name, it tells `failed` at once."""
    everything = installed.of(ADMIN)
    tokens = [value or b"" for _, value in live(everything, REVOCATIONS)]
    audiences = sorted({addressee(token) for token in tokens})
    config, jwks, secret = (tmp_path / name for name in ("bridge.yaml", "jwks.json", "secret"))
    none = {"provider": "okta", "url": "https://okta.invalid", "token_file": str(secret)}
    config.write_text(json.dumps({"audiences": audiences, "brokers": {"none": none}}), encoding="utf-8")
    jwks.write_text(json.dumps(SigningKeys(state_dir=tmp_path).jwks()), encoding="utf-8")
    bridge = installed.of(BRIDGE)
    options = ("bridge", "--dev", "--config", str(config), "--jwks", str(jwks))
    with start(bridge, *options, cwd=tmp_path) as running:
        try:
            deadline = time.monotonic() + 90
            while len(live(everything, OUTCOMES)) < len(tokens) and time.monotonic() < deadline:
                assert running.poll() is None
                time.sleep(0.5)
            time.sleep(2)  # a commit
        finally:
            running.terminate()
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "Traceback" not in err
    assert password(BRIDGE) not in err
    told = [json.loads(value or b"") for _, value in live(everything, OUTCOMES)]
    assert len(told) >= len(tokens)
    assert {each["status"] for each in told} == {"failed"}
    code, _, err = driftline(bridge, *options, "--dry-run", cwd=tmp_path)
    assert (code, "Traceback" in err) == (1, False), err  # no provider for any of them
    code, out, err = driftline(bridge, *options, "--retry-failed", cwd=tmp_path)
    assert code == 1, err
    assert "failed" in out


def transmits(installed: Installation, tmp_path: Path) -> None:
    """`driftline transmit` serves a stream, keeps it, and hands out a token that comes."""
    everything, bearer = installed.of(ADMIN), "b" * 40
    token = next(value or b"" for _, value in live(everything, REVOCATIONS))
    config, bearer_file, port = tmp_path / "ssf.yaml", tmp_path / "bearer", free_port()
    bearer_file.write_text(bearer, encoding="utf-8")
    receiver = {
        "audiences": [addressee(token)],
        "token_file": str(bearer_file),
        "stream": {"delivery": {"method": "poll"}},
    }
    url = f"http://127.0.0.1:{port}"
    content = {"url": url, "listen": {"port": port}, "receivers": {"idp": receiver}}
    config.write_text(json.dumps(content), encoding="utf-8")

    def call(path: str, body: bytes | None = None) -> Any:
        asked = urllib.request.Request(path, body, {"Authorization": f"Bearer {bearer}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read())

    transmit = installed.of(TRANSMIT, state_dir=tmp_path)
    with start(transmit, "transmit", "--dev", "--config", str(config), cwd=tmp_path) as running:
        try:
            deadline, made = time.monotonic() + 90, []
            while not made and time.monotonic() < deadline:
                assert running.poll() is None, running.communicate()
                with contextlib.suppress(OSError):
                    made = call(f"{url}/ssf/stream")
                time.sleep(0.5)
            assert write_error(everything, REVOCATIONS, token) == ""
            got = call(made[0]["delivery"]["endpoint_url"], b"{}")["sets"]
            assert list(got.values()) == [token.decode()]
        finally:
            running.terminate()
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "Traceback" not in err
    assert password(TRANSMIT) not in err


def topics_not_of_the_worker() -> set[str]:
    rights = acls(Settings(input_topics=dict(INPUTS)))
    own = {one.name for one in rights if one.role == "worker" and one.resource == "topic"}
    return {one.name for one in rights if one.resource == "topic"} - own


def readers(installed: Installation, tmp_path: Path) -> None:
    """The readers at work, in their groups where they have one, on-call's dump, and `topics check`."""
    soc, broker, receiver = installed.of(SOC), installed.of(BROKER), installed.of(RECEIVER)
    group = f"{installed.prefix}driftline"
    assert read_error(soc, ALERTS, f"{group}-soc") == ""
    assert read_error(soc, DECISIONS, f"{group}-soc") == ""
    assert read_error(soc, HELD) == ""
    assert read_error(broker, REVOCATIONS, f"{group}-broker") == ""
    assert read_error(broker, ENDS, f"{group}-broker") == ""
    assert read_error(receiver, RISK, f"{group}-risk") == ""
    code, out, err = driftline(installed.of(ONCALL), "topics", "dump", QUARANTINE, cwd=tmp_path)
    assert code == 0, err
    assert len(out.splitlines()) == len(live(installed.of(ADMIN), QUARANTINE))
    code, out, err = driftline(installed.of(OPERATOR), "topics", "check", cwd=tmp_path)
    assert code == 0, out + err
    code, out, err = driftline(soc, "topics", "dump", DECISIONS, cwd=tmp_path)
    assert code == 0, err
    assert len(out.splitlines()) == len(live(installed.of(ADMIN), DECISIONS))


def test_watch_shows_a_reader_what_it_may_read_and_says_what_not(
    installed: Installation, tmp_path: Path
) -> None:
    play(installed.of(ADMIN), [Message(DECISIONS, b"r", (), b'{"verdict":"deny","decision_id":"w"}')], None)
    with start(installed.of(SOC), "watch", "--from-beginning", cwd=tmp_path) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        line = watching.stdout.readline()
        watching.terminate()
        told = watching.stderr.read()
    assert line.startswith((DECISIONS, ALERTS))
    assert REVOCATIONS in told
    assert QUARANTINE in told
    assert "may not read it" in told


def test_audit_shows_a_reader_the_story_that_it_may_read_and_says_what_not(
    installed: Installation, tmp_path: Path
) -> None:
    name = {"tenant": "acme", "root_session_id": "audited", "session_id": "audited"}
    case = {**name, "record_id": "r", "change": 0, "time": "2026-03-02T09:00:00Z"}
    event = {**name, "type": "session.ended", "id": "1", "time": "2026-03-02T09:00:00Z"}
    held = Message(HELD, b"acme", (("breaker", b"b-1"),), dumps(case))
    another = Message(DECISIONS, b"r", (), b'{"verdict":"deny","decision_id":"x"}')
    play(installed.of(ADMIN), [held, another, Message(ACME, b"audited", (), dumps(event))], None)
    code, out, err = driftline(installed.of(SOC), "audit", "audited", "--format", "json", cwd=tmp_path)
    assert code == 0, err
    told = json.loads(out)
    assert [each["kind"] for each in told["trail"] if each["kind"] != "gap"] == ["held"]
    assert {ACME, BETA, CASES, REVOCATIONS, QUARANTINE, OUTCOMES} <= set(told["not_read"])
    assert not {ALERTS, DECISIONS, HELD} & set(told["not_read"])
    # Who writes a topic sees that it is there, and may not read it all the same.
    code, out, err = driftline(installed.of(WORKER), "audit", "audited", "--format", "json", cwd=tmp_path)
    assert code == 0, err
    told = json.loads(out)
    assert {"ended", "held"} <= {each["kind"] for each in told["trail"]}
    assert DECISIONS in told["not_read"]
    code, out, err = driftline(installed.of(RECEIVER), "show", "audited", cwd=tmp_path)
    assert (code, out) == (4, "")
    assert "may not read it" in err


def test_the_console_shows_a_soc_its_cases_and_says_what_it_may_not_read(
    installed: Installation, tmp_path: Path
) -> None:
    play(installed.of(ADMIN), [Message(ALERTS, b"acme", (), dumps(finding("shown-to-the-soc")))], None)
    with start(installed.of(SOC), "console", "--port", "0", cwd=tmp_path) as running:
        try:
            assert running.stderr is not None
            said = next(line for line in running.stderr if "the console is at" in line)
            address = re.findall(r"http://[\d.:]+", said)[0]
            deadline = time.monotonic() + 20
            while "shown-to-the-soc" not in httpx2.get(address).text:
                assert time.monotonic() < deadline, re.sub(
                    "<[^>]*>", " ", httpx2.get(f"{address}/health").text
                )
                time.sleep(0.5)
            health = httpx2.get(f"{address}/health").text
        finally:
            running.terminate()
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "Traceback" not in err
    assert password(SOC) not in err
    for base in (*INPUTS, CASES, REVOCATIONS, ENDS, OUTCOMES, FEEDBACK):
        assert re.search(rf"<td>{re.escape(base)}</td><td>0</td><td>–</td><td>not read: ", health), base
    for base in (ALERTS, DECISIONS, HELD):
        assert not re.search(rf"<td>{re.escape(base)}</td><td>\d+</td><td>–</td>", health), base


@pytest.fixture
def desk(installed: Installation) -> Iterator[None]:
    """A console of its own principal, with its rights for as long as a test takes: the list that is compared has none."""
    rights = acls(installed.of(OPERATOR), {"console": f"User:{DESK}"})
    granted = [one for one in rights if one.role == "console"]
    installed.secured.grant(granted)
    yield
    for one in granted:
        installed.secured.withdraw(one)


@pytest.mark.usefixtures("desk")
def test_a_console_with_a_key_writes_verdicts_as_the_principal_that_may_and_no_other(
    installed: Installation, tmp_path: Path
) -> None:
    from joserfc.jwk import ECKey

    case = case_id_of("acme", "judged-at-the-desk", "judged-at-the-desk")
    alert = finding("judged-at-the-desk", finding_info={"uid": case, "title": "judged at the desk"})
    play(installed.of(ADMIN), [Message(ALERTS, b"acme", (), dumps(alert))], None)
    key = tmp_path / "key.json"
    key.write_bytes(dumps(ECKey.generate_key("P-256", {"kid": "desk"}).as_dict(private=True)))
    before = len(live(installed.of(ADMIN), FEEDBACK))
    answers = {}
    for principal in (SOC, DESK):
        options = ("--port", "0", "--feedback-key", str(key))
        with start(installed.of(principal), "console", *options, cwd=tmp_path) as running:
            try:
                assert running.stderr is not None
                said = next(line for line in running.stderr if "the console is at" in line)
                address = re.findall(r"http://[\d.:]+", said)[0]
                deadline = time.monotonic() + 20
                while "judged at the desk" not in httpx2.get(address).text:
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
                page = httpx2.get(f"{address}/sessions/{case}").text
                form = re.findall(r'name="form" value="([^"]+)"', page)[0]
                given = {"form": form, "verdict": "benign", "comment": "as planned"}
                own = {"origin": address}
                answer = httpx2.post(
                    f"{address}/sessions/{case}/feedback", data=given, headers=own, timeout=90
                )
                answers[principal] = answer
            finally:
                running.terminate()
            _, err = running.communicate(timeout=60)
        assert "Traceback" not in err
    assert answers[SOC].status_code == 503
    assert "It is not known whether it was said" in answers[SOC].text
    assert "TopicAuthorizationFailed" in answers[SOC].text
    assert answers[DESK].status_code == 303
    assert len(live(installed.of(ADMIN), FEEDBACK)) == before + 1
    for base in (*INPUTS, CASES, REVOCATIONS, OUTCOMES):
        assert read_error(installed.of(DESK), base) == REFUSED
    for base in (ALERTS, CASES, HELD, OUTCOMES):
        assert write_error(installed.of(DESK), base) == REFUSED


def test_outcomes_are_the_bridge_s_memory_and_nobody_else_may_write_them(installed: Installation) -> None:
    writers = {
        one.principal for one in installed.rights if one.name.endswith(OUTCOMES) and one.operation == "write"
    }
    assert writers == {f"User:{BRIDGE}", "User:driftline-outcomes"}
    for other in (WORKER, SOC, BROKER, RECEIVER, ONCALL, OPERATOR, ACME_AGENTS):
        assert write_error(installed.of(other), OUTCOMES) == REFUSED


@pytest.mark.parametrize("base", [BETA, *OUTPUTS])
def test_a_producer_writes_its_own_input_and_nothing_else(installed: Installation, base: str) -> None:
    assert write_error(installed.of(ACME_AGENTS), base) == REFUSED


def test_a_producer_reads_nothing_not_even_its_own_input(installed: Installation) -> None:
    for base in (ACME, BETA, DECISIONS, STATE):
        assert read_error(installed.of(ACME_AGENTS), base) == REFUSED


def test_readers_read_their_own_topics_and_write_none(installed: Installation) -> None:
    for base in (ACME, STATE, CASES, REVOCATIONS, QUARANTINE, RISK, ENDS):
        assert read_error(installed.of(SOC), base) == REFUSED
    for base in (ACME, STATE, CASES, ALERTS, DECISIONS, QUARANTINE, RISK):
        assert read_error(installed.of(BROKER), base) == REFUSED
    for base in (ACME, STATE, CASES, ALERTS, DECISIONS, QUARANTINE, RISK, ENDS):
        assert read_error(installed.of(BRIDGE), base) == REFUSED
    for base in (ACME, STATE, CASES, ALERTS, DECISIONS, QUARANTINE, OUTCOMES, ENDS):
        assert read_error(installed.of(TRANSMIT), base) == REFUSED
    for base in (ACME, STATE, REVOCATIONS, DECISIONS, QUARANTINE):
        assert read_error(installed.of(RECEIVER), base) == REFUSED
    for base in (ACME, STATE, CASES, DECISIONS):
        assert read_error(installed.of(ONCALL), base) == REFUSED
    for base in (ACME, *OUTPUTS):
        for reader in (SOC, BROKER, BRIDGE, TRANSMIT, RECEIVER, ONCALL):
            assert write_error(installed.of(reader), base) == REFUSED


def test_another_group_s_offsets_are_out_of_a_reader_s_reach(installed: Installation) -> None:
    assert read_error(installed.of(SOC), ALERTS, f"{installed.prefix}driftline-act") == (
        "GroupAuthorizationFailedError"
    )


def test_a_right_that_is_missing_stops_the_worker_with_exit_code_4(
    installed: Installation, tmp_path: Path
) -> None:
    if installed.protocol != "SASL_SSL":
        pytest.skip("rights do not depend on how a principal proves itself")
    worker = installed.of(WORKER, state_dir=tmp_path)
    wanted = [
        one
        for one in installed.rights_of("worker")
        if (one.operation, one.name) in {("write", worker.topic(DECISIONS)), ("write", worker.topic(STATE))}
    ]
    assert len(wanted) == 2
    log = tmp_path / "worker.log"
    for one in wanted:
        installed.secured.withdraw(one)
        try:
            with Worker(worker, log, environment=environment(worker)) as running:
                play(
                    installed.of(ACME_AGENTS),
                    [Message(ACME, b"late", (), dumps({**b.called("late", 0), "id": f"late/{one.name}"}))],
                    None,
                )
                assert running.process.wait(150) == 4, log.read_text()
        finally:
            installed.secured.grant([one])
    told = log.read_text()
    assert "Traceback" not in told
    assert told.count("driftline topics --acls") == len(wanted)


def test_the_cluster_s_rights_are_compared_with_the_list(installed: Installation) -> None:
    admin = installed.of(ADMIN)
    assert compare(admin, installed.rights) == []
    extra = Acl("soc", f"User:{SOC}", "topic", admin.topic(STATE), "read", "")
    installed.secured.grant([extra])
    installed.secured.withdraw(installed.rights[0])
    try:
        found = compare(admin, installed.rights)
    finally:
        installed.secured.grant([installed.rights[0]])
        installed.secured.withdraw(extra)
    first = installed.rights[0]
    assert found == [
        f"missing: {first.principal} {first.operation} topic {first.name}",
        f"too much: allow User:{SOC} read literal topic {extra.name} from *",
    ]


# ---------------------------------------------------------------------------------------- a false clock


def test_a_producer_s_own_timestamp_expires_nobody_s_session(installed: Installation) -> None:
    """LogAppendTime: the broker's stamp replaces the producer's, ten years ahead."""
    ahead = int(time.time() * 1000) + 10 * 365 * 86_400_000
    sent = send(installed.of(ACME_AGENTS), ACME, {"type": "clock.tick"}, timestamp_ms=ahead)
    records = [r for r, _ in export.records(installed.of(ADMIN), ACME) if r.offset == sent.offset]
    assert [r.timestamp_type for r in records] == ["append"]
    assert abs(records[0].timestamp_ms - time.time() * 1000) < 60_000


def test_a_batch_that_expands_beyond_the_record_limit_is_refused_by_the_broker(
    installed: Installation,
) -> None:
    """Forty MiB in forty KiB: taken as it comes it would grow in every reader, a gigabyte as well."""
    from kafka.errors import MessageSizeTooLargeError

    bomb = b.called("bomb", 0, arguments={"x": "a" * (40 << 20)})
    with pytest.raises(MessageSizeTooLargeError):
        send(installed.of(ACME_AGENTS), ACME, bomb, compression_type="gzip")
    small = b.called("small", 0, arguments={"x": "a" * 100_000})
    assert send(installed.of(ACME_AGENTS), ACME, small, compression_type="gzip").offset >= 0


# ------------------------------------------------------------------------------- wrong certificates, passwords


def wrong(installed: Installation, what: str, tmp_path: Path) -> tuple[Settings, str]:
    """Settings with one thing wrong, and what must be told."""
    good = installed.of(WORKER, state_dir=tmp_path)
    if what == "authority":
        return replace(good, ssl_cafile=Authority(tmp_path / "other", "other").file), "DRIFTLINE_SSL_CAFILE"
    if what == "protocol":
        plain = {"sasl_username": None, "sasl_password": None, "ssl_certfile": None, "ssl_keyfile": None}
        return replace(good, security_protocol="PLAINTEXT", **plain), "DRIFTLINE_SECURITY_PROTOCOL"
    if installed.protocol == "SASL_SSL":
        changed = {
            "password": ({"sasl_password": "Tr0ub4dor"}, "DRIFTLINE_SASL_PASSWORD"),
            "user": ({"sasl_username": "nobody"}, "DRIFTLINE_SASL_USERNAME"),
            "mechanism": ({"sasl_mechanism": "PLAIN"}, "DRIFTLINE_SASL_MECHANISM"),
        }
        more, told = changed[what]
        return replace(good, **more), told
    if what == "none":
        return replace(good, ssl_certfile=None, ssl_keyfile=None), "DRIFTLINE_SSL_CERTFILE"
    signer = Authority(tmp_path / "x", "x") if what == "signer" else installed.secured.authority
    cert, key = signer.issue(WORKER, days=-1 if what == "expired" else 1, into=tmp_path / what)
    return replace(good, ssl_certfile=cert, ssl_keyfile=key), "refuses our certificate"


def test_a_wrong_credential_is_told_in_one_sentence_with_exit_code_4_and_no_secret(
    installed: Installation, tmp_path: Path
) -> None:
    own = (
        ("password", "user", "mechanism")
        if installed.protocol == "SASL_SSL"
        else ("none", "signer", "expired")
    )
    told: dict[str, str] = {}
    running = {}
    for what in ("authority", "protocol", *own):  # at once: each client tries again for ten seconds
        settings, told[what] = wrong(installed, what, tmp_path)
        command = ("worker",) if what == own[0] else ("topics", "check")
        running[what] = start(settings, *command, cwd=tmp_path)
    for what, process in running.items():
        out, err = process.communicate(timeout=120)
        assert process.returncode == 4, (what, err)
        lines = [line for line in err.splitlines() if "cannot be used" in line]
        assert len(lines) == 1, (what, err)
        assert told[what] in lines[0]
        assert "Traceback" not in err
        for secret in ("Tr0ub4dor", password(WORKER), "PRIVATE KEY"):
            assert secret not in err + out


# --------------------------------------------------------------------------------------------- rotation


def test_a_client_certificate_replaced_on_disk_serves_the_next_connection(
    secured: Secured, tmp_path: Path
) -> None:
    from models.errors import BrokerError

    live_at = tmp_path / "live"
    cert, key = secured.authority.issue(ADMIN, into=live_at)
    settings = replace(secured.settings(ADMIN, "SSL"), ssl_certfile=cert, ssl_keyfile=key)
    context = settings.ssl_context()
    held = replace_context(settings, context)
    assert topics.admin_client(held).list_topics() is not None
    for old, new in zip(
        (cert, key), secured.authority.issue(ADMIN, days=-1, into=tmp_path / "old"), strict=True
    ):
        shutil.copy(new, old)
    with pytest.raises(BrokerError, match="refuses our certificate"):
        topics.admin_client(held)
    for old, new in zip((cert, key), secured.authority.issue(ADMIN, into=tmp_path / "new"), strict=True):
        shutil.copy(new, old)
    assert topics.admin_client(held).list_topics() is not None


class _OneContext(Settings):
    """Settings whose context is made once, as the worker's is."""

    def ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = self.__dict__["context"]
        return context


def replace_context(settings: Settings, context: ssl.SSLContext) -> Settings:
    made = _OneContext(**{name: getattr(settings, name) for name in asdict(settings)})
    made.__dict__["context"] = context
    return made


def test_the_worker_goes_on_over_a_rotation_of_its_certificate(
    installed: Installation, tmp_path: Path
) -> None:
    """Both certificate and broker are new: every connection is made again, with what lies on the disk then."""
    if installed.protocol != "SSL":
        pytest.skip("a certificate of the client's own is mTLS")
    cert, key = installed.secured.authority.issue(WORKER, into=tmp_path / "live")
    worker = installed.of(WORKER, state_dir=tmp_path, ssl_certfile=cert, ssl_keyfile=key)
    everything = installed.of(ADMIN)
    log = tmp_path / "worker.log"
    before = {value for _, value in live(everything, DECISIONS)}
    with Worker(worker, log, environment=environment(worker)) as running:
        wait_until(lambda: "ready" in log.read_text(), running)
        fresh = installed.secured.authority.issue(WORKER, into=tmp_path / "new")
        for old, new in zip((cert, key), fresh, strict=True):
            shutil.copy(new, old)
        installed.secured.node.stop()
        installed.secured.node.start()
        installed.secured.cluster.wait()
        play(
            installed.of(BETA_AGENTS),
            [Message(BETA, b"rot", (), dumps(b.called("rot", 0, time="2026-01-01T00:00:00Z")))],
            None,
        )
        wait_until(lambda: {value for _, value in live(everything, DECISIONS)} > before, running)
        assert running.stop()[0] == 0, log.read_text()
    assert "TLS files were read again" in log.read_text()
    assert "kept as they were" not in log.read_text()
