"""Rollouts of OpenAI's Codex CLI: ``~/.codex/sessions/<year>/<month>/<day>/rollout-*.jsonl``.

Lines are ``RolloutLine`` of ``codex-rs/protocol/src/protocol.rs``, their items ``ResponseItem`` of ``models.rs``; until
0.3x the bare items. Tried with what Codex CLI 0.171.0 writes. Its newer models call one tool, ``exec``, with a script; what
the script called stands in the rollout as items of what was done (``items.rs``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream.events import member
from stream.offline.imports.reading import Head, document_in, documents_of
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
from stream.offline.lines import Heard, unheard

_LINES = {"session_meta", "response_item", "event_msg", "turn_context", "compacted"}
_ITEMS = {"message", "reasoning", "function_call", "function_call_output", "local_shell_call"}
_OF_THE_HOST = re.compile(r"\s*(?:<|# AGENTS\.md instructions)")
"""How messages begin that Codex puts before the model in the user's place."""
_EXIT = re.compile(r"(?:.*\n){0,4}(?:Process exited with code|Exit code:) (\d+)")
_FAILED = re.compile(r"Script failed\n|unsupported (?:custom tool )?call: ")
_RAN = re.compile(r"Chunk ID: |Wall time|Exit code: |Process |\{\"output\":|aborted by user")
"""How the answers of `exec_command` begin where a command ran; otherwise they say why none did."""


def recognised(head: Head) -> bool:
    """Whether a file begins like a rollout."""
    return any(
        (str(each.get("type")) in _LINES and isinstance(each.get("payload"), dict)) or _is_bare(each)
        for each in head.documents
    )


def origin(head: Head) -> tuple[str, str | None]:
    """The session that the file is of, and for a sub-agent's file the one above."""
    for each in head.documents:
        meta = each if _is_bare(each) else member(each, "payload")
        if (each.get("type") == "session_meta" or _is_bare(each)) and isinstance(meta.get("id"), str):
            source = meta.get("source")
            spawned = member(member(source, "subagent"), "thread_spawn")
            above = spawned.get("parent_thread_id") or meta.get("parent_thread_id")
            return meta["id"], above if isinstance(above, str) else None
    return "", None


def moments(path: Path, notes: Notes, heard: Heard = unheard) -> Iterator[Moment]:
    """What happened, by the file at `path`."""
    session, parent = "", None
    reader = _Reader(notes)
    for number, line in documents_of(path, notes, heard):
        if not session:
            session, parent = origin(Head("", [line]))
        kind = str(line.get("type"))
        payload = member(line, "payload") if kind in _LINES else {**line, "bare": True}
        if not session:
            notes.refuse(f"{path}, line {number}", "before a session begins")
            continue
        try:
            for step in reader.steps(kind if kind in _LINES else "response_item", payload):
                yield Moment(session, moment_of(line.get("timestamp")), step, parent)
        except MISSHAPEN as error:
            notes.refuse(f"{path}, line {number}", f"an item of another shape ({type(error).__name__})")


def _is_bare(line: dict[str, Any]) -> bool:
    return "type" not in line and {"id", "timestamp", "instructions"} <= line.keys()


class _Reader:
    """Takes lines in order.

    The user's words stand twice: as an event, which is theirs alone, and in the model's input, where the host's notes
    look the same. The events count; only where a call comes before any of them is the input read instead.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._asked = False
        self._input: list[str] = []
        self._last: tuple[str, str] = ("", "")
        self._tools: dict[str, str] = {}  # of the calls so far, by their ids
        self._scripts = False  # whether the model has run one
        self._spawned: dict[str, str] = {}  # the calls that began sub-agents, by the paths of these

    def steps(self, kind: str, payload: dict[str, Any]) -> list[Step]:
        if kind == "session_meta":
            version = payload.get("cli_version") or "unknown"
            return [Acting({"id": "codex", "framework": f"codex/{version}"})]
        if kind == "turn_context":
            model = payload.get("model")
            return [Acting({"model": model})] if isinstance(model, str) else []
        if kind == "compacted":
            self._notes.lose("summaries of the conversation")
            return []
        if kind == "event_msg":
            return self._event(payload)
        return self._item(payload)

    def _event(self, payload: dict[str, Any]) -> list[Step]:
        kind, item = str(payload.get("type")), member(payload, "item")
        if kind == "user_message":
            text = str(payload.get("message"))
        elif kind == "item_completed" and item.get("type") == "UserMessage":  # of 0.171
            text = text_of(item.get("content"), self._notes)
        elif kind == "item_completed":
            return self._done(item)
        else:
            return []
        before, self._last = self._last, (kind, text)
        if before[0] not in {"", kind} and before[1] == text:  # told in both ways
            return []
        self._asked = True
        return [Prompt(text)]

    def _done(self, item: dict[str, Any]) -> list[Step]:
        """A call that a script made, and its answer, known only once it is over; one that the model made itself stands as an item of its own."""
        if item.get("type") == "SubAgentActivity" and item.get("id") in self._tools:
            self._spawned[str(item.get("agent_path"))] = str(item["id"])
        is_script_s = self._scripts and item.get("id") not in self._tools
        done = _done(item, self._notes) if is_script_s else None
        if done is None:
            return []
        if item.get("source") == "user_shell":
            self._notes.lose("shell commands of the user's own")
            return []
        self._tools[done[0].call_id] = done[0].tool
        return list(done)

    def _item(self, item: dict[str, Any]) -> list[Step]:
        kind = item.get("type")
        if kind == "message":
            return self._message(item)
        if kind == "agent_message":
            return self._of_an_agent(item)
        if kind == "reasoning":
            self._notes.lose("thoughts of the agent")
            return []
        if kind in {"function_call_output", "custom_tool_call_output", "tool_search_output"}:
            result, failed = _output(item, self._notes)
            if self._tools.get(str(item["call_id"])) == "exec_command" and isinstance(result, str):
                failed = failed or not _RAN.match(result)
            return [Returned(str(item["call_id"]), result, failed)]
        call = _call(item)
        if call is None:
            if kind in {"ghost_snapshot", "compaction", "compaction_summary"}:
                self._notes.lose("summaries of the conversation")
            return []
        self._tools[call.call_id] = call.tool
        self._scripts = self._scripts or call.tool == "exec"
        if kind in {"web_search_call", "image_generation_call"}:
            self._notes.lose("results of tools that run at the model's provider")
        if not self._asked and self._input:
            self._asked = True
            self._notes.lose("marks of what the user wrote: the model's input was read instead")
            return [*(Prompt(text) for text in self._input), call]
        return [call]

    def _of_an_agent(self, item: dict[str, Any]) -> list[Step]:
        """What a sub-agent answered, after the call that began it returned; other messages between agents are encrypted or say what to do."""
        call_id = self._spawned.get(str(item.get("author")))
        if call_id is None:
            self._notes.lose("messages between agents")
            return []
        return [Returned(call_id, text_of(item.get("content"), self._notes))]

    def _message(self, item: dict[str, Any]) -> list[Step]:
        if item.get("role") != "user":
            self._notes.lose(
                "texts of the agent" if item.get("role") == "assistant" else "messages of the host"
            )
            return []
        text = text_of(item.get("content"), self._notes)
        if _OF_THE_HOST.match(text):
            self._notes.lose("messages of the host")
        elif item.get("bare"):
            self._asked = True
            return [Prompt(text)]
        else:
            self._input.append(text)
        return []


def _call(item: dict[str, Any]) -> Called | None:
    kind = item.get("type")
    if kind == "function_call":
        name = str(item["name"])
        namespace = item.get("namespace")
        if isinstance(namespace, str):
            name = f"{namespace}__{name}"
        given = item.get("arguments")
        read = document_in(given) if isinstance(given, str) else given
        return Called(str(item["call_id"]), name, read if isinstance(read, dict) else {"input": given})
    if kind == "custom_tool_call":
        return Called(str(item["call_id"]), str(item["name"]), {"input": item.get("input")})
    if kind == "local_shell_call":
        return Called(str(item.get("call_id") or item.get("id")), "local_shell", member(item, "action"))
    if kind in {"web_search_call", "image_generation_call", "tool_search_call"}:
        told = {name: item[name] for name in ("action", "arguments", "revised_prompt") if item.get(name)}
        action = told.pop("action", None)
        given = {**told, **(action if isinstance(action, dict) else {})}
        return Called(
            str(item.get("call_id") or item.get("id") or kind), str(kind).removesuffix("_call"), given
        )
    return None


def _done(item: dict[str, Any], notes: Notes) -> tuple[Called, Returned] | None:
    """A call by what was done, under the name of the tool that does it; None of other items."""
    kind, given, failed = item.get("type"), {}, item.get("status") == "failed"
    if kind == "CommandExecution":
        words = item.get("command")
        if isinstance(words, list) and len(words) == 3 and words[1] in ("-c", "-lc"):
            words = words[2]
        tool, given = "exec_command", {"cmd": words}
        result = item.get("aggregated_output")
    elif kind == "FileChange":
        tool, given = "apply_patch", {"changes": item.get("changes")}
        result = "".join(str(item.get(stream) or "") for stream in ("stdout", "stderr"))
    elif kind == "McpToolCall":
        tool, given = f"mcp__{item['server']}__{item['tool']}", item.get("arguments") or {}
        answer = member(item, "result") or member(item, "error")
        result = text_of(answer["content"], notes) if "content" in answer else answer.get("message")
        failed = failed or answer.get("isError") is True
    else:
        return None
    call_id = str(item["id"])
    return Called(call_id, tool, given), Returned(call_id, result, failed)


def _output(item: dict[str, Any], notes: Notes) -> tuple[Any, bool]:
    """What a call answered, and whether it failed, as far as the text says."""
    output = item.get("output", item.get("tools"))
    success = None
    if isinstance(output, dict):
        output, success = output.get("content", output), output.get("success")
    if isinstance(output, list) and item.get("type") != "tool_search_output":
        output = text_of(output, notes)
    if not isinstance(output, str):
        return output, success is False
    found = _EXIT.match(output)
    code = int(found[1]) if found else 0
    if output.startswith('{"output":'):  # until 0.4x
        code = member(document_in(output), "metadata").get("exit_code", 0)
    return output, success is False or code != 0 or _FAILED.match(output) is not None
