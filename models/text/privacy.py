"""Privacy mode for producers: keyed-hash fingerprints in place of values, told apart as Driftline needs them.

Copy this file next to your agent: it needs nothing but the standard library. What it does, and what is lost:
``docs/privacy.md``.

    hidden = Hidden(key)
    session.declare(intent, resources=hidden.named(intent))
    call = session.call(tool, hidden.arguments(arguments))
    session.returned(call, hidden.result(answer))
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import re
import warnings
from collections.abc import Collection
from contextlib import suppress
from typing import Any

HASHED = "fp:"
"""Beginning of a value that its producer hashed."""
PROSE = "prose"
"""The key under which values of a text that talks stand: Driftline takes a fingerprint there for no field."""
MAX_LINES = 400
"""Lines of one text that are looked at."""
MAX_LINE = 2000
"""Characters of one line that are looked at."""
MAX_VALUES = 1000
"""Fingerprints of one document: more than Driftline looks at, and some 70 kB."""
MAX_DEPTH = 64
"""Levels of nesting; what lies deeper is left out, as by Driftline."""
MAX_NAMED = 128
"""Fingerprints of what an intent names."""

PROSE_WORDS = 7
"""A line of at least this many words is prose: text that talks, not a field that answers (chosen)."""
SENTENCE_WORDS = 4
"""... and one of at least this many that ends like a sentence (chosen)."""

_FIELD = re.compile(r"([\w ]{1,40}?)\s*[:=]\s+(.+)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ITEM = re.compile(r" *(?=- )")
_ENDS = re.compile(r"[^\W\d_][.!?]['\")\]]*$")
_QUOTED = re.compile(r"'([^'\n]{2,80})'|\"([^\"\n]{2,80})\"|`([^`\n]{2,80})`")
RUN = re.compile(r"[^\s\"'<>(){}\[\],;|`]{3,}")
"""What stands together: a word, an address, a path."""
_JOINT = re.compile(r"\w[@.:/\\\-+_%#&?~]+\w")
_FIGURE = re.compile(r"(?<!\w)\w*\d\w*(?:[.,:-]\d\w*)*")
_NAME = re.compile(r"(?<!\w)[A-Z][\w'-]*(?: [A-Z][\w'-]*)*")
_WORD = re.compile(r"[^\W_]{3,}")
_HEAD = re.compile(r"^(?:https?://|mailto:)?(?:www\.)?(?=\S+$)")
_NUMBER = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[+-]?\d+\.\d+")


def plain(value: object) -> str:
    """A value as it is hashed: case, spaces, forms of numbers and what stands before a host are no difference.

    >>> plain("  HTTPS://www.Example.com/a/ "), plain("1,200.50"), plain(1200.5), plain(7.0)
    ('example.com/a', '1200.5', '1200.5', '7')
    """
    text = " ".join(str(value).casefold().split())
    if _NUMBER.fullmatch(text):
        text = text.replace(",", "")
        if "." in text:
            text = text.lstrip("+").rstrip("0").rstrip(".")
    return _HEAD.sub("", text).rstrip("/") or text


class Hidden:
    """Values of one tenant, hashed with its key: at least 16 bytes that Driftline never sees.

    Parameters
    ----------
    keys : the keys of arguments and results that stay as they are; by default all that a program would write. Name them
        where tools key answers by what is itself a value, a user's name for instance.
    """

    def __init__(self, key: bytes, keys: Collection[str] | None = None) -> None:
        if not isinstance(key, bytes | bytearray):
            raise TypeError(
                f"a fingerprint's key is bytes, not {type(key).__name__}; bytes.fromhex() reads one from text"
            )
        if len(key) < 16:
            raise ValueError(
                "a fingerprint's key has at least 16 bytes; make one with secrets.token_bytes(32)"
            )
        self._key = key
        self._keys = keys

    def value(self, value: object) -> str:
        """The fingerprint of one value."""
        raw = plain(value).encode("utf-8", "surrogatepass")
        return HASHED + hmac.new(self._key, raw, hashlib.sha256).hexdigest()

    def arguments(self, arguments: Any) -> Any:
        """Arguments of a call: names stay, values are hashed, a text by what stands in it."""
        return self._each(arguments, [MAX_VALUES])

    def result(self, answer: Any) -> Any:
        """What a tool answered: text or JSON, or JSON (or Python's literals) as text."""
        if isinstance(answer, str):
            parsed = _parsed(answer)
            return self._records(answer, [MAX_VALUES]) if parsed is None else self._each(parsed, [MAX_VALUES])
        return self._each(answer, [MAX_VALUES])

    def named(self, intent: str) -> list[str]:
        """What the user names, for ``intent.resources``: these fingerprints then count as asked for."""
        found = [*_pieces(intent), *_WORD.findall(intent)]
        return list(dict.fromkeys(map(self.value, found)))[:MAX_NAMED]

    def _each(self, value: Any, left: list[int], depth: int = 0) -> Any:
        """A document hashed; `left` has how many fingerprints it may still take."""
        if isinstance(value, dict | list | tuple) and depth == MAX_DEPTH:
            return None
        if isinstance(value, dict):
            named = {}
            for name, item in value.items():
                if left[0] > 0:
                    named[self._name(name)] = self._each(item, left, depth + 1)
            return named
        if isinstance(value, list | tuple):
            return [self._each(item, left, depth + 1) for item in value if left[0] > 0]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and ("\n" in value.strip() or _is_prose(value)):
            return self._records(value, left)
        left[0] -= 1
        return self.value(value)

    def _name(self, name: object) -> str:
        """A key of the tool's own stays; one that a program would not write is a value itself."""
        plainly = str(name) in self._keys if self._keys is not None else _IDENTIFIER.fullmatch(str(name))
        return str(name) if plainly else self.value(name)

    def _records(self, text: str, left: list[int]) -> list[dict[str, Any]]:
        """A listing's items, and paragraphs, an object each, so that the fields of one thing stay together."""
        found: list[dict[str, Any]] = [{}]
        base: int | None = None
        for line in text.splitlines()[:MAX_LINES]:
            bare = line[:MAX_LINE].strip(" -\t")
            item = _ITEM.match(line)
            if item is not None and base is None:
                base = item.end()
            if not bare or (item is not None and base is not None and item.end() <= base):
                found.append({})
            if not bare or left[0] <= 0:
                continue
            record, field = found[-1], _FIELD.fullmatch(bare)
            name, said = (self.value(field[1]), field[2].strip("'\"")) if field is not None else ("", bare)
            if _is_prose(said):
                self._put(record, PROSE, [said, *_pieces(said)], left)
                continue
            if name and name not in record:
                record[name] = self.value(said)
                left[0] -= 1
            else:
                self._put(record, "lines", [said], left)
            self._put(record, "values", [piece for piece in _pieces(said) if piece != said], left)
        return [record for record in found if record]

    def _put(self, record: dict[str, Any], name: str, values: list[str], left: list[int]) -> None:
        if taken := values[: max(0, left[0])]:
            left[0] -= len(taken)
            record[name] = list(dict.fromkeys([*record.get(name, ()), *map(self.value, taken)]))


def _parsed(answer: str) -> dict[Any, Any] | list[Any] | None:
    """JSON, or a literal of Python's, that a text is; None for any other text."""
    if answer.lstrip()[:1] not in ("{", "["):
        return None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError), warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            parsed = read(answer)
            if isinstance(parsed, dict | list):
                return parsed
    return None


def _is_prose(text: str) -> bool:
    words = len(text.split())
    return words >= PROSE_WORDS or (words >= SENTENCE_WORDS and _ENDS.search(text) is not None)


def _pieces(text: str) -> list[str]:
    """What in a text may be a value by itself: quoted, addresses and paths, figures, names."""
    found = [next(filter(None, quoted)) for quoted in _QUOTED.findall(text)]
    found += [run.strip(".,:;-") for run in RUN.findall(text) if _JOINT.search(run)]
    found += _FIGURE.findall(text)
    for name in _NAME.findall(text):
        found += [name, *name.split()] if " " in name else [name]
    return list(dict.fromkeys(filter(None, found)))
