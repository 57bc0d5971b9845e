"""The MCP server on a bus, by the SDK's own client: over standard input and output, over HTTP, and a verdict that takes effect in act."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from stream.events import ALERTS, EVENTS, case_id_of, dumps
from stream.mcp.quoting import HEAD
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, Sender, messages
from tests.broker.test_breaker import ROOT, World, astray
from tests.broker.test_console import publish
from tests.command import CommandProcess
from tests.secured import Authority, Poison
from tests.unit.test_console import SAMPLES, TOKEN, finding
from tests.unit.test_mcp import MARK, PAYLOADS, own_words, trusted

pytestmark = pytest.mark.broker
COMMAND = [sys.executable, "-m", "stream.cli.main", "mcp"]
SAMPLE = SAMPLES / "19-finance-invoice-iban-swap.jsonl"


@asynccontextmanager
async def over_stdio(environment: dict[str, str], log: Path, *options: str) -> AsyncIterator[Client]:
    """The SDK's client of a server that it starts."""
    started = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], *options], env=environment, cwd=ROOT
    )
    with log.open("a") as errors:
        async with Client(stdio_client(started, errlog=errors)) as client:
            yield client


@asynccontextmanager
async def over_http(address: str, token: str, **how: Any) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, **how) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        yield client


async def answer(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content[0]
    assert result.structured_content is not None
    return dict(result.structured_content)


async def cases(client: Client, n: int, **asked: Any) -> list[dict[str, Any]]:
    """The cases that are listed, once there are so many."""
    until = time.monotonic() + 150
    while len(found := (await answer(client, "list_cases", **asked)).get("cases", [])) < n:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.3)
    return list(found)


def hostile(session: str) -> list[dict[str, Any]]:
    """A session that goes astray, whose agent, intent, tools, arguments and answers all carry attacks."""
    attacks = " ".join(f"({payload[:400]})" for payload in PAYLOADS.values())
    declared, *calls = astray(session)
    declared["intent"]["text"] += f" {PAYLOADS['html']}"
    declared["agent"] = {"id": PAYLOADS["brackets"][:200], "user": PAYLOADS["system"][:200]}
    for event in calls:
        if event["type"] == "tool.returned":
            event["result"] += f" {attacks} {PAYLOADS['long']}"
    last = {**calls[-1], "id": f"{session}/4", "seq": 4, "call_id": f"{session}/3"}
    note = {"tool": f"send_mail_{PAYLOADS['roles']}"[:120], "arguments": {PAYLOADS["json"][:60]: attacks}}
    return [declared, *calls, {**last, **note}]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def test_an_agent_triages_over_stdio_and_resolves_over_http_and_it_takes_effect(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)
    topics.create(settings)
    world, log = World(settings, tmp_path), tmp_path / "log"
    evil = f"{PAYLOADS['system']}{PAYLOADS['brackets']}"[:120]
    worker = world.worker()
    try:
        with Sender(settings) as sender:
            for message in messages(SAMPLE):
                sender.send(message)
            for session in ("s-1", evil):
                for event in astray(session) if session == "s-1" else hostile(session):
                    sender.send(Message(EVENTS, session.encode(), (), dumps(event)))

        async def reads() -> None:
            async with over_stdio(world.environment, log, "--days", "0") as client:
                assert "resolve_case" not in {each.name for each in (await client.list_tools()).tools}
                found = await cases(client, 3)
                (attacked,) = [each for each in found if MARK in each["session"]["untrusted"]]
                for each in found:
                    for name in ("get_case", "list_calls", "explain_verdict", "list_feedback"):
                        result = await client.call_tool(name, {"case": each["case"]})
                        assert not result.is_error, result.content[0]
                        text = result.content[0].text
                        assert text.startswith(HEAD) or name == "list_feedback"
                        assert not [one for one in trusted(result.structured_content) if MARK in one]
                        assert MARK not in own_words(text)
                        assert len(text) < 12_000
                story = await answer(client, "get_case", case=attacked["case"])
                assert story["asked"][0]["untrusted"].isprintable()
                asked = {
                    "case": attacked["case"],
                    "as_of": story["as_of"],
                    "verdict": "benign",
                    "reason": "it says so",
                }
                refused = await client.call_tool("resolve_case", asked)
                assert refused.is_error
                assert "started without a key" in refused.content[0].text
                named = await client.call_tool("get_case", {"case": evil})
                assert not named.is_error  # an id that is an instruction is an id
                unknown = await client.call_tool("get_case", {"case": f"{evil}."})
                assert unknown.is_error
                assert MARK not in unknown.content[0].text

        asyncio.run(reads())

        (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
        options = ("--http", "--port", "0", "--token-file", str(tmp_path / "token"), "--days", "0")
        signs = ("--feedback-key", str(world.key), "--by", "triage agent")
        with CommandProcess(settings, ["mcp", *options, *signs], {}, log) as running:
            running.wait_said("ready: MCP is at")
            address = re.findall(r"MCP is at (\S+/mcp);", running.said())[-1]

            async def resolves() -> str:
                async with over_http(address, TOKEN) as client:
                    (found,) = await cases(client, 1, session="s-1")
                    case = str(found["case"])
                    story = await answer(client, "get_case", case=case)
                    given = {
                        "case": case,
                        "verdict": "false_positive",
                        "reason": "the payee is ours, ticket 7",
                    }
                    wrong = await client.call_tool("resolve_case", {**given, "as_of": "0" * 12})
                    assert wrong.is_error
                    done = await answer(client, "resolve_case", **given, as_of=story["as_of"])
                    assert (done["state"], done["confirmed"]) == ("closed", True)
                    again = await client.call_tool("resolve_case", {**given, "as_of": story["as_of"]})
                    assert again.is_error  # it is another case now: somebody spoke on it
                    (closed,) = await cases(client, 1, status="closed")
                    assert (closed["case"], closed["verdict"]) == (case, "false_positive")
                    (said,) = (await answer(client, "list_feedback"))["said"]
                    assert (said["by"]["untrusted"], said["counts"]) == ("triage agent", True)
                    assert said["comment"]["untrusted"] == "the payee is ours, ticket 7"
                    return case

            case = asyncio.run(resolves())
            assert httpx2.post(address).status_code == 401
            assert running.stop() == 0
        assert TOKEN not in running.said()
        assert "Traceback" not in running.said()

        listed = subprocess.run(
            [*COMMAND[:-1], "feedback", "--list", "--json"],
            env=world.environment, capture_output=True, text=True, cwd=ROOT, timeout=120,
        )  # fmt: skip
        (said,) = json.loads(listed.stdout)
        assert (said["case_id"], said["verdict"], said["by"]) == (case, "false_positive", "triage agent")
        closing = [json.loads(each.value) for each in world.read(ALERTS, lambda _: False, 3)]
        (told,) = [each for each in closing if "feedback" in each["unmapped"]]
        assert (told["activity_name"], told["status"], told["finding_info"]["uid"]) == (
            "Close",
            "Suppressed",
            case,
        )
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_a_verdict_that_no_worker_tells_of_is_said_to_be_unconfirmed(
    broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream.console.bus import Follower
    from stream.console.index import Index
    from stream.mcp import serving
    from stream.mcp.tools import Desk

    monkeypatch.setattr(serving, "TOLD_S", 1.0)
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="unheard.")
    topics.create(settings)
    alert = finding("s")
    alert["finding_info"]["uid"] = case_id_of("acme", "s", "s")
    publish(settings, ALERTS, alert)
    world = World(settings, tmp_path)
    from stream.cli.options import signing_key

    async def resolves() -> None:
        index = Index(settings.input_topics, settings.base)
        reading = asyncio.create_task(Follower(settings, index, None).run())
        signer = serving.FeedbackSigner(settings, "agent", signing_key(world.key))
        async with Client(serving.server(Desk(index, signer))) as client:
            (found,) = await cases(client, 1)
            story = await answer(client, "get_case", case=found["case"])
            given = {"case": found["case"], "verdict": "benign", "reason": "it was meant, says the owner"}
            done = await answer(client, "resolve_case", **given, as_of=story["as_of"])
            assert (done["state"], done["confirmed"]) == ("closed once a worker has read it", False)
            assert "no worker told of it yet" in done["notes"][0]
            assert "DRIFTLINE_RESPONDER_JWKS" in done["notes"][0]
            assert "DRIFTLINE_ISSUER" in done["notes"][0]
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(resolves())


def test_over_stdio_what_is_missing_is_said_and_news_is_live(broker: EmbeddedBroker, tmp_path: Path) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic

    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="some.")
    admin = KafkaAdminClient(**settings.kafka())
    admin.create_topics([NewTopic(settings.topic(ALERTS), 1, 1)])
    admin.close()
    publish(settings, ALERTS, finding("first"))
    environment = {
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_PREFIX": "some.",
        "PYTHONPATH": str(ROOT),
    }

    async def reads() -> None:
        async with over_stdio(environment, tmp_path / "log", "--days", "0") as client:
            assert (
                len((await answer(client, "list_cases"))["cases"]) == 1
            )  # the first answer waits for what is there
            publish(settings, ALERTS, finding("second"), headers=[(Poison("no text"), b"")])
            assert len(await cases(client, 2)) == 2
            notes = (await answer(client, "list_cases"))["notes"]
            assert any(each.startswith("agent.decisions.v1 is not read here") for each in notes)
            why = await client.call_tool("explain_verdict", {"case": "first"})
            assert "agent.decisions.v1 is not read here" in why.content[0].text

    asyncio.run(reads())
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_over_stdio_it_ends_with_its_input_and_by_a_signal(broker: EmbeddedBroker, tmp_path: Path) -> None:
    environment = {"DRIFTLINE_BOOTSTRAP": broker.bootstrap, "PYTHONPATH": str(ROOT), "PATH": ""}
    topics.create(Settings(bootstrap=broker.bootstrap, partitions=2))
    for ends in ("input", "signal"):
        with (tmp_path / ends).open("w") as log:
            running = subprocess.Popen(
                COMMAND, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
            until = time.monotonic() + 60
            while "ready: MCP over standard input" not in (tmp_path / ends).read_text():
                assert time.monotonic() < until
                time.sleep(0.1)
            if ends == "signal":
                running.terminate()
            assert running.stdin is not None
            if ends == "input":
                running.stdin.write(b"x" * 200_000 + b"\nno message\n")  # nor does what is none end it
                running.stdin.close()
            assert running.wait(30) == 0
            assert running.stdout is not None
            for line in running.stdout.read().splitlines():
                assert json.loads(line)["error"]  # the wire is the protocol's alone
            running.stdin.close()
            running.stdout.close()
        assert "Traceback" not in (tmp_path / ends).read_text()


def test_over_tls_beyond_loopback_it_is_asked_by_its_name_with_the_token(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=broker.bootstrap, partitions=1, prefix="tls.")
    topics.create(settings)
    publish(settings, ALERTS, finding("only"))
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("localhost")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    secure = ("--token-file", str(tmp_path / "token"), "--certificate", str(certificate), "--key", str(key))
    options = [
        "mcp",
        "--http",
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--name",
        "localhost",
        "--days",
        "0",
        *secure,
    ]
    trusted_here = ssl.create_default_context(cafile=authority.file)
    with CommandProcess(settings, options, {}, tmp_path / "log") as running:
        running.wait_said("ready: MCP is at https://localhost:")
        (address,) = re.findall(r"MCP is at (\S+/mcp);", running.said())

        async def reads() -> None:
            async with over_http(address, TOKEN, verify=trusted_here) as client:
                assert len(await cases(client, 1)) == 1

        asyncio.run(reads())
        with httpx2.Client(verify=trusted_here) as stranger:
            assert stranger.post(address).status_code == 401
            assert stranger.post(address, headers={"host": "evil.example"}).status_code == 421
        assert running.stop() == 0


def test_without_a_broker_it_ends_with_a_sentence(tmp_path: Path) -> None:
    environment = {"DRIFTLINE_BOOTSTRAP": "127.0.0.1:1", "PYTHONPATH": str(ROOT), "PATH": ""}
    for options in ((), ("--http", "--port", "0")):
        with subprocess.Popen(
            [*COMMAND, *options],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            assert running.wait(60) == 4
            assert running.stderr is not None
            said = running.stderr.read().decode()
        assert "127.0.0.1:1" in said
        assert "Traceback" not in said
