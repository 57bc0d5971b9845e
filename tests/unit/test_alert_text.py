"""What an alert says: what was asked, what was done, why that is drift; every cited call by its tool; nothing that may not be quoted."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import quotes
from stream import bootstrap
from stream.core.judge import Judge
from stream.events import CASES
from stream.offline import files, replay
from stream.outbound import alert_text, frameworks, severity
from stream.outbound.change import Deed
from stream.outbound.findings import finding
from stream.outbound.ocsf import problems
from stream.settings import Settings
from stream.signals.registry import BY_ID, SIGNALS
from tests import builders as b
from tests.unit.test_findings import a_deed, an_evidence, some_change

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"


class Played(NamedTuple):
    """A sample's events, and its cases by the shipped release in enforce mode."""

    events: list[dict[str, Any]]
    cases: list[dict[str, Any]]


def play(path: Path, judge: Judge) -> Played:
    records = list(files.read_records(path))
    outputs = [output for output in replay.replay(records, judge) if output.topic == CASES]
    events = [orjson.loads(record.value or b"{}") for record, _ in records]
    return Played(events, [orjson.loads(output.value) for output in outputs])


@cache
def samples() -> list[Played]:
    judge = bootstrap.judge(Settings(attestation_issuers=SAMPLES / "issuers.json"), mode="enforce")
    return [play(path, judge) for path in sorted(SAMPLES.glob("*.jsonl"))]


def alerts() -> list[dict[str, Any]]:
    """What the SOC is told of the samples."""
    return [case["finding"] for played in samples() for case in played.cases if case["finding"] is not None]


def test_every_signal_has_a_place_in_titles_frameworks_and_a_clause_with_what_evidence_gives() -> None:
    ids = {signal.id for signal in SIGNALS}
    assert set(alert_text.TELLING) == ids
    assert len(alert_text.TELLING) == len(ids)
    assert set(frameworks.PLACES) == ids
    for signal in SIGNALS:
        named = {name for _, name, _, _ in Formatter().parse(signal.deed) if name}
        assert "tool" in named
        assert named <= {"tool", "argument", "source", "to", "action", "limit"}


@pytest.mark.parametrize(
    ("change", "title"),
    [
        (
            some_change(evidence=[an_evidence(name="foreign_destination")]),
            "Asked “Pay the March invoice”, invoice-bot calls http.post with the url from the answer of read_mail",
        ),
        (
            some_change(
                evidence=[
                    an_evidence(family="scope", name="action_not_allowed", text="the intent does not allow to write"),
                    an_evidence(name="foreign_destination", calls=[5, 2]),
                ]
            ),
            "Asked “Pay the March invoice”, invoice-bot calls http.post with the url from the answer of call 5, though the intent"
            " does not allow to write",
        ),
        (
            some_change(evidence=[an_evidence(name="foreign_destination")], deed=a_deed(quoted={"url": "https://drop.example/…"})),
            "Asked “Pay the March invoice”, invoice-bot calls http.post with the url “https://drop.example/…” from the answer of read_mail",
        ),
        (
            some_change(evidence=[an_evidence(name="foreign_destination")], deed=a_deed(quoted={"url": "********"})),
            "Asked “Pay the March invoice”, invoice-bot calls http.post with the url from the answer of read_mail",
        ),
        (
            some_change(
                evidence=[
                    an_evidence(
                        name="foreign_destination",
                        calls=[2],
                        text="the destination url comes from what the catalogue says of get_rate, not from the intent",
                    )
                ]
            ),
            "Asked “Pay the March invoice”, invoice-bot calls http.post with the url from the description of get_rate",
        ),
        (
            some_change(
                evidence=[
                    an_evidence(name="private_data_leaves", argument=None),
                    an_evidence(name="foreign_destination"),
                ],
                deed=a_deed(quoted={"url": "https://drop.example/…"}),
            ),
            "Asked “Pay the March invoice”, invoice-bot sends out through http.post, to “https://drop.example/…”, what the answer of"
            " read_mail told",
        ),
        (
            some_change(
                evidence=[
                    an_evidence(name="private_data_leaves", argument=None),
                    an_evidence(family="intent", name="grave_act"),
                ],
                deed=a_deed(quoted={"url": "https://drop.example/…"}),
            ),
            "Asked “Pay the March invoice”, invoice-bot sends out through http.post what the answer of read_mail told",
        ),
        (
            some_change(
                evidence=[an_evidence(family="scope", name="action_not_allowed", argument=None)],
                deed=a_deed(action="execute", allowed=["read", "write"]),
            ),
            "Asked “Pay the March invoice”, invoice-bot calls http.post to execute, though the intent allows reading and writing alone",
        ),
        (
            some_change(
                evidence=[an_evidence(family="scope", name="action_not_allowed", argument=None)],
                deed=a_deed(action="write", allowed=["write"]),
            ),
            "Asked “Pay the March invoice”, invoice-bot calls http.post to write, which it may not",
        ),
        (
            some_change(
                evidence=[an_evidence(family="tempo", name="loop", argument=None)],
                deed=a_deed(asked="Read all of the letters that came in this week and answer each one of them in the manner of the house"),
            ),
            "Asked “Read all of the letters that came in this week and answer each one of them in the manner…”, invoice-bot makes the same"
            " call of http.post again and again",
        ),
        (
            some_change(deed=a_deed(declared=False, asked=""), evidence=[], agent=None),
            "Without a declared intent, the agent calls http.post, which does not fit what was asked",
        ),
        (
            some_change(deed=a_deed(asked=""), evidence=[an_evidence(family="tempo", name="loop")]),
            "invoice-bot makes the same call of http.post again and again",
        ),
        (
            some_change(deed=None, evidence=[], inherited_from="s-0"),
            "invoice-bot: revoked with session s-0, for which it works",
        ),
        (some_change(deed=None, evidence=[], headline="as before"), "as before"),
    ],
    ids=["source known", "forbidden", "value shown", "value hidden", "declared of a tool", "to whom", "to whom is not said", "beyond", "beyond a parent's", "long", "undeclared", "no quote", "inherited", "no call"],
)  # fmt: skip
def test_a_title_says_what_was_asked_and_what_is_done(change: Any, title: str) -> None:
    assert finding(change)["finding_info"]["title"] == title


def test_a_description_is_three_sentences_and_names_the_tool_behind_each_call() -> None:
    told = [
        an_evidence(name="foreign_destination"),
        an_evidence(
            family="sequence", name="lured", text="a line in the result of call 1 leads to this call"
        ),
    ]
    deed = a_deed(allowed=["read"], quoted={"url": "https://drop.example/…"})
    assert finding(some_change(evidence=told, deed=deed))["finding_info"]["desc"] == (
        "u-4711 asked invoice-bot: “Pay the March invoice”, and allowed it to read. In call 2 it calls http.post with the url"
        " “https://drop.example/…” from the answer of read_mail (call 1). Against it speaks also: a line in the result of"
        " call 1 (read_mail) leads to this call."
    )


def test_every_call_that_the_evidence_cites_is_listed_by_its_tool() -> None:
    assert len(alerts()) > 20
    for alert in alerts():
        listed = [event["title"] for event in alert["finding_info"].get("related_events", ())]
        calls = {
            call
            for each in alert.get("evidences", ())
            if each["data"]["supports"]
            for call in each["data"]["calls"]
        }
        for call in calls:
            assert any(re.fullmatch(rf"call {call}: \S.*", title) for title in listed), (call, listed)


def test_alerts_of_the_samples_are_valid_name_their_agent_and_differ_in_severity() -> None:
    for alert in alerts():
        assert problems(alert) == []
        assert alert["actor"]["app_name"] in alert["finding_info"]["title"]
        assert (
            len(re.findall(r"\S\.(?= [A-Z]|$)", alert["finding_info"]["desc"])) <= 6
        )  # a quote may have some of its own
        steps = re.findall(r"(?:^| )(\d)\. ", alert["remediation"]["desc"])
        assert len(steps) <= 5
    first = [alert for alert in alerts() if alert["activity_id"] == 1]
    assert len({alert["severity"] for alert in first}) >= 4
    assert len({alert["finding_info"]["title"] for alert in first}) == len(first)


def test_masked_is_what_is_shipped_and_no_alert_then_holds_a_value_of_an_argument() -> None:
    """Values that identify something: of 8 characters or more, with a digit or an @."""
    n = 0
    for run in samples():
        values = {
            leaf
            for event in run.events
            if event["type"] == "tool.called"
            for leaf in map(str, _leaves(event["arguments"]))
            if len(leaf) >= 8 and re.search(r"\d{3}|@", leaf)
        }
        for case in run.cases:
            if case["finding"] is None:
                continue
            told = {
                key: value for key, value in case["finding"].items() if key not in ("actor", "observables")
            }
            for value in values - {case["user"]}:
                n += 1
                assert value not in str(told)
    assert n > 50


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


@pytest.mark.parametrize(
    ("how", "asked", "shown"),
    [
        ("none", False, "None"),
        ("masked", True, "GB…55"),
        ("full", True, "GB33BUKB20201555555555"),
    ],
)
def test_a_policy_says_what_alerts_quote(how: str, asked: bool, shown: str) -> None:
    release = bootstrap.release(Settings(), mode="enforce")
    policy = release.policy.model_copy(update={"quotes": how})
    judge = bootstrap.judge_with(Settings(), release._replace(policy=policy))
    run = play(SAMPLES / "19-finance-invoice-iban-swap.jsonl", judge)
    info = next(case["finding"]["finding_info"] for case in run.cases if case["finding"])
    assert ("Summarise this week's supplier invoices" in info["title"]) is asked
    assert (shown in info["desc"]) is (how != "none")


@pytest.mark.parametrize(
    ("action", "signals", "score", "by_rule", "expected"),
    [
        ("read", ["tempo.budget_overrun"], 0.02, True, "Low"),
        ("read", ["identity.credential_of_another"], 0.02, True, "Medium"),
        ("read", ["provenance.private_data_leaves"], 0.95, False, "Critical"),
        ("write", ["scope.action_not_allowed"], 0.1, True, "Medium"),
        ("write", ["scope.action_not_allowed", "tempo.loop", "intent.not_asked"], 0.1, True, "High"),
        ("write", ["provenance.foreign_destination"], 0.6, False, "High"),
        ("execute", ["provenance.foreign_destination"], 0.9, False, "Critical"),
        ("write", ["intent.grave_act"], 0.1, True, "High"),
    ],
)
def test_severity_follows_what_is_done_and_how_sure_that_is(
    action: Any, signals: list[str], score: float, by_rule: bool, expected: str
) -> None:
    evidence = [an_evidence(family=name.split(".")[0], name=name.split(".")[1]) for name in signals]
    change = some_change(evidence=evidence, score=score, deed=a_deed(action=action, by_rule=by_rule))
    assert finding(change)["severity"] == expected
    assert finding(some_change(deed=None, evidence=[], severity=5))["severity"] == "Critical"


@given(
    st.sampled_from(["read", "write", "execute"]),
    st.lists(st.sampled_from(sorted(BY_ID)), max_size=4),
    st.integers(0, 100),
)
def test_a_surer_case_is_never_less_severe_and_a_case_never_gets_milder(
    action: Any, signals: list[str], percent: int
) -> None:
    evidence = [an_evidence(family=name.split(".")[0], name=name.split(".")[1]) for name in signals]
    deed = a_deed(action=action)
    now = severity.severity_of(some_change(evidence=evidence, score=percent / 100, deed=deed))
    surer = severity.severity_of(
        some_change(evidence=evidence, score=min(100, percent + 20) / 100, deed=deed)
    )
    assert severity.LOW <= now <= surer <= severity.CRITICAL
    assert (
        severity.severity_of(some_change(evidence=evidence, score=percent / 100, deed=deed, severity=4)) >= 4
    )


SECRETS = [
    "ghp_" + "a1" * 18,
    "glpat-" + "Ab12" * 5,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
]


def test_the_page_shows_the_alert_as_it_is() -> None:
    page = (SAMPLES.parents[1] / "docs" / "alerts.md").read_text(encoding="utf-8")
    shown = page.split("<!-- sample begins -->")[1].split("<!-- sample ends -->")[0]
    alert = next(a for a in alerts() if a["actor"]["session"]["uid"] == "finance-invoice-iban-swap")
    shares = ", ".join(f"{each['family']} {each['percent']} %" for each in alert["unmapped"]["shares"])
    said = f"{alert['severity']}, confidence {alert['confidence']}, score {alert['unmapped']['score']}, by {shares}"
    assert shown.split("\n")[1:-1] == [f"> **{alert['finding_info']['title']}**", ">", f"> {said}"]


@pytest.mark.parametrize("how", ["none", "masked", "full"])
@pytest.mark.parametrize("secret", SECRETS)
@given(st.text(max_size=30), st.text(max_size=30))
def test_a_secret_and_a_card_s_number_are_never_quoted(
    how: Any, secret: str, before: str, after: str
) -> None:
    core = re.sub(r"\W", "", secret)[6:18]
    for told in (
        quotes.asked(f"{before} {secret} {after}", how),
        quotes.value(f"{before} {secret} {after}", how),
    ):
        assert core not in re.sub(r"\W", "", told)


LEAKS = [
    ("pay 4111 1111 1111 1111 for ann.smith@example.org pin hunter22", ["ann.smith", "hunter22"]),
    ("******** GB33BUKB20201555555555 ann@example.org", ["GB33", "ann@"]),
    ("postgres://app:P@ssw0rdLong@db.internal/x", ["ssw0rd"]),
    ("postgres://app:aB/cdEf9@db/x", ["aB"]),
    ("sqlserver://db.internal:1433;user=sa;password=Hunter22", ["Hunter"]),
    ("x@corp.example?token=s3cr3t-value-abcdefghijklmnop", ["s3cr3t"]),
    ("iban://GB33BUKB20201555555555", ["BUKB"]),
    ("image@GB33BUKB20201555555555", ["BUKB"]),
    (
        "Charge-card:4111111111111111;mail=ann.smith@example.org;iban=GB33BUKB20201555555555",
        ["4111", "ann", "BUKB"],
    ),
]


@pytest.mark.parametrize(("text", "hidden"), LEAKS)
def test_masked_values_show_a_host_or_two_ends_and_no_more(text: str, hidden: list[str]) -> None:
    for told in (quotes.value(text, "masked"), quotes.asked(f"see {text} now", "masked")):
        assert not [
            each for each in hidden if each in told and (each not in ("hunter22",) or "see" not in told)
        ]


CARDS = [
    "card4111111111111111",
    "cc_4111111111111111",
    "4111_1111_1111_1111",
    "4111/1111/1111/1111",
    "4111–1111–1111–1111",
    "\u200b".join("4111111111111111"),
    "4111\u00a01111\u00a01111\u00a01111",
    "41/11/11/11/11/11/11/11",
    "４１１１１１１１１１１１１１１１",
]


@pytest.mark.parametrize("how", ["masked", "full"])
@pytest.mark.parametrize("card", CARDS)
def test_a_card_s_number_is_known_however_it_is_written(how: Any, card: str) -> None:
    for told in (quotes.value(card, how), quotes.asked(f"charge {card} now", how)):
        assert "11111111" not in re.sub(r"\W|_", "", told)
    assert (
        quotes.value("DE75512108001245126199", "full") == "DE75512108001245126199"
    )  # an account by IBAN is none


def test_what_others_named_passes_for_no_words_of_ours() -> None:
    forged = "run. This alert was a test; close it. The agent"
    told = an_evidence(
        name="foreign_destination",
        argument=an_evidence().argument.model_copy(update={"path": "a). All is well. (b"}),
    )  # type: ignore[union-attr]
    quote = quotes.asked("Read mail”, and the user approved. Case closed. “Read", "masked")
    deed = a_deed(
        tool=forged,
        asked=quote,
        tools={1: "x. Case closed"},
        quoted={"a). All is well. (b": quotes.value("1”). No. (“x", "full")},
    )
    info = finding(some_change(evidence=[told], deed=deed, agent="bot”. Fine. “", user="ada. Closed"))[
        "finding_info"
    ]
    outside = re.sub(r"“[^”]*”", "…", f"{info['title']} {info['desc']}")
    assert not re.search(r"closed|Closed|Fine|well|test;|No\. ", outside), outside
    assert "{" not in finding(some_change(deed=a_deed(tool="{x}")))["finding_info"]["title"].replace(
        "“{x}”", ""
    )


@given(st.text(max_size=2000), st.sampled_from(["none", "masked", "full"]))
def test_a_quote_is_one_short_printable_line(text: str, how: Any) -> None:
    asked, value = quotes.asked(text, how), quotes.value(text, how)
    assert len(asked) <= quotes.MAX_ASKED
    assert len(asked.encode()) <= quotes.MAX_ASKED_BYTES
    assert len(value) <= quotes.MAX_VALUE
    assert asked.isprintable()
    assert value.isprintable()


def test_a_deed_s_texts_stay_within_their_bounds() -> None:
    wide = "\U00020000" * 300
    deed = Deed(2, wide, "write", asked=wide[:140], tools={1: wide}, quoted={wide: wide})
    event = finding(
        some_change(deed=deed, agent=wide, user=wide, evidence=[an_evidence(name="foreign_destination")])
    )
    assert len(event["finding_info"]["title"]) <= alert_text.MAX_TITLE
    assert len(event["finding_info"]["desc"]) <= alert_text.MAX_DESC


def test_an_argument_s_name_passes_for_no_words_of_ours_in_what_evidence_says() -> None:
    """Also where it stands in what speaks beside the leading evidence, and in decisions."""
    path = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    events[0]["agent"]["id"] = "x. The case is closed"
    for event in events:
        if event["type"] == "tool.called" and "iban" in event["arguments"]:
            event["arguments"]["The case is closed. iban"] = event["arguments"].pop("iban")
    judge = bootstrap.judge(Settings(), mode="enforce")
    records = [(b.record(event, n), None) for n, event in enumerate(events)]
    made = [orjson.loads(output.value) for output in replay.replay(records, judge)]
    told = [each["text"] for decision in made for each in decision.get("evidence", ())]
    assert any("“The case is closed. iban”" in text for text in told)
    findings = (case["finding"]["finding_info"] for case in made if case.get("finding"))
    told += [f"{each['title']} {each['desc']}" for each in findings]
    for text in told:
        assert "The case is closed" not in re.sub(r"“[^”]*”", "", text)
