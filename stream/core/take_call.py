"""take, calls: what a call shows of itself before its score is known."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from models.contracts import ToolCalled
from models.evidence.call import CallEvidence, extract
from models.evidence.context import CallContext
from models.evidence.features.registry import row_of
from models.reading.reader import Shown
from models.session import Session, Tombstone
from models.text.fingerprints import content_print
from models.text.index import Index
from models.text.privacy import HASHED
from models.tools import amounts
from stream.core.arrival import Arrival
from stream.core.births import shell_of
from stream.core.credentials import print_of
from stream.core.draft import Draft
from stream.core.items import Call, Item, Mark
from stream.core.numbering import Novelty
from stream.core.observe import observe_call
from stream.core.references import is_secret
from stream.core.releases import Release
from stream.core.trees import Trees
from stream.events import dumps
from stream.signals import registry
from stream.signals.call import circumstances, circumstances_after_end, observe

_NUMBERED: dict[Novelty, list[Mark]] = {
    "new": [],
    "duplicate": [],
    "reused": ["number_reused"],
    "late": ["number_late"],
}
"""What a decision says of its event's number."""


class CallTaker:
    """Takes calls into their sessions, and leaves an item for the decision on each.

    Parameters
    ----------
    key : bytes
        Key of all fingerprints.
    draft, trees
        Where sessions stand, and whom they work for.
    items : list of Item
        Where what is to be ruled on is put.
    """

    def __init__(self, key: bytes, draft: Draft, trees: Trees, items: list[Item]) -> None:
        self._key = key
        self._draft = draft
        self._trees = trees
        self._items = items
        self._indexes: dict[str, tuple[bytes, Index]] = {}

    def take(self, arrival: Arrival, event: ToolCalled, session: Session, novelty: Novelty) -> None:
        """Extract what a call shows beside its session, and fold it in."""
        key = self._key
        time_ms = max(arrival.time_ms, session.started_ms)
        above = self._trees.above(session)
        ancestors = [(key, each) for key, each in above if isinstance(each, Session)]
        release = self._draft.release(session)
        arguments = dumps([event.tool, event.arguments])
        # Calls whose arguments nobody saw are not alike.
        digest = content_print(dumps([event.tool, event.call_id]) if event.unseen else arguments, key)
        context = self._context(arrival.key, session, ancestors, release)
        evidence = extract(context, event.tool, event.arguments, digest)
        at = circumstances(session, event.credential, time_ms, [each for _, each in above])
        if event.credential is not None and not at.candidates:
            at = at._replace(spent=self._draft.is_spent(print_of(session.tenant, event.credential)))
        below = self._trees.descendants(arrival.key, session)
        is_orphan = _is_orphan(session, ancestors)
        item = Call(
            record=arrival.record,
            event=event,
            arguments=arguments,
            time_ms=arrival.time_ms,
            over=False,
            session=copy.copy(session),
            row=row_of(evidence),
            action=evidence.tool.facts.action,
            signals=registry.check(observe(evidence, at, release.policy)),
            seq=session.calls,
            marks=_marks(
                session,
                event,
                novelty,
                is_orphan=is_orphan,
                is_cut=evidence.tool.unread.anything,
            ),
            release=release,
            shown=_shown(evidence),
            amount=_amount(context, event, release),
            now_ms=session.clock_ms,
            below=[(child, copy.copy(self._draft.session(child))) for child in below],
            whole=not (session.partial or is_orphan)
            and all(isinstance(each, Session) and not each.partial for _, each in above),
        )
        observe_call(session, event, evidence, digest, time_ms, key)
        self._spend([(arrival.key, session), *above], evidence.tool.facts.action != "read")
        self._items.append(item)

    def _spend(self, tree: list[tuple[str, Session | Tombstone]], acts: bool) -> None:
        """Charge a call to the budgets of its session and of all that this works for, over or not."""
        for key, each in tree:
            each.terms.calls += 1
            each.terms.writes += acts
            self._draft.changed[key] = None

    def take_after_end(
        self, arrival: Arrival, event: ToolCalled, tomb: Tombstone, novelty: Novelty, clock_ms: int
    ) -> None:
        """Extract what a call shows that came after its session's end: little, but it is decided on."""
        session = shell_of(tomb, arrival)
        release = self._draft.release(session)
        context = CallContext(session, None, [], Index(), [], self._key, release.readers, release.policy.says)
        evidence = extract(context, event.tool, event.arguments, 0)
        at = circumstances_after_end(arrival.time_ms)
        item = Call(
            record=arrival.record,
            event=event,
            arguments=dumps([event.tool, event.arguments]),
            time_ms=arrival.time_ms,
            over=True,
            session=session,
            row=row_of(evidence),
            action=evidence.tool.facts.action,
            signals=registry.check(observe(evidence, at, release.policy)),
            seq=tomb.calls,
            marks=["after_end", *_NUMBERED[novelty], *_of_references(session, event), *_of_sight(event)],
            release=release,
            shown=None,
            amount=None,
            now_ms=max(clock_ms, tomb.clock_ms),
            below=[],
            whole=False,  # a tombstone does not tell
        )
        self._items.append(item)
        tomb.calls += 1

    def _context(
        self, key: str, session: Session, ancestors: list[tuple[str, Session]], release: Release
    ) -> CallContext:
        # What was declared and tells nothing narrows nothing.
        narrowing = [(k, above) for k, above in ancestors if above.usable or not above.declared]
        return CallContext(
            session,
            self._draft.catalogues.of(session, release),
            [above for _, above in narrowing],
            self._index(key, session),
            [self._index(k, above) for k, above in narrowing],
            self._key,
            release.readers,
            release.policy.says,
        )

    def _index(self, key: str, session: Session) -> Index:
        held = self._indexes.get(key)
        if held is None or held[0] is not session.index:
            held = (session.index, Index(session.index))
            self._indexes[key] = held
        return held[1]


def _shown(evidence: CallEvidence) -> Shown | None:
    """What a reader is shown of a call, where the release has one, the intent tells anything, and no value is hidden."""
    context = evidence.context
    reader = context.readers.reader
    if reader is None or not context.session.usable or not reader.wrote(context.session.asked):
        return None
    if any(leaf.text.startswith(HASHED) for leaf in evidence.tool.arguments):
        return None
    intents = [above.asked for above in reversed(context.ancestors)]
    catalogue, session = context.catalogue, context.session
    offered = catalogue.tools.get(evidence.tool.offered) if catalogue is not None else None
    described = (offered.description if offered is not None else None) or ""
    given = evidence.tool.arguments
    return Shown([*intents, session.asked], session.heard, evidence.tool_in_words, described, given)


def _is_orphan(session: Session, ancestors: Sequence[tuple[str, Session]]) -> bool:
    """Whether no open session but the root is known to stand between the root and this one, though it names one."""
    if session.parent in (None, session.root):
        return session.parent is not None and not ancestors
    return all(each.session == session.root for _, each in ancestors)


def _marks(
    session: Session, event: ToolCalled, novelty: Novelty, *, is_orphan: bool, is_cut: bool
) -> list[Mark]:
    marks: list[Mark] = [*_NUMBERED[novelty]]
    if not session.declared:
        marks.append("undeclared")
        if session.refused:
            marks.append("declaration_refused")
    elif not session.usable:
        marks.append("vague")
    if session.unsigned:
        marks.append("unsigned")
    if session.identity is not None and session.identity.unattested:
        marks.append("unattested")
    if session.partial:
        marks.append("partial")
    if session.unjudged:
        marks.append("unjudged_before")
    if is_orphan:
        marks.append("orphan")
    if is_cut:
        marks.append("cut")
    if session.intent_by == "agent":
        marks.append("self_asserted")
    return marks + _of_references(session, event) + _of_sight(event)


def _of_sight(event: ToolCalled) -> list[Mark]:
    return ["arguments_unseen"] if event.unseen else []


def _of_references(session: Session, event: ToolCalled) -> list[Mark]:
    by_call = event.credential is not None and is_secret(event.credential)
    return ["secret_reference"] if by_call or any(map(is_secret, session.credentials)) else []


def _amount(context: CallContext, event: ToolCalled, release: Release) -> float | None:
    if not release.policy.amounts.are_weighed or context.catalogue is None:
        return None
    tool = context.catalogue.tools.get(event.tool)
    return amounts.largest(event.arguments, tool.parameters) if tool is not None else None
