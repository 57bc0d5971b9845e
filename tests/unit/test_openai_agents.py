"""The adapter to the OpenAI Agents SDK, on the real package, with its own scripted model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    CustomTool,
    RunConfig,
    Runner,
    RunState,
    ToolOutputText,
    UserError,
    WebSearchTool,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from agents.mcp import MCPServer
from agents.testing import ScriptedModel, assistant_message, function_call
from driftline_client import Client, Undecided
from driftline_client.openai_agents import DriftlineRunner
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as McpTool

from models.contracts import EVENT
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, QUARANTINE, Record, parse
from tests.frameworks import example
from tests.unit.test_client import Bus, bus
from tests.unit.test_emitter import judge

__all__ = ["bus"]
set_tracing_disabled(True)  # it would send traces
ASKED = "Pay invoice 17 of ACME."
paid: list[int] = []


@function_tool
def read_invoice(number: int) -> dict[str, Any]:
    """Reads one invoice."""
    return {"iban": "DE02120300000000202051", "amount": 40}


@function_tool(failure_error_function=None)
async def pay(amount: int, note: str = "") -> str:
    """Pays to an IBAN."""
    if amount == 13:
        raise ValueError("the bank is away")
    if amount == 60:
        await asyncio.sleep(60)
    paid.append(amount)
    return "paid"


def call(id: str, name: str, **arguments: Any) -> Any:
    return function_call(name, arguments, call_id=id)


def payer(*turns: Any, tools: Any = (read_invoice, pay), **more: Any) -> Agent[None]:
    model = ScriptedModel(
        [[*each] if isinstance(each, list) else [assistant_message(each)] for each in turns]
    )
    return Agent(name=more.pop("name", "payer"), tools=list(tools), model=model, **more)


def two_at_once() -> Agent[None]:
    first = [call("a", "read_invoice", number=17), call("b", "pay", amount=99)]
    return payer(first, [call("c", "pay", amount=40)], "done")


@pytest.fixture(autouse=True)
def nothing_is_paid() -> None:
    paid.clear()


@pytest.fixture
def client(bus: Bus) -> Iterator[Client]:
    bus.decides = ruled
    with Client("nowhere:9", tenant="acme", on_silence="raise", wait_s=30.0) as made:
        yield made


def ruled(event: dict[str, Any]) -> dict[str, Any] | None:
    """99 is denied, nothing is decided on 77."""
    text = json.dumps(event["arguments"])
    if "77" in text:
        return None
    if "99" in text:
        return {
            "verdict": "deny",
            "explanation": "nobody asked for 99",
            "would_pass": "an intent that names it",
        }
    return {"verdict": "allow"}


def told(client: Client, bus: Bus) -> list[dict[str, Any]]:
    assert client.flush(30)
    return bus.documents()


def kinds(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(each["type"] for each in events)


def outputs(result: Any) -> dict[str, Any]:
    items = [each.raw_item for each in result.new_items if type(each).__name__ == "ToolCallOutputItem"]
    return {each["call_id"]: each["output"] for each in items}


def run(runner: DriftlineRunner, agent: Agent[None]) -> Any:
    return asyncio.run(runner.run(agent, ASKED))


def run_sync(runner: DriftlineRunner, agent: Agent[None]) -> Any:
    return runner.run_sync(agent, ASKED)


def run_streamed(runner: DriftlineRunner, agent: Agent[None]) -> Any:
    async def all_of_it() -> Any:
        result = runner.run_streamed(agent, ASKED)
        async for _ in result.stream_events():
            pass
        return result

    return asyncio.run(all_of_it())


@pytest.mark.parametrize("way", [run, run_sync, run_streamed])
def test_a_denied_call_comes_back_to_the_model_which_goes_on(
    bus: Bus, client: Client, way: Callable[[DriftlineRunner, Agent[None]], Any]
) -> None:
    with asyncio.Runner() as loop:  # run_sync takes the thread's loop, and leaves one open
        asyncio.set_event_loop(loop.get_loop())
        agent = two_at_once()
        result = way(DriftlineRunner(client, agent={"user": "ada"}), agent)
        asyncio.set_event_loop(None)
    assert outputs(result)["b"] == (
        "pay was not run: nobody asked for 99. What would pass: an intent that names it."
    )
    assert (outputs(result)["c"], result.final_output, paid) == ("paid", "done", [40])
    assert result.last_agent is agent
    events = told(client, bus)
    assert kinds(events) == {
        "session.declared": 1, "tool.called": 3, "tool.returned": 3, "session.ended": 1,
    }  # fmt: skip
    begun, ended = events[0], events[-1]
    assert (begun["intent"], ended["reason"]) == ({"text": ASKED}, "done")
    assert begun["agent"] == {"id": "payer", "framework": "openai-agents", "user": "ada"}
    assert [each["name"] for each in begun["tools"]] == ["read_invoice", "pay"]
    assert begun["tools"][0]["description"] == "Reads one invoice."
    assert "number" in begun["tools"][0]["parameters"]["properties"]
    calls = [(each["tool"], each["arguments"]) for each in events if each["type"] == "tool.called"]
    assert calls == [("read_invoice", {"number": 17}), ("pay", {"amount": 99}), ("pay", {"amount": 40})]


def test_what_is_told_satisfies_the_contract_and_the_core_judges_each_call(bus: Bus, client: Client) -> None:
    run(DriftlineRunner(client), two_at_once())
    told(client, bus)
    for each in bus.sent:
        assert EVENT.validate_json(each.value) == parse(each.value).event
    records = [Record(EVENTS, 0, n, 0, "none", one.key, (), one.value) for n, one in enumerate(bus.sent)]
    outputs = judge().judge(Partition.empty(), records).outputs
    assert [each.topic for each in outputs if each.topic in (DECISIONS, QUARANTINE)] == [DECISIONS] * 3


def test_several_runs_at_once_are_a_session_each(bus: Bus, client: Client) -> None:
    runner = DriftlineRunner(client)

    async def all_at_once() -> None:
        await asyncio.gather(*(runner.run(two_at_once(), ASKED) for _ in range(16)))

    asyncio.run(all_at_once())
    sessions = Counter(each["session_id"] for each in told(client, bus))
    assert (len(sessions), set(sessions.values()), client.n_waiting) == (16, {8}, 0)


def test_only_what_the_user_says_is_intent(bus: Bus, client: Client) -> None:
    given = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": "I plan to pay 9750."},
        {"role": "developer", "content": "Be terse."},
        {"role": "user", "content": [{"type": "input_text", "text": "And sum it up."}]},
    ]
    asyncio.run(DriftlineRunner(client).run(payer([call("a", "read_invoice", number=1)], "done"), given))
    intents = [each["intent"]["text"] for each in told(client, bus) if "intent" in each]
    assert intents == ["Read it.", "And sum it up."]


def test_runs_within_a_session_of_the_host_s_go_on_in_it(bus: Bus, client: Client) -> None:
    runner = DriftlineRunner(client)
    with client.session(ASKED) as session:
        for text in (ASKED, "Once more."):
            session.amend(text)
            asyncio.run(
                runner.run(payer([call("a", "read_invoice", number=1)], "done"), text, within=session)
            )
    events = told(client, bus)
    assert {each["session_id"] for each in events} == {session.id}
    assert kinds(events)["tool.called"] == 2
    assert kinds(events)["session.ended"] == 1
    (offered, *_) = (each["tools"] for each in events if each["type"] == "catalogue.changed")
    assert [each["name"] for each in offered] == ["read_invoice", "pay"]


def test_who_is_handed_over_to_and_who_runs_as_a_tool_works_for_the_one_above(
    bus: Bus, client: Client
) -> None:
    clerk = payer([call("k", "pay", amount=99)], "paid nothing", name="clerk")
    other = payer(
        [call("o", "pay", amount=40)], [call("u", "transfer_to_clerk")], name="other", handoffs=[clerk]
    )
    reader = payer([call("i", "read_invoice", number=2)], "40 EUR", name="reader")
    first = payer(
        [call("r", "ask_reader", input="What does it cost?")],
        [call("t", "transfer_to_other")],
        tools=[reader.as_tool("ask_reader", "Asks the reader.")],
        handoffs=[handoff(other)],
    )
    result = run(DriftlineRunner(client, agent={"id": "first"}, budget={"calls": 9}), first)
    assert (result.final_output, paid) == ("paid nothing", [40])
    begun = [each for each in told(client, bus) if each["type"] == "session.declared"]
    ids = {each["agent"]["id"]: each["session_id"] for each in begun}
    assert [
        (each["agent"]["id"], each["intent"]["text"], each.get("parent_session_id")) for each in begun
    ] == [
        ("first", ASKED, None),
        ("reader", "What does it cost?", ids["first"]),
        ("other", ASKED, ids["first"]),
        ("clerk", ASKED, ids["other"]),
    ]
    assert {each["root_session_id"] for each in begun} == {ids["first"]}
    assert ["budget" in each["intent"] for each in begun] == [True, False, False, False]
    ended = [each["session_id"] for each in bus.documents() if each["type"] == "session.ended"]
    assert ended == [ids[name] for name in ("reader", "clerk", "other", "first")]
    assert ("clerk", "pay") in [
        (name, each["tool"])
        for each in bus.documents()
        for name in ids
        if each["type"] == "tool.called" and each["session_id"] == ids[name]
    ]


def test_a_tool_that_runs_agents_itself_is_above_them(bus: Bus, client: Client) -> None:
    runner = DriftlineRunner(client)

    @function_tool
    async def ask(question: str) -> str:
        """Asks somebody."""
        first = await runner.run(payer([call("x", "read_invoice", number=2)], "40", name="x"), question)
        other = await Runner.run(payer([call("y", "pay", amount=99)], "41", name="y"), question)
        return f"{first.final_output} {other.final_output}"

    result = run(runner, payer([call("a", "ask", question="How much?")], "done", tools=[ask]))
    assert (outputs(result)["a"], paid) == ("40 41", [])
    begun = [each for each in told(client, bus) if each["type"] == "session.declared"]
    assert [each.get("parent_session_id") for each in begun] == [None, *[begun[0]["session_id"]] * 2]


class Bank(MCPServer):
    """A server in this process."""

    name = "bank"

    async def connect(self) -> None: ...
    async def cleanup(self) -> None: ...
    async def list_tools(self, *_: Any) -> list[McpTool]:
        hints = {"readOnlyHint": False, "destructiveHint": True}
        schema = {"type": "object", "properties": {"amount": {"type": "integer"}}}
        told = {"name": "transfer", "description": "Transfers.", "inputSchema": schema, "annotations": hints}
        return [McpTool.model_validate(told)]

    async def call_tool(self, name: str, arguments: Any, meta: Any = None) -> CallToolResult:
        paid.append(arguments["amount"])
        return CallToolResult(content=[TextContent(type="text", text="transferred")])

    async def list_prompts(self) -> Any: ...
    async def get_prompt(self, *_: Any) -> Any: ...


def test_tools_of_mcp_servers_are_held_to_the_same(bus: Bus, client: Client) -> None:
    calls = [call("a", "transfer", amount=99), call("b", "transfer", amount=40)]
    result = run(DriftlineRunner(client), payer(calls, "done", tools=[], mcp_servers=[Bank()]))
    assert (outputs(result)["a"][:20], paid) == ("transfer was not run", [40])
    (tool,) = told(client, bus)[0]["tools"]
    assert tool["name"] == "transfer"
    assert tool["annotations"] == {"readOnlyHint": False, "destructiveHint": True}


def test_a_tool_that_takes_text_is_told_as_such(bus: Bus, client: Client) -> None:
    async def type_it(_: Any, given: str) -> str:
        paid.append(len(given))
        return "typed"

    terminal = CustomTool(name="terminal", description="Types.", on_invoke_tool=type_it)
    from openai.types.responses import ResponseCustomToolCall

    def typed(id: str, text: str) -> Any:
        return ResponseCustomToolCall(type="custom_tool_call", call_id=id, name="terminal", input=text)

    run(DriftlineRunner(client), payer([typed("a", "rm 99"), typed("b", "ls")], "done", tools=[terminal]))
    assert paid == [2]
    told_of = [each["arguments"] for each in told(client, bus) if each["type"] == "tool.called"]
    assert told_of == [{"input": "rm 99"}, {"input": "ls"}]


def test_a_tool_of_which_nothing_can_be_told_before_it_runs_has_to_be_named(bus: Bus, client: Client) -> None:
    agent = payer("done", tools=[WebSearchTool()])
    with pytest.raises(TypeError, match="web_search: nothing can be told"):
        run(DriftlineRunner(client), agent)
    run(DriftlineRunner(client, untold=["web_search"]), payer("done", tools=[WebSearchTool()]))
    assert [each["reason"] for each in told(client, bus) if "reason" in each] == ["failed: TypeError", "done"]


def test_outside_of_such_a_run_nothing_is_told_and_nothing_held_up(bus: Bus, client: Client) -> None:
    asyncio.run(Runner.run(two_at_once(), ASKED))
    assert (paid, told(client, bus)) == ([99, 40], [])


@pytest.mark.parametrize("way", [run, run_streamed])
def test_a_tool_that_raises_is_told_and_ends_the_run_s_session(
    bus: Bus, client: Client, way: Callable[[DriftlineRunner, Agent[None]], Any]
) -> None:
    with pytest.raises(UserError, match="the bank is away"):
        way(DriftlineRunner(client), payer([call("a", "pay", amount=13)]))
    events = told(client, bus)
    assert [each["result"] for each in events if "result" in each] == ["failed: ValueError: the bank is away"]
    assert events[-1]["reason"] == "failed: UserError"


@pytest.mark.parametrize("way", [run, run_streamed])
def test_silence_that_raises_reaches_whoever_runs_the_agent(
    bus: Bus, client: Client, way: Callable[[DriftlineRunner, Agent[None]], Any]
) -> None:
    with pytest.raises(Undecided):
        way(DriftlineRunner(client, wait_s=0.05), payer([call("a", "pay", amount=77)]))
    assert paid == []
    assert [each["reason"] for each in told(client, bus) if "reason" in each] == ["failed: Undecided"]


def test_a_run_that_is_cancelled_ends_its_session(bus: Bus, client: Client) -> None:
    async def cancelled() -> None:
        runner = DriftlineRunner(client)
        task = asyncio.create_task(runner.run(payer([call("a", "pay", amount=60)]), ASKED))
        while not bus.sent or bus.documents()[-1]["type"] != "tool.called":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = runner.run_streamed(payer([call("a", "pay", amount=60)]), ASKED)
        async for event in result.stream_events():
            if event.type == "run_item_stream_event":
                result.cancel()

    asyncio.run(cancelled())
    assert paid == []
    assert [each["reason"] for each in told(client, bus) if "reason" in each] == ["cancelled"] * 2


def test_a_resumed_run_needs_the_session_that_it_began_in(bus: Bus, client: Client) -> None:
    @function_tool(needs_approval=True)
    def refund(amount: int) -> str:
        """Refunds."""
        paid.append(amount)
        return "refunded"

    runner = DriftlineRunner(client)
    agent = payer([call("a", "refund", amount=40)], "done", tools=[refund])

    async def approved() -> Any:
        with client.session(ASKED) as session:
            halted = await runner.run(agent, ASKED, within=session)
            state: RunState[Any] = halted.to_state()
            state.approve(halted.interruptions[0])
            with pytest.raises(ValueError, match="pass it as within"):
                await runner.run(agent, state)
            return await runner.run(agent, state, within=session)

    assert asyncio.run(approved()).final_output == "done"
    assert paid == [40]
    assert kinds(told(client, bus))["tool.called"] == 1


@pytest.mark.parametrize(
    ("odd", "runs"),
    [
        ({"amount": 40, "note": "x" * 2_000_000}, False),
        ('{"amount": 99, "note": ' + "[" * 200 + "]" * 200 + "}", False),
        ('{"amount": 1, "amount": 99}', False),
        ('{"amount": 99, "note": NaN}', False),
        ('{"amount": 99', False),
        ("[99]", False),
        ({"amount": 40, "note": "short"}, True),
    ],
)
def test_no_argument_is_odd_enough_to_run_unjudged(bus: Bus, client: Client, odd: Any, runs: bool) -> None:
    result = run(DriftlineRunner(client), payer([function_call("pay", odd, call_id="a")], "done"))
    assert paid == ([40] if runs else [])
    assert (outputs(result)["a"] == "paid", outputs(result)["a"].startswith("pay was not run")) == (
        runs,
        not runs,
    )
    assert kinds(told(client, bus))["session.ended"] == 1


def test_a_task_that_cannot_be_declared_does_not_run(bus: Bus, client: Client) -> None:
    with pytest.raises(TypeError, match="did you mean 'actions'"):
        run(DriftlineRunner(client, acions=["read"]), two_at_once())
    assert (bus.sent, paid) == ([], [])


def test_what_the_runner_takes_goes_on_to_the_sdk_s(bus: Bus, client: Client) -> None:
    runner = DriftlineRunner(client)
    config = RunConfig(workflow_name="payments")
    result = asyncio.run(runner.run(payer("done"), ASKED, run_config=config, context=None, max_turns=1))
    assert result.final_output == "done"


def test_the_guide_s_example_runs_as_it_stands(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    bus.decides = lambda _: {"verdict": "allow"}
    calls = [[call("a", "read_invoice", number=17)], [call("b", "pay", iban="DE02", amount=40)]]
    exec(example("OpenAI Agents SDK"), {"model": payer(*calls, "Paid 40 EUR.").model})
    assert capsys.readouterr().out == "Paid 40 EUR.\n"
    events = bus.documents()
    assert [each["type"] for each in events if each["type"] != "catalogue.changed"] == [
        "session.declared", *["tool.called", "tool.returned"] * 2, "session.ended",
    ]  # fmt: skip
    assert events[0]["intent"] == {"text": "Pay invoice 17 of ACME."}


def test_silence_means_no_less_to_those_who_work_for_a_run(bus: Bus, client: Client) -> None:
    clerk = payer([call("k", "pay", amount=77)], "nothing", name="clerk")
    reader = payer([call("i", "pay", amount=77)], "nothing", name="reader")
    tools = [reader.as_tool("ask_reader", "Asks the reader.")]
    turns = [[call("r", "ask_reader", input="Pay 1.")], [call("t", "transfer_to_clerk")]]
    with Client("nowhere:9", on_silence="allow", wait_s=30) as lenient:
        runner = DriftlineRunner(lenient, on_silence="deny", wait_s=0.05)
        run(runner, payer(*turns, tools=tools, handoffs=[clerk]))
    assert paid == []


def test_a_runner_within_a_tool_narrows_what_it_runs(bus: Bus, client: Client) -> None:
    @function_tool
    async def ask(question: str) -> str:
        """Asks somebody."""
        inner = DriftlineRunner(client, actions=["read"], agent={"id": "reader"})
        return str((await inner.run(payer("40"), question)).final_output)

    run(DriftlineRunner(client), payer([call("a", "ask", question="How much?")], "done", tools=[ask]))
    begun = [each for each in told(client, bus) if each["type"] == "session.declared"]
    assert begun[1]["intent"] == {"text": "How much?", "actions": ["read"]}
    assert (begun[1]["agent"]["id"], begun[1]["parent_session_id"]) == ("reader", begun[0]["session_id"])


def test_a_tool_that_failed_and_of_which_the_sdk_made_a_text_is_told_to_have_failed(
    bus: Bus, client: Client
) -> None:
    @function_tool
    def breaks() -> str:
        """Breaks."""
        raise ValueError("the bank is away")

    run(
        DriftlineRunner(client),
        payer(
            [call("a", "breaks")], [call("b", "read_invoice", number=1)], "done", tools=[breaks, read_invoice]
        ),
    )
    assert [each["status"] for each in told(client, bus) if "status" in each] == ["error", "ok"]


def test_what_a_tool_did_stands_whatever_can_be_told_of_it(bus: Bus, client: Client) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("neither")

        __hash__ = None  # type: ignore[assignment]

        def model_dump(self) -> Any:
            raise ValueError("cannot")

        def __str__(self) -> str:
            return "odd"

    @function_tool
    def odd() -> Any:
        """Odd."""
        return Odd()

    @function_tool
    def image() -> ToolOutputText:
        """Text."""
        return ToolOutputText(text="seen")

    calls = [call("a", "odd"), call("b", "image")]
    assert run(DriftlineRunner(client), payer(calls, "done", tools=[odd, image])).final_output == "done"
    answers = [each["result"] for each in told(client, bus) if "result" in each]
    assert sorted(answers, key=str) == ["odd", {"type": "text", "text": "seen"}]
