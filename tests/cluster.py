"""Apache Kafka for tests and benchmarks: started, killed, paused and restarted by them.

The broker's own jars come from Maven by coordinates (``tests/kafka.pom.xml``) into ``build/kafka``; one to
three nodes run in KRaft mode, each broker and controller at once, on free loopback ports. Where Java or Maven
is missing a container is tried, and ``KAFKA_BOOTSTRAP`` beats both, for tests only together with
``DRIFTLINE_TEST_ON_BOOTSTRAP=1``.

    with Cluster(3, directory) as cluster:
        settings = Settings(bootstrap=cluster.bootstrap, replication=3)
        cluster.nodes[0].kill()
        cluster.nodes[0].start()
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.process import ServerProcess

ROOT = Path(__file__).parents[1]
POM = ROOT / "tests" / "kafka.pom.xml"
JARS = ROOT / "build" / "kafka"
CLUSTER_ID = "ZHJpZnRsaW5lLXRlc3RzMA"
READY_S = 60.0
HEAP = "-Xms256m", "-Xmx768m"


class ClusterError(RuntimeError):
    """Kafka could not be had or started; the text says what is missing."""


def class_path(pom: Path = POM, jars: Path = JARS) -> str:
    """The jars that `pom` names, Kafka's own, fetched into `jars` once for a version of the pom.

    Raises
    ------
    ClusterError
        Java 17 or Maven is missing, or the jars cannot be fetched.
    """
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None:
        raise ClusterError("java 17 or later is not on the PATH")
    jars.parent.mkdir(exist_ok=True)
    with jars.with_name(f"{jars.name}.lock").open("w") as lock:  # workers of one run ask at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch(pom, jars, maven)
    return str(jars / "*")


def _fetch(pom: Path, jars: Path, maven: str | None) -> None:
    """Have the jars lie where they belong, those of this version of the pom."""
    done = jars / "pom.xml"
    if not done.exists() or done.read_bytes() != pom.read_bytes():
        if maven is None:
            raise ClusterError(f"mvn is not on the PATH, and Kafka's jars are not in build/{jars.name}")
        fresh = jars.with_name(f"{jars.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fetch = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        result = subprocess.run([*fetch, f"-DoutputDirectory={fresh}"], capture_output=True, text=True)
        if result.returncode != 0:
            raise ClusterError(f"maven could not fetch Kafka's jars: {result.stdout[-600:]}")
        shutil.copy(pom, fresh / "pom.xml")
        shutil.rmtree(jars, ignore_errors=True)
        fresh.rename(jars)


def free_ports(n: int) -> list[int]:
    """`n` different TCP ports of the loopback interface that nothing listens on at this moment."""
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Node(ServerProcess):
    """One Kafka process. Its data outlive `kill` and `stop`; `start` after either goes on with them."""

    def __init__(
        self, number: int, port: int, directory: Path, properties: Mapping[str, str], flags: tuple[str, ...]
    ) -> None:
        self.number = number
        self.port = port
        self.directory = directory
        super().__init__(directory / "kafka.log")
        self._flags = flags
        self._configuration = directory / "server.properties"
        directory.mkdir(parents=True)
        lines = [f"{name}={value}" for name, value in properties.items()]
        self._configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _java(self, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={_logging(self.directory)}"
        return ["java", *HEAP, "-XX:+UseG1GC", logging, *self._flags, "-cp", class_path(), *arguments]

    def format(self, *more: str) -> subprocess.Popen[bytes]:
        """Begin to write the node's metadata directory; `more` are arguments of the storage tool."""
        with self.log.open("ab") as sink:
            tool = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, *more)
            return subprocess.Popen([*tool, "-c", str(self._configuration)], stdout=sink, stderr=sink)

    def start(self) -> None:
        """Start the process; `Cluster.wait` tells when it answers."""
        self.launch(self._java("kafka.Kafka", str(self._configuration)))

    def answers(self) -> bool:
        """Whether the client port takes connections."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            return True
        return False


def _logging(directory: Path) -> Path:
    path = directory / "log4j2.yaml"
    if not path.exists():
        path.write_text(
            "Configuration:\n  Appenders:\n    Console:\n      name: out\n      PatternLayout:\n"
            '        pattern: "%d %p %c{1} %m%n"\n  Loggers:\n    Root:\n      level: WARN\n'
            "      AppenderRef:\n        ref: out\n",
            encoding="utf-8",
        )
    return path


class Cluster:
    """One to three nodes of Apache Kafka, as a context manager.

    Parameters
    ----------
    size : int
        Nodes; each is broker and controller. With three, internal topics have three copies.
    directory : Path
        Where data and logs go; must be empty or absent.
    properties : mapping of str to str
        More broker properties. ``{ssl_port}`` style templates are not known: give final texts.
    listeners : callable
        From a node's client port to properties that replace the plain client listener; for secured clusters.
    flags : tuple of str
        More JVM flags, for instance a login configuration.
    format_arguments : tuple of str
        More arguments of the storage tool, for instance ``--add-scram``.
    """

    def __init__(
        self,
        size: int,
        directory: Path,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Callable[[int, int], Mapping[str, str]] | None = None,
        flags: tuple[str, ...] = (),
        format_arguments: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self._format_arguments = format_arguments
        ports = free_ports(2 * size)
        clients, controllers = ports[:size], ports[size:]
        voters = ",".join(f"{n + 1}@127.0.0.1:{port}" for n, port in enumerate(controllers))
        copies = str(min(3, size))
        self.nodes: list[Node] = []
        for n in range(size):
            texts = {
                "node.id": str(n + 1),
                "process.roles": "broker,controller",
                "controller.quorum.voters": voters,
                "controller.listener.names": "CONTROLLER",
                "listeners": f"CLIENT://127.0.0.1:{clients[n]},CONTROLLER://127.0.0.1:{controllers[n]}",
                "advertised.listeners": f"CLIENT://127.0.0.1:{clients[n]}",
                "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "CLIENT",
                "log.dirs": str(directory / f"node{n + 1}" / "data"),
                "auto.create.topics.enable": "false",
                "offsets.topic.replication.factor": copies,
                "offsets.topic.num.partitions": "3",
                "transaction.state.log.replication.factor": copies,
                "transaction.state.log.min.isr": str(min(2, size)),
                "transaction.state.log.num.partitions": "3",
                "share.coordinator.state.topic.replication.factor": copies,
                "share.coordinator.state.topic.min.isr": str(min(2, size)),
                "group.initial.rebalance.delay.ms": "0",
                # The tests' failures should be seen in seconds; a production cluster waits longer.
                "broker.session.timeout.ms": "6000",
                "broker.heartbeat.interval.ms": "1000",
                "group.min.session.timeout.ms": "1000",
                "controller.quorum.election.timeout.ms": "1000",
                "controller.quorum.fetch.timeout.ms": "2000",
                "replica.lag.time.max.ms": "5000",
                "num.network.threads": "2",
                "num.io.threads": "4",
                "log.cleaner.dedupe.buffer.size": "16777216",
            }
            if listeners is not None:
                texts |= listeners(clients[n], controllers[n])
            texts |= properties or {}
            self.nodes.append(Node(n + 1, clients[n], directory / f"node{n + 1}", texts, flags))

    @property
    def bootstrap(self) -> str:
        """Every node's client address."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Format and start every node, and wait until all answer."""
        class_path()
        formats = [node.format(*self._format_arguments) for node in self.nodes]
        for node, tool in zip(self.nodes, formats, strict=True):
            if tool.wait(READY_S) != 0:
                raise ClusterError(f"storage format failed: {node.said()}")
        for node in self.nodes:
            node.start()
        self.wait()
        return self

    def wait(self, limit_s: float = READY_S) -> None:
        """Return once every node that runs takes connections; a node that ended is an error."""
        deadline = time.monotonic() + limit_s
        for node in self.nodes:
            while not node.answers():
                if not node.running():
                    raise ClusterError(f"node {node.number} ended: {node.said()}")
                if time.monotonic() > deadline:
                    raise ClusterError(f"node {node.number} is silent: {node.said()}")
                time.sleep(0.1)

    def node(self, number: int) -> Node:
        """The node with this id."""
        return self.nodes[number - 1]

    def leader(self, topic: str, partition: int = 0) -> Node:
        """The node that leads a partition now."""
        admin = self._admin()
        try:
            described = admin.describe_topics([topic])[0]
            place = next(
                p
                for p in described["partitions"]
                if p.get("partition_index", p.get("partition")) == partition
            )
            return self.node(int(place.get("leader_id", place.get("leader"))))
        finally:
            admin.close()

    def controller(self) -> Node:
        """The active controller: the leader of the metadata quorum."""
        admin = self._admin()
        try:
            quorum = admin.describe_metadata_quorum()
            return self.node(int(quorum["topics"][0]["partitions"][0]["leader_id"]))
        finally:
            admin.close()

    def _admin(self) -> Any:
        from kafka import KafkaAdminClient

        return KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","))

    def stop(self) -> None:
        """End every node at once; the data stay until the directory is removed."""
        for node in self.nodes:
            node.resume()
            node.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def container() -> Iterator[str]:
    """Apache Kafka in a container on the host's network, where a container runtime answers; its address."""
    from testcontainers.core.container import DockerContainer

    client, controller = free_ports(2)
    made = DockerContainer("apache/kafka:4.1.0").with_kwargs(network_mode="host")
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
        "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{client}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }.items():
        made = made.with_env(name, value)
    with made:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", client), 0.5).close()
                break
            time.sleep(0.2)
        yield f"127.0.0.1:{client}"
