"""Sessions in other forms: the request amid role and rules, one general tool for all acts, a catalogue that says little.

What is done and for whom stays, and so does the label. Nothing of it should matter to who judges, and agents in the field
come in each of these forms; recordings come in one.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from models.tools.parameters import properties_of
from models.training import corpora
from models.training.named_tools import facts_of_name

LEARN, REPORT = ("ya",), ("yb",)
"""Authors whose frames are learnt from, and those whose are only for the report."""

Session = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]
Form = Callable[[Session, Tools, random.Random], Session]


class Frame(NamedTuple):
    """What a framework puts around a request, with ``{intent}`` in its place."""

    author: str
    kind: str
    text: str


@lru_cache(maxsize=2)
def frames(authors: tuple[str, ...] = LEARN) -> list[str]:
    """The frames of some authors."""
    return [frame.text for frame in corpora.lines("frames.jsonl", Frame) if frame.author in authors]


def _framed_by(authors: tuple[str, ...]) -> Form:
    def framed(session: Session, tools: Tools, rng: random.Random) -> Session:
        frame = rng.choice(frames(authors))
        return {**session, "intent": frame.replace("{intent}", session["intent"])}

    return framed


def _with_calls(
    session: Session, tool: Mapping[str, Any], change: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> Session:
    made = copy.deepcopy(session)
    for call in made["calls"]:
        call["args"] = change(call["tool"], call.get("args") or {})
        call["tool"] = tool["name"]
    return {**made, "tools": [tool]}


def _schema(**properties: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}


def _request(session: Session, tools: Tools, rng: random.Random) -> Session:
    """Each call as a request to a path."""
    name = rng.choice(("http_request", "call_api", "rest_call"))
    body = rng.choice(("body", "json", "data"))
    rpc = rng.random() < 0.5
    tool = {
        "name": name,
        "description": "Send a request to the API.",
        "parameters": _schema(method="string", path="string", **{body: "object"}),
    }

    def change(called: str, given: dict[str, Any]) -> dict[str, Any]:
        looks = facts_of_name(called).action == "read"
        path = f"/{'v1' if rpc else 'api'}/{called.replace('_', '-')}"
        return {"method": "GET" if looks and not rpc else "POST", "path": path, body: given}

    return _with_calls(session, tool, change)


def _operation(session: Session, tools: Tools, rng: random.Random) -> Session:
    """Each call through a tool that takes another's name, with arguments as an object or as its text."""
    name = rng.choice(("call_tool", "execute_action", "invoke"))
    named, inside = rng.choice((("tool_name", "arguments"), ("action", "input"), ("operation", "parameters")))
    as_text = rng.random() < 0.5
    tool = {
        "name": name,
        "description": "Use one of the tools of the connected servers.",
        "parameters": _schema(**{named: "string", inside: "string" if as_text else "object"}),
    }

    def change(called: str, given: dict[str, Any]) -> dict[str, Any]:
        return {named: called, inside: json.dumps(given) if as_text else given}

    return _with_calls(session, tool, change)


def _code(session: Session, tools: Tools, rng: random.Random) -> Session:
    """Each call as code that makes it."""
    name = rng.choice(("run_python", "execute_code", "python"))
    listed = "\n".join(
        f"{tool['name']}({', '.join(properties_of(tool.get('parameters')))}): {tool.get('description') or ''}"
        for tool in tools
    )
    says = rng.random() < 0.5
    tool = {
        "name": name,
        "description": "Run Python code." + (f" These functions are at hand:\n{listed}" if says else ""),
        "parameters": _schema(code="string"),
    }
    assigned = rng.random() < 0.5

    def change(called: str, given: dict[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in given.items() if key.isidentifier()}
        if assigned:
            lines = [f"{key} = {value!r}" for key, value in plain.items()]
            made = ", ".join(f"{key}={key}" for key in plain)
        else:
            lines, made = [], ", ".join(f"{key}={value!r}" for key, value in plain.items())
        return {"code": "\n".join([*lines, f"answer = {called}({made})", "print(answer)"])}

    return _with_calls(session, tool, change)


def _without_catalogue(session: Session, tools: Tools, rng: random.Random) -> Session:
    return {**session, "tools": []}


def _undescribed(session: Session, tools: Tools, rng: random.Random) -> Session:
    bare = []
    for tool in tools:
        named = dict.fromkeys(properties_of(tool.get("parameters")), "string")
        bare.append({"name": tool["name"], "parameters": _schema(**named)})
    return {**session, "tools": bare}


FORMS: dict[str, Form] = {
    "framed": _framed_by(LEARN),
    "request": _request,
    "operation": _operation,
    "code": _code,
    "without catalogue": _without_catalogue,
    "undescribed": _undescribed,
}
GENERAL = ("request", "operation", "code")
"""Those in which one tool is used for all acts."""
UNSEEN: dict[str, Form] = {**FORMS, "framed": _framed_by(REPORT)}
"""The same with frames that nothing is learnt from."""


def formed(
    session: Session, tools: Tools, form: str, rng: random.Random, forms: Mapping[str, Form] = FORMS
) -> Session:
    """The session in another form: the same calls for the same request, under the same label."""
    made = forms[form](session, session.get("tools") or tools, rng)
    return {
        **made,
        "session_id": f"{session['session_id']}-{form.replace(' ', '_')}",
        "origin": session.get("origin") or session["session_id"],
        "variant": f"in form of {session.get('variant') or 'recorded'}",
    }
