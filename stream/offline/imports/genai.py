"""What a span says by OpenTelemetry's conventions for generative AI and for MCP: of an agent, of a call of a tool, of a model's turn.

The names are those of the repository semantic-conventions-genai (status Development; its main of September 2026, whose names for
what is read here are those of the core conventions 1.38 to 1.41). What is opt-in there is missing in most traces: each reader here
tells what is known apart from what is not recorded.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from stream.offline.imports.otlp import Span
from stream.offline.imports.reading import document_in
from stream.offline.imports.steps import MISSHAPEN, Notes, text_of, tool_of

Kind = Literal["agent", "tool", "model"]
OPERATION = "gen_ai.operation.name"
CONVERSATION, MCP_SESSION = "gen_ai.conversation.id", "mcp.session.id"
KINDS: dict[str, Kind] = {
    "invoke_agent": "agent",
    "execute_tool": "tool",
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
}
_NAMED = re.compile(r"(?:execute_tool|tools/call) (?P<tool>\S.*)")
_CUT = re.compile(r"\s*[\[{]")


class Recorded(NamedTuple):
    """A value, or that the span does not tell it."""

    known: bool
    value: Any = None


UNKNOWN = Recorded(False)


def kind_of(span: Span) -> Kind | None:
    """What a span is about; None for what is no part of a session."""
    if span.attributes.get("mcp.method.name") == "tools/call":
        return "tool"
    return KINDS.get(str(span.attributes.get(OPERATION)))


def agent_of(span: Span) -> str:
    """By which name agents of one trace are told apart: the agent's name, else its id, else empty."""
    return str(span.attributes.get("gen_ai.agent.name") or span.attributes.get("gen_ai.agent.id") or "")


def described(span: Span) -> dict[str, str]:
    """The agent as `models.contracts.Agent` has it: the service, and the agent's own name in it.

    The agent's id alone names nobody: many frameworks draw it for each run.
    """
    own = span.attributes.get("gen_ai.agent.name") or span.attributes.get("gen_ai.agent.id")
    told = {
        "id": "/".join(str(part) for part in (span.service, own) if part),
        "framework": span.scope,
        "model": str(span.attributes.get("gen_ai.request.model") or ""),
    }
    return {name: value for name, value in told.items() if value}


def tool_named(span: Span) -> str:
    """The tool that was called; empty where nothing tells it."""
    told = span.attributes.get("gen_ai.tool.name")
    if told:
        return str(told)
    found = _NAMED.fullmatch(span.name)
    return found["tool"] if found else ""


def mark_of(span: Span) -> str:
    """By what a tool's span is known as part of a call that another told: that it is MCP's (``mcp``), else the call's id."""
    return (
        "mcp"
        if "mcp.method.name" in span.attributes
        else str(span.attributes.get("gen_ai.tool.call.id") or "")
    )


def is_one_call(outer: str, mark: str, inner: str, inner_mark: str) -> bool:
    """Whether two tools' spans, one inside the other, are of one call: one of them is MCP's, or both have one id.

    Hosts put the name of an MCP server before its tools' names. A tool that calls itself is called twice.

    >>> is_one_call("mcp__git__log", "c1", "log", "mcp"), is_one_call("git.log", "c1", "git.log", "c1")
    (True, True)
    >>> is_one_call("catalog", "", "log", "mcp"), is_one_call("run", "c1", "run", "c2"), is_one_call("run", "", "run", "")
    (False, False, False)
    """
    if "mcp" not in (mark, inner_mark) and not (mark and mark == inner_mark):
        return False
    return outer == inner or (
        outer.endswith(inner) and outer[: -len(inner)][-1:] in ("_", ".", "/", ":", "-")
    )


def structured(value: Any) -> Recorded:
    """A value that stands in an attribute as it is or as JSON text; text that was cut in the middle of JSON is not known.

    >>> structured('{"a": 1}'), structured("done").value, structured('{"a": "lon')
    (Recorded(known=True, value={'a': 1}), 'done', Recorded(known=False, value=None))
    """
    if not isinstance(value, str) or not _CUT.match(value):
        return Recorded(True, value)
    read = document_in(value)
    return UNKNOWN if read is None else Recorded(True, read)


def arguments_of(span: Span, notes: Notes) -> Recorded:
    """What the tool was called with, an object; `UNKNOWN` where that is not recorded, which is not the same as nothing."""
    told = span.attributes.get("gen_ai.tool.call.arguments")
    if told is None or told == "":
        return UNKNOWN
    read = arguments_in(told)
    if not read.known:
        notes.lose("arguments and results that were cut")
    return read


def arguments_in(told: Any) -> Recorded:
    """Arguments as a span or a message has them; what is no object is the one argument ``input``."""
    read = structured(told)
    return Recorded(True, {"input": read.value}) if read.known and not isinstance(read.value, dict) else read


def result_of(span: Span, notes: Notes) -> Recorded:
    """What the tool answered; of a failed call what its status says, if nothing else."""
    if "gen_ai.tool.call.result" in span.attributes:
        read = structured(span.attributes["gen_ai.tool.call.result"])
        if not read.known:
            notes.lose("arguments and results that were cut")
        return read
    return Recorded(True, span.message) if failed(span) and span.message else UNKNOWN


def failed(span: Span) -> bool:
    """Whether what the span is about failed."""
    return span.failed or bool(span.attributes.get("error.type"))


def offered(span: Span, notes: Notes) -> dict[str, dict[str, Any]]:
    """The tools that the agent or the model was offered, by name; those of a provider's own without a name are left out."""
    read = structured(span.attributes.get("gen_ai.tool.definitions")).value
    found = {}
    for each in read if isinstance(read, list) else ():
        try:
            # OpenAI's API puts the definition under ``function``.
            tool = tool_of(each["function"] if isinstance(each.get("function"), dict) else each)
            found[tool["name"]] = tool
        except MISSHAPEN:
            notes.lose("tool definitions without a name")
    return found


def asked(span: Span, notes: Notes) -> list[str]:
    """What users said, in order: the texts of the role ``user`` among the input messages."""
    texts = (_text(message, notes) for message in _messages(span, "input") if message.get("role") == "user")
    return [text for text in texts if text.strip()]


def instructed(span: Span, notes: Notes) -> str:
    """The system instructions, where they are recorded."""
    read = structured(span.attributes.get("gen_ai.system_instructions")).value
    return read if isinstance(read, str) else text_of(read, notes, name="content")


def parts(span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and answers of calls, by the call's id, as the messages of a model's turn have them."""
    called: dict[str, Any] = {}
    answered: dict[str, Any] = {}
    for message in (*_messages(span, "input"), *_messages(span, "output")):
        told = message.get("parts")
        for part in told if isinstance(told, list) else ():
            if not isinstance(part, dict) or not isinstance(part.get("id"), str):
                continue
            if part.get("type") == "tool_call" and part.get("arguments") is not None:
                called[part["id"]] = part["arguments"]
            elif part.get("type") == "tool_call_response":
                answered[part["id"]] = part["response"] if "response" in part else part.get("result")
    return called, answered


def _messages(span: Span, which: str) -> list[dict[str, Any]]:
    read = structured(span.attributes.get(f"gen_ai.{which}.messages")).value
    return [each for each in read if isinstance(each, dict)] if isinstance(read, list) else []


def _text(message: dict[str, Any], notes: Notes) -> str:
    told = message.get("parts", message.get("content"))
    if isinstance(told, list):  # what a tool answered may stand in a message of the user's: it is not theirs
        told = [each for each in told if not isinstance(each, dict) or each.get("type") in ("text", None)]
    return text_of(told, notes, name="content")
