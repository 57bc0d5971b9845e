"""Values for the slots of delegated tasks: ``{iban}`` in a template is one account, wherever the same task names it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from models.training import corpora
from models.training.scenarios.templates import drawn

SLOT = re.compile(r"\{([a-z]+)(\d?)\}")
"""A slot: its kind, and a digit that tells several of a kind apart."""


class Pools(NamedTuple):
    """What values are drawn from; ``corpora/README.md`` tells how each is written.

    Attributes
    ----------
    picks, patterns, numbers, drawn : by kind of slot: values to choose from, a pattern, the limits of a whole number, a
        template of `models.training.scenarios.templates.drawn`
    references, paths : patterns and templates of payment references and of file names
    adjectives, nouns, streets : words that other values are made of
    notes : short messages
    """

    picks: dict[str, list[str]]
    patterns: dict[str, str]
    numbers: dict[str, tuple[int, int]]
    drawn: dict[str, str]
    references: list[str]
    paths: list[str]
    adjectives: list[str]
    nouns: list[str]
    streets: list[str]
    notes: list[str]

    def word(self, name: str, rng: random.Random) -> str:
        """One of the words of a kind; with a capital if its kind is written so."""
        pools: dict[str, Sequence[str]] = {
            "adjective": self.adjectives,
            "noun": self.nouns,
            "street": self.streets,
        }
        kind = name.lower()
        word = rng.choice(pools[kind] if kind in pools else self.picks[kind])
        return word if kind == name else word.capitalize()


def pools() -> Pools:
    """What values are drawn from."""
    read: Pools = corpora.read("delegated/values.json", Pools)
    return read


class Values(dict[str, Any]):
    """Values of slots, drawn when first asked for; a slot that ends in 0 is taken from `shared`."""

    def __init__(self, rng: random.Random, shared: Values | None = None) -> None:
        super().__init__()
        self._rng = rng
        self._shared = shared

    def __missing__(self, slot: str) -> Any:
        kind, digit = slot.rstrip("0123456789"), slot[-1] if slot[-1].isdigit() else ""
        if digit == "0" and self._shared is not None:
            return self._shared[slot]
        value = _value(kind, self, digit, self._rng)
        self[slot] = value
        return value


def _value(kind: str, values: Values, digit: str, rng: random.Random) -> Any:
    held = pools()
    if kind in held.picks:
        return rng.choice(held.picks[kind])
    if kind in held.patterns:
        return _patterned(held.patterns[kind], rng)
    if kind in held.numbers:
        return rng.randint(*held.numbers[kind])
    if kind in held.drawn:
        return drawn(held.drawn[kind], rng, lambda name: held.word(name, rng))
    return _MADE[kind](values, digit, rng)


def _patterned(pattern: str, rng: random.Random) -> str:
    """`pattern` with a digit for each ``#`` and a lower-case letter for each ``?``; ``*`` is a word."""
    text = re.sub("#", lambda _: rng.choice("123456789"), pattern)
    text = re.sub(r"\?", lambda _: rng.choice("abcdefghkmnpqrstuvwxyz"), text)
    return re.sub(r"\*", lambda _: pools().word("word", rng), text)


def _note(values: Values, digit: str, rng: random.Random) -> str:
    held = pools()
    return rng.choice(held.notes).format(
        a=rng.choice(held.adjectives),
        n=rng.choice(held.nouns),
        w=held.word("word", rng),
        d=rng.randint(4, 28),
        h=f"{rng.randint(8, 18)}:{rng.choice(('00', '15', '30'))}",
        r=rng.randint(12, 480),
        s=rng.randint(2, 9),
    )


def _date(values: Values, digit: str, rng: random.Random) -> str:
    if digit == "2" and "date" in values:  # the second date ends what the first begins
        return f"{values['date'][:8]}{min(28, int(values['date'][8:]) + rng.randint(1, 6)):02d}"
    return f"2026-{rng.randint(3, 12):02d}-{rng.randint(1, 22):02d}"


def _moment(values: Values, digit: str, rng: random.Random) -> str:
    return f"{values['date' + digit]} {rng.randint(8, 18):02d}:{rng.choice(('00', '15', '30', '45'))}"


def _end(values: Values, digit: str, rng: random.Random) -> str:
    start = str(values["dt" + digit])
    return f"{start[:11]}{int(start[11:13]) + rng.randint(1, 3):02d}{start[13:]}"


def _email(values: Values, digit: str, rng: random.Random) -> str:
    first, last = values["first" + digit], values["last" + digit]
    local = rng.choice((f"{first}.{last}", f"{first[0]}{last}"))
    held = pools()
    domain = rng.choice(
        (f"{held.word('word', rng)}-{held.word('word', rng)}", held.word("word", rng) + "mail")
    )
    return f"{local.lower()}@{domain}.{rng.choice(('com', 'org', 'net', 'eu', 'example'))}"


def _iban(values: Values, digit: str, rng: random.Random) -> str:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((18, 20))))
    return rng.choice(("DE", "FR", "GB", "NL", "SE", "CH", "ES", "IT")) + digits


def _amount(values: Values, digit: str, rng: random.Random) -> float:
    return round(rng.uniform(12, 2400), 2) if rng.random() < 0.8 else float(rng.randint(2, 90) * 10)


def _path(values: Values, digit: str, rng: random.Random) -> str:
    held = pools()
    name = rng.choice(held.paths).format(
        a=rng.choice(held.adjectives),
        n=rng.choice(held.nouns),
        w=held.word("word", rng),
        d=rng.randint(2, 99),
    )
    return name + rng.choice((".md", ".txt", ".yaml", ".json", ".txt"))


def _user(values: Values, digit: str, rng: random.Random) -> str:
    return f"{values['first' + digit][:1]}{values['last' + digit]}{rng.randint(1, 99)}".lower()


def _customer(values: Values, digit: str, rng: random.Random) -> str:
    return f"{values['first' + digit]}_{values['last' + digit]}_{rng.randint(1000, 9999)}".lower()


def _place(values: Values, digit: str, rng: random.Random) -> str:
    room, address = (
        f"room {values['room' + digit]}",
        f"{values['street' + digit]}, {values['city' + digit]}",
    )
    return rng.choice((room, address))


_MADE: dict[str, Callable[[Values, str, random.Random], Any]] = {
    "person": lambda values, digit, rng: f"{values['first' + digit]} {values['last' + digit]}",
    "ref": lambda values, digit, rng: _patterned(rng.choice(pools().references), rng),
    "note": _note,
    "date": _date,
    "dt": _moment,
    "end": _end,
    "email": _email,
    "iban": _iban,
    "amount": _amount,
    "path": _path,
    "user": _user,
    "cust": _customer,
    "place": _place,
}
"""Values that hang on others, or are made in a way of their own."""


def as_text(value: Any) -> str:
    """How a text writes a value: sums with two decimals."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """`template` with its slots filled; a string that is one slot becomes the value itself, of its type."""
    if isinstance(template, str):
        whole = SLOT.fullmatch(template)
        if whole:
            return values[whole[1] + whole[2]]
        return SLOT.sub(lambda slot: as_text(values[slot[1] + slot[2]]), template)
    if isinstance(template, dict):
        return {fill(key, values): fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values) for value in template]
    return template
