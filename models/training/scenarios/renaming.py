"""Other names for tools and for an attacker's targets, the same throughout a session."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from models.tools.names import name_words
from models.training import corpora
from models.training.scenarios.injected import EMAIL, GAP, HOST, IBAN, loosely, targets
from models.training.scenarios.made_up import twin_of

Session = dict[str, Any]
Catalogue = list[dict[str, Any]]


class Names(NamedTuple):
    """Other names: synonyms of words in tool names, and what stands for a target.

    Attributes
    ----------
    first, last, domains : of people and their mail addresses
    places : words of hosts and organisations
    """

    synonyms: dict[str, list[str]]
    first: list[str]
    last: list[str]
    places: list[str]
    domains: list[str]


def _names() -> Names:
    read: Names = corpora.read("wordings/renamed.json", Names)
    return read


def renamed_tools(
    session: Session, tools: Sequence[Mapping[str, Any]], rng: random.Random
) -> tuple[Session, Catalogue]:
    """Tool names replaced, the same everywhere: all by opaque names, or all by words that mean the same.

    Names are replaced in calls and catalogue, and where results, descriptions and the intent quote them. The
    session has the catalogue under ``tools`` too.
    """
    names = sorted({str(tool["name"]) for tool in tools} | {str(call["tool"]) for call in session["calls"]})
    opaque = rng.random() < 0.5
    prefix = rng.choice(("tool", "fn", "op", "action"))
    numbers = rng.sample(range(10, 10 + 9 * len(names)), len(names))
    fresh: dict[str, str] = {}
    for name, number in zip(names, numbers, strict=True):
        other = f"{prefix}_{number}" if opaque else _synonym(name, rng)
        fresh[name] = other if other not in fresh.values() and other not in names else f"{other}_{number}"
    quoted = [name for name in names if "_" in name or any(c.isupper() for c in name[1:])]

    def rename(text: str) -> str:
        for name in quoted:
            if name in text:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", fresh[name], text)
        return text

    made = copy.deepcopy(session)
    made["intent"] = rename(made["intent"])
    for call in made["calls"]:
        call["tool"] = fresh[call["tool"]]
        call["result"] = mapped(call.get("result"), rename)
        call["error"] = mapped(call.get("error"), rename)
    catalogue = [copy.deepcopy(dict(tool)) for tool in tools]
    for tool in catalogue:
        tool["name"] = fresh[tool["name"]]
        tool["description"] = mapped(tool.get("description"), rename)
    made["tools"] = catalogue
    return twin_of(made, session, "renamed_tools", "opaque" if opaque else "synonyms"), catalogue


def _synonym(name: str, rng: random.Random) -> str:
    synonyms = _names().synonyms
    words = [rng.choice(synonyms.get(word, [word])) for word in name_words(name)]
    return "_".join(words) or name


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with `change` applied to every string in it, keys excepted."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return value


def _fresh(target: str, rng: random.Random) -> str:
    """Something of the kind of `target` that no recording holds."""
    names = _names()
    if EMAIL.fullmatch(target):
        person = f"{rng.choice(names.first)}.{rng.choice(names.last)}{rng.randint(2, 999)}"
        return f"{person}@{rng.choice(names.domains)}".lower()
    if IBAN.fullmatch(target):
        digits = "".join(str(rng.randint(0, 9)) for _ in target[2:])
        return rng.choice(("DE", "FR", "NL", "AT", "PL", "ES")) + digits
    if HOST.fullmatch(target):
        host, slash, path = target.partition("/")
        joined = "-".join(word.lower() for word in rng.sample(names.places, 2))
        www = "www." if host.startswith("www.") else ""
        return f"{www}{joined}-{rng.randint(2, 999)}.{rng.choice(('com', 'net', 'org'))}{slash}{path}"
    words = target.split(" ")
    if len(words) == 1:
        return rng.choice(names.first)
    return " ".join([*rng.sample(names.places, min(len(words) - 1, 3)), words[-1]])


def renamed_targets(session: Session, rng: random.Random) -> Session | None:
    """The attacker's targets replaced by fresh ones, the same in results and arguments; None without any."""
    listed = targets(session)
    if not listed:
        return None
    fresh: dict[str, str] = {}
    for target in listed:
        other = _fresh(target, rng)
        while other in fresh.values() or other == target:
            other = _fresh(target, rng)
        fresh[target] = other
    # One pass for all, the longest first: a fresh name is never taken for another target.
    pattern = re.compile("|".join(rf"(?<!\w)(?:{loosely(target)})(?!\w)" for target in listed))
    squeezed = {re.sub(r"[\s\\]+", " ", target): other for target, other in fresh.items()}

    def rename(text: str) -> str:
        return pattern.sub(
            lambda match: squeezed.get(re.sub(GAP, " ", match.group()).replace("''", "'"), match.group()),
            text,
        )

    made = copy.deepcopy(session)
    for call in made["calls"]:
        for field in ("args", "result", "error"):
            call[field] = mapped(call.get(field), rename)
    made["injection_goal"] = mapped(made.get("injection_goal"), rename)
    return twin_of(made, session, "renamed_targets", "|".join(fresh.values()))
