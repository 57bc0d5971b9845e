"""The emitter that users copy, against a broker and a worker: the answer comes in time to stop a call."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from models.release.registry import NullModel
from stream import bootstrap
from stream.policy import load_policy
from stream.settings import Settings
from stream.shell import app

settings = Settings.from_environment()
release = bootstrap.make_release(NullModel(), load_policy(mode="enforce"))
sys.exit(app.run(settings, judge=bootstrap.judge_with(settings, release), actor=bootstrap.actor(settings),
                 announce=lambda text: sys.stdout.write(text + "\\n") and sys.stdout.flush()))
"""
READY_S, ANSWER_S = 90, 20

pytestmark = [
    pytest.mark.broker,
    # kafka-python reads its schemas with a function that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:read_text is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def emitter() -> Any:
    spec = importlib.util.spec_from_file_location("emitter", ROOT / "docs" / "emitter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with EmbeddedBroker() as broker, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        topics.create(Settings(bootstrap=broker.bootstrap, partitions=2))
        yield broker.bootstrap


@pytest.fixture(scope="module")
def worker(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    environment |= {
        "KAFKA_BOOTSTRAP": bootstrap,
        "DRIFTLINE_PARTITIONS": "2",
        "DRIFTLINE_STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "DRIFTLINE_SESSION_TIMEOUT_S": "6",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    # The worker never hangs the suite: without "ready" in time it is killed, and the loop below ends.
    alarm = threading.Timer(READY_S, process.kill)
    alarm.start()
    try:
        told = []
        for line in process.stdout:
            told.append(line)
            if line.strip() == "ready":
                break
        alarm.cancel()
        assert told[-1:] == ["ready\n"], f"the worker did not get ready: {told}"
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        alarm.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def begun(emitter: Any, bootstrap: str) -> Iterator[Callable[..., Any]]:
    clients: list[Any] = []

    def begin(**fields: Any) -> Any:
        producer, consumer = emitter.connect(bootstrap)
        clients.extend((producer, consumer))
        session = emitter.Emitter(producer, str(uuid.uuid4()), tenant="acme", consumer=consumer)
        session.declare(
            "Read invoice 17.", tools=[{"name": "read_invoice", "description": "Reads an invoice."}], **fields
        )
        return session

    yield begin
    for client in clients:
        client.close()


def test_without_a_worker_silence_means_what_the_caller_said(begun: Callable[..., Any]) -> None:
    session = begun()
    call = session.call("read_invoice", {"number": 17})
    assert session.wait_for_decision(call, 0.3, on_timeout="allow") is True
    assert session.wait_for_decision(call, 0.3, on_timeout="deny") is False
    with pytest.raises(TimeoutError):
        session.wait_for_decision(call, 0.3, on_timeout="raise")


@pytest.mark.usefixtures("worker")
def test_an_honest_call_is_allowed_and_its_session_ends(begun: Callable[..., Any]) -> None:
    session = begun()
    for number in range(3):
        call = session.call("read_invoice", {"number": number})
        assert session.wait_for_decision(call, ANSWER_S, on_timeout="raise") is True
        session.returned(call, {"amount": number})
    assert [session.decided[f"{session.session_id}:{n}"]["call_seq"] for n in range(3)] == [0, 1, 2]
    session.end()
    late = session.call("read_invoice", {"number": 4})
    session.wait_for_decision(late, ANSWER_S, on_timeout="raise")
    assert session.decided[late]["marks"] == ["after_end"]


@pytest.mark.usefixtures("worker")
def test_a_call_with_an_expired_credential_is_stopped(begun: Callable[..., Any]) -> None:
    lease = {
        "broker": "vault",
        "kind": "lease",
        "value": "lease/17",
        "issued": "2020-01-01T00:00:00Z",
        "expires": "2020-01-01T01:00:00Z",
    }
    session = begun(credentials=[lease])
    call = session.call("read_invoice", {"number": 17})
    assert session.wait_for_decision(call, ANSWER_S, on_timeout="raise") is False
    assert session.decided[call]["verdict"] == "deny"


def test_a_host_whose_broker_goes_away_hears_of_it_in_seconds(emitter: Any) -> None:
    """Until then silence decides, and where silence allows nothing judges what runs."""
    with EmbeddedBroker() as broker:
        topics.create(Settings(bootstrap=broker.bootstrap, partitions=1))
        producer, consumer = emitter.connect(broker.bootstrap)
        session = emitter.Emitter(producer, "lonely", consumer=consumer)
        session.declare("Pay the invoice")
        session.last.get(10)
    began = time.monotonic()
    while session.lost is None and time.monotonic() < began + 30:
        with contextlib.suppress(ConnectionError):  # from the moment on at which it hears of it
            assert session.wait_for_decision(session.call("pay", {}), 0.5, on_timeout="allow")
    with pytest.raises(ConnectionError, match="begin a new session"):
        session.call("pay", {})
    consumer.close()
    producer.close(timeout=1)
