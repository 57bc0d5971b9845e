"""What a tool answered, taken apart: records, their fields, and the prose that talks.

A *record* is an object of a JSON answer, an item of a listing, or a paragraph; a record inside another belongs
to it. A *field* is a short piece of one; a line of at least `PROSE_WORDS` words is prose, and so is a sentence of at least
`SENTENCE_WORDS`. A field that has a name is *anchored* if its record, or one around it, holds a field with something that
the intent names: the honest way to a value that the intent does not carry is to look up what it names (a payee's account
beside the payee's name).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import pairwise
from typing import Any, NamedTuple

from models.evidence.dispatch import document, named_once
from models.text.documents import MAX_CHARS, leaves
from models.text.encodings import is_encoded, opened
from models.text.excerpts import beyond, excerpts, middle
from models.text.fingerprints import apart, fingerprint, prints_of, prints_of_pieces
from models.text.privacy import PROSE, PROSE_WORDS, SENTENCE_WORDS
from models.text.prose import sentences_in
from models.text.tokens import is_hashed

MAX_RECORDS = 256
"""Records of one answer that are told apart; what follows counts to the last one."""
MAX_TALK = 256
"""Lines of prose of one answer whose meaning is read, the first of it (chosen; bounds what a long answer can cost)."""
MAX_TALK_LATER = 64
"""... and of its last lines, where it has more."""
MAX_TALK_BETWEEN = 128
"""... and of excerpts of what is left, of which there are seldom more."""
MAX_PIECES = 4096
"""Scalars of one answer that are looked at."""
MAX_NAME = 256
"""Characters of a field's name."""
_DEEPEST = 32

_ITEM = re.compile(r"^( *)- ")
_KEYED = re.compile(r"[\s\-*|'\"]{0,16}(?:[^\s:=|]{1,64} ){0,2}[^\s:=|]{1,64}\s{0,16}[:=|]\s{0,16}\S")
"""A field with a name of at most three words: ``IBAN: ...``, ``'price per day': 48``."""
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$-]*|", re.ASCII)
_BRACES = re.compile(r"[{}\[\]()]")
_OPENS = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_JSON = json.JSONDecoder(object_pairs_hook=named_once)
MAX_LITERALS = 8
"""Places of one text that are tried as the beginning of JSON."""
_LITERAL = re.compile(r"['\"]\s*[:,]|\d\s*,")
_COMMA = re.compile(r",\s+")
_ENDS = re.compile(r"[^\W\d_][.!?][\s'\")\]]{0,4}$")
"""How a sentence ends: after a letter, so that no number and no address of a street does."""


class Heard(NamedTuple):
    """What an answer carries.

    Fingerprints of its fields and prose; its prose line by line, and the beginning of that by sentences (``talk``); all
    of it (``texts``), and how often it was cut; what was not looked at (``unread``), and fingerprints of what `read_on` finds
    there (``between``).
    """

    fields: set[int]
    anchored: set[int]
    prose: set[int]
    lines: list[str]
    talk: list[str]
    texts: list[str]
    cuts: int
    unread: list[Any]
    between: set[int]


class _Record:
    __slots__ = ("fields", "hidden", "keyed", "lines", "parent")

    def __init__(self, parent: _Record | None) -> None:
        self.parent = parent
        self.fields: list[str] = []
        self.keyed: list[str] = []
        self.lines: list[str] = []
        self.hidden: list[str] = []  # prose that stands there in another form


class _Records(list[_Record]):
    """Records of one answer, how many of its characters may still be looked at, as of its leaves, and what was not."""

    def __init__(self) -> None:
        super().__init__()
        self.room = MAX_CHARS
        self.pieces = MAX_PIECES
        self.unread: list[Any] = []
        self.names: list[str] = []  # those that stand for nothing by themselves


def hear(answer: Any, named: Collection[int], key: bytes, acts: Collection[int] = ()) -> Heard:
    """Take an answer apart.

    Parameters
    ----------
    answer : text or JSON value, in an envelope or without
    named : fingerprints of what the intent names
    key : key of the fingerprints
    acts : fingerprints of names of tools that act: a record that holds one talks, whatever its form
    """
    found, cuts = leaves(answer)
    records = _Records()
    inside = _unwrapped(answer, 0)
    if isinstance(inside, dict | list):
        _walk(inside, None, records, 0)
    elif isinstance(inside, str) and inside is not answer:
        _read(inside, None, records)
    else:
        for leaf in found:
            _read(leaf.text, None, records)
        if isinstance(answer, str) and (inner := middle(answer)):
            records.unread.append(inner)
    quick = all(apart(leaf.text) for leaf in found)
    cuts = max(cuts, bool(records.unread))
    heard = Heard(set(), set(), set(), [], [], [leaf.text for leaf in found], cuts, records.unread, set())
    held: dict[int, bool] = {}  # by identity: whether the record holds what the intent names
    asking: set[int] = set()  # by identity: records that name a tool which acts
    room = MAX_CHARS  # for what is hidden: one text may hide many readings
    for record in records:
        fields = _prints(record.fields, quick, key)
        keyed = _prints(record.keyed, quick, key)
        outer = held.get(id(record.parent), False)
        holds = held[id(record)] = outer or not (fields.isdisjoint(named) and keyed.isdisjoint(named))
        asks = acts and not (keyed.isdisjoint(acts) and fields.isdisjoint(acts))
        if asks or id(record.parent) in asking:
            asking.add(id(record))
            heard.prose.update(fields, keyed)
            record.hidden.append("\n".join([*record.keyed, *record.fields]))
        else:
            heard.fields.update(fields)
            (heard.anchored if holds else heard.fields).update(keyed)
        hidden = []
        for text in dict.fromkeys(record.hidden):
            if len(text) <= room:
                hidden.append(text)
                room -= len(text)
        heard.prose.update(_prints(record.lines, quick, key), _prints(hidden, False, key))
        heard.lines.extend(record.lines + hidden)
    said = sentences_in(heard.lines)
    heard.talk.extend(said[:MAX_TALK])
    heard.talk.extend(said[MAX_TALK:][-MAX_TALK_LATER:])
    if passed := [*said[MAX_TALK:-MAX_TALK_LATER], *records.names]:
        heard.unread.append("\n".join(passed))
    return heard


def read_on(heard: Heard, key: bytes) -> None:
    """Take in as prose what `models.text.excerpts` finds in what was not read of an answer."""
    found = excerpts(heard.unread, key)
    if not found:
        return
    lines = [line for excerpt in found for line in excerpt.split("\n")]
    for excerpt in found:
        heard.between.update(prints_of(excerpt, key))
    heard.between.difference_update(heard.fields, heard.anchored, heard.prose)
    heard.lines.extend(lines)
    talk = sentences_in([line for line in lines if _is_said(line)])
    if len(talk) > MAX_TALK_BETWEEN:  # by the key, so that nobody knows which
        drawn = sorted(range(len(talk)), key=lambda at: fingerprint(f"{at} {talk[at]}", key))
        talk = [talk[at] for at in sorted(drawn[:MAX_TALK_BETWEEN])]
    heard.talk.extend(talk)
    heard.texts.append("\n".join(found))


def _is_said(line: str) -> bool:
    words = len(line.split())
    return words >= PROSE_WORDS or (words >= SENTENCE_WORDS and _ENDS.search(line) is not None)


_ENVELOPES = frozenset(
    "text output stdout result results content data response answer value return returned observation".split()
)
_TITLE = re.compile(r"(?=.{0,64}$)\S*(?: \S+){0,5}")
"""A name in an answer may be a title, and no sentence."""
_STAMP = re.compile(r"[\w-]{0,24}", re.ASCII)


def _unwrapped(node: Any, depth: int) -> Any:
    """An answer whose text is a string of JSON, or in quotation marks, out of what frameworks put around answers.

    An envelope holds nothing else but words and numbers that stamp it: what stands beside a mail's sender is the mail's.
    """
    if isinstance(node, str):
        if not depth and not node.startswith('"'):
            return node  # as it is read anyway
        inner = document(node, MAX_PIECES, _TITLE)
        return node if inner is None else inner
    if depth == MAX_ENVELOPES:
        return node
    if isinstance(node, list) and 0 < len(node) <= 16 and all(map(_is_envelope, node)):
        return [_unwrapped(item, depth + 1) for item in node]
    if _is_envelope(node):
        return {
            name: _unwrapped(child, depth + 1) if name in _ENVELOPES else child
            for name, child in node.items()
        }
    return node


MAX_ENVELOPES = 4
"""Envelopes in one another that are opened."""


def _is_envelope(node: Any) -> bool:
    if not isinstance(node, dict) or not 1 <= len(node) <= 5:
        return False
    held = [name for name in node if name in _ENVELOPES]
    beside = (child for name, child in node.items() if name not in _ENVELOPES)
    return len(held) == 1 and all(
        child is None
        or isinstance(child, bool | int | float)
        or (isinstance(child, str) and _STAMP.fullmatch(child) is not None)
        for child in beside
    )


def _prints(texts: list[str], quick: bool, key: bytes) -> set[int]:
    if not texts:
        return set()
    found = prints_of_pieces([piece for text in texts for piece in text.split()], key) if quick else None
    return set(prints_of("\n".join(texts), key)) if found is None else found


def _begin(parent: _Record | None, records: _Records) -> _Record:
    if len(records) >= MAX_RECORDS:
        return records[-1]
    made = _Record(parent)
    records.append(made)
    return made


def _put(record: _Record, text: str, keyed: bool = False) -> None:
    pieces = text.split()
    words = len(pieces)
    if len(text) >= HIDDEN and (hidden := _hidden(text, pieces)):
        record.lines.append(text)
        record.hidden += hidden
        return
    if words >= PROSE_WORDS:
        record.lines.append(text)
        return
    name = None if keyed else _KEYED.match(text)
    said = len(text[name.end() - 1 :].split()) if name is not None else words - keyed
    if said >= SENTENCE_WORDS and _ENDS.search(text) is not None:
        record.lines.append(text)
    elif keyed or name is not None:
        record.keyed.append(text)
    else:
        record.fields.append(text)


HIDDEN = 40
"""Characters without a space from which on a piece may hide prose: seven words of four letters in base64."""
_LINK = re.compile(r"://|^mailto:")
_TAG = re.compile(r"<[^<>]{0,64}>")
_THING = re.compile(r"[/\\:]|\.\w{1,5}$")
"""What a path, a name of code, and a name of a file have."""
_SPREAD = re.compile(r"(?<!\S)\S(?: \S){2,}(?!\S)")


def _hidden(text: str, pieces: list[str]) -> list[str]:
    """Prose that `text` hides: encoded, its words joined by tags or underlines, or spelled letter by letter.

    An address of the web may hold words as well, and is none.
    """
    found: list[str] = []
    if len(pieces) >= PROSE_WORDS and is_encoded(text):
        found += [inner for inner in opened(text) if len(inner.split()) >= PROSE_WORDS]
    elif max(map(len, pieces), default=0) >= HIDDEN:
        for piece in pieces:
            if len(piece) < HIDDEN or _LINK.search(piece) is not None:
                continue
            found += [inner for inner in opened(piece) if len(inner.split()) >= PROSE_WORDS]
            parted = _TAG.sub(" ", piece)
            if _THING.search(parted) is None or parted.count("_") >= 3 * PROSE_WORDS:
                parted = parted.replace("_", " ").replace("+", " ")
            if _reads_as_text(parted):
                found.append(parted)
    if 3 * len(pieces) >= len(text):
        joined = _SPREAD.sub(_closed_up, text)
        found += [joined] if joined != text else []
    return found


def _closed_up(run: re.Match[str]) -> str:
    """Letters spelled one by one as a word; a row of figures as it is."""
    return run[0].replace(" ", "") if any(map(str.isalpha, run[0])) else run[0]


def _walk(node: Any, parent: _Record | None, records: _Records, depth: int) -> None:
    """Objects become records, a scalar a piece of the record around it; a key goes with what it names."""
    if depth > _DEEPEST:
        records.unread.append(node)
        return
    if isinstance(node, list):
        for child in node[:MAX_RECORDS]:
            _walk(child, parent, records, depth + 1)
        records.unread += node[MAX_RECORDS:]
        return
    if not isinstance(node, dict):
        _scalar("", node, parent or _begin(None, records), records)
        return
    record = _begin(parent, records)
    for name, child in _first(node, records):
        if isinstance(child, dict):
            inner = _begin(record, records)
            _scalar("", str(name), inner, records)
            for label, value in _first(child, records):
                if isinstance(value, dict | list):
                    _scalar(str(label), None, inner, records)
                    _walk(value, inner, records, depth + 2)
                else:
                    _scalar(str(label), value, inner, records)
        elif isinstance(child, list):
            if name == PROSE and _stands_for_prose(child, record, records):
                continue
            _scalar("", str(name), record, records)
            _walk(child, record, records, depth + 1)
        else:
            _scalar(str(name), child, record, records)


def _first(node: dict[Any, Any], records: _Records) -> list[tuple[Any, Any]]:
    """The entries of an object that are looked at; what the others hold is `unread`."""
    entries = list(node.items())
    for name, child in entries[MAX_RECORDS:]:
        records.unread += (str(name), child)
    return entries[:MAX_RECORDS]


def _stands_for_prose(values: list[Any], record: _Record, records: _Records) -> bool:
    """Take what a producer hashed of a text that talks (`models.text.privacy`) for prose; False for anything else."""
    hashed = [value for value in values[:MAX_RECORDS] if isinstance(value, str) and is_hashed(value)]
    if not hashed or len(hashed) < len(values[:MAX_RECORDS]):
        return False
    taken = hashed[: max(0, min(records.pieces, records.room // 64))]
    records.pieces -= len(taken)
    records.room -= sum(map(len, taken))
    records.unread += [*hashed[len(taken) :], *values[MAX_RECORDS:]]
    record.lines.extend(taken)
    return True


def _scalar(name: str, value: Any, record: _Record, records: _Records) -> None:
    if len(name) > MAX_NAME:
        records.unread.append(name)
        name = name[:MAX_NAME]
    if value is None or value is True or value is False:
        if len(name.split()) >= PROSE_WORDS:
            _put(record, name)
        elif _IDENTIFIER.fullmatch(name) is None:
            records.names.append(name)
        return
    if records.room <= 0 or not records.pieces:
        records.unread += (name, value)
        return
    text = value[: records.room] if isinstance(value, str) else repr(value)
    if isinstance(value, str) and (unread := beyond(value, records.room)):
        records.unread.append(unread)
    records.room -= len(text)
    records.pieces -= 1
    if "\n" in text:
        _read(text, record, records)
    else:
        _put(record, f"{name} {text}" if name else text, keyed=bool(name))


def _read(text: str, parent: _Record | None, records: _Records) -> None:
    """A text as records: JSON in it as it is, other literals at their brackets, else line by line."""
    at = 0
    for tries, opening in enumerate(_OPENS.finditer(text) if "{" in text or "[" in text else ()):
        if tries == MAX_LITERALS:
            break
        if opening.end() < at:
            continue
        try:
            node, end = _JSON.raw_decode(text, opening.end())
        except (ValueError, RecursionError):
            continue
        _rest(text[at : opening.start()], parent, records, after=at > 0)
        _walk(node, parent, records, 0)
        at = end
    _rest(text[at:], parent, records, after=at > 0)


def _rest(text: str, parent: _Record | None, records: _Records, *, after: bool) -> None:
    """What is no JSON of a text; `after` some, it begins with the comma or the brackets that closed that."""
    if not text.strip():
        return
    if text.lstrip(",]} \t\r\n" if after else None)[:1] in tuple("{["):
        for piece in _BRACES.split(text):
            if piece.strip(", "):
                record = _begin(parent, records)
                plain = []
                for part in piece.replace("\\n", "\n").split("\n"):
                    if _LITERAL.search(part):
                        for field in _COMMA.split(part):
                            _put(record, field)
                    else:
                        plain.append(part)
                _put_lines(record, plain)
        return
    record = _begin(parent, records)
    base: int | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip():
            if lines:
                _put_lines(record, lines)
                record, lines = _begin(parent, records), []
            continue
        item = _ITEM.match(line)
        if item is not None and (base is None or len(item[1]) <= base):
            base = len(item[1])
            if lines:
                _put_lines(record, lines)
                record, lines = _begin(parent, records), []
        lines.append(line)
    _put_lines(record, lines)


_PLAIN = re.compile(r"[^\W\d_]+[,.;:!?]?")
_JOINING = frozenset(
    "the an to of and in on at for from by with is are be it this that if as or you your i my me we our can will please "
    "der die das den dem und zu ein eine einen ist von mit auf nicht le la les du des un une et au en pour avec sur est "
    "el los las una y al del con por para que il lo gli di da per che het een van op te o os um uma com na".split()
)
"""Words that join others in running text, of seven languages; a list of names, files or figures has few."""


def _put_lines(record: _Record, lines: list[str]) -> None:
    """Lines of a record, each by itself; but short ones in a row as one text where they read as one, in narrow columns."""
    row: list[str] = []
    for line in lines:
        if len(line.split()) < PROSE_WORDS and _KEYED.match(line) is None:
            row.append(line)
            continue
        _put_row(record, row)
        row = []
        _put(record, line)
    _put_row(record, row)


MAX_ROW = 32
"""Words of one line that short ones in a row become."""


def _put_row(record: _Record, row: list[str]) -> None:
    """Short lines without a name, in a row: text in narrow columns if it reads as one, and goes on from line to line."""
    if len(row) > 1 and _goes_on(row) and _reads_as_text(" ".join(row)):
        words = " ".join(row).split()
        record.hidden += [" ".join(words[n : n + MAX_ROW]) for n in range(0, len(words), MAX_ROW)]
        return
    for line in row:
        _put(record, line)


def _goes_on(row: list[str]) -> bool:
    """Whether a sentence runs over the end of some of these lines: one word beside it joins others."""
    ends = [words for line in row if (words := line.split())]
    return any(a[-1] in _JOINING or b[0] in _JOINING for a, b in pairwise(ends))


def _reads_as_text(text: str) -> bool:
    """Whether `text` is prose by its words: most are letters alone, and every fifth joins others, in small letters."""
    words = text.split()
    if len(words) < PROSE_WORDS:
        return False
    plain = sum(_PLAIN.fullmatch(word) is not None for word in words)
    joining = sum(word.rstrip(",.;!?") in _JOINING for word in words)
    return 5 * plain >= 3 * len(words) and 5 * joining >= len(words)
