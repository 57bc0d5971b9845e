"""The word table: what counts as a word, exact sums in any order, bounds under hostile text, cosines."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import string
import tracemalloc
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ArtefactError, DigestMismatch
from models.release import registry
from models.text import embedding
from models.text.embedding import DIMS, Embedding, cosine, cosines, pieces_of, unit
from models.training import distill, distill_texts
from models.training.scenarios import written_tasks

BUNDLED = registry.BUNDLED / "words.npz"
TABLE = Embedding.load(BUNDLED)

plain_words = st.text(string.ascii_lowercase, min_size=2, max_size=12)
few_words = st.lists(plain_words, max_size=40)
columns = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=DIMS, max_size=DIMS)


def similarity(one: str, other: str) -> int:
    return cosine(unit(TABLE.total(one)), unit(TABLE.total(other)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getUserInfo", ["get", "user", "info"]),
        ("parseHTTPResponse IDs APIs", ["parse", "http", "response", "ids", "apis"]),
        ("send_email kebab-case", ["send", "email", "kebab", "case"]),
        ("bob.smith@example.com", ["bob", "smith", "example"]),
        ("https://example.com/a/path?to=x1", ["example", "path", "to"]),
        ("2024-05-01 3.50 #7 a I", []),
        ("Überweisung Straße naïve", ["uberweisung", "strasse", "naive"]),
        ("se\u200bnd \uff53\uff45\uff4e\uff44", ["send", "send"]),
        ("перевод 转账 🙂", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert Embedding.words(text) == words


def test_only_the_first_words_of_a_text_count() -> None:
    many = " ".join(["send"] * 60 + ["get_user_by_name_and_id"] + ["money"] * 9)
    assert len(Embedding.words(many)) == embedding.MAX_WORDS
    summed = sum(TABLE.row(word) for word in Embedding.words(many))
    assert np.array_equal(TABLE.total(many), summed)


@given(few_words, st.randoms(use_true_random=False))
def test_the_order_of_words_does_not_matter(words: list[str], rng: random.Random) -> None:
    shuffled = words.copy()
    rng.shuffle(shuffled)
    assert np.array_equal(TABLE.total(" ".join(words)), TABLE.total(" ".join(shuffled)))


@given(few_words)
def test_case_does_not_matter(words: list[str]) -> None:
    text = " ".join(words)
    assert np.array_equal(TABLE.total(text), TABLE.total(text.title()))
    # In capitals a final S of an otherwise capital word is read as any other letter.
    assert np.array_equal(TABLE.total(text), TABLE.total(text.upper()))


@given(st.lists(plain_words, min_size=1, max_size=10))
def test_camel_snake_and_kebab_case_are_the_same_words(words: list[str]) -> None:
    spaced = TABLE.total(" ".join(words))
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    for text in ("_".join(words), "-".join(words), camel):
        assert np.array_equal(TABLE.total(text), spaced)


@given(st.lists(st.text(max_size=300), min_size=1, max_size=8))
def test_a_text_has_the_same_total_alone_and_after_others(texts: list[str]) -> None:
    """The memo, and what was met before, never show; a total is the sum of the rows of its words."""
    for text in texts:
        summed = sum((TABLE.row(word) for word in Embedding.words(text)), np.zeros(DIMS, np.int32))
        assert np.array_equal(TABLE.total(text), summed)
        assert np.array_equal(TABLE.total(text), summed)


@pytest.mark.parametrize("text", ["", "   ", "42 3.14", "转账", "\x00\ud800"])
def test_a_text_without_words_has_the_zero_vector(text: str) -> None:
    total = TABLE.total(text)
    assert total.dtype == np.int32
    assert total.shape == (DIMS,)
    assert not total.any()
    assert not unit(total).any()
    assert cosine(unit(total), unit(TABLE.total("send money"))) == 0


@pytest.mark.parametrize(
    "text",
    [
        "money " * 200_000,
        "a" * (1 << 20),
        "aB" * (1 << 19),
        "x_" * (1 << 19),
        "\u0300" * (1 << 20),
        "\ufdfa" * (1 << 20),
        "Zz-" * (1 << 18) + "@" * (1 << 18),
    ],
    ids=["words", "word", "camel", "snake", "marks", "ligature", "joints"],
)
def test_hostile_text_neither_overflows_nor_fills_memory(text: str) -> None:
    table = Embedding.load(BUNDLED)
    tracemalloc.start()
    total = table.total(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert np.abs(total.astype(np.int64)).max() < 1 << 23
    exact = sum(table.row(word).astype(object) for word in Embedding.words(text))
    assert (total == exact).all()


def test_the_memo_is_bounded_and_forgetting_changes_nothing() -> None:
    table = Embedding.load(BUNDLED)
    before = table.total("send the money to bob")
    for start in range(0, 3 * embedding.MAX_MEMO, 50):
        table.total(" ".join(f"w{n}" for n in range(start, start + 50)))
        assert len(table._slots) <= embedding.MAX_MEMO
    assert "money" not in table._slots
    assert np.array_equal(table.total("send the money to bob"), before)
    table.total("q" * 2000)
    assert max(map(len, table._slots)) <= embedding.MAX_PIECE


def test_unknown_words_are_made_of_pieces_and_count_for_one() -> None:
    place = {"re": 0, "##send": 1, "##s": 2}
    assert pieces_of("resends", place) == [0, 1, 2]
    assert pieces_of("rex", place) == []
    assert "zqxjvk" not in TABLE
    assert all(letter in TABLE and "##" + letter in TABLE for letter in string.ascii_lowercase)
    assert np.abs(TABLE.row("zqxjvk" * 10)).max() <= 127 * embedding.MAX_SCALE


@given(columns)
def test_unit_has_its_length_and_direction_for_any_int32(values: list[int]) -> None:
    vector = np.array(values, np.int32)
    made = unit(vector)
    length = sqrt(sum(v * v for v in values))
    assert made.dtype == np.int16
    if length:
        wanted = np.array([v * embedding.LENGTH / length for v in values])
        assert np.abs(made - wanted).max() <= 0.51


@given(st.lists(st.integers(-3, 3), min_size=DIMS, max_size=DIMS))
def test_unit_is_exact_for_short_vectors_too(values: list[int]) -> None:
    test_unit_has_its_length_and_direction_for_any_int32.hypothesis.inner_test(values)


@given(columns, columns)
def test_cosine_is_that_of_floats_to_a_few_thousandths(one: list[int], other: list[int]) -> None:
    a, b = np.array(one, np.int32), np.array(other, np.int32)
    wanted = 0.0
    if any(one) and any(other):
        x, y = a.astype(float), b.astype(float)
        wanted = 1000 * float(x @ y) / float(np.linalg.norm(x) * np.linalg.norm(y))
    got = cosine(unit(a), unit(b))
    assert -1000 <= got <= 1000
    assert abs(got - wanted) <= 12
    assert got == cosine(unit(b), unit(a))


def test_cosines_of_a_batch_are_those_of_its_rows() -> None:
    texts = ["send money", "", "delete the file", "weather in Paris", "SEND MONEY"]
    matrix = np.stack([unit(TABLE.total(text)) for text in texts])
    got = cosines(matrix, matrix[0])
    assert got.dtype == np.int32
    assert got.tolist() == [cosine(row, matrix[0]) for row in matrix]
    assert got[0] >= 998
    assert got[0] == got[4]
    assert cosines(np.zeros((0, DIMS), np.int16), matrix[0]).shape == (0,)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        (
            "wire some cash to my landlord",
            "send_money: transfer an amount to an account",
            "get_current_weather",
        ),
        ("book me a room in Rome", "reserve_hotel: make a hotel reservation", "delete_file: remove a file"),
        ("mail the notes to Anna", "send_email", "update_password"),
    ],
)
def test_meaning_is_nearer_than_none(text: str, near: str, far: str) -> None:
    assert similarity(text, near) > similarity(text, far)


def test_the_manifest_tells_source_licence_and_what_it_was_fitted_on() -> None:
    manifest = json.loads(BUNDLED.with_suffix(".json").read_bytes())
    assert manifest["sha256"] == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    assert manifest["encoder"]["licence"] == "Apache-2.0"
    assert manifest["dims"] == DIMS
    assert manifest["words"] == len(TABLE)
    assert manifest["fitted_on"]["recorded sessions"] == 0
    assert BUNDLED.stat().st_size <= 3_500_000


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for source in (BUNDLED, BUNDLED.with_suffix(".json")):
        shutil.copy(source, tmp_path)
    return tmp_path / BUNDLED.name


def test_a_copy_elsewhere_loads(copied: Path) -> None:
    assert np.array_equal(Embedding.load(copied).total("send money"), TABLE.total("send money"))


def test_other_bytes_are_refused(copied: Path) -> None:
    raw = bytearray(copied.read_bytes())
    raw[len(raw) // 2] ^= 1
    copied.write_bytes(raw)
    with pytest.raises(DigestMismatch):
        Embedding.load(copied)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"manifest_version": 1}', '{"manifest_version": 9, "sha256": ""}']
)
def test_a_manifest_of_another_kind_is_refused(copied: Path, text: str) -> None:
    copied.with_suffix(".json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError):
        Embedding.load(copied)


def test_missing_files_are_refused(copied: Path) -> None:
    copied.unlink()
    with pytest.raises(ArtefactError):
        Embedding.load(copied)
    copied.with_suffix(".json").unlink()
    with pytest.raises(ArtefactError):
        Embedding.load(copied)


def _write(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)
    manifest = {"manifest_version": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_file_with_the_right_digest_and_the_wrong_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    words = np.frombuffer(b"ab\n##c", np.uint8)
    rows, scales = np.zeros((2, DIMS), np.int8), np.ones(2, np.uint16)
    _write(path, words=words, rows=rows, scales=scales)
    assert len(Embedding.load(path)) == 2
    for wrong in (
        {"words": words, "rows": rows},
        {"words": words, "rows": rows[:1], "scales": scales},
        {"words": words, "rows": rows.astype(np.int16), "scales": scales},
        {"words": words, "rows": rows, "scales": scales + np.uint16(embedding.MAX_SCALE)},
        {"words": np.array([{}], object), "rows": rows, "scales": scales},
        {"words": np.frombuffer("\u00e9\nb".encode(), np.uint8), "rows": rows, "scales": scales},
    ):
        _write(path, **wrong)
        with pytest.raises(ArtefactError):
            Embedding.load(path)


def test_what_is_fitted_is_what_is_used() -> None:
    """Bags of words times rows before rounding point where the table's integer totals do."""
    letters = string.ascii_lowercase
    words = [*letters, *("##" + letter for letter in letters), "send", "money", "file"]
    rows = np.random.default_rng(1).normal(size=(len(words), DIMS)).astype(np.float32)
    rows *= np.linspace(0.05, 1, len(words), dtype=np.float32)[:, None]
    texts = ["send the money", "getFile to bob@example.com", "a 1", "IDs money money"]
    wanted = distill.bags(texts, words) @ rows
    table = Embedding(words, *distill.quantised(rows))
    for text, want in zip(texts, wanted, strict=True):
        got = table.total(text).astype(float)
        assert bool(want.any()) == bool(got.any())
        if want.any():
            assert got @ want >= 0.999 * np.linalg.norm(got) * np.linalg.norm(want)


def test_where_a_text_stands_in_an_answer_is_no_word_that_the_table_reads() -> None:
    parts = distill_texts.written()
    assert len(parts["answers in written tasks"]) > 20_000
    assert not any(written_tasks.SLOT in line for lines in parts.values() for line in lines)


def test_the_sentences_of_the_fit_are_the_same_every_time() -> None:
    assert distill_texts.templates(50) == distill_texts.templates(60)[:50]
    dealt = distill_texts.jumbles(["red", "green", "blue", "black", "white"], 2)
    assert dealt == distill_texts.jumbles(["red", "green", "blue", "black", "white"], 2)
    assert sorted(" ".join(dealt).split()) == sorted(["red", "green", "blue", "black", "white"] * 2)
