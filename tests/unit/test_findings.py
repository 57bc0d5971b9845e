"""Findings: valid OCSF, the same for the same facts, honest about what was done, and bounded."""

from typing import Any

import pytest
from ocsf_json_schema import get_ocsf_schema

from models.contracts import FAMILIES, ArgumentRef, CredentialRef, Evidence, PathStep
from stream.events import dumps, rfc3339
from stream.outbound.change import Change, Deed
from stream.outbound.findings import BROKER_LAG_MS, dedup_key, exposure, finding, is_told
from stream.outbound.ocsf import problems
from tests.builders import changed

NINE = 1_767_258_000_000  # 2026-01-01T09:00:00Z


def a_step(seq: int, **changes: Any) -> PathStep:
    return PathStep(
        **{
            "decision_id": f"d-{seq}",
            "call_id": f"s-1:{seq}",
            "call_seq": seq,
            "tool": "http.post",
            "verdict": "alert",
            "score": 0.8125,
            "time": rfc3339(NINE + seq * 1000),
            **changes,
        }
    )


def an_evidence(**changes: Any) -> Evidence:
    return Evidence(
        **{
            "family": "provenance",
            "name": "untrusted_to_sink",
            "value": 1.0,
            "unit": "share",
            "supports": True,
            "calls": [1, 2],
            "text": "argument url came from the result of call 1",
            "argument": ArgumentRef(path="url", length=34, hash="9f2c", excerpt="https://f***"),
            **changes,
        }
    )


def a_deed(**changes: Any) -> Deed:
    told = Deed(2, "http.post", "write", asked="Pay the March invoice", tools={1: "read_mail"})
    return told._replace(**changes)


def some_change(**changes: Any) -> Change:
    return changed(
        **{
            "case_id": "case-1",
            "record_id": "case-1/2",
            "change": 2,
            "kind": "standing",
            "cause": "drift",
            "tenant": "acme",
            "root_session_id": "s-1",
            "session_id": "s-1",
            "time": rfc3339(NINE + 60_000),
            "time_ms": NINE + 60_000,
            "before": "watch",
            "after": "alert",
            "reason": "an untrusted address received customer rows",
            "verdict": "alert",
            "score": 0.9125,
            "families": ["provenance", "sequence"],
            "evidence": [an_evidence(), an_evidence(family="sequence", name="way_out", argument=None)],
            "agent": "invoice-bot",
            "spiffe_id": "spiffe://example.org/agent/invoice-bot",
            "user": "u-4711",
            "credentials": [CredentialRef(broker="vault", kind="lease", value="db/creds/1", scope="db")],
            "path": [a_step(1), a_step(2)],
            "first_time_ms": NINE + 1000,
            "enforced": True,
            "inherited_from": None,
            "release": "bundled",
            "policy": "p-1",
            "core": "1",
            "max_credential_expiry_ms": NINE + 3_600_000,
            "deed": a_deed(),
            **changes,
        }
    )


CHANGES = {
    "first alert": some_change(),
    "first containment": some_change(after="contained", verdict="revoke"),
    "alert becomes containment": some_change(before="alert", after="contained"),
    "alert returns": some_change(before="watch", peak="contained"),
    "end": some_change(
        before="contained",
        after="contained",
        peak="contained",
        kind="ended",
        cause="ended",
        verdict=None,
        evidence=[],
        deed=None,
        headline="Asked “Pay the March invoice”, invoice-bot calls http.post",
        severity=4,
        confidence=3,
    ),
    "opinion": some_change(cause="opinion", evidence=[], deed=None),
    "inherited": some_change(after="contained", inherited_from="s-0", evidence=[], deed=None),
    "undeclared": some_change(deed=a_deed(declared=False, asked="")),
    "goes on": some_change(before="alert", after="alert", peak="alert", over=True),
    "shadow": some_change(after="contained", enforced=False),
    "bare": some_change(
        families=[],
        evidence=[],
        path=[],
        credentials=[],
        agent=None,
        spiffe_id=None,
        user=None,
        reason="",
        deed=None,
    ),
    "every family": some_change(families=list(FAMILIES)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_finding_of_every_kind_of_change_is_valid_ocsf(change: Change) -> None:
    assert problems(finding(change)) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_finding_captions_are_those_of_the_official_schema(change: Change) -> None:
    event = finding(change)
    official = get_ocsf_schema(version="1.8.0")["classes"]["detection_finding"]["attributes"]
    pairs = [
        ("activity_id", "activity_name"),
        ("severity_id", "severity"),
        ("confidence_id", "confidence"),
        ("risk_level_id", "risk_level"),
        ("action_id", "action"),
        ("disposition_id", "disposition"),
        ("status_id", "status"),
    ]
    for number, caption in pairs:
        if event.get(number, 99) != 99:
            assert event[caption] == official[number]["enum"][str(event[number])]["caption"]


def broken(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    place = event
    for name in parents:
        place = place[name]
    place[last] = value
    return event


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("type_uid", 200499, "type_uid"),
        ("severity", "Low", "severity"),
        ("time", NINE // 1000, "time"),
        ("time", "2026-01-01T09:00:00Z", "time"),
        ("time", NINE + 0.5, "time"),
        ("time", NINE * 1e3, "time"),
        ("finding_info.first_seen_time", NINE // 1000, "finding_info.first_seen_time"),
        ("finding_info", "none", "finding_info"),
        ("activity_id", [1], "activity_id"),
        ("remediation", ["x"], "remediation"),
        ("remediation.references", ["runbook"], "remediation.references"),
        ("remediation.references", ["https://[x"], "remediation.references"),
        ("metadata.profiles", ["security_control"], "metadata.profiles"),
        ("finding_info.verdict", "x", "finding_info"),
    ],
)
def test_problems_of_a_finding_with_one_wrong_field_names_that_field(
    path: str, value: Any, told: str
) -> None:
    found = problems(broken(finding(some_change()), path, value))
    assert {one.split(":")[0] for one in found} == {told}


@pytest.mark.parametrize(
    ("name", "activity"),
    [
        ("first alert", 1),
        ("first containment", 1),
        ("alert becomes containment", 2),
        ("alert returns", 2),
        ("end", 2),
        ("goes on", 2),
    ],
)
def test_finding_activity_follows_the_case(name: str, activity: int) -> None:
    assert finding(CHANGES[name])["activity_id"] == activity


def test_finding_uid_and_dedup_key_stay_the_same_through_a_case() -> None:
    events = [finding(CHANGES[name]) for name in ("first alert", "alert becomes containment", "end")]
    assert {event["finding_info"]["uid"] for event in events} == {"case-1"}
    assert {event["unmapped"]["dedup_key"] for event in events} == {"acme|s-1|drift"}


def test_dedup_key_of_ids_that_contain_its_separator_stays_unambiguous() -> None:
    assert dedup_key("a|b", "c") != dedup_key("a", "b|c")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_finding_never_claims_that_access_was_revoked(change: Change) -> None:
    event = finding(change)
    assert (event["action_id"], event["disposition_id"]) == (3, 19)


def test_finding_of_equal_facts_has_equal_bytes() -> None:
    assert dumps(finding(some_change())) == dumps(finding(some_change()))


def test_finding_with_more_than_it_shows_counts_what_is_cut() -> None:
    event = finding(
        some_change(
            evidence=[an_evidence(name=f"n-{i}") for i in range(20)],
            path=[a_step(i) for i in range(40)],
            credentials=[CredentialRef(broker="vault", kind="lease", value=str(i)) for i in range(20)],
        )
    )
    assert event["unmapped"]["cut"] == {"evidence": 4, "path": 8, "credentials": 4}
    assert event["finding_info"]["related_events_count"] == 40
    assert event["finding_info"]["related_events"][-1]["uid"] == "d-39"


def test_finding_shows_supporting_evidence_before_the_rest() -> None:
    weak = [an_evidence(name=f"weak-{i}", supports=False) for i in range(30)]
    event = finding(some_change(evidence=[*weak, an_evidence(name="strong", value=0.1)]))
    assert event["evidences"][0]["name"] == "provenance: strong"


def test_finding_of_the_largest_facts_stays_under_its_bound() -> None:
    wide = "\x01" * 256  # six bytes each in JSON
    event = finding(
        some_change(
            session_id=wide,
            root_session_id=wide,
            tenant=wide,
            agent=wide,
            spiffe_id=wide,
            user=wide,
            reason=wide * 20,
            families=list(FAMILIES),
            evidence=[an_evidence(text="\x01" * 400, name=wide, calls=list(range(5000)))] * 200,
            path=[a_step(i, tool=wide[:-4] + f"{i:04d}", call_id=wide) for i in range(200)],
            credentials=[CredentialRef(broker=wide, kind=wide, value=wide, scope=wide)] * 200,
        )
    )
    assert len(dumps(event)) < 512 * 1024


@pytest.mark.parametrize(
    ("changes", "revocation", "until"),
    [
        ({}, "not requested", None),
        ({"after": "contained"}, "requested", NINE + 3_600_000),
        (
            {"after": "contained", "max_credential_expiry_ms": NINE},
            "requested",
            NINE + 60_000 + BROKER_LAG_MS,
        ),
        ({"after": "contained", "max_credential_expiry_ms": None}, "requested", None),
        ({"after": "contained", "enforced": False}, "shadow", NINE + 3_600_000),
        ({"after": "contained", "credentials": []}, "nothing to revoke", None),
    ],
)
def test_exposure_states_the_worst_case_that_the_facts_allow(
    changes: dict[str, Any], revocation: str, until: int | None
) -> None:
    told = exposure(some_change(**changes))
    assert (told["revocation"], told["worst_case_until"]) == (revocation, until)


def test_a_finding_names_the_framework_ids_that_its_evidence_supports_and_no_other() -> None:
    told = [an_evidence(name="foreign_destination"), an_evidence(family="scope", name="tool_changed")]
    silent = an_evidence(family="identity", name="token_replayed", supports=False)
    event = finding(some_change(evidence=[*told, silent]))
    assert event["unmapped"]["frameworks"]["owasp_asi"] == ["ASI01", "ASI04"]
    assert event["unmapped"]["frameworks"]["owasp_nhi"] == ["NHI3"]
    techniques = [attack["technique"]["uid"] for attack in event["finding_info"]["attacks"]]
    assert techniques == ["AML.T0051", "AML.T0053", "AML.T0110"]
    # That it goes on after a revocation says nothing of an injection.
    again = finding(some_change(evidence=[an_evidence(family="identity", name="after_revocation")]))
    assert "attacks" not in again["finding_info"]


def test_finding_runbook_lies_where_the_deployment_says() -> None:
    event = finding(some_change(), runbook_url="https://wiki.example.com/soc/")
    assert event["remediation"]["references"] == ["https://wiki.example.com/soc/provenance"]
    assert problems(event) == []
    assert "references" not in finding(some_change())["remediation"]


def test_finding_of_an_end_says_that_the_case_stays_open_and_calls_nobody() -> None:
    event = finding(CHANGES["end"])
    assert event["activity_name"] == "Update"
    assert "status" not in event  # it stays as whoever works on the case left it
    assert event["is_alert"] is False
    assert event["message"] == "Session s-1 is over; its case stays open"
    assert event["unmapped"]["standing"]["after"] == "contained"


def test_finding_of_calls_after_the_end_says_that_the_session_goes_on() -> None:
    event = finding(CHANGES["goes on"])
    assert event["message"].startswith("Session s-1 goes on after its end")
    assert event["is_alert"] is True
    assert event["unmapped"]["exposure"]["revocation"] == "not requested"


def test_a_finding_names_the_commands_for_its_case() -> None:
    for name in ("first alert", "end"):
        steps = finding(CHANGES[name])["remediation"]["desc"]
        assert "driftline show case-1" in steps
        assert "driftline feedback case-1 --verdict" in steps


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"after": "alert"}, True),
        ({"after": "contained"}, True),
        ({"before": "quiet", "after": "watch"}, False),
        ({"before": "alert", "after": "watch"}, False),
        ({"before": "watch", "after": "closed", "kind": "ended", "cause": "ended"}, False),
        (
            {"before": "watch", "after": "watch", "kind": "ended", "cause": "ended", "peak": "alert"},
            True,
        ),
        (
            {
                "before": "contained",
                "after": "contained",
                "kind": "ended",
                "cause": "ended",
                "peak": "contained",
            },
            True,
        ),
        ({"before": "closed", "after": "alert"}, True),
        ({"before": "alert", "after": "contained"}, True),
        ({"before": "contained", "after": "contained"}, False),
        ({"before": "contained", "after": "contained", "in_earnest": True}, True),
        ({"before": "contained", "after": "contained", "over": True}, True),
        ({"kind": "unjudged", "cause": "internal", "after": "alert"}, False),
    ],
)
def test_is_told_only_for_what_the_soc_must_hear(changes: dict[str, Any], expected: bool) -> None:
    assert is_told(some_change(**changes)) is expected


def test_finding_of_a_later_change_differs_only_where_the_change_does() -> None:
    first, later = some_change(), some_change(record_id="case-1/3", change=3)
    a, b = finding(first), finding(later)
    assert a["metadata"].pop("uid") != b["metadata"].pop("uid")
    assert a["metadata"].pop("sequence") != b["metadata"].pop("sequence")
    assert a == b
