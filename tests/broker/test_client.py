"""Driftline's client against a broker and a worker: the answer comes in time to stop a call, and a worker that dies stops no agent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from driftline_client import Client, Denied, Session, Undecided

from stream.events import EVENTS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.broker.test_worker import broker, settings
from tests.worker import Worker, live, wait_until

pytestmark = [
    pytest.mark.broker,
    # kafka-python reads its schemas with a function that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:read_text is deprecated:DeprecationWarning"),
]
__all__ = ["broker", "settings"]
ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from models.release.registry import NullModel
from stream import bootstrap
from stream.policy import load_policy
from stream.events import EVENTS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell import app

settings = Settings.from_environment()
release = bootstrap.make_release(NullModel(), load_policy(mode="enforce"))
sys.exit(app.run(settings, judge=bootstrap.judge_with(settings, release), actor=bootstrap.actor(settings),
                 announce=lambda text: sys.stdout.write(text + "\\n") and sys.stdout.flush()))
"""
READY_S, ANSWER_S = 90, 20
LEASE = {
    "broker": "vault",
    "kind": "lease",
    "value": "lease/17",
    "issued": "2020-01-01T00:00:00Z",
    "expires": "2020-01-01T01:00:00Z",
}


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
def client(bootstrap: str) -> Iterator[Client]:
    with Client(bootstrap, tenant="acme", on_silence="raise", wait_s=ANSWER_S) as made:
        yield made


def begun(client: Client, **more: Any) -> Session:
    tools = [{"name": "read_invoice", "description": "Reads an invoice.", "inputSchema": {"type": "object"}}]
    return client.session("Read invoice 17.", tools=tools, **more)


def test_without_a_worker_silence_means_what_the_caller_said(client: Client) -> None:
    session = begun(client)
    call = session.call("read_invoice", {"number": 17})
    with pytest.raises(Denied):
        session.check(call, wait_s=0.3, on_silence="deny")
    with pytest.raises(Undecided):
        session.check(call, wait_s=0.3)
    assert session.check(call, wait_s=0.3, on_silence="allow") is None


@pytest.mark.usefixtures("worker")
def test_an_honest_call_runs_and_one_with_an_expired_credential_does_not(client: Client) -> None:
    with begun(client) as session:

        @session.tool
        def read_invoice(number: int) -> dict[str, int]:
            return {"amount": number}

        assert [read_invoice(number) for number in range(3)] == [{"amount": number} for number in range(3)]
    with begun(client, credentials=[LEASE]) as session, pytest.raises(Denied) as stopped:
        session.check(session.call("read_invoice", {"number": 17}))
    decision = stopped.value.decision
    assert decision is not None
    assert (decision.verdict, decision.enforced) == ("deny", True)
    assert decision.explanation in str(stopped.value)


@pytest.mark.usefixtures("worker")
def test_a_hundred_calls_of_twenty_sessions_wait_at_once_on_one_reader(client: Client) -> None:
    async def task(n: int) -> list[str]:
        async with begun(client) as session:
            calls = [session.call("read_invoice", {"number": 100 * n + k}) for k in range(5)]
            found = await asyncio.gather(*(session.acheck(call) for call in calls))
            assert [each.document["call_id"] for each in found if each is not None] == [
                call.id for call in calls
            ]
            return [each.verdict for each in found if each is not None]

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(task(n) for n in range(20)))

    assert asyncio.run(all_of_them()) == [["allow"] * 5] * 20


@pytest.mark.usefixtures("worker")
def test_a_call_that_the_contract_refuses_is_never_allowed(client: Client) -> None:
    """The client's own checks find most faults; what they do not find, the worker answers."""
    session = begun(client, budget={"calls": "20"})
    with pytest.raises(Denied, match="not as the contract has them") as stopped:
        session.check(session.call("read_invoice", {"number": 17}), on_silence="allow")
    assert stopped.value.decision is not None
    assert "declaration_refused" in stopped.value.decision.document["marks"]


def test_a_script_that_forgets_to_close_loses_nothing_that_it_said(bootstrap: str) -> None:
    program = f"""
from driftline_client import Client
client = Client({bootstrap!r}, tenant="forgets", on_silence="allow")
session = client.session("Read it.", session_id="forgotten")
for n in range(40):
    session.returned(session.call("read", {{"n": n}}), "x" * 1000)
session.end()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client")}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environment, check=True, timeout=120)
    found = [
        value
        for key, value in live(Settings(bootstrap=bootstrap, partitions=2), EVENTS)
        if key == b"forgotten"
    ]
    assert len(found) == 82


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_worker_killed_amid_a_thousand_waiting_calls_answers_each(
    settings: Settings, tmp_path: Path
) -> None:
    async def session(client: Client, n: int) -> list[str]:
        opened = begun(client)
        calls = [opened.call("read_invoice", {"number": 10 * n + k}) for k in range(10)]
        found = await asyncio.gather(*(opened.acheck(call) for call in calls))
        return [each.verdict for each in found if each is not None]

    async def all_of_them(client: Client) -> list[list[str]]:
        return await asyncio.gather(*(session(client, n) for n in range(100)))

    log = tmp_path / "worker.log"
    with (
        Client(settings.bootstrap, prefix=settings.prefix, on_silence="raise", wait_s=150) as client,
        Worker(settings, log) as first,
    ):
        probe = begun(client)
        probe.check(probe.call("read_invoice", {"number": 17}))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(asyncio.run, all_of_them(client))
            wait_until(lambda: client.n_waiting < 900, first)
            first.kill()
            assert client.n_waiting > 0
            with Worker(settings, log):
                assert waiting.result(200) == [["allow"] * 10] * 100
    assert client.lost == 0
