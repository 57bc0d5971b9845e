"""The ten lines in docs/brokers.md, as they stand there, on a bus with what the samples lead to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from stream import bootstrap
from stream.events import REVOCATIONS
from stream.offline.files import read_records
from stream.offline.replay import replay
from stream.outbound.act import Actor
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.bridge.rig import Issuer, publish

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "stream" / "samples"
AUDIENCE = "https://ledger.broker.invalid/set"

pytestmark = pytest.mark.broker


def ten_lines() -> str:
    page = (ROOT / "docs" / "brokers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^## In ten lines\n\n```python\n(.*?)^```", page, re.M | re.S)
    return str(code)


def tokens(keys: SigningKeys) -> list[bytes]:
    """Every revocation that the samples lead to, just now."""
    judge = bootstrap.judge(Settings(attestation_issuers=SAMPLES / "issuers.json"), mode="enforce")
    return [
        output.value
        for path in sorted(SAMPLES.glob("*.jsonl"))
        for output in replay(read_records(path), judge, Actor(keys))
        if output.topic == REVOCATIONS
    ]


def payload_of(token: bytes) -> dict[str, Any]:
    payload = token.split(b".")[1]
    told: dict[str, Any] = json.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    return told


class Reader:
    """The ten lines as a program in `directory`; what it says stands in files, which outlive it."""

    def __init__(self, directory: Path, code: str) -> None:
        self._out, self._err = directory / "out", directory / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=directory, stdout=out, stderr=err
            )

    def said(self, n: int, within_s: float = 60) -> list[str]:
        """Its first lines, once there are `n`."""
        deadline = time.monotonic() + within_s
        while len(lines := self._out.read_text(encoding="utf-8").splitlines()) < n:
            assert self.process.poll() is None, self.complained()
            assert time.monotonic() < deadline, lines
            time.sleep(0.1)
        return lines

    def complained(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def bus() -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=1)
        topics.create(settings)
        yield settings


def test_ten_lines_take_what_is_for_the_ledger_pass_others_by_and_stop_at_a_forged_token(
    bus: Settings, tmp_path: Path
) -> None:
    code = ten_lines()
    assert len([line for line in code.splitlines() if line]) == 10
    assert code.count("kafka:9092") == 1
    keys = SigningKeys(text=json.dumps({**RSAKey.generate_key(2048).as_dict(private=True), "kid": "dev-1"}))
    (tmp_path / "keys.json").write_text(json.dumps(keys.jwks()), encoding="utf-8")
    signed = tokens(keys)
    claims = [payload_of(token) for token in signed]
    ours = [one["jti"] for one in claims if one["aud"] == AUDIENCE]
    assert 0 < len(ours) < len(claims)
    publish(bus, signed)
    reader = Reader(tmp_path, code.replace("kafka:9092", bus.bootstrap))
    try:
        lines = reader.said(len(ours))
        assert [line.split(" ", 1)[0] for line in lines] == ours
        assert all("'broker': 'ledger'" in line for line in lines)
        (tmp_path / "forger").mkdir()
        publish(bus, [Issuer(tmp_path / "forger").revocation("s", [], audience=AUDIENCE)])
        assert reader.process.wait(60) == 1
        assert "joserfc.errors" in reader.complained()
        assert reader.said(0) == lines
    finally:
        reader.close()
