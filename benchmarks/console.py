"""How quick the console's pages are, and how much memory it takes, by how many sessions it has heard of.

    python -m benchmarks.console [--docs]

Sessions are the samples 01 (quiet) and 19 (a case), judged once and then renamed, a hundred quiet ones to a case, each with all its
records: events, decisions, case, alerts, revocations. Each number of sessions is a process of its own. Pages are asked for over HTTP
on loopback from the process that serves them, one after the other.
"""

from __future__ import annotations

import argparse
import base64
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import orjson
import uvicorn

from benchmarks import results
from stream import bootstrap
from stream.console.guard import Access
from stream.console.index import Index
from stream.console.site import application
from stream.events import ENDS, EVENTS, REVOCATIONS, RISK, Record, case_id_of
from stream.offline import files, replay
from stream.offline.coverage import Coverage
from stream.settings import Settings
from stream.shell.outputs import claims_of

SIZES = (1_000, 10_000, 40_000)
QUIET, DRIFTED = "01-support-refund-lookup", "19-finance-invoice-iban-swap"
QUIET_TO_A_CASE = 100
ASKED = 20
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "console.md"


def sample(name: str, judge_settings: Settings) -> list[Record]:
    """A sample's records as the bus has them."""
    path = ROOT / "stream" / "samples" / f"{name}.jsonl"
    judge, actor = bootstrap.judge(judge_settings, mode="enforce"), bootstrap.actor(judge_settings)
    made = [record._replace(topic=EVENTS) for record, _ in files.read_records(path)]
    outputs = replay.replay(files.read_records(path), judge, actor)
    return made + [Record(o.topic, 0, 0, 0, "append", o.key, o.headers, o.value) for o in outputs]


def renamed(records: list[Record], was: str, number: int, place: int) -> Iterator[Record]:
    """The same records of another session, each at a place and a time of its own."""
    name, case = f"{was}-{number}", case_id_of("acme", was, was)
    now = case_id_of("acme", name, name)
    for record in records:
        value = record.value or b""
        if record.topic in (REVOCATIONS, ENDS, RISK):
            claims = orjson.dumps(claims_of(value)).replace(case.encode(), now.encode())
            value = b".".join((value.split(b".")[0], base64.urlsafe_b64encode(claims).rstrip(b"="), b"c2ln"))
        else:
            value = value.replace(was.encode(), name.encode()).replace(case.encode(), now.encode())
        place += 1
        yield record._replace(offset=place, timestamp_ms=1_780_000_000_000 + place, value=value)


def fill(index: Index, sessions: int, quiet: list[Record], drifted: list[Record]) -> tuple[int, float]:
    """Let an index hear of so many sessions; how many records that were, and the seconds of CPU that they took."""
    n, spent = 0, 0.0
    for number in range(sessions):
        is_case = number % QUIET_TO_A_CASE == 0
        made = list(renamed(*((drifted, DRIFTED[3:]) if is_case else (quiet, QUIET[3:])), number, n))
        began = time.process_time()
        for record in made:
            index.take(record)
        spent += time.process_time() - began
        n += len(made)
    return n, spent


def resident() -> float:
    """MiB of memory that the process has now, garbage apart (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(sessions: int) -> dict[str, float]:
    """One row of the table, in this process."""
    index = Index({EVENTS: None}, coverage=Coverage({EVENTS: None}, 60.0))
    with tempfile.TemporaryDirectory() as scratch:
        configured = Settings(state_dir=Path(scratch))
        samples = sample(QUIET, configured), sample(DRIFTED, configured)
    before = resident()
    n, spent = fill(index, sessions, *samples)
    row = {
        "sessions": float(sessions),
        "records": float(n),
        "held": float(len(index.rows)),
        "rate": n / spent,
        "kept": index.size / 2**20,
        "rss": resident() - before,
    }
    config = uvicorn.Config("", host="127.0.0.1", port=0, lifespan="off", log_config=None)
    socket = config.bind_socket()
    host = f"127.0.0.1:{socket.getsockname()[1]}"
    config.app = application(index, Access({host}))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    case = next(iter(index.cases())).case_id
    pages = {
        "cases": "/",
        "all": "/?show=all",
        "search": "/?show=all&q=refund",
        "session": f"/sessions/{case}",
        "overview": "/overview",
        "coverage": "/coverage",
        "health": "/health",
    }
    with httpx2.Client(base_url=f"http://{host}") as asking:
        for name, path in pages.items():
            times = []
            for _ in range(ASKED):
                began = time.perf_counter()
                asking.get(path).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
            row[name] = max(times)
    server.should_exit = True
    thread.join(10)
    return row


def table(rows: list[dict[str, float]]) -> str:
    """The rows for the page."""
    named = (
        ("sessions heard of", "sessions", "{:,.0f}"),
        ("records read", "records", "{:,.0f}"),
        ("records taken in, a second of CPU", "rate", "{:,.0f}"),
        ("sessions in memory", "held", "{:,.0f}"),
        ("their records, packed, MiB", "kept", "{:,.0f}"),
        ("memory that they took, MiB", "rss", "{:,.0f}"),
        ("cases, ms", "cases", "{:,.0f}"),
        ("all sessions, ms", "all", "{:,.0f}"),
        ("a search over all sessions, ms", "search", "{:,.0f}"),
        ("a session, ms", "session", "{:,.0f}"),
        ("overview, ms", "overview", "{:,.0f}"),
        ("coverage, counted anew, ms", "coverage", "{:,.0f}"),
        ("health, ms", "health", "{:,.0f}"),
    )
    lines = ["| |" + " |" * len(rows), "| --- |" + " ---: |" * len(rows)]
    lines += [
        f"| {text} | " + " | ".join(form.format(row[name]) for row in rows) + " |"
        for text, name, form in named
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure each size in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", action="store_true", help="write the table into docs/console.md")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(orjson.dumps(measured(asked.one)).decode())
        return
    rows = []
    for sessions in SIZES:
        command = [sys.executable, "-m", "benchmarks.console", "--one", str(sessions)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        rows.append(orjson.loads(done.stdout))
    made = table(rows)
    print(made)
    if asked.docs:
        results.write_between(PAGE, "figures", made)


if __name__ == "__main__":
    main()
