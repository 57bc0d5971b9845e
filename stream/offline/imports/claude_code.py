"""Transcripts of Claude Code: ``~/.claude/projects/<folder>/<session>.jsonl``, and those of its sub-agents beside them.

No schema is published. Read off what Claude Code 2.1.197 writes, and off public transcripts of 1.0 to 2.1.
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
    Prompt,
    Returned,
    Step,
    moment_of,
    text_of,
)

_COMMAND = re.compile(r"<command-name>(.*?)</command-name>", re.DOTALL)
_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_OF_THE_HOST = re.compile(
    r"\s*(?:<(?:local-command-|bash-(?:stdout|stderr)|task-notification|teammate-message)|\[Request interrupted|Caveat: The messages below)"
)
"""How texts begin that Claude Code writes in the user's place."""
_SHELL = re.compile(r"\s*<bash-input>")


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


def moments(path: Path, notes: Notes, seen: set[str]) -> Iterator[Moment]:
    """What happened, by the file at `path`; entries of `seen` (their uuids) are repeats."""
    chains: dict[
        str, str
    ] = {}  # of sub-agents that older versions wrote into the session's own file, by entry
    own = ""  # a file that goes on with another session repeats it under its own id, in some versions under the old one
    for number, entry in documents_of(path, notes):
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
    return agent if isinstance(agent, str) and entry.get("isSidechain") is True else None


def _steps(entry: dict[str, Any], notes: Notes, *, is_agent: bool) -> list[Step]:
    kind, message = entry.get("type"), member(entry, "message")
    if kind == "assistant":
        return _said(message, entry, notes)
    if kind == "user":
        return _heard(entry, message.get("content"), notes, is_agent=is_agent)
    if kind == "queue-operation" and entry.get("operation") == "remove":
        notes.lose("prompts that left the queue, sent or withdrawn")  # which of both the entry does not say
    if kind != "attachment":
        return []
    queued = member(entry, "attachment")
    typed = queued.get("type") == "queued_command" and queued.get("commandMode", "prompt") == "prompt"
    if typed and _by_the_user(queued):  # while the agent worked
        return _prompts(text_of(queued.get("prompt"), notes), notes)
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
    results: list[Step] = [
        _result(block, notes) for block in blocks if str(block.get("type")).endswith("tool_result")
    ]
    rest = [block for block in blocks if not str(block.get("type")).endswith("tool_result")]
    if isinstance(content, str):
        rest = [{"type": "text", "text": content}]
    if not rest:
        return results
    if entry.get("isMeta") or entry.get("isCompactSummary") or not _by_the_user(entry):
        notes.lose("messages of the host")
        return results
    text = text_of(rest, notes)
    if is_agent:
        return [*results, Prompt(text)]
    return [*results, *_prompts(text, notes)]


def _by_the_user(entry: dict[str, Any]) -> bool:
    return bool(member(entry, "origin").get("kind", "human") == "human")


def _prompts(text: str, notes: Notes) -> list[Step]:
    """What of a message the user wrote."""
    if command := _COMMAND.search(text):
        arguments = _ARGUMENTS.search(text)
        return [Prompt(f"{command[1].strip()} {arguments[1].strip() if arguments else ''}".strip())]
    if _SHELL.match(text):
        notes.lose("shell commands of the user's own")
        return []
    if _OF_THE_HOST.match(text):
        notes.lose("messages of the host")
        return []
    text, reminders = _REMINDER.subn("", text)
    if reminders:
        notes.lose("messages of the host", reminders)
    return [Prompt(text.strip())]


def _result(block: dict[str, Any], notes: Notes) -> Returned:
    content = block.get("content")
    if isinstance(content, list):
        content = text_of(content, notes)
    return Returned(str(block["tool_use_id"]), content, block.get("is_error") is True)


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
