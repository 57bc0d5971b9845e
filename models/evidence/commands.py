"""Does a command only look? Shell and SQL, told by their words alone.

A tool that runs commands has the power of all of them, and its class stays `execute`. What one command does is told here:
``ls``, ``grep`` or ``SELECT`` look at things and change nothing. Programs, options, functions and characters that are
known to be harmless are listed, and whatever else occurs makes a command more than a look: substitutions, variables,
redirections, comments, backslashes, programs with languages of their own (awk, most of sed), anything unknown.
"""

from __future__ import annotations

import re

from models.lexicons.loader import any_of, lexicon

MAX_CHARS = 4000
"""Characters of a command that are looked at; a longer one counts as more than a look."""
_SHELL = lexicon("shell")
_SQL = lexicon("sql")


def _options(letters: str) -> re.Pattern[str]:
    return re.compile(rf"-[{letters}]+[\d,.:;|/ ]*(?:-\d*)?$")


_OPTIONS: dict[str, re.Pattern[str]] = {
    **dict.fromkeys(_SHELL.words("look_with_any_option"), _options("A-Za-z0-9")),
    **dict.fromkeys(_SHELL.words("look_with_letters"), _options("A-Za-z")),
    "sort": _options("bdfghiknrtuVz"),
    "uniq": _options("cdiu"),
    "paste": _options("dsz"),
    "join": _options("aeitjv12"),
    "file": _options("bhikLz"),
    "date": _options("uR"),
    "git": _options("np0-9"),
    "sed": _options("n"),
    "find": re.compile(rf"-(?:{any_of(_SHELL.words('find'))}|\d+)$"),
}
"""Programs that only look, each with those of its short options that keep it so."""
_LONG = re.compile(
    rf"--(?:{any_of(_SHELL.words('long_options'))}|{any_of(_SHELL.words('long_options_with_number'))}=\d+"
    rf"|{any_of(_SHELL.words('long_options_with_pattern'))}=\S+|color(?:=\w+)?)$"
)
_NO_OPERANDS = {"date": ("-", "+"), "uniq": ("-",)}
"""Programs that an operand would make set the clock, or write to it, and what begins an argument that is none."""
_GIT = _SHELL.words("git")
_LINES = re.compile(r"\d+(?:,\d+)?p$")
_FENCE = re.compile(r"^\s*```(?:bash|sh|shell|zsh|console)?[ \t]*\n|\n\s*```\s*$", re.IGNORECASE)
_SILENT = re.compile(r"(?<=\s)2>(?:/dev/null|&1)(?=\s|$|[|;])")
_PIECE = re.compile(
    r"(?P<apart>\|\|?|&&|;|\n)|(?P<space>[ \t]+)|'(?P<single>[^'\n]*)'|\"(?P<double>[^\"\n$`\\!]*)\"|(?P<plain>[\w./,:=@%+*?~^-]+)",
    re.ASCII,
)

_SELECTS = re.compile(r"\s*(?:(?:select|show|describe|desc)\b|explain\s+select\b)", re.IGNORECASE)
_TEXT = re.compile(r"'[^'\\]*'|\"[^\"\\]*\"")
_NEVER = re.compile(rf"[;\\$#@!{{}}]|--|/\*|\b{any_of(_SQL.words('more_than_a_look'))}\b", re.IGNORECASE)
_NAMED = re.compile(r"`[\w .-]+`|\[[\w .-]+\]", re.ASCII)
"""Names as MySQL and MSSQL quote them. A quotation mark in one would hide a second statement from `_TEXT`."""
_CALLED = re.compile(r"(\w+)\s*\(", re.ASCII)
_QUOTED_CALL = re.compile(r"[\"'`\]]\s*\(")
"""A function whose name is quoted: what it does, no list of names tells."""
_HARMLESS = _SQL.words("harmless")
_STATEMENT = re.compile(rf"\s*{any_of(_SQL.words('statements'))}\b", re.IGNORECASE)
_LANGUAGE = _HARMLESS | _SQL.words("language")
SQL_WORDS = frozenset(word.replace("_", "") for word in _LANGUAGE)
"""Words of SQL itself, as tokens: which table and which rows a statement means, they do not say."""


def is_statement(text: str) -> bool:
    """Whether a text begins as an SQL statement does."""
    return _STATEMENT.match(text) is not None


def only_looks(command: str, *, sql: bool = False) -> bool:
    """Whether all that a shell command, or an SQL statement, does is look.

    >>> [only_looks(c) for c in ("ls -l | grep may", "cat a 2>/dev/null", "sed -i s/a/b/ c", "cat a > b", "echo $(rm x)")]
    [True, True, False, False, False]
    >>> [only_looks(c, sql=True) for c in ("SELECT count(*) FROM b", "SELECT lo_export(1)", "DROP TABLE b")]
    [True, False, False]
    """
    if len(command) > MAX_CHARS or not command.isascii():
        return False
    return _selects(command.strip()) if sql else _shell_looks(_FENCE.sub("", command).strip(" \t\n"))


def _selects(text: str) -> bool:
    bare = _TEXT.sub("''", text.removesuffix(";"))
    if (
        _SELECTS.match(bare) is None
        or _NEVER.search(bare) is not None
        or bare.count("'") % 2
        or bare.count('"') % 2
        or _QUOTED_CALL.search(bare) is not None
        or (set("'\"").intersection(text) and set("`[]").intersection(_NAMED.sub("", text)))
    ):
        return False
    return _HARMLESS.issuperset(map(str.lower, _CALLED.findall(bare)))


def _shell_looks(text: str) -> bool:
    parts: list[list[str]] = [[]]
    word: str | None = None
    at = 0
    text = _SILENT.sub(" ", text) + "\n"
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            return False
        at = piece.end()
        kind = piece.lastgroup
        if kind in ("apart", "space"):
            if word is not None:
                parts[-1].append(word)
                word = None
            if kind == "apart":
                parts.append([])
        else:
            word = (word or "") + piece[str(kind)]
    return any(parts) and all(_part_looks(part) for part in parts if part)


def _part_looks(words: list[str]) -> bool:
    name = words[0].removeprefix("/usr").removeprefix("/bin/")
    option = _OPTIONS.get(name)
    if option is None:
        return False
    rest = words[1:]
    if name == "git":
        if not rest or rest[0] not in _GIT:
            return False
        rest = rest[1:]
    if name == "sed" and (len(rest) < 2 or rest[0] != "-n" or _LINES.match(rest[1]) is None):
        return False
    if name in _NO_OPERANDS and not all(word.startswith(_NO_OPERANDS[name]) for word in rest):
        return False
    given = (word for word in rest if word.startswith("-") and word != "-")
    return all(option.match(word) or _LONG.match(word) for word in given)
