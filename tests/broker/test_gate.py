"""``driftline gate serve`` before a worker on a broker: an attack's call is denied over each wire, and the honest ones before it run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2
import mcp_types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.frameworks import ASKED, INJECTED, Messages, Responses, used
from tests.gate import ENFORCES, SECRET, Agent, Gateway, evaluation, is_sealed
from tests.programs import called, run_claude, run_codex, said, written

pytestmark = [
    pytest.mark.broker,
    pytest.mark.filterwarnings("ignore:read_text is deprecated:DeprecationWarning"),
]
ROOT = Path(__file__).parents[2]
COMMAND = "from stream.cli.main import main; main()"
READY_S = 120
ATTACK = "share_document"
SAMPLE = ROOT / "stream" / "samples" / "27-hr-salary-survey-upload.jsonl"
TOKEN = "t" * 40


def begun(environment: dict[str, str], folder: Path, *command: str) -> tuple[subprocess.Popen[bytes], str]:
    """A command that says when it is ready, and what it said then."""
    said = folder / f"{command[0]}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *command], cwd=ROOT, env=environment, stderr=log
        )
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        for line in said.read_text().splitlines():
            if line.startswith("driftline: ready"):
                return process, line
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise AssertionError(f"{command[0]} did not get ready: {said.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gate")
    (folder / "acs.key").write_bytes(SECRET)
    (folder / "token").write_text(TOKEN)
    (folder / "gate.yaml").write_text(
        f"on_silence: raise\nwait_ms: 30000\nwires: [acs, authzen, extmcp, interceptors]\n"
        f"tenants: {{acme: {{acs_secret_file: {folder}/acs.key, token_file: {folder}/token}}}}\n"
    )
    with EmbeddedBroker() as broker:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            topics.create(Settings(bootstrap=broker.bootstrap, partitions=2))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
        environment |= {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "DRIFTLINE_PARTITIONS": "2",
            "DRIFTLINE_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}",
        }
        running: list[subprocess.Popen[bytes]] = []
        try:
            running.append(begun(environment, folder, "worker", "--mode", "enforce")[0])
            process, said = begun(
                environment, folder, "gate", "serve", "--config", str(folder / "gate.yaml"), "--port", "0", "--rpc-port", "0"
            )  # fmt: skip
            running.append(process)
            yield said
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            for each in running:
                each.kill()
                each.wait()


@pytest.fixture(scope="module")
def address(ready: str) -> str:
    return ready.partition(" is at ")[2].partition(",")[0]


def post(url: str, body: Any, **headers: str) -> Any:
    told = {"Content-Type": "application/json", **headers}
    with urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(body).encode(), told), timeout=60
    ) as answer:
        return json.load(answer, parse_float=number)


def number(text: str) -> float:
    """As it is signed: a whole number has no point."""
    found = float(text)
    return int(found) if found.is_integer() else found


def events() -> Iterator[dict[str, Any]]:
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def test_over_the_agent_control_standard(address: str) -> None:
    agent = Agent(time.time)
    assert "result" in post(f"{address}/acs", agent.hello())
    calls: dict[str, dict[str, Any]] = {}
    found = []
    for event in events():
        if event["type"] == "session.declared":
            step = agent.says(event["intent"]["text"])
        elif event["type"] == "tool.called":
            step = calls[event["call_id"]] = agent.calls(event["tool"], **event["arguments"])
        elif event["type"] == "tool.returned":
            step = agent.returns(calls[event["call_id"]], event["result"])
        else:
            continue
        answer = post(f"{address}/acs", step)
        result = answer["result"]
        assert is_sealed(answer, agent.id)
        if event["type"] == "tool.called":
            found.append((event["tool"], result["decision"]))
            assert result["policy_data"]["driftline"]["decision_id"]
            if event["tool"] == ATTACK:
                assert result["reason_codes"][0] in ("deny", "revoke")
                break
    assert found[-1] == (ATTACK, "deny")
    assert {decision for _, decision in found[:-1]} == {"allow"}
    assert len(found) > 2


def test_over_authzen(address: str) -> None:
    found = []
    intent = ""
    for event in events():
        if event["type"] == "session.declared":
            intent = event["intent"]["text"]
        elif event["type"] == "tool.called":
            asked = evaluation(event["tool"], "hr-1", intent=intent, arguments=event["arguments"])
            answer = post(f"{address}/access/v1/evaluation", asked, Authorization=f"Bearer {TOKEN}")
            found.append((event["tool"], answer["decision"]))
            assert answer["context"]["driftline"]["decision_id"]
            if event["tool"] == ATTACK:
                assert answer["context"]["reason_user"]["en"]
                break
    assert found[-1] == (ATTACK, False)
    assert {decision for _, decision in found[:-1]} == {True}


PAY = {"iban": "GB33BUKB20201555555555", "amount": 9750}
HOOKS = ("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse")


def hooks(address: str, folder: Path, platform: str) -> str:
    """The settings of a host whose hooks ask the gate, as JSON."""
    secret = folder / "acs.key"
    secret.write_bytes(SECRET)
    told = {"ACS_GUARDIAN_URL": f"{address}/acs", "ACS_HMAC_SECRET_FILE": secret, "ACS_AGENT_ID": "payer", "ACS_PLATFORM": platform}  # fmt: skip
    variables = " ".join(f"{name}={value}" for name, value in told.items())
    hook = {"type": "command", "command": f"env PYTHONPATH={ROOT} {variables} {sys.executable} -m tests.acs_hook"}  # fmt: skip
    return json.dumps({"hooks": {name: [{"matcher": "*", "hooks": [hook]}] for name in HOOKS}})


class Host(NamedTuple):
    """Where a program lives and works, and what its MCP server pays is noted."""

    home: Path
    folder: Path
    paid: Path

    @classmethod
    def within(cls, place: Path) -> Host:
        made = cls(place / "home", place / "work", place / "paid")
        made.home.mkdir()
        made.folder.mkdir()
        return made


def of_claude(address: str, place: Path) -> tuple[Host, str]:
    """Claude Code whose hooks ask the gate, and its MCP servers as JSON."""
    host = Host.within(place)
    (host.home / "settings.json").write_text(hooks(address, place, "claude-code"))
    server = {"command": sys.executable, "args": ["-m", "tests.mail_server", str(host.paid)], "env": {"PYTHONPATH": str(ROOT)}}  # fmt: skip
    return host, json.dumps({"mcpServers": {"mail": server}})


@pytest.mark.slow
def test_claude_code_itself_asks_before_each_call(address: str, tmp_path: Path) -> None:
    host, mail = of_claude(address, tmp_path)
    calls = [
        used("a", "mcp__mail__search_inbox", query="invoice"),
        used("b", "mcp__mail__transfer", **PAY),
        used("c", "Bash", command=f"echo {PAY['iban']} > paid.txt", description="Notes it."),
    ]

    def script(body: dict[str, Any]) -> list[dict[str, Any]]:
        n = sum(message["role"] == "assistant" for message in body["messages"])
        return (
            [calls[n]] if body.get("tools") and n < len(calls) else [{"type": "text", "text": "One invoice."}]
        )

    allowed = ("mcp__mail__search_inbox", "mcp__mail__transfer", "Bash")
    with Messages(script) as model:
        told = run_claude(
            model, host.home, host.folder, ASKED, "--mcp-config", mail, "--allowedTools", *allowed
        )
    assert "One invoice." in told
    read = model.read()
    assert INJECTED in read  # the honest call ran
    assert (host.paid.exists(), (host.folder / "paid.txt").exists()) == (False, False)
    assert "mcp__mail__transfer was not run" in read


@pytest.mark.slow
def test_what_a_sub_agent_of_claude_code_answers_later_is_no_word_of_the_user_s(
    address: str, tmp_path: Path
) -> None:
    """Its answer comes to the hook on the user's prompts, and as a prompt."""
    host, mail = of_claude(address, tmp_path)

    def script(body: dict[str, Any]) -> list[dict[str, Any]]:
        first, text = json.dumps(body["messages"][0]), json.dumps(body["messages"])
        n = sum(message["role"] == "assistant" for message in body["messages"])
        if not body.get("tools") or "Read them." in first:
            return [{"type": "text", "text": INJECTED}]
        if n == 0:
            return [
                used("a", "Agent", description="reads", prompt="Read them.", subagent_type="general-purpose")
            ]
        if "<task-notification>" in text and '"id": "b"' not in text:
            return [used("b", "mcp__mail__transfer", **PAY)]
        return [{"type": "text", "text": "One invoice."}]

    allowed = ("Agent", "mcp__mail__transfer")
    with Messages(script) as model:
        run_claude(model, host.home, host.folder, ASKED, "--mcp-config", mail, "--allowedTools", *allowed)
    assert not host.paid.exists()
    assert "mcp__mail__transfer was not run" in model.read()


@pytest.mark.slow
@pytest.mark.parametrize("of", ["gpt-5.5", "gpt-6.2-sol"])
def test_codex_itself_asks_before_each_call(address: str, tmp_path: Path, of: str) -> None:
    """Of the one its model makes the calls, of the other a script."""
    home, folder, paid = Host.within(tmp_path)
    (home / "hooks.json").write_text(hooks(address, tmp_path, "codex"))
    server = f'''
[mcp_servers.mail]
command = "{sys.executable}"
args = ["-m", "tests.mail_server", "{paid}"]
env = {{ PYTHONPATH = "{ROOT}" }}
required = true
'''
    made: dict[str, list[Any]] = {
        "gpt-5.5": [
            called("a", "search_inbox", "mcp__mail", query="invoice"),
            called("b", "transfer", "mcp__mail", **PAY),
        ],
        "gpt-6.2-sol": [
            written("a", "exec", 'text(await tools.mcp__mail__search_inbox({query: "invoice"}));'),
            written("b", "exec", f"text(await tools.mcp__mail__transfer({json.dumps(PAY)}));"),
        ],
    }

    def script(body: dict[str, Any]) -> list[dict[str, Any]]:
        n = sum(each.get("type") in ("function_call", "custom_tool_call") for each in body["input"])
        return [made[of][n]] if n < 2 else [said("One invoice.")]

    with Responses(script) as model:
        told = run_codex(model, home, folder, ASKED, of=of, more=server)
    assert "One invoice." in told
    read = model.read()
    assert INJECTED in read
    assert not paid.exists()
    assert "was not run" in read


def test_over_extmcp(ready: str) -> None:
    gateway = Gateway(ready.partition("extmcp: ")[2].partition(" at ")[2].partition(";")[0], token=TOKEN)
    found, calls, said = [], {}, {"session_id": "hr-1", "user": "ada@example.com"}
    for event in events():
        if event["type"] == "session.declared":
            listed = [{**each, "inputSchema": each.get("parameters", {})} for each in event.get("tools", [])]
            said["intent"] = event["intent"]["text"]
            assert gateway.shows("tools/list", {"tools": listed}, **said).passes
        elif event["type"] == "tool.called":
            answer = gateway.calls(event["tool"], event["arguments"], **said)
            found.append((event["tool"], answer.passes))
            calls[event["call_id"]] = answer
            if event["tool"] == ATTACK:
                assert answer.code == 1
                assert answer.data["driftline"]["decision_id"]
                assert "intent" in answer.reason
                break
        elif event["type"] == "tool.returned":
            result = {"content": [{"type": "text", "text": json.dumps(event["result"])}]}
            assert gateway.shows("tools/call", result, call_id=calls[event["call_id"]].kept[1], **said).passes
    gateway.channel.close()
    assert found[-1] == (ATTACK, False)
    assert {passes for _, passes in found[:-1]} == {True}
    assert len(found) > 2


class _Listing(mcp_types.Request[dict[str, Any], Literal["interceptors/list"]]):
    method: Literal["interceptors/list"] = "interceptors/list"


class _Invoking(mcp_types.Request[dict[str, Any], Literal["interceptor/invoke"]]):
    method: Literal["interceptor/invoke"] = "interceptor/invoke"


class _Said(mcp_types.Result, extra="allow"):
    pass


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_over_interceptors_with_the_sdk_s_client(address: str, mode: Any) -> None:
    found = asyncio.run(intercepted(f"{address}/mcp", mode))
    assert found[-1] == (ATTACK, False)
    assert {valid for _, valid in found[:-1]} == {True}
    assert len(found) > 2


async def intercepted(url: str, mode: Any) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    config: dict[str, Any] = {}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        listed = await client.session.send_request(_Listing(params={}), _Said)
        assert next(each["name"] for each in listed.model_extra["interceptors"]) == ENFORCES

        async def invoke(phase: str, event: str, payload: Any) -> dict[str, Any]:
            params = {"name": ENFORCES, "event": event, "phase": phase, "payload": payload, "config": config}
            context = {"sessionId": f"hr-{mode}", "principal": {"type": "user", "id": "ada"}}
            said = await client.session.send_request(_Invoking(params=params | {"context": context}), _Said)
            return dict(said.model_extra)

        for event in events():
            if event["type"] == "session.declared":
                config["intent"] = event["intent"]["text"]
                tools = [
                    {**each, "inputSchema": each.get("parameters", {})} for each in event.get("tools", [])
                ]
                assert (await invoke("response", "tools/list", {"tools": tools}))["valid"]
            elif event["type"] == "tool.called":
                call = {"name": event["tool"], "arguments": event["arguments"]}
                result = await invoke("request", "tools/call", call)
                found.append((event["tool"], result["valid"]))
                assert result["info"]["driftline"]["decision_id"]
                if event["tool"] == ATTACK:
                    assert result["severity"] == "error"
                    break
            elif event["type"] == "tool.returned":
                content = {"content": [{"type": "text", "text": json.dumps(event["result"])}]}
                assert (await invoke("response", "tools/call", content))["valid"]
    return found
