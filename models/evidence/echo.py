"""What an answer only repeats of its own call: an error quotes the command."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from models.evidence.results import Answer
from models.text.fingerprints import INDEXED, pieces_met

ECHO = 4
"""Words in a row that prose must repeat of a call to count as its echo (chosen)."""


def leave_out_echo(answer: Answer, said: set[int], key: bytes) -> None:
    """Leave out of an answer's prose what it only repeats of its own call: an error quotes the command.

    What a field says stays: there an answer confirms.

    Parameters
    ----------
    said : fingerprints of the tokens of the call's arguments
    """
    repeated = answer.prose.intersection(said) | answer.between.intersection(said)
    if not repeated:
        return
    if len(repeated) >= ECHO:
        answer.talk[:] = filter(None, (_unsaid(line, said, ECHO, key) for line in answer.talk))
    echoed = _echoes(answer.lines, said, key)
    answer.prose.difference_update(repeated, echoed)
    answer.between.difference_update(repeated, echoed)


def _unsaid(text: str, said: set[int], run: int, key: bytes) -> str:
    """`text` without runs of at least `run` pieces between white space all of whose tokens are among `said`."""
    kept: list[str] = []
    memo = pieces_met(key)
    for repeats, group in groupby(text.split(), lambda piece: memo[piece].among(said)):
        pieces = list(group)
        if not repeats or len(pieces) < run:
            kept += pieces
    return " ".join(kept)


def _echoes(texts: Iterable[str], said: set[int], key: bytes) -> set[int]:
    """n-grams of the pieces of `texts` between white space all of whose tokens are among `said`."""
    memo = pieces_met(key)
    long = {piece for text in texts for piece in text.split() if len(piece) >= INDEXED}
    met = map(memo.__getitem__, long)
    return {p for piece in met if piece.among(said) for p in piece.prints[piece.tokens :]}
