"""The credentials of the demo: each reference that a session declares is a token at a real OAuth server, and the bridge kills it there."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from models.contracts import SessionDeclared
from models.errors import ContractError, brings
from stream.events import parse
from stream.outbound.claims import default_audience
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from stream.shell.send import Message
from stream.shell.worker_process import ChildProcess

MOST = 2000
"""References for which tokens are issued; with more, the demo shows no credentials."""
CLIENT, SECRET = "demo-agent", "demo-agent-secret"
_TOKEN_OF = """
import json, sys
asked = json.loads(sys.stdin.readline())
held = json.load(open(sys.argv[1]))
name = " ".join((asked["broker"], asked["kind"], asked["value"]))
if name not in held:
    sys.exit(3)
print(json.dumps({"tokens": [{"token": held[name]}]}))
"""
"""The token command: what stands in its place with you asks your broker."""


class Reference(NamedTuple):
    """A credential as a session declares it."""

    broker: str
    kind: str
    value: str


def references(played: Sequence[Message]) -> list[Reference]:
    """All credentials that the sessions of `played` declare, each once, in order."""
    found: dict[Reference, None] = {}
    for message in played:
        try:
            event = parse(message.value).event
        except ContractError:
            continue
        if isinstance(event, SessionDeclared):
            found |= {Reference(each.broker, each.kind, each.value): None for each in event.credentials or ()}
    return list(found)


class Credentials:
    """An OAuth server with a token for each reference, and a bridge that kills them; a context manager.

    Parameters
    ----------
    settings : Settings
        Of the demo.
    declared : sequence of Reference
        What to issue tokens for; each is seen alive.
    scratch : Path
        A folder that goes with the demo.

    Raises
    ------
    ImportError
        The extra ``demo`` is not installed.
    """

    def __init__(self, settings: Settings, declared: Sequence[Reference], scratch: Path) -> None:
        from stream.shell.oauth_server import EmbeddedOAuthServer

        self._settings, self._declared, self._scratch = settings, declared, scratch
        self._server = EmbeddedOAuthServer({CLIENT: SECRET}, capacity=4 * MOST)
        self._tokens: dict[Reference, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._server)
        self._tokens = {each: self._server.issue(CLIENT, "task").access_token for each in self._declared}
        self._bridge = self._stack.enter_context(
            ChildProcess(
                self._settings,
                self._scratch / "bridge.log",
                ["bridge", "--dev", "--config", str(self._configuration()), "--jwks", str(self._keys())],
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def await_ready(self) -> None:
        """Wait until the bridge reads, and see every token alive."""
        self._bridge.await_ready()
        self.issued = len(self.alive())

    def check(self) -> None:
        """Raise with the bridge's last words if it has ended."""
        self._bridge.check()

    def alive(self) -> list[Reference]:
        """References whose tokens the OAuth server calls active at this moment."""
        return [each for each, token in self._tokens.items() if self._server.is_active(CLIENT, token)]

    def _configuration(self) -> Path:
        held, secret = self._scratch / "held.json", self._scratch / "secret"
        held.write_text(
            json.dumps({" ".join(each): token for each, token in self._tokens.items()}), encoding="utf-8"
        )
        secret.write_text(SECRET, encoding="utf-8")
        kinds: dict[str, set[str]] = {}
        for each in self._declared:
            kinds.setdefault(each.broker, set()).add(each.kind)
        brokers = {
            name: {
                "provider": "rfc7009",
                "url": self._server.url,
                "introspect_path": "/introspect",
                "client_id": CLIENT,
                "client_secret_file": str(secret),
                "token_command": [sys.executable, "-c", _TOKEN_OF, str(held)],
                "kinds": sorted(of_broker),
            }
            for name, of_broker in kinds.items()
        }
        path = self._scratch / "bridge.yaml"
        audiences = [default_audience(name) for name in kinds]
        path.write_text(json.dumps({"audiences": audiences, "brokers": brokers}), encoding="utf-8")
        return path

    def _keys(self) -> Path:
        """The public keys of the worker, whose development key is made here if it is not yet."""
        path = self._scratch / "jwks.json"
        path.write_text(json.dumps(SigningKeys(state_dir=self._settings.state_dir).jwks()), encoding="utf-8")
        return path


def credentials(settings: Settings, played: Sequence[Message], scratch: Path) -> Credentials | str:
    """The demo's credentials, or why there are none."""
    declared = references(played)
    if not declared:
        return "no session declares a credential"
    if len(declared) > MOST:
        return f"{len(declared)} credentials are declared, and the demo issues at most {MOST}"
    try:
        return Credentials(settings, declared, scratch)
    except ImportError:
        return f"to see credentials die at an OAuth server: {brings('demo')}"
