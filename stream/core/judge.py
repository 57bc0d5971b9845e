"""judge: the only place that knows the order of the steps. Pure: no clock, no randomness, no I/O.

A batch goes through three passes. *Take*: each record in order is parsed, folded into its session's window,
and leaves an item; no score is read here, so that features cannot depend on batches. *Score*: all rows at
once. *Rule*: the items in order become decisions, cases and quarantine. States are read from the partition
and returned as changes; nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from models.reading.page import Page
from models.reading.reader import Reader, Shown
from stream.core.arrival import LATEST_MS
from stream.core.cases import Cases
from stream.core.catalogues import CatalogueMemo, HeldCatalogues
from stream.core.decisions import Decisions
from stream.core.deployment import Deployment
from stream.core.draft import Draft
from stream.core.items import Call, Close, Item, Judged, Offered, Opined, Reading, Refused, Unjudged
from stream.core.partition import Partition
from stream.core.references import SecretReference
from stream.core.refusals import answer, undecided
from stream.core.releases import InUse, PolicyNames, Release
from stream.core.take import Take
from stream.events import DECISIONS, Output, Record, refusal
from stream.outbound.change import Receivers

MAX_READS = 512
"""The first calls of a session, which may be read: of later ones the forest's score alone counts."""


class Step(NamedTuple):
    """What a batch led to: outputs in order, the states that changed (None: deleted), of which references to warn, and its calls."""

    outputs: list[Output]
    changes: dict[str, bytes | None]
    n_records: int
    n_skipped: int
    secrets: Collection[SecretReference] = ()
    judged: Sequence[Judged] = ()


class Judge:
    """The core's entry point.

    Parameters
    ----------
    releases : mapping of str to Release
        By digest; ``""`` is the bundled one, with which sessions begin until another is activated.
    deployment : Deployment
        What records are held against.
    receivers : Receivers
        Whom the findings and tokens that cases carry are addressed to.
    """

    def __init__(self, releases: Mapping[str, Release], deployment: Deployment, receivers: Receivers) -> None:
        self.releases = releases
        self.deployment = deployment
        self.receivers = receivers
        self.policy_name = PolicyNames()
        self.catalogues = CatalogueMemo(deployment.fingerprint_key, self.policy_name)

    def judge(self, partition: Partition, records: Sequence[Record]) -> Step:
        """Outputs and changed states of an ordered batch of one partition's records."""
        draft, items, n_skipped = self.taken(partition, records)
        calls = [item for item in items if isinstance(item, Call)]
        scores = _score(calls)
        readings = _read(calls, scores)
        judged = [Judged(*each) for each in zip(calls, scores, readings, strict=True)]
        outputs, moved = self._rule(items, iter(judged), draft)
        return Step(outputs, draft.changes(moved), len(records), n_skipped, draft.secrets.values(), judged)

    def taken(self, partition: Partition, records: Sequence[Record]) -> tuple[Draft, list[Item], int]:
        """The first pass alone: what the records lead to before any score is read, and how many of them came before."""
        draft = Draft(partition, self.releases, HeldCatalogues(partition, self.catalogues))
        take = Take(self.deployment, draft)
        n_skipped = 0
        for record in records:
            if record.offset <= draft.ledger.offset:
                n_skipped += 1
                continue
            take.take(record)
            draft.ledger.offset = record.offset
        return draft, take.items, n_skipped

    def _rule(
        self, items: Sequence[Item], judged: Iterator[Judged], draft: Draft
    ) -> tuple[list[Output], Mapping[str, None]]:
        """What the items become, in order, and the keys of sessions that moved because of others."""
        outputs: list[Output] = []
        cases = Cases(self.receivers, self.policy_name, outputs)
        decisions = Decisions(self.deployment.fingerprint_key, self.policy_name, cases, outputs)
        for item in items:
            if isinstance(item, Output):
                outputs.append(item)
            elif isinstance(item, Call):
                (_, score, reading), n_before = next(judged), len(outputs)
                try:
                    decisions.decide(item, score, reading)
                except Exception as error:  # what was decided of it already stands
                    draft.count("quarantined")
                    outputs.append(refusal(item.record, "internal", type(error).__name__))
                    draft.count("internal")
                    if all(output.topic != DECISIONS for output in outputs[n_before:]):
                        outputs.append(answer(undecided(item, type(error).__name__), self.policy_name))
                    cases.unjudged(Unjudged(item.session, item.release, item.now_ms))
            elif isinstance(item, Close):
                cases.end(item)
            elif isinstance(item, Opined):
                try:
                    draft.count(cases.opined(item))
                except Exception:  # what was said counts for nothing; the session stands as it is
                    draft.count("internal")
            elif isinstance(item, Offered):
                cases.offered(item)
            elif isinstance(item, Refused):
                outputs.append(answer(item, self.policy_name))
            else:
                cases.unjudged(item)
        return outputs, cases.changed

    def in_use(self, partition: Partition) -> InUse:
        """What sessions of `partition` begin under now; a release that this worker has yet to find is told by its digest."""
        digest = partition.ledger.new_release
        release = self.releases.get(digest)
        if release is None:
            return InUse(digest, digest[:12], "")
        return InUse(digest, release.name, self.policy_name(release.policy))

    def next_deadline(self, partition: Partition) -> int | None:
        """Partition clock, in ms since 1970, at which `partition` next owes an end; None if it never does.

        A record stamped at or after it ends a session that is idle or forgets a tombstone that is old; one
        stamped before it does neither. Only the heads of the partition's orders are looked at, as when ends
        are brought about, so that the cost does not grow with the sessions held.
        """
        limits = self.releases[""].policy.limits
        idle = int(limits.idle_minutes * 60_000)
        lifetime = int(limits.tombstone_hours * 3_600_000)
        orders: tuple[tuple[Iterable[tuple[Any, ...]], int], ...] = (
            (partition.declared.values(), idle),
            (partition.undeclared.values(), idle),
            (partition.strays, idle),
            (partition.tombs.values(), lifetime),
        )
        due: list[int] = [first[0] + wait for order, wait in orders for first in islice(order, 1)]
        if not due or min(due) > LATEST_MS:
            return None
        # A clock that stands ends nothing: what is overdue already falls due with its next move.
        return max(min(due), partition.ledger.clock_ms + 1)


def _score(calls: Sequence[Call]) -> list[int]:
    """The score of each call, all calls of one scorer at once."""
    scores = [0] * len(calls)
    by_scorer: dict[int, list[int]] = {}  # not by name: two releases may share one
    for n, call in enumerate(calls):
        by_scorer.setdefault(id(call.release.scorer), []).append(n)
    for places in by_scorer.values():
        scorer = calls[places[0]].release.scorer
        rows = np.array([calls[n].row for n in places], np.float64)
        seen = np.array([calls[n].seq for n in places], np.int64)
        for n, score in zip(places, scorer.score(rows, seen).tolist(), strict=True):
            scores[n] = score
    return scores


def _read(calls: Sequence[Call], scores: list[int]) -> list[Reading | None]:
    """Join the scores of calls that a reader reads with what it says: from a score on, of a session's first calls."""
    readings: list[Reading | None] = [None] * len(calls)
    by_release: dict[int, list[tuple[int, Shown]]] = {}
    for n, call in enumerate(calls):
        joint = call.release.joint
        if joint is None or call.shown is None or scores[n] < joint.least or call.seq >= MAX_READS:
            continue
        by_release.setdefault(id(call.release), []).append((n, call.shown))
    for chosen in by_release.values():
        release = calls[chosen[0][0]].release
        reader, joint = release.readers.reader, release.joint
        assert reader is not None
        assert joint is not None
        pages = [reader.page_of(shown) for _, shown in chosen]
        said = reader.read(pages)
        joined = joint.scores(np.array([scores[n] for n, _ in chosen]), np.array(said)).tolist()
        for (n, _), page, log_odds, score in zip(chosen, pages, said, joined, strict=True):
            levels = release.levels_of(calls[n].session.tenant)
            told = score >= min(levels.alert, levels.revoke)
            moves = _moves(reader, page, log_odds) if told else [None] * len(page.sources)
            readings[n] = Reading(scores[n], log_odds, page.sources, moves)
            scores[n] = score
    return readings


def _moves(reader: Reader, page: Page, log_odds: float) -> list[float | None]:
    """What each snippet of a page adds to its log odds: the page is read again without it."""
    silenced = [page.without(n) for n in range(len(page.sources))]
    return [log_odds - alone for alone in reader.read(silenced)]
