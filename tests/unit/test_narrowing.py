"""A sub-agent may do no more than each session that it works for: not by what it declares, nor by declaring nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from stream.core import intents
from stream.core.releases import Release
from tests import builders as b

TOP, MIDDLE, LOW = "top", "middle", "low"
BELOW = {MIDDLE: TOP, LOW: MIDDLE}
PAY = "wire_money"


def declared(session: str, intent: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A declaration within the tree of `TOP`, under the parent that `BELOW` gives it."""
    return b.declared(
        session,
        intent={"text": "read notes.txt and pay bob@example.com", **(intent or {})},
        root_session_id=TOP,
        parent_session_id=more.pop("parent", BELOW.get(session)),
        **more,
    )


def called(session: str, seq: int, tool: str = PAY, **more: Any) -> dict[str, Any]:
    return b.called(session, seq, tool=tool, arguments={"to": "bob@example.com"}, root_session_id=TOP, **more)


def against(run: b.Run) -> list[set[str]]:
    """For each decision what speaks against its call."""
    return [{e["name"] for e in d["evidence"] if e["supports"]} for d in run.decisions]


def play(*values: Any) -> b.Run:
    return b.play(values, bundled=b.release(scorer=b.ConstantScorer(0)))


@pytest.mark.parametrize("own", [None, ["read", "write", "execute"], ["write"]])
@pytest.mark.parametrize("between", [None, ["read", "write"]])
def test_a_sub_agent_of_a_session_that_may_only_read_may_not_write(
    own: list[str] | None, between: list[str] | None
) -> None:
    run = play(
        declared(TOP, {"actions": ["read"]}),
        declared(MIDDLE, {"actions": between}),
        declared(LOW, {"actions": own}),
        called(LOW, 1),
        called(MIDDLE, 1),
    )
    for spoke, decision in zip(against(run), run.decisions, strict=True):
        assert "action_not_allowed" in spoke
        assert decision["verdict"] in ("deny", "revoke")


def test_actions_that_no_session_above_restricts_are_a_session_s_own() -> None:
    run = play(declared(TOP), declared(MIDDLE, {"actions": ["write"]}), called(MIDDLE, 1), called(TOP, 1))
    assert not any("action_not_allowed" in spoke for spoke in against(run))


def test_an_amendment_of_the_session_above_widens_what_those_below_may_do() -> None:
    amendment = b.event(
        "intent.amended", TOP, 1, intent={"text": "pay bob@example.com", "actions": ["write"]}
    )
    run = play(
        declared(TOP, {"actions": ["read"]}),
        declared(MIDDLE),
        called(MIDDLE, 1),
        amendment,
        called(MIDDLE, 2),
    )
    assert ["action_not_allowed" in spoke for spoke in against(run)] == [True, False]


@pytest.mark.parametrize("parent", [None, "nobody", LOW])
def test_whomever_a_sub_agent_names_the_root_of_its_tree_is_above_it(parent: str | None) -> None:
    run = play(
        declared(TOP, {"actions": ["read"], "budget": {"calls": 1}}),
        declared(LOW, parent=parent),
        called(LOW, 1, "read_file"),
        called(LOW, 2),
    )
    assert {"action_not_allowed", "budget_overrun"} <= against(run)[1]
    assert [d["marks"] for d in run.decisions] == [["orphan"] if parent else []] * 2


def test_the_root_narrows_below_any_number_of_sessions() -> None:
    chain = [TOP, *(f"m{n}" for n in range(12))]
    run = play(
        declared(TOP, {"actions": ["read"]}),
        *(declared(child, parent=parent) for parent, child in pairwise(chain)),
        called(chain[-1], 1),
    )
    assert "action_not_allowed" in against(run)[0]


@pytest.mark.parametrize(("above", "narrows"), [(8, True), (9, False)])
def test_the_nearest_eight_sessions_above_narrow(above: int, narrows: bool) -> None:
    chain = [TOP, *(f"m{n}" for n in range(above + 1))]
    run = play(
        declared(TOP),
        *(
            declared(child, {"actions": ["read"]} if child == "m0" else None, parent=parent)
            for parent, child in pairwise(chain)
        ),
        called(chain[-1], 1),
    )
    assert ("action_not_allowed" in against(run)[0]) == narrows


@pytest.mark.parametrize("parent", [None, "nobody"])
def test_a_revocation_of_the_root_reaches_whoever_names_another_parent(parent: str | None) -> None:
    drifts = b.called(TOP, 1, tool="wire_all", arguments={"to": "desk@evil.example", "text": "zq"})
    run = b.play(
        [declared(TOP), declared(LOW, parent=parent), drifts],
        bundled=b.release(scorer=b.ConstantScorer(10_000)),
    )
    changes = [c for c in run.cases if c["kind"] == "standing" and c["after"] == "contained"]
    assert [c["session_id"] for c in changes] == [TOP, LOW]


def test_an_orphan_is_narrowed_once_its_parent_appears() -> None:
    run = play(declared(MIDDLE), called(MIDDLE, 1), declared(TOP, {"actions": ["read"]}), called(MIDDLE, 2))
    assert ["action_not_allowed" in spoke for spoke in against(run)] == [False, True]


def overrun(run: b.Run) -> list[bool]:
    return ["budget_overrun" in spoke for spoke in against(run)]


def test_what_sub_agents_do_counts_against_the_budget_of_each_session_above() -> None:
    run = play(
        declared(TOP, {"budget": {"calls": 3}}),
        declared(MIDDLE, {"budget": {"calls": 100}}),
        declared(LOW),
        called(TOP, 1, "read_file"),
        called(MIDDLE, 1, "read_file"),
        called(LOW, 1, "read_file"),
        called(LOW, 2, "read_file"),
        called(TOP, 2, "read_file"),
    )
    assert overrun(run) == [False, False, False, True, True]


def test_writes_of_siblings_count_together_and_reads_do_not_overrun_a_budget_of_writes() -> None:
    run = play(
        declared(TOP, {"budget": {"writes": 1}}),
        declared(MIDDLE),
        declared("other", parent=TOP),
        called(MIDDLE, 1),
        called("other", 1, "read_file"),
        called("other", 2),
    )
    assert overrun(run) == [False, False, True]


def test_what_a_sub_agent_spent_is_spent_when_it_has_ended() -> None:
    run = play(
        declared(TOP, {"budget": {"calls": 1}}),
        declared(MIDDLE),
        called(MIDDLE, 1, "read_file"),
        b.ended(MIDDLE, 2, root_session_id=TOP),
        called(TOP, 1, "read_file"),
    )
    assert overrun(run) == [False, True]


def test_time_that_the_session_above_has_is_all_that_those_below_have() -> None:
    run = play(
        declared(TOP, {"budget": {"seconds": 60}}),
        declared(MIDDLE, {"budget": {"seconds": 600}}, at=50),
        called(MIDDLE, 1, "read_file", at=60),
        called(MIDDLE, 2, "read_file", at=61),
    )
    assert overrun(run) == [False, True]


def test_a_sub_agent_s_own_budget_holds_below_a_larger_one() -> None:
    run = play(
        declared(TOP, {"budget": {"calls": 100}}),
        declared(MIDDLE, {"budget": {"calls": 1}}),
        called(MIDDLE, 1, "read_file"),
        called(TOP, 1, "read_file"),
        called(MIDDLE, 2, "read_file"),
    )
    assert overrun(run) == [False, False, True]


def test_what_is_spent_below_is_the_same_in_any_batch() -> None:
    values = [
        declared(TOP, {"budget": {"calls": 2, "writes": 1}}),
        declared(MIDDLE),
        declared(LOW),
        *(called(session, seq) for seq in (1, 2, 3) for session in (LOW, MIDDLE, TOP)),
    ]
    runs = [b.play(values, size) for size in (1, 2, 512)]
    assert runs[0].outputs == runs[1].outputs == runs[2].outputs
    assert runs[0].partition.states == runs[1].partition.states == runs[2].partition.states


def gone(*values: Any, **limits: Any) -> b.Run:
    """`values`, judged where no more than two sessions may be open: the one that was silent longest is evicted."""
    return b.play(values, bundled=b.release(scorer=b.ConstantScorer(0), **{"open_sessions": 2, **limits}))


@pytest.mark.parametrize("batch", [1, 512])
def test_a_sub_agent_whose_parent_was_evicted_may_still_do_no_more_than_it(batch: int) -> None:
    values = [
        declared(TOP, {"actions": ["read"], "budget": {"calls": 1}}),
        declared(MIDDLE),
        called(MIDDLE, 1, "read_file"),
        declared("other", parent=MIDDLE),
        called(MIDDLE, 2),
    ]
    run = b.play(values, batch, bundled=b.release(scorer=b.ConstantScorer(0), open_sessions=2))
    assert [c["session_id"] for c in run.cases if c["kind"] == "ended"] == [TOP]
    assert [{"action_not_allowed", "budget_overrun"} & spoke for spoke in against(run)] == [
        set(),
        {"action_not_allowed", "budget_overrun"},
    ]
    assert run.decisions[1]["marks"] == ["orphan"]


CLASSES = {"payroll": [PAY, "read_payslip"], "Personal  Data": ["read_payslip"]}


def classed() -> Release:
    """A release whose policy says which tools handle which data."""
    made = b.release(scorer=b.ConstantScorer(0))
    return made._replace(policy=made.policy.model_copy(update={"data_classes": CLASSES}))


def beyond(*values: Any) -> list[bool]:
    """For each decision whether its call handles data that the intent, or one above, does not list."""
    return ["data_class_not_allowed" in spoke for spoke in against(b.play(values, bundled=classed()))]


@pytest.mark.parametrize(
    ("own", "above", "tool", "spoken"),
    [
        (None, None, PAY, False),  # nobody lists any
        ([], [], PAY, False),
        (["payroll"], None, PAY, False),
        ([" PayRoll "], ["PAYROLL"], PAY, False),
        (["public"], None, PAY, True),
        (None, ["public"], PAY, True),
        (["payroll"], ["public"], PAY, True),
        (["public"], ["payroll"], PAY, True),
        (["public"], ["public"], "read_file", False),  # the policy says nothing of this tool
        (["payroll"], None, "read_payslip", True),  # it handles another class too
        (["payroll", "personal data"], None, "read_payslip", False),
        (["payroll", "x" * 256], ["payroll", "x" * 300], PAY, False),
    ],
)
def test_a_call_is_held_to_the_classes_of_data_that_its_session_and_those_above_list(
    own: list[str] | None, above: list[str] | None, tool: str, spoken: bool
) -> None:
    values = (
        declared(TOP, {"data_classes": above}),
        declared(MIDDLE, {"data_classes": own}),
        called(MIDDLE, 1, tool),
    )
    assert beyond(*values) == [spoken]


@pytest.mark.parametrize(
    ("tool", "spoken"),
    [
        ("mcp__hr__read_payslip", True),
        ("mcp__hr_of_acme__read_payslip", True),
        ("mcp__read_payslip", False),
        ("hr__read_payslip", False),
        ("read_payslips", False),
    ],
)
def test_a_tool_is_listed_as_it_is_called_or_without_its_server_whatever_else_is_served(
    tool: str, spoken: bool
) -> None:
    one, many = (
        [{"name": tool}],
        [{"name": name} for name in (tool, "mcp__web__fetch", "mcp__web__find", "other")],
    )
    for tools in (None, one, many):
        values = declared(TOP, {"data_classes": ["public"]}, tools=tools), called(TOP, 1, tool)
        assert beyond(*values) == [spoken]


def test_after_its_end_a_session_may_do_no_more_than_before() -> None:
    values = declared(TOP, {"data_classes": ["public"], "actions": ["read"]}), b.ended(TOP, 1), called(TOP, 2)
    [spoke] = against(b.play(values, bundled=classed()))
    assert {"after_end", "data_class_not_allowed", "action_not_allowed"} <= spoke


def test_a_blank_name_of_a_class_restricts_nothing() -> None:
    assert beyond(declared(TOP, {"data_classes": ["", "  "]}), called(TOP, 1)) == [False]


def test_an_amendment_adds_classes_of_data_to_a_list_and_begins_none() -> None:
    def amended(session: str, seq: int, *classes: str) -> dict[str, Any]:
        return b.event(
            "intent.amended", session, seq, intent={"text": "go on", "data_classes": list(classes)}
        )

    spoken = beyond(
        b.declared(TOP, intent={"text": "read notes.txt", "data_classes": ["public"]}),
        called(TOP, 1),
        amended(TOP, 2, "payroll"),
        called(TOP, 3),
        b.declared("free", intent={"text": "read notes.txt"}),
        amended("free", 1, "public"),
        b.called("free", 2, tool=PAY, arguments={"to": "bob@example.com"}),
    )
    assert spoken == [True, False, False]


@pytest.mark.parametrize(("before", "spoken"), [(31, False), (32, True)])
def test_the_first_32_classes_of_data_that_an_intent_lists_count(before: int, spoken: bool) -> None:
    listed = [*(f"class {n}" for n in range(before)), "payroll"]
    assert beyond(declared(TOP, {"data_classes": listed}), called(TOP, 1)) == [spoken]


@pytest.mark.parametrize("again", [["payroll"], ["payroll", "public"], None])
def test_a_session_that_begins_afresh_lists_no_more_data_than_before(
    again: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream.core.take.observe_result", fail)
    spoken = beyond(
        declared(TOP, {"data_classes": ["public"]}),
        b.returned(TOP, 1, call="x", root_session_id=TOP),
        declared(TOP, {"data_classes": again}, seq=2),
        called(TOP, 3),
    )
    assert spoken == [True]


def test_a_declaration_that_fails_half_way_frees_no_session_of_its_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = intents._take_clauses

    def fail_once(*given: Any) -> None:
        monkeypatch.setattr(intents, "_take_clauses", whole)
        raise ZeroDivisionError

    def fail(*_: Any) -> None:
        monkeypatch.setattr(intents, "_take_clauses", fail_once)
        raise ZeroDivisionError

    monkeypatch.setattr("stream.core.take.observe_result", fail)
    run = b.play(
        [
            declared(TOP, {"data_classes": ["public"]}),
            b.returned(TOP, 1, call="x", root_session_id=TOP),
            declared(TOP, {"data_classes": ["payroll"]}, seq=2),
            declared(TOP, seq=3),
            called(TOP, 4),
        ],
        bundled=classed(),
    )
    assert run.counters["internal"] == 2
    assert "data_class_not_allowed" in against(run)[-1]


def test_what_would_have_passed_names_the_list_of_data() -> None:
    values = [declared(TOP, {"data_classes": ["public"]}), called(TOP, 1)]
    [decision] = b.play(values, bundled=classed()).decisions
    assert decision["verdict"] in ("deny", "revoke")
    assert "lists this class of data" in decision["would_pass"]
    assert "payroll" in next(e["text"] for e in decision["evidence"] if e["name"] == "data_class_not_allowed")


def test_what_sub_agents_of_an_evicted_parent_do_counts_together() -> None:
    run = gone(
        declared(TOP, {"budget": {"calls": 2}}),
        declared(MIDDLE),
        declared("other", parent=TOP),
        called(MIDDLE, 1, "read_file"),
        called("other", 1, "read_file"),
        called(MIDDLE, 2, "read_file"),
    )
    assert overrun(run) == [False, False, True]


def test_a_session_above_an_evicted_one_still_narrows_and_revokes_what_is_below_both() -> None:
    values = [
        declared(TOP, {"actions": ["read"]}),
        declared(MIDDLE),
        declared(LOW),
        b.called(TOP, 1, tool="read_file", root_session_id=TOP),
        declared("other", parent=TOP),
        called(LOW, 1),
    ]
    run = b.play(values, bundled=b.release(scorer=b.ConstantScorer(0), open_sessions=3))
    assert [c["session_id"] for c in run.cases if c["kind"] == "ended"] == [MIDDLE]
    assert "action_not_allowed" in against(run)[1]
    odd = {"to": "desk@evil.example", "text": "zq"}
    drift = b.called(TOP, 2, tool="undeclared_tool", arguments=odd, root_session_id=TOP)
    revoked = b.play(
        [*values[:5], drift], bundled=b.release(scorer=b.ConstantScorer(10_000), open_sessions=3)
    )
    fell = [c["session_id"] for c in revoked.cases if c["after"] == "contained"]
    assert fell[0] == TOP
    assert sorted(fell[1:]) == [LOW, "other"]


def failing(monkeypatch: pytest.MonkeyPatch, *values: Any) -> b.Run:
    """`values`, of which each result cannot be read for a reason that nobody foresaw."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream.core.take.observe_result", fail)
    return play(*values)


def test_a_session_that_begins_afresh_still_narrows_those_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = failing(
        monkeypatch,
        declared(TOP, {"actions": ["read"], "budget": {"calls": 2}}),
        declared(MIDDLE),
        called(TOP, 1, "read_file"),
        b.returned(TOP, 2, call="x", root_session_id=TOP),
        called(MIDDLE, 1, "read_file"),
        called(MIDDLE, 2),
    )
    assert [{"action_not_allowed", "budget_overrun"} & spoke for spoke in against(run)] == [
        set(),
        set(),
        {"action_not_allowed", "budget_overrun"},
    ]


@pytest.mark.parametrize("again", [{"actions": ["write"], "budget": {"calls": 50}}, {"budget": None}])
def test_a_session_that_begins_afresh_cannot_be_declared_wider(
    again: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failing(
        monkeypatch,
        declared(TOP, {"actions": ["read"], "budget": {"calls": 1}}),
        b.returned(TOP, 1, call="x", root_session_id=TOP),
        declared(TOP, again, seq=2),
        called(TOP, 3, "read_file"),
        called(TOP, 4),
    )
    assert {"action_not_allowed", "budget_overrun"} <= against(run)[1]
    assert "declared" not in run.decisions[1]["marks"]
