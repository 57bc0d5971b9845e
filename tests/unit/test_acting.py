"""Whether a tool acts: what was learnt holds on other authors, and what it may overrule."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import Tool
from models.errors import ArtefactError
from models.heads import acting
from models.heads.acting import Acting
from models.heads.readers import Readers
from models.release.readers import load
from models.release.registry import BUNDLED
from models.tools import facts as tools
from models.training.heads import acting as fitting
from models.training.scenarios import corpus, written_tasks
from stream.offline import study

FILE = BUNDLED / "acting.json"
ACTING = load().acting
NOTHING = Acting({}, 0)
PADDING = "One of the newest comments by people, with their notes: a list of what was written, and when. "


def facts(
    name: str, description: str | None = None, learnt: Acting = ACTING, **annotations: bool
) -> tools.ToolFacts:
    tool = Tool(name=name, description=description, annotations=annotations or None)
    return tools.facts_of(name, tool, {}, learnt)


def action(name: str, description: str | None = None, learnt: Acting = ACTING, **annotations: bool) -> str:
    return facts(name, description, learnt, **annotations).action


def by_verbs(name: str, description: str | None = None, **annotations: bool) -> str:
    return action(name, description, NOTHING, **annotations)


def test_on_authors_held_out_it_errs_less_than_verbs_alone() -> None:
    kept = json.loads(FILE.read_text())["measured"]
    assert len(kept) == 2
    for half in kept.values():
        assert half["area"] >= 0.99
        for kind in ("looks taken for acts", "acts taken for looks"):
            assert half[f"{kind}, with what was learnt"] <= 0.5 * half[f"{kind}, by verbs"]


def test_by_names_alone_no_more_than_a_few_acts_are_lost_for_the_looks_that_are_told() -> None:
    for half in json.loads(FILE.read_text())["measured"].values():
        looks, acts = (
            [half[f"{kind}, by name alone, {way}"] for way in ("by verbs", "with what was learnt")]
            for kind in ("looks taken for acts", "acts taken for looks")
        )
        assert looks[1] < looks[0] - 3
        assert acts[1] < acts[0] + 1


def test_each_half_of_the_authors_is_seen_through_what_learnt_from_the_other() -> None:
    half, other = next(fitting.by_halves())
    theirs = {one.author for one in fitting.labelled_tools(without=half)}
    assert theirs
    assert theirs.isdisjoint({*half, *written_tasks.REPORT})
    assert other.weights == fitting.fit(fitting.labelled_tools(without=half)).weights != ACTING.weights
    unread = corpus.Unread(load().handover, load().expectation, other)
    seen = []

    def replayed(sessions: object, tools: object, readers: Readers) -> None:
        seen.append(readers.acting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "feature_rows", replayed)
        study.rows_through([], {}, unread)
        study.rows_through([], {}, None)
    assert seen == [other, ACTING]


@pytest.mark.parametrize(
    ("name", "description", "wanted"),
    [
        ("my-bookings", "Everything booked, with ids and cancellation terms.", "read"),
        ("driver_messages", "Messages that drivers and dispatchers have sent to the office.", "read"),
        ("divide", "Divide one number by another.", "read"),
        ("LabResults", "Results of the laboratory for one patient.", "read"),
        ("issue_permit", "Issues a safety permit for a machine. PRECONDITION: check_lockout.", "write"),
        ("HassTurnOn", "Turns on/opens/presses a device or entity.", "write"),
        ("visit_book", "Books, or rebooks, a technician. Fruitless visits cost 49.", "write"),
        ("browser_download", "Save the file behind a link to the session's downloads.", "write"),
    ],
)
def test_it_tells_where_verbs_do_not_or_are_wrong(name: str, description: str, wanted: str) -> None:
    assert action(name, description) == wanted
    assert by_verbs(name, description) != wanted


@pytest.mark.parametrize(
    "name", ["transfer_funds", "delete_user", "send_mail", "create_invite", "sign_contract", "issue_permit"]
)
def test_no_description_takes_back_what_a_name_says(name: str) -> None:
    """Whether in a verb of the lists or, as the last two, for what was learnt."""
    assert action(name, PADDING) == "write"
    assert action(name, f"Lists and shows balances. {PADDING}") == "write"
    assert action("op_17", PADDING) == "read"  # where the name says nothing, there is nothing to take back


@pytest.mark.parametrize(
    "name",
    [
        "fetch_url",
        "read_email",
        "get_reviews",
        "browser_navigate",
        "list_issues",
        "gmail_read_email",
        "slack_get_messages",
        "customer_lookup",
        "view_bank_account",
        "check_mail",
    ],
)
def test_nor_that_it_fetches(name: str) -> None:
    said = "Updates, creates, sets and books: text, reason, body."
    assert action("page", said) == "write"
    assert action(name, said) == "read"


NAMES = st.text(st.sampled_from("aAgetlistsend_-./: 9日") | st.characters(codec="utf-8"), max_size=40)


@given(NAMES, st.none() | st.text(max_size=200) | st.sampled_from([PADDING, "Wipes a disk.", "Gets a list."]))
def test_whatever_a_tool_is_called_and_says_it_is_classed(name: str, description: str | None) -> None:
    assert tools.facts_of(name, Tool(name=name or "x", description=description), {}, ACTING).action in (
        "read",
        "write",
        "execute",
    )


@pytest.mark.parametrize("name", ["list/创建", "read/写", "find/删除", "mcp__read__日本", "日本", "/"])
def test_a_name_without_words_of_its_own_is_classed(name: str) -> None:
    said = "Sends a message to somebody outside; books, creates and sets it."
    assert action(name, said) == "write"
    assert action(name) in ("read", "write")


@pytest.mark.parametrize(
    "name", ["wipe_logs", "purge_history", "erase_history", "reset_log", "clear_history"]
)
def test_a_name_that_begins_with_what_destroys_is_no_look_where_it_ends_in_a_thing_to_look_at(
    name: str,
) -> None:
    assert action(name) == action(name, PADDING) == "write"


def test_what_the_policy_classes_brings_in_what_the_class_says() -> None:
    tool = Tool(name="fetch_page", description="Fetches a web page.")
    assert tools.facts_of(tool.name, tool, {}, ACTING).open_world
    assert not tools.facts_of(tool.name, tool, {"fetch_page": "write"}, ACTING).open_world


def test_parameters_are_marks_and_only_so_many_are_looked_at() -> None:
    def declared(names: list[str]) -> set[str]:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        return tools.marks_of("x", Tool(name="x", parameters=schema))

    assert {"parameter page", "parameter size"} <= declared(["page_size"])
    many = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    assert sum(mark.startswith("parameter ") for mark in declared(many)) == tools.MAX_MARKED


def test_what_reads_and_acts_still_brings_in_what_strangers_wrote() -> None:
    found = facts("visit_book", "Books, or rebooks, a technician on the website. Fruitless visits cost 49.")
    assert (found.action, found.open_world) == ("write", True)


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("overview", "Wipes the list of all records that a search shows."),
        ("overview", "Leaks the list of all records that a search shows."),
        ("audit_logs", "Wipes the logs of a host."),
        ("user_history", "Erases the history of a user."),
        ("browsing_history", "Purges the history."),
        ("chat_logs", "Destroys the logs of a chat."),
        ("printer_settings", "Tampers with the settings of a printer."),
    ],
)
def test_what_a_description_says_that_destroys_or_leads_out_is_no_look(name: str, description: str) -> None:
    assert action(name, description) == "write"


def test_a_verb_of_the_description_is_taken_back_only_where_it_is_twice_as_sure() -> None:
    told = "Adds up the rows of a table."
    assert by_verbs("xyzzy", told) == "write"
    for odds, wanted in ((-200, "read"), (-199, "write")):
        assert action("xyzzy", told, Acting({"text rows": 0}, -(-odds * 4096 // 100))) == wanted


def test_what_leans_but_a_little_is_taken_for_an_act() -> None:
    for odds, wanted in ((-51, "read"), (-50, "write"), (0, "write")):
        assert action("xyzzy", None, Acting({"name xyzzy": 0}, -(-odds * 4096 // 100))) == wanted


def test_a_hint_that_a_tool_reads_is_believed_only_where_nothing_is_sure() -> None:
    assert action("xyzzy") == "write"
    assert action("xyzzy", readOnlyHint=True) == "read"
    assert by_verbs("sign_contract", "A contract.", readOnlyHint=True) == "read"
    assert action("sign_contract", "A contract.", readOnlyHint=True) == "write"
    assert action("my-bookings", "Everything booked.", readOnlyHint=False) == "write"


def test_a_tool_of_which_no_mark_is_known_gets_nothing() -> None:
    assert ACTING.of({"name xyzzy"}) == 0
    assert Acting({}, 4096).of({"name get"}) == 0


def test_no_more_of_a_description_is_read_than_is_said() -> None:
    def texts(description: str) -> set[str]:
        return {mark for mark in acting.marks(["x"], ["x"], description, ()) if mark.startswith("text ")}

    words = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    assert len(texts(" ".join(words))) == acting.MAX_WORDS
    assert texts("z" * acting.MAX_CHARS + " more") == {f"text {'z' * acting.MAX_CHARS}"}
    begun = {m for m in acting.marks(["x"], ["x"], "A b. C d. E f. G h. I j. K l. M n.", ()) if "begin" in m}
    assert begun == {f"begin {letter}" for letter in "acegik"}


def test_what_stands_before_every_description_of_a_catalogue_is_no_mark() -> None:
    family = (
        "This tool belongs to the trading system, which allows users to view and list. Tool description: "
    )
    assert acting.marks(["x"], ["x"], f"{family}Fund it.", ()) == acting.marks(["x"], ["x"], "Fund it.", ())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"weights": [], "bias": 0}',
        '{"weights": {"a": "b"}, "bias": 0}',
        '{"weights": {"a": 1.5}, "bias": 0}',
        '{"weights": {"a": 1}, "bias": true}',
        '{"weights": {"a": 1}, "bias": Infinity}',
    ],
)
def test_a_file_of_another_kind_is_refused(content: str) -> None:
    with pytest.raises(ArtefactError, match=r"python -m models\.training\.heads acting"):
        Acting.parse(content.encode())
