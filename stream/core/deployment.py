"""What records are held against: the fingerprints' key, tenants, who may sign what, and who tells agents apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from models.contracts import Signable
from models.session import Refusal


class Activation(NamedTuple):
    """The payload of a verified ``release.activated`` record."""

    topic: str
    partition: int
    epoch: int
    digest: str
    scope: str


class Activations(Protocol):
    """Checks the signature of an activation."""

    def read(self, token: str) -> Activation:
        """The payload of `token`; raises `ContractError` if the signature or the shape is wrong."""
        ...


class Opinion(NamedTuple):
    """The payload of a verified ``opinion.given`` record.

    Parameters
    ----------
    opinion : str
        ``serves`` or ``drifts``.
    by : str
        Who says so.
    """

    tenant: str
    root_session_id: str
    session_id: str
    decision_id: str
    opinion: str
    by: str


class Opinions(Protocol):
    """Checks the signature of a second opinion."""

    def read(self, token: str) -> Opinion:
        """The payload of `token`; raises `ContractError` if the signature or the shape is wrong."""
        ...


class Declarations(Protocol):
    """Checks the signature of a declaration, an amendment or a changed catalogue, by its tenant's keys."""

    def signer(self, tenant: str, event: Signable, document: Mapping[str, Any]) -> str | None:
        """Thumbprint (RFC 7638) of the key of `tenant` that signed `event`, read from `document`; None of none. Never raises."""
        ...


class Attested(NamedTuple):
    """What a verified attestation says.

    Parameters
    ----------
    issuer : str
        Its ``iss``, or the trust domain of a SPIFFE id.
    agent : str
        The workload, or the actor.
    name : str or None
        What declarations may call it beside that.
    principal, principal_issuer : str or None
        Whom it acts for; None where the attestation does not tell.
    session : str or None
        The session that it is for; None: any.
    expires_ms : int
        Its end.
    key : str or None
        Thumbprint of the key that the bearer must show to have.
    digest : bytes
        SHA-256 of its signed part: a signature may have several spellings.
    """

    issuer: str
    agent: str
    name: str | None
    principal: str | None
    principal_issuer: str | None
    session: str | None
    expires_ms: int
    key: str | None
    digest: bytes


class Attestations(Protocol):
    """Checks attestations by the issuers of their tenant."""

    def read(self, tenant: str, token: str, now_ms: int, skew_ms: int) -> Attested | Refusal | None:
        """What `token` attests at `now_ms`, or why it does not; None where `tenant` has no issuers. Never raises.

        `skew_ms` is how far an issuer's clock may be ahead.
        """
        ...


class Deployment(NamedTuple):
    """Where the core runs.

    Parameters
    ----------
    activations : Activations
        Verifies ``release.activated`` records.
    fingerprint_key : bytes
        Key of all fingerprints.
    tenants : mapping of str to (str or None)
        Base name of an input topic -> the tenant bound to it.
    declarations : Declarations or None
        Verifies declarations and amendments where the policy demands signatures; None believes no signature.
    opinions : Opinions or None
        Verifies second opinions; None believes none.
    attestations : Attestations or None
        Verifies who declares; None looks at no attestation.
    """

    activations: Activations
    fingerprint_key: bytes
    tenants: Mapping[str, str | None]
    declarations: Declarations | None = None
    opinions: Opinions | None = None
    attestations: Attestations | None = None
