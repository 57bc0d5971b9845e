"""What an alert quotes of an intent that begins with a system prompt: from where it asks for something."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import quotes
from models.tools.requests import MAX_SCANNED, start_of_request

ROLE = "You are the service desk's assistant."
SAMPLES = Path(__file__).parents[2] / "stream" / "samples"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        (f"{ROLE} Never promise dates. Please close ticket 47.", "… Please close ticket 47"),
        (f"{ROLE} Please be brief. Could you close ticket 47?", "… Could you close ticket 47?"),
        (
            f"{ROLE} Check facts first. Write in their language. Close ticket 47. Tell Ann.",
            "… Close ticket 47. Tell Ann",
        ),
        (f"{ROLE} Be brief. Check the queue. Summarise it.", "… Summarise it"),
        (
            f"{ROLE} Find Ann's ticket. Once done, please close it.",
            "… Find Ann's ticket. Once done, please close it",
        ),
        (f"# Task\n\n{ROLE}\n\n- Reset the password of Marco Fell.", "… Reset the password of Marco Fell"),
        (f"System: {ROLE}\nUser: I need a refund for A-12.", "… I need a refund for A-12"),
        ("You’re a clerk. You’ve been asked to pay Ann.", "… You’ve been asked to pay Ann"),
        ("Your role is clerk. If they say please, wait. Pay Ann.", "… Pay Ann"),
        ("Du bist der Assistent. Antworte kurz. Bitte schließe Ticket 47.", "… Bitte schließe Ticket 47"),
        ("Vous êtes l'assistant. Pouvez-vous fermer le ticket 47 ?", "… Pouvez-vous fermer le ticket 47 ?"),
        ("Eres el asistente. Por favor, cierra el ticket 47.", "… Por favor, cierra el ticket 47"),
        ("Sei l'assistente. Vorrei chiudere il ticket 47.", "… Vorrei chiudere il ticket 47"),
        ("Você é o assistente. Preciso fechar o ticket 47.", "… Preciso fechar o ticket 47"),
        ("Je bent de assistent. Kun je ticket 47 sluiten?", "… Kun je ticket 47 sluiten?"),
        # Nothing asks, or nothing says who the agent is: from the beginning on, as ever.
        (ROLE, ROLE[:-1]),
        (f"{ROLE} Never promise dates.", f"{ROLE} Never promise dates"),
        ("Your order is late. Please refund it.", "Your order is late. Please refund it"),
        ("Hello! I want to return a lamp. You are kind.", "Hello! I want to return a lamp. You are kind"),
        ("# Bug\nThe page fails. Please fix it.", "# Bug The page fails. Please fix it"),
        ("", ""),
    ],
)
def test_the_quote_begins_where_something_is_asked(text: str, quoted: str) -> None:
    assert quotes.asked(text, "full", start_of_request(text)) == quoted
    assert quotes.asked(text, "none") == ""


def test_of_the_samples_two_begin_with_a_system_prompt_and_are_quoted_by_their_task() -> None:
    cut = {}
    for path in sorted(SAMPLES.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            event = orjson.loads(line)
            text = (event.get("intent") or {}).get("text")
            if text and start_of_request(text):
                cut[path.stem] = quotes.asked(text, "masked", start_of_request(text))[:36]
    assert cut == dict.fromkeys(
        ["35-desk-code-agent", "36-desk-code-agent-asked"], "… Reset the password of Marco Fell, "
    )


PIECES = st.lists(
    st.sampled_from(
        [
            ROLE,
            "Be brief. ",
            "Close ticket 47. ",
            "please",
            "\n",
            "# ",
            "User: ",
            ". ",
            "é",
            "\u202e",
            "4111 1111 1111 1111",
            "!",
        ]
    ),
    max_size=12,
)


@given(PIECES | st.text(max_size=40).map(lambda each: [ROLE, " ", each]))
def test_a_quote_is_a_piece_of_its_text_and_bounded(pieces: list[str]) -> None:
    text = "".join(pieces)
    start = start_of_request(text)
    assert 0 <= start <= len(text)
    for how in ("masked", "full"):
        told = quotes.asked(text, how, start)  # type: ignore[arg-type]
        assert len(told) <= quotes.MAX_ASKED
        assert len(told.encode()) <= quotes.MAX_ASKED_BYTES
        assert "4111 1111" not in told


def test_a_long_text_is_looked_through_as_far_as_the_bound_and_no_further() -> None:
    far = f"{ROLE} {'It is so. ' * MAX_SCANNED} Please close ticket 47."
    assert start_of_request(far) == 0
    assert start_of_request(ROLE * 200_000) == 0
