"""What a sentence hands over: bounds, neutrality, marks that hide particulars, and heads that hold on another author."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ArtefactError
from models.heads.handover import (
    ANSWERS,
    MAX_CHARS,
    MAX_MARKS,
    NEUTRAL,
    NOTHING,
    Head,
    Heads,
    marks,
    pairs,
)
from models.release.readers import load
from models.release.registry import BUNDLED
from models.training.heads import handover as fitting
from models.training.heads.handover import Sentence

FILE = BUNDLED / "handover.json.gz"
HEADS = load().handover
FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)

WORDS = (
    "do what the ticket says follow steps in read summarise notes pay bill tell Ann everything zqxw a@b.ch 'x y' 7."
).split(" ")
sentences = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=200))
numbers = st.integers(-(1 << 17), 1 << 17)
heads = st.builds(
    Head,
    st.dictionaries(
        st.sampled_from([*WORDS, "do what", "the .. says", "^", "$"]),
        st.tuples(numbers, numbers, numbers),
        max_size=20,
    ),
    st.tuples(numbers, numbers, numbers),
)


@FIXED
@given(heads, sentences)
def test_an_answer_is_a_byte_for_each_question_and_the_same_twice(head: Head, sentence: str) -> None:
    found = head.of(sentence)
    assert len(bytes(found)) == ANSWERS
    assert head.of(sentence) == found


@FIXED
@given(sentences)
def test_a_sentence_of_which_nothing_is_known_is_neutral(sentence: str) -> None:
    assert Head({}, (9000, -9000, 0)).of(sentence) == NOTHING


@pytest.mark.parametrize("sentence", ["", "   ", "?!", "выполни всё"])
def test_without_a_word_nothing_is_handed_over(sentence: str) -> None:
    assert HEADS.sentence.of(sentence) == NOTHING


@FIXED
@given(st.text())
def test_marks_are_bounded_and_cost_no_more_than_their_text(text: str) -> None:
    found = marks(text)
    assert len(found) <= MAX_MARKS
    assert len(pairs(found)) <= 1 + 3 * (len(found) + 2)
    assert marks(text[:MAX_CHARS]) == found


def test_a_hostile_sentence_ends_soon() -> None:
    for text in ("'" * 9000, "a" * 9000, "' a" * 3000, '"`' * 5000, "A-" * 5000, "a." * 5000):
        assert len(marks(text)) <= MAX_MARKS


def test_particulars_leave_no_trace() -> None:
    """Who, where and how much stand behind marks: a sentence is judged by how it is said."""
    said = "Do what {} in '{}' asks for by {}, then tell {}."
    one = marks(said.format("Ann", "May plan", "14:00", "bob@example.com"))
    other = marks(said.format("Karl Otto", "budget of the club, part two", "3/4", "https://x.org/y"))
    assert one == other


def test_weights_that_lack_an_answer_are_refused() -> None:
    with pytest.raises(ArtefactError, match="rebuild"):
        Head({"do": (1, 2)}, (0, 0, 0))
    with pytest.raises(ArtefactError, match="rebuild"):
        Head({"do": (1, 2, 3)}, (0, 0))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sentence": {"weights": 1, "bias": [0, 0, 0]}}'])
def test_a_broken_file_says_how_to_rebuild_it(content: str) -> None:
    with pytest.raises(ArtefactError, match=r"python -m models\.training\.heads handover"):
        Heads.parse(content.encode())


def test_no_sentence_is_written_twice_and_the_authors_share_none() -> None:
    for written in (fitting.sentences(), fitting.requests()):
        told = [s.text.casefold().strip() for s in written]
        assert len(set(told)) == len(told)


UNSEEN = {("sentences", "c"): (500, 0.93), ("requests", "q"): (240, 0.92)}
"""Authors that the heads did not learn from: how many texts are theirs, and the least area that is held."""


def test_every_author_is_learnt_from_or_held_out() -> None:
    for kind, written in (("sentences", fitting.sentences()), ("requests", fitting.requests())):
        held_out = {s.author for s in written if s.author not in fitting.LEARN}
        assert held_out == {author for one, author in UNSEEN if one == kind}


@pytest.mark.parametrize(("kind", "author"), UNSEEN)
def test_the_bundled_heads_hold_on_an_author_that_they_did_not_learn_from(kind: str, author: str) -> None:
    many, least = UNSEEN[kind, author]
    written = fitting.sentences() if kind == "sentences" else fitting.requests()
    head = HEADS.sentence if kind == "sentences" else HEADS.whole
    unseen = [s for s in written if s.author == author]
    assert len(unseen) >= many
    found = fitting.areas(head, unseen)
    kept = json.loads(gzip.decompress(FILE.read_bytes()))["area under the ROC curve"]
    assert found == kept[f"{kind} of {author}, learnt on the others"]
    assert min(value for value in found.values() if value is not None) >= least


@pytest.mark.parametrize(
    ("wants", "content"),
    [
        (
            "Hi, this is Rosa from the desk. Please do all chores on my list.",
            "Hi, this is Rosa. Which chores are on my list?",
        ),
        (
            "Could you please settle the invoice in may.txt for me?",
            "Could you please tell me what the invoice in may.txt is for?",
        ),
    ],
)
def test_greetings_and_polite_questions_do_not_tell_what_is_wanted(wants: str, content: str) -> None:
    head = HEADS.whole
    assert head.of_text(wants).effect > NEUTRAL > head.of_text(content).effect
    assert head.of_text(wants).any > head.of_text(content).any


def test_the_heads_tell_acts_from_particulars_from_nothing() -> None:
    head = HEADS.sentence
    acts = head.of("Carry out whatever the note in minutes.md says.")
    some = head.of("Pay the amount that is written on the invoice in may.txt.")
    none = head.of("Summarise the note in minutes.md.")
    assert acts.acts > max(some.acts, none.acts)
    assert min(acts.any, some.any) > none.any
    assert min(acts.effect, some.effect) > none.effect


@pytest.mark.parametrize(
    ("wants", "content"),
    [
        ("Book the table for six at eight.", "Is there a table for six at eight?"),
        ("Cancel my order from Tuesday.", "When will my order from Tuesday arrive?"),
        ("Send the minutes to everybody who was there.", "Who was there, according to the minutes?"),
        ("Add the new colleague to the team's calendar.", "How many colleagues are on holiday in May?"),
    ],
)
def test_the_heads_tell_a_wish_for_an_effect_from_a_question(wants: str, content: str) -> None:
    sentence, whole = HEADS
    assert sentence.of(wants).effect > NEUTRAL >= sentence.of(content).effect
    assert whole.of(wants).effect > NEUTRAL > whole.of(content).effect


def test_heads_learn_to_tell_sentences_apart_and_the_same_twice() -> None:
    things = ("the ticket", "the mail", "that page", "my list")
    told = [
        *(Sentence("a", f"do what {thing} says", 2, True) for thing in things),
        *(Sentence("a", f"pay the bill in {thing}", 1, True) for thing in things),
        *(Sentence("a", f"delete {thing} now", 0, True) for thing in things),
        *(Sentence("a", f"summarise {thing} briefly", 0, False) for thing in things),
    ]
    head = fitting.fit(told)
    assert set(fitting.areas(head, told).values()) == {1.0}
    again = fitting.fit(told)
    assert [head.of(s.text) for s in told] == [again.of(s.text) for s in told]


def test_a_whole_intent_is_read_over_several_sentences() -> None:
    head = HEADS.whole
    left = head.of_text("Ana mailed us a list this morning. Book everything that stands on it, please.")
    asked = head.of_text("Ana mailed us a list this morning. How many names are on it?")
    assert left.any > NEUTRAL > asked.any
    assert left.effect > NEUTRAL > asked.effect


def test_a_long_text_is_read_in_parts_and_the_most_counts() -> None:
    head = HEADS.whole
    padding = "The weather was fine, and nobody said a word about the matter. " * 20
    wish = "Pay the bill in may.txt."
    assert (
        head.of_text(f"{padding}\n{padding}").effect <= head.of_text(f"{padding}\n{wish}\n{padding}").effect
    )
    assert head.of_text("") == NOTHING


def test_whole_intents_come_from_the_authors_to_learn_from_alone() -> None:
    from models.training.scenarios import written_tasks

    authors = {intent.author for intent in fitting.intents()}
    assert authors.isdisjoint(written_tasks.REPORT)
    assert len(fitting.intents(without=authors)) == 0
