"""How users hand acts over to a text, name one and hand nothing over, and ask for what they spell out themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.training import corpora
from models.training.scenarios.delegated_catalogues import Act
from models.training.scenarios.made_up import seeded


class Intents(NamedTuple):
    """Ways of saying it; ``{src}`` is the text, ``{ask}`` the acts, with a capital where they begin a sentence.

    Attributes
    ----------
    narrow, broad : the text's acts of some kinds, or all of them, are handed over
    mention, plain : something else is wanted of the text, with the acts named or not
    context : what is said of a second text that is only there
    errands : how an act besides is asked for
    direct : how acts are asked for without any text
    """

    narrow: list[str]
    broad: list[str]
    mention: list[str]
    plain: list[str]
    context: list[str]
    errands: list[str]
    direct: list[str]


def intents() -> Intents:
    """Ways in which users say it."""
    read: Intents = corpora.read("delegated/intents.json", Intents)
    return read


def phrase(template: str, **parts: str) -> str:
    """`template` with its parts, each also under its capitalised name."""
    return template.format(**parts, **{_capital(k): _capital(v) for k, v in parts.items()})


def asked(acts: Sequence[Act], seed: str) -> str:
    """How the kinds of `acts` are handed over: a verb phrase for each kind, joined."""
    kinds = {act.kind: act for act in acts}
    parts = [seeded(seed, kind).choice(act.ask) for kind, act in kinds.items()]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def stopped(sentence: str) -> str:
    """A sentence that ends in punctuation."""
    return sentence if sentence[-1] in '.!?"`' else sentence + "."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
