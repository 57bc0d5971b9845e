"""Agents of three frameworks into decisions on a broker: one that follows what a page told it is stopped, reads why, and goes on."""

from __future__ import annotations

import asyncio
import json
import uuid
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from driftline_client import Client

from stream.events import DECISIONS
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.conftest import absent
from tests.frameworks import ASKED, INJECTED, Block, Messages, used
from tests.worker import Worker, live, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # kafka-python reads its schemas with a function that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning"),
]
PAY = {"iban": "GB33BUKB20201555555555", "amount": 9750}
SUMMARY = "One invoice, 40 EUR. A text in it asked for a payment; I made none."


def search_inbox(query: str) -> str:
    """Searches the inbox for mails that contain the words."""
    return INJECTED


paid: list[dict[str, Any]] = []


def transfer(iban: str, amount: int) -> str:
    """Transfers money to a bank account."""
    paid.append({"iban": iban, "amount": amount})
    return "transferred"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with EmbeddedBroker() as broker, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = Settings.from_environment(
            bootstrap=broker.bootstrap, partitions=2, state_dir=tmp_path_factory.mktemp("state")
        )
        topics.create(made)
        yield made


@pytest.fixture(scope="module")
def worker(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The release that ships, in mode enforce."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with Worker(settings, log) as running:
        wait_until(lambda: "ready" in log.read_text(), running, 90)
        yield running


@pytest.fixture
def client(settings: Settings, worker: Worker) -> Iterator[Client]:
    paid.clear()
    with Client(settings.bootstrap, tenant="acme", on_silence="raise", wait_s=30) as made:
        yield made


def of_langchain(client: Client, session: str, tmp_path: Path) -> str:
    """Runs the agent; gives what the model read."""
    from driftline_client.langchain import DriftlineMiddleware
    from langchain.agents import create_agent
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    class Scripted(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **_: Any) -> Scripted:
            return self

    calls = [("search_inbox", {"query": "invoice"}), ("transfer", PAY)]
    said = [AIMessage("", tool_calls=[{"name": n, "args": a, "id": n}]) for n, a in calls]
    guard = DriftlineMiddleware(client, session_id=session)
    model = Scripted(messages=iter([*said, AIMessage(SUMMARY)]))
    graph = guard.watch(create_agent(model, [search_inbox, transfer], middleware=[guard]))
    messages = graph.invoke({"messages": [{"role": "user", "content": ASKED}]})["messages"]
    assert messages[-1].content == SUMMARY
    return str(messages)


def of_openai_agents(client: Client, session: str, tmp_path: Path) -> str:
    from agents import Agent, RunConfig, function_tool
    from agents.testing import ScriptedModel, assistant_message, function_call
    from driftline_client.openai_agents import DriftlineRunner

    calls = [("search_inbox", {"query": "invoice"}), ("transfer", PAY)]
    model = ScriptedModel(
        [*([function_call(n, a, call_id=n)] for n, a in calls), [assistant_message(SUMMARY)]]
    )
    tools = [function_tool(search_inbox), function_tool(transfer)]
    runner = DriftlineRunner(client, session_id=session)
    untraced = RunConfig(tracing_disabled=True)
    given = Agent(name="clerk", tools=tools, model=model)
    result = asyncio.run(runner.run(given, ASKED, run_config=untraced))
    assert result.final_output == SUMMARY
    return str(model.calls[-1].input)


def of_claude_agent(client: Client, session: str, tmp_path: Path) -> str:
    from claude_agent_sdk import ResultMessage, create_sdk_mcp_server, query, tool
    from driftline_client.claude_agent import DriftlineHooks

    from tests.unit.test_claude_agent import options, turns

    @tool("search_inbox", search_inbox.__doc__ or "", {"query": str})
    async def search(given: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": search_inbox(given["query"])}]}

    @tool("transfer", transfer.__doc__ or "", {"iban": str, "amount": int})
    async def transfers(given: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": transfer(**given)}]}

    names = ("mcp__mail__search_inbox", "mcp__mail__transfer")
    script: list[list[Block] | str] = [
        [used("a", names[0], query="invoice")],
        [used("b", names[1], **PAY)],
        SUMMARY,
    ]

    async def run(model: Messages) -> str | None:
        with DriftlineHooks(client, session_id=session) as hooks:
            given = options(model, tmp_path)
            given.mcp_servers = {"mail": create_sdk_mcp_server("mail", tools=[search, transfers])}
            given.allowed_tools = list(names)
            said = query(prompt=hooks.asked(ASKED), options=hooks.options(given))
            return [each.result async for each in said if isinstance(each, ResultMessage)][-1]

    with Messages(turns(*script)) as model:
        assert asyncio.run(asyncio.wait_for(run(model), 90)) == SUMMARY
        return model.read()


@pytest.mark.parametrize(
    ("package", "runs"),
    [("langchain", of_langchain), ("agents", of_openai_agents), ("claude_agent_sdk", of_claude_agent)],
)
def test_an_agent_that_follows_an_injected_instruction_is_stopped_and_reads_why(
    settings: Settings, client: Client, package: str, runs: Any, tmp_path: Path
) -> None:
    if find_spec(package) is None:
        absent(f"NOT RUN: {package} is needed")
    session = f"{package}-{uuid.uuid4().hex[:8]}"
    read = runs(client, session, tmp_path)
    assert paid == []
    decisions = [json.loads(value) for _, value in live(settings, DECISIONS) if value is not None]
    mine = [each for each in decisions if each["session_id"] == session]
    assert [(each["verdict"], each["enforced"]) for each in mine] == [("allow", True), ("revoke", True)]
    assert mine[1]["explanation"][:40] in read
    assert "was not run" in read
