"""Where the benchmarks run: Apache Kafka on one core, the program under test on another, both measured.

Broker, load and readers share the first core; each program under test has the second for itself, threads of
its client library included. CPU time is the process's own, from /proc (Linux), all threads counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.counted import core_s
from stream.events import DECISIONS
from stream.policy import read_policy
from stream.settings import Settings
from stream.shell import topics
from tests.cluster import Cluster, Node, class_path

ROOT = Path(__file__).parents[1]
PROGRAMS: dict[str, tuple[str, ...]] = {
    "driftline": ("-m", "stream.cli.main", "worker"),
    "confluent": (str(ROOT / "benchmarks" / "confluent_loop.py"),),
    "quixstreams": (str(ROOT / "benchmarks" / "quix_loop.py"),),
}
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
WAIT_S = 120.0
PARTITIONS = 12
"""Of the input, in every benchmark that does not say otherwise."""
PROPERTIES = {
    # Bounded on disk: the load of an hour would fill it.
    "log.retention.bytes": str(256 << 20),
    "log.segment.bytes": str(64 << 20),
    "log.retention.check.interval.ms": "30000",
    # A quota holds from the first two seconds on, instead of letting ten seconds' worth through at once.
    "quota.window.num": "2",
}
"""Of each broker."""


def _without_budgets(log: Path) -> Path:
    """The shipped policy without its circuit breaker: here drift revokes by the thousand, and each revocation is timed."""
    path = log.with_suffix(".policy.yaml")
    text, _ = read_policy()
    path.write_text(
        text.replace("  agent: 20\n", "  agent: null\n").replace("  tenant: 50\n", "  tenant: null\n"),
        encoding="utf-8",
    )
    return path


class Program:
    """A program under test: a process on cores of its own.

    Parameters
    ----------
    name : str
        Of `PROGRAMS`.
    settings : Settings
        Handed over through the environment.
    cores : set of int or None
        Cores it may use; None for all.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        log: Path,
        cores: set[int] | None,
        *,
        stage: str = "judge",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        shared = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DRIFTLINE_"))}
        passed = {
            f"DRIFTLINE_{field.upper()}": str(getattr(settings, field))
            for field in (
                "bootstrap",
                "prefix",
                "group",
                "partitions",
                "batch_max",
                "checkpoint_s",
                "metrics_port",
                "state_dir",
                "session_timeout_s",
            )
        }
        passed["DRIFTLINE_POLICY_PATH"] = str(settings.policy_path or _without_budgets(log))
        self._counted = log.with_suffix(".core")
        counted = ("-m", "benchmarks.counted", str(self._counted))
        command = [sys.executable, *counted, *PROGRAMS[name], "--mode", "enforce", "--stage", stage]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                command,
                env={**shared, **passed, "PYTHONPATH": str(ROOT), **(environment or {})},
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )

    def cpu_s(self) -> float:
        """Seconds of CPU so far, user and system, all threads; 10 ms steps."""
        return cpu_s(self.process.pid)

    def core_s(self) -> float:
        """Seconds of that CPU which its core took: judging, and taking over the states that changed."""
        return core_s(self._counted)

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def check(self) -> None:
        """Raise with the end of its log if it is not running."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self._tail()}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return int(self.process.returncode)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def cpu_s(pid: int) -> float:
    """Seconds of CPU that process `pid` has used, all threads; children apart."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def clear(admin: AdminClient, prefixes: Sequence[str]) -> None:
    """Delete groups and topics whose names begin with one of `prefixes`, as far as the broker lets us."""
    mine = tuple(prefixes)
    with suppress(KafkaException, TimeoutError):
        known = admin.list_consumer_groups().result(20).valid
        groups = [group.group_id for group in known if group.group_id.startswith(mine)]
        made = [name for name in admin.list_topics(timeout=20).topics if name.startswith(mine)]
        answers = {
            **(admin.delete_consumer_groups(groups) if groups else {}),
            **(admin.delete_topics(made) if made else {}),
        }
        for answer in answers.values():
            with suppress(KafkaException, TimeoutError):
                answer.result(20)


class Rig:
    """Apache Kafka and the cores it does not use, as a context manager.

    Parameters
    ----------
    pinned : bool
        Whether the program under test gets a core of its own. Without a second core nothing is pinned.
    """

    def __init__(self, *, pinned: bool = True) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._all = set(cores)
        self.pinned = pinned and len(cores) > 1
        self.theirs: set[int] | None = {cores[-1]} if self.pinned else None
        self._ours = self._all - self.theirs if self.theirs else self._all
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.directory = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-bench-"))
        )
        os.sched_setaffinity(0, self._ours)
        self._stack.callback(os.sched_setaffinity, 0, self._all)
        given = os.environ.get("KAFKA_BOOTSTRAP")
        self.nodes: list[Node] = []
        if given:
            self.bootstrap = given
        else:
            cluster = self._stack.enter_context(self.brokers())
            self.bootstrap = cluster.bootstrap
            self.nodes = cluster.nodes
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self._prefixes: list[str] = []
        self._limited: set[str] = set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.nodes:  # a broker that stays
            self._clear()
        # Before the broker goes: an admin client that is collected later waits for it, for minutes.
        del self.admin
        self._stack.close()

    def brokers(self) -> Cluster:
        """What the programs run against, where no broker is given: one node."""
        return Cluster(1, self.directory / "kafka", properties=PROPERTIES)

    def broker_s(self) -> float:
        """Seconds of CPU of all brokers so far; 0 of a broker that was given."""
        return sum(cpu_s(node.pid) for node in self.nodes if node.pid)

    def _clear(self) -> None:
        for client in self._limited:
            with suppress(subprocess.CalledProcessError, OSError):
                self._quota(client, "--delete-config", "producer_byte_rate")
        clear(self.admin, self._prefixes)

    def settings(self, **given: Any) -> Settings:
        """Settings under a prefix of their own, with fresh topics, a copy of each on every broker."""
        made = Settings.from_environment(
            {},
            bootstrap=self.bootstrap,
            replication=len(self.nodes) or 1,
            prefix=f"b{uuid.uuid4().hex[:8]}.",
            state_dir=self.directory / "state",
            **given,
        )
        self._prefixes.append(made.prefix)
        topics.create(made)
        return made

    def start(self, name: str, settings: Settings, **given: Any) -> Program:
        """Start a program on its core."""
        number = len(list(self.directory.glob(f"{name}-*.log")))
        return Program(name, settings, self.directory / f"{name}-{number}.log", self.theirs, **given)

    def limit(self, client: str, bytes_per_s: int) -> None:
        """A quota of the broker on what producers with this client id send."""
        self._limited.add(client)
        self._quota(client, "--add-config", f"producer_byte_rate={bytes_per_s}")

    def _quota(self, client: str, *change: str) -> None:
        tool = [
            "java",
            "-cp",
            class_path(),
            "kafka.admin.ConfigCommand",
            "--bootstrap-server",
            self.bootstrap,
        ]
        entity = ["--entity-type", "clients", "--entity-name", client]
        subprocess.run([*tool, "--alter", *change, *entity], check=True, capture_output=True)

    def ends(self, settings: Settings, base: str) -> list[int]:
        """The next offset of each partition of a topic."""
        name = settings.topic(base)
        count = settings.partitions
        wanted = {TopicPartition(name, n): OffsetSpec.latest() for n in range(count)}
        answers = self.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        found = [0] * count
        for place, answer in answers.items():
            found[place.partition] = answer.result(20).offset
        return found

    def count(self, settings: Settings, base: str = DECISIONS) -> int:
        """Records of a topic that nothing was deleted from."""
        return sum(self.ends(settings, base))

    def committed(self, settings: Settings, base: str, group: str = "judge") -> int:
        """How many input records a group has acknowledged."""
        name = f"{settings.prefix}{settings.group}-{group}"
        places = [TopicPartition(settings.topic(base), n) for n in range(settings.partitions)]
        (answer,) = self.admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(name, places)]
        ).values()
        return sum(max(0, place.offset) for place in answer.result(20).topic_partitions)

    def members(self, settings: Settings, group: str = "judge") -> tuple[str, int]:
        """State of a group and how many members have partitions."""
        name = f"{settings.prefix}{settings.group}-{group}"
        try:
            answer = self.admin.describe_consumer_groups([name], request_timeout=3)[name]
            found = answer.result(5)
        except (KafkaException, TimeoutError):  # the first group of all: its coordinator is still made
            return "UNKNOWN", 0
        holding = sum(bool(m.assignment and m.assignment.topic_partitions) for m in found.members)
        return found.state.name, holding

    def await_members(self, settings: Settings, programs: Sequence[Program], group: str = "judge") -> None:
        """Return once each program holds partitions and the group has been stable for two seconds."""
        since: float | None = None

        def stable() -> bool:
            nonlocal since
            state, holding = self.members(settings, group)
            good = state == "STABLE" and holding == len(programs)
            since = (since or time.monotonic()) if good else None
            return since is not None and time.monotonic() - since > 2

        self.wait(stable, programs)

    def wait(
        self, condition: Callable[[], bool], programs: Sequence[Program] = (), limit_s: float = WAIT_S
    ) -> None:
        """Poll `condition`; raise when a program ends or the limit passes."""
        deadline = time.monotonic() + limit_s
        while not condition():
            for program in programs:
                program.check()
            if time.monotonic() > deadline:
                tails = [program._tail() for program in programs]
                raise RuntimeError(f"nothing after {limit_s:.0f} s: {tails}")
            time.sleep(0.1)

    def values(self, settings: Settings, base: str) -> list[bytes]:
        """Every value of a topic, in no order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{settings.prefix}reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        ends = self.ends(settings, base)
        consumer.assign([TopicPartition(settings.topic(base), n, 0) for n in range(settings.partitions)])
        found: list[bytes] = []
        while len(found) < sum(ends):
            found += [m.value() for m in consumer.consume(10_000, 0.5) if not m.error()]
        consumer.close()
        return found
