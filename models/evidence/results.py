"""What a tool answered, taken apart: its fields, and the prose that talks.

A field that has a name is *anchored* if its record, or one around it, holds a field with something that the intent names: the
honest way to a value that the intent does not carry is to look up what it names (a payee's account beside the payee's name).
What a record, a field and prose are: `models.evidence.records`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from models.evidence.envelopes import unwrapped
from models.evidence.records import AnswerRecord, AnswerRecords
from models.text.documents import MAX_CHARS, Leaf, leaves
from models.text.excerpts import excerpts, middle
from models.text.fingerprints import apart, fingerprint, prints_of, prints_of_pieces
from models.text.prose import is_prose, sentences_in

MAX_TALK = 256
"""Lines of prose of one answer whose meaning is read, the first of it (chosen; bounds what a long answer can cost)."""
MAX_TALK_LATER = 64
"""... and of its last lines, where it has more."""
MAX_TALK_BETWEEN = 128
"""... and of excerpts of what is left, of which there are seldom more."""


class Answer(NamedTuple):
    """What an answer carries.

    Attributes
    ----------
    records : what stands in it, record by record
    fields, anchored, prose : fingerprints of what stands there
    lines : its prose, line by line
    talk : the beginning and the end of that, by sentences
    texts : all of it
    cuts : how often it was cut
    unread : what was not looked at
    between : fingerprints of what `read_excerpts` finds there
    """

    records: list[AnswerRecord]
    fields: set[int]
    anchored: set[int]
    prose: set[int]
    lines: list[str]
    talk: list[str]
    texts: list[str]
    cuts: int
    unread: list[Any]
    between: set[int]


def read_answer(answer: Any, named: Collection[int], key: bytes, acts: Collection[int] = ()) -> Answer:
    """Take an answer apart.

    Parameters
    ----------
    answer : text or JSON value, in an envelope or without
    named : fingerprints of what the intent names
    key : key of the fingerprints
    acts : fingerprints of names of tools that act: a record that holds one talks, whatever its form
    """
    scalars, cuts = leaves(answer)
    records = _records_of(answer, scalars)
    cuts = max(cuts, bool(records.unread))
    texts = [leaf.text for leaf in scalars]
    parts = Answer(records.all, set(), set(), set(), [], [], texts, cuts, records.unread, set())
    _take_in(parts, records.all, named, acts, key)
    sentences = sentences_in(parts.lines)
    parts.talk.extend(sentences[:MAX_TALK])
    parts.talk.extend(sentences[MAX_TALK:][-MAX_TALK_LATER:])
    if passed := [*sentences[MAX_TALK:-MAX_TALK_LATER], *records.names]:
        parts.unread.append("\n".join(passed))
    return parts


def _records_of(answer: Any, scalars: list[Leaf]) -> AnswerRecords:
    records = AnswerRecords()
    inside = unwrapped(answer)
    if isinstance(inside, dict | list):
        records.take_json(inside)
    elif isinstance(inside, str) and inside is not answer:
        records.take_text(inside)
    else:
        for leaf in scalars:
            records.take_text(leaf.text)
        if isinstance(answer, str) and (inner := middle(answer)):
            records.unread.append(inner)
    return records


def _take_in(
    parts: Answer, records: list[AnswerRecord], named: Collection[int], acts: Collection[int], key: bytes
) -> None:
    """Add the prints and the prose of `records` to the parts of an answer."""
    quick = all(map(apart, parts.texts))
    holds_named: dict[int, bool] = {}  # by identity of the record: whether it holds what the intent names
    asking: set[int] = set()  # by identity: records that name a tool which acts
    room = MAX_CHARS  # for what is hidden: one text may hide many readings
    for record in records:
        fields = _prints(record.fields, quick, key)
        keyed = _prints(record.keyed, quick, key)
        outer = holds_named.get(id(record.parent), False)
        anchored = outer or not (fields.isdisjoint(named) and keyed.isdisjoint(named))
        holds_named[id(record)] = anchored
        asks = acts and not (keyed.isdisjoint(acts) and fields.isdisjoint(acts))
        if asks or id(record.parent) in asking:
            asking.add(id(record))
            parts.prose.update(fields, keyed)
            said = [*record.hidden, "\n".join([*record.keyed, *record.fields])]
        else:
            said = record.hidden
            parts.fields.update(fields)
            (parts.anchored if anchored else parts.fields).update(keyed)
        hidden = []
        for text in dict.fromkeys(said):
            if len(text) <= room:
                hidden.append(text)
                room -= len(text)
        parts.prose.update(_prints(record.lines, quick, key), _prints(hidden, False, key))
        parts.lines.extend(record.lines + hidden)


def read_excerpts(answer: Answer, key: bytes) -> None:
    """Take in as prose what `models.text.excerpts` finds in what was not read of an answer."""
    excerpts_read = excerpts(answer.unread, key)
    if not excerpts_read:
        return
    lines = [line for excerpt in excerpts_read for line in excerpt.split("\n")]
    for excerpt in excerpts_read:
        answer.between.update(prints_of(excerpt, key))
    answer.between.difference_update(answer.fields, answer.anchored, answer.prose)
    answer.lines.extend(lines)
    talk = sentences_in(filter(is_prose, lines))
    if len(talk) > MAX_TALK_BETWEEN:  # by the key, so that nobody knows which
        drawn = sorted(range(len(talk)), key=lambda at: fingerprint(f"{at} {talk[at]}", key))
        talk = [talk[at] for at in sorted(drawn[:MAX_TALK_BETWEEN])]
    answer.talk.extend(talk)
    answer.texts.append("\n".join(excerpts_read))


def _prints(texts: list[str], quick: bool, key: bytes) -> set[int]:
    """Fingerprints of texts; `quick` where all of the answer they are from is `apart`."""
    if not texts:
        return set()
    prints = prints_of_pieces([piece for text in texts for piece in text.split()], key) if quick else None
    return set(prints_of("\n".join(texts), key)) if prints is None else prints
