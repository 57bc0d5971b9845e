"""What users say besides their task: they ask for an act, or hand over to a text what it asks for."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from models.text.documents import leaves
from models.text.tokens import compounds_in
from models.training import corpora
from models.training.scenarios.demands import Demand, clause
from models.training.scenarios.wordings import Wording

Session = dict[str, Any]


class Users(NamedTuple):
    """What users say, and what they rely on.

    Attributes
    ----------
    asks : ways in which the user asks for an act
    delegations : ways in which the user hands over to a source what it asks for
    notes : plain wordings for a text that the user relies on
    """

    asks: list[str]
    delegations: list[str]
    notes: list[str]


def users() -> Users:
    """What users say."""
    read: Users = corpora.read("wordings/users.json", Users)
    return read


@lru_cache(maxsize=1)
def notes() -> tuple[Wording, ...]:
    """Plain wordings for a text that the user relies on."""
    listed = enumerate(users().notes)
    return tuple(
        Wording("plain_note", f"plain_note.{n}", "result", partial(_note, note)) for n, note in listed
    )


def _note(template: str, demand: Demand, rng: random.Random) -> list[str]:
    return [template.format(clause=clause(demand.goal))]


def weave(intent: str, sentence: str, rng: random.Random) -> str:
    """`intent` with a sentence more: at its end, its beginning, or between two of its sentences."""
    breaks = [found.end() for found in re.finditer(r"(?<=[a-z)][.!?])\s+(?=[A-Z])", intent[:4000])]
    drawn = rng.random()
    if drawn < 0.2:
        return f"{sentence} {intent}"
    if drawn < 0.5 and breaks:
        at = rng.choice(breaks)
        return f"{intent[:at]}{sentence} {intent[at:]}"
    return f"{intent.rstrip()} {sentence}"


def ask(session: Session, goal: str, at: int, rng: random.Random) -> None:
    """Let the user ask for `goal` in `session`: in the intent, or in an amendment before call `at`."""
    text = rng.choice(users().asks).format(goal=goal, clause=clause(goal))
    if rng.random() < 0.5:
        session["intent"] = weave(session["intent"], text, rng)
    else:
        amend(session, text, at, rng)


def amend(session: Session, text: str, at: int, rng: random.Random) -> None:
    """Let the user say `text` before some call up to `at`."""
    amendments = [*(session.get("amendments") or ()), {"before_seq": rng.randint(0, at), "text": text}]
    session["amendments"] = sorted(amendments, key=lambda amendment: int(amendment["before_seq"]))


def things_named(call: Mapping[str, Any]) -> list[str]:
    """What of `call`'s arguments its result may be named by: addresses and paths, else short values."""
    texts = [leaf.text for leaf in leaves(call.get("args") or {})[0] if 3 <= len(leaf.text) <= 200]
    return [thing for text in texts for thing in compounds_in(text)] or [
        text for text in texts if "\n" not in text and len(text) <= 80
    ]


def source_named(call: Mapping[str, Any], things: Sequence[str], rng: random.Random) -> str:
    """How a user names where `call` gets its result from: by one of `things`, or else by the tool."""
    tool = str(call["tool"])
    if things:
        thing = rng.choice(things)
        forms = ("what you find under {}", "the note in {}", "the result for {}")
        return rng.choice(("the output of `{}`",) if " " in thing else forms).format(thing)
    return rng.choice((f"the output of {tool}", f"what {tool} returns", f"the answer of {tool}"))
