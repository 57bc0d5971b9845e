"""Figures: kept in ``build/bench.json``, shown as tables, and written into the documents between marks."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from stream.events import CORE
from stream.offline.files import name_of

ROOT = Path(__file__).parents[1]
FILE = ROOT / "build" / "bench.json"
console = Console(width=120)
BUSY = round(os.getloadavg()[0], 1)
"""Load of the machine before the benchmark itself added to it: above 1, others were at work, and times mislead."""


def merge(section: str, found: Any) -> None:
    """Put `found` under `section` of ``build/bench.json``, with its core, day and load; other sections stay."""
    report = read()
    report["python"] = platform.python_version()
    report["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    report[section] = found
    report.setdefault("runs", {})[section] = {"core": CORE, "date": today(), "load_before": BUSY}
    write(report)


def today() -> str:
    """The day, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def measured_by(command: str, run: Mapping[str, Any]) -> str:
    """What stands under a table: how to measure it alone, and of which core, day and load the figures are.

    >>> measured_by("make soak", {"core": "30", "date": "2026-11-30", "load_before": 0.4})
    '`make soak`; core 30, 2026-11-30; load of the machine before it: 0.4'
    """
    return (
        f"`{command}`; core {run['core']}, {run['date']}; load of the machine before it: {run['load_before']}"
    )


def write(report: Mapping[str, Any]) -> None:
    """Make `report` the content of ``build/bench.json``."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def read() -> dict[str, Any]:
    """The report so far; one that does not name the core of each section counts as none."""
    try:
        report = dict(json.loads(FILE.read_bytes()))
    except (OSError, ValueError):
        return {}
    return report if "runs" in report else {}


def recorded_files() -> list[Path]:
    """The recorded sessions that ``DRIFTLINE_DATA`` names, the demo's apart; ends the program where there are none."""
    data = os.environ.get("DRIFTLINE_DATA")
    if not data:
        sys.exit("NOT RUN: DRIFTLINE_DATA is not set; it must name the directory of recorded sessions")
    paths = [path for path in sorted(Path(data).glob("*.jsonl.gz")) if name_of(path) != "demo"]
    if not paths:
        sys.exit(f"no *.jsonl.gz in {data}: DRIFTLINE_DATA must name the recorded sessions")
    return paths


def keep(path: Path, report: Mapping[str, Any], *, trial: bool = False) -> None:
    """Leave a report at `path`; that of a trial beside it, under a name of its own."""
    path.parent.mkdir(exist_ok=True)
    kept = path.with_stem(f"{path.stem}-trial") if trial else path
    kept.write_text(json.dumps(report, indent=1), encoding="utf-8")


def publish(
    figures: Path, report: Mapping[str, Any], page: Path, tables: Mapping[str, str], *, docs: bool
) -> None:
    """Leave a report at `figures`, print its tables by their marks, and with `docs` write them into a page."""
    figures.parent.mkdir(exist_ok=True)
    figures.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for mark, table in tables.items():
        print(table)
        if docs:
            write_between(page, mark, table)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and greatest of repeated measurements."""
    found = list(values)
    return {"median": statistics.median(found), "min": min(found), "max": max(found), "n": len(found)}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of sorted `ordered` does not exceed (nearest rank).

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    return ordered[max(0, min(len(ordered) - 1, -(-int(share * len(ordered) * 1000) // 1000) - 1))]


def of_run(began: float) -> dict[str, Any]:
    """What a report says of its run, which `began` at that monotonic time: its minutes, the machine, the day."""
    return {
        "minutes": (time.monotonic() - began) / 60,
        "machine": f"{os.cpu_count()} cores",
        "date": today(),
    }


def latencies(seconds: Iterable[float]) -> dict[str, float]:
    """Percentiles in ms."""
    ordered = sorted(seconds)
    if not ordered:
        return {"n": 0}
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    found = {name: round(1000 * percentile(ordered, share), 2) for name, share in named.items()}
    return {"n": len(ordered), **found, "max": round(1000 * ordered[-1], 2)}


def p99(found: Mapping[str, float]) -> str:
    """Text of the 99th percentile in ms; none of fewer than a hundred samples, where it would be the greatest alone.

    >>> p99({"n": 100, "p99": 12.34}), p99({"n": 99, "p99": 12.34})
    ('12.3', '')
    """
    return cell(found["p99"], 1) if found["n"] >= 100 else ""


def cell(value: Any, digits: int = 0) -> str:
    """Text of a figure: ``median (min..max)`` of a spread, else the number itself."""
    if isinstance(value, Mapping):
        if value["n"] == 1:
            return f"{value['median']:,.{digits}f}"
        return f"{value['median']:,.{digits}f} ({value['min']:,.{digits}f}..{value['max']:,.{digits}f})"
    if isinstance(value, float | int):
        return f"{value:,.{digits}f}"
    return str(value)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; figures to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for n, column in enumerate(columns):
        table.add_column(column, justify="left" if n == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_all(
    tables: Mapping[str, tuple[str, Sequence[str], Sequence[Sequence[str]]]], pages: Sequence[Path]
) -> None:
    """Print every table; of these pages write each into the one that has its marks."""
    for name, (title, columns, rows) in tables.items():
        show(title, columns, rows)
        if pages:
            write_between(page_with(pages, name), name, markdown(columns, rows))


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for a document."""
    head = f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def page_with(pages: Sequence[Path], name: str) -> Path:
    """The one page that has the marks of this name.

    Raises
    ------
    ValueError
        No page has them, or they stand more than once.
    """
    found = [
        page for page in pages for _ in range(page.read_text(encoding="utf-8").count(f"<!-- {name} -->"))
    ]
    if len(found) != 1:
        raise ValueError(f"marks for {name} stand {len(found)} times in {', '.join(map(str, pages))}")
    return found[0]


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a document.

    Raises
    ------
    ValueError
        The document has no such marks.
    """
    old = path.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not marks.search(old):
        raise ValueError(f"{path} has no marks for {name}")
    path.write_text(marks.sub(lambda m: m[1] + text + "\n" + m[2], old), encoding="utf-8")


def rows_between(path: Path, name: str) -> list[list[str]]:
    """The rows of the table that `write_between` wrote last, cells as text; none where there are no marks."""
    block = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", path.read_text(encoding="utf-8"), re.S)
    lines = [line for line in block[1].splitlines() if line.startswith("| ")] if block else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def renewed(old: Sequence[list[str]], new: Sequence[list[str]]) -> list[list[str]]:
    """The old table with each row of that name replaced, and rows of other names behind it.

    >>> renewed([["a", "1"], ["b", "2"]], [["b", "3"], ["c", "4"]])
    [['a', '1'], ['b', '3'], ['c', '4']]
    """
    fresh = {row[0]: row for row in new}
    return [fresh.pop(row[0], row) for row in old] + list(fresh.values())
