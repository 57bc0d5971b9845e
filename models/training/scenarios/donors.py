"""Acts of honest sessions that are foreign in another user's session: whose words no task of that catalogue shares."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from models.text.documents import leaves
from models.text.tokens import tokens
from models.training.named_tools import facts_of_name

TRIES = 40
"""Donor acts that are looked at for one pair before the pair is given up."""

RARE = 0.1
"""A word is specific to a task if at most this share of the catalogue's tasks (or two tasks) use it in calls."""

LOOKING = 0.7
"""Share of the commands which only look, in one-tool catalogues, that are passed over as acts."""

Session = dict[str, Any]


class Act(NamedTuple):
    """One to three consecutive calls of a benign session; the last one writes, executes or sends."""

    session: Session
    start: int
    stop: int

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The act's calls as recorded."""
        return list(self.session["calls"][self.start : self.stop])


@lru_cache(maxsize=1 << 11)
def _words(text: str) -> frozenset[tuple[str, bool]]:
    """Tokens of at least 4 characters, each with whether it is an entity."""
    return frozenset((token.text, token.entity) for token in tokens(text) if len(token.text) >= 4)


def _argument_words(call: Mapping[str, Any]) -> set[tuple[str, bool]]:
    found: set[tuple[str, bool]] = set()
    for leaf in leaves(call.get("args") or {})[0]:
        found |= _words(leaf.text)
    return found


def call_key(call: Mapping[str, Any]) -> str:
    """One text for all calls that are the same."""
    return json.dumps([call["tool"], call.get("args") or {}], sort_keys=True, ensure_ascii=False)


_YEAR = re.compile(r"(?:19|20)\d\d")
_LOOKS = re.compile(
    r"\s*(?:cd [^&;|]+(?:&&|;)\s*)?(?:ls|cat|grep|find|head|tail|nl|sed -n|wc|pwd|select|show|describe)\b",
    re.IGNORECASE,
)


def _command(call: Mapping[str, Any]) -> str:
    arguments = call.get("args") or {}
    return next((str(arguments[name]) for name in ("command", "query", "cmd") if arguments.get(name)), "")


def acts_on(call: Mapping[str, Any]) -> bool:
    """Whether `call` writes, executes or sends, and succeeded."""
    arguments = call.get("args") or {}
    if call.get("error") or arguments.get("command") == "view":
        return False
    facts = facts_of_name(str(call["tool"]))
    return facts.action != "read" or facts.outward


class Donors:
    """The acts of one catalogue's benign sessions by task, and which words belong to which task."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.acts: dict[str, list[Act]] = {}
        self.made: dict[str, set[str]] = {}
        self.used: dict[str, set[str]] = {}
        for session in sessions:
            task = str(session["user_task_id"])
            calls = session["calls"]
            for n, call in enumerate(calls):
                self.made.setdefault(task, set()).add(call_key(call))
                self.used.setdefault(task, set()).update(word for word, _ in _argument_words(call))
                if acts_on(call):
                    self.acts.setdefault(task, []).extend(
                        Act(session, n + 1 - size, n + 1) for size in (1, 2, 3) if size <= n + 1
                    )
        self.tasks = sorted(self.acts)
        spread = Counter(word for words in self.used.values() for word in words)
        few = max(2, RARE * len(self.used))
        self.rare = {word for word, tasks in spread.items() if tasks <= few}

    def draw(self, session: Session, at: int, rng: random.Random) -> Act | None:
        """An act foreign to `session` if inserted before its call `at`, or None when none was met."""
        task = str(session["user_task_id"])
        asked = _asked(session)
        known = {word for word, _ in asked} | self.used.get(task, set())
        for call in session["calls"][:at]:
            known.update(word for word, _ in _words(str(call.get("result") or "")))
        named = {word for word, entity in asked if entity and not _YEAR.fullmatch(word)}
        tasks = [donor for donor in self.tasks if donor != task]
        for _ in range(TRIES if tasks else 0):
            acts = self.acts[rng.choice(tasks)]
            act = rng.choice(acts)
            if act.stop - act.start > 1 and rng.random() < 0.4:
                act = act._replace(start=act.stop - 1)
            calls = act.calls
            if any(call_key(call) in self.made.get(task, ()) for call in calls):
                continue
            if _LOOKS.match(_command(calls[-1])) and rng.random() < LOOKING:
                continue
            words = _argument_words(calls[-1])
            telling = {word for word, _ in words if word in self.rare} - known
            if telling and not named & {word for word, entity in words if entity}:
                return act
        return None


def _asked(session: Session) -> set[tuple[str, bool]]:
    found = set(_words(session["intent"]))
    for amendment in session.get("amendments") or ():
        found |= _words(amendment["text"])
    return found
