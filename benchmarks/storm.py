"""A storm of false positives, and how many credentials the circuit breaker saves: ``python -m benchmarks.storm``.

The recorded sessions of tau-bench retail, none of them attacked, are judged in enforce mode under a policy with a slip, such as
somebody may write who wants to be strict: thresholds near nought, and five signals that deny by themselves and revoke with one family
more. Each session holds a credential of its own, so every one that drift takes is an honest session's. The sessions begin at even
distances within some hours, and are shared out among agents and tenants. What the breaker lets through is read off the signed tokens
that act sends, what it saves off what it holds. Writes the table of docs/policy.md with ``--docs``.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks import results
from models.contracts import Case
from stream import bootstrap
from stream.core.judge import Judge
from stream.events import ALERTS, CASES, EVENTS, HELD, REVOCATIONS, Record, dumps
from stream.offline.files import events_at, load_tools
from stream.offline.lines import documents_in
from stream.offline.replay import replay
from stream.outbound.act import read_case
from stream.outbound.breaker import is_ruled
from stream.outbound.claims import SESSION_REVOKED, credentials_of, taken
from stream.policy import Policy, ThresholdTable
from stream.settings import Settings
from stream.shell.outputs import claims_of

PAGE = results.ROOT / "docs" / "policy.md"
RECORDED = "tau_retail"
DENIES = (
    "intent.not_asked",
    "provenance.foreign_destination",
    "provenance.unexplained_destination",
    "sequence.lured",
    "scope.tool_unknown",
)


class Storm(NamedTuple):
    """Who is struck: agents of each tenant, the hours over which the sessions begin, and the overall budget."""

    tenants: int
    agents: int
    hours: int
    overall: int | None = None


STORMS = (
    Storm(1, 1, 1),
    Storm(1, 10, 1),
    Storm(4, 1, 1),
    Storm(20, 1, 1),
    Storm(20, 1, 1, overall=100),
    Storm(1, 1, 8),
)


class Found(NamedTuple):
    """Credentials of honest sessions: that drift would take, that were revoked all the same, that the breaker saved; and its alerts."""

    doomed: int
    revoked: int
    saved: int
    alerts: int


def slipped(policy: Policy, overall: int | None) -> Policy:
    """The shipped policy with the slip; its budgets of an agent and of a tenant are as shipped."""
    return policy.model_copy(
        update={
            "thresholds": ThresholdTable(watch=0.01, alert=0.02, revoke=0.03),
            "families": policy.families.model_copy(update={"revoke_by_signal": 2}),
            "revocations": policy.revocations.model_copy(update={"overall": overall}),
            "signals": {**policy.signals, **dict.fromkeys(DENIES, "deny")},
        }
    )


def log(recorded: Sequence[Sequence[dict[str, Any]]], storm: Storm) -> Iterator[tuple[Record, int | None]]:
    """The sessions' events in the order of their times."""
    apart = timedelta(hours=storm.hours) / len(recorded)
    moved = (_moved(events, number, apart * number, storm) for number, events in enumerate(recorded))
    for offset, event in enumerate(heapq.merge(*moved, key=lambda event: str(event["time"]))):
        yield Record(EVENTS, 0, offset, -1, "none", event["session_id"].encode(), (), dumps(event)), None


def _moved(
    events: Sequence[dict[str, Any]], number: int, by: timedelta, storm: Storm
) -> Iterator[dict[str, Any]]:
    """A session of the tenant and the agent whose turn it is, begun later."""
    tenant, agent = number % storm.tenants, number // storm.tenants % storm.agents
    for event in events:
        changed = {**event, "tenant": f"tenant-{tenant}", "time": _later(event["time"], by)}
        if event["type"] == "session.declared":
            changed["agent"] = {**event["agent"], "id": f"agent-{agent}"}
            changed["credentials"] = [
                {**each, "issued": _later(each["issued"], by), "expires": _later(each["expires"], by)}
                for each in event["credentials"]
            ]
        yield changed


def _later(time: str, by: timedelta) -> str:
    return (datetime.fromisoformat(time) + by).isoformat(timespec="microseconds")


def measured(
    judge: Judge, settings: Settings, recorded: Sequence[Sequence[dict[str, Any]]], storm: Storm
) -> Found:
    """What a storm does to the credentials."""
    doomed: set[tuple[str, str]] = set()
    revoked: set[tuple[str, str]] = set()
    saved: set[tuple[str, str]] = set()
    alerts = 0
    for output in replay(log(recorded, storm), judge, bootstrap.actor(settings)):
        tenant = output.key.decode()
        if output.topic in (CASES, HELD):
            case = read_case(Record(output.topic, 0, 0, 0, "none", output.key, output.headers, output.value))
            if isinstance(case, Case) and is_ruled(case):
                held = {(tenant, each.value) for each in taken(case)}
                (doomed if output.topic == CASES else saved).update(held)
        elif output.topic == REVOCATIONS:
            claims = claims_of(output.value)
            if claims["events"][SESSION_REVOKED]["driftline_cause"] == "drift":
                revoked |= {(tenant, each.value) for each in credentials_of(claims)}
        elif output.topic == ALERTS:
            alerts += orjson.loads(output.value)["finding_info"]["title"] == "Revocations are held"
    if revoked & saved or revoked | saved != doomed:
        raise AssertionError("a credential was both revoked and held, or neither")
    return Found(len(doomed), len(revoked), len(saved), alerts)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, help="at most so many (default: all)")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    path = next((each for each in results.recorded_files() if each.name.startswith(RECORDED)), None)
    if path is None:
        sys.exit(f"NOT RUN: DRIFTLINE_DATA has no {RECORDED}.jsonl.gz")
    catalogues = load_tools(path)
    recorded = [
        events_at(f"{path}, line {n}", session, catalogues)
        for n, _, session in islice(documents_in(path), options.sessions)
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="driftline-storm-") as folder:
        settings = replace(Settings(), state_dir=Path(folder))
        release = bootstrap.release(settings, mode="enforce")
        for number, storm in enumerate(STORMS, 1):
            print(f"storm {number} of {len(STORMS)}: {storm}", file=sys.stderr)
            policy = slipped(release.policy, storm.overall)
            judge = bootstrap.judge_with(settings, release._replace(policy=policy))
            found = measured(judge, settings, recorded, storm)
            share = f"{100 * found.saved / found.doomed:.0f} %" if found.doomed else "-"
            rows.append(
                [
                    *("none" if n is None else f"{n}" for n in storm),
                    *(f"{n:,}" for n in found[:3]),
                    share,
                    str(found.alerts),
                ]
            )
    columns = [
        "tenants",
        "agents of each",
        "hours",
        "overall budget",
        "credentials that drift would revoke",
        "revoked",
        "saved",
        "saved of all",
        "alerts that revocations are held",
    ]
    results.show(f"A storm of false positives: {len(recorded)} honest sessions", columns, rows)
    if options.docs:
        results.write_between(PAGE, "storm", results.markdown(columns, rows))


if __name__ == "__main__":
    main()
