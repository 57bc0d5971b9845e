"""AuthZEN's Authorization API 1.0: an access evaluation is a call of a session, judged before it runs.

The mapping is that of the profile for MCP (COAZ) as far as that goes: the resource ``tool`` by its name, the agent in the context.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stream.gate.reading import strict_json
from stream.gate.sessions import Gate, Ruling, Tasks

MAX_EVALUATIONS = 50
"""Calls of one request."""
MAX_SESSION = 200
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
CALLS = ("tools/call", "call", "execute", "invoke")
"""Actions that only say that the resource, a tool, is called."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "subject": ("type", "id"),
    "action": ("name",),
    "resource": ("type", "id"),
}


class BadRequest(Exception):
    """The request is none; its text says what is wrong with it, and quotes no value."""


class Asked(NamedTuple):
    """A call that an evaluation is about."""

    session_id: str
    subject: tuple[str, str]
    agent: str | None
    intent: str
    tool: str
    arguments: dict[str, Any]


class Decider:
    """A policy decision point: it answers evaluations of access."""

    def __init__(self, gate: Gate, tasks: Tasks) -> None:
        self._gate, self._tasks = gate, tasks

    async def evaluation(self, tenant: str, raw: bytes) -> dict[str, Any]:
        """The answer to one evaluation. Raises `BadRequest`."""
        return await self._decided(tenant, evaluated(_object(raw)))

    async def evaluations(self, tenant: str, raw: bytes) -> dict[str, Any]:
        """The answer to several, in their order. Raises `BadRequest`."""
        document = _object(raw)
        listed = document.get("evaluations")
        if listed is None or listed == []:
            return await self._decided(tenant, evaluated(document))
        if not isinstance(listed, list) or len(listed) > MAX_EVALUATIONS:
            raise BadRequest(f"evaluations is a list of at most {MAX_EVALUATIONS} objects")
        options = document.get("options", {})
        semantic = options.get("evaluations_semantic", SEMANTICS[0]) if isinstance(options, dict) else None
        if semantic not in SEMANTICS:
            raise BadRequest(f"options.evaluations_semantic is one of {', '.join(SEMANTICS)}")
        each = [self._one(tenant, document, part) for part in listed]
        if semantic == "execute_all":
            return {"evaluations": await asyncio.gather(*(asked() for asked in each))}
        last = semantic == "permit_on_first_permit"
        found: list[dict[str, Any]] = []
        for asked in each:
            found.append(await asked())
            if found[-1]["decision"] is last:
                break
        return {"evaluations": found}

    def _one(self, tenant: str, top: Mapping[str, Any], part: Any) -> Callable[[], Any]:
        async def asked() -> dict[str, Any]:
            try:
                return await self._decided(tenant, evaluated(merged(top, part)))
            except BadRequest as error:
                told = {"status": 400, "message": str(error)}
                return {"decision": False, "context": {"error": told, "reason": str(error)}}

        return asked

    async def _decided(self, tenant: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        asked = asked_for(evaluation)
        if isinstance(asked, Ruling):
            return told(asked)
        try:
            agent = {"id": asked.agent, "user": asked.subject[1]}
            task = self._tasks.of(tenant, asked.session_id, asked.subject, agent, asked.intent)
            if isinstance(task, Ruling):
                return told(task)
            # Nobody tells results over this wire: the name is only to be one.
            ruling = await self._gate.ask(task, asked.tool, asked.arguments, secrets.token_hex(8))
        except (TypeError, ValueError) as error:
            ruling = Ruling("deny", "not_taken", f"the contract does not take this: {error}")
        return told(ruling)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = strict_json(raw)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON that is taken: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest("the body is no JSON object")
    return found


def merged(top: Mapping[str, Any], part: Any) -> dict[str, Any]:
    """An evaluation with what it leaves to the defaults; of an entity of its own only the required parts are."""
    if not isinstance(part, dict):
        raise BadRequest("each of evaluations is an object")
    found = {name: top[name] for name in ("subject", "action", "resource", "context") if name in top} | part
    for name, needed in _NEEDED.items():
        default, own = top.get(name), part.get(name)
        if isinstance(default, dict) and isinstance(own, dict):
            found[name] = {each: default[each] for each in needed if each in default} | own
    return found


def evaluated(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """`evaluation`, if it has all that the standard requires; `BadRequest` otherwise."""
    for name, needed in _NEEDED.items():
        entity = evaluation.get(name)
        if not isinstance(entity, dict):
            raise BadRequest(f"{name} is missing, or no object")
        for each in needed:
            if not isinstance(entity.get(each), str) or not entity[each]:
                raise BadRequest(f"{name}.{each} is missing, or no text")
        if not isinstance(entity.get("properties", {}), dict):
            raise BadRequest(f"{name}.properties is no object")
    if not isinstance(evaluation.get("context", {}), dict):
        raise BadRequest("context is no object")
    return evaluation


def asked_for(evaluation: Mapping[str, Any]) -> Asked | Ruling:
    """The call that an evaluation is about; a denial where it names no session or no tool."""
    subject, action, resource = (evaluation[name] for name in ("subject", "action", "resource"))
    context = evaluation.get("context", {})
    session_id = context.get("session_id")
    if not isinstance(session_id, str) or not 0 < len(session_id) <= MAX_SESSION:
        return Ruling(
            "deny",
            "no_session",
            f"context.session_id names no session (a text of 1 to {MAX_SESSION} characters)",
        )
    arguments = _arguments(action, resource, context)
    if not isinstance(arguments, dict):
        return Ruling("deny", "no_arguments", "arguments is no object")
    if resource["type"] in ("tool", "mcp_tool"):
        if action["name"] not in CALLS:
            return Ruling("deny", "no_tool", f"a tool is called: the action is one of {', '.join(CALLS)}")
        tool = resource["id"]
    else:
        # A mapping that the tool's server declared: the action is the tool, and what it acts on one of its arguments.
        tool = action["name"]
        if arguments.setdefault(resource["type"], resource["id"]) != resource["id"]:
            return Ruling("deny", "ambiguous", "resource.id and the argument of its type are not the same")
    intent, agent = context.get("intent", ""), context.get("agent")
    if not isinstance(intent, str) or not isinstance(agent, str | None):
        return Ruling("deny", "no_text", "context.intent and context.agent are texts")
    return Asked(session_id, (subject["type"], subject["id"]), agent or None, intent.strip(), tool, arguments)


def _arguments(action: Mapping[str, Any], resource: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """A call's arguments: ``arguments`` of the action's or resource's properties or of the context, else those properties."""
    properties = [each.get("properties", {}) for each in (action, resource)]
    for place in (*properties, context):
        if "arguments" in place:
            found = place["arguments"]
            return dict(found) if isinstance(found, dict) else found
    return properties[0] | properties[1]


def told(ruling: Ruling) -> dict[str, Any]:
    """A decision as the standard has it: whatever is not allowed is not, and says why to people and to administrators."""
    allows = ruling.word == "allow"
    if allows and not ruling.why:
        return {"decision": True, "context": {"driftline": ruling.facts()}}
    why = ruling.why or "it was not decided"
    context = {
        "reason": why,
        "reason_user": {"en": why},
        "reason_admin": {"en": f"driftline: {ruling.code}"},
        "driftline": ruling.facts(),
    }
    return {"decision": allows, "context": context}


def metadata(address: str) -> dict[str, Any]:
    """What the decision point says of itself. Searches are not among it: no list says what a judge would let run."""
    return {
        "policy_decision_point": address,
        "access_evaluation_endpoint": f"{address}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{address}/access/v1/evaluations",
    }
