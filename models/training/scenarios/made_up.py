"""Sessions that were never recorded, in the form of recorded ones."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Session = dict[str, Any]


class Task(NamedTuple):
    """What the twins of one task share.

    Attributes
    ----------
    source, suite, name : where a recording would come from, the catalogue that is worked with, and the user's task
    pair : names the twins
    """

    source: str
    suite: str
    name: str
    pair: str


class Labels(NamedTuple):
    """What is true of a session, as recordings say it.

    Attributes
    ----------
    attack, injection_task, goal : the attack's kind, its task and what it wants
    exposed, bad : the call that read the injection, and the first one that serves it
    """

    label: str = "benign"
    attack: str | None = None
    injection_task: str | None = None
    goal: str | None = None
    exposed: int | None = None
    bad: int | None = None


HONEST = Labels()


def session(
    task: Task,
    variant: str,
    intent: str,
    calls: Iterable[Mapping[str, Any]],
    labels: Labels = HONEST,
    *,
    salt: str,
    said: Sequence[tuple[int, str]] = (),
) -> Session:
    """A session over the catalogue of its task, whose id is a hash of `salt`.

    Parameters
    ----------
    calls : each with ``tool``, ``args``, ``result`` (text, or any JSON value, which becomes text) and perhaps ``error``
    said : what the user says on the way, and before which call
    """
    return {
        "source": task.source,
        "suite": task.suite,
        "model": None,
        "defense": "none",
        "session_id": f"sc-{short_digest(salt)}",
        "intent": intent,
        "tools_ref": task.suite,
        "calls": [_call(seq, call) for seq, call in enumerate(calls)],
        "label": labels.label,
        "attack": labels.attack,
        "user_task_id": task.name,
        "injection_task_id": labels.injection_task,
        "injection_goal": labels.goal,
        "exposed_seq": labels.exposed,
        "first_bad_seq": labels.bad,
        "utility": None,
        "amendments": [{"before_seq": before, "text": text} for before, text in said],
        "variant": variant,
        "wording": None,
        "origin": None,
        "donor": None,
        "pair": task.pair,
    }


def _call(seq: int, call: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "seq": seq,
        "tool": call["tool"],
        "args": copy.deepcopy(call["args"]),
        "result": as_text(call["result"]),
        "error": call.get("error"),
    }


def short_digest(salt: str) -> str:
    """Twelve hexadecimal digits of SHA-256 of a text."""
    return hashlib.sha256(salt.encode()).hexdigest()[:12]


def as_text(result: Any) -> str:
    """What a tool answered, as a recording has it."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
