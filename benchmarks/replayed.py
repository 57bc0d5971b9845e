"""Revocations that were carried out are put on the topic again: what does the bridge do? ``python -m benchmarks.revocation``.

`TOKENS` signed revocations, each of one lease, are carried out against a server that answers as Vault's documentation says. Then the
same tokens are put on the topic again, and last a bridge of another group, which has no offsets and remembers nothing, reads all of it.
Each turn ends with one revocation more, its mark: orders are begun in the topic's order, so once the mark's outcome is readable nothing
before it is left to begin. Marks are not counted.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import orjson
from aiohttp import web

from benchmarks import results
from benchmarks.bridged import Bus, alive, progress, started_bridge, until
from benchmarks.load import Message, preload
from benchmarks.rig import PARTITIONS, Rig, cpu_s
from stream.events import OUTCOMES, REVOCATIONS
from stream.settings import Settings
from stream.shell.outputs import claims_of
from tests.bridge.rig import TENANT, BridgeProcess, Issuer

TOKENS = 10_000
LIMITS = {"at_once": 64, "per_second": 1000}
"""Of the bridge: the most that it takes. The default is 4 and 20."""
MARKS = ("mark-1", "mark-2", "mark-3")
SETTLE_S = 1.0
"""How long calls and outcomes that should not come are waited for."""
LIMIT_S = 600.0


class Vault(threading.Thread):
    """A server that answers as Vault's documentation says of leases, and counts what it is asked; a context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.calls = 0
        self.url = ""
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Serve until told to stop."""
        runner = self._loop.run_until_complete(self._serve())
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/sys/leases/revoke", self._revoke)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _revoke(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.calls += asked["lease_id"] not in MARKS
        if request.headers.get("X-Vault-Token") != "s3cret" or asked.get("sync") is not True:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        return web.Response(status=204)

    def __enter__(self) -> Self:
        self.start()
        if not self._up.wait(10):
            raise RuntimeError("the server of Vault's contract does not come up")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()


class Heard:
    """Outcomes, the marks' apart."""

    def __init__(self, marks: Sequence[bytes]) -> None:
        self._marks = [claims_of(mark)["jti"] for mark in marks]
        self.marks_told = 0
        self.outcomes = 0
        self.statuses: Counter[str] = Counter()
        self.last_s = 0.0

    def __call__(self, base: str, value: bytes, at: float) -> None:
        told = orjson.loads(value)
        self.last_s = at
        if told["jti"] in self._marks:
            self.marks_told += told["status"] != "requested"
        else:
            self.outcomes += 1
            self.statuses[told["status"]] += 1


class Turns:
    """What the bridge did in each turn."""

    def __init__(self, settings: Settings, vault: Vault, heard: Heard, bus: Bus) -> None:
        self._settings, self._vault, self._heard, self._bus = settings, vault, heard, bus
        self.found: list[dict[str, Any]] = []

    def take(
        self,
        name: str,
        bridge: BridgeProcess,
        put: Sequence[bytes],
        *,
        read: int,
        expected: int,
        began: float,
        cpu: float,
    ) -> None:
        """Put tokens on the topic, the mark as the last, and wait for all that should come, and for what should not."""
        heard, vault = self._heard, self._vault
        calls, outcomes, statuses = vault.calls, heard.outcomes, heard.statuses.copy()
        turn = len(self.found) + 1
        preload(self._settings, [Message(TENANT.encode(), each, None, None) for each in put], REVOCATIONS)
        with progress(name, read) as done:

            def over() -> bool:
                done(heard.outcomes - outcomes if expected else read * (heard.marks_told >= turn))
                return heard.marks_told >= turn and heard.outcomes - outcomes >= expected

            until(over, LIMIT_S, "every outcome is readable", alive(bridge), self._bus.check)
        took = heard.last_s - began
        used = cpu_s(bridge.process.pid) - cpu
        time.sleep(SETTLE_S)
        self.found.append(
            {
                "turn": name,
                "read": read,
                "seconds": took,
                "per_s": read / took,
                "cpu_s": used,
                "calls": vault.calls - calls,
                "outcomes": heard.outcomes - outcomes,
                "statuses": dict(heard.statuses - statuses),
            }
        )
        results.console.print(f"[dim]{name}: {took:.1f} s, {vault.calls - calls:,} calls at the provider[/]")


def replayed(rig: Rig) -> dict[str, Any]:
    """All turns, one after the other."""
    count = int(os.environ.get("TOKENS", TOKENS))
    issuer, settings = Issuer(rig.directory), rig.settings(partitions=PARTITIONS)
    own = rig.directory / "vault-token"
    own.write_text("s3cret", encoding="utf-8")
    marks = [_lease(issuer, mark) for mark in MARKS]
    tokens: list[bytes] = []
    with progress("revocations signed", count) as done:
        for number in range(count):
            tokens.append(_lease(issuer, f"lease-{number}"))
            done(number + 1)
    heard = Heard(marks)
    with Vault() as vault, Bus(settings, [OUTCOMES], heard) as bus:
        part = {"provider": "vault", "url": vault.url, "token_file": str(own)}
        turns = Turns(settings, vault, heard, bus)
        with started_bridge(settings, issuer, rig.directory, "first", "vault", part, LIMITS) as bridge:
            for name, mark, expected in (("first time", marks[0], count), ("put there again", marks[1], 0)):
                began, cpu = time.monotonic(), cpu_s(bridge.process.pid)
                turns.take(name, bridge, [*tokens, mark], read=count, expected=expected, began=began, cpu=cpu)
            bridge.stop()
        other, began = replace(settings, group="another"), time.monotonic()
        with started_bridge(other, issuer, rig.directory, "another", "vault", part, LIMITS) as bridge:
            name = "a fresh bridge, from its start"
            turns.take(name, bridge, [marks[2]], read=2 * count, expected=0, began=began, cpu=0.0)
            bridge.stop()
    return {"tokens": count, "limits": LIMITS, "turns": turns.found}


def repeated(found: dict[str, Any]) -> int:
    """Calls and outcomes of the turns that should have had none."""
    return sum(each["calls"] + each["outcomes"] for each in found["turns"][1:])


def _lease(issuer: Issuer, name: str) -> bytes:
    return issuer.revocation(f"s-{name}", [{"broker": "vault", "kind": "lease", "value": name}])


COLUMNS = ("revocations", "read", "s", "revocations/s", "bridge CPU s", "calls at the provider", "outcomes")


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table."""
    return [
        [
            each["turn"],
            f"{each['read']:,}",
            results.cell(each["seconds"], 1),
            results.cell(each["per_s"]),
            results.cell(each["cpu_s"], 1),
            f"{each['calls']:,}",
            f"{each['outcomes']:,}",
        ]
        for each in found["turns"]
    ]
