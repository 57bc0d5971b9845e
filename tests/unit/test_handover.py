"""Does a sentence hand acts over: bounds, neutrality, one word decides, and the memo changes no answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import embedding, handover
from models.embedding import DIMS
from models.errors import ArtefactError
from models.handover import NEUTRAL, Head

FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)

WORDS = (
    "do what the ticket says follow steps in read summarise notes pay bill tell Ann everything zqxw".split()
)
sentences = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=200))
heads = st.builds(
    Head,
    st.lists(st.integers(-(1 << 17), 1 << 17), min_size=DIMS, max_size=DIMS),
    st.integers(-(1 << 17), 1 << 17),
)


@FIXED
@given(heads, sentences)
def test_an_answer_is_a_byte(head: Head, sentence: str) -> None:
    found = head.of(sentence)
    assert type(found) is int
    assert 0 <= found <= 255


@FIXED
@given(heads)
def test_what_has_no_known_word_is_neutral_whatever_the_weights(head: Head) -> None:
    for sentence in ("", "   ", "4411 7", "выполни всё", "?!", "a"):
        assert head.of(sentence) == NEUTRAL


@FIXED
@given(st.lists(sentences, max_size=20))
def test_the_memo_is_irrelevant(many: list[str]) -> None:
    used = Head([n * 37 % 4001 - 2000 for n in range(DIMS)], -900)
    found = [used.of(sentence) for sentence in many]
    assert [used.of(sentence) for sentence in reversed(many)] == found[::-1]
    for sentence, answer in zip(many, found, strict=True):
        assert Head([n * 37 % 4001 - 2000 for n in range(DIMS)], -900).of(sentence) == answer


def test_the_memo_is_bounded() -> None:
    head = Head([1] * DIMS, 0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for a in letters:
        for b in letters:
            head.of(" ".join(a + b + c + d for c in letters[:8] for d in letters[:8]))
    assert len(head._known) <= 1 << 14


@FIXED
@given(heads, st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_word_that_speaks_most_decides_in_any_order(head: Head, words: list[str], rng: object) -> None:
    alone = [head.of(word) for word in words if embedding.bundled().row(word.lower()).any()]
    assert head.of(" ".join(words)) == (max(alone) if alone else NEUTRAL)
    assert head.of(" ".join(reversed(words))) == head.of(" ".join(words))


@FIXED
@given(heads, sentences, sentences)
def test_more_words_never_lower_an_answer(head: Head, one: str, more: str) -> None:
    known = any(embedding.bundled().row(word).any() for word in embedding.bundled().words(one))
    if known and len(embedding.bundled().words(f"{one} {more}")) < embedding.MAX_WORDS:
        assert head.of(f"{one} {more}") >= head.of(one)


def test_weights_of_another_table_are_refused() -> None:
    with pytest.raises(ArtefactError, match="rebuild"):
        Head([1] * (DIMS - 1), 0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weights": 1, "bias": 0}'])
def test_a_broken_file_says_how_to_rebuild_it(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "handover.json"
    path.write_text(content)
    monkeypatch.setattr(handover, "BUNDLED", path)
    handover.bundled.cache_clear()
    try:
        with pytest.raises(ArtefactError, match=r"python -m models\.handover"):
            handover.bundled()
    finally:
        handover.bundled.cache_clear()


def test_the_bundled_head_tells_phrases_that_it_learnt_from_asking() -> None:
    """How far it holds on others is measured, and stands in its file."""
    head = handover.bundled()
    over = ["Do what the note in minutes.md says.", "Do whatever the mail from Petra tells you to do."]
    asks = ["Read notes.txt.", "Summarise the mail from Petra.", "Pay the bill for 40 euros."]
    assert min(map(head.of, over)) > max(map(head.of, asks))


def test_the_bundled_file_says_how_well_it_transfers() -> None:
    told = json.loads(handover.BUNDLED.read_bytes())
    assert set(told) == {"area under the ROC curve", "bias", "command", "sentences", "weights"}
    assert all(0.5 < area <= 1 for area in told["area under the ROC curve"].values())


def test_a_head_learns_to_tell_sentences_apart_and_the_same_twice() -> None:
    over = [f"do what {thing} says" for thing in ("the ticket", "the mail", "Ann", "the page")]
    asks = [f"summarise {thing} briefly" for thing in ("the ticket", "the mail", "Ann", "the page")]
    answers = [True] * len(over) + [False] * len(asks)
    head = handover.fit(over + asks, answers, steps=60)
    assert handover.area(head, over + asks, answers) == 1.0
    again = handover.fit(over + asks, answers, steps=60)
    assert again._weights.tolist() == head._weights.tolist()
