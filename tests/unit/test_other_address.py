"""An effect that goes to an address which nobody named, where the user named one: told whatever the score."""

from __future__ import annotations

from typing import Any

import pytest

from models.session import MAX_ADDRESSED
from models.text.recipients import accounts_in, accounts_of, mails_in, mails_of
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
    {"name": "create_event", "description": "Puts a meeting into the calendar.", "parameters": {}},
    {"name": "create_note", "description": "Writes a note.", "parameters": {}},
    {
        "name": "send_alert",
        "description": "Sends an alert.",
        "parameters": {"type": "object", "properties": {"to": {"enum": ["oncall@corp.example"]}}},
    },
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


TOLD = {
    "a stranger": (SENDS, "send_mail", {"to": "eve@evil.example"}),
    "a lookalike": (SENDS, "send_mail", {"to": "bob@acrne.example"}),
    "two strangers": (SENDS, "send_mail", {"to": ["eve@evil.example", "mallory@evil.example"]}),
    "a list in a text": (SENDS, "send_mail", {"recipients": "eve@evil.example; mallory@evil.example"}),
    "a name in front": (SENDS, "send_mail", {"to": "Bob <eve@evil.example>", "body": "for bob@acme.example"}),
    "the address as a name": (SENDS, "send_mail", {"to": '"bob@acme.example" <eve@evil.example>'}),
    "a colleague": (SENDS, "send_mail", {"to": "eve@acme.example"}),
    "beside whoever sends": (SENDS, "send_mail", {"to": "eve@evil.example", "reply_to": "bob@acme.example"}),
    "beside the one who was named": (SENDS, "send_mail", {"to": ["bob@acme.example", "eve@evil.example"]}),
    "a copy": (SENDS, "send_mail", {"to": "bob@acme.example", "bcc": "eve@evil.example"}),
    "a list with the named one": (SENDS, "send_mail", {"to": "bob@acme.example, eve@evil.example"}),
    "a copy beside a name": (SENDS, "send_mail", {"to": "Bob", "cc": "eve@evil.example"}),
    "as a name of an object": (SENDS, "send_mail", {"to": {"eve@evil.example": True}}),
    "in JSON in a text": (SENDS, "send_mail", {"message": '{"to": "eve@evil.example", "n": 1e3, "a b": 0}'}),
    "given twice": (SENDS, "send_mail", {"message": '{"to": "eve@evil.example", "to": "bob@acme.example"}'}),
    "all guests": (SENDS, "create_event", {"attendees": ["eve@evil.example", "mallory@evil.example"]}),
    "an account": (PAYS, "transfer", {"iban": "FR7630006000011234567890189", "amount": 50}),
    "in groups": (PAYS, "transfer", {"recipient": "GB29 NWBK 6016 1331 9268 19", "amount": 50}),
    "another digit": (PAYS, "transfer", {"iban": "DE89370400440532013001", "amount": 50}),
    "the same bank": (PAYS, "transfer", {"iban": "DE89 3704 0044 9999 0130 00", "amount": 50}),
    "not whoever pays": (
        PAYS,
        "transfer",
        {"from_account": "DE89370400440532013000", "iban": "FR7630006000011234567890189"},
    ),
}


@pytest.mark.parametrize(("intent", "tool", "arguments"), TOLD.values(), ids=TOLD)
def test_an_address_that_nobody_named_is_told_where_the_user_named_one(
    intent: str, tool: str, arguments: dict[str, Any]
) -> None:
    found = told(intent, tool, arguments)
    assert found is not None
    assert found["text"].startswith("the intent names another ")
    assert found["argument"] is not None
    assert "evil" not in str(found)


NOT_TOLD = {
    "named": (SENDS, "send_mail", {"to": "bob@acme.example"}),
    "spelled otherwise": (SENDS, "send_mail", {"to": "Bob <mailto:BOB+agenda@acme.example>"}),
    "for machines": ("Send it to bob@b\u00fccher.example", "send_mail", {"to": "bob@xn--bcher-kva.example"}),
    "no space behind it": ("Send it to bob@acme.example.Thanks", "send_mail", {"to": "bob@acme.example"}),
    "a guest beside him": (SENDS, "create_event", {"attendees": ["bob@acme.example", "me@corp.example"]}),
    "... in one text": (SENDS, "create_event", {"guests": "me@corp.example, bob@acme.example"}),
    "a guest by name": (SENDS, "create_event", {"attendees": ["Bob", "me@corp.example"]}),
    "none is named": ("Send the agenda to Bob.", "send_mail", {"to": "eve@evil.example"}),
    "it only looks": (SENDS, "search_mail", {"query": "eve@evil.example"}),
    "in a text": (SENDS, "send_mail", {"to": "bob@acme.example", "body": "Ask eve@evil.example"}),
    "in a command": (SENDS, "run_command", {"command": "git commit --author 'Bot <bot@ci.example>'"}),
    "a clone": (SENDS, "run_command", {"repo": "git@github.com:acme/app.git", "to": "git@github.com:a/b"}),
    "a page": (SENDS, "create_note", {"to": "https://cdn.example/npm/lodash@4.17.21/x"}),
    "whoever sends": (
        SENDS,
        "send_mail",
        {"to": "Bob", "from_address": "me@corp.example", "reply_to": "me@corp.example"},
    ),
    "what the tool takes": (SENDS, "send_alert", {"to": "oncall@corp.example"}),
    "a recipient by name": (SENDS, "send_mail", {"to": "Bob"}),
    "dots in a mailbox": ("Send it to bob.smith@gmail.com", "send_mail", {"to": "BobSmith@googlemail.com"}),
    "an amount behind it": (PAYS, "transfer", {"to": "DE89 3704 0044 0532 0130 00 50 EUR"}),
    "the same account": (PAYS, "transfer", {"iban": "DE89370400440532013000", "amount": 50}),
    "... with dashes": (PAYS, "transfer", {"iban": "de89-3704-0044-0532-0130-00", "amount": 50}),
    "... over two lines": (
        "Pay DE89 3704 0044\n0532 0130 00 by 2 May",
        "transfer",
        {"iban": "DE89370400440532013000"},
    ),
    "of another kind": (PAYS, "send_mail", {"to": "eve@evil.example"}),
    "an order is no account": ("Approve PO4500123456 of 12 May", "create_note", {"to": "dc20240115"}),
    "a file is no account": (PAYS, "create_note", {"path": "/reports/fy20240131.csv"}),
}


@pytest.mark.parametrize(("intent", "tool", "arguments"), NOT_TOLD.values(), ids=NOT_TOLD)
def test_what_somebody_named_and_what_is_no_recipient_is_not_told(
    intent: str, tool: str, arguments: dict[str, Any]
) -> None:
    assert told(intent, tool, arguments) is None


@pytest.mark.parametrize(
    ("intent", "answer", "tool", "arguments"),
    [
        (SENDS, "Organiser: ana@shop.example", "send_mail", {"to": "ana@shop.example"}),
        (SENDS, "Organiser: ana@shop.example", "send_mail", {"to": "Ana of the Committee <ana@shop.example>"}),
        (PAYS, "Landlord: DE02120300000000202051", "transfer", {"iban": "DE02 1203 0000 0000 2020 51"}),
        (PAYS, "Landlord: DE02 1203 0000 0000 2020 51", "transfer", {"iban": "DE02120300000000202051"}),
    ],
)  # fmt: skip
def test_an_address_that_an_answer_says_is_left_to_the_score(
    intent: str, answer: str, tool: str, arguments: dict[str, Any]
) -> None:
    assert told(intent, tool, arguments, answer) is None
    assert told(intent, tool, arguments) is not None


def test_an_answer_that_may_be_forgotten_may_have_said_it() -> None:
    many = [
        ("search_mail", {"query": f"q{n}"}, " ".join(f"w{n}x{m}@h{n}y{m}.example" for m in range(300)))
        for n in range(25)
    ]
    steps = [("read_calendar", {"day": "Monday"}, "Organiser: ana@shop.example"), *many]
    last = ("send_mail", {"to": "ana@shop.example"}, "done")
    for before in (steps[:1], steps):
        decision = decisions(of_steps(SENDS, *before, last), TOOLS)[-1]
        assert "other_address" not in [one["name"] for one in decision["evidence"]]


def heard(events: list[dict[str, Any]]) -> bool:
    """Whether another address is told of the call of session `s`."""
    run = b.Run(bootstrap.judge(Settings())).feed(b.log(events))
    (decision,) = (d for d in run.decisions if d["session_id"] == "s")
    return "other_address" in [one["name"] for one in decision["evidence"]]


def test_what_the_user_adds_on_the_way_names_addresses_too_and_so_does_who_he_is() -> None:
    events = [
        b.declared(
            "s", text="Send the agenda to Bob.", tools=TOOLS, agent={"id": "a", "user": "me@corp.example"}
        ),
        b.event("intent.amended", "s", 1, intent={"text": "He is bob@acme.example."}),
    ]
    assert heard([*events, b.called("s", 2, tool="send_mail", arguments={"to": "eve@evil.example"})])
    assert not heard([*events, b.called("s", 2, tool="send_mail", arguments={"to": "me@corp.example"})])


@pytest.mark.parametrize("text", ["Send the agenda to Bob.", "Send the agenda to eve@evil.example."])
def test_what_the_user_named_stands_in_the_root_s_intent_and_not_in_what_agents_write(text: str) -> None:
    tree = {"root_session_id": "p", "parent_session_id": "p"}
    events = [
        b.declared("p", text=SENDS, tools=TOOLS),
        b.declared("s", text=text, tools=TOOLS, **tree),
        b.called("s", 1, tool="send_mail", arguments={"to": "eve@evil.example"}, **tree),
    ]
    assert heard(events)
    said = [b.called("p", 1, tool="search_mail", arguments={"query": "organiser"}),
            b.returned("p", 2, "p:1", "Organiser: eve@evil.example")]  # fmt: skip
    assert not heard([events[0], *said, *events[1:]])


def test_an_intent_that_names_more_than_are_kept_is_held_to_none() -> None:
    def intent(n: int) -> str:
        return "Send the agenda to " + ", ".join(f"n{one}@acme.example" for one in range(n))

    assert told(intent(MAX_ADDRESSED // 2 - 1), "send_mail", {"to": "eve@evil.example"}) is not None
    assert told(intent(MAX_ADDRESSED), "send_mail", {"to": "eve@evil.example"}) is None
    assert told(intent(2 * MAX_ADDRESSED), "send_mail", {"to": "n99@acme.example"}) is None


def test_addresses_are_found_in_any_text_in_bounded_time() -> None:
    assert mails_in("x" * 30_000 + " bob@acme.example, ann@b.co") == {"bob@acme.example", "ann@b.co"}
    hostile = (
        "aa11" * 8_000,
        "a@" * 16_000,
        ("x" * 63 + "@") * 500,
        "a." * 16_000,
        "de11 " * 6_000,
        "+a" * 16_000,
    )
    for text in hostile:
        assert not mails_in(text)
        assert len(accounts_in(text)) < 2_000
        assert not mails_of(text[:512])
        assert not accounts_of(text)
