"""A month of made-up work of two tenants, with labels: what notebooks and trials run on where there is no traffic of one's own.

Sessions are written tasks that no bundled model has learnt from. ``acme`` works alike all month. ``globex`` gets other tools, for
other work, from `NEW_DAY` on. ``python -m stream.offline.month FOLDER`` writes ``month.jsonl`` and ``month-labels.jsonl`` there.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from models.contracts import TENANT_SOURCE, Label
from models.training.scenarios import written_tasks
from stream.events import DECISIONS, Record, dumps
from stream.offline.files import plain_record
from stream.offline.labels import store
from stream.offline.recorded import events_of
from stream.offline.replay import replay

DAYS, NEW_DAY = 30, 21
ACME = ("q_clubfinance", "q_concierge", "wn_govforms", "wn_mediaroom", "xf_claimsdesk", "yb_mutualfund")
GLOBEX = ("q_transit", "wn_researchlib", "xf_apronops", "ya_bloodbank", "yd_smartfarm")
LATER = ("xf_socdesk", "ya_gitpages", "yc_codeagent")
"""Catalogues of tools: of either tenant, and those that ``globex`` works with later."""
HIJACKED = 0.06
"""Share of the sessions."""
VARIANTS = {
    "benign": ("calm", "delegated", "read"),
    "attempted": ("ignored",),
    "hijacked": ("hijacked", "beyond"),
}


class Month(NamedTuple):
    """Its log and what is known of it.

    Attributes
    ----------
    records : events as records of a file, in order of time
    labels : one for each session
    sessions : the same as recorded sessions of own traffic, for training; each with its ``day``, from 0
    tools : catalogues that these name
    """

    records: list[Record]
    labels: list[Label]
    sessions: list[dict[str, Any]]
    tools: dict[str, list[dict[str, Any]]]


def month(sessions_a_day: int = 8, seed: int = 1) -> Month:
    """The month that a seed gives; the same on every machine."""
    draws = random.Random(f"month|{seed}")
    by_work = _by_work(seed)
    tools = written_tasks.catalogues()
    sessions = [
        _session(draws, by_work, day, number) for day in range(DAYS) for number in range(sessions_a_day)
    ]
    events = sorted(
        (event for session in sessions for event in _events(session, tools[session["tools_ref"]])),
        key=lambda event: (event["time"], event["session_id"], event["seq"]),
    )
    records = [plain_record(dumps(event), event["session_id"], place) for place, event in enumerate(events)]
    return Month(records, [_label(session) for session in sessions], sessions, tools)


def decisions(judge: Any, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What a judge decides of a log, in its order."""
    return [
        orjson.loads(output.value)
        for output in replay(((record, None) for record in records), judge)
        if output.topic == DECISIONS
    ]


def _by_work(seed: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Written sessions by catalogue and label."""
    labels = {variant: label for label, variants in VARIANTS.items() for variant in variants}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for session in written_tasks.sessions(seed, authors=written_tasks.REPORT):
        if label := labels.get(session["variant"]):
            found.setdefault((session["suite"], label), []).append(session)
    return found


def _session(
    draws: random.Random, by_work: dict[tuple[str, str], list[dict[str, Any]]], day: int, number: int
) -> dict[str, Any]:
    tenant = draws.choice(("acme", "globex"))
    works = ACME if tenant == "acme" else LATER if day >= NEW_DAY else GLOBEX
    label = draws.choices(("hijacked", "attempted", "benign"), (HIJACKED, 0.1, 0.84))[0]
    work = draws.choice(works)
    written = draws.choice(by_work[work, label])
    return {
        **written,
        "session_id": f"{tenant}-{day:02}-{number:02}",
        "source": f"{TENANT_SOURCE}{tenant}",
        "suite": work.partition("_")[2],
        "domain": f"{TENANT_SOURCE}{tenant}",
        "label": label,
        "first_bad_seq": written["first_bad_seq"] if label == "hijacked" else None,
        "variant": None,
        "origin": None,
        "day": day,
        "minute": draws.randrange(8 * 60, 18 * 60),
    }


def _events(session: dict[str, Any], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The session's events on its day and from its minute on, of its tenant."""
    later = timedelta(days=session["day"], minutes=session["minute"])
    events = events_of(session, tools)
    for event in events:
        event["time"] = _moved(event["time"], later)
        event["tenant"] = session["source"].removeprefix(TENANT_SOURCE)
    for credential in events[0]["credentials"]:
        credential |= {name: _moved(credential[name], later) for name in ("issued", "expires")}
    events[0]["agent"] = {**events[0].get("agent", {}), "id": session["suite"]}
    return events


def _moved(text: str, later: timedelta) -> str:
    moment = datetime.fromisoformat(text) + later
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z"


def _label(session: dict[str, Any]) -> Label:
    told = {"call_seq": session["first_bad_seq"]} if session["label"] == "hijacked" else {}
    return Label(
        tenant=session["source"].removeprefix(TENANT_SOURCE),
        session_id=session["session_id"],
        label=session["label"],
        whence="dataset",
        who="month",
        **told,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the month's events, as ``driftline send`` takes them, and its labels."""
    parser = argparse.ArgumentParser(prog="python -m stream.offline.month", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; it is made where it is missing")
    parser.add_argument("--sessions-a-day", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    made = month(options.sessions_a_day, options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    events = b"".join((record.value or b"") + b"\n" for record in made.records)
    (options.folder / "month.jsonl").write_bytes(events)
    store.write(made.labels, options.folder / "month-labels.jsonl")
    sys.stderr.write(f"{len(made.sessions)} sessions, {len(made.records)} events in {options.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
