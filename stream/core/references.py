"""take, credential references: a secret that a host declared in place of a reference is hidden before anything keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from models.contracts import Credential, SessionDeclared, SessionEvent, ToolCalled
from models.session import CredentialRow
from models.text.secrets import DIGEST, digested

_FIELDS = ("broker", "kind", "value", "scope", "issued_to")


class SecretReference(NamedTuple):
    """Where a secret stood in place of a reference, for whoever runs the worker: names alone."""

    tenant: str
    broker: str
    kind: str
    session: str

    def __str__(self) -> str:
        tenant, broker, kind, session = (repr(name[:64]) for name in self)
        return (
            f"session {session} of tenant {tenant} names a secret as its credential of broker {broker}, kind {kind}; "
            "its SHA-256 is published in its place: have the host send the credential's id or accessor"
        )


def hidden(event: SessionEvent) -> SessionEvent:
    """`event` with a digest in the place of each secret that its credential references hold; itself where they hold none."""
    if isinstance(event, SessionDeclared) and event.credentials:
        credentials = [_hidden(each) for each in event.credentials]
        if any(new is not old for new, old in zip(credentials, event.credentials, strict=True)):
            return event.model_copy(update={"credentials": credentials})
    elif isinstance(event, ToolCalled) and event.credential is not None:
        credential = _hidden(event.credential)
        if credential is not event.credential:
            return event.model_copy(update={"credential": credential})
    return event


def secrets_in(event: SessionEvent, tenant: str) -> Iterator[SecretReference]:
    """The references of a `hidden` event that held a secret."""
    references = event.credentials if isinstance(event, SessionDeclared) else None
    if isinstance(event, ToolCalled) and event.credential is not None:
        references = [event.credential]
    for each in references or ():
        if is_secret(each):
            yield SecretReference(tenant, each.broker, each.kind, event.session_id)


def is_secret(reference: Credential | CredentialRow) -> bool:
    """Whether a reference holds the digest of a secret."""
    told = (
        f"{reference.broker}\n{reference.kind}\n{reference.value}\n{reference.scope}\n{reference.issued_to}"
    )
    return DIGEST in told


def _hidden(reference: Credential) -> Credential:
    about = f"{reference.broker} {reference.kind}"
    told = {field: text for field in _FIELDS if (text := getattr(reference, field)) is not None}
    plain = {field: digested(text, about) for field, text in told.items()}
    return reference.model_copy(update=plain) if plain != told else reference
