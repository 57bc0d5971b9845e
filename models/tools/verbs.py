"""Verbs by what a tool does of which they are said: the lists that names, descriptions and intents are read with."""

from __future__ import annotations

from models.contracts import Action
from models.lexicons.loader import lexicon
from models.text.stems import stem, words_in

_LISTED = lexicon("verbs")
READ_VERBS = _LISTED.words("read")
EXECUTE_VERBS = _LISTED.words("execute")
WRITE_VERBS = _LISTED.words("write")
DESTRUCTIVE_VERBS = _LISTED.words("destructive")
SENDING_VERBS = _LISTED.words("sending")
OUTWARD_WORDS = _LISTED.words("outward")
VERBS = READ_VERBS | EXECUTE_VERBS | WRITE_VERBS
ACTING_VERBS = EXECUTE_VERBS | WRITE_VERBS
POWER_VERBS = (DESTRUCTIVE_VERBS | SENDING_VERBS) - VERBS
"""Verbs that are nouns as often ("kill switch", "withdraw history"): beside another verb they act at the ends of a name alone."""
LEADING_VERBS = _LISTED.words("leading")
_WRITE_STEMS = frozenset(map(stem, WRITE_VERBS)) | _LISTED.words("wanted_stems")
_EXECUTE_STEMS = frozenset(map(stem, EXECUTE_VERBS))


def wanted_actions(text: str) -> set[Action]:
    """Actions that the verbs of an intent ask for; reading is always among them."""
    actions: set[Action] = {"read"}
    wanted = set(map(stem, words_in(text)))
    if wanted & _WRITE_STEMS:
        actions.add("write")
    if wanted & _EXECUTE_STEMS:
        actions |= {"execute", "write"}
    return actions
