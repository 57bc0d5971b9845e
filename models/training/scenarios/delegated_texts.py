"""Texts that acts are left to, in twelve forms: how each puts a demand, and how two of them differ in one demand alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.training import corpora
from models.training.scenarios.delegated_catalogues import Act
from models.training.scenarios.delegated_values import SLOT, Values, as_text, fill
from models.training.scenarios.made_up import seeded
from models.training.scenarios.templates import Step

FORMS = (
    "prose",
    "prose",
    "mail",
    "mail",
    "checklist",
    "steps",
    "minutes",
    "html",
    "json",
    "yaml",
    "table",
    "fields",
)
"""Those that are named twice are taken twice as often."""


class Phrases(NamedTuple):
    """What stands around demands.

    Attributes
    ----------
    openers, asides : how a text begins, and what else it says
    more : how a further sentence joins on
    labels : names that a record may give a kind of value
    remarks : demands made of somebody else (``{who}``, ``{x}``)
    """

    openers: list[str]
    asides: list[str]
    more: list[str]
    labels: dict[str, list[str]]
    remarks: list[str]


def phrases() -> Phrases:
    """What stands around demands."""
    read: Phrases = corpora.read("delegated/texts.json", Phrases)
    return read


class Demand(NamedTuple):
    """An act with the values that a text gives it."""

    act: Act
    values: Values

    def calls(self) -> list[Step]:
        """The calls that do it: look-ups first where it needs any."""
        steps = [*self.act.needs, Step(self.act.tool, self.act.args, self.act.result)]
        return [filled(step, self.values) for step in steps]

    def sentence(self, rng: random.Random) -> str:
        """How a text puts it: as a request or as a fact."""
        return str(fill(rng.choice(rng.choice((self.act.do, self.act.tell))), self.values))

    def order(self, rng: random.Random) -> str:
        """How a user puts it."""
        return str(fill(rng.choice(self.act.do), self.values))

    def fields(self, rng: random.Random) -> dict[str, Any]:
        """How a record puts it: label and value of all that the call needs."""
        listed: dict[str, Any] = {rng.choice(("type", "item", "what")): self.act.title}
        if self.act.needs:  # what is to be looked up can only be put in words
            return {**listed, "task": self.order(rng)}
        labels = phrases().labels
        for name, template in leaves_of(self.act.args):
            slot = SLOT.fullmatch(template) if isinstance(template, str) else None
            if template == "" or (isinstance(template, str) and "0}" in template):
                continue  # the user's own credentials stand in no document
            label = name
            if slot and rng.random() < 0.6:
                label = rng.choice(labels.get(slot[1], [name]))
            listed[name if label in listed else label] = fill(template, self.values)
        return listed


def filled(step: Step, values: Mapping[str, Any]) -> Step:
    """A call with its values."""
    return Step(step.tool, fill(step.args, values), fill(step.result, values))


def leaves_of(args: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Values without parts, each with the name that it stands under."""
    if isinstance(args, dict):
        for key, value in args.items():
            yield from leaves_of(value, key)
    elif isinstance(args, list):
        for value in args:
            yield from leaves_of(value, name)
    else:
        yield name, args


class _Frame(NamedTuple):
    """What a text says besides demands; draws of its own never touch theirs."""

    rng: random.Random
    values: Values
    opener: str
    aside: str
    heading: str
    person: str
    date: str


def document(form: str, demands: Sequence[Demand], seed: str, keys: Sequence[int] = ()) -> str:
    """A text in `form` that carries `demands`.

    How a demand is put depends on `seed` and its key alone (its place, unless `keys` are given), so that a
    text with one demand more is the same text otherwise.
    """
    rng = seeded(seed, "frame")
    values = Values(rng)
    opener = str(fill(rng.choice(phrases().openers), values))
    aside = str(fill(rng.choice(phrases().asides), values))
    frame = _Frame(rng, values, opener, aside, values["title"], values["person3"], values["date3"])
    rngs = [seeded(seed, key) for key in keys or range(len(demands))]
    if form in _OF_RECORDS:
        records = [demand.fields(rng) for demand, rng in zip(demands, rngs, strict=True)]
        return _OF_RECORDS[form](frame, records)
    sentences = [demand.sentence(rng) for demand, rng in zip(demands, rngs, strict=True)]
    if form in _OF_SENTENCES:
        return _OF_SENTENCES[form](frame, sentences)
    joined = [sentences[0]]
    joined += [
        rng.choice(phrases().more).format(x=sentence)
        for sentence, rng in zip(sentences[1:], rngs[1:], strict=True)
    ]
    return _mail(frame, joined) if form == "mail" else _prose(frame, joined)


def _cells(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, as_text(value)) for key, value in fields.items()]


def _json(frame: _Frame, records: Sequence[dict[str, Any]]) -> str:
    said = {"title": frame.heading, "date": frame.date, "entries": records, "remark": frame.aside}
    return json.dumps(said, indent=frame.rng.choice((None, 1, 2)))


def _yaml(frame: _Frame, records: Sequence[dict[str, Any]]) -> str:
    lines = [f"title: {frame.heading}", f"remark: {json.dumps(frame.aside)}", "entries:"]
    for record in records:
        lines += [f"{'    ' if n else '  - '}{k}: {v}" for n, (k, v) in enumerate(_cells(record))]
    return "\n".join(lines)


def _table(frame: _Frame, records: Sequence[dict[str, Any]]) -> str:
    rows = [" | ".join(f"{k}: {v}" for k, v in _cells(record)) for record in records]
    return "\n".join([f"{frame.heading} ({frame.date})", *(f"| {row} |" for row in rows), frame.aside])


def _fields(frame: _Frame, records: Sequence[dict[str, Any]]) -> str:
    blocks = ["\n".join(f"{k.replace('_', ' ').capitalize()}: {v}" for k, v in _cells(r)) for r in records]
    return "\n\n".join([f"{frame.heading}\n{frame.opener}", *blocks, frame.aside])


def _checklist(frame: _Frame, sentences: Sequence[str]) -> str:
    first, others = ([f"- [ ] {sentence}" for sentence in part] for part in (sentences[:1], sentences[1:]))
    return "\n".join([f"# {frame.heading}", "", *first, f"- [x] {frame.aside}", *others])


def _steps(frame: _Frame, sentences: Sequence[str]) -> str:
    numbered = [f"{n}. {sentence}" for n, sentence in enumerate(sentences, 1)]
    return "\n".join([frame.heading, frame.opener, "", *numbered, "", frame.aside])


def _minutes(frame: _Frame, sentences: Sequence[str]) -> str:
    present = f"Minutes, {frame.heading}, {frame.date}. Present: {frame.person}, {frame.values['person4']}."
    return "\n".join([present, frame.opener, *(f"* {said}" for said in [*sentences, frame.aside])])


def _html(frame: _Frame, sentences: Sequence[str]) -> str:
    paragraphs = "\n".join(f"<p>{said}</p>" for said in [*sentences, frame.aside])
    return f"<h2>{frame.heading}</h2>\n<p>{frame.opener}</p>\n{paragraphs}"


def _mail(frame: _Frame, joined: Sequence[str]) -> str:
    head = f"From: {frame.person}\nSubject: {frame.heading}\nDate: {frame.date}"
    said = f"{frame.opener} {' '.join(joined)}\n\n{frame.aside}"
    return f"{head}\n\nHello,\n\n{said}\n\nRegards,\n{frame.person}"


def _prose(frame: _Frame, joined: Sequence[str]) -> str:
    return frame.rng.choice(
        (
            f"{frame.opener} {' '.join(joined)} {frame.aside}",
            f"{frame.heading}. {frame.aside} {' '.join(joined)}",
            "\n\n".join([frame.opener, *joined, frame.aside]),
        )
    )


_OF_RECORDS: dict[str, Callable[[_Frame, Sequence[dict[str, Any]]], str]] = {
    "json": _json,
    "yaml": _yaml,
    "table": _table,
    "fields": _fields,
}
_OF_SENTENCES: dict[str, Callable[[_Frame, Sequence[str]], str]] = {
    "checklist": _checklist,
    "steps": _steps,
    "minutes": _minutes,
    "html": _html,
}
