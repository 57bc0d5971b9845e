"""What signals look at: one call before its effect, with what several of them need taken from it once."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple, Protocol

from models.contracts import ArgumentRef, Credential
from models.evidence.call import CallEvidence
from models.evidence.called import ACTIONS
from models.evidence.origins import LeafOrigin, share
from models.session import CredentialRow, Session, Tombstone
from models.text import quotes
from models.text.index import DESCRIBED
from stream.events import milliseconds, short_hash

ASKED_AFFINITY = 170
"""From two thirds of the affinity of the tool that the intent speaks of most, a tool counts as spoken of."""
NAMED_DESTINATION = 600
"""Share of the least intended destination, in thousandths, from which the user named where it goes (chosen)."""
CATALOGUE_SAYS = "what the catalogue says of"
"""Before a tool's name, where a statement is of its description and not of an answer."""
PRIVATE_CHARACTERS = 12
"""Characters of tokens from a private result that an outward call may carry by chance (chosen)."""


class CredentialRules(Protocol):
    """What a policy holds credentials to."""

    def needed(self, broker: str, tool: str) -> frozenset[str] | None:
        """The scopes of `broker`, any of which lets `tool` be called; None where the policy does not say."""
        ...

    def longest_ms(self, sensitive: bool) -> int | None:
        """Longest life of a credential that calls of such tools use; None where the policy does not say."""
        ...

    def excepted_until_ms(self, broker: str, kind: str, value: str) -> int | None:
        """When the exception for a credential that lives longer runs out, in ms since 1970; None: there is none."""
        ...


class Knobs(Protocol):
    """What of a policy shapes signals."""

    @property
    def loop_calls(self) -> int:
        """Equal calls within the window that are a loop."""
        ...

    @property
    def credential_max_hours(self) -> float:
        """Longest life of a credential issued for a task."""
        ...

    @property
    def credentials(self) -> CredentialRules:
        """What credentials are held to beyond that."""
        ...

    def data_classes_of(self, tools: Set[str]) -> Sequence[str]:
        """The classes of data that any of `tools` handles."""
        ...

    @property
    def excerpts(self) -> bool:
        """Whether evidence shows the beginning of an argument."""
        ...


class Circumstances(NamedTuple):
    """What is known of a call beside what it says: its time, its credential, and whether its session was over.

    Parameters
    ----------
    time_ms : int
        The event's own time, not before the session's first.
    credential : Credential or None
        The one that the call names.
    candidates : sequence of CredentialRow
        Those declared that it may have used: the one it names, or all where it names none.
    over : bool
        The session was over before this call.
    above : sequence of Session or Tombstone
        Those that the session works for, nearest first, over or not: their terms hold for it too.
    spent : bool
        All that it may have used was issued for another task alone, which was over before.
    """

    time_ms: int
    credential: Credential | None
    candidates: Sequence[CredentialRow]
    over: bool
    above: Sequence[Session | Tombstone] = ()
    spent: bool = False

    @property
    def expiries_ms(self) -> list[int | None]:
        """Ends of the credentials it may have used, as declared and as named; None where one does not say."""
        expiries = [candidate.expires_ms for candidate in self.candidates]
        named = self.credential
        if named is not None and named.expires is not None:
            expiries.append(milliseconds(named.expires))
        return expiries


def circumstances(
    session: Session, credential: Credential | None, time_ms: int, above: Sequence[Session | Tombstone]
) -> Circumstances:
    """The circumstances of a call of an open session that works for those `above`, of whom some may be over."""
    candidates = session.credentials
    if credential is not None:
        named = (credential.broker, credential.kind, credential.value)
        candidates = [c for c in candidates if (c.broker, c.kind, c.value) == named]
    spent = bool(candidates) and all(candidate.spent for candidate in candidates)
    return Circumstances(time_ms, credential, candidates, over=False, above=above, spent=spent)


def circumstances_after_end(time_ms: int) -> Circumstances:
    """Those of a call after its session's end; a tombstone keeps no credentials to hold the call's own against."""
    return Circumstances(time_ms, None, (), over=True)


class Destination(NamedTuple):
    """Of the arguments that name where an act goes, the one that results explain most; shares in thousandths."""

    leaf: LeafOrigin
    results: int
    intent: int
    nowhere: int


class PrivateData(NamedTuple):
    """Characters of what the latest private call returned that a call carries, and of these in web addresses."""

    carried: int
    in_url: int


class ObservedCall(NamedTuple):
    """One call, seen before its effect.

    Parameters
    ----------
    session : Session
        State before the call was folded in.
    evidence : CallEvidence
        What the call shows.
    circumstances : Circumstances
        Time, credential, and whether the session was over.
    knobs : Knobs
        Of the policy that judges.
    allowed : bool
        The intent, and those of all sessions above, allow what the tool itself may do.
    asked : bool
        The intent asks for this kind of action, and allows it.
    asked_out : bool
        The user named the destination, or spoke of this very tool.
    destination : Destination or None
        Where the act goes; None for a call that only reads, or names no destination.
    private : PrivateData
        What it carries of the latest private answer.
    """

    session: Session
    evidence: CallEvidence
    circumstances: Circumstances
    knobs: Knobs
    allowed: bool
    asked: bool
    asked_out: bool
    destination: Destination | None
    private: PrivateData

    @property
    def here(self) -> int:
        """The call's place among its session's calls, from 0."""
        return self.session.calls

    @property
    def in_url_unnamed(self) -> bool:
        """Private data stands in a web address that the user did not name, and that is not where it was read."""
        if self.evidence.goes_back:
            return False
        intended = self.evidence.arguments.destinations.intent_min
        return self.private.in_url >= PRIVATE_CHARACTERS and intended < NAMED_DESTINATION

    def source(self, call: int) -> str:
        """Where something comes from, to be read: an answer, or what was declared of a tool."""
        if call == DESCRIBED:
            return f"{CATALOGUE_SAYS} {named(str(self.evidence.arguments.planted))}"
        return f"the result of call {call}"

    def reference(self, leaf: LeafOrigin) -> ArgumentRef:
        """An argument named by path, length and keyed hash; its text only where the policy shows excerpts."""
        text = leaf.leaf.text
        return ArgumentRef(
            path=leaf.leaf.path[:256],
            length=len(text),
            hash=short_hash(self.evidence.context.key, text, size=8),
            excerpt=quotes.value(text, "full")[:40] if self.knobs.excerpts else "*" * min(8, len(text)),
        )


def observe(evidence: CallEvidence, circumstances: Circumstances, knobs: Knobs) -> ObservedCall:
    """The call that `evidence` is of, as signals look at it; parameters are those of `ObservedCall`."""
    session, arguments = evidence.context.session, evidence.arguments
    power = ACTIONS[evidence.tool.facts.action]  # the tool's own: what is called through it may be less
    tree = (session, *circumstances.above)
    restricted = [each.terms.actions for each in tree if each.terms.actions]
    allowed = all(actions >> power & 1 for actions in restricted)
    asked = evidence.action_asked and allowed
    named = arguments.destinations.intent_min >= NAMED_DESTINATION
    return ObservedCall(
        session=session,
        evidence=evidence,
        circumstances=circumstances,
        knobs=knobs,
        allowed=allowed,
        asked=asked,
        asked_out=asked and (named or evidence.standing.affinity >= ASKED_AFFINITY),
        destination=_destination(arguments.leaves) if evidence.action > 0 else None,
        private=_private(arguments.leaves, session.last_private),
    )


def _destination(leaves: Sequence[LeafOrigin]) -> Destination | None:
    worst = max(
        (leaf for leaf in leaves if leaf.sink and leaf.origin.total),
        key=lambda leaf: (share(leaf.origin.results, leaf.origin.total), leaf.origin.nowhere),
        default=None,
    )
    if worst is None:
        return None
    origin = worst.origin
    shares = (share(part, origin.total) for part in (origin.results, origin.intent, origin.nowhere))
    return Destination(worst, *shares)


def _private(leaves: Sequence[LeafOrigin], last_private: int) -> PrivateData:
    if last_private < 0:
        return PrivateData(0, 0)
    carried = in_url = 0
    for leaf in leaves:
        characters = leaf.origin.by_source.get(last_private, 0)
        carried += characters
        if characters and "://" in leaf.leaf.text:
            in_url += characters
    return PrivateData(carried, in_url)


def named(name: str) -> str:
    """What others named, an argument's path or a tool, as a statement tells it: none can pass for words of ours."""
    return quotes.named(name, 256)
