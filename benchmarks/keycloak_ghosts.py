"""Does a session that was deleted at Keycloak stay dead while resources introspect its tokens? ``python -m benchmarks.keycloak_ghosts``.

One call is what the API offers, and what it answers is 204; the bridge asks until the session stays away. Two clients, or `CLIENTS=`,
introspect one token of the session without pause, before, during and half a second after; `N=` sessions for each way.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.contracts import CredentialRef
from stream.bridge.providers.keycloak import Keycloak as Provider
from stream.bridge.providers.keycloak import KeycloakSettings
from tests.keycloak.server import REALM, Keycloak, Tokens, secret

AFTER_S = 0.5


def lives(keycloak: Keycloak, end: Callable[[str], None], clients: int) -> tuple[bool, float]:
    """Whether a session lives though it was ended, with so many clients asking; and how long the ending took, in ms."""
    user = keycloak.login("alice")
    task = keycloak.exchange(user)
    assert keycloak.active(task)
    stop = threading.Event()

    def ask(tokens: Tokens) -> None:
        while not stop.is_set():
            keycloak.active(tokens)

    asking = [threading.Thread(target=ask, args=(task,)) for _ in range(clients)]
    for thread in asking:
        thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    end(user.session)
    took_ms = (time.monotonic() - began) * 1000
    time.sleep(AFTER_S)
    stop.set()
    for thread in asking:
        thread.join()
    return keycloak.active(task) or keycloak.refresh(user).status == 200, took_ms


def main() -> int:
    """Print the table; 1 where the bridge's way left a session alive."""
    n, clients = int(os.environ.get("N", "50")), int(os.environ.get("CLIENTS", "2"))
    table = Table(
        "way", "sessions", "alive all the same", "p50 ms", "max ms", title=f"{clients} clients introspect"
    )
    survivors = 0
    with tempfile.TemporaryDirectory() as scratch, Keycloak() as keycloak, asyncio.Runner() as loop:
        own = Path(scratch) / "secret"
        own.write_text(secret("driftline-bridge"), encoding="utf-8")
        provider = Provider(
            KeycloakSettings(provider="keycloak", url=keycloak.url, realm=REALM, client_secret_file=own)
        )
        bearer = keycloak.client_credentials("driftline-bridge").access

        def once(session: str) -> None:
            assert keycloak.delete_session(session, bearer=bearer).status == 204

        def bridge(session: str) -> None:
            ref = CredentialRef(broker="sso", kind="sid", value=session)
            assert loop.run(provider.revoke(ref, 0)).status == "done"

        for name, end in (("one DELETE, 204", once), ("the bridge", bridge)):
            seen = [lives(keycloak, end, clients) for _ in range(n)]
            took = sorted(ms for _, ms in seen)
            survivors = sum(alive for alive, _ in seen)
            table.add_row(name, str(n), str(survivors), f"{took[n // 2]:.0f}", f"{took[-1]:.0f}")
        loop.run(provider.close())
    Console().print(table)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
