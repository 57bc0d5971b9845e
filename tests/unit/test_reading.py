"""The reader: what a session keeps for it, what it is shown, and that it says the same of a page on every way to it."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reader.whole import HEADS, quantised
from models.contracts import Family
from models.errors import ArtefactError
from models.forest.joint import Joint
from models.reading import memory
from models.reading.encoder import Encoder
from models.reading.page import MAX_PAGE, SNIPPETS, fetcher_of, page_of
from models.reading.pieces import FIRST_HASH, FIRST_WORD, GLUED, PLACE, Mark, Pieces, packed, unpacked
from models.reading.reader import Reader
from models.session import Session, load
from stream.core.releases import Release
from tests import builders as b
from tests.drawn_reader import LONGEST, PIECES, WIDTH, WORDS, Floats, reader, weights


def drawn_pages(seed: int, n: int) -> list[list[int]]:
    """Pages of different lengths, of three parts or fewer."""
    rng = np.random.default_rng(seed)
    pages = [rng.integers(1, WORDS, length).tolist() for length in rng.integers(4, LONGEST, n)]
    return [[Mark.START, *page[:-1], Mark.END] for page in pages]


def parts(page: list[int]) -> list[int]:
    ends = np.array(page) == Mark.END
    return np.minimum(np.cumsum(ends) - ends, 3).tolist()  # type: ignore[no-any-return]


def in_floats(w: dict[str, Any], page: list[int]) -> Floats:
    """The same encoder, plainly, in floats of 64 bits."""

    def normed(x: Floats, name: str, of: dict[str, Any]) -> Floats:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True)) * of[name] + of[f"{name}_bias"]

    row = np.array(page)
    x = w["words"][row].astype(float) + w["places"][: len(row)] + w["parts"][parts(page)]
    marked = row < FIRST_HASH
    x = normed(x + np.where(marked[:, None], w["marks"][np.where(marked, row, 0)], 0), "norm", w)
    for layer in w["layers"]:
        query, about, value = (
            part.reshape(len(row), HEADS, -1).transpose(1, 0, 2)
            for part in np.split(x @ layer["ask"] + layer["ask_bias"], 3, axis=-1)
        )
        heed = np.exp(query @ about.transpose(0, 2, 1) / (WIDTH / HEADS) ** 0.5)
        seen = (heed / heed.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(row), -1)
        x = normed(x + seen @ layer["seen"] + layer["seen_bias"], "norm1", layer)
        inner = x @ layer["up"] + layer["up_bias"]
        curved = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / 2**0.5))
        x = normed(x + curved @ layer["down"] + layer["down_bias"], "norm2", layer)
    return np.concatenate([x[0], x.mean(0)]) @ w["answer"] + w["answer_bias"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_page_is_read_alike_alone_in_a_batch_and_beside_longer_ones(seed: int) -> None:
    encoder, pages = Encoder(quantised(weights(seed))), drawn_pages(seed, 80)
    together = encoder.read(pages)
    assert [float(encoder.read([page])[0]) for page in pages] == together.tolist()
    assert encoder.read(pages[::-1]).tolist() == together[::-1].tolist()
    assert len(set(together.tolist())) == len(pages)
    assert copy.deepcopy(encoder).read(pages).tolist() == together.tolist()


def test_whole_numbers_say_about_what_floats_say() -> None:
    w, pages = weights(4), drawn_pages(4, 60)
    as_floats = np.array([in_floats(w, page)[0] for page in pages])
    whole = Encoder(quantised(w)).read(pages)
    assert np.corrcoef(as_floats, whole)[0, 1] > 0.99
    assert np.abs(as_floats - whole).mean() < 0.15 * as_floats.std()


def things(text: str) -> set[str]:
    return {PIECES.text(thing).replace(" ", "") for thing in PIECES.things(packed(PIECES.of(text, 400)))}


def test_things_are_words_and_what_signs_join_whole_and_in_parts() -> None:
    assert things("Pay the bill.") == {"pay", "the", "bill"}
    assert things("to bob@bill.net, or account: bob-net") == {
        "to", "bob@bill.net", "bob", "bill", "net", "or", "account", "bob-net",
    }  # fmt: skip
    assert things("bob @ net. pay") == {"bob", "net", "pay"}
    assert things("x 2024-05-01") == {"x", "2024-05-01", "2024", "05", "01"}


def test_words_that_are_spelled_alike_at_first_or_not_at_all_stay_apart() -> None:
    long = [
        PIECES.of(word, 40) for word in ("gb29nwbk6016133192", "gb29nwbk6016133199", "gb29nwbk6016133192")
    ]
    assert long[0] != long[1]
    assert long[0] == long[2]
    assert len(long[0]) == 6
    unknown = [PIECES.of(word, 40) for word in ("\u4f60\u597d", "\u4f60\u4eec", "x" * 100)]
    assert len({tuple(one) for one in unknown}) == 3
    assert all(FIRST_HASH <= piece < FIRST_WORD for one in unknown for piece in one)


@given(st.text(max_size=200))
def test_pieces_hold_what_a_text_says_and_whether_words_are_joined(text: str) -> None:
    pieces = PIECES.of(text, 1000)
    assert unpacked(packed(pieces)) == tuple(pieces)
    assert all(FIRST_HASH <= piece & PLACE < len(PIECES) for piece in pieces)
    assert not pieces or not pieces[0] & GLUED
    assert all(isinstance(PIECES.weight(thing), float) for thing in PIECES.things(packed(pieces)))


@given(st.lists(st.text("abc. ,9@-", max_size=300), max_size=12), st.integers(0, 70_000))
def test_what_a_session_keeps_is_bounded_and_its_latest_stays(answers: list[str], first: int) -> None:
    kept, asked = b"", b""
    for seq, answer in enumerate(answers, first):
        fetcher = fetcher_of("read mail", {"of": answer}, memory.MAX_FETCHER, PIECES)
        assert len(fetcher) <= 2 * memory.MAX_FETCHER
        kept = memory.with_answer(kept, seq, fetcher, [answer] * 9, PIECES)
        asked = memory.with_sentences(asked, [answer], PIECES)
        assert len(kept) <= 2 * memory.MAX_HEARD
        assert len(asked) <= 2 * memory.MAX_INTENT
        segments = list(memory.segments_in(kept))
        if memory.segments_of([answer] * 9):
            assert segments[-1].seq == seq & 0xFFFF
            assert segments[-1].fetcher == fetcher
        assert all(0 < len(segment.pieces) <= 2 * memory.MAX_SEGMENT for segment in segments)


def test_an_answer_does_not_drive_out_all_others_and_of_a_long_one_what_tells_stays() -> None:
    early = memory.with_answer(b"", 0, b"", "The account is 12-34-5678.", PIECES)
    told = ["the bill the bill", "pay to 99-88-7766", *["the the the the the bill"] * 800]
    both = memory.with_answer(early, 1, b"", "\n".join(told), PIECES)
    said = [PIECES.text(unpacked(segment.pieces)) for segment in memory.segments_in(both)]
    assert said[0] == "the account is 12-34-5678."
    assert any("99-88-7766" in text for text in said)
    assert len(both) <= 2 * (len(early) // 2 + memory.MAX_ANSWER + 2)


def test_of_a_long_intent_the_beginning_and_the_end_stay() -> None:
    asked = memory.with_sentences(b"", [f"pay bill {n}" for n in range(400)], PIECES)
    said = [PIECES.text(unpacked(sentence)) for sentence in memory.sentences_in(asked)]
    assert said[0] == "pay bill 0"
    assert said[-1] == "pay bill 399"
    assert 2 * memory.MAX_INTENT - 20 < len(asked) <= 2 * memory.MAX_INTENT
    later = memory.with_sentences(asked, ["the end"], PIECES)
    assert PIECES.text(unpacked(memory.sentences_in(later)[-1])) == "the end"


def shown(intent: str, answers: list[tuple[str, str]], tool: str, **arguments: object) -> str:
    asked = memory.with_sentences(b"", [intent], PIECES)
    heard = b""
    for seq, (fetched, answer) in enumerate(answers):
        fetcher = fetcher_of(fetched, {}, memory.MAX_FETCHER, PIECES)
        heard = memory.with_answer(heard, seq, fetcher, answer, PIECES)
    page = page_of([asked], heard, tool, "", arguments, PIECES)
    assert len(page.places) <= MAX_PAGE
    assert len(page.sources) <= SNIPPETS
    return PIECES.text(page.places)


def test_a_page_tells_who_says_a_value() -> None:
    mail = "Hello.\nPay to account 99-88-7766.\nBye."
    page = shown("pay bob", [("read mail", mail)], "pay", to="bob", account="99-88-7766", note="x7y7")
    intent, call, snippet, rest = page.split(" [end]")
    assert intent == "[start] pay bob"
    assert "[argument] to [said] bob" in call
    assert "[argument] account [first] 99 - 88 - 7766" in call
    assert "[argument] note [nowhere] x7y7" in call
    assert snippet == " [first] read mail [text] pay to account 99 - 88 - 7766 ."
    assert rest == ""


def test_of_answers_the_segments_are_shown_that_say_what_the_intent_does_not() -> None:
    page = shown(
        "pay bob 50",
        [("read", "bob 50"), ("read mail", "the code is 77-66"), ("read mail", "account 99-88")],
        "send",
        to="bob",
        code="77-66",
        account="99-88",
    )
    snippets = page.split(" [end]")[2]
    assert (
        snippets == " [first] read mail [text] the code is 77 - 66 [second] read mail [text] account 99 - 88"
    )


@given(
    st.text(max_size=400),
    st.lists(
        st.recursive(st.text(max_size=60) | st.integers() | st.floats() | st.none(), st.lists, max_leaves=8),
        max_size=5,
    ),
    st.recursive(
        st.text(max_size=60) | st.integers() | st.none(),
        lambda inner: st.dictionaries(st.text(max_size=9), inner),
        max_leaves=9,
    ),
)
def test_any_texts_give_a_page_of_bounded_length_and_equal_ones_the_same(
    intent: str, answers: list[object], arguments: object
) -> None:
    def page() -> tuple[int, ...]:
        pieces = Pieces(PIECES.words)  # nothing remembered
        heard = b""
        for seq, answer in enumerate(answers):
            heard = memory.with_answer(heard, seq, b"", answer, pieces)
        asked = memory.with_sentences(b"", [intent], pieces)
        return page_of([asked], heard, "do", "what it does", arguments, pieces).places

    assert page() == page()
    assert 3 < len(page()) <= MAX_PAGE
    assert page()[-1] == Mark.END


# ---------------------------------------------------------------- in the judge

JOINT = Joint(2000, 1.0, 0.3, -0.5)


def reading(score: int, joint: Joint = JOINT) -> Release:
    class Steady:
        def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return np.full(len(X), score, np.int64)

        def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
            return []

    return b.release(scorer=Steady(), reads=True)._replace(joint=joint)


EVENTS = [
    b.declared("s", intent={"text": "Pay Bob's bill"}),
    b.called("s", 1, tool="read_mail", arguments={"of": "bob"}),
    b.returned("s", 2, "s:1", "Pay to account 99-88-7766."),
    b.called("s", 3, tool="pay", arguments={"account": "99-88-7766"}),
]


def test_what_is_read_has_both_scores_joined_and_the_rest_the_forest_s_alone() -> None:
    run = b.play(EVENTS, bundled=reading(6000))
    (state,) = [load(raw) for key, raw in run.partition.states.items() if key.startswith("s/")] or [None]
    assert isinstance(state, Session)
    pages = [
        page_of([state.asked], heard, tool, "", arguments, PIECES)
        for heard, tool, arguments in (
            (b"", "read mail", {"of": "bob"}),
            (state.heard, "pay", {"account": "99-88-7766"}),
        )
    ]
    said = np.array(reader().read(pages))
    assert [d["score"] for d in run.decisions] == (
        JOINT.scores(np.array([6000, 6000]), said) / 10_000
    ).tolist()
    assert pages[1].sources == (0,)
    below = b.play(EVENTS, bundled=reading(1999))
    assert [d["score"] for d in below.decisions] == [0.1999, 0.1999]


def test_the_first_calls_of_a_session_are_read_and_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.core.judge.MAX_READS", 3)
    calls = [b.called("s", n, tool="pay", arguments={"n": n}) for n in range(1, 7)]
    runs = [b.play([b.declared("s"), *calls], batch, bundled=reading(6000)) for batch in (1, 512)]
    for run in runs:
        assert [d["score"] == 0.6 for d in run.decisions] == [False] * 3 + [True] * 3
    assert runs[0].outputs == runs[1].outputs


def test_hidden_values_and_an_intent_that_tells_nothing_are_not_read() -> None:
    hidden = [b.declared("s"), b.called("s", 1, tool="pay", arguments={"account": "fp:3a5f"})]
    vague = [
        b.declared("s", intent={"text": "do it"}),
        b.called("s", 1, tool="pay", arguments={"account": "9"}),
    ]
    for events in (hidden, vague):
        run = b.play(events, bundled=reading(6000))
        assert run.decisions[0]["score"] == 0.6


def test_a_joined_score_rises_with_both_and_what_would_not_is_refused() -> None:
    grid = np.arange(0, 10_001, 250)
    for odds in (-4.0, 0.0, 4.0):
        joined = JOINT.scores(grid, np.full(len(grid), odds))
        assert (np.diff(joined) >= 0).all()
        assert (JOINT.scores(grid, np.full(len(grid), odds + 1)) >= joined).all()
    plain = Joint(0, 1.0, 0.0, 0.0).scores(grid, np.zeros(len(grid)))
    assert np.abs(plain - grid).max() <= 1
    told = {"least": 10, "forest": 1.0, "reader": 0.5, "bias": 0.0}
    assert Joint.parse(told) == Joint(10, 1.0, 0.5, 0.0)
    for broken in ({**told, "reader": -0.5}, {**told, "least": 10_001}, {**told, "bias": None}, {"least": 1}):
        with pytest.raises(ArtefactError, match="retrain"):
            Joint.parse(broken)


def test_a_reader_is_read_from_its_file_and_anything_else_is_refused() -> None:
    held = reader()
    assert held.encoder is not None
    arrays = quantised(weights(1, 1, len(PIECES), MAX_PAGE))

    def file(known: Sequence[str], **more: Any) -> bytes:
        target = io.BytesIO()
        spelled = np.frombuffer("\n".join(known).encode(), np.uint8)
        np.savez(target, pieces=spelled, **{**arrays, **more})
        return target.getvalue()

    page = page_of([], b"", "pay", "", {"to": "bob"}, PIECES)
    assert Reader.parse(file(PIECES.words)).read([page]) == held.read([page])
    for broken in (
        b"",
        b"PK",
        file(PIECES.words)[:-200],
        file(PIECES.words[1:]),
        file(PIECES.words, words=arrays["places"]),
    ):
        with pytest.raises(ArtefactError, match="reinstall"):
            Reader.parse(broken)
