"""What records are held against: the fingerprints' key, tenants, and who may sign what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from models.contracts import Signable


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

    def holds(self, tenant: str, event: Signable, document: Mapping[str, Any]) -> bool:
        """Whether `tenant` signed `event`, read from `document`; never raises."""
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
    """

    activations: Activations
    fingerprint_key: bytes
    tenants: Mapping[str, str | None]
    declarations: Declarations | None = None
    opinions: Opinions | None = None
