"""Where a text that begins by saying who the agent is, as a system prompt does, comes to what is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.lexicons.loader import lexicon
from models.tools.verbs import LEADING_VERBS, POWER_VERBS, VERBS

MAX_SCANNED = 8192
"""Characters of a text that are looked through."""
_WORDS = lexicon("requests")
_STANDING, _LATER = _WORDS.words("standing"), _WORDS.words("later")
_BEGINS = _WORDS.words("asking_verbs").union(VERBS, POWER_VERBS, LEADING_VERBS)


def _any_of(phrases: Iterable[str]) -> str:
    return "|".join(
        re.escape(phrase).replace("'", "['’]") for phrase in sorted(phrases, key=len, reverse=True)
    )


_ROLE = re.compile(rf"(?:{_any_of(_WORDS.words('roles'))})\b", re.IGNORECASE)
_WISH = re.compile(rf"(?<!\w)(?:{_any_of(_WORDS.words('wishes'))})(?!\w)(?:\W+(\w+))?", re.IGNORECASE)
_HEADINGS = re.compile(r"\s*(?:#{1,6} [^\n]{0,80}(?:\n|$)\s*|\[?system(?: prompt)?\]?:\s*)*", re.IGNORECASE)
_PIECE = re.compile(r"(?:[^.!?;\n]|[.!?;](?!\s))+[.!?;]*")
_MARKS = re.compile(r"(?:[\s>*•#\"“'(-]|\[?user\]?:|\d{1,2}[.)])*", re.IGNORECASE)
"""What may stand before a sentence: marks of a list or a quote, and who speaks."""
_FIRST = re.compile(r"(?:(now|then|first|next|today|so)\b,?\s+)?([\w'’]+)", re.IGNORECASE)
_PARTICULAR = re.compile(r"\d|[@/`\"“]|(?<=[\s(])(?!I\b)[A-Z]")
"""What a sentence has that speaks of one thing: a number, an address, a path, a name."""


def start_of_request(text: str) -> int:
    """Where the first clause begins that asks for something, if `text` begins by saying who the agent is; else 0.

    A wish said as one counts first ("please", "your task is"); then what begins with a verb and speaks of something particular, since
    rules for all tasks begin with verbs too; then the last that begins with a verb.

    >>> text = "You are the desk's assistant. Be brief. Check facts first. Close ticket 4711. Thank you."
    >>> text[start_of_request(text):], start_of_request("Close ticket 4711. You are an assistant.")
    ('Close ticket 4711. Thank you.', 0)
    """
    text = text[:MAX_SCANNED]
    begin = _HEADINGS.match(text)
    if begin is None or not _ROLE.match(text, begin.end()):
        return 0
    particular = last = 0
    for piece in _PIECE.finditer(text, begin.end()):
        marks = _MARKS.match(text, piece.start(), piece.end())
        start = marks.end() if marks is not None else piece.start()
        sentence = text[start : piece.end()]
        first = _FIRST.match(sentence)
        if first is None or (verb := first[2].lower()) in _STANDING:
            continue
        wish = _WISH.search(sentence)
        is_later = particular and (first[1] or verb).lower() in _LATER
        if wish is not None and not is_later and (wish[1] or "").lower() not in _STANDING:
            return start
        if verb in _BEGINS:
            last = start
            if not particular and _PARTICULAR.search(sentence, first.end()):
                particular = start
    return particular or last
