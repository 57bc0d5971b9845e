"""``make demo-keycloak``: what the bank is told of each token before and after, and how the command ends."""

from __future__ import annotations

import re

import pytest

from tests.keycloak import demo
from tests.keycloak.server import Keycloak

pytestmark = [pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(600)]
FATE = re.compile(r"^│ (\d): .*│ (active|inactive) +│ (active|inactive) +│", re.MULTILINE)


def test_the_demo_at_keycloak_sees_two_sessions_alive_and_then_dead_and_the_third_alive_throughout(
    keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code = demo.main(keycloak)
    shown = capfd.readouterr().out
    assert FATE.findall(shown) == [
        ("1", "active", "inactive"),
        ("2", "active", "inactive"),
        ("3", "active", "active"),
    ], shown
    assert len(re.findall(r"sso:sid done, \d+ ms after the revocation", shown)) == 2, shown
    assert code == 0
