"""Which credentials an honest end takes: those issued for the task that no other open session of the tenant holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.contracts import Credential, ReleasedCredential
from models.session import HELD, CredentialRow, Session
from stream.events import short_hash
from stream.policy import Policy


def print_of(tenant: str, row: CredentialRow | Credential) -> bytes:
    """What a credential of a tenant is known by among all sessions, whatever part of its scope each of them has."""
    return bytes.fromhex(short_hash("credential", tenant, row.broker, row.kind, row.value, size=HELD))


def prints_in(holds: bytes) -> set[bytes]:
    """The prints of `Session.holds`."""
    return {holds[at : at + HELD] for at in range(0, len(holds), HELD)}


def spent_by(session: Session, left: Sequence[ReleasedCredential]) -> bytes:
    """Prints of the credentials that the end of `session` takes: all but those that are `left` alone."""
    kept = {(each.broker, each.kind, each.value) for each in left}
    gone = {
        print_of(session.tenant, c) for c in session.credentials if (c.broker, c.kind, c.value) not in kept
    }
    return b"".join(sorted(gone))


def released(session: Session, policy: Policy, is_held: Callable[[bytes], bool]) -> list[ReleasedCredential]:
    """Of a session that is over, the credentials that its end leaves alone; `is_held` by another open one."""
    kept = []
    for row in session.credentials:
        for_task = row.for_task
        if for_task is None:
            for_task = row.kind in policy.task_credentials.get(row.broker, ())
        if for_task and not is_held(print_of(session.tenant, row)):
            continue
        kept.append(
            ReleasedCredential(
                broker=row.broker,
                kind=row.kind,
                value=row.value,
                scope=row.scope,
                why="held_elsewhere" if for_task else "not_for_task",
            )
        )
    return kept
