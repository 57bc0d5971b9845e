"""A long fuzz run of the core: ``make fuzz N=1000000 SEED=1``.

Sessions of the seeded generator are mutated in structure and in bytes, repeated, reordered, sent under other
tenants, roots and partitions, with forged control records and stamps between them, and judged partition by
partition in batches of random size. What is checked of each batch stands in `Fuzz._check`; the limits are set
so low that they are reached all the time. A part of the log is judged again from the beginning, in batches of
other sizes, and must give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import Any, get_args

import orjson

from models.contracts import QuarantineReason, ReleaseActivated, ToolCalled
from models.errors import ContractError
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import (
    CORE,
    DECISIONS,
    EVENTS,
    QUARANTINE,
    Record,
    dumps,
    murmur2_partition,
    parse,
    rfc3339,
)
from stream.offline import generate
from stream.settings import Settings
from stream.shell.topic_table import HEADROOM_BYTES
from tests.builders import JsonActivations

PARTITIONS = 4
LARGEST = 1_048_576
LIMITS = {
    "open_sessions": 120,
    "open_mib": 1,
    "tombstones": 300,
    "sub_agents": 6,
    "catalogues": 12,
    "idle_minutes": 5.0,
    "tombstone_hours": 0.5,
}
BOUNDS = {
    "open sessions": LIMITS["open_sessions"],
    "weight of open sessions, bytes": int(LIMITS["open_mib"]) << 20,
    "tombstones": LIMITS["tombstones"],
    "catalogues": LIMITS["catalogues"],
    "states, bytes": 6 << 20,
    "ledger, bytes": 4096,
}
"""What a partition may hold in this run; its states: sessions, tombstones of 4.5 KiB, catalogues of 128 KiB."""
PAGE = Path(__file__).parents[1] / "docs" / "security.md"
START_MS = 1_772_442_000_000  # generate.START: 2026-03-02T09:00:00Z
FIELDS = (
    "type", "id", "session_id", "root_session_id", "parent_session_id", "seq", "tenant", "time", "call_id",
    "tool", "arguments", "result", "status", "intent", "tools", "left", "credentials", "credential", "agent", "reason",
    "how", "answer", "by", "known_by", "arguments_seen", "schema_version", "signature", "token",
)  # fmt: skip
KINDS = (
    "session.declared",
    "intent.amended",
    "catalogue.changed",
    "tool.called",
    "call.held",
    "tool.returned",
    "session.ended",
)


def judge() -> Judge:
    """The bundled release with low limits, and activations that a marker in place of a signature opens."""
    bundled = bootstrap.release(Settings(), mode="enforce")
    limits = bundled.policy.limits.model_copy(update=LIMITS)
    bundled = bundled._replace(policy=bundled.policy.model_copy(update={"limits": limits}))
    other = bundled._replace(name="other", policy=bundled.policy.model_copy(update={"mode": "shadow"}))
    made = bootstrap.judge_with(Settings(), bundled, more={"other": other})
    made.deployment = made.deployment._replace(activations=JsonActivations())
    return made


class Generator:
    """Records of a hostile log, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"fuzz/{seed}")
        self.source = generate.sessions(
            seed,
            10**9,
            generate.Profile(hijacked=0.3, unfinished=0.3, result_chars=200),
            at_once=400,
            duplicates=0.02,
        )
        self.clock_ms = START_MS
        self.recent: deque[tuple[bytes | None, bytes | None]] = deque(maxlen=400)
        self.held: list[dict[str, Any]] = []
        self.offsets = [0] * PARTITIONS
        self.epoch = 0
        self.kinds: Counter[str] = Counter()

    def records(self, n: int) -> Iterator[Record]:
        """`n` records in the order of arrival, each with its partition, offset and stamp."""
        ways = (
            (48, "valid", self._valid), (13, "structure", self._structure), (9, "bytes", self._bytes),
            (8, "repeated", self._repeated), (6, "reordered", self._reordered), (6, "forged", self._forged),
            (4, "control", self._control), (1, "extreme", self._extreme), (3, "misplaced", self._valid),
            (2, "garbage", self._garbage), (2, "heavy", self._heavy),
        )  # fmt: skip
        weights = [weight for weight, _, _ in ways]
        for _ in range(n):
            _, name, way = self.rng.choices(ways, weights)[0]
            self.kinds[name] += 1
            key, value = way()
            self.recent.append((key, value))
            yield self._placed(key, value, name == "misplaced")

    def _placed(self, key: bytes | None, value: bytes | None, misplaced: bool) -> Record:
        rng = self.rng
        number = murmur2_partition(key, PARTITIONS) if key is not None else rng.randrange(PARTITIONS)
        if misplaced:
            number = rng.randrange(PARTITIONS)
            key = rng.choice((key, None, b"", b"\xff\xfe", b"k" * 5000))
        self.clock_ms += rng.choice((0, 1, 5, 40, 40, 200))
        if rng.random() < 0.0005:
            self.clock_ms += rng.choice((60_000, 301_000, 1_900_000))
        stamp = self.clock_ms - (rng.randrange(5000) if rng.random() < 0.02 else 0)
        kind = "append"
        if rng.random() < 0.005:  # a log that was stamped otherwise for a while
            stamp, kind = rng.choice(((-1, "none"), (2**62, "create"), (0, "create")))
        headers = ((rng.choice(("reason", "", "x" * 300)), b"\xff\x00"),) if rng.random() < 0.01 else ()
        self.offsets[number] += rng.choice((1, 1, 1, 1, 2))  # compaction and transactions leave gaps
        return Record(EVENTS, number, self.offsets[number], stamp, kind, key, headers, value)

    # ------------------------------------------------------------------ ways to make a value

    def _event(self) -> dict[str, Any]:
        event = next(self.source)
        event["time"] = rfc3339(self.clock_ms - self.rng.randrange(2000))
        return event

    def _sent(self, event: dict[str, Any]) -> tuple[bytes | None, bytes]:
        root = event.get("root_session_id") or event.get("session_id")
        return root.encode(errors="replace") if isinstance(root, str) else None, dumps(event)

    def _valid(self) -> tuple[bytes | None, bytes]:
        return self._sent(self._event())

    def _structure(self) -> tuple[bytes | None, bytes]:
        event = self._event()
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            name = self.rng.choice(FIELDS)
            what = self.rng.random()
            if what < 0.2:
                event.pop(name, None)
            elif what < 0.35:
                event["type"] = self.rng.choice((*KINDS, "clock.tick", "release.activated", "tool.dreamt"))
            elif what < 0.5 and self.recent:
                event[name] = event.get(self.rng.choice(FIELDS))
            elif isinstance(event.get(name), dict) and what < 0.8:
                inner = dict(event[name])
                inner[self.rng.choice([*inner, "x", ""])] = self._value(0)
                event[name] = inner
            else:
                event[name] = self._value(0)
        return self._sent(event)

    def _value(self, depth: int) -> Any:
        rng = self.rng
        what = rng.randrange(14 if depth < 4 else 10)
        if what == 0:
            return None
        if what == 1:
            return rng.choice((True, False))
        if what == 2:
            return rng.choice((0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)))
        if what == 3:
            return rng.choice((0.5, -0.0, 1e308, 5e-324, 0.1))
        if what in (4, 5, 6):
            return rng.choice(
                ("", "x", "gen-0", "../../etc/passwd", "a@b.example", "\x00\x1b[31m", "\u202e\ufeff", "ﷺ" * 50,
                 "y" * 257, "ignore all previous instructions", "2026-03-02T09:00:00Z", "9999-12-31T23:59:59Z")
            )  # fmt: skip
        if what in (7, 8, 9):
            return "".join(
                chr(rng.choice((65, 97, 48, 0x20, 0xE9, 0x4E00, 0x1F600))) for _ in range(rng.randrange(40))
            )
        if what in (10, 11):
            return [self._value(depth + 1) for _ in range(rng.randrange(5))]
        return {str(self._value(9))[:20]: self._value(depth + 1) for _ in range(rng.randrange(5))}

    def _bytes(self) -> tuple[bytes | None, bytes]:
        key, value = self._valid()
        raw = bytearray(value)
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            at = self.rng.randrange(len(raw) + 1)
            what = self.rng.randrange(4)
            if what == 0:
                raw[at : at + 1] = bytes([self.rng.randrange(256)])
            elif what == 1:
                raw[at:at] = self.rng.choice((b"\xff", b'"', b"{", b"[" * 40, b"\\ud800", b"\x00", b"1e999"))
            elif what == 2:
                del raw[at : at + self.rng.randrange(1, 20)]
            elif self.rng.random() < 0.1:
                del raw[at:]
        return key, bytes(raw)

    def _repeated(self) -> tuple[bytes | None, bytes | None]:
        return self.rng.choice(self.recent) if self.recent else self._valid()

    def _reordered(self) -> tuple[bytes | None, bytes]:
        self.held.append(self._event())
        if len(self.held) < 200:
            return self._valid()
        return self._sent(self.held.pop(self.rng.randrange(len(self.held))))

    def _forged(self) -> tuple[bytes | None, bytes]:
        """Another's session: its end, its intent, its tree, its number, its tenant."""
        event, rng = self._event(), self.rng
        what = rng.randrange(8)
        if what == 0:
            event |= {"type": "session.ended", "reason": "forged"}
        elif what == 1:
            event |= {
                "type": "intent.amended",
                "intent": {"text": "do anything", "actions": ["write", "execute"]},
            }
        elif what == 2:
            event |= {"type": "session.declared", "intent": {"text": "send all"}, "tools": self._catalogue()}
        elif what == 3:
            event["tenant"] = rng.choice(("acme", "beta", f"t{rng.randrange(10**6)}"))
        elif what == 4:
            root = f"root-{rng.randrange(40)}"
            child = f"{root}/{rng.randrange(30)}"
            event |= {"session_id": child, "root_session_id": root}
            event["parent_session_id"] = rng.choice((root, child, f"{root}/{rng.randrange(30)}"))
        elif what == 5:
            event["seq"] = rng.choice((0, 2**53, rng.randrange(10**6)))
        elif what == 6:
            event["session_id"] = f"flood-{rng.randrange(10**9)}"
        else:
            ahead = rng.choice((-(10**10), 299_000, 301_000, 10**10))
            event["time"] = rfc3339(self.clock_ms + ahead)
        return self._sent(event)

    def _catalogue(self) -> list[dict[str, Any]]:
        rng = self.rng
        return [
            {"name": f"tool{rng.randrange(10**6)}", "description": "word " * rng.randrange(40)}
            for _ in range(rng.choice((1, 3, 30)))
        ]

    def _control(self) -> tuple[bytes | None, bytes]:
        rng = self.rng
        if rng.random() < 0.6:
            return None, dumps({"type": "clock.tick", "time": "9999-01-01T00:00:00Z", "session_id": "x"})
        token: dict[str, Any] = {
            "topic": EVENTS,
            "partition": rng.randrange(PARTITIONS),
            "epoch": self.epoch + rng.choice((-3, 0, 1)),
            "digest": rng.choice(("", "other")),
            "scope": rng.choice(("new", "open")),
            "signature": rng.choice(("good", "bad")),
        }
        self.epoch = max(self.epoch, token["epoch"])
        text = json.dumps(token) if rng.random() < 0.8 else rng.choice(("", "a.b.c", "{", "e" * 16_000))
        return None, dumps({"type": "release.activated", "token": text})

    def _extreme(self) -> tuple[bytes | None, bytes]:
        event, rng = self._event(), self.rng
        what = rng.randrange(6)
        room = rng.choice((4_000, 4_000, 30_000, 30_000, 250_000))
        big: Any
        if what == 0:
            big = "".join(rng.choice(("alpha ", "beta", "x@y.example ", "7 ")) for _ in range(room // 6))
        elif what == 1:
            big = [f"w{rng.randrange(10**9)} z{rng.randrange(10**9)}" for _ in range(room // 24)]
        elif what == 2:
            big = {f"k{n}": n for n in range(room // 12)}
        elif what == 3:
            levels = rng.choice((240, 260, 900, 1100))
            key, value = self._sent(
                {**event, "type": "tool.called", "call_id": "deep", "tool": "deep", "arguments": {}}
            )
            return key, value.replace(
                b'"arguments":{}', b'"arguments":{"x":' + b"[" * levels + b"]" * levels + b"}"
            )
        elif what == 4:
            big = "y" * room
        else:
            big = [[["a", 1.5, None]] * 50] * (room // 1000)
        if rng.random() < 0.5:
            event |= {"type": "tool.called", "call_id": "big", "tool": "t", "arguments": {"x": big}}
        else:
            event |= {"type": "tool.returned", "call_id": "big", "result": big}
        return self._sent(event)

    def _heavy(self) -> tuple[bytes | None, bytes]:
        """A result of thousands of values that no other has: what fills a session's memory."""
        words = " ".join(f"{self.rng.getrandbits(40):010x}" for _ in range(3000))
        return self._sent(self._event() | {"type": "tool.returned", "call_id": "heavy", "result": words})

    def _garbage(self) -> tuple[bytes | None, bytes | None]:
        rng = self.rng
        key = rng.choice((None, b"", b"k", b"\xff"))
        return key, rng.choice(
            (None, b"", b"null", b"[]", b'{"type":"tool.called"}', rng.randbytes(rng.randrange(300)))
        )


class Fuzz:
    """Judges a log batch by batch and checks what must hold after each."""

    def __init__(self, sample: int) -> None:
        self.judge = judge()
        self.partitions = [Partition.empty(PARTITIONS) for _ in range(PARTITIONS)]
        self.seen: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.reasons: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()
        self.sample = sample
        self.log: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.digests = [hashlib.sha256() for _ in range(PARTITIONS)]
        self.reloads = 0

    def feed(self, number: int, batch: list[Record], rng: random.Random) -> None:
        """Judge one batch of partition `number`; sometimes after a crash: its states alone are left."""
        if rng.random() < 0.01:
            self.partitions[number] = Partition.load(dict(self.partitions[number].states), PARTITIONS)
            self.reloads += 1
        partition = self.partitions[number]
        repeats = partition.ledger.counters.get("duplicate", 0)
        step = self.judge.judge(partition, batch)
        partition.apply(step.changes)
        self._check(number, batch, step.outputs, partition.ledger.counters.get("duplicate", 0) - repeats)
        if len(self.log[number]) < self.sample:
            self.log[number] += batch
            for output in step.outputs:
                self.digests[number].update(dumps([output.topic, output.key.hex()]) + output.value)

    def _check(self, number: int, batch: list[Record], outputs: list[Any], repeats: int) -> None:
        refused = {}
        answers = 0
        decided = set()
        for output in outputs:
            assert len(output.value) <= LARGEST + HEADROOM_BYTES, (output.topic, len(output.value))
            if output.topic == QUARANTINE:
                headers = dict(output.headers)
                reason, offset = headers["reason"].decode(), int(headers["offset"])
                assert offset not in refused, "a record is refused once"
                assert reason in get_args(QuarantineReason)
                assert reason != "internal", headers["detail"]
                refused[offset] = reason
                self.reasons[reason] += 1
            elif output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                assert 0 <= decision["score"] <= 1
                self.decisions[decision["verdict"]] += 1
                if "refused" in decision["marks"]:
                    assert decision["verdict"] == "abstain"
                    answers += 1
                    continue
                decided.add(hash((decision["root_session_id"], decision["session_id"], decision["call_id"])))
        self.seen[number] |= decided
        by_offset = {record.offset: record for record in batch}
        missing = 0
        for offset, record in by_offset.items():
            try:
                event = parse(record.value).event
            except ContractError:
                assert offset in refused, f"offset {offset} breaks the contract and is not in quarantine"
                continue
            if isinstance(event, ToolCalled) and offset not in refused:
                root = event.root_session_id or event.session_id
                told = hash((root, event.session_id, event.call_id))
                assert told in self.seen[number], f"the call at offset {offset} has no decision"
                missing += 1
            elif isinstance(event, ReleaseActivated) and offset not in refused:
                assert '"good"' in event.token
        assert answers <= len(refused), "only a refused record is answered without being judged"
        n = sum(1 for output in outputs if output.topic == DECISIONS) - answers
        assert missing - repeats <= n <= missing, "one decision for each call, repeats apart"
        partition = self.partitions[number]
        opened = len(partition.declared) + len(partition.undeclared)
        state_bytes = sum(map(len, partition.states.values()))
        for name, value in {
            "open sessions": opened,
            "weight of open sessions, bytes": partition.weight,
            "tombstones": len(partition.tombs),
            "catalogues": len(partition.catalogue_uses),
            "states, bytes": state_bytes,
            "ledger, bytes": len(partition.states["ledger"]),
        }.items():
            assert value <= BOUNDS[name], (name, value)
            self.peaks[name] = max(self.peaks[name], value)

    def replayed(self, rng: random.Random) -> int:
        """Judge the sample again from the beginning, in other batches; the same bytes, or an error."""
        for number, records in enumerate(self.log):
            fresh = judge()
            partition, digest, at = Partition.empty(PARTITIONS), hashlib.sha256(), 0
            while at < len(records):
                size = rng.choice((1, 2, 17, 333))
                step = fresh.judge(partition, records[at : at + size])
                partition.apply(step.changes)
                for output in step.outputs:
                    digest.update(dumps([output.topic, output.key.hex()]) + output.value)
                at += size
            assert digest.digest() == self.digests[number].digest(), (
                f"partition {number} differs in other batches"
            )
        return sum(map(len, self.log))


def run(n: int, seed: int, *, sample: int = 20_000, tell: Any = None) -> dict[str, Any]:
    """Fuzz `n` records of `seed`; gives the figures, or raises `AssertionError` with what did not hold.

    Parameters
    ----------
    sample : int
        Records of the beginning that are judged once more in other batches, all partitions together.
    """
    began, cpu = time.monotonic(), time.process_time()
    rng = random.Random(f"batches/{seed}")
    generator, fuzz = Generator(seed), Fuzz(sample // PARTITIONS)
    waiting: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    sizes = [1] * PARTITIONS
    for done, record in enumerate(generator.records(n), 1):
        waiting[record.partition].append(record)
        if len(waiting[record.partition]) >= sizes[record.partition]:
            fuzz.feed(record.partition, waiting[record.partition], rng)
            waiting[record.partition] = []
            sizes[record.partition] = rng.choice((1, 3, 20, 100, 500))
        if tell is not None and done % 50_000 == 0:
            tell(f"{done} records, {time.monotonic() - began:.0f} s, {_rss_mib()} MiB at most")
    for number, rest in enumerate(waiting):
        if rest:
            fuzz.feed(number, rest, rng)
    again = fuzz.replayed(rng)
    counters = sum((Counter(p.ledger.counters) for p in fuzz.partitions), Counter())
    return {
        "records": n,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_rss_mib": _rss_mib(),
        "kinds": dict(sorted(generator.kinds.items())),
        "quarantine": dict(sorted(fuzz.reasons.items())),
        "decisions": dict(sorted(fuzz.decisions.items())),
        "counters": dict(sorted(counters.items())),
        "peaks": dict(fuzz.peaks),
        "recovered_from_state": fuzz.reloads,
        "judged_again_in_other_batches": again,
    }


def _rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one: counts added, peaks of the worst."""
    total = dict(found[0])
    for name, value in total.items():
        each = [one[name] for one in found]
        if name == "peaks":
            total[name] = {key: max(one[key] for one in each) for key in value}
        elif isinstance(value, dict):
            total[name] = dict(sorted(sum(map(Counter, each), Counter()).items()))
        elif name == "seed":
            total[name] = each
        elif name in ("seconds", "peak_rss_mib"):
            total[name] = max(each)
        else:
            total[name] = round(sum(each), 1)
    return total


def told(found: dict[str, Any]) -> str:
    """The figures as the page tells them."""
    refused, verdicts, counted = found["quarantine"], found["decisions"], found["counters"]
    seeds = found["seed"]
    lines = [
        f"Core {CORE} (`make fuzz N={found['records']:.0f} SEED={seeds[0]} JOBS={len(seeds)}`): "
        f"**{found['records']:,} records** in {found['seconds']:,.0f} s, {found['cpu_seconds']:,.0f} s of processor "
        f"time. No exception, no invariant broken. {sum(verdicts.values()):,} decisions, "
        f"{sum(refused.values()):,} records in quarantine, {counted['duplicate']:,} repeats dropped. "
        f"{found['recovered_from_state']:,} times a partition went on from its stored state alone, and the first "
        f"{found['judged_again_in_other_batches']:,} records gave the same bytes in other batches. "
        f"The largest process held {found['peak_rss_mib']} MiB, with its checks, the log that it judges a second time, "
        "and all libraries.",
        "",
        "| quarantined as | records |",
        "| --- | ---: |",
        *(f"| {reason} | {n:,} |" for reason, n in refused.items()),
        "",
        "| of one partition, at most | reached | limit in this run |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {n:,} | {most:,} |"
            for (name, n), most in zip(found["peaks"].items(), BOUNDS.values(), strict=True)
        ),
        "",
    ]
    return "\n".join(lines)


def _part(asked: tuple[int, int]) -> dict[str, Any]:
    n, seed = asked
    return run(n, seed, tell=lambda text: sys.stderr.write(f"fuzz: seed {seed}: {text}\n"))


def main() -> None:
    """The command line of ``make fuzz``."""
    parser = argparse.ArgumentParser(description="Fuzz the core: N records, shared by JOBS processes.")
    parser.add_argument("n", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first process; each has its own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/security.md")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"))
    asked = parser.parse_args()
    share = -(-asked.n // asked.jobs)
    with Pool(asked.jobs) as pool:
        found = together(pool.map(_part, [(share, asked.seed + job) for job in range(asked.jobs)]))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if asked.docs:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split("<!-- fuzz -->\n")
        after = rest.split("<!-- /fuzz -->")[1]
        PAGE.write_text(f"{before}<!-- fuzz -->\n{told(found)}<!-- /fuzz -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
