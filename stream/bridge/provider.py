"""What a provider is to the bridge: something that revokes one credential and says what that left valid."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from models.contracts import CredentialRef
from models.text.secrets import DIGEST

Status = Literal["done", "already_gone", "wider", "requested"]


class Effect(NamedTuple):
    """What a revocation did.

    Attributes
    ----------
    status : str
        ``done``; ``already_gone``: nothing of that name was there; ``wider``: more went than was asked for;
        ``requested``: taken, and in effect later.
    detail : str
        For people; no secret, no value of a reference.
    survives : str
        What stays valid all the same; empty: nothing.
    survives_s : float or None
        For how many seconds at most; None where nobody knows or nothing does.
    """

    status: Status
    detail: str = ""
    survives: str = ""
    survives_s: float | None = None


class Unavailable(Exception):
    """The provider may do it later: it is down, busy, or refuses the bridge's own credentials.

    Parameters
    ----------
    why : str
        For people, such as ``HTTP 503``.
    retry_after_s : float or None
        How long it asks to be left alone.
    """

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why, self.retry_after_s = why, retry_after_s


class Rejected(Exception):
    """The provider will never do it as asked; the text says why, and the mend."""


def named(credential: CredentialRef) -> str:
    """The value of a reference that names something at the provider.

    Raises
    ------
    Rejected
        It is the digest of a secret that was declared in a reference's place: no provider finds that.
    """
    if DIGEST in credential.value:
        raise Rejected(
            "a secret was declared where a reference should stand, and its digest names nothing here; declare its id instead"
        )
    return credential.value


class Provider(Protocol):
    """A place that credentials come from.

    `revoke` must be safe to repeat: a crash between the effect and the outcome leads to a second call.
    """

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Revoke one credential.

        Parameters
        ----------
        credential : CredentialRef
            The reference as the session declared it.
        issued_before_s : int
            Seconds since 1970 at which its session was revoked: providers that cut by time of issue cut here, so that a
            repeat cuts nothing more.

        Raises
        ------
        Unavailable
            Worth another attempt.
        Rejected
            Never will be.
        """
        ...

    async def check(self) -> str:
        """What a person should know of the connection, such as who the bridge is there.

        Raises
        ------
        Unavailable, Rejected
            It could revoke nothing as things stand.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
