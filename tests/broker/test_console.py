"""The console on a bus: live, through a broker that is away, and without what may not be read."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kafka import KafkaProducer

from stream.events import ALERTS, DECISIONS, EVENTS, case_id_of, dumps
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, Sender
from tests.broker.test_breaker import World, astray
from tests.command import CommandProcess
from tests.secured import Authority, Poison
from tests.unit.test_console import TOKEN, finding

pytestmark = pytest.mark.broker
WITHIN_S = 30.0


@contextmanager
def console(
    settings: Settings, log: Path, *options: str, **environment: str
) -> Iterator[tuple[CommandProcess, str]]:
    """``driftline console`` as a process, and its address."""
    with CommandProcess(settings, ["console", "--port", "0", *options], environment, log) as running:
        running.wait_said("the console is at")
        found = re.search(r"the console is at (\S+)/;", running.said())
        assert found is not None
        yield running, found[1]


def publish(
    settings: Settings, base: str, *documents: Any, headers: Sequence[tuple[str, bytes]] = ()
) -> None:
    producer = KafkaProducer(**settings.kafka(), acks="all")
    try:
        named, of = settings.topic(base), list(headers)
        for sent in [producer.send(named, dumps(each), b"acme", headers=of) for each in documents]:
            sent.get(30)
    finally:
        producer.close()


def wait(what: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def shows(address: str, text: str, path: str = "/") -> Callable[[], bool]:
    return lambda: text in httpx2.get(address + path, timeout=10).text


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def test_a_page_is_live_and_loses_nothing_while_the_broker_is_away(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=2, prefix="live.")
    topics.create(settings)
    publish(settings, ALERTS, finding("first"))
    with console(settings, tmp_path / "log") as (running, address):
        wait(shows(address, "1 case, by risk"))
        with httpx2.stream("GET", f"{address}/live", timeout=WITHIN_S) as live:
            events = live.iter_lines()
            assert live.headers["content-type"].startswith("text/event-stream")
            seen = _news(events)
            publish(settings, ALERTS, finding("second"), headers=[(Poison("no text"), b"")])
            assert _news(events) != seen
        wait(shows(address, "2 cases, by risk"))
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            wait(shows(address, "The broker has not answered"), 60)
            assert shows(address, "2 cases, by risk")()
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        publish(settings, ALERTS, *(finding(f"later-{n}") for n in range(20)))
        wait(shows(address, "22 cases, by risk"))
        wait(lambda: not shows(address, "The broker has not answered")())
        # Each record once: nothing was lost, nothing read again.
        wait(shows(address, "<td>agent.alerts.v1</td><td>22</td><td>0</td>", "/health"))
        assert running.stop() == 0
    assert "Traceback" not in running.said()


def _news(lines: Iterator[str]) -> str:
    return next(line for line in lines if line.startswith("id: "))


def test_what_is_missing_or_may_not_be_read_is_said(broker: EmbeddedBroker, tmp_path: Path) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="some.")
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(**settings.kafka())
    admin.create_topics([NewTopic(settings.topic(ALERTS), 1, 1)])
    admin.close()
    publish(settings, ALERTS, finding("only"))
    with console(settings, tmp_path / "log", "--days", "0") as (_, address):
        wait(shows(address, "1 case, by risk"))
        health = httpx2.get(f"{address}/health").text
        assert re.search(rf"<td>{re.escape(DECISIONS)}</td><td>0</td><td>–</td><td>not read: ", health)
        assert "this reader may not read them" in health


def test_with_a_token_loopback_asks_for_it_too(broker: EmbeddedBroker, tmp_path: Path) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="token.")
    topics.create(settings)
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    with console(settings, tmp_path / "log", DRIFTLINE_CONSOLE_TOKEN_FILE=str(tmp_path / "token")) as (
        running,
        address,
    ):
        assert httpx2.get(address).status_code == 401
        assert httpx2.get(address, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        signed_in = httpx2.post(f"{address}/login", data={"token": TOKEN}, headers={"origin": address})
        assert signed_in.status_code == 303
        assert httpx2.get(address, headers={"host": "evil.example"}).status_code == 421
    assert TOKEN not in running.said()


def test_with_a_key_a_verdict_closes_the_case_on_the_bus_and_another_opens_it_again(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, session_timeout_s=20.0)
    topics.create(settings)
    world = World(settings, tmp_path)
    kid = json.loads(world.key.read_bytes())["kid"]
    with Sender(settings) as sender:
        for event in astray("s-1"):
            sender.send(Message(EVENTS, b"s-1", (), dumps(event)))
    worker = world.worker()
    case = case_id_of("acme", "s-1", "s-1")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    options = ("--feedback-key", str(world.key), "--token-file", str(tmp_path / "token"), "--days", "0")
    try:
        with console(settings, tmp_path / "log", *options) as (running, address):
            bearer = {"authorization": f"Bearer {TOKEN}"}
            with httpx2.Client(headers=bearer, base_url=address, timeout=90) as browser:

                def say(verdict: str) -> Any:
                    form = re.findall(r'name="form" value="([^"]+)"', browser.get(f"/sessions/{case}").text)[
                        0
                    ]
                    given = {"form": form, "verdict": verdict, "comment": "the payee is ours"}
                    return browser.post(f"/sessions/{case}/feedback", data=given, headers={"origin": address})

                wait(lambda: 'name="form"' in browser.get(f"/sessions/{case}").text, 60)
                assert say("false_positive").status_code == 303
                told = f"false_positive</b> by <bdi>{kid}</bdi>, signed by <code>{kid}</code>"
                wait(lambda: told in browser.get(f"/sessions/{case}").text, 60)
                assert "Suppressed" in browser.get("/").text
                assert say("reopen").status_code == 303
                wait(lambda: f"reopen</b> by <bdi>{kid}</bdi>" in browser.get(f"/sessions/{case}").text, 60)
            assert running.stop() == 0
        assert "Traceback" not in running.said()
        assert TOKEN not in running.said()
        assert "the payee is ours" not in running.said()
    finally:
        worker.terminate()
        worker.wait(30)


@pytest.mark.parametrize(
    ("option", "content", "says"),
    [
        ("--oidc", "issuer: http://sso.example.com", "in the clear"),
        ("--oidc", "x: [", "no YAML"),
        ("--feedback-key", '{"kty": "EC"}', "--feedback-key"),
    ],
)
def test_a_file_that_is_no_good_ends_it_with_a_sentence(
    broker: EmbeddedBroker, tmp_path: Path, option: str, content: str, says: str
) -> None:
    (tmp_path / "file").write_text(content, encoding="utf-8")
    arguments = ["console", "--port", "0", option, str(tmp_path / "file")]
    with CommandProcess(Settings(bootstrap=broker.bootstrap), arguments, {}, tmp_path / "log") as running:
        assert running.ended(60) == 2
        assert says in running.said()
        assert "Traceback" not in running.said()


def test_over_tls_it_is_asked_by_its_name_alone(broker: EmbeddedBroker, tmp_path: Path) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="tls.")
    topics.create(settings)
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("localhost")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    options = ("--token-file", str(tmp_path / "token"), "--certificate", str(certificate), "--key", str(key))
    named = ("--host", "0.0.0.0", "--name", "localhost")
    trusted = ssl.create_default_context(cafile=authority.file)
    with console(settings, tmp_path / "log", *named, *options) as (_, address):
        assert address.startswith("https://localhost:")
        with httpx2.Client(verify=trusted) as browser:
            signed_in = browser.post(f"{address}/login", data={"token": TOKEN}, headers={"origin": address})
            assert (signed_in.status_code, "Secure" in signed_in.headers["set-cookie"]) == (303, True)
            assert browser.get(address).status_code == 200
            assert (
                browser.get(address, headers={"host": address.split("//")[1]}).status_code == 200
            )  # it listens there
            assert browser.get(address, headers={"host": "evil.example"}).status_code == 421
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(address.replace("https", "http"))


def test_without_a_broker_it_ends_with_a_sentence(tmp_path: Path) -> None:
    nowhere = Settings(bootstrap="127.0.0.1:1")
    with CommandProcess(nowhere, ["console", "--port", "0"], {}, tmp_path / "log") as running:
        assert running.ended(60) == 4
        assert "127.0.0.1:1" in running.said()
        assert "Traceback" not in running.said()
