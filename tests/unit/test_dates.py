"""Dates and times of day: one spelling, and their parts explain nothing else."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evidence.provenance import leaf_tokens, origin
from models.text.dates import spelled_in, spells, stamps_in
from models.text.fingerprints import prints_of
from models.text.index import INTENT, Index
from models.text.tokens import canonical, tokens

KEY = b"key"


def told(text: str) -> set[str]:
    low = canonical(text)
    return {*stamps_in(low)[1], *spelled_in(low.split())}


SPELLINGS = (
    "{0:%Y-%m-%d}",
    "{0:%d.%m.%Y}",
    "{0:%B} {0.day}, {0.year}",
    "{0:%b}. {0.day}th {0.year}",
    "the {0.day}st of {0:%B} {0.year}",
    "({0.day} {0:%b} {0.year})",
    "{0:%Y-%m-%d}T10:00:00.000Z",
)


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)))
def test_a_day_is_the_same_however_it_is_written(day: datetime.date) -> None:
    wanted = {day.strftime("%Y%m%d"), day.strftime("%b%d").lower()}
    for spelling in SPELLINGS:
        assert told(spelling.format(day)) - {"t1000"} == wanted, spelling


RANGES = (
    "from {0:%B} {0.day} to {1.day}, {1.year}",
    "{0:%b} {0.day}-{1.day} {1.year}",
    "from the {0.day}st to the {1.day}th of {0:%B} {1.year}",
    "({0.day} - {1.day} {0:%b} {1.year})",
    "between {0:%B} {0.day} and {1.day}, {1.year}",
    "between the {0.day}st and the {1.day}th of {0:%B}, {1.year}",
    "{0.day}th {0:%B} through the {1.day}th, {1.year}",
)
ACROSS = (
    "from {0:%B} {0.day}th to {1:%B} {1.day}th {1.year}",
    "{0.day} {0:%b} until {1.day} {1:%b} {1.year}",
    "the {0.day}st of {0:%B} to the {1.day}th of {1:%B}, {1.year}",
    "between {0:%B} {0.day} and {1:%B} {1.day}, {1.year}",
)


TWO_YEARS = ("{0:%B} {0.day}, {0.year} to {1:%B} {1.day}", "{0.day} {0:%b} {0.year} until {1.day} {1:%b}")


def both(first: datetime.date, last: datetime.date) -> set[str]:
    return {spelled for day in (first, last) for spelled in (f"{day:%Y%m%d}", f"{day:%b%d}".lower())}


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)), st.integers(1, 31))
def test_a_range_within_a_month_is_its_two_days(first: datetime.date, day: int) -> None:
    last = first.replace(day=min(day, 28))
    for spelling in RANGES:
        assert told(spelling.format(first, last)) == both(first, last), spelling


@given(st.dates(datetime.date(1901, 1, 1), datetime.date(2098, 12, 31)), st.integers(1, 12))
def test_a_range_across_months_has_the_year_of_either_end(first: datetime.date, month: int) -> None:
    turns = month < first.month
    last = first.replace(month=month, day=min(first.day, 28), year=first.year + turns)
    for spelling in (*ACROSS, *TWO_YEARS):
        assert told(spelling.format(first, last)) == both(first, last), spelling


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("may 30 to june 2", {"may30", "jun02"}),
        ("30 may to 2 june", {"may30", "jun02"}),
        ("on may 5 and 10 people", {"may05"}),
        ("between hotels, on may 5 and 10 people", {"may05"}),
        ("on 5 may 2-4 pm", {"may05"}),
        ("on may 5 until 7 pm", {"may05", "t1900"}),
        ("on may 13th - 3 pm", {"may13", "t1500"}),
        ("from may 1 to 5, 1200 eur", {"may01", "may05"}),
        ("may 5. to 9 of them", {"may05"}),
        ("may 5, 2024 to may 7, 2025", {"20240505", "may05", "20250507", "may07"}),
    ],
)
def test_an_end_keeps_its_own_month_and_year(text: str, dates: set[str]) -> None:
    assert told(text) == dates


@given(st.times())
def test_a_time_of_day_is_the_same_however_it_is_written(time: datetime.time) -> None:
    half = "am" if time.hour < 12 else "p.m."
    assert told(f"{time:%H:%M}") == told(f"at {time:%H:%M:%S}") == {f"t{time:%H%M}"}
    # By itself "2:15" may be either half, so that it stands beside the other reading.
    assert f"t{time:%H%M}" in told(f"{time.hour % 12 or 12}:{time:%M} {half}")
    assert told(f"{time.hour % 12 or 12}:{time:%M}{half[0]}m") == {f"t{time:%H%M}"}


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("09:00-10:30", {"t0900", "t1030"}),
        ("9:00am-5:00pm", {"t0900", "t1700"}),
        ("09:30Z", {"t0930"}),
        ("09:30+02:00", {"t0930"}),
        ("09:30:00-05:00", {"t0930"}),
        ("2024-05-01 09:30:00+00:00", {"20240501", "may01", "t0930"}),
    ],
)
def test_a_range_is_two_times_and_an_offset_is_none(text: str, times: set[str]) -> None:
    assert told(text) == times


@pytest.mark.parametrize(
    "text",
    [
        "2024-13-05",
        "2024-05-32",
        "version 1.2.2024.5",
        "/srv/2024-05-01",
        "report-2024-05-01.pdf",
        "99:10",
        "25:00",
        "may I",
        "in May",
        "1 of 5",
        "I am 5",
    ],
)
def test_what_is_neither(text: str) -> None:
    assert not told(text)


@given(st.text(max_size=60))
def test_any_text_is_read_without_error_and_keeps_its_other_words(text: str) -> None:
    low = canonical(text)
    rest, found = stamps_in(low)
    assert found or rest == low
    told(text)


def test_what_may_go_on_in_the_next_piece_is_known_by_itself() -> None:
    assert all(map(spells, ["may", "may,", "(sept.", "december", "pm", "a.m."]))
    assert not any(map(spells, ["maybe", "1st", "2024", "at", ""]))


def test_a_part_of_a_time_stamp_explains_no_number() -> None:
    index = Index()
    index.add(prints_of("sent 2024-05-13 13:00:00", KEY), 3, prose=False, limit=1000)
    assert origin(leaf_tokens("13", KEY), index, (), Index(), KEY).nowhere == 2


def test_the_users_day_explains_a_date_and_no_other_of_its_year() -> None:
    index = Index()
    index.add(
        prints_of("Book me a room from May 1st to May 5th, 2024, at 2 p.m.", KEY),
        INTENT,
        prose=False,
        limit=1000,
    )

    def share(value: str) -> float:
        found = origin(leaf_tokens(value, KEY), index, (), Index(), KEY)
        return found.intent / found.total

    assert share("2024-05-05 14:00") == 1.0
    assert share("2024-05-01") >= 5 / 13
    assert share("2024-05-30") == share("09:00") == 0.0


def test_tokens_of_a_date_are_identifiers_and_no_addresses() -> None:
    assert [t[:3] for t in tokens("2024-05-01")] == [("20240501", True, False), ("may01", True, False)]
