"""What a scenario plays in: topics under a fresh prefix, load, a watched fleet of workers, and what was seen."""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from joserfc.jwk import RSAKey
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from stream.activations import sign
from stream.core.deployment import Activation
from stream.events import DECISIONS, EVENTS, dumps, murmur2_partition
from stream.offline.files import load_tools
from stream.offline.generate import Profile, sessions
from stream.offline.lines import documents_in
from stream.offline.recorded import events_of
from stream.policy import read_policy
from stream.settings import Settings
from stream.shell import app, stage, topics
from stream.shell.topic_table import topic_table
from tests.chaos.worker import CANDIDATE, Fault
from tests.cluster import Cluster, Node
from tests.worker import Worker

PROGRAM = (sys.executable, "-m", "tests.chaos.worker")
PARTITIONS = 4
SESSION_TIMEOUT_S = 3.0
IDLE_MINUTES = 0.25
"""Sessions that the load leaves open end by a tick some seconds later, in the middle of the run and after it."""
TENANTS = ("acme", "globex", "initech")
RESTARTS_WITHOUT_PROGRESS = 6
"""More than this many ends of workers by themselves between two new decisions are a crash loop."""
STOP_LIMIT_S = 40.0
"""A worker that takes longer to end after SIGTERM is a failure."""
MOST_WAITING_S = 20.0
"""Seconds of load that may wait for decisions; beyond, the load waits too. A run takes longer then on a machine that is too slow
for its rate, and its backlog ends all the same."""
CALLS_PER_EVENT = 0.42
"""Of the load's events, those that get a decision (measured)."""
ON_THE_WIRE_S = 0.3
"""New decisions seen this soon after a fault may have been under way before it."""

Event = tuple[bytes | None, bytes | None, int | None, bool]
"""Key, value, partition (None: by the key), and whether it is a call that gets a decision."""


class SceneError(AssertionError):
    """The run is a failure; the text says what was seen."""


# ------------------------------------------------------------------------------------------------------ load


def generated(seed: int, run: str, at_once: int) -> Iterator[dict[str, Any]]:
    """Sessions of three tenants, a quarter of them hijacked, some repeated events, some never ended."""
    rng = random.Random(f"{seed}/tenants")
    streams = [
        sessions(
            seed + n,
            1 << 40,
            Profile(hijacked=0.25, unfinished=0.05, tenant=tenant, run=f"{run}{n}"),
            at_once=max(at_once // len(TENANTS), 1),
            duplicates=0.02,
        )
        for n, tenant in enumerate(TENANTS)
    ]
    while True:
        yield next(rng.choice(streams))


def recorded(seed: int, run: str, at_once: int, folder: Path) -> Iterator[dict[str, Any]]:
    """AgentDojo's recorded sessions, interleaved; from the beginning again under another name at the end."""
    rng = random.Random(f"{seed}/recorded")
    path = folder / "agentdojo.jsonl.gz"
    tools = load_tools(path) or {}

    def endless() -> Iterator[list[dict[str, Any]]]:
        for turn in range(1 << 40):
            for _, _, document in documents_in(path):
                yield events_of(document, tools.get(document.get("tools_ref", "")), f"{run}r{turn}")

    source = endless()
    opened: list[deque[dict[str, Any]]] = []
    while True:
        while len(opened) < at_once:
            opened.append(deque(next(source)))
        place = rng.randrange(len(opened))
        yield opened[place].popleft()
        if not opened[place]:
            del opened[place]


def poison(rng: random.Random) -> Event:
    """A record that no worker may stumble over: all but one break the contract."""
    session = f"poison-{rng.randrange(8)}"
    call = {
        "id": f"x{rng.getrandbits(40)}",
        "type": "tool.called",
        "session_id": session,
        "time": "2026-03-02T09:00:00Z",
        "call_id": f"c{rng.getrandbits(40)}",
        "tool": "read_file",
        "arguments": {},
    }
    name, anywhere = session.encode(), rng.randrange(PARTITIONS)
    elsewhere = (murmur2_partition(name, PARTITIONS) + 1) % PARTITIONS
    control = {"id": "forged", "time": "2026-03-02T09:00:00Z"}
    kinds: list[Event] = [
        (name, b"\xff\xfe not utf-8", None, False),
        (name, None, None, False),
        (name, b"", None, False),
        (name, b"[" * 3000, None, False),
        (name, b'{"type":"tool.called","time":NaN}', None, False),
        (name, dumps({**call, "type": "no.such"}), None, False),
        (name, dumps({**call, "schema_version": 99}), None, False),
        (name, dumps({**call, "time": "2999-01-01T00:00:00Z"}), None, False),
        (b"another", dumps(call), None, False),
        (name, dumps(call), elsewhere, False),
        (None, dumps({**control, "type": "clock.tick"}), anywhere, False),
        (None, dumps({**control, "type": "release.activated", "token": "e30.e30.e30"}), anywhere, False),
        (name, dumps({**call, "arguments": {"text": "x" * 900_000}}), None, True),
    ]
    return rng.choice(kinds)


class Load(threading.Thread):
    """Plays events at a rate until told to stop, never far ahead of the decisions; remembers when the broker confirmed each new call."""

    def __init__(
        self,
        settings: Settings,
        seed: int,
        rate: float,
        poisoned: float,
        pause: threading.Event,
        n_decided: Callable[[], int],
    ) -> None:
        super().__init__(name="load", daemon=True)
        self.confirmed_at: list[float] = []
        self.n_sent = 0
        self.n_poison = 0
        self.errors: list[str] = []
        self.rate = rate
        self._settings = settings
        self._ending = threading.Event()
        self._paused = pause
        self._n_decided = n_decided
        self._rng = random.Random(f"{seed}/load")
        self._events = self._all(seed, poisoned)
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def _all(self, seed: int, poisoned: float) -> Iterator[Event]:
        run = uuid.UUID(int=random.Random(seed).getrandbits(128)).hex[:6]
        sources = [generated(seed, run, 45)]
        if folder := os.environ.get("DRIFTLINE_DATA"):
            sources.append(recorded(seed, run, 15, Path(folder)))
        while True:
            if self._rng.random() < poisoned:
                self.n_poison += 1
                yield poison(self._rng)
                continue
            event = next(sources[0] if len(sources) == 1 or self._rng.random() < 0.7 else sources[1])
            new = event["type"] == "tool.called" and event["id"] not in self._known
            if new:
                self._known.add(event["id"])
            yield event["session_id"].encode(), dumps(event), None, new

    def run(self) -> None:
        """Send until `finish`; the producer waits for brokers that are away."""
        producer = KafkaProducer(
            **self._settings.kafka(),
            acks="all",
            linger_ms=5,
            max_block_ms=300_000,
            delivery_timeout_ms=300_000,
            request_timeout_ms=10_000,
            max_in_flight_requests_per_connection=1,
            max_request_size=self._settings.message_max_bytes + 65_536,
        )
        name = self._settings.topic(EVENTS)
        began, owed = time.monotonic(), 0
        try:
            while not self._ending.is_set():
                if self._paused.is_set() or self._ahead_s() > MOST_WAITING_S:
                    time.sleep(0.05)
                    began, owed = time.monotonic(), 0
                    continue
                wait = began + owed / self.rate - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                elif wait < -1.0:  # the broker was away: go on at the rate, do not catch up in a burst
                    began, owed = time.monotonic(), 0
                key, value, partition, counts = next(self._events)
                future = producer.send(name, key=key, value=value, partition=partition)
                future.add_errback(lambda error: self.errors.append(repr(error)))
                if counts:
                    future.add_callback(self._confirmed)
                self.n_sent += 1
                owed += 1
            producer.flush(timeout=300)
        except KafkaError as error:
            self.errors.append(repr(error))
        finally:
            producer.close(timeout=5)

    def _ahead_s(self) -> float:
        return (len(self.confirmed_at) - self._n_decided()) / (CALLS_PER_EVENT * self.rate)

    def _confirmed(self, _: Any) -> None:
        with self._lock:
            self.confirmed_at.append(time.monotonic())

    def finish(self) -> None:
        """Stop, and wait until the broker has everything."""
        self._ending.set()
        self.join(330)
        if self.is_alive() or self.errors:
            raise SceneError(f"the load could not be sent: {self.errors[:3] or 'the producer hangs'}")

    def abandon(self) -> None:
        """Stop without waiting: the run is over, whatever became of the records."""
        self._ending.set()

    def confirmed_before(self, moment: float) -> int:
        """Calls confirmed up to `moment`, a monotonic time."""
        with self._lock:
            return bisect.bisect_right(self.confirmed_at, moment)


class Watch(threading.Thread):
    """Follows the decisions as they come: when each new one was seen, and in which partition."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="watch", daemon=True)
        self.seen: list[tuple[float, int]] = []
        self._settings = settings
        self._ids: set[str] = set()
        self._ending = threading.Event()

    def run(self) -> None:
        """Poll until `finish`."""
        consumer = KafkaConsumer(**self._settings.kafka(), group_id=None, fetch_max_wait_ms=50)
        places = [TopicPartition(self._settings.topic(DECISIONS), n) for n in range(PARTITIONS)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while not self._ending.is_set():
            try:
                polled = consumer.poll(timeout_ms=100)
            except KafkaError:  # a broker is away; the run's end tells whether all came
                time.sleep(0.1)
                continue
            now = time.monotonic()
            for place, items in polled.items():
                for item in items:
                    name = orjson.loads(item.value)["decision_id"]
                    if name not in self._ids:
                        self._ids.add(name)
                        self.seen.append((now, place.partition))
        consumer.close()

    def finish(self) -> None:
        """End the thread."""
        self._ending.set()
        self.join(30)

    @property
    def n_new(self) -> int:
        """Decisions seen, repeats aside."""
        return len(self.seen)


# --------------------------------------------------------------------------------------------------- workers


@dataclass
class Slot:
    """One replica: a directory for its faults, and the process that runs in it now."""

    number: int
    directory: Path
    worker: Worker | None = None
    wanted: bool = True
    asked: bool = False  # SIGTERM was sent to this process
    killed: bool = False  # SIGKILL was sent to this process by the scene
    environment: dict[str, str] = field(default_factory=dict)
    begins: int = 0  # where in the log this process began

    def joined(self) -> bool:
        """Whether the present process got as far as to handle signals."""
        return b"joining as" in self.log.read_bytes()[self.begins :]

    @property
    def log(self) -> Path:
        """What all its processes printed."""
        return self.directory / "worker.log"

    def hits(self) -> list[dict[str, Any]]:
        """Faults that happened in it."""
        path = self.directory / "hits.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def terminated(self, pid: int) -> bool:
        """Whether the last fault was a SIGTERM in process `pid`, which must then end cleanly."""
        hits = self.hits()
        return bool(hits) and (hits[-1]["action"], hits[-1]["pid"]) == ("terminate", pid)

    def reached(self) -> Counter[str]:
        """How often each point was passed, by all its processes."""
        path = self.directory / "reached"
        counted = Counter(path.read_bytes() if path.exists() else b"")
        return Counter({name: counted[n] for n, name in enumerate(stage.POINTS) if counted[n]})


class Fleet:
    """Workers, each restarted when it ends, as Kubernetes would; a crash loop is a failure."""

    def __init__(
        self, settings: Settings, directory: Path, environment: Mapping[str, str], watch: Watch
    ) -> None:
        self.settings = settings
        self.slots: list[Slot] = []
        self.exits: Counter[str] = Counter()
        self.n_restarts = 0
        self.failures: list[str] = []
        self.environment = dict(environment)
        self.may_end_with = {app.EXIT_BROKER}
        self._directory = directory
        self._watch = watch
        self._lock = threading.RLock()
        self._without_progress: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="fleet", daemon=True)
        self._thread.start()

    def scale(self, n: int) -> None:
        """Run `n` workers: start the missing ones, stop the last ones gracefully."""
        with self._lock:
            active = [slot for slot in self.slots if slot.wanted]
            surplus = active[n:]
            for _ in range(n - len(active)):
                directory = self._directory / f"worker{len(self.slots)}"
                directory.mkdir()
                slot = Slot(len(self.slots), directory)
                self.slots.append(slot)
                self._start(slot)
            for slot in surplus:
                slot.wanted = False
        for slot in surplus:
            self.terminate(slot)

    def _start(self, slot: Slot) -> None:
        slot.asked = slot.killed = False
        slot.begins = slot.log.stat().st_size if slot.log.exists() else 0
        known = {"CHAOS_DIR": str(slot.directory), **self.environment, **slot.environment}
        slot.worker = Worker(self.settings, slot.log, PROGRAM, known)

    @property
    def active(self) -> list[Slot]:
        """The replicas that are wanted now."""
        return [slot for slot in self.slots if slot.wanted]

    def terminate(self, slot: Slot, limit_s: float = STOP_LIMIT_S) -> float:
        """SIGTERM; waits for the end, which must be clean; gives its seconds. A wanted one is started again."""
        with self._lock:
            worker = slot.worker
            slot.asked = True
        if worker is None:
            return 0.0
        began, starting = time.monotonic(), not slot.joined()
        worker.process.terminate()
        try:
            code = worker.process.wait(limit_s)
        except Exception as error:
            worker.process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
            raise SceneError(
                f"worker {slot.number} did not stop within {limit_s:.0f} s of SIGTERM"
            ) from error
        if not (code in {0, -signal.SIGKILL} or (code == -signal.SIGTERM and starting)):
            self.failures.append(f"worker {slot.number} ended with {code} on SIGTERM: {tail(slot.log)}")
        return time.monotonic() - began

    def kill(self, slot: Slot) -> None:
        """SIGKILL from outside."""
        with self._lock:
            worker, slot.killed = slot.worker, True
        if worker is not None:
            worker.kill()

    def restart_all(self, environment: Mapping[str, str], *, drain: bool) -> Callable[[], None]:
        """Stop every worker, by SIGTERM or SIGKILL; gives the function that starts them with `environment` added."""
        with self._lock:
            slots = self.active
            for slot in slots:
                slot.wanted = False
        for slot in slots:
            if drain:
                self.terminate(slot)
            else:
                self.kill(slot)

        def start() -> None:
            with self._lock:
                self.environment |= environment
                for slot in slots:
                    slot.wanted = True
                    self._start(slot)

        return start

    def _supervise(self) -> None:
        while not self._stop.is_set():
            time.sleep(0.05)
            with self._lock:
                for slot in self.slots:
                    if slot.worker is not None and (code := slot.worker.process.poll()) is not None:
                        self._ended(slot, slot.worker.process.pid, code)

    def _ended(self, slot: Slot, pid: int, code: int) -> None:
        slot.worker = None
        self.exits[str(code)] += 1
        terminated = slot.terminated(pid)
        hit = terminated or (bool(slot.hits()) and code == -signal.SIGKILL)
        foreseen = (
            code == 0
            if terminated
            else hit
            or slot.killed
            or (slot.asked and code in {0, -signal.SIGTERM})
            or code in self.may_end_with
        )
        if not foreseen:
            self.failures.append(f"worker {slot.number} ended with {code}: {tail(slot.log)}")
        if not slot.wanted:
            return
        self._without_progress = [n for n in self._without_progress if n == self._watch.n_new]
        if not (hit or slot.killed or slot.asked):  # what the scene ended did not end by itself
            self._without_progress.append(self._watch.n_new)
        if len(self._without_progress) > RESTARTS_WITHOUT_PROGRESS:
            self.failures.append(
                f"crash loop: {len(self._without_progress)} restarts, no new decision: {tail(slot.log)}"
            )
            slot.wanted = False
            return
        self.n_restarts += 1
        # Quick at first, then slower: a broker that is away is not asked ten times a second.
        delay = min(0.2 * 2 ** max(len(self._without_progress) - 1, 0), 5.0)
        threading.Timer(delay, self._again, [slot]).start()

    def _again(self, slot: Slot) -> None:
        with self._lock:
            if slot.wanted and slot.worker is None and not self._stop.is_set():
                self._start(slot)

    def running(self) -> int:
        """Processes that live, paused or not."""
        with self._lock:
            return sum(
                1 for slot in self.slots if slot.worker is not None and slot.worker.process.poll() is None
            )

    def reached(self) -> Counter[str]:
        """How often each point was passed."""
        return sum((slot.reached() for slot in self.slots), Counter())

    def close(self) -> None:
        """Kill whatever still runs."""
        self._stop.set()
        self._thread.join(5)
        with self._lock:
            for slot in self.slots:
                slot.wanted = False
                if slot.worker is not None and slot.worker.process.poll() is None:
                    slot.worker.resume()
                    slot.worker.kill()


def tail(path: Path, characters: int = 700) -> str:
    """The end of a log."""
    return path.read_text(errors="replace")[-characters:] if path.exists() else ""


# ----------------------------------------------------------------------------------------------------- scene


@dataclass
class Injected:
    """One fault that was seen to happen, and how long its effect was seen."""

    what: str
    at: float
    point: str | None = None
    nth: int | None = None
    action: str | None = None
    decided_again_s: float | None = None
    no_lag_s: float | None = None


class Scene:
    """One run of one scenario.

    Parameters
    ----------
    cluster : Cluster
        Running; shared with other scenes one after the other.
    seed : int
        Of load and faults.
    directory : Path
        Empty; logs, keys and marks go there.
    tell : callable
        Takes lines of progress.
    rate : float
        Events a second.
    poisoned : float
        Share of records that no contract allows.
    checkpoint_s : float
        Seconds between the workers' checkpoints.
    checkpoint_records : int
        Records after which a checkpoint comes early.
    rounds : int
        How often a scenario repeats its faults; 0 is the short form that every build plays.
    """

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        directory: Path,
        tell: Callable[[str], None],
        *,
        rate: float = 250.0,
        poisoned: float = 0.0,
        checkpoint_s: float = 1.0,
        checkpoint_records: int = Settings.checkpoint_records,
        rounds: int = 1,
    ) -> None:
        self.cluster = cluster
        self.seed = seed
        self.rng = random.Random(f"{seed}/faults")
        self.directory = directory
        self.tell = tell
        self.rounds = rounds
        self.faults: list[Injected] = []
        self.facts: dict[str, Any] = {}
        directory.mkdir(parents=True)
        policy, _ = read_policy()
        shorter = policy.replace("idle_minutes: 60 ", f"idle_minutes: {IDLE_MINUTES} ")
        assert shorter != policy, "the shipped policy says its idle limit in other words now"
        (directory / "policy.yaml").write_text(shorter)
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        (directory / "signing.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
        self._activator = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        self.jwks = {"keys": [self._activator.as_dict(private=False)]}
        (directory / "activators.json").write_text(json.dumps(self.jwks))
        self.signers = {"keys": [key.as_dict(private=False)]}
        self.settings = Settings.from_environment(
            {},
            bootstrap=cluster.bootstrap,
            prefix=f"c{uuid.uuid4().hex[:8]}.",
            partitions=PARTITIONS,
            replication=min(3, len(cluster.nodes)),
            state_dir=directory / "scratch",
            session_timeout_s=SESSION_TIMEOUT_S,
            checkpoint_s=checkpoint_s,
            checkpoint_records=checkpoint_records,
            policy_path=directory / "policy.yaml",
            signing_key_file=directory / "signing.json",
        )
        self.deploys: list[Any] = []
        self.drained = True
        self._epoch = 0
        self._pause = threading.Event()
        self._arguments = (seed, rate, poisoned, self._pause)
        self.load: Load
        self.watch: Watch
        self.fleet: Fleet

    def __enter__(self) -> Self:
        topics.create(self.settings)
        self.watch = Watch(self.settings)
        self.watch.start()
        self.fleet = Fleet(
            self.settings,
            self.directory,
            {
                "DRIFTLINE_POLICY_PATH": str(self.settings.policy_path),
                "DRIFTLINE_SIGNING_KEY_FILE": str(self.settings.signing_key_file),
                "CHAOS_JWKS": str(self.directory / "activators.json"),
            },
            self.watch,
        )
        self.load = Load(self.settings, *self._arguments, lambda: self.watch.n_new)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.load.abandon()
        self._pause.clear()
        for node in self.cluster.nodes:
            node.resume()
            if not node.running():
                node.start()
        self.cluster.wait()
        self.fleet.close()
        self.watch.finish()
        if self.load.ident is not None:
            self.load.join(60)
        with contextlib.suppress(Exception):  # the cluster goes away with its directory
            topics.delete(self.settings)
        if error is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ------------------------------------------------------------------------------------ waiting

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = 90.0) -> None:
        """Poll `condition`; a run whose workers failed, or that takes longer, is over."""
        deadline = time.monotonic() + limit_s
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- worker {slot.number}\n{tail(slot.log)}" for slot in self.fleet.active)
                raise SceneError(f"not within {limit_s:.0f} s: {what}\n{logs}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise for whatever supervisor or load found."""
        if self.fleet.failures:
            raise SceneError(self.fleet.failures[0])
        if self.load.errors:
            raise SceneError(f"the load could not be sent: {self.load.errors[0]}")

    def flowing(self, limit_s: float = 150.0) -> None:
        """Wait until every partition has new decisions, and no call waits for longer than a second."""
        since = time.monotonic()
        self.wait(lambda: self._decided_again(since) is not None, "decisions in every partition", limit_s)
        self.wait(
            lambda: self.watch.n_new >= self.load.confirmed_before(time.monotonic() - 1.0), "no lag", limit_s
        )

    def waiting(self) -> int:
        """Calls that the broker confirmed and that have no decision yet."""
        return self.load.confirmed_before(time.monotonic()) - self.watch.n_new

    def pause_load(self, paused: bool) -> None:
        """Stop or go on sending, without ending the sessions."""
        (self._pause.set if paused else self._pause.clear)()

    # ------------------------------------------------------------------------------------ faults

    def injected(self, what: str, at: float | None = None, **more: Any) -> Injected:
        """Note a fault that has just been seen to happen."""
        made = Injected(what, time.monotonic() if at is None else at, **more)
        self.faults.append(made)
        self.tell(what)
        return made

    def arm(self, slot: Slot, fault: Fault) -> int:
        """Lay a fault in a worker's way; gives how many hits there were before."""
        before = len(slot.hits())
        draft = slot.directory / "armed.part"
        draft.write_text(json.dumps(fault._asdict()))
        draft.rename(slot.directory / "armed.json")
        return before

    def disarm(self, slot: Slot) -> None:
        """Take a fault away, hit or not."""
        (slot.directory / "armed.json").unlink(missing_ok=True)

    def at(
        self, slot: Slot, fault: Fault, trigger: Callable[[], None] | None = None, limit_s: float = 120.0
    ) -> Injected:
        """Arm, bring the point about if it needs that, and wait until the fault was seen."""
        before = self.arm(slot, fault)
        process = slot.worker.process if slot.worker is not None else None
        if trigger is not None:
            trigger()
        self.wait(lambda: len(slot.hits()) > before, f"{fault.point} reached {fault.nth} times", limit_s)
        hit = slot.hits()[-1]
        if fault.action == "kill":
            self.wait(lambda: not _alive(hit["pid"]), f"{hit['pid']} dead at {fault.point}", 10)
        elif fault.action == "stop":
            self.wait(lambda: _state(hit["pid"]) == "T", f"{hit['pid']} stopped at {fault.point}", 10)
        elif fault.action == "terminate":
            self.wait(lambda: not _alive(hit["pid"]), f"the end after SIGTERM at {fault.point}", STOP_LIMIT_S)
        elif fault.action == "raise" and process is not None and process.pid == hit["pid"]:
            self.wait(lambda: process.poll() is not None, f"the end after {fault.error} at {fault.point}", 60)
        return self.injected(
            f"{fault.action} at {fault.point}, pass {fault.nth}",
            hit["monotonic"],
            point=fault.point,
            nth=fault.nth,
            action=fault.action,
        )

    def activate(self, scope: str = "open", digest: str = CANDIDATE) -> None:
        """A release goes live: one signed record in each partition."""
        self._epoch += 1
        name = self.settings.topic(EVENTS)
        producer = KafkaProducer(
            **self.settings.kafka(), acks="all", request_timeout_ms=10_000, delivery_timeout_ms=120_000
        )
        futures = []
        for number in range(PARTITIONS):
            activation = Activation(name, number, self._epoch, digest, scope)
            token = sign(activation, self.settings.issuer, self._activator)
            event = {
                "type": "release.activated",
                "id": f"a{self._epoch}",
                "time": "2026-03-02T09:00:00Z",
                "token": token,
            }
            futures.append(producer.send(name, value=dumps(event), partition=number))
        for future in futures:
            future.get(timeout=120)
        producer.close()
        self.facts["releases"] = self.facts.get("releases", 0) + 1
        self.tell(f"release {digest} activated, scope {scope}")

    def whole(self, limit_s: float = 90.0) -> None:
        """Wait until every broker answers and every partition of ours has all its copies in step."""
        self.cluster.wait()
        names = [self.settings.topic(topic.base) for topic in topic_table(self.settings)]

        def in_step() -> bool:
            from kafka import KafkaAdminClient

            try:
                admin = KafkaAdminClient(**self.settings.kafka(), request_timeout_ms=5000)
            except (KafkaError, OSError):
                return False
            try:
                described = admin.describe_topics([*names, "__consumer_offsets"])
                places = [place for topic in described for place in topic["partitions"]]
                return bool(places) and all(
                    len(place["isr_nodes"]) == min(3, len(self.cluster.nodes)) for place in places
                )
            except (KafkaError, OSError):
                return False
            finally:
                admin.close()

        self.wait(in_step, "all copies in step", limit_s)

    def kill_node(self, node: Node, what: str, away_s: float) -> Injected:
        """SIGKILL a broker, and start it again after `away_s` seconds, when everything is whole."""
        pid = node.pid
        node.kill()
        assert pid is not None
        assert not _alive(pid), "the broker lives on"
        fault = self.injected(f"{what} (node {node.number}) killed")
        time.sleep(away_s)
        node.start()
        self.whole()
        return fault

    # ------------------------------------------------------------------------------------ recovery

    def _decided_again(self, since: float) -> float | None:
        """When every partition had had a new decision after `since`; None: not yet."""
        first: dict[int, float] = {}
        start = bisect.bisect_right(self.watch.seen, (since + ON_THE_WIRE_S, PARTITIONS))
        for moment, partition in self.watch.seen[start:]:
            first.setdefault(partition, moment)
            if len(first) == PARTITIONS:
                return moment
        return None

    def _no_lag_at(self, since: float) -> float | None:
        """When, after `since`, every call confirmed a second before had its decision; None: not yet."""
        start = bisect.bisect_right(self.watch.seen, (since + ON_THE_WIRE_S, PARTITIONS))
        for n in range(start, len(self.watch.seen)):
            moment = self.watch.seen[n][0]
            if n + 1 >= self.load.confirmed_before(moment - 1.0):
                return moment
        return None

    def measure(self) -> None:
        """Fill in, for each fault, how long its effect was seen."""
        for fault in self.faults:
            again = self._decided_again(fault.at)
            if again is not None:
                fault.decided_again_s = round(again - fault.at, 2)
                level = self._no_lag_at(again)
                fault.no_lag_s = None if level is None else round(level - fault.at, 2)


def _state(pid: int) -> str:
    """The process's state letter, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _alive(pid: int) -> bool:
    return _state(pid) not in {"", "Z", "X"}
