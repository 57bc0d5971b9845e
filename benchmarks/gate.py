"""What a call pays for its decision: from the moment it is to run until the client says whether it may.

Agents in one process play generated sessions through `driftline_client`; broker, worker and agents share all cores. Calls
are due at a steady rate, whatever earlier ones wait for, and each counts from when it was *due*. With ``--faults`` the
worker is killed, and the broker, while calls wait: each must be answered, by its decision or by what
silence means, and everything that reached the bus must be judged in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
from driftline_client import ByClass, Client, Denied, Session

from benchmarks import results
from benchmarks.load import RESULT_CHARS
from benchmarks.rig import PARTITIONS, Rig
from stream.events import DECISIONS, EVENTS
from stream.offline import generate
from stream.settings import Settings

RATES: Mapping[float, float] = {1: 30.0, 20: 15.0, 100: 20.0, 1000: 10.0}
"""Calls a second, and for how many seconds."""
FAULT_RATE, FAULT_S, FAULT_AFTER_S = 100.0, 40.0, 8.0
AWAY_S = 5.0
"""How long the broker stays away."""
WAIT_S = 0.5
LEAD_S = 20.0
"""Played before the first call that counts: sessions are declared, the worker meets their catalogues, and a broker that has just started
compiles its code, which takes most of a core."""
BETWEEN_S = 2.0
"""Between two calls of a session, on average: longer than silence lasts, so that a call seldom waits for the one before it."""
POSTURE = ByClass(sensitive_read="allow", sensitive_act="deny", hints=True)
SETTLED_S = 120.0


class Agents:
    """Sessions played through one client; what became of each call, by seconds since the beginning."""

    def __init__(self, client: Client, rate: float, seconds: float, run: str) -> None:
        self._client, self._rate, self._seconds, self._run = client, rate, seconds, run
        self.waited: list[tuple[float, float, str]] = []
        """When each call was due, how long it waited, and its outcome: decided, stopped, open, closed."""
        self.late_s = 0.0
        self.lost = 0
        self._queues: dict[str, asyncio.Queue[tuple[float, Mapping[str, Any]] | None]] = {}

    async def play(self) -> None:
        """Play for the lead and as long as was said; returns once every call was answered."""
        began = time.monotonic()
        tasks = []
        due = began
        for event in self._events():
            if event["type"] == "tool.called":
                due += 1 / self._rate
                if due - began > LEAD_S + self._seconds:
                    break
            while (ahead := due - time.monotonic()) > 0.0005:
                await asyncio.sleep(ahead)
            self.late_s = max(self.late_s, -ahead)
            name = event["session_id"]
            if name not in self._queues:
                self._queues[name] = asyncio.Queue()
                tasks.append(asyncio.create_task(self._session(self._queues[name], began)))
            self._queues[name].put_nowait((due, event))
            if event["type"] == "session.ended":
                self._queues.pop(name).put_nowait(None)
            if event["type"] != "tool.called":
                await asyncio.sleep(0)  # a burst of declarations lets calls be answered between
        for queue in self._queues.values():
            queue.put_nowait(None)
        await asyncio.gather(*tasks)

    def _events(self) -> Iterator[dict[str, Any]]:
        now = datetime.now(UTC)  # credentials that are valid at the moment of the calls
        for turn in count():
            profile = generate.Profile(
                hijacked=0.1, result_chars=RESULT_CHARS, tenant="acme", run=f"{self._run}{turn}"
            )
            yield from generate.sessions(
                turn + 1, 20_000, profile, at_once=max(8, round(self._rate * BETWEEN_S)), start=now
            )

    async def _session(self, queue: asyncio.Queue[Any], began: float) -> None:
        session: Session | None = None
        calls: dict[str, Any] = {}
        while (item := await queue.get()) is not None:
            due, event = item
            kind = event["type"]
            if kind == "session.declared":
                intent = dict(event["intent"])
                session = self._client.session(
                    intent.pop("text"), session_id=event["session_id"], agent=event.get("agent"),
                    tools=event.get("tools"), credentials=event.get("credentials"), **intent,
                )  # fmt: skip
            elif session is None:
                return
            elif kind == "tool.called":
                call = session.call(event["tool"], event["arguments"])
                calls[event["call_id"]] = call
                try:
                    decision = await session.acheck(call)
                    outcome = "open" if decision is None else "decided"
                except Denied as stopped:
                    outcome = "closed" if stopped.decision is None else "stopped"
                now = time.monotonic()
                if due - began > LEAD_S:
                    self.waited.append((due - began - LEAD_S, now - due, outcome))
            elif kind == "tool.returned" and event["call_id"] in calls:
                session.returned(calls.pop(event["call_id"]), event["result"], ok=event["status"] == "ok")
            elif kind == "session.ended":
                session.end(event["reason"])
        if session is not None:
            session.end("the run is over")
            self.lost += session.lost


def played(settings: Settings, rate: float, seconds: float, run: str) -> Agents:
    """One run of agents to its end, with a client of its own."""
    with Client(
        settings.bootstrap, tenant="acme", prefix=settings.prefix, wait_s=WAIT_S, on_silence=POSTURE
    ) as client:
        agents = Agents(client, rate, seconds, run)
        asyncio.run(agents.play())
        client.flush(60)
    return agents


def compare(rig: Rig, rates: Mapping[float, float] = RATES) -> dict[str, Any]:
    """Percentiles of what calls waited at each rate, the worker started once."""
    settings = rig.settings(partitions=PARTITIONS)
    found: dict[str, Any] = {}
    with rig.start("driftline", settings) as program:
        rig.await_members(settings, [program])
        for rate, seconds in rates.items():
            results.console.print(f"[dim]gate: {rate:,.0f} calls/s for {seconds:.0f} s[/]")
            cpu, own, began = program.cpu_s(), time.process_time(), time.monotonic()
            agents = played(settings, rate, seconds, f"r{rate:.0f}-")
            took = time.monotonic() - began
            found[str(round(rate))] = {
                **results.latencies(waited for _, waited, _ in agents.waited),
                "p95": round(1000 * results.percentile(sorted(w for _, w, _ in agents.waited), 0.95), 2),
                "outcomes": dict(Counter(outcome for _, _, outcome in agents.waited)),
                "worker_cores": round((program.cpu_s() - cpu) / took, 2),
                "client_cores": round((time.process_time() - own) / took, 2),
                "late_ms": round(1000 * agents.late_s, 1),
            }
        program.stop()
    return found


def faults(rig: Rig) -> dict[str, Any]:
    """What becomes of calls while the worker, then the broker, is killed and comes back."""
    return {"worker": _fault(rig, "worker"), "broker": _fault(rig, "broker")}


def _fault(rig: Rig, what: str) -> dict[str, Any]:
    settings = rig.settings(partitions=PARTITIONS)
    programs = [rig.start("driftline", settings)]
    try:
        rig.await_members(settings, programs)
        results.console.print(f"[dim]gate: {what} killed at {FAULT_RATE:,.0f} calls/s[/]")

        def breaks() -> None:
            time.sleep(LEAD_S + FAULT_AFTER_S)
            if what == "worker":
                programs[0].process.send_signal(signal.SIGKILL)
                programs[0].process.wait()
                programs.append(rig.start("driftline", settings))
            else:
                (node,) = rig.nodes
                node.kill()
                time.sleep(AWAY_S)
                node.start()

        with ThreadPoolExecutor(1) as pool:
            playing = pool.submit(played, settings, FAULT_RATE, FAULT_S, f"{what}-")
            breaks()  # in this thread: what a thread started is killed when the thread ends
            agents = playing.result()
        n_calls = _calls(rig.values(settings, EVENTS))
        rig.wait(lambda: len(_decided(rig, settings)) >= len(n_calls), programs[-1:], SETTLED_S)
        judged = _decided(rig, settings)
        silent = [due for due, _, outcome in agents.waited if outcome in ("open", "closed")]
        return {
            "calls": len(agents.waited),
            "outcomes": dict(Counter(outcome for _, _, outcome in agents.waited)),
            "silent_s": round(max(silent) - min(silent), 1) if silent else 0.0,
            "longest_ms": round(1000 * max(waited for _, waited, _ in agents.waited), 1),
            "lost_events": agents.lost,
            "on_the_bus": len(n_calls),
            "judged": len(judged & n_calls),
        }
    finally:
        for program in programs:
            program.__exit__(None, None, None)


def _calls(values: Sequence[bytes]) -> set[str]:
    return {
        str(event["call_id"])
        for event in map(orjson.loads, filter(None, values))
        if event["type"] == "tool.called"
    }


def _decided(rig: Rig, settings: Settings) -> set[str]:
    return {str(orjson.loads(value)["call_id"]) for value in rig.values(settings, DECISIONS)}


COLUMNS = (
    "calls/s",
    "n",
    "p50 ms",
    "p95",
    "p99",
    "longest",
    "without a decision in time",
    "cores of the worker",
    "of the client",
)
FAULT_COLUMNS = (
    "killed", "calls", "decided in time", "silence let run", "silence denied", "longest wait ms", "silent for s",
    "events lost", "calls on the bus", "judged in the end",
)  # fmt: skip


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of `compare`."""
    return [
        [
            f"{int(rate):,}",
            f"{each['n']:,}",
            results.cell(each["p50"], 1),
            results.cell(each["p95"], 1),
            results.p99(each),
            results.cell(each["max"], 1),
            f"{sum(each['outcomes'].get(name, 0) for name in ('open', 'closed')):,}",
            results.cell(each["worker_cores"], 2),
            results.cell(each["client_cores"], 2),
        ]
        for rate, each in found.items()
    ]


def fault_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of `faults`."""
    return [
        [
            what,
            f"{each['calls']:,}",
            f"{sum(each['outcomes'].get(name, 0) for name in ('decided', 'stopped')):,}",
            *(f"{each['outcomes'].get(name, 0):,}" for name in ("open", "closed")),
            results.cell(each["longest_ms"], 0),
            results.cell(each["silent_s"], 1),
            *(f"{each[name]:,}" for name in ("lost_events", "on_the_bus", "judged")),
        ]
        for what, each in found.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", action="store_true", help="kill the worker and the broker instead")
    options = parser.parse_args()
    with Rig(pinned=False) as rig:
        if options.faults:
            results.merge("gate_faults", found := faults(rig))
            results.show("While it is killed", FAULT_COLUMNS, fault_rows(found))
        else:
            results.merge("gate", found := compare(rig))
            results.show("A decision before the effect", COLUMNS, rows(found))


if __name__ == "__main__":
    main()
