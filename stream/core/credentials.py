"""Which credentials an honest end takes: those issued for the task that no other open session of the tenant holds.

Of those that it leaves alone the last holder's end tells, where the policy does not say ``nothing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from models.contracts import Credential, CredentialRef, ReleasedCredential
from models.session import HELD, CredentialRow, Session
from stream.events import short_hash
from stream.policy import Policy


def print_of(tenant: str, row: CredentialRow | Credential) -> bytes:
    """What a credential of a tenant is known by among all sessions, whatever part of its scope each of them has."""
    return bytes.fromhex(short_hash("credential", tenant, row.broker, row.kind, row.value, size=HELD))


def prints_in(holds: bytes) -> set[bytes]:
    """The prints of `Session.holds`."""
    return {holds[at : at + HELD] for at in range(0, len(holds), HELD)}


def count_prints(counts: dict[bytes, int], holds: bytes, by: int) -> None:
    """Count each of the prints in `holds` so many times more; what is counted no more is dropped."""
    for each in prints_in(holds):
        counts[each] = counts.get(each, 0) + by
        if not counts[each]:
            del counts[each]


def spent_by(session: Session, left: Sequence[ReleasedCredential]) -> bytes:
    """Prints of the credentials that the end of `session` takes: all but those that are `left` alone."""
    kept = {(each.broker, each.kind, each.value) for each in left}
    gone = {
        print_of(session.tenant, c) for c in session.credentials if (c.broker, c.kind, c.value) not in kept
    }
    return b"".join(sorted(gone))


def is_for_task(row: CredentialRow, policy: Policy) -> bool:
    """Whether a credential was issued for its session's task: the declaration's word goes before the policy's."""
    return policy.at_end(row.broker, row.kind) == "revoke" if row.for_task is None else row.for_task


def released(session: Session, policy: Policy, is_held: Callable[[bytes], bool]) -> list[ReleasedCredential]:
    """Of a session that is over, the credentials that its end leaves alone; `is_held` by another open one."""
    kept = []
    for row in session.credentials:
        held = is_held(print_of(session.tenant, row))
        if not held and is_for_task(row, policy):
            continue
        kept.append(
            ReleasedCredential(
                broker=row.broker,
                kind=row.kind,
                value=row.value,
                scope=row.scope,
                why="held_elsewhere" if held else "not_for_task",
            )
        )
    return kept


def announced(left: Iterable[ReleasedCredential], policy: Policy) -> list[CredentialRef]:
    """Of those that an end leaves alone, the credentials that it gives up for good and that the policy lets brokers hear of."""
    return [
        CredentialRef(broker=ref.broker, kind=ref.kind, value=ref.value, scope=ref.scope)
        for ref in left
        if ref.why == "not_for_task" and policy.at_end(ref.broker, ref.kind) != "nothing"
    ]
