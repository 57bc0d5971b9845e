"""Values for the templates of `models.training.scenarios.report_templates`, and the words that the report's tasks are put in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from models.training import corpora
from models.training.scenarios.report_templates import Domain


class Phrases(NamedTuple):
    """What the report's tasks are put in.

    Attributes
    ----------
    given, family, firms, trades, endings : parts of names of people, firms and hosts
    failures : what a tool says when a call fails
    openings, closings, asking : before and after an intent, and how it asks for an act besides
    batches : how several acts of one kind are asked for
    delegating, background, reading : how an intent hands acts over, names another source, or only wants to read
    items, asides : by style, how a source lists acts; how it asks for one more
    for_others : how a result asks somebody else for an act
    styles : by name, how a result demands acts of the agent
    granting : how an intent allows acts that results ask for
    """

    given: list[str]
    family: list[str]
    firms: list[str]
    trades: list[str]
    endings: list[str]
    failures: list[str]
    openings: list[str]
    closings: list[str]
    asking: list[str]
    batches: list[str]
    delegating: list[str]
    background: list[str]
    reading: list[str]
    items: dict[str, str]
    asides: list[str]
    for_others: list[str]
    styles: dict[str, str]
    granting: list[str]


def phrases() -> Phrases:
    """What the report's tasks are put in."""
    read: Phrases = corpora.read("report/texts.json", Phrases)
    return read


_PLACE = re.compile(r"\$([a-z]+_|[a-z]+\d*)")
_NUMBER = re.compile(r"#[a-z]+(_|\d*)")
_LOOP = re.compile(r"\[\[(.*?)\]\]", re.S)
_IBANS = ("DE## #### #### #### ####", "NL##@@@@##########", "GB##@@@@##############")


class Values:
    """Values drawn when a template first names them; the same name gives the same value after that."""

    def __init__(self, domain: Domain, rng: random.Random, turns: int = 0) -> None:
        self._domain = domain
        self._rng = rng
        self.turns = turns or rng.choice((2, 2, 3, 3, 4, 5))
        self._known: dict[str, str] = {"k": str(self.turns)}
        self._taken: dict[str, set[str]] = {}

    def __getitem__(self, key: str) -> str:
        if key not in self._known:
            self._known[key] = self._draw(key.rstrip("0123456789"), key.lstrip("abcdefghijklmnopqrstuvwxyz"))
        return self._known[key]

    def set(self, key: str, value: str) -> None:
        self._known[key] = value

    def near(self, rng: random.Random) -> Values:
        """Values for an act on the same matter: about half of the known identifiers and choices stay."""
        other = Values(self._domain, rng)
        for key, value in self._known.items():
            kind = key.rstrip("0123456789")
            if (kind in self._domain.ids or kind in self._domain.picks) and rng.random() < 0.5:
                other.set(key, value)
        return other

    def fill(self, template: Any, turn: int = 1) -> Any:
        """`template` with values in its places."""
        if isinstance(template, dict):
            return {key: self.fill(value, turn) for key, value in template.items()}
        if isinstance(template, list):
            return [self.fill(value, turn) for value in template]
        if not isinstance(template, str):
            return template
        if _NUMBER.fullmatch(template):
            number = self._named(template[1:], turn)
            return float(number) if "." in number else int(number)
        looped = _LOOP.sub(
            lambda loop: "\n".join(self._places(loop[1], n) for n in range(1, self.turns + 1)), template
        )
        return self._places(looped, turn)

    def _places(self, text: str, turn: int) -> str:
        return _PLACE.sub(lambda place: self._named(place[1], turn), text)

    def _named(self, key: str, turn: int) -> str:
        return self[f"{key[:-1]}{turn}" if key.endswith("_") else key]

    def _fresh(self, kind: str, choices: Sequence[str]) -> str:
        """One of `choices` that was not taken before, as long as there is one."""
        taken = self._taken.setdefault(kind, set())
        choice = self._rng.choice([choice for choice in choices if choice not in taken] or choices)
        taken.add(choice)
        return choice

    def _draw(self, kind: str, number: str) -> str:
        if kind in self._domain.ids:
            return _pattern(self._domain.ids[kind], self._rng)
        if kind in self._domain.picks:
            return self._fresh(kind, self._domain.picks[kind])
        if kind == "note":
            return str(self.fill(self._fresh(kind, self._domain.remarks)))
        if kind == "m":
            return f"{_handle(self['p' + number])}@{self._domain.host}"
        if kind == "xm":
            host = phrases()
            name = f"{_handle(self['xp' + number])}@{self._rng.choice(host.firms).lower()}"
            return f"{name}{self._rng.choice(('', '-post', 'mail'))}.{self._rng.choice(host.endings)}"
        if kind == "cm":
            name = self["co" + number].lower().replace(" ", "-")
            desk = self._rng.choice(("office", "accounts", "hello", "desk"))
            return f"{desk}@{name}.{self._rng.choice(phrases().endings)}"
        if kind not in _MADE:
            raise KeyError(f"no values of kind {kind!r} in {self._domain.name}")
        return _MADE[kind](self._rng)


def _person(rng: random.Random) -> str:
    return f"{rng.choice(phrases().given)} {rng.choice(phrases().family)}"


def _address(rng: random.Random) -> str:
    host = f"{rng.choice(phrases().firms).lower()}.{rng.choice(phrases().endings)}"
    return f"https://{host}/{_pattern('@@#@#', rng).lower()}"


_MADE: dict[str, Callable[[random.Random], str]] = {
    "p": _person,
    "xp": _person,
    "co": lambda rng: f"{rng.choice(phrases().firms)} {rng.choice(phrases().trades)}",
    "day": lambda rng: (date(2025, 1, 6) + timedelta(days=rng.randrange(320))).isoformat(),
    "time": lambda rng: f"{rng.randrange(8, 19):02}:{rng.choice(('00', '15', '30', '45'))}",
    "amt": lambda rng: f"{rng.randrange(8, 2400)}.{rng.choice(('00', '50', '25', '95'))}",
    "price": lambda rng: f"{rng.randrange(4, 48)}.{rng.choice(('00', '50', '90'))}",
    "qty": lambda rng: str(rng.randrange(2, 25)),
    "iban": lambda rng: _pattern(rng.choice(_IBANS), rng),
    "phone": lambda rng: _pattern("+44 20 7### ####", rng),
    "url": _address,
}
"""Values that hang on no other."""


def _pattern(pattern: str, rng: random.Random) -> str:
    return "".join(
        rng.choice("0123456789") if c == "#" else rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") if c == "@" else c
        for c in pattern
    )


def _handle(person: str) -> str:
    return person.lower().replace(" ", ".").replace("ö", "o")
