"""Sessions that were never recorded, in the form of recorded ones, and the draws and ids that they are made with."""

from __future__ import annotations

import copy
import hashlib
import json
import random
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


def twin_of(made: Session, session: Mapping[str, Any], variant: str, salt: str = "") -> Session:
    """`made`, with the ids of a twin of a recorded session."""
    origin = str(session["session_id"])
    pair = "ra-" + hashlib.sha256(origin.encode()).hexdigest()[:12]
    return identify(made, origin, variant, pair, salt)


def seeded(*parts: object) -> random.Random:
    """A generator seeded by a hash of `parts`: the same everywhere, whatever else was drawn."""
    return random.Random(digest("|".join(map(str, parts))))


def digest(text: str) -> int:
    """64 bits of SHA-256 of `text`."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def identify(
    made: dict[str, Any], origin: str, variant: str, pair: str, salt: str, donor: str | None = None
) -> dict[str, Any]:
    """`made`, with the ids of a generated session set in place: its own by hash of origin, variant and salt."""
    text = f"{origin}|{variant}|{salt}|{donor}"
    made.setdefault("wording", None)
    made.update(
        session_id="sc-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        variant=variant,
        origin=origin,
        donor=donor,
        pair=pair,
    )
    return made


def short_digest(salt: str) -> str:
    """Twelve hexadecimal digits of SHA-256 of a text."""
    return hashlib.sha256(salt.encode()).hexdigest()[:12]


def as_text(result: Any) -> str:
    """What a tool answered, as a recording has it."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
