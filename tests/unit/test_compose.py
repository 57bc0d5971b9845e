"""docker-compose.yml: what each profile starts, that it fits the program, and that nothing listens beyond the loopback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import activations
from stream.activations import SignedActivations
from stream.cli.options import signing_key
from stream.core.deployment import Activation
from stream.settings import NO_SETTINGS, Settings

ROOT = Path(__file__).parents[2]
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
TOKEN = "/run/driftline/metrics-token"


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def started(profile: str | None, *named: str) -> set[str]:
    """What `docker compose --profile PROFILE up NAMED...` starts, dependencies included."""
    every = services()
    active = {
        name for name, one in every.items() if "profiles" not in one or profile in one.get("profiles", ())
    }
    todo, found = list(named or active), set()
    while todo:
        name = todo.pop()
        if name not in found:
            assert name in active, f"{name} is not in profile {profile}"
            found.add(name)
            todo += every[name].get("depends_on", ())
    return found


def dockerfile() -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("profile", "named", "expected"),
    [
        (None, (), {"kafka", "secrets", "topics", "worker"}),
        ("observe", (), {"kafka", "secrets", "topics", "worker", "prometheus", "grafana"}),
        ("cluster", ("cluster-worker",), {*BROKERS, "secrets", "cluster-topics", "cluster-worker"}),
    ],
)
def test_a_profile_starts_what_the_head_of_the_file_says(
    profile: str | None, named: tuple[str, ...], expected: set[str]
) -> None:
    assert started(profile, *named) == expected


def test_every_volume_network_and_file_that_a_service_names_is_there() -> None:
    file = compose()
    for service in services().values():
        assert (ROOT / service["build"] / "Dockerfile").is_file() if "build" in service else service["image"]
        assert set(service.get("networks", ())) <= set(file["networks"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in file["volumes"]


def test_every_image_from_elsewhere_has_a_version() -> None:
    images = {one["image"] for one in services().values() if "build" not in one}
    assert len(images) == 3
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in images)


def test_the_brokers_are_the_version_that_the_tests_run_on() -> None:
    pom = (ROOT / "tests" / "kafka.pom.xml").read_text(encoding="utf-8")
    version = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert version is not None
    assert {services()[name]["image"] for name in ("kafka", *BROKERS)} == {f"apache/kafka:{version[1]}"}


@pytest.mark.parametrize("name", ["kafka", *BROKERS, "worker", "cluster-worker"])
def test_a_long_running_service_has_a_healthcheck_and_comes_back(name: str) -> None:
    assert services()[name]["healthcheck"]["test"][0] == "CMD"
    assert services()[name]["restart"] == "unless-stopped"


def test_every_published_port_is_on_the_loopback_and_published_once() -> None:
    published = [str(port) for one in services().values() for port in one.get("ports", ())]
    assert len(published) == 6
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)
    assert not [name for name, one in services().items() if one.get("network_mode") == "host"]


@pytest.mark.parametrize("name", ["kafka", *BROKERS])
def test_a_broker_tells_clients_outside_the_network_the_port_that_is_published(name: str) -> None:
    service = services()[name]
    environment = service["environment"]
    told = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(entry.split("://") for entry in environment["KAFKA_LISTENERS"].split(","))
    assert service["ports"] == [f"{told['HOST']}{listening['HOST']}"]
    assert told["INTERNAL"] == f"{name}{listening['INTERNAL']}"
    assert set(told) == set(listening) - {"CONTROLLER"}


def test_the_controller_of_the_single_broker_is_reached_by_nobody_else() -> None:
    assert "CONTROLLER://localhost:9093" in services()["kafka"]["environment"]["KAFKA_LISTENERS"]


def test_the_cluster_is_three_voters_of_one_cluster_and_loses_nothing_with_one() -> None:
    environments = [services()[name]["environment"] for name in BROKERS]
    ids = [environment.pop("KAFKA_NODE_ID") for environment in environments]
    for environment in environments:
        del environment["KAFKA_ADVERTISED_LISTENERS"]
    assert environments[0] == environments[1] == environments[2]
    shared = environments[0]
    voters = [f"{node}@{name}:9093" for node, name in zip(ids, BROKERS, strict=True)]
    assert shared["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",") == voters
    assert all(services()[name]["hostname"] == name for name in BROKERS)
    copies = {key: value for key, value in shared.items() if key.endswith("REPLICATION_FACTOR")}
    in_sync = {key: value for key, value in shared.items() if key.endswith(("MIN_ISR", "INSYNC_REPLICAS"))}
    assert set(copies.values()) == {"3"}
    assert set(in_sync.values()) == {"2"}
    assert len({services()[name]["volumes"][0] for name in BROKERS}) == 3


@pytest.mark.parametrize(
    ("name", "bootstrap", "replication"),
    [
        ("topics", "kafka:19092", 1),
        ("worker", "kafka:19092", 1),
        ("release", "kafka:19092", 1),
        ("cluster-topics", ",".join(f"{broker}:19092" for broker in BROKERS), 3),
        ("cluster-worker", ",".join(f"{broker}:19092" for broker in BROKERS), 3),
    ],
)
def test_driftline_reads_every_setting_that_the_file_gives(
    name: str, bootstrap: str, replication: int
) -> None:
    environment = services()[name]["environment"]
    known = {"DRIFTLINE_" + name for name in (*map(str.upper, Settings.__dataclass_fields__), *NO_SETTINGS)}
    assert set(environment) <= known
    settings = Settings.from_environment(environment)
    assert (settings.bootstrap, settings.replication) == (bootstrap, replication)


def test_the_cluster_has_several_workers() -> None:
    assert services()["cluster-worker"]["deploy"]["replicas"] == 3


@pytest.mark.parametrize("name", ["worker", "cluster-worker"])
def test_metrics_on_the_network_need_the_token_that_was_made_before(name: str) -> None:
    worker = services()[name]
    assert worker["environment"]["DRIFTLINE_METRICS_TOKEN_FILE"] == TOKEN
    assert "secrets:/run/driftline:ro" in worker["volumes"]
    assert worker["depends_on"]["secrets"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize(
    "name", ["secrets", "topics", "worker", "release", "cluster-topics", "cluster-worker"]
)
def test_our_own_containers_have_no_rights(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_secrets_are_made_once_and_are_long(tmp_path: Path) -> None:
    [code] = services()["secrets"]["command"]
    for place in ("driftline", "activator"):
        (tmp_path / place).mkdir()
        code = code.replace(f"/run/{place}/", f"{tmp_path / place}/")
    exec(code, {})
    made = {path.name: path.read_text() for path in tmp_path.glob("*/*")}
    exec(code, {})
    assert made.keys() == {"metrics-token", "grafana-password", "activation-keys.json", "activator.json"}
    assert all(len(text) >= 40 for text in made.values())
    assert made["metrics-token"] != made["grafana-password"]
    assert {path.name: path.read_text() for path in tmp_path.glob("*/*")} == made
    # What workers trust is the public half of what the release service signs with, which lies apart.
    told = Activation("agent.events.v1", 0, 7, "ab" * 32, "new")
    token = activations.sign(told, "us", signing_key(tmp_path / "activator" / "activator.json"))
    trusted = SignedActivations(json.loads(made["activation-keys.json"]), "us")
    assert trusted.read(token) == told
    assert '"d":' not in made["activation-keys.json"]


def test_the_key_that_puts_releases_live_is_mounted_by_the_service_for_it_alone() -> None:
    mounts = {name: str(one.get("volumes", ())) for name, one in services().items()}
    assert {name for name, volumes in mounts.items() if "activator" in volumes} == {"secrets", "release"}
    for name in ("worker", "cluster-worker", "release"):
        file = services()[name]["environment"]["DRIFTLINE_ACTIVATION_JWKS"]
        assert file == "/run/driftline/activation-keys.json"
        assert "secrets:/run/driftline:ro" in mounts[name]
        assert "releases:/releases" in mounts[name]


def test_grafana_has_a_password_of_its_own_making_and_knows_no_stranger() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/driftline/grafana-password"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_USERS_ALLOW_SIGN_UP"] == "false"


def test_the_image_runs_as_somebody_without_rights_and_holds_the_package() -> None:
    lines = dockerfile()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001"]
    copied = {
        part
        for line in lines
        if line.startswith("COPY ")
        for part in line.split()[1:-1]
        if not part.startswith("--")
    }
    assert copied == {
        "pyproject.toml",
        "README.md",
        "constraints.txt",
        "stream",
        "models",
        "deploy/probe.py",
    }
    assert all((ROOT / part).exists() for part in copied)
    admitted = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all(f"!{part}" in admitted for part in copied)
    assert any("pip install" in line and line.rstrip().endswith(" .") for line in lines)
