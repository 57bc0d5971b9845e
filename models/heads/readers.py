"""All that was learnt of words and reads with them: what a release brings along, and every decision is handed."""

from __future__ import annotations

from typing import NamedTuple

from models.heads.acting import Acting
from models.heads.expectation import Expectation
from models.heads.handover import Heads
from models.heads.vagueness import Vagueness
from models.reading.reader import Reader
from models.text.vectors import Vectoriser


class Readers(NamedTuple):
    """The table of words and the heads.

    What a session keeps of its texts was read by the readers of the release that it had then: a release with another
    table of words is for sessions that begin under it.

    Attributes
    ----------
    words : what texts mean
    acting : whether a tool acts
    handover : what an intent leaves to its sources, and whether it wants anything done
    expectation : which calls an intent leads to
    vagueness : whether an intent tells nothing
    reader : reads a call beside the words that led to it; None: the release has none
    """

    words: Vectoriser
    acting: Acting
    handover: Heads
    expectation: Expectation
    vagueness: Vagueness
    reader: Reader | None = None
