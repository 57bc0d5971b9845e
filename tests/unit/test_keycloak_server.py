"""What is said where Keycloak cannot be had; nothing is fetched or started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keycloak import server
from tests.keycloak.server import Keycloak, KeycloakError, Tokens, distribution


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, empty; nothing is built."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(server, "BUILDS", tmp_path / "builds")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_without_java_or_maven_the_error_says_what_to_install(programs: Path) -> None:
    with pytest.raises(KeycloakError, match="java 17 or later is not on the PATH"):
        distribution()
    program(programs, "java", "exit 0")
    with pytest.raises(KeycloakError, match="mvn is not on the PATH"):
        distribution()


def test_a_fetch_that_fails_says_what_maven_said_and_leaves_nothing_half_done(programs: Path) -> None:
    program(programs, "java", "exit 0")
    program(programs, "mvn", "echo cannot resolve; exit 1")
    for _ in range(2):
        with pytest.raises(KeycloakError, match="could not fetch Keycloak: cannot resolve"):
            distribution()
    assert not (server.BUILDS / "plain").exists()


def test_a_server_that_ends_says_so_with_its_log_and_its_folder_goes(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    program(programs, "java", "echo no room; exit 3")
    built = server.BUILDS / "plain"
    built.mkdir(parents=True)
    (built / "built").write_text(server.POM.read_text(encoding="utf-8"), encoding="utf-8")
    keycloak = Keycloak()
    with pytest.raises(KeycloakError, match=r"Keycloak ended: no room"), keycloak:
        raise AssertionError("it cannot have started")
    assert not keycloak.directory.exists()


def test_a_token_without_a_session_has_none() -> None:
    with pytest.raises(KeycloakError, match="belongs to no session"):
        _ = Tokens("batch-agent", "e30.e30.").session
    assert Tokens("app", "e30.eyJzaWQiOiJzIn0.").session == "s"
