"""The records of an answer: objects of JSON, items of a listing, paragraphs, and what stands in each.

A record inside another belongs to it. A *field* is a short piece of one, *keyed* where it has a name; a line of at least
`PROSE_WORDS` words is prose, and so is a sentence of at least `SENTENCE_WORDS`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from models.evidence.nested_json import named_once, nested_beyond
from models.text.documents import MAX_CHARS
from models.text.excerpts import beyond
from models.text.privacy import PROSE, PROSE_WORDS, SENTENCE_WORDS
from models.text.prose import HIDDEN, ends_like_sentence, goes_on, hidden_prose, reads_as_text
from models.text.tokens import is_hashed

MAX_RECORDS = 256
"""Records of one answer that are told apart; what follows counts to the last one."""
MAX_PIECES = 4096
"""Scalars of one answer that are looked at."""
MAX_NAME = 256
"""Characters of a field's name."""
MAX_LITERALS = 8
"""Places of one text that are tried as the beginning of JSON."""
MAX_ROW = 32
"""Words of one line that short ones in a row become."""
_DEEPEST = 32
"""Levels of nesting that are walked."""

_ITEM = re.compile(r"^( *)- ")
_KEYED = re.compile(r"[\s\-*|'\"]{0,16}(?:[^\s:=|]{1,64} ){0,2}[^\s:=|]{1,64}\s{0,16}[:=|]\s{0,16}\S")
"""A field with a name of at most three words: ``IBAN: ...``, ``'price per day': 48``."""
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$-]*|", re.ASCII)
_BRACES = re.compile(r"[{}\[\]()]")
_OPENS = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_DECODED = 256
"""Brackets in one another in a text, beyond which its literals are read as text (chosen)."""
_JSON = json.JSONDecoder(object_pairs_hook=named_once)
_LITERAL = re.compile(r"['\"]\s*[:,]|\d\s*,")
_COMMA = re.compile(r",\s+")


class AnswerRecord:
    """Texts of one record: fields with a name and without, lines of prose, and prose that stands there in another form."""

    __slots__ = ("fields", "hidden", "keyed", "lines", "parent")

    def __init__(self, parent: AnswerRecord | None) -> None:
        self.parent = parent
        self.fields: list[str] = []
        self.keyed: list[str] = []
        self.lines: list[str] = []
        self.hidden: list[str] = []

    def put(self, text: str, *, keyed: bool = False) -> None:
        """Take in a line, or the value of a field with its name before it."""
        pieces = text.split()
        words = len(pieces)
        if len(text) >= HIDDEN and (hidden := hidden_prose(text, pieces)):
            self.lines.append(text)
            self.hidden += hidden
            return
        if words >= PROSE_WORDS:
            self.lines.append(text)
            return
        name = None if keyed else _KEYED.match(text)
        words_of_value = len(text[name.end() - 1 :].split()) if name is not None else words - keyed
        if words_of_value >= SENTENCE_WORDS and ends_like_sentence(text):
            self.lines.append(text)
        elif keyed or name is not None:
            self.keyed.append(text)
        else:
            self.fields.append(text)

    def put_lines(self, lines: list[str]) -> None:
        """Take in lines, each by itself; but short ones in a row as one text where they read as one, in narrow columns."""
        row: list[str] = []
        for line in lines:
            if len(line.split()) < PROSE_WORDS and _KEYED.match(line) is None:
                row.append(line)
                continue
            self._put_row(row)
            row = []
            self.put(line)
        self._put_row(row)

    def _put_row(self, row: list[str]) -> None:
        """Short lines without a name, in a row: text in narrow columns if it reads as one, and goes on from line to line."""
        if len(row) > 1 and goes_on(row) and reads_as_text(" ".join(row)):
            words = " ".join(row).split()
            self.hidden += [" ".join(words[n : n + MAX_ROW]) for n in range(0, len(words), MAX_ROW)]
            return
        for line in row:
            self.put(line)


class AnswerRecords:
    """The records of one answer, in order.

    Attributes
    ----------
    all : the records
    unread : what of the answer was not looked at
    names : names of JSON that are no identifiers and stand for nothing by themselves
    """

    def __init__(self) -> None:
        self.all: list[AnswerRecord] = []
        self.unread: list[Any] = []
        self.names: list[str] = []
        self._room = MAX_CHARS
        self._pieces = MAX_PIECES

    def take_json(self, node: Any, parent: AnswerRecord | None = None, depth: int = 0) -> None:
        """Objects become records, a scalar a piece of the record around it; a key goes with what it names."""
        if depth > _DEEPEST:
            self.unread.append(node)
        elif isinstance(node, list):
            for child in node[:MAX_RECORDS]:
                self.take_json(child, parent, depth + 1)
            self.unread += node[MAX_RECORDS:]
        elif isinstance(node, dict):
            self._take_object(node, parent, depth)
        else:
            self._take_scalar("", node, parent or self._begin(None))

    def take_text(self, text: str, parent: AnswerRecord | None = None) -> None:
        """A text as records: JSON in it as it is, other literals at their brackets, else line by line."""
        at = 0
        # How deep the decoder gets depends on its caller's stack, and what an answer says must not.
        literal = text.count("{") + text.count("[") > 0 and not nested_beyond(text, _DECODED)
        for tries, opening in enumerate(_OPENS.finditer(text) if literal else ()):
            if tries == MAX_LITERALS:
                break
            if opening.end() < at:
                continue
            try:
                node, end = _JSON.raw_decode(text, opening.end())
            except ValueError:
                continue
            self._take_plain(text[at : opening.start()], parent, after=at > 0)
            self.take_json(node, parent)
            at = end
        self._take_plain(text[at:], parent, after=at > 0)

    def _begin(self, parent: AnswerRecord | None) -> AnswerRecord:
        if len(self.all) >= MAX_RECORDS:
            return self.all[-1]
        record = AnswerRecord(parent)
        self.all.append(record)
        return record

    def _take_object(self, node: dict[Any, Any], parent: AnswerRecord | None, depth: int) -> None:
        record = self._begin(parent)
        for name, child in self._first(node):
            if isinstance(child, dict):
                inner = self._begin(record)
                self._take_scalar("", str(name), inner)
                for label, value in self._first(child):
                    if isinstance(value, dict | list):
                        self._take_scalar(str(label), None, inner)
                        self.take_json(value, inner, depth + 2)
                    else:
                        self._take_scalar(str(label), value, inner)
            elif isinstance(child, list):
                if name == PROSE and self._stands_for_prose(child, record):
                    continue
                self._take_scalar("", str(name), record)
                self.take_json(child, record, depth + 1)
            else:
                self._take_scalar(str(name), child, record)

    def _first(self, node: dict[Any, Any]) -> list[tuple[Any, Any]]:
        """The entries of an object that are looked at; what the others hold is `unread`."""
        entries = list(node.items())
        for name, child in entries[MAX_RECORDS:]:
            self.unread += (str(name), child)
        return entries[:MAX_RECORDS]

    def _stands_for_prose(self, values: list[Any], record: AnswerRecord) -> bool:
        """Take what a producer hashed of a text that talks (`models.text.privacy`) for prose; False for anything else."""
        hashed = [value for value in values[:MAX_RECORDS] if isinstance(value, str) and is_hashed(value)]
        if not hashed or len(hashed) < len(values[:MAX_RECORDS]):
            return False
        taken = hashed[: max(0, min(self._pieces, self._room // 64))]
        self._pieces -= len(taken)
        self._room -= sum(map(len, taken))
        self.unread += [*hashed[len(taken) :], *values[MAX_RECORDS:]]
        record.lines.extend(taken)
        return True

    def _take_scalar(self, name: str, value: Any, record: AnswerRecord) -> None:
        if len(name) > MAX_NAME:
            self.unread.append(name)
            name = name[:MAX_NAME]
        if value is None or value is True or value is False:
            if len(name.split()) >= PROSE_WORDS:
                record.put(name)
            elif _IDENTIFIER.fullmatch(name) is None:
                self.names.append(name)
            return
        if self._room <= 0 or not self._pieces:
            self.unread += (name, value)
            return
        text = value[: self._room] if isinstance(value, str) else repr(value)
        if isinstance(value, str) and (unread := beyond(value, self._room)):
            self.unread.append(unread)
        self._room -= len(text)
        self._pieces -= 1
        if "\n" in text:
            self.take_text(text, record)
        else:
            record.put(f"{name} {text}" if name else text, keyed=bool(name))

    def _take_plain(self, text: str, parent: AnswerRecord | None, *, after: bool) -> None:
        """What is no JSON of a text; `after` some, it begins with the comma or the brackets that closed that."""
        if not text.strip():
            return
        if text.lstrip(",]} \t\r\n" if after else None)[:1] in tuple("{["):
            self._take_literals(text, parent)
        else:
            self._take_listing(text, parent)

    def _take_literals(self, text: str, parent: AnswerRecord | None) -> None:
        """Literals of another language than JSON: a record between two brackets, a field between two commas."""
        for piece in _BRACES.split(text):
            if not piece.strip(", "):
                continue
            record = self._begin(parent)
            plain = []
            for part in piece.replace("\\n", "\n").split("\n"):
                if _LITERAL.search(part):
                    for field in _COMMA.split(part):
                        record.put(field)
                else:
                    plain.append(part)
            record.put_lines(plain)

    def _take_listing(self, text: str, parent: AnswerRecord | None) -> None:
        """Lines: a record for each paragraph, and for each item of the outermost list."""
        record = self._begin(parent)
        base: int | None = None
        lines: list[str] = []
        for line in text.split("\n"):
            if not line.strip():
                if lines:
                    record.put_lines(lines)
                    record, lines = self._begin(parent), []
                continue
            item = _ITEM.match(line)
            if item is not None and (base is None or len(item[1]) <= base):
                base = len(item[1])
                if lines:
                    record.put_lines(lines)
                    record, lines = self._begin(parent), []
            lines.append(line)
        record.put_lines(lines)
