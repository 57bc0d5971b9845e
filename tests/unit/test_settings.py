"""Settings: read once from the environment, refused when contradictory, secrets never shown."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from models.errors import ConfigError
from stream import bootstrap, tls
from stream.cli import running
from stream.settings import Settings


def test_settings_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.bootstrap == "127.0.0.1:9092"
    assert settings.partitions == 12
    assert settings.input_topics == {"agent.events.v1": None}
    assert settings.fingerprint_key == b"driftline-development"


def test_settings_environment_sets_each_type() -> None:
    settings = Settings.from_environment(
        {
            "DRIFTLINE_PARTITIONS": "3",
            "DRIFTLINE_CHECKPOINT_S": "0.5",
            "DRIFTLINE_INPUT_TOPICS": '{"acme.events.v1": "acme"}',
            "DRIFTLINE_STATE_DIR": "somewhere",
            "DRIFTLINE_FINGERPRINT_KEY": "k",
        }
    )
    assert settings.partitions == 3
    assert settings.checkpoint_s == 0.5
    assert settings.input_topics == {"acme.events.v1": "acme"}
    assert settings.state_dir == Path("somewhere")
    assert settings.fingerprint_key == b"k"


def test_settings_kafka_bootstrap_beats_the_program_s_own_variable() -> None:
    settings = Settings.from_environment({"DRIFTLINE_BOOTSTRAP": "a:1", "KAFKA_BOOTSTRAP": "b:2"})
    assert settings.bootstrap == "b:2"


def test_settings_argument_beats_the_environment() -> None:
    assert (
        Settings.from_environment({"KAFKA_BOOTSTRAP": "b:2"}, bootstrap="c:3", prefix=None).bootstrap == "c:3"
    )


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DRIFTLINE_PARTITIONS": "many"}, "DRIFTLINE_PARTITIONS"),
        ({"DRIFTLINE_PARTITIONS": "0"}, "at least 1"),
        ({"DRIFTLINE_INPUT_TOPICS": "agent.events.v1"}, "JSON object"),
        ({"DRIFTLINE_INPUT_TOPICS": "{}"}, "names no topic"),
        ({"DRIFTLINE_BOOTSTRAP": "localhost"}, "host:port"),
        ({"DRIFTLINE_SECURITY_PROTOCOL": "TLS"}, "SASL_SSL"),
        ({"DRIFTLINE_SECURITY_PROTOCOL": "SASL_SSL"}, "DRIFTLINE_SASL_USERNAME"),
        ({"DRIFTLINE_SASL_PASSWORD": "hunter2"}, "would not be used"),
        ({"DRIFTLINE_CHECKPOINT_S": "0"}, "more than 0"),
        ({"DRIFTLINE_SESSION_TIMEOUT_S": "0.1"}, "1 to 60"),
        ({"DRIFTLINE_RUNBOOK_URL": "wiki/soc"}, "an http or https address"),
        ({"DRIFTLINE_OCSF_VERSION": "1.9"}, "DRIFTLINE_OCSF_VERSION is '1.9'; expected 1.8.0 or 1.9.0"),
    ],
)
def test_settings_wrong_value_is_refused_with_its_name(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Settings.from_environment(environment)


def test_settings_rendered_masks_secrets_and_shows_the_rest() -> None:
    settings = Settings.from_environment(
        {
            "DRIFTLINE_SECURITY_PROTOCOL": "SASL_SSL",
            "DRIFTLINE_SASL_USERNAME": "worker",
            "DRIFTLINE_SASL_PASSWORD": "hunter2",
            "DRIFTLINE_FINGERPRINT_KEY": "very-secret",
        }
    )
    text = settings.rendered()
    assert "hunter2" not in text
    assert "very-secret" not in text
    shown = json.loads(text)
    assert shown["sasl_username"] == "worker"
    assert shown["partitions"] == 12


def test_settings_topic_and_base_are_inverse() -> None:
    settings = Settings(prefix="test.")
    assert settings.topic("agent.events.v1") == "test.agent.events.v1"
    assert settings.base(settings.topic("agent.events.v1")) == "agent.events.v1"


@pytest.mark.parametrize("mode", ["shadow", "enforce"])
def test_a_worker_says_in_both_modes_which_settings_are_for_development_only(
    mode: str, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path)
    warned: list[str] = []
    running.announce(
        settings,
        bootstrap.judge(settings, mode=mode),
        bootstrap.actor(settings),
        running.Voice([].append, warned.append),
    )
    named = [text.rsplit(" ", 1)[1] for text in warned]
    assert named == [
        "DRIFTLINE_FINGERPRINT_KEY",
        "DRIFTLINE_SIGNING_KEY_FILE",
        "DRIFTLINE_RESPONDER_JWKS",
        "DRIFTLINE_ISSUER",
    ]


@pytest.mark.parametrize("version", ["2.0.2", "2.2.21", "2.3.3"])
def test_a_kafka_python_that_is_too_old_is_told_when_a_connection_is_made(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "version", lambda name: version)
    with pytest.raises(
        ConfigError, match=rf"kafka-python {re.escape(version)} .* pip install 'kafka-python>=3\.0'"
    ):
        Settings().kafka()


@pytest.mark.parametrize("version", ["3.0.0", "3.0.12", "10.1"])
def test_a_kafka_python_that_fits_connects(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "version", lambda name: version)
    assert Settings(bootstrap="a:1").kafka()["bootstrap_servers"] == ["a:1"]


def test_the_package_asks_for_the_kafka_python_that_connects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert f"kafka-python>={tls.OLDEST_CLIENT}.0" in project["project"]["dependencies"]
