"""Runs of AgentDojo: ``runs/<pipeline>/<suite>/<user task>/<attack>/<injection task>.json``.

The shape is that of ``TraceLogger.save`` in the package agentdojo 0.1.35; messages without blocks are of older versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import InputError
from stream.offline.imports.reading import Head, whole
from stream.offline.imports.steps import MISSHAPEN, Notes, text_of
from stream.offline.recorded import events_of

_BEGINS = re.compile(r'\s*\{\s*"suite_name"\s*:')


def recognised(head: Head) -> bool:
    """Whether a file begins like a run."""
    return bool(_BEGINS.match(head.text)) and '"user_task_id"' in head.text


def events(
    path: Path, notes: Notes, catalogues: dict[str, list[dict[str, Any]]] | None, prefix: str = ""
) -> Iterator[dict[str, Any]]:
    """The events of the run at `path`, made as those of a recorded session: a run tells no time of a call.

    Parameters
    ----------
    catalogues : tools by suite, or None
    prefix : str
        Of every id.
    """
    run = whole(path)
    if not isinstance(run, dict):
        notes.refuse(str(path), "not one JSON object")
        return
    try:
        session = _session(run, notes)
        tools = (catalogues or {}).get(str(run["suite_name"]))
        made = events_of(session, tools, prefix)
    except (*MISSHAPEN, InputError) as error:
        notes.refuse(str(path), f"a run of another shape ({type(error).__name__})")
        return
    if not session["intent"]:
        notes.refuse(str(path), "a run without a prompt")
        return
    notes.lose("sessions with times that are drawn")
    if tools is None:
        notes.lose("tool catalogues that are not known")
    notes.mapped["sessions"] += 1
    notes.mapped["calls"] += len(session["calls"])
    notes.mapped["results"] += len(session["calls"])
    notes.mapped["amendments"] += len(session["amendments"])
    yield from made


def _session(run: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """A run as a recorded session, see `stream.offline.recorded`; of what the benchmark made of it nothing."""
    names = [
        str(run.get(name) or "none")
        for name in ("pipeline_name", "suite_name", "user_task_id", "attack_type", "injection_task_id")
    ]
    prompts: list[tuple[int, str]] = []
    calls: list[dict[str, Any]] = []
    asked_for = 0
    for message in run["messages"]:
        role = message["role"]
        if role == "user":
            prompts.append((len(calls), text_of(message["content"], notes, name="content")))
        elif role == "assistant":
            asked_for += len(message.get("tool_calls") or ())
            if text_of(message.get("content"), notes, name="content").strip():
                notes.lose("texts of the agent")
        elif role == "tool":
            call = message["tool_call"]
            calls.append(
                {
                    "seq": len(calls),
                    "tool": str(call["function"]),
                    "args": call.get("args") or {},
                    "result": text_of(message.get("content"), notes, name="content"),
                    "error": message.get("error"),
                }
            )
        else:
            notes.lose("system prompts")
    if asked_for > len(calls):
        notes.lose("calls that were not carried out", asked_for - len(calls))
    return {
        "session_id": f"agentdojo-{hashlib.sha256('/'.join(names).encode()).hexdigest()[:16]}",
        "model": names[0],
        "intent": prompts[0][1] if prompts else "",
        "amendments": [{"before_seq": seq, "text": text} for seq, text in prompts[1:]],
        "calls": calls,
    }
