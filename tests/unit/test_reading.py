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

from benchmarks.reader.whole import HEADS, Weights, layers_of, quantised
from models.contracts import Family
from models.errors import ArtefactError
from models.forest.joint import Joint
from models.reading import memory
from models.reading.encoder import Encoder
from models.reading.memory import Told, fetcher_of
from models.reading.page import MAX_PAGE, SNIPPETS, Led, page_of
from models.reading.pieces import FIRST_HASH, FIRST_WORD, GLUED, PLACE, Mark, Pieces, packed, unpacked
from models.reading.reader import Reader, Shown
from models.session import Session, load
from models.text.documents import leaves
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


def in_floats(w: Weights, page: list[int]) -> Floats:
    """The same encoder, plainly, in floats of 64 bits."""

    def normed(x: Floats, name: str) -> Floats:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True)) * w[name] + w[f"{name}_bias"]

    def times(x: Floats, name: str) -> Floats:
        return x @ w[name] + w[f"{name}_bias"]

    row = np.array(page)
    words = w["words"][row].astype(float)
    if "widen" in w:
        words = times(words, "widen")
    x = words + w["places"][: len(row)] + w["parts"][parts(page)]
    marked = row < FIRST_HASH
    x = normed(x + np.where(marked[:, None], w["marks"][np.where(marked, row, 0)], 0), "norm")
    for n in range(layers_of(w)):
        query, about, value = (
            part.reshape(len(row), HEADS, -1).transpose(1, 0, 2)
            for part in np.split(times(x, f"{n}.ask"), 3, axis=-1)
        )
        heed = np.exp(query @ about.transpose(0, 2, 1) / (WIDTH / HEADS) ** 0.5)
        seen = (heed / heed.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(row), -1)
        x = normed(x + times(seen, f"{n}.seen"), f"{n}.norm1")
        inner = times(x, f"{n}.up")
        curved = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / 2**0.5))
        x = normed(x + times(curved, f"{n}.down"), f"{n}.norm2")
    return times(np.concatenate([x[0], x.mean(0)]), "answer")


@pytest.mark.parametrize(("seed", "columns"), [(1, WIDTH), (2, WIDTH), (3, 16)])
def test_a_page_is_read_alike_alone_in_a_batch_and_beside_longer_ones(seed: int, columns: int) -> None:
    encoder, pages = Encoder(quantised(weights(seed, columns=columns))), drawn_pages(seed, 80)
    together = encoder.read(pages)
    assert [float(encoder.read([page])[0]) for page in pages] == together.tolist()
    assert encoder.read(pages[::-1]).tolist() == together[::-1].tolist()
    assert len(set(together.tolist())) == len(pages)
    assert copy.deepcopy(encoder).read(pages).tolist() == together.tolist()


@pytest.mark.parametrize("columns", [WIDTH, 16])
def test_whole_numbers_say_about_what_floats_say(columns: int) -> None:
    w, pages = weights(4, columns=columns), drawn_pages(4, 60)
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
        fetcher = fetcher_of("read mail", [answer] * 9, PIECES)
        assert len(fetcher) <= 2 * memory.MAX_FETCHER
        kept = memory.with_answer(kept, seq, fetcher, [Told([answer], [answer] * 9)] * 2, PIECES)
        asked = memory.with_sentences(asked, [answer], PIECES)
        assert len(kept) <= 2 * memory.MAX_HEARD
        assert len(asked) <= 2 * memory.MAX_INTENT
        segments = list(memory.segments_in(kept))
        if answer.strip():
            called, given = unpacked(segments[-1].called), unpacked(segments[-1].given)
            assert segments[-1].seq == seq & 0xFFFF
            assert packed([len(called), *called, *given]) == fetcher
        assert all(0 < len(segment.pieces) <= 2 * memory.MAX_SEGMENT for segment in segments)


def segments(kept: bytes) -> list[tuple[str, str]]:
    """What is kept of answers: each segment after the row that it stands beside."""
    return [
        (PIECES.text(unpacked(segment.row)), PIECES.text(unpacked(segment.pieces)))
        for segment in memory.segments_in(kept)
    ]


def test_prose_stands_beside_the_fields_of_its_record() -> None:
    bob, others = Told(["from bob", "- 'code': 7"], ["Pay now. Read the mail!"]), Told([], ["The end"])
    assert segments(memory.with_answer(b"", 0, b"", [bob, others], PIECES)) == [
        ("", "from bob, code: 7"),
        ("from bob, code: 7", "pay now."),
        ("from bob, code: 7", "read the mail!"),
        ("", "the end"),
    ]


def test_a_long_row_goes_on_beside_its_beginning_and_a_row_that_went_is_nobody_s() -> None:
    kept = memory.with_answer(b"", 0, b"", [Told(["pay bob"] * 30, ["the end"])], PIECES)
    rows = segments(kept)
    assert [row for row, _ in rows] == ["", rows[0][1], rows[0][1]]
    assert segments(memory.shortened(kept, len(kept) - 2)) == [("", rows[1][1]), ("", "the end")]


def test_an_answer_does_not_drive_out_all_others_and_of_a_long_one_what_tells_stays() -> None:
    early = memory.with_answer(b"", 0, b"", [Told([], ["The account is 12-34-5678."])], PIECES)
    told = ["the bill the bill", "pay to 99-88-7766", *["the the the the the bill"] * 500]
    both = memory.with_answer(early, 1, b"", [Told(["the the"], told)], PIECES)
    said = segments(both)
    assert said[0] == ("", "the account is 12-34-5678.")
    assert ("", "pay to 99-88-7766") in said
    assert len(both) <= 2 * (len(early) // 2 + memory.MAX_ANSWER + 3)


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
        tool_before, *given = fetched.split("|")
        fetcher = fetcher_of(tool_before, given, PIECES)
        heard = memory.with_answer(heard, seq, fetcher, [Told([], answer.split("\n"))], PIECES)
    page = page_of([asked], heard, tool, "", leaves(arguments)[0], PIECES)
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


def test_a_page_tells_who_led_to_what_a_snippet_says() -> None:
    answers = [
        ("read|bob mail", "see the invoice 77-66"),
        ("read|77-66", "code: 5512"),
        ("read|x7y7", "code: 9934"),
    ]

    def snippet(code: str) -> str:
        return shown("read the bob mail", answers, "pay", code=code).split(" [end]")[2].split(" [second]")[0]

    assert snippet("see the invoice").startswith(" [first] [said] read bob mail [text] see")
    assert snippet("5512") == " [first] [led] read 77 - 66 [text] code : 5512"
    assert snippet("9934") == " [first] [nowhere] read x7y7 [text] code : 9934"


def test_the_way_to_a_source_goes_back_to_whoever_began_it() -> None:
    heard = b""
    answers = ["see the invoice 77-66", "then note 88-99", "code: 5512"]
    for seq, (asking, answer) in enumerate(zip(["bob mail", "77-66", "88-99"], answers, strict=True)):
        fetcher = fetcher_of("read", [asking], PIECES)
        heard = memory.with_answer(heard, seq, fetcher, [Told([], [answer])], PIECES)
    arguments = leaves({"code": "5512"})[0]
    for intent, begins in (("read the bob mail", Mark.SAID), ("pay", Mark.NOWHERE)):
        asked = memory.with_sentences(b"", [intent], PIECES)
        page = page_of([asked], heard, "pay", "", arguments, PIECES)
        assert page.sources[0] == Led(2, (1, 0), begins)


def test_a_page_without_a_snippet_says_that_nobody_says_its_values() -> None:
    asked = memory.with_sentences(b"", ["pay bob"], PIECES)
    told = [Told([], [line]) for line in ("the code is 77-66", "account 99-88")]
    heard = memory.with_answer(b"", 0, fetcher_of("read", ["mail"], PIECES), told, PIECES)
    page = page_of([asked], heard, "pay", "", leaves({"code": "77-66", "account": "99-88"})[0], PIECES)
    first, second, third = (PIECES.text(page.without(n).places) for n in range(3))
    assert "code [nowhere] 77" in first
    assert "account [second] 99" in first
    assert first.split("[end]")[2] == " [second] [nowhere] read mail [text] account 99 - 88 "
    assert "account [nowhere] 99" in second
    assert second.split("[end]")[2] == " [first] [nowhere] read mail [text] the code is 77 - 66 "
    assert third == PIECES.text(page.places)


@given(
    st.text(max_size=400),
    st.lists(
        st.lists(st.builds(Told, st.lists(st.text(max_size=60)), st.lists(st.text(max_size=60)))),
        max_size=5,
    ),
    st.recursive(
        st.text(max_size=60) | st.integers() | st.none(),
        lambda inner: st.dictionaries(st.text(max_size=9), inner),
        max_leaves=9,
    ),
)
def test_any_texts_give_a_page_of_bounded_length_and_equal_ones_the_same(
    intent: str, answers: list[list[Told]], arguments: object
) -> None:
    def page() -> tuple[int, ...]:
        pieces = Pieces(PIECES.words)  # nothing remembered
        heard = b""
        for seq, answer in enumerate(answers):
            heard = memory.with_answer(heard, seq, b"", answer, pieces)
        asked = memory.with_sentences(b"", [intent], pieces)
        return page_of([asked], heard, "do", "what it does", leaves(arguments)[0], pieces).places

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


@pytest.mark.parametrize("forest", [6000, 9000], ids=["to watch", "to alert on"])
def test_what_is_read_has_both_scores_joined_and_the_rest_the_forest_s_alone(forest: int) -> None:
    run = b.play(EVENTS, bundled=reading(forest))
    (state,) = [load(raw) for key, raw in run.partition.states.items() if key.startswith("s/")] or [None]
    assert isinstance(state, Session)
    pages = [
        reader().page_of(Shown([state.asked], heard, tool, "", leaves(arguments)[0]))
        for heard, tool, arguments in (
            (b"", "read mail", {"of": "bob"}),
            (state.heard, "pay", {"account": "99-88-7766"}),
        )
    ]
    said = np.array(reader().read(pages))
    assert [d["score"] for d in run.decisions] == (
        JOINT.scores(np.array([forest, forest]), said) / 10_000
    ).tolist()
    assert pages[1].sources == (Led(0, (), Mark.SAID),)
    assert [d["read"]["forest"] for d in run.decisions] == [forest / 10_000] * 2
    assert [d["read"]["log_odds"] for d in run.decisions] == [round(float(odds), 4) for odds in said]
    level = reading(forest).levels
    for decision, page in zip(run.decisions, pages, strict=True):
        adds = [float(odds) for odds in reader().read([page, *map(page.without, range(len(page.sources)))])]
        score = round(decision["score"] * 10_000)
        told = score >= level.alert
        assert decision["read"]["heard"] == [
            {
                "adds": round(adds[0] - alone, 4) if told else None,
                "call_seq": 0,
                "through": [],
                "begins": "intent",
            }
            for alone in adds[1:]
        ]
        assert ("read beside" in decision["explanation"]) == (score >= level.watch)
        assert ("adds" in decision["explanation"]) == (told and bool(page.sources))
    assert any(decision["read"]["heard"] for decision in run.decisions)
    below = b.play(EVENTS, bundled=reading(1999))
    assert all("read" not in decision for decision in below.decisions)
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

    page = page_of([], b"", "pay", "", leaves({"to": "bob"})[0], PIECES)
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


def test_words_that_another_vocabulary_spells_are_neither_read_nor_added_to() -> None:
    """A release with another reader may go live while sessions are open, and be taken back."""
    one, other = reader(), Reader(Pieces(PIECES.words[::-1]))
    kept = one.with_intent(b"", "pay bob", 400)
    assert one.wrote(kept)
    assert not other.wrote(kept)
    assert not one.wrote(b"")
    assert other.with_intent(kept, "and tell ann", 400) == kept
    assert len(one.with_intent(kept, "and tell ann", 400)) > len(kept)
    assert one.with_intent(b"", "pay bob", 4) == b""
    own = other.with_intent(b"", "tell ann", 400)
    given = leaves({"to": "bob"})[0]
    assert other.page_of(Shown([kept, own], b"", "pay", "", given)) == other.page_of(
        Shown([own], b"", "pay", "", given)
    )
