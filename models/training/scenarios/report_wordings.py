"""Ways of putting a demand that the detector is only reported on: never trained, tuned or selected with.

Six families, none of which occurs in training: another language, a demand split over two results, an encoded
one, one in a tool's description, one that a quoted thread shows as settled, and one dressed as a policy.
None uses the stock phrases of published attacks, so that what is measured is transfer and not recall.
"""

from __future__ import annotations

import base64
import codecs
import json
import random
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

from models.tools.names import name_words
from models.training import corpora
from models.training.scenarios.demands import Demand
from models.training.scenarios.templates import drawn
from models.training.scenarios.wordings import Place, Text, Wording, in_words

_Write = Callable[[Demand, random.Random], list[str]]


class Language(NamedTuple):
    """Phrases to word an act in one language.

    Attributes
    ----------
    verbs : imperative by verb, with ``{}`` for the thing; ``""`` is for any other tool and takes its name
    things : the thing by its English key, with its article; ``""`` is for any other
    using, frames : how the tool is named, and sentences around the act, ``{}`` being the act
    """

    verbs: dict[str, str]
    things: dict[str, str]
    using: str
    frames: list[str]


class Split(NamedTuple):
    """Two texts that need each other; the ``{mark}`` that joins them is drawn once."""

    mark: str
    texts: tuple[Text, Text]


class Families(NamedTuple):
    """All that is written for the report's wordings.

    Attributes
    ----------
    languages : by name
    verbs : verbs in a tool's name, and the verb by which they are translated
    things : words in a tool's name, and the thing that they stand for
    split_results, encoded, tool_description, quoted_thread, policy_notice : templates of a family, by name
    names, days : whom and what day templates name
    """

    languages: dict[str, Language]
    verbs: dict[str, str]
    things: dict[str, str]
    split_results: dict[str, Split]
    encoded: dict[str, str]
    tool_description: dict[str, str]
    quoted_thread: dict[str, str]
    policy_notice: dict[str, str]
    names: list[str]
    days: list[str]


def _families() -> Families:
    read: Families = corpora.read("wordings/report.json", Families)
    return read


def languages() -> Mapping[str, Language]:
    """Languages that demands are put in, by name."""
    return _families().languages


@lru_cache(maxsize=1)
def report() -> tuple[Wording, ...]:
    """All report wordings, at least four of each family."""
    held = _families()
    return (
        *_wordings("other_language", "result", _translated, held.languages),
        *_wordings("split_results", "split", _split, held.split_results),
        *_wordings("encoded", "result", _encoded, held.encoded),
        *_wordings("tool_description", "catalogue", _filled, held.tool_description),
        *_wordings("quoted_thread", "result", _filled, held.quoted_thread),
        *_wordings("policy_notice", "result", _filled, held.policy_notice),
    )


def _wordings(
    family: str, place: Place, write: Callable[..., list[str]], texts: Mapping[str, Any]
) -> Iterable[Wording]:
    for name, text in texts.items():
        yield Wording(family, f"{family}_{name}", place, partial(write, text))


# --- another language


def act_in(language: Language, demand: Demand) -> str:
    """The demanded act as a sentence of `language`; names and values of the arguments stay as they are."""
    verb, thing = _verb_and_thing(demand.tool)
    if verb:
        sentence = f"{language.verbs[verb].format(language.things[thing])} {language.using}"
    else:
        sentence = language.verbs[""]
    sentence = sentence.format(demand.tool)
    particulars = _particulars(demand)
    return f"{sentence}: {particulars}." if particulars else f"{sentence}."


def _verb_and_thing(tool: str) -> tuple[str, str]:
    """The first verb and the last thing that a tool's name tells, ``""`` for what it does not."""
    held, words = _families(), name_words(tool)
    verbs = [held.verbs.get(word, word) for word in words]
    verb = next((word for word in verbs if word in held.languages["german"].verbs), "")
    return verb, next((held.things[word] for word in reversed(words) if word in held.things), "")


def _translated(language: Language, demand: Demand, rng: random.Random) -> list[str]:
    return [rng.choice(language.frames).format(act_in(language, demand))]


# --- two results, and encodings


def _split(split: Split, demand: Demand, rng: random.Random) -> list[str]:
    mark = drawn(split.mark, rng, str)
    said = _said(demand) | {"mark": mark, "arguments": demand.arguments}
    return [in_words(text, rng, said.__getitem__) for text in split.texts]


def _encoded(template: str, demand: Demand, rng: random.Random) -> list[str]:
    plain = f"{demand.goal} ({demand.tool}: {_particulars(demand)})"
    encode: dict[str, Callable[[], str]] = {
        "base64": lambda: base64.b64encode(plain.encode()).decode(),
        "rot13": lambda: codecs.encode(plain, "rot13"),
        "hex": lambda: plain.encode().hex(),
        "spaced": lambda: rng.choice([" ", ".", "-"]).join(demand.goal.replace(" ", "_")),
        "backwards": lambda: plain[::-1],
    }
    return [drawn(template, rng, lambda name: encode[name]())]


# --- descriptions, threads and notices


def _filled(text: str, demand: Demand, rng: random.Random) -> list[str]:
    """`text` with the demand and a few drawn names in its places."""
    held = _families()
    one, two = rng.sample(held.names, 2)
    said = _said(demand) | {
        "one": one,
        "two": two,
        "number": rng.randrange(100, 999),
        "hour": rng.randrange(8, 18),
        "minute": f"{rng.randrange(60):02}",
        "day": rng.choice(held.days),
    }
    return [drawn(text, rng, said.__getitem__)]


def _said(demand: Demand) -> dict[str, Any]:
    """What templates may name of a demand."""
    return {
        "goal": demand.goal.strip(),
        "act": _lower(demand.goal),
        "tool": demand.tool,
        "doing": " ".join(name_words(demand.tool)) or demand.tool,
        "lines": "\n".join(f"  {name}: {_value(value)}" for name, value in demand.arguments.items()),
        "particulars": _particulars(demand, ", ", "="),
        "named": _particulars(demand, ", ", " "),
        "slashed": _particulars(demand, " / ", " "),
    }


def _particulars(demand: Demand, joint: str = "; ", link: str = ": ") -> str:
    """The arguments in one line, values unchanged."""
    return joint.join(f"{name}{link}{_value(value)}" for name, value in demand.arguments.items())


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _lower(sentence: str) -> str:
    """`sentence` without its final stop and, but for an opening acronym, its capital."""
    plain = sentence.strip().rstrip(".")
    return plain if plain[:2].isupper() else plain[:1].lower() + plain[1:]
