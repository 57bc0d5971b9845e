"""The tools that a session was offered, and how well each serves an intent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from models.contracts import Action, Tool
from models.heads.readers import Readers
from models.text.fingerprints import fingerprint, prints_of
from models.text.index import DESCRIBED, Index, Prints, as_prints
from models.text.meaning import MIN_TOOLS, likeness, nearest, with_lines
from models.text.prose import SENTENCE
from models.text.stems import stem, stem_prints
from models.text.tokens import tokens
from models.text.vectors import NO_VECTORS, pack
from models.tools.discovery import discovers
from models.tools.facts import PolicySays, facts_of
from models.tools.names import (
    MIN_RANKED,
    is_general,
    name_print,
    name_words,
    names_an_act,
    proper_names,
    spoken_name,
)
from models.tools.parameters import parameter_text, properties_of

MAX_SETTLED = 4096
"""Words of a catalogue that are kept in a dictionary too: some 70 bytes each, for every catalogue in memory."""
MAX_LIKENESS = 512
"""Clauses whose likeness to a catalogue's tools is remembered, of some 250 bytes each."""
MAX_INDEXED = 20_000
"""Fingerprints of a catalogue's fields that are indexed, and as many of its prose."""
_MAY_BE_ADDRESS = re.compile(r"[\d@./]")
"""What any address has: see `models.text.addresses`."""


class OwnWords(NamedTuple):
    """Sorted prints of what a catalogue says of one tool: in names, enumerations and defaults, and in these or a description."""

    fields: Prints
    words: Prints


NO_OWN_WORDS = OwnWords(np.zeros(0, np.uint32), np.zeros(0, np.uint32))


class Catalogue:
    """The tools that a session was offered, with what is derived from them once.

    Attributes
    ----------
    tools : dict of str to Tool
    order : dict of str to int
        Each tool's place.
    facts : dict of str to ToolFacts
        With the policy's word, where it has one.
    proper : dict of str to str
        See `proper_names`.
    spoken : dict of str to str
        See `spoken_names`.
    vectors : array of shape (n, DIMS)
        What each tool's name and description mean.
    meanings : bytes
        The same, packed: one object, so that what is remembered of it is found at once.
    general : dict of str to mapping
        Properties of the schema of each general tool that does not say that it reads.
    discovering : frozenset of str
        Tools that look up tools: see `models.tools.discovery`.
    acts : frozenset of int
        Prints of names of several words that say an act, whole and proper: a record that holds one asks for it.
    index : Index
        Words of names, descriptions and parameters: where a value may come from without any other source.
    own : dict of str to OwnWords
        What of that is said of each tool.
    policy_says : PolicySays
    readers : Readers
        By which the tools were read.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        key: bytes,
        classes: Mapping[str, Action],
        sensitive: Mapping[str, bool] | None = None,
        *,
        readers: Readers,
    ) -> None:
        self.readers = readers
        self.policy_says = PolicySays(classes, sensitive or {})
        self.tools = {t.name: t for t in tools}
        self.order = {t.name: n for n, t in enumerate(tools)}
        self._size = len(tools)  # of two tools with one name both count
        self._likeness: dict[bytes, bytes] = {}
        self.proper = proper_names(self.tools)
        self.spoken = {t.name: spoken_name(t, self.proper[t.name]) for t in tools}
        self.facts = {
            t.name: self.policy_says.over(t.name, facts_of(t.name, t, classes, readers.acting)) for t in tools
        }
        self.general = {
            t.name: properties_of(t.parameters)
            for t in tools
            if self.facts[t.name].action != "read" and is_general(self.proper[t.name])
        }
        self.discovering = frozenset(
            t.name for t in tools if self.facts[t.name].action == "read" and discovers(self.proper[t.name], t)
        )
        either = {*self.tools, *self.proper.values()}
        self.acts = frozenset(name_print(name, key) for name in either if names_an_act(name_words(name)))
        texts = [_text_of(t, key) for t in tools]
        self.own = {text.name: OwnWords(as_prints(text.fields), as_prints(text.words)) for text in texts}
        self.index = _index_of(texts)
        vectors_of, vector_of = readers.words.vectors_of, readers.words.vector_of
        self._addressed = {  # by tool: sentences of its description that hold an address
            text.name: with_lines(b"", vectors_of(text.addressed), DESCRIBED, b"", NO_VECTORS)
            for text in texts
            if text.addressed
        }
        called = [(self.proper[t.name], t.description or "") for t in tools]
        meant = [vector_of(f"{name} {name} {described[:300]}") for name, described in called]
        self.vectors = np.stack(meant) if meant else NO_VECTORS
        self.meanings = pack(self.vectors)
        self._weights = _weights_of(called, key)

    def likeness(self, clauses: bytes) -> bytes:
        """`models.text.meaning.likeness` of the tools to packed clauses, remembered: each call asks for some again."""
        known = self._likeness.get(clauses)
        if known is None:
            if len(self._likeness) >= MAX_LIKENESS:
                self._likeness.clear()
            known = self._likeness[clauses] = likeness(clauses, self.vectors)
        return known

    def nearness(self, texts: Sequence[str]) -> list[int] | None:
        """Cosine of each text with the nearest of the tools, in thousandths; None of fewer tools than `MIN_TOOLS`."""
        if self._size < MIN_TOOLS:
            return None
        return nearest(self.readers.words.vectors_of(texts), self.vectors)

    def says(self, prints: Collection[int]) -> str | None:
        """The first tool of which the catalogue says any of these tokens."""
        sought = as_prints(set(prints))
        return next((name for name, own in self.own.items() if np.isin(sought, own.words).any()), None)

    def aimed_beside(self, tool: str) -> bytes:
        """Sentences of other tools' descriptions that hold an address, as lines that might lead to a call of `tool`."""
        return b"".join(lines for name, lines in self._addressed.items() if name != tool)

    def affinity(self, words: Collection[int]) -> list[int]:
        """How much each tool's name and description speak of `words` (stem prints), 0 to 255 a tool.

        The tool spoken of most gets 255, the others in proportion: ranks within this catalogue, since raw
        overlaps do not compare across catalogues. Among so few tools that there is nothing to choose, all get 0.
        """
        raw = [0] * self._size
        if self._size < MIN_RANKED:
            return raw
        for word in words:
            for n, weight in self._weights.get(word, ()):
                raw[n] += weight
        top = max(raw, default=0)
        return [255 * r // top if top else 0 for r in raw]


class _ToolText(NamedTuple):
    """What is said of a tool: prints of its names and defaults, and of these and its descriptions; sentences with addresses."""

    name: str
    fields: set[int]
    words: set[int]
    addressed: list[str]


def _text_of(tool: Tool, key: bytes) -> _ToolText:
    values, described = parameter_text(tool.parameters)
    fields = set(prints_of(f"{tool.name} {values}"[:4000], key, index=False))
    text = f"{tool.description or ''} {described}"[:4000]
    words = fields.union(prints_of(text, key, index=False))
    sentences = (sentence for sentence in SENTENCE.split(text) if _MAY_BE_ADDRESS.search(sentence))
    addressed = [sentence for sentence in sentences if any(token.address for token in tokens(sentence))]
    return _ToolText(tool.name, fields, words, addressed)


def _index_of(texts: Collection[_ToolText]) -> Index:
    """Where a value may come from that only the catalogue holds."""
    index = Index()
    index.add(set(chain.from_iterable(text.fields for text in texts)), 1, prose=False, limit=MAX_INDEXED)
    index.add(set(chain.from_iterable(text.words for text in texts)), 1, prose=True, limit=MAX_INDEXED)
    if len(index.prints) <= MAX_SETTLED:
        index.settle()
    return index


def _weights_of(called: Sequence[tuple[str, str]], key: bytes) -> dict[int, list[tuple[int, int]]]:
    """By stem print, the places of the tools whose name or description has it, each with how much it says of that tool.

    Whole numbers: a stem in every description says nothing about any; one in a name counts double.

    Parameters
    ----------
    called : proper name and description of each tool, in order
    """
    owned = [
        stem_prints(f"{' '.join(name_words(name))} {described[:600]}", key) for name, described in called
    ]
    named = [{fingerprint("=" + stem(word), key) for word in name_words(name)} for name, _ in called]
    spread = Counter(chain.from_iterable(owned))
    weights: dict[int, list[tuple[int, int]]] = {}
    for place, (prints, in_name) in enumerate(zip(owned, named, strict=True)):
        for each in prints:
            weight = (2 if each in in_name else 1) * max(1, 64 // spread[each])
            weights.setdefault(each, []).append((place, weight))
    return weights
