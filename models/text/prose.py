"""Text that talks: whether a text is prose, its sentences, and prose that hides in another form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from models.lexicons.loader import lexicon
from models.text.encodings import is_encoded, opened
from models.text.privacy import PROSE_WORDS, SENTENCE_WORDS

MAX_BREATH = 32
"""Words of a sentence whose meaning is read as one (chosen: few enough that idle ones do not hide a demand's)."""
MAX_SENTENCE = 2000
"""Characters of a sentence that are read."""
HIDDEN = 40
"""Characters without a space from which on a piece may hide prose: seven words of four letters in base64."""

SENTENCE = re.compile(r"(?<=[.!?;])\s+")
"""What stands between two sentences."""
_ENDS = re.compile(r"[^\W\d_][.!?][\s'\")\]]{0,4}$")
"""How a sentence ends: after a letter, so that no number and no address of a street does."""
_PLAIN = re.compile(r"[^\W\d_]+[,.;:!?]?")
_JOINING = lexicon("language").words("joining")
_LINK = re.compile(r"://|^mailto:")
_TAG = re.compile(r"<[^<>]{0,64}>")
_THING = re.compile(r"[/\\:]|\.\w{1,5}$")
"""What a path, a name of code, and a name of a file have."""
_SPREAD = re.compile(r"(?<!\S)\S(?: \S){2,}(?!\S)")
"""Characters one by one, with a space between each two."""


def sentences_in(lines: Iterable[str]) -> list[str]:
    """Sentences of these lines, those of more than `MAX_BREATH` words in several parts."""
    return [part for line in lines for sentence in SENTENCE.split(line) for part in _breaths(sentence)]


def _breaths(sentence: str) -> list[str]:
    """A sentence; one of more than `MAX_BREATH` words by as many at a time, so that none hides what it says among others."""
    words = sentence.split() if len(sentence) > 2 * MAX_BREATH else []
    if len(words) <= MAX_BREATH:
        return [sentence[:MAX_SENTENCE]]
    return [" ".join(words[at : at + MAX_BREATH])[:MAX_SENTENCE] for at in range(0, len(words), MAX_BREATH)]


def is_prose(line: str) -> bool:
    """Whether a line talks: it has many words, or some and ends like a sentence."""
    words = len(line.split())
    return words >= PROSE_WORDS or (words >= SENTENCE_WORDS and ends_like_sentence(line))


def ends_like_sentence(text: str) -> bool:
    """Whether `text` ends as a sentence does.

    >>> ends_like_sentence("It is paid."), ends_like_sentence("Main Street 5.")
    (True, False)
    """
    return _ENDS.search(text) is not None


def reads_as_text(text: str) -> bool:
    """Whether `text` is prose by its words: most are letters alone, and every fifth joins others, in small letters."""
    words = text.split()
    if len(words) < PROSE_WORDS:
        return False
    plain = sum(_PLAIN.fullmatch(word) is not None for word in words)
    joining = sum(word.rstrip(",.;!?") in _JOINING for word in words)
    return 5 * plain >= 3 * len(words) and 5 * joining >= len(words)


def goes_on(lines: list[str]) -> bool:
    """Whether a sentence runs over the end of some of these lines: one word beside it joins others."""
    words_of_lines = [words for line in lines if (words := line.split())]
    return any(a[-1] in _JOINING or b[0] in _JOINING for a, b in pairwise(words_of_lines))


def hidden_prose(text: str, pieces: list[str]) -> list[str]:
    """Prose that `text` hides: encoded, its words joined by tags or underlines, or spelled letter by letter.

    An address of the web may hold words as well, and is none. `pieces` are those of the text between white space.
    """
    hidden: list[str] = []
    if len(pieces) >= PROSE_WORDS and is_encoded(text):
        hidden += _opened_prose(text)
    elif max(map(len, pieces), default=0) >= HIDDEN:
        for piece in pieces:
            if len(piece) < HIDDEN or _LINK.search(piece) is not None:
                continue
            hidden += _opened_prose(piece)
            parted = _TAG.sub(" ", piece)
            if _THING.search(parted) is None or parted.count("_") >= 3 * PROSE_WORDS:
                parted = parted.replace("_", " ").replace("+", " ")
            if reads_as_text(parted):
                hidden.append(parted)
    if 3 * len(pieces) >= len(text):
        joined = _SPREAD.sub(_closed_up, text)
        if joined != text:
            hidden.append(joined)
    return hidden


def _opened_prose(text: str) -> list[str]:
    return [inner for inner in opened(text) if len(inner.split()) >= PROSE_WORDS]


def _closed_up(run: re.Match[str]) -> str:
    """Letters spelled one by one as a word; a row of figures as it is."""
    return run[0].replace(" ", "") if any(map(str.isalpha, run[0])) else run[0]
