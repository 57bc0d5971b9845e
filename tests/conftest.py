"""Where recorded sessions, Apache Kafka and Keycloak come from, and what happens without them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis

from stream.settings import Settings
from stream.shell import topics
from tests.cluster import ROOT, Cluster, ClusterError, class_path, container
from tests.keycloak.server import Keycloak, KeycloakError, distribution

# The same examples each time, however busy the machine is.
hypothesis.register_profile("driftline", derandomize=True, deadline=None, database=None)
hypothesis.load_profile("driftline")

REQUIRED = os.environ.get("DRIFTLINE_REQUIRE_ALL") == "1"


def absent(message: str) -> None:
    """Skip with one loud line, or fail where CI requires it."""
    if REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What breaks brokers and workers against the clock comes last: the rest is quicker to fail, and may have company.

    Of the rest what takes long comes first: at the end no core waits for another's last test.
    """
    items.sort(key=lambda item: (_against_the_clock(item), not _takes_long(item)))


def _against_the_clock(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    return bool(marks & {"broker", "kafka", "keycloak"}) and "recorded" not in marks


def _takes_long(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None and not _against_the_clock(item)


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded sessions."""
    folder = os.environ.get("DRIFTLINE_DATA")
    if not folder:
        absent("NOT RUN: recorded sessions are needed; set DRIFTLINE_DATA to their folder")
    return Path(folder or "")


@pytest.fixture(scope="session")
def jars() -> None:
    """Apache Kafka's jars and Java, for tests that kill brokers."""
    try:
        class_path()
    except ClusterError as error:
        absent(f"NOT RUN: Apache Kafka is needed ({error})")


def _jars_of(name: str) -> str:
    """The class path of what ``tests/<name>.pom.xml`` names."""
    try:
        return class_path(ROOT / "tests" / f"{name}.pom.xml", ROOT / "build" / name)
    except ClusterError as error:
        absent(f"NOT RUN: {name} is needed ({error})")
    return ""


@pytest.fixture(scope="session")
def connect_jars() -> str:
    """Kafka Connect's standalone worker and its file sink."""
    return _jars_of("connect")


@pytest.fixture(scope="session")
def lucene_jars() -> str:
    """Lucene and its query parser, for a program that Java compiles as it starts it."""
    jars = _jars_of("lucene")
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler" not in modules:
        pytest.skip("NOT RUN: a JDK is needed, and the java on the PATH is a JRE")
    return jars


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one Apache Kafka for the whole run: the user's own, from jars, or from a container."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given and os.environ.get("DRIFTLINE_TEST_ON_BOOTSTRAP") == "1":
        yield given
        return
    reasons = []
    with contextlib.ExitStack() as stack:
        address = ""
        try:
            class_path()
            cluster = stack.enter_context(Cluster(1, tmp_path_factory.mktemp("kafka") / "cluster"))
            address = cluster.bootstrap
        except ClusterError as error:
            reasons.append(str(error))
            try:
                address = stack.enter_context(container())
            except Exception as failure:  # no runtime, no image: each client has errors of its own
                reasons.append(f"no container either: {type(failure).__name__}")
        if not address:
            absent(f"NOT RUN: Apache Kafka is needed ({'; '.join(reasons)})")
        yield address


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """One Keycloak with its realm for all tests of a process; whoever stops, pauses or changes it puts that right again."""
    try:
        distribution()
    except KeycloakError as error:
        absent(f"NOT RUN: Keycloak is needed ({error})")
    with Keycloak(tmp_path_factory.mktemp("keycloak") / "server") as server:
        yield server


@pytest.fixture
def on_kafka(kafka: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings under a random prefix on Apache Kafka, topics made; deleted afterwards."""
    made = Settings.from_environment(
        {},
        bootstrap=kafka,
        prefix=f"t{uuid.uuid4().hex[:8]}.",
        partitions=3,
        state_dir=tmp_path,
        session_timeout_s=6.0,
        checkpoint_s=0.5,
    )
    topics.create(made)
    yield made
    topics.delete(made)
