"""Transcripts of Claude Code: ``~/.claude/projects/<folder>/<session>.jsonl``, and those of its sub-agents beside them.

No schema is published. Read off what Claude Code 2.1.197 and 2.1.332 write, and off public transcripts of 1.0 to 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream.events import member
from stream.offline.imports.reading import Head, documents_of
from stream.offline.imports.steps import (
    MISSHAPEN,
    Acting,
    Called,
    Moment,
    Notes,
    Offered,
    Prompt,
    Returned,
    Step,
    moment_of,
    text_of,
    tool_of,
)
from stream.offline.lines import Heard, unheard

_OF_THE_HOST = re.compile(
    r"\s*(?:<(?:local-command-|bash-(?:stdout|stderr)|teammate-message)|\[Request interrupted|Caveat: The messages below)"
)
"""How texts begin that Claude Code writes in the user's place."""
_SHELL = re.compile(r"\s*<bash-input>")
_NOTIFICATION = "<task-notification>"
_BEGUN_BY = re.compile(r"<tool-use-id>([^<]{1,200})</tool-use-id>")


def recognised(head: Head) -> bool:
    """Whether a file begins like a transcript."""
    return any(
        ("sessionId" in each and isinstance(each.get("type"), str))
        or (each.get("type") == "summary" and "leafUuid" in each)
        for each in head.documents
    )


def origin(head: Head) -> tuple[str, str | None]:
    """The session that the file is of, and for a sub-agent's file the one above."""
    for each in head.documents:
        if isinstance(each.get("sessionId"), str):
            session: str = each["sessionId"]
            agent = _agent_of(each)
            return (f"{session}/{agent}", session) if agent else (session, None)
    return "", None


def moments(path: Path, notes: Notes, seen: set[str], heard: Heard = unheard) -> Iterator[Moment]:
    """What happened, by the file at `path`; entries of `seen` (their uuids) are repeats."""
    chains: dict[
        str, str
    ] = {}  # of sub-agents that older versions wrote into the session's own file, by entry
    own = ""  # a file that goes on with another session repeats it under its own id, in some versions under the old one
    for number, entry in documents_of(path, notes, heard):
        own = own or str(entry.get("sessionId") or "")
        uuid = entry.get("uuid")
        if isinstance(uuid, str):
            if uuid in seen:
                notes.lose("entries that are there twice")
                continue
            seen.add(uuid)
        if not own:
            continue
        agent = _agent_of(entry)
        if agent is None and entry.get("isSidechain") is True and isinstance(uuid, str):
            agent = chains[uuid] = chains.get(str(entry.get("parentUuid")), uuid)
        session, parent = (f"{own}/{agent}", own) if agent else (own, None)
        time = moment_of(entry.get("timestamp"))
        try:
            for step in _steps(entry, notes, is_agent=agent is not None):
                yield Moment(session, time, step, parent)
        except MISSHAPEN as error:
            notes.refuse(f"{path}, line {number}", f"an entry of another shape ({type(error).__name__})")


def _agent_of(entry: dict[str, Any]) -> str | None:
    agent = entry.get("agentId")
    is_agent_s = entry.get("isSidechain") is True or entry.get("type") == "api-request-shape"
    return agent if isinstance(agent, str) and is_agent_s else None


def _steps(entry: dict[str, Any], notes: Notes, *, is_agent: bool) -> list[Step]:
    kind, message = entry.get("type"), member(entry, "message")
    if kind == "assistant":
        return _said(message, entry, notes)
    if kind == "user":
        return _heard(entry, message.get("content"), notes, is_agent=is_agent)
    if kind == "api-request-shape":
        tools = member(entry, "shape").get("tools") or ()
        return [Offered([tool_of(each, parameters="input_schema") for each in tools])]
    if kind == "attachment":
        return _attached(member(entry, "attachment"), notes)
    if kind == "queue-operation":
        if entry.get("operation") == "remove":
            notes.lose(
                "prompts that left the queue, sent or withdrawn"
            )  # which of both the entry does not say
    elif kind != "summary":
        notes.lose("entries of other kinds")
    return []


def _attached(attachment: dict[str, Any], notes: Notes) -> list[Step]:
    kind = attachment.get("type")
    if kind == "deferred_tools_delta":  # offered by their names until they are looked up
        return [Offered([{"name": str(each)} for each in attachment.get("addedNames") or ()])]
    if kind == "queued_command" and _by_the_user(attachment):  # while the agent worked
        text = text_of(attachment.get("prompt"), notes)
        if attachment.get("commandMode", "prompt") == "prompt":
            return _prompts(text, notes)
        return _notified(text, notes)
    notes.lose("messages of the host")  # what hooks said, among others
    return []


def _said(message: dict[str, Any], entry: dict[str, Any], notes: Notes) -> list[Step]:
    model = message.get("model")
    agent = {"id": "claude-code", "framework": f"claude-code/{entry.get('version') or 'unknown'}"}
    if isinstance(model, str) and not model.startswith("<"):
        agent["model"] = model
    steps: list[Step] = [Acting(agent)]
    for block in _blocks(message.get("content")):
        kind = str(block.get("type"))
        if kind.endswith("tool_use"):
            server = block.get("server_name")
            name = f"{server}__{block['name']}" if isinstance(server, str) else str(block["name"])
            steps.append(Called(str(block["id"]), name, block.get("input") or {}))
        elif kind.endswith("tool_result"):  # of tools that run at the model's provider
            steps.append(_result(block, notes))
        elif "thinking" in kind:
            notes.lose("thoughts of the agent")
        else:
            notes.lose("texts of the agent")
    return steps


def _heard(entry: dict[str, Any], content: Any, notes: Notes, *, is_agent: bool) -> list[Step]:
    blocks = _blocks(content)
    refused = "toolDenialKind" in entry or member(entry, "permissionDecision").get("decision") == "reject"
    results: list[Step] = [
        _result(block, notes, ran=not refused)
        for block in blocks
        if str(block.get("type")).endswith("tool_result")
    ]
    rest = [block for block in blocks if not str(block.get("type")).endswith("tool_result")]
    if isinstance(content, str):
        rest = [{"type": "text", "text": content}]
    if not rest:
        return results
    text = text_of(rest, notes)
    if text.lstrip().startswith(_NOTIFICATION):
        return [*results, *_notified(text, notes)]
    if entry.get("isMeta") or entry.get("isCompactSummary") or not _by_the_user(entry):
        notes.lose("messages of the host")
        return results
    if is_agent:
        return [*results, Prompt(text)]
    return [*results, *_prompts(text, notes)]


def _by_the_user(entry: dict[str, Any]) -> bool:
    return bool(member(entry, "origin").get("kind", "human") == "human")


def _notified(text: str, notes: Notes) -> list[Step]:
    """What came of work that went on beside the agent; where it says which call began it, that call's later answer."""
    head, _, rest = text.partition("<result>")
    begun_by = _BEGUN_BY.search(head)
    answer, is_whole, _ = rest.rpartition("</result>")
    if begun_by is None or not is_whole:
        notes.lose("messages of the host")
        return []
    return [Returned(begun_by[1], answer)]


def _prompts(text: str, notes: Notes) -> list[Step]:
    """What of a message the user wrote."""
    if (command := _within(text, "command-name")) is not None:
        return [Prompt(f"{command.strip()} {(_within(text, 'command-args') or '').strip()}".strip())]
    if _SHELL.match(text):
        notes.lose("shell commands of the user's own")
        return []
    if _OF_THE_HOST.match(text):
        notes.lose("messages of the host")
        return []
    kept = []
    *closed, rest = text.split("</system-reminder>")
    for part in closed:
        before, is_reminder, _ = part.partition("<system-reminder>")
        kept.append(before if is_reminder else f"{part}</system-reminder>")
        if is_reminder:
            notes.lose("messages of the host")
    return [Prompt("".join([*kept, rest]).strip())]


def _within(text: str, tag: str) -> str | None:
    """What stands between the first of a tag and its end; no pattern, which would read a text of many begun tags once for each."""
    found, is_closed, _ = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")
    return found if is_closed else None


def _result(block: dict[str, Any], notes: Notes, *, ran: bool = True) -> Returned:
    content = block.get("content")
    if isinstance(content, list):
        content = text_of(content, notes)
    failed = block.get("is_error") is True
    return Returned(str(block["tool_use_id"]), content, failed, ran or not failed)


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
