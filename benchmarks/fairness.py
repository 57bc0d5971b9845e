"""Fairness: what one hot session, or one hot tenant, costs everybody else.

Other sessions go on at a steady rate. A hot *session* of thousands of calls is dumped onto the bus as fast as the
broker takes it: one partition of the input. Those who share its partition wait behind it, in the log's order;
those of other partitions must not, and are given apart. A hot *tenant* sends hijacked sessions at more than twice the
rate of all others, which the judge can still follow though it reads them: every partition of the input, and one
partition of the cases that act reads. What counts there are the others' revocations, from their call and from its
decision on. The same records *at once* are more than a core judges, and everybody waits until they are worked off; *under a quota* of the broker on
the bytes that the tenant's producer may send, at that rate, the broker makes the tenant wait instead.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import Any

from benchmarks import results
from benchmarks.latency import LEAD_S, Reader, call_of, sessions_of
from benchmarks.load import Steady, endless, hot_session, messages, partition_of, preload
from benchmarks.rig import PARTITIONS, Rig
from stream.events import DECISIONS, REVOCATIONS

QUIET_S = 8.0
KINDS = ("session", "tenant", "tenant at once", "tenant under a quota")
RECORDS = 30_000
RATE = 100.0
HOT_RATE = 250.0
SECONDS = 20.0
HOT_CLIENT = "hot"
"""Client id of the hot producer: what a quota goes by on a broker without authentication."""


def flood(
    rig: Rig,
    kind: str,
    size: int = RECORDS,
    rate: float = RATE,
    seconds: float = SECONDS,
    partitions: int = PARTITIONS,
    hot_rate: float = HOT_RATE,
) -> dict[str, Any]:
    """Latencies of the others before and during a hot session of `size` records, or a hot tenant, see `KINDS`.

    The tenant sends ``hot_rate * seconds`` records; the quota is on as many bytes a second as `hot_rate` of them take.
    """
    settings = rig.settings(partitions=partitions)
    both = kind != "session"
    reader = Reader(settings, [DECISIONS, REVOCATIONS] if both else [DECISIONS])
    reader.start()
    source = endless(1, hijacked=0.3 if both else 0.1, at_once=100)
    if both:
        drifting = messages(3, 1_000_000, hijacked=1.0, at_once=100, tenant="hot", run="hot")
        hot = list(islice(drifting, int(hot_rate * seconds)))
    else:
        hot = hot_session(size // 2, "hot")
    if kind == "tenant under a quota":
        rig.limit(HOT_CLIENT, int(hot_rate * sum(len(message.value) for message in hot) / len(hot)))
    with rig.start("driftline", settings, stage="both" if both else "judge") as program:
        rig.await_members(settings, [program])
        if both:
            rig.await_members(settings, [program], "act")
        sender = Steady(settings, source, rate, QUIET_S + seconds)
        sender.start()
        time.sleep(QUIET_S)
        began = time.time()
        if kind == "tenant":
            flooder = Steady(settings, iter(hot), hot_rate, seconds)
            flooder.start()
            flooder.join()
            sent, asked = flooder.sent, len(flooder.due)
        else:
            preload(settings, hot, **{"client.id": HOT_CLIENT})
            sent, asked = len(hot), sum(message.call is not None for message in hot)
        sender.join()
        rig.wait(lambda: reader.first(DECISIONS) >= len(sender.due) + asked, [program], limit_s=180)
        time.sleep(1.0 if both else 0.0)
        program.stop()
    reader.halt.set()
    reader.join()
    last_hot = max(at for at, value in reader.seen[DECISIONS] if call_of(value) not in sender.due)
    found: dict[str, list[float]] = {name: [] for name in _NAMES}
    place = None if both else partition_of(hot[0].key, partitions)
    caused: dict[str, tuple[float, float]] = {}  # session -> when its call was due, when it was decided
    for at, value in reader.seen[DECISIONS]:
        call = call_of(value)
        due = sender.due.get(call)
        if due is None or not began - QUIET_S + LEAD_S <= due <= last_hot:
            continue
        session = call.rsplit(":", 1)[0]
        if b'"verdict":"revoke"' in value:
            caused.setdefault(session, (due, at))
        behind = due >= began and partition_of(session.encode(), partitions) == place
        found["before" if due < began else "same" if behind else "during"].append(at - due)
    for at, value in reader.seen.get(REVOCATIONS, []):
        for session, ended in sessions_of(value):
            if session in caused and not ended:
                due, decided = caused[session]
                when = "before" if due < began else "during"
                found[f"revoked_{when}"].append(at - due)
                found[f"acted_{when}"].append(at - decided)
    return {
        "kind": kind,
        "records": sent,
        "rate": rate,
        "flood_s": last_hot - began,
        **{name: results.latencies(values) for name, values in found.items()},
    }


COLUMNS = ("hot", "records", "flood s", "who waits", "n", "p50 ms", "p99 ms", "max ms")
_NAMES = {
    "before": "others, before",
    "during": "others, during",
    "same": "others in its partition",
    "revoked_before": "others' revocations, before",
    "revoked_during": "others' revocations, during",
    "acted_before": "of it from the decision, before",
    "acted_during": "of it from the decision, during",
}


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of both floods."""
    return [
        [
            one["kind"],
            f"{one['records']:,}",
            results.cell(one["flood_s"], 1),
            label,
            f"{one[name]['n']:,}",
            results.cell(one[name]["p50"], 1),
            results.p99(one[name]),
            results.cell(one[name]["max"], 1),
        ]
        for one in found.values()
        for name, label in _NAMES.items()
        if one.get(name, {}).get("n")
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hot", default=",".join(KINDS), help="which, by commas")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--hot-rate", type=float, default=HOT_RATE, help="events/s of the hot tenant")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    options = parser.parse_args()
    with Rig() as rig:
        found = {
            kind: flood(
                rig,
                kind,
                options.records,
                options.rate,
                options.seconds,
                options.partitions,
                options.hot_rate,
            )
            for kind in options.hot.split(",")
        }
    results.merge("fairness", found)
    results.show("One hot key beside everybody else", COLUMNS, rows(found))


if __name__ == "__main__":
    main()
