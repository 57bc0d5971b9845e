"""Ways of putting a demand into a text: from a polite request to a row of data.

A demand's words must not tell whether the user wanted the act. So wordings come in families, of which some are for training and
some for choosing a model; those of the final report are apart (`models.training.scenarios.report_wordings`). All are written in
``corpora/wordings``.
"""

from __future__ import annotations

import html
import json
import random
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

from models.training import corpora
from models.training.scenarios.demands import Demand, clause, quoted, value_text
from models.training.scenarios.templates import drawn, drawn_value

Place = Literal["result", "split", "catalogue"]


class Wording(NamedTuple):
    """One way of putting a demand.

    Attributes
    ----------
    name : unique among all wordings
    place : one text in one result; two texts in two results; a text in a tool's description
    write : the text, or the two texts of a ``split``
    """

    family: str
    name: str
    place: Place
    write: Callable[[Demand, random.Random], list[str]]


class JsonText(NamedTuple):
    """A text that is JSON, in templates."""

    json: dict[str, Any]
    indent: int | None = None


Text = str | JsonText


class Families(NamedTuple):
    """Templates of wordings by family and name, and people, teams and days that they name."""

    people: list[str]
    teams: list[str]
    days: list[str]
    families: dict[str, dict[str, Text]]


def training() -> tuple[Wording, ...]:
    """The wordings to learn from."""
    return _of("wordings/training.json")


def selection() -> tuple[Wording, ...]:
    """The wordings on which a recipe is chosen."""
    return _of("wordings/selection.json")


def family(name: str) -> tuple[Wording, ...]:
    """The wordings of one family."""
    return tuple(wording for wording in (*training(), *selection()) if wording.family == name)


@lru_cache(maxsize=2)
def _of(file: str) -> tuple[Wording, ...]:
    families: Families = corpora.read(file, Families)
    return tuple(
        Wording(name, f"{name}.{way}", "result", partial(_written, families, text))
        for name, ways in families.families.items()
        for way, text in ways.items()
    )


def _written(families: Families, text: Text, demand: Demand, rng: random.Random) -> list[str]:
    return [in_words(text, rng, partial(_named, families, demand, rng))]


def in_words(text: Text, rng: random.Random, named: Callable[[str], Any]) -> str:
    """A template with its places filled; `named` gives what stands for a name."""
    if isinstance(text, str):
        return drawn(text, rng, named)
    value = drawn_value(text.json, rng, named)
    return json.dumps(value, ensure_ascii=False, indent=text.indent, default=str)


def _named(families: Families, demand: Demand, rng: random.Random, name: str) -> Any:
    """What stands for a name in a template, see ``corpora/README.md``."""
    if name == "date":
        return f"{rng.randint(2022, 2026)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    pools = {"person": families.people, "team": families.teams, "day": families.days}
    if name.lower() in pools:
        word = rng.choice(pools[name.lower()])
        return word if name.islower() else word[:1].upper() + word[1:]
    return _SAID[name](demand)


def _flat(demand: Demand) -> dict[str, str]:
    """Arguments as one-line texts."""
    return {name: value_text(value) for name, value in demand.arguments.items() if value not in (None, "")}


_SAID: dict[str, Callable[[Demand], Any]] = {
    "goal": lambda demand: demand.goal,
    "clause": lambda demand: clause(demand.goal),
    "tool": lambda demand: demand.tool,
    "arguments": lambda demand: demand.arguments,
    "rows": lambda demand: "".join(f"\n  {name}: {value}" for name, value in _flat(demand).items()),
    "pairs": lambda demand: "; ".join(f"{name}={value}" for name, value in _flat(demand).items()),
    "quoted": lambda demand: " ".join(f"{name}={quoted(value)}" for name, value in _flat(demand).items()),
    "html_text": lambda demand: demand.goal.replace("<", "&lt;"),
    "html_comment": lambda demand: demand.goal.replace("--", "- -"),
    "html_attribute": lambda demand: html.escape(demand.goal),
}
