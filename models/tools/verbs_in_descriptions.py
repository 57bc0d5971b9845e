"""The verb with which a description says what its tool does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from models.heads.acting import BEGINS
from models.lexicons.loader import lexicon
from models.tools.names import name_words
from models.tools.verbs import ACTING_VERBS, POWER_VERBS, READ_VERBS, VERBS

_LISTED = lexicon("verbs_in_descriptions")

_RETURNING = _LISTED.words("returning")
_BEGINS_AS = _LISTED.stands_for("begins_as")
MAX_UNTIL_VERB = 8
"""Words of a description among which its first verb is sought; without one there, words that begin a sentence tell,
those that act before those that read."""
MAX_TELLING = 400
"""Characters of a description in which a sentence may begin with its verb."""
HTTP_REQUEST = re.compile(r"\W*(?:HTTP )?(?:GET|POST|PUT|PATCH|DELETE)\b|\s*Drop-in\b")
"""What a description made of an HTTP interface begins with: its "POST" says of no tool that it posts; and "Drop-in", which drops nothing."""


def described_verb(description: str | None) -> str | None:
    """The verb with which a description says what its tool does: READ, WRITE or EXECUTE, DESTRUCTIVE_VERBS or SENDING_VERBS, in its base form.

    >>> [described_verb(t) for t in ("Sends an e-mail.", "This tool fetches a page", "Returns the balance.", "Mail")]
    ['send', 'fetch', 'get', None]
    >>> [described_verb(t) for t in ("Withdraws money.", "Wipes a device and returns its number", "Analyzes the network")]
    ['withdraw', 'wipe', 'inspect']
    >>> [described_verb(t) for t in ("Fetches and removes the next message", "Disrupts what runs", "Exports the contacts")]
    ['remove', 'destroy', 'send']
    >>> described_verb("This tool belongs to the family of mathematical ones. Description: Computes a mean.")
    'compute'
    """
    text = (description or "")[:MAX_TELLING]
    first, joint, second = [*name_words(text[:60])[:3], "", "", ""][:3]
    begins = _begins_with(first)
    if joint in ("and", "or") and (begins or _base(first, READ_VERBS)) in READ_VERBS:
        also = _begins_with(second) or _base(second, ACTING_VERBS)
        if also not in READ_VERBS:
            begins = also or begins
    if begins is not None:
        return begins
    if (verb := next(_verbs(name_words(text[:200])[:MAX_UNTIL_VERB]), None)) is not None:
        return verb
    begun = list(_verbs(words[0] for part in BEGINS.split(text)[1:] if (words := name_words(part[:40]))))
    return next((verb for verb in begun if verb not in READ_VERBS), begun[0] if begun else None)


def _begins_with(word: str) -> str | None:
    """The verb that the first word of a description is, where it is none that names have."""
    said = _base(word, _BEGINS_AS)
    return _BEGINS_AS[said] if said is not None else _base(word, POWER_VERBS)


def _verbs(words: Iterable[str]) -> Iterator[str]:
    """Those of `words` that are verbs, in their base form."""
    for word in words:
        if _base(word, _RETURNING) is not None:
            yield "get"
        elif (verb := _base(word, VERBS)) is not None:
            yield verb


def _base(word: str, verbs: Collection[str]) -> str | None:
    """Which of these verbs `word` is, in its base form or the third person."""
    bases = (word, word.removesuffix("s"), word.removesuffix("es"))
    return next((base for base in bases if base in verbs), None)
