"""What an intent leads to: exact arithmetic, tasks and authors kept apart, and that it holds beyond them."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from math import isqrt
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ArtefactError
from models.heads import expectation
from models.heads.expectation import FURTHEST, UNIT, Expectation
from models.heads.readers import Readers
from models.release.readers import load
from models.release.registry import BUNDLED
from models.text.embedding import DIMS, LENGTH
from models.text.meaning import clauses_of
from models.text.vectors import pack, unpack
from models.training.heads import expectation as fitting
from models.training.heads.expectation import area, fit
from models.training.scenarios import corpus, written_tasks
from stream.offline import study

FILE = BUNDLED / "expectation.json"
READERS = load()
EXPECTATION = READERS.expectation
vector_of, vectors_of = READERS.words.vector_of, READERS.words.vectors_of
NONE = np.zeros((DIMS, DIMS))
words = st.lists(
    st.sampled_from("pay send read invoice mail Ann delete order table hotel".split()), max_size=9
)


@pytest.fixture(scope="module")
def told() -> list[fitting.Pairs]:
    return fitting.tasks(READERS.words)


def packed(intent: str) -> bytes:
    return pack(vectors_of([said for said, _ in clauses_of(intent)]))


def of(call: str, intent: str) -> int:
    return EXPECTATION.of(vector_of(call), packed(intent))


@given(words, words)
def test_it_is_bounded_and_the_same_however_often_it_is_asked(call: list[str], intent: list[str]) -> None:
    fresh = Expectation(*(getattr(EXPECTATION, name) for name in ("clause", "whole", "bias")))
    found = of(" ".join(call), " ".join(intent))
    assert -FURTHEST <= found <= FURTHEST
    assert found == fresh.of(vector_of(" ".join(call)), packed(" ".join(intent)))


@given(words.filter(bool), st.lists(words.filter(bool), min_size=1, max_size=5), st.randoms())
def test_the_order_of_clauses_does_not_count(call: list[str], clauses: list[list[str]], draws) -> None:  # type: ignore[no-untyped-def]
    rows = vectors_of([" ".join(clause) for clause in clauses])
    shuffled = list(range(len(rows)))
    draws.shuffle(shuffled)
    meant = vector_of(" ".join(call))
    found = EXPECTATION
    assert found.of(meant, pack(rows)) == found.of(meant, pack(rows[shuffled]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_it_is_what_whole_numbers_give_in_any_order(seed: int, clauses: int) -> None:
    draws = np.random.default_rng(seed)
    held = draws.integers(-128, 128, (clauses, DIMS), np.int8).tobytes()
    call = draws.integers(-200, 200, DIMS)
    found = EXPECTATION
    rows = [[int(value) for value in row] for row in unpack(held)]
    total = [sum(column) for column in zip(*rows, strict=True)]
    size = isqrt(sum(value * value for value in total))
    mean = [value * LENGTH // size for value in total] if size else total
    A, B = (weights.astype(int).tolist() for weights in (found.clause, found.whole))

    def along(weights: list[list[int]], vector: list[int]) -> list[int]:
        return [sum(w * v for w, v in zip(row, vector, strict=True)) for row in weights]

    whole = along(B, mean)
    sought = [[(a + b) // LENGTH for a, b in zip(along(A, row), whole, strict=True)] for row in rows]
    best = max(sum(s * int(c) for s, c in zip(row, call, strict=True)) for row in sought)
    odds = 100 * (best // LENGTH + found.bias) // UNIT
    assert found.of(call.astype(np.float32), held) == max(-FURTHEST, min(FURTHEST, odds))


def test_every_sum_on_the_way_is_one_that_a_float_holds() -> None:
    # The longest sums: a row of two weights with components of at most 1,024, then with the call's likewise.
    most = DIMS * 2 * expectation.MOST * 1024 // LENGTH
    assert DIMS * most * 1024 < 2**53


def test_without_an_intent_or_a_known_word_nothing_is_expected() -> None:
    assert EXPECTATION.of(vector_of("send mail"), b"") == 0
    assert of("", "Pay the invoice.") == 0
    for unknown in ("", "123 456", "\u9605\u8bfb\u90ae\u4ef6"):
        clauses = packed(unknown)
        assert clauses
        assert of("send mail", unknown) == 0
        assert EXPECTATION.rank(0, clauses, pack(vectors_of(["send mail", "read mail"]))) == 0


@pytest.mark.parametrize(
    ("intent", "leads", "not_there"),
    [
        ("I want my money back for order 17.", "get order details 17", "write review"),
        ("Settle what I owe the electricity company.", "list invoices", "create calendar event"),
        ("Find me a table for Friday night.", "search restaurants", "transfer money to savings"),
    ],
)
def test_an_intent_leads_to_what_it_does_not_name(intent: str, leads: str, not_there: str) -> None:
    assert of(leads, intent) > of(not_there, intent)


@pytest.mark.slow
def test_it_holds_on_authors_that_it_did_not_learn_from_and_says_more_than_a_cosine(
    told: list[fitting.Pairs],
) -> None:
    kept = json.loads(FILE.read_text())["area under the ROC curve"]
    authors = sorted({one.author for one in told})
    theirs = [one for one in told if one.author in authors[::8]]
    learnt = fit([one for one in told if one.author in authors[1::8]], rounds=25)
    cosine = Expectation(np.eye(DIMS) * UNIT, NONE, 0)
    assert area(learnt, theirs) > area(cosine, theirs) + 0.01
    by_learning = [value for name, value in kept.items() if "learnt on the others" in name]
    by_cosine = [value for name, value in kept.items() if "cosine" in name]
    assert len(by_learning) == len(by_cosine) == 2
    assert min(by_learning) > max(by_cosine) + 0.04


@pytest.mark.slow
def test_nothing_is_learnt_from_the_tasks_that_are_reported_on(told: list[fitting.Pairs]) -> None:
    authors = {one.author for one in told}
    assert not authors & written_tasks.REPORT
    assert {one.author for one in fitting.tasks(READERS.words, without=authors - {"d"})} == {"d"}


@pytest.mark.slow
def test_every_call_stands_on_both_sides_alike_whatever_it_does(told: list[fitting.Pairs]) -> None:
    for one in told:
        assert one.right.sum(axis=1).tolist() == [1] * len(one.calls)
        for_it = np.where(one.right, one.weight, 0).sum(axis=1)
        against = np.where(one.right, 0, one.weight).sum(axis=1)
        assert np.allclose(for_it, against)


def test_a_tool_that_the_intent_leads_to_stands_before_the_others() -> None:
    tools = [
        "write_review write_review Write a review.",
        "get_order get_order Look up an order.",
        "tip tip Tip.",
    ]
    packed_tools = pack(vectors_of(tools))
    clauses = packed("I want my money back for order 17.")
    ranks = [EXPECTATION.rank(n, clauses, packed_tools) for n in range(3)]
    assert sorted(ranks) == [0, 333, 666]
    assert ranks[1] == 0


def test_a_replay_sees_them_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Expectation] = []

    def replayed(sessions: object, tools: object, readers: Readers) -> None:
        seen.append(readers.expectation)

    monkeypatch.setattr(study, "feature_rows", replayed)
    other = Expectation(NONE, NONE, 3)
    study.rows_through([], {}, corpus.Unread(READERS.handover, other, READERS.acting))
    study.rows_through([], {}, None)
    assert seen == [other, EXPECTATION]


SOUND = [[0] * DIMS] * DIMS
BROKEN = [
    "",
    "{}",
    "[]",
    '{"clause": [[1]], "whole": [[1]], "bias": 0}',
    json.dumps({"clause": SOUND, "whole": [[0.1] * DIMS] * DIMS, "bias": 0}),
    json.dumps({"clause": [[1 << 21] * DIMS] * DIMS, "whole": SOUND, "bias": 0}),
    json.dumps({"clause": [[float("nan")] * DIMS] * DIMS, "whole": SOUND, "bias": 0}),
    json.dumps({"clause": SOUND, "whole": SOUND, "bias": float("inf")}),
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_says_how_to_rebuild_it(text: str) -> None:
    with pytest.raises(ArtefactError, match=r"rebuild|python -m models\.training\.heads expectation"):
        Expectation.parse(text.encode())


def test_it_travels_to_other_processes() -> None:
    found = EXPECTATION
    call, intent = vector_of("send mail to Ann"), packed("Answer Ann's mail.")
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(found.of, call, intent).result() == found.of(call, intent)
