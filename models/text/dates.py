"""Dates and times of day in text, each in one spelling however they were written.

A user says "May 1st", a tool wants ``2024-05-01 09:30``: the same day, and no other day of that year. So the parts of a
date are no words of their own: the ``13`` of a time stamp would otherwise explain a file with that number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from models.lexicons.loader import lexicon

_LISTED = lexicon("dates")
_NAMES = _LISTED.ordered("months")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_MONTHS |= {longer: _MONTHS[name] for longer, name in _LISTED.stands_for("longer_months").items()}
_HALVES = {"am": 0, "a.m": 0, "pm": 12, "p.m": 12}
_SPELLED = _MONTHS.keys() | _HALVES.keys()
_AROUND = ".,;:!?()[]{}<>\"'*"

_REACH = 7
"""Pieces of a text before and after the name of a month that may belong to its dates: "between the 1st and the 5th of"."""
_FILLERS = _LISTED.words("fillers")
_STOPS = ".!?"
_LINKS = _LISTED.words("links")
_DAYS = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?(?:[-–—](\d{1,2})(?:st|nd|rd|th)?)?")
_YEAR = re.compile(r"[12]\d{3}")
_STAMP = re.compile(
    r"(?:(?<![\w./:-])|(?<=\d:\d\d-)|(?<=\d[ap]m-))(?:"
    r"(?P<year>\d{4})-(?P<month>\d\d?)-(?P<day>\d\d?)(?:t(?P<at>\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:z|[+-]\d\d:?\d\d)?)?"
    r"|(?P<day_first>\d\d?)\.(?P<then_month>\d\d?)\.(?P<then_year>\d{4})"
    r"|(?P<time>\d\d?:\d\d)(?::\d\d(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?|z|\+\d\d:?\d\d)?(?P<half>[ap]m)?"
    r"|(?P<hour>\d\d?)(?P<hour_half>[ap]m)"
    r")(?![\w:]|\.\d)"
)
_CLOCK = re.compile(r"(\d\d?)(?::(\d\d)(?::\d\d)?)?")


def stamps_in(low: str) -> tuple[str, list[str]]:
    """A canonical text without the dates and times in digits, and these as tokens.

    >>> stamps_in("from 2024-05-01t09:30 to 5.5.2024, 2:15pm")
    ('from   to  ,  ', ['20240501', 'may01', 't0930', '20240505', 'may05', 't1415'])
    """
    every: list[str] = []

    def taken(match: re.Match[str]) -> str:
        part = match.groupdict()
        year, month, day = (part["year"], part["month"], part["day"])
        if part["then_year"]:
            year, month, day = (part["then_year"], part["then_month"], part["day_first"])
        tokens = _date(_year([year]), int(month), int(day)) if month and day else []
        clock = part["at"] or part["time"] or part["hour"]
        if clock:
            tokens += _time(clock, part["half"] or part["hour_half"])
        if not tokens:
            return match[0]
        every.extend(tokens)
        return " "

    return _STAMP.sub(taken, low), every


def spells(piece: str) -> bool:
    """Whether a piece of canonical text between white space may be part of a date or time over several: see `spelled_at`."""
    return piece.strip(_AROUND) in _SPELLED


def spelled_in(pieces: Sequence[str]) -> list[str]:
    """Tokens of the dates and times that stand in several pieces of canonical text.

    >>> spelled_in("on the 1st of may, or may 5 2024 at 2:15 p.m. sharp".split())
    ['may01', '20240505', 'may05', 't1415']
    """
    spelling = [at for at, piece in enumerate(pieces) if piece.strip(_AROUND) in _SPELLED]
    return [token for at in spelling for token in spelled_at(pieces, at)]


def spelled_at(pieces: Sequence[str], at: int) -> list[str]:
    """Tokens of the dates or the time spelled around piece `at`, of which `spells` holds, up to `_REACH` pieces away.

    Of a range both ends: a day without a month of its own has the other end's, one without a year the other end's, but
    for the turn of the year.

    >>> spelled_at("the 1st to the 5th of may 2024".split(), 6)
    ['20240501', 'may01', '20240505', 'may05']
    >>> spelled_at("april 30 to may 3 2024".split(), 0), spelled_at("dec 28 to jan 3 2025".split(), 0)
    (['20240430', 'apr30'], ['20241228', 'dec28'])
    """
    near = [piece.strip(_AROUND) for piece in pieces[max(0, at - _REACH) : at]]
    word, *after = (piece.strip(_AROUND) for piece in pieces[at : at + _REACH + 1])
    if word in _HALVES:
        return _time(near[-1], word) if near else []
    month = _MONTHS[word]
    before = [piece for piece in near if piece not in _FILLERS]
    links = _LINKS | {"and"} if "between" in (*before[-1:], *before[-2:-1], *before[-4:-3]) else _LINKS
    days = _days(after[0]) if after else []
    if len(days) == 2 and before and _days(before[-1]) and _year(after[1:]) is None:
        days = []  # "5 May 2-4 pm": its day stands before the month
    if days:
        earlier, rest, goes_on = before, after[1:], pieces[at + 1][-1] not in _STOPS
    else:
        days, earlier, rest, goes_on = _days_until(before, links), before[:-1], after, True
    if not days:
        return []
    year = _year(rest)
    if rest and rest[0] in links and goes_on:
        beyond = [piece for piece in rest[1:] if piece not in _FILLERS]
        other = _month(beyond[:2])
        if other is not None:
            year = _year(beyond[2:], amounts=True)
            year = year - 1 if year is not None and other < month else year
        elif beyond and _days(beyond[0]) and not _HALVES.keys() & set(beyond[1:2]):
            days, year = [*days, *_days(beyond[0])], _year(beyond[1:], amounts=True)
    if year is None and len(earlier) > 3 and earlier[-1] in links:
        other, year = _month(earlier[-4:-2]), _year(earlier[-2:])
        year = year + 1 if year is not None and other is not None and other > month else year
    return [token for day in days for token in _date(year, month, day)]


def _days(piece: str) -> list[int]:
    """The day that a piece names, or the two days of a range."""
    days = _DAYS.fullmatch(piece)
    return [int(day) for day in days.groups() if day] if days else []


def _days_until(before: Sequence[str], links: Collection[str]) -> list[int]:
    """The days right before a month: "5", "5th", "5-7", "1st to 5th"."""
    days = _days(before[-1]) if before else []
    ranges = len(before) > 2 and before[-2] in links and (len(before) == 3 or before[-4] not in _MONTHS)
    return [*_days(before[-3]), *days] if days and ranges else days


def _month(pieces: Sequence[str]) -> int | None:
    """The first month that they name."""
    return next((_MONTHS[piece] for piece in pieces if piece in _MONTHS), None)


def _year(pieces: Sequence[str], *, amounts: bool = False) -> int | None:
    """The year that the first of them names; where `amounts` may stand as well, one of our time."""
    year = int(pieces[0]) if pieces and _YEAR.fullmatch(pieces[0]) else None
    return None if amounts and year is not None and not 1900 <= year < 2100 else year


def _date(year: int | None, month: int, day: int) -> list[str]:
    """The day by itself, for who does not name the year, and before it with the year."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return []
    alone = f"{_NAMES[month - 1]}{day:02}"
    return [f"{year}{month:02}{day:02}", alone] if year is not None else [alone]


def _time(clock: str, half: str | None) -> list[str]:
    figures = _CLOCK.fullmatch(clock)
    if figures is None:
        return []
    hour, minute = int(figures[1]), int(figures[2] or 0)
    if half:
        hour = hour % 12 + _HALVES[half]
    return [f"t{hour:02}{minute:02}"] if hour < 24 and minute < 60 else []
