"""SPIRE, by its own command line on the server's socket.

==================  ==========================================  =====================================================
kind                what is revoked                             what stays valid
==================  ==========================================  =====================================================
``entry_id``        that registration entry: no new SVID is     SVIDs that were issued, until they expire: X.509 an
                    issued to the workload                      hour and JWT five minutes by default
==================  ==========================================  =====================================================

The bridge runs beside the server, as a user who may open its socket.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.contracts import CredentialRef
from stream.bridge.provider import Effect, Rejected, Unavailable, named
from stream.bridge.providers.program import run
from stream.bridge.providers.settings import Minutes, Part, Seconds

SURVIVES = "SVIDs already issued, until they expire"


class SpireSettings(Part):
    """A SPIRE server.

    Attributes
    ----------
    command : list of str
        How ``spire-server`` is run.
    options : list of str
        Put behind each of its commands, such as ``[-socketPath, /run/spire/api.sock]``.
    svid_minutes : float
        The longest life of an SVID there.
    timeout_s : float
        After which a call counts as not answered.
    """

    provider: Literal["spire"]
    command: Annotated[tuple[str, ...], Field(min_length=1)] = ("spire-server",)
    options: tuple[str, ...] = ()
    svid_minutes: Minutes = 60.0
    timeout_s: Seconds = 10.0


class Spire:
    """Deletes registration entries; the class of `SpireSettings`."""

    def __init__(self, settings: SpireSettings) -> None:
        self._settings = settings

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Delete the entry."""
        if credential.kind != "entry_id":
            raise Rejected(
                f"SPIRE revokes by entry_id, not by {credential.kind!r}; declare the workload's entry"
            )
        if named(credential).startswith("-"):
            raise Rejected("an entry_id does not begin with a dash")
        life_s = self._settings.svid_minutes * 60
        code, said = await self._run("entry", "delete", "-entryID", named(credential))
        if code == 0:
            return Effect("done", survives=SURVIVES, survives_s=life_s)
        if "entry not found" in said.lower():
            return Effect("already_gone", survives=SURVIVES, survives_s=life_s)
        if "unavailable" in said.lower() or "deadline" in said.lower() or "connection" in said.lower():
            raise Unavailable("the SPIRE server does not answer on its socket")
        if "not found" in said.lower() or "notfound" in said.lower():
            raise Unavailable(f"command ended with code {code}: a pod or a program of it is not found")
        raise Rejected(f"spire-server ended with code {code}")

    async def check(self) -> str:
        """Ask whether the server is healthy."""
        code, _ = await self._run("healthcheck")
        if code != 0:
            raise Unavailable("spire-server healthcheck fails")
        return "the SPIRE server is healthy"

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """A command's exit code, and what it said."""
        code, said = await run(
            [*self._settings.command, *arguments, *self._settings.options],
            name=self._settings.command[0],
            timeout_s=self._settings.timeout_s,
            most=65_536,
            with_errors=True,
        )
        return code, said.decode("utf-8", "replace")
