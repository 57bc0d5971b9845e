"""The report of a backtest for people: tables, for the terminal and as Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.contracts import GRAVITY
from stream.events import counted
from stream.offline.call_rows import OTHERS

MANY = 50
"""Rows of a table in Markdown."""
STATES = ("quiet", "closed", "watch", "alert", "contained")
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029`|]")


class Shown(NamedTuple):
    """A table: `texts` are the columns that hold no numbers, `below` is said after it."""

    title: str
    columns: Sequence[str]
    texts: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: str = ""


def tables(document: Mapping[str, Any], most: int) -> Iterator[Shown]:
    """The report's tables, each with at most so many rows."""
    yield _combinations(document)
    yield _verdicts(document)
    for number, candidate in enumerate(document["candidates"], 1):
        yield _candidate(number, candidate)
        if candidate["labels"] is not None:
            yield _labels(number, candidate["labels"])
    yield _by_name("tenant", document["tenants"], most, ("sessions",))
    yield _by_name("tool", document["tools"], most, ("calls",))
    for number, candidate in enumerate(document["candidates"], 1):
        if candidate["flips"]:
            yield _flips(number, candidate, most)
    if document["limits"]:
        yield _limits(document["limits"])


def _name(number: int) -> str:
    return "base" if number == 0 else f"candidate {number}"


def _combinations(document: Mapping[str, Any]) -> Shown:
    rows = [
        [
            _name(number),
            each["release"],
            each["policy"],
            _figure(each["alerts_a_day"]),
            _figure(each["revocations_a_day"]),
        ]
        for number, each in enumerate(document["combinations"])
    ]
    calls, sessions, days = (counted(document[f"{what}s"], what) for what in ("call", "session", "day"))
    told = f"{calls} of {sessions} on {days}"
    torn = f"; {document['not_whole']:,} sessions are not whole" if document["not_whole"] else ""
    refused = sum(document["refused"].values())
    below = f"{told}{torn}; {refused:,} records were put aside" if refused else f"{told}{torn}"
    return Shown(
        "what was compared",
        ("", "release", "policy", "alerts a day", "revocations a day"),
        ("", "release", "policy"),
        rows,
        below,
    )


def _verdicts(document: Mapping[str, Any]) -> Shown:
    rows = []
    for number, each in enumerate(document["combinations"]):
        cases = ", ".join(f"{state} {each['cases'][state]:,}" for state in STATES if each["cases"].get(state))
        rows.append([_name(number), *(f"{each['verdicts'].get(verdict, 0):,}" for verdict in GRAVITY), cases])
    return Shown(
        "sessions by the gravest verdict and the state that their case reached",
        ("", *GRAVITY, "case"),
        ("", "case"),
        rows,
    )


def _candidate(number: int, candidate: Mapping[str, Any]) -> Shown:
    rows = [
        ["graver verdict", f"{candidate['graver']:,}"],
        ["milder verdict", f"{candidate['milder']:,}"],
        ["newly alerted, denied or revoked", f"{candidate['newly_flagged']:,}"],
        ["no longer alerted, denied or revoked", f"{candidate['lost']:,}"],
        ["case in another state", f"{candidate['case_changed']:,}"],
        *([move, f"{count:,}"] for move, count in candidate["moves"].items()),
    ]
    return Shown(f"sessions that change under candidate {number}", ("", "sessions"), ("",), rows)


_LABELLED = {
    "benign": "labelled benign",
    "newly_alerted": "... newly alerted, denied or revoked",
    "no_longer_alerted": "... no longer",
    "newly_interrupted": "... newly denied or revoked",
    "no_longer_interrupted": "... no longer",
    "hijacked": "labelled hijacked",
    "newly_caught": "... newly alerted, denied or revoked",
    "newly_missed": "... no longer",
    "others": "labelled otherwise",
}


def _labels(number: int, labels: Mapping[str, int]) -> Shown:
    rows = [[text, f"{labels[name]:,}"] for name, text in _LABELLED.items()]
    return Shown(f"labelled sessions under candidate {number}", ("", "sessions"), ("",), rows)


def _by_name(what: str, rows_by_name: Mapping[str, Any], most: int, counts: Sequence[str]) -> Shown:
    """Those first where most changes."""
    ordered = sorted(
        rows_by_name.items(),
        key=lambda item: (
            -sum(item[1]["changed"]),
            -max(item[1]["alerts_a_day"] + item[1]["revocations_a_day"]),
            item[0] == OTHERS,
            item[0],
        ),
    )
    rows = [
        [
            name,
            *(f"{row[each]:,}" for each in counts),
            _rates(row["alerts_a_day"]),
            _rates(row["revocations_a_day"]),
            ", ".join(f"{n:,}" for n in row["changed"]),
        ]
        for name, row in ordered[:most]
    ]
    below = f"and {len(ordered) - most:,} more, in --json" if len(ordered) > most else ""
    columns = (what, *counts, "alerts a day", "revocations a day", "changed sessions")
    return Shown(f"by {what}, base to candidates", columns, (what,), rows, below)


def _flips(number: int, candidate: Mapping[str, Any], most: int) -> Shown:
    rows = []
    for flip in candidate["flips"][:most]:
        parted = flip["parted"]
        where = f"{parted['tool']} (call {parted['call_seq']})" if parted is not None else ""
        rows.append(
            [
                f"{flip['tenant']}/{flip['session_id']}",
                where,
                _reached(flip["before"], flip["after"]),
                "; ".join(parted["because"]) if parted is not None else _without_call(flip),
            ]
        )
    left = candidate["changed"] - len(rows)
    below = f"and {left:,} more (--flips says how many --json holds)" if left else ""
    columns = ("session", "first parts at", "base to candidate", "since")
    return Shown(
        f"changed sessions, the gravest changes first: candidate {number}", columns, columns, rows, below
    )


def _reached(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["verdict"] != after["verdict"]:
        return f"{before['verdict']} to {after['verdict']}"
    return f"case {before['case']} to {after['case']}"


def _without_call(flip: Mapping[str, Any]) -> str:
    fell = flip["after"]["fell_with"] or flip["before"]["fell_with"]
    return (
        f"it fell with {fell}" if fell else "no call of its own: a second opinion, or calls before the range"
    )


def _limits(limits: Sequence[Mapping[str, Any]]) -> Shown:
    rows = [
        [
            f"candidate {each['candidate']}",
            each["name"],
            _figure(each["most"]),
            _figure(each["found"]),
            "holds" if each["holds"] else "PASSED",
        ]
        for each in limits
    ]
    return Shown("limits", ("", "limit", "at most", "found", "holds"), ("", "limit", "holds"), rows)


def _figure(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _rates(values: Sequence[float]) -> str:
    return " to ".join(map(_figure, values))


def page(document: Mapping[str, Any]) -> str:
    """The report as Markdown. What producers named stands as code, in which nothing is a link, a mention or markup."""
    broken = [each for each in document["limits"] if not each["holds"]]
    changed = ", ".join(f"{each['verdict_changed']:,}" for each in document["candidates"])
    lines = [f"## Backtest: {changed} of {document['sessions']:,} sessions change verdict", ""]
    if document["limits"]:
        passed = "; ".join(
            f"{each['name']} {_figure(each['found'])}, at most {_figure(each['most'])}" for each in broken
        )
        lines += [f"**Limits passed: {passed}**" if broken else "All limits hold.", ""]
    for made in tables(document, MANY):
        lines += [f"### {made.title[0].upper()}{made.title[1:]}", ""]
        lines.append(f"| {' | '.join(made.columns)} |")
        lines.append(f"| {' | '.join('---' if name in made.texts else '---:' for name in made.columns)} |")
        for row in made.rows:
            cells = (
                _code(cell) if name in made.texts and name else cell
                for name, cell in zip(made.columns, row, strict=True)
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *([made.below, ""] if made.below else [])]
    return "\n".join(lines)


def _code(text: str) -> str:
    """A text of anybody's as Markdown shows it letter by letter, on one line."""
    shown = _UNPRINTED.sub(" ", text)[:300].strip()
    return f"`{shown}`" if shown else ""
