"""What tests of the transmitter share: tokens as act signs them, a bus in memory, a receiver's endpoint, the transmitter as a process."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
from joserfc.jwk import RSAKey

from stream.events import REVOCATIONS, RISK, Record, dumps, short_hash
from stream.outbound.claims import RISK_LEVEL_CHANGE, SESSION_REVOKED
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.transmit.configuration import Configuration
from stream.transmit.lane import Lane
from stream.transmit.stream import StreamRecord, read
from stream.transmit.streams import Streams
from stream.transmit.window import Place
from tests.command import CommandProcess, killed

ISSUER = "https://driftline.acme.test/ssf"
IDP, DESK = "https://idp.acme.test/set", "https://desk.acme.test/set"
BEARER = {"idp": "idp-" + "a" * 40, "desk": "desk-" + "b" * 40}
REVOKED_HERE = (REVOCATIONS, 0)


class Signer:
    """Signs as act does."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "signing.json"
        self.path.write_bytes(dumps(RSAKey.generate_key(2048).as_dict(private=True)))
        self.keys = SigningKeys(path=self.path)

    def revocation(self, name: str, audience: str = IDP) -> bytes:
        """A `session-revoked` of the session `name`."""
        event = {
            "event_timestamp": 1_796_000_000,
            "initiating_entity": "policy",
            "reason_admin": {"en": "Agent session drifted from its declared intent"},
            "driftline_cause": "drift",
            "driftline_credentials": [{"broker": "idp", "kind": "sid", "value": name, "scope": []}],
        }
        return self._signed(name, audience, {SESSION_REVOKED: event})

    def risk(self, name: str, audience: str = IDP) -> bytes:
        """A `risk-level-change` of the session `name`."""
        event = {
            "event_timestamp": 1_796_000_000,
            "principal": "SESSION",
            "previous_level": "LOW",
            "current_level": "HIGH",
            "risk_reason": "INTENT_DRIFT",
        }
        return self._signed(name, audience, {RISK_LEVEL_CHANGE: event})

    def _signed(self, name: str, audience: str, events: Mapping[str, Any]) -> bytes:
        subject = {
            "format": "complex",
            "session": {"format": "opaque", "id": name},
            "tenant": {"format": "opaque", "id": "acme"},
            "user": {"format": "iss_sub", "iss": "https://idp.acme.test", "sub": "u-1"},
        }
        claims = {
            "iss": ISSUER,
            "jti": jti_of(name, audience, *events),
            "iat": 1_796_000_000,
            "aud": audience,
            "txn": short_hash("case", name),
            "sub_id": subject,
            "events": dict(events),
        }
        return self.keys.sign(claims).encode()


def jti_of(name: str, audience: str = IDP, event: str = SESSION_REVOKED) -> str:
    """The id of a token that `Signer` made."""
    return short_hash("jti", name, audience, event)


class Log:
    """A bus in memory that outlives the transmitters on it: tokens, and streams as they were kept last."""

    def __init__(self) -> None:
        self.records: dict[Place, list[bytes]] = {REVOKED_HERE: [], (RISK, 0): []}
        self.kept: dict[str, bytes] = {}
        self.grown = asyncio.Event()

    def publish(self, *tokens: bytes, place: Place = REVOKED_HERE) -> None:
        self.records[place] += tokens
        self.grown.set()
        self.grown = asyncio.Event()

    def streams(self) -> dict[str, StreamRecord]:
        return {each.receiver: each for each in map(read, self.kept.values())}

    async def keep(self, stream_id: str, value: bytes | None) -> None:
        self.kept.pop(stream_id, None)
        if value is not None:
            self.kept[stream_id] = value

    async def ends(self) -> dict[Place, int]:
        return {place: len(records) for place, records in self.records.items()}

    async def at(self, place: Place, offset: int) -> Record | None:
        return record(place, offset, self.records[place][offset])

    async def read(self, lane: Lane) -> None:
        at = lane.window.read_to()
        while True:
            grown, found = self.grown, False
            for place, records in self.records.items():
                while at.get(place, 0) < len(records):
                    await lane.has_room()
                    offset = at.get(place, 0)
                    lane.read(place, record(place, offset, records[offset]))
                    at[place], found = offset + 1, True
            if not found:
                await grown.wait()


def record(place: Place, offset: int, value: bytes | None) -> Record:
    """A record as the consumer gives it."""
    return Record(place[0], place[1], offset, 1_796_000_000_000, "append", b"acme", (), value)


class Told:
    """Hears what becomes of tokens."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def delivered(self, receiver: str, event: str, seconds: float) -> None:
        self.events.append(("delivered", receiver, event))

    def refused(self, receiver: str, err: str) -> None:
        self.events.append(("refused", receiver, err))

    def lost(self, receiver: str, count: int) -> None:
        self.events.append(("lost", receiver, str(count)))

    def foreign(self, receiver: str, reason: str) -> None:
        self.events.append(("foreign", receiver, reason))


def configured(directory: Path, **changes: Any) -> Configuration:
    """Two receivers that make their own streams, as the configuration file has it."""
    return Configuration.model_validate_json(orjson.dumps(document(directory, **changes)))


def document(directory: Path, **changes: Any) -> dict[str, Any]:
    """The configuration file's content, with bearer tokens in files of `directory`."""
    files = {}
    for name, token in BEARER.items():
        files[name] = directory / f"{name}.token"
        files[name].write_text(token, encoding="utf-8")
    return {
        "url": "https://ssf.acme.test",
        "receivers": {
            "idp": {
                "audiences": [IDP],
                "token_file": str(files["idp"]),
                "push_to": ["https://idp.acme.test/ssf", "http://127.0.0.1:1"],
            },
            "desk": {"audiences": [DESK], "token_file": str(files["desk"])},
        },
        "limits": {"long_poll_s": 0.3, "redeliver_after_s": 0.4, "min_verification_interval_s": 0},
        **changes,
    }


class World(NamedTuple):
    """A transmitter on a bus in memory."""

    log: Log
    signer: Signer
    told: Told
    streams: Streams
    configuration: Configuration


def world(
    directory: Path,
    log: Log | None = None,
    now_ms: Callable[[], int] = lambda: 1_796_000_001_000,
    signer: Signer | None = None,
    **changes: Any,
) -> World:
    """A transmitter on `log`, that has not begun."""
    log, told, signer = log or Log(), Told(), signer or Signer(directory)
    configuration = configured(directory, **changes)
    streams = Streams(configuration, ISSUER, signer.keys, log, told, now_ms, lambda: 0.0)
    return World(log, signer, told, streams, configuration)


class Endpoint:
    """A receiver's push endpoint: what came, and an answer for each that a test may choose.

    `answer` gives status, headers and body for the nth request (from 0) and its token.
    """

    def __init__(
        self,
        answer: Callable[[int, bytes], tuple[int, Mapping[str, str], bytes]] = lambda n, t: (202, {}, b""),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.taken: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                token = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = answer(len(outer.requests), token)
                outer.requests.append((dict(self.headers), token))
                if status == 202:
                    outer.taken.append(token)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/ssf/events"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


KILLED = killed(
    "from stream.shell import transmitter\nfrom stream.transmit import push",
    {"push": ("push.Pusher", "send"), "place": ("transmitter.Transmitter", "keep")},
)
STEPS = ("before push", "after push", "before place", "after place")


class TransmitProcess(CommandProcess):
    """``driftline transmit`` as a process; `kill_at` is ``step:n``, see `STEPS`."""

    def __init__(
        self,
        settings: Settings,
        config: Path,
        key: Path,
        log: Path,
        *options: str,
        kill_at: str | None = None,
    ) -> None:
        environment = {"DRIFTLINE_ISSUER": ISSUER, "DRIFTLINE_SIGNING_KEY_FILE": str(key)}
        arguments = ["transmit", "--config", str(config), *options]
        super().__init__(settings, arguments, environment, log, KILLED, kill_at)


def written(path: Path, content: Mapping[str, Any]) -> Path:
    """A configuration file; JSON is YAML."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
