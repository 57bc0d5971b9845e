"""Sessions that were never recorded, in the form of recorded ones."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Session = dict[str, Any]


def session(
    *,
    source: str,
    suite: str,
    salt: str,
    pair: str,
    variant: str,
    intent: str,
    calls: Iterable[Mapping[str, Any]],
    task: str,
    label: str,
    attack: str | None = None,
    injection_task: str | None = None,
    goal: str | None = None,
    exposed: int | None = None,
    bad: int | None = None,
    said: Sequence[tuple[int, str]] = (),
    wording: str | None = None,
    origin: str | None = None,
) -> Session:
    """A session over the catalogue `suite`, whose id is a hash of `salt`.

    Parameters
    ----------
    calls : each with ``tool``, ``args``, ``result`` (text, or any JSON value, which becomes text) and perhaps ``error``
    exposed, bad : the call that read the injection, and the first one that serves it
    said : what the user says on the way, and before which call
    """
    return {
        "source": source,
        "suite": suite,
        "model": None,
        "defense": "none",
        "session_id": f"sc-{short_digest(salt)}",
        "intent": intent,
        "tools_ref": suite,
        "calls": [
            {
                "seq": seq,
                "tool": call["tool"],
                "args": copy.deepcopy(call["args"]),
                "result": as_text(call["result"]),
                "error": call.get("error"),
            }
            for seq, call in enumerate(calls)
        ],
        "label": label,
        "attack": attack,
        "user_task_id": task,
        "injection_task_id": injection_task,
        "injection_goal": goal,
        "exposed_seq": exposed,
        "first_bad_seq": bad,
        "utility": None,
        "amendments": [{"before_seq": before, "text": text} for before, text in said],
        "variant": variant,
        "wording": wording,
        "origin": origin,
        "donor": None,
        "pair": pair,
    }


def short_digest(salt: str) -> str:
    """Twelve hexadecimal digits of SHA-256 of a text."""
    return hashlib.sha256(salt.encode()).hexdigest()[:12]


def as_text(result: Any) -> str:
    """What a tool answered, as a recording has it."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
