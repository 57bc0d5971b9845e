"""What names nothing in an address makes two addresses neither alike nor the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.evidence.provenance import leaf_tokens, origin
from models.release.readers import load
from models.text.addresses import words_apart
from models.text.fingerprints import prints_of
from models.text.index import INTENT, Index
from models.text.tokens import tokens

KEY = b"key"

parts = st.sampled_from(
    [
        "www",
        "com",
        "http://",
        "https://www.",
        ".",
        "/",
        "@",
        ":",
        "-",
        "a-b",
        "x1",
        "org",
        "net",
        "gmail",
        "?",
        ")",
        " ",
        "\n",
    ]
)
texts = st.lists(parts, max_size=24).map("".join)


@given(texts)
@example("@- http://")
@example("thanks @ann-lee, see www.a-b.com")
def test_each_piece_between_white_space_stands_by_itself(text: str) -> None:
    assert words_apart(text).split() == " ".join(map(words_apart, text.split())).split()


@pytest.mark.parametrize(
    ("intent", "elsewhere"),
    [
        ("Read the page www.news-today.com", "http://www.my-site-234.com/random"),
        ("Read https://news-today.org/may", "https://other.org/june"),
        ("Write to bob@example.com", "eve@attacker.com"),
        ("Invite bob.lee@gmail.com", "mark.black-2134@gmail.com"),
        ("Invite bob@web.de", "eve@web.de"),
        ("Read www.informations.com", "www.true-informations.com"),
        ("Read https://bank.com and tell me", "bank-login.com"),
    ],
)
def test_another_address_is_no_part_of_the_one_that_the_user_named(intent: str, elsewhere: str) -> None:
    index = Index()
    index.add(prints_of(intent, KEY), INTENT, prose=False, limit=1000)
    assert origin(leaf_tokens(elsewhere, KEY), index, (), Index(), KEY).intent == 0


def test_a_provider_of_mail_is_a_word_elsewhere_than_in_an_address() -> None:
    assert "gmail" in {
        token.text for token in tokens("Read my gmail, then gmail.company.org and x@gmail.company.org")
    }


@pytest.mark.parametrize(
    "spelling", ["www.a-b.com/x", "http://a-b.com/x", "https://www.a-b.com/x", "A-B.com/x"]
)
def test_an_address_is_the_same_however_it_begins(spelling: str) -> None:
    assert "abcomx" in {token.text for token in tokens(spelling) if token.address}


def test_a_host_without_its_hyphens_and_a_path_with_them() -> None:
    assert (
        words_apart("see my-site.com/a-b, x-y@c-d.org, well-known e-mail")
        == "see mysite /a-b, x-y@cd , well-known e-mail"
    )


def test_addresses_alone_make_no_two_texts_alike() -> None:
    assert not load().words.vector_of("http://www.q.com").any()


def test_a_word_that_is_also_an_ending_stays_a_word() -> None:
    assert [token.text for token in tokens("net income of the org, com port")][:3] == ["net", "income", "the"]
