"""docker-compose.yml: valid, and nothing listens beyond the loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.settings import Settings

ROOT = Path(__file__).parents[2]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def dockerfile() -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_there_are_kafka_and_the_worker_and_each_service_waits_for_one_that_exists() -> None:
    services = compose()["services"]
    assert {"kafka", "worker"} <= set(services)
    for service in services.values():
        assert "image" in service or (ROOT / service["build"] / "Dockerfile").is_file()
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose()["volumes"]


@pytest.mark.parametrize("name", ["kafka", "worker"])
def test_a_long_running_service_has_a_healthcheck(name: str) -> None:
    assert compose()["services"][name]["healthcheck"]["test"][0] == "CMD"


def test_every_published_port_is_on_the_loopback() -> None:
    services = compose()["services"]
    published = [str(port) for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_kafka_tells_clients_outside_the_network_the_loopback_only() -> None:
    environment = compose()["services"]["kafka"]["environment"]
    told = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert told["HOST"].startswith("127.0.0.1:")
    listening = dict(entry.split("://") for entry in environment["KAFKA_LISTENERS"].split(","))
    assert listening["CONTROLLER"].startswith("localhost:")
    assert set(told) == set(listening) - {"CONTROLLER"}


def test_driftline_reads_every_setting_that_the_file_gives() -> None:
    for name in ("topics", "worker"):
        environment = compose()["services"][name]["environment"]
        known = {"DRIFTLINE_" + field.upper() for field in Settings.__dataclass_fields__}
        assert set(environment) <= known
        assert Settings.from_environment(environment).bootstrap == "kafka:19092"


def test_the_image_runs_as_somebody_without_rights_and_holds_the_package() -> None:
    lines = dockerfile()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}
    copied = {part for line in lines if line.startswith("COPY ") for part in line.split()[1:-1]}
    assert copied == {"pyproject.toml", "README.md", "constraints.txt", "stream", "models"}
    assert all((ROOT / part).exists() for part in copied)
    assert any("pip install" in line and line.rstrip().endswith(" .") for line in lines)
