"""What tests of the bridge on a bus share: signed revocations, what stands on a topic, the bridge as a process that may be killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from stream.events import OUTCOMES, REVOCATIONS, dumps, short_hash
from stream.outbound.claims import SESSION_REVOKED
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from tests.command import CommandProcess, killed

ISSUER, AUDIENCE = "https://driftline.acme.test/ssf", "https://sso.acme.test/set"
TENANT = "acme"
KILLED = killed(
    "from stream.bridge import lane\nfrom stream.shell import bridge",
    {
        "call": ("lane.Lane", "_call"),
        "outcome": ("bridge._Ends", "report"),
        "commit": ("bridge.Bridge", "_commit"),
    },
)
STEPS = ("before call", "after call", "before outcome", "after outcome", "before commit", "after commit")


class Issuer:
    """Signs revocations as act does, with a key that is no development key."""

    def __init__(self, directory: Path) -> None:
        path = directory / "signing.json"
        path.write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
        self._keys = SigningKeys(path=path)
        self.jwks = directory / "jwks.json"
        self.jwks.write_text(json.dumps(self._keys.jwks()), encoding="utf-8")

    def revocation(
        self,
        session: str,
        credentials: Sequence[Mapping[str, Any]],
        *,
        audience: str = AUDIENCE,
        now_s: int | None = None,
    ) -> bytes:
        """A token that revokes `credentials` of `session`."""
        at = int(time.time()) if now_s is None else now_s
        claims = {
            "iss": ISSUER,
            "jti": short_hash("jti", session, audience),
            "iat": at,
            "aud": audience,
            "txn": short_hash("case", session),
            "sub_id": {
                "format": "complex",
                "session": {"format": "opaque", "id": session},
                "tenant": {"format": "opaque", "id": TENANT},
            },
            "events": {
                SESSION_REVOKED: {
                    "event_timestamp": at,
                    "initiating_entity": "policy",
                    "reason_admin": {"en": "drifted"},
                    "driftline_cause": "drift",
                    "driftline_credentials": [dict(each) for each in credentials],
                }
            },
        }
        return self._keys.sign(claims).encode()


def publish(settings: Settings, tokens: Sequence[bytes]) -> None:
    """Put tokens on the topic of revocations."""
    producer = KafkaProducer(**settings.kafka(), acks="all")
    try:
        for future in [
            producer.send(settings.topic(REVOCATIONS), token, TENANT.encode()) for token in tokens
        ]:
            future.get(30)
    finally:
        producer.close()


def outcomes(
    settings: Settings, until: Callable[[list[dict[str, Any]]], bool], within_s: float = 60
) -> list[dict[str, Any]]:
    """What stands on the topic of outcomes once `until` holds of it, or after `within_s`."""
    consumer = KafkaConsumer(**settings.kafka(), enable_auto_commit=False, auto_offset_reset="earliest")
    seen: list[dict[str, Any]] = []
    try:
        topic = settings.topic(OUTCOMES)
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        deadline = time.monotonic() + within_s
        while not until(seen) and time.monotonic() < deadline:
            for records in consumer.poll(200).values():
                seen += [json.loads(record.value) for record in records]
        return seen
    finally:
        consumer.close()


class BridgeProcess(CommandProcess):
    """``driftline bridge`` as a process; `kill_at` is ``step:n``, see `STEPS`."""

    def __init__(
        self,
        settings: Settings,
        config: Path,
        jwks: Path,
        log: Path,
        *options: str,
        kill_at: str | None = None,
    ) -> None:
        arguments = ["bridge", "--config", str(config), "--jwks", str(jwks), *options]
        super().__init__(settings, arguments, {"DRIFTLINE_ISSUER": ISSUER}, log, KILLED, kill_at)
