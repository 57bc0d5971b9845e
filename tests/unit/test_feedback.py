"""What an analyst says of a case: signed, told once, reversible, and the same whoever reads it and however often."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from models.contracts import Feedback
from models.errors import InputError, SchemaError
from stream import bootstrap, jose
from stream import feedback as tokens
from stream.cli.feedback import _show, _subject
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    FEEDBACK,
    QUARANTINE,
    Output,
    Record,
    case_id_of,
    dumps,
    rfc3339,
)
from stream.feedback import TOKEN_TYPE, SignedFeedback, sign
from stream.offline import files, replay
from stream.offline.verdicts import first_alarms, labelled, labels, subject, uncased, verdicts
from stream.outbound.act import MAX_AHEAD_MS, Actor
from stream.outbound.feedback import MAX_COMMENT, VERDICTS, cleaned, closes, finding
from stream.outbound.findings import dedup_key
from stream.outbound.ocsf import problems
from stream.resolutions import SignedResolutions
from stream.settings import Settings
from stream.shell import case_feedback
from stream.shell.act_stage import forwarded
from tests.unit.test_breaker import AUDIENCE, KEY, KEYS, a_case, a_ruling, log, rulings

SAMPLES = Path(bootstrap.__file__).parent / "samples"
NINE_MS = 1_767_258_000_000
PUBLIC = {"keys": [KEY.as_dict(private=False)]}
BY_VERDICT = {
    "true_positive": (3, 4, "Resolved", False),
    "false_positive": (3, 3, "Suppressed", False),
    "benign": (3, 3, "Suppressed", False),
    "unsure": (2, 2, "In Progress", False),
    "reopen": (2, 1, "New", True),
}


CASE = case_id_of("acme", "s-1", "s-1")


def said(verdict: str = "false_positive", after_ms: int = 0, **changes: Any) -> Feedback:
    document = {
        "tenant": "acme",
        "root_session_id": "s-1",
        "session_id": "s-1",
        "agent": "invoices",
        "severity_id": 5,
        "enforced": True,
        "verdict": verdict,
        "by": "ada",
        "time": rfc3339(NINE_MS + after_ms),
        "comment": "the payee is ours",
        **changes,
    }
    ids = (str(document[name]) for name in ("tenant", "root_session_id", "session_id"))
    return Feedback.model_validate({"case_id": case_id_of(*ids), **document})


def record_of(feedback: Feedback, key: Any = KEY, audience: str = AUDIENCE, **changes: Any) -> dict[str, Any]:
    token = sign(feedback, audience, key)
    return {"type": "feedback.given", "tenant": feedback.tenant, "token": token, **changes}


def actor() -> Actor:
    return Actor(KEYS, rulings().read, SignedFeedback(PUBLIC, AUDIENCE).read)


def findings(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    return [orjson.loads(each.value) for each in outputs if each.topic == ALERTS]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_becomes_a_finding_of_its_case_by_the_official_schema(verdict: str) -> None:
    (output,) = actor().act(log(record_of(said(verdict))))
    assert (output.topic, output.key) == (ALERTS, b"acme")
    found = orjson.loads(output.value)
    assert problems(found) == []
    activity, status_id, status, calls = BY_VERDICT[verdict]
    assert (found["activity_id"], found["status_id"], found["status"]) == (activity, status_id, status)
    assert (found["is_alert"], closes(verdict)) == (calls, activity == 3)
    assert found["finding_info"]["uid"] == CASE
    assert found["unmapped"]["dedup_key"] == dedup_key("acme", "s-1")
    told = {"verdict": verdict, "by": "ada", "key": "on-call", "time": rfc3339(NINE_MS)}
    assert found["unmapped"]["feedback"] == told
    assert (found["severity_id"], found["severity"], found["time"]) == (5, "Critical", NINE_MS)
    assert found["comment"] == "the payee is ours"
    assert found["actor"] == {"session": {"uid": "s-1"}, "app_name": "invoices"}


def _by_the_page(alert: dict[str, Any]) -> dict[str, Any]:
    """The claims that the table of docs/feedback.md makes of an alert: each that it takes from there, by its path."""
    page = (Path(__file__).parents[2] / "docs" / "feedback.md").read_text(encoding="utf-8")
    rows = page.split("| claim | from the alert |\n| --- | --- |\n")[1].split("\n\n")[0].splitlines()
    claims: dict[str, Any] = {}
    for names, paths in (map(str.strip, row.strip("|").split("|")) for row in rows):
        for name, path in zip(re.findall("`(\\w+)`", names), re.findall("`([\\w.]+)`", paths), strict=False):
            if path != "DRIFTLINE_ISSUER" and name != "sub_id":
                claims[name] = reduce(lambda at, part: at[part], path.split("."), alert)
    return claims


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
def test_a_token_that_a_siem_makes_by_the_page_alone_closes_the_case(algorithm: str) -> None:
    """No code of ours makes it: the alert, the page's table, and a library for JOSE."""
    settings = Settings()
    judge, here = bootstrap.judge(settings, mode="enforce"), bootstrap.actor(settings)
    outputs = replay.replay(files.read_records(SAMPLES / "19-finance-invoice-iban-swap.jsonl"), judge, here)
    alert = next(
        found
        for found in map(orjson.loads, (o.value for o in outputs if o.topic == ALERTS))
        if found["is_alert"]
    )
    made = {
        "ES256": lambda: ECKey.generate_key("P-256"),
        "RS256": lambda: RSAKey.generate_key(2048),
        "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    }
    key = made[algorithm]()
    public = {"keys": [{**key.as_dict(private=False), "kid": "siem", "alg": algorithm}]}
    claims = _by_the_page(alert) | {
        "verdict": "false_positive",
        "by": "splunk",
        "comment": "",
        "time": rfc3339(NINE_MS),
        "aud": AUDIENCE,
    }
    header = {"alg": algorithm, "typ": "driftline-feedback+jwt", "kid": "siem"}
    token = jws.serialize_compact(header, orjson.dumps(claims), key, algorithms=[algorithm])
    record = {"type": "feedback.given", "tenant": alert["metadata"]["tenant_uid"], "token": token}
    (output,) = Actor(KEYS, rulings().read, SignedFeedback(public, AUDIENCE).read).act(log(record))
    closed = orjson.loads(output.value)
    assert output.topic == ALERTS, closed
    assert (closed["activity_id"], closed["status"], closed["is_alert"]) == (3, "Suppressed", False)
    assert closed["finding_info"]["uid"] == alert["finding_info"]["uid"]
    assert closed["unmapped"]["feedback"]["by"] == "splunk"
    assert closed["severity_id"] == alert["severity_id"]
    assert problems(closed) == []


def test_a_verdict_of_a_case_that_act_never_saw_is_told_all_the_same_and_revokes_nothing() -> None:
    outputs = actor().act(log(record_of(said("true_positive", agent="", severity_id=1))))
    assert [each.topic for each in outputs] == [ALERTS]
    (found,) = findings(outputs)
    assert "app_name" not in found["actor"]
    assert problems(found) == []


def test_a_comment_is_data_without_secrets_and_control_characters() -> None:
    secret = "ghp_" + "a1" * 18
    told = record_of(said(comment=f"see\x1b[31m <b>{secret}</b>\nnow"))
    assert secret not in str(jose.decoded(told["token"].split(".")[1]))
    (found,) = findings(actor().act(log(told)))
    assert secret not in dumps(found).decode()
    assert found["comment"].startswith("see [31m <b>secret-sha256:")
    assert found["comment"].isprintable()
    assert len(cleaned("x " * 512)) <= MAX_COMMENT
    assert "comment" not in findings(actor().act(log(record_of(said(comment="")))))[0]


def test_the_same_words_signed_again_have_the_same_id_and_others_another() -> None:
    again = [record_of(said()), record_of(said())]
    assert again[0]["token"] != again[1]["token"]  # ECDSA draws a number
    one, two, later = findings(actor().act(log(*again, record_of(said(after_ms=1)))))
    assert one == two
    assert one["metadata"]["uid"] != later["metadata"]["uid"]


def _other_type(feedback: Feedback) -> dict[str, Any]:
    claims = feedback.model_dump(mode="json") | {"aud": AUDIENCE}
    token = jose.token_of("driftline-held+jwt", claims, KEY)
    return {"type": "feedback.given", "tenant": "acme", "token": token}


def _claims(**changes: Any) -> dict[str, Any]:
    claims = said().model_dump(mode="json") | {"aud": AUDIENCE, **changes}
    return {"type": "feedback.given", "tenant": "acme", "token": jose.token_of(TOKEN_TYPE, claims, KEY)}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (record_of(said(), key=ECKey.generate_key("P-256", auto_kid=True)), "no key is known by this kid"),
        (record_of(said(), audience="https://another.example"), "its aud does not name"),
        (record_of(said(), tenant="other"), "for another tenant"),
        (_other_type(said()), "its typ is not"),
        (_claims(verdict="delete"), "its verdict: "),
        (_claims(by="a\nb"), "its by is no name"),
        (_claims(time="yesterday"), "its time: "),
        (_claims(time="1970-01-01T00:00:00Z"), "its time: "),
        (_claims(comment="x" * 1025), "its comment: "),
        (_claims(severity_id=True), "its severity_id is missing or of another type"),
        (_claims(case_id=""), "its case_id: "),
        (record_of(said()) | {"token": "x.y.z"}, "the feedback is not valid"),
        (record_of(said(after_ms=MAX_AHEAD_MS + 1000)), "ahead of the broker's time"),
    ],
)
def test_feedback_that_no_trusted_key_signed_for_here_goes_to_quarantine_and_says_why(
    document: dict[str, Any], why: str
) -> None:
    (output,) = actor().act(log(document))
    headers = dict(output.headers)
    assert (output.topic, headers["reason"]) == (QUARANTINE, b"control")
    assert why in headers["detail"].decode()
    assert "payee" not in headers["detail"].decode()


def test_without_keys_nobody_gives_feedback_and_the_reason_names_the_setting() -> None:
    for nobody in (Actor(KEYS), Actor(KEYS, verdicts=SignedFeedback(None, AUDIENCE).read)):
        (output,) = nobody.act(log(record_of(said())))
        assert b"DRIFTLINE_RESPONDER_JWKS" in dict(output.headers)["detail"]


def test_a_token_for_one_purpose_serves_no_other() -> None:
    with pytest.raises(SchemaError, match="typ"):
        SignedResolutions(PUBLIC, AUDIENCE).read(record_of(said())["token"])
    with pytest.raises(SchemaError, match="typ"):
        SignedFeedback(PUBLIC, AUDIENCE).read(a_ruling("b")["token"])
    assert Feedback.model_fields["by"].metadata[1].max_length == tokens.MAX_BY


def test_feedback_counts_once_it_stands_among_cases_and_unsigned_feedback_is_put_aside_with_the_mend() -> (
    None
):
    unsigned = {"case_id": CASE, "verdict": "benign", "analyst": "ada", "time": "2026-01-01T09:00:00Z"}
    values = [dumps(record_of(said())), dumps(unsigned), b"{}", b"\xff", None]
    records = [Record(FEEDBACK, 0, n, NINE_MS, "append", b"x", (), value) for n, value in enumerate(values)]
    first, *aside = forwarded(records, FEEDBACK)
    assert (first.topic, first.key) == (CASES, b"acme")
    assert [each.topic for each in aside] == [QUARANTINE] * 4
    assert b"driftline feedback" in dict(aside[0].headers)["detail"]
    case = Record(CASES, 3, 0, NINE_MS, "append", first.key, (), first.value)
    assert len(findings(actor().act([case]))) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from([*VERDICTS, "case"]), st.integers(0, 3), st.integers(0, 5)), max_size=12
)


def _documents(steps: Sequence[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [
        a_case(n, place) if word == "case" else record_of(said(word, minute * 1000, session_id=f"s-{n}"))
        for place, (word, n, minute) in enumerate(steps)
    ]


@given(STEPS, st.integers(0, 12))
def test_acting_twice_or_after_a_takeover_tells_the_same_verdicts_with_the_same_ids(
    steps: Sequence[tuple[str, int, int]], at: int
) -> None:
    records = log(*_documents(steps))
    whole = _told(actor().act(records))
    twice = actor()
    assert _told([*twice.act(records), *twice.act(records)]) == whole * 2
    heir = actor()
    heir.recall(records[:at], ())
    assert _told(heir.act(records[at:])) == _told(actor().act(records[at:]))
    assert _told([out for record in records for out in actor().act([record])]) == whole


@given(STEPS)
def test_a_verdict_moves_no_revocation(steps: Sequence[tuple[str, int, int]]) -> None:
    documents = _documents(steps)
    mixed = actor().act(log(*documents))
    alone = actor().act(log(*(each for each in documents if "type" not in each)))
    assert [o.value for o in mixed if o.topic not in (ALERTS, QUARANTINE)] == [
        o.value for o in alone if o.topic not in (ALERTS, QUARANTINE)
    ]


def _told(outputs: Sequence[Output]) -> list[bytes]:
    return [each.value for each in outputs if each.topic == ALERTS and b'"feedback":' in each.value]


def _said_of(*words: Feedback) -> list[dict[str, Any]]:
    return findings(actor().act(log(*(record_of(word) for word in words))))


def test_a_verdict_counts_in_its_tenant_alone_and_each_key_speaks_for_itself() -> None:
    own, foreign = said("true_positive"), said("false_positive", 9000, tenant="globex", case_id=CASE)
    listed = verdicts([finding(own, "k-1"), finding(foreign, "k-2")])
    assert [each.stands for each in listed if each.tenant == "acme"] == [True]
    assert {row["tenant"]: row["label"] for row in labels(listed, {})} == {
        "acme": "hijacked",
        "globex": "benign",
    }
    again = said("true_positive", severity_id=1)
    two = verdicts([finding(own, "k-1"), finding(again, "k-2")])
    assert len(two) == 2
    against = verdicts([finding(own, "k-1"), finding(said("false_positive", 9000), "k-2")])
    assert labels(against, {})[0]["conflict"] is True


def test_a_verdict_on_a_case_that_is_not_its_session_s_is_refused() -> None:
    (aside,) = actor().act(log(record_of(said(case_id=case_id_of("acme", "s-9", "s-9")))))
    assert aside.topic == QUARANTINE
    assert b"not that of its session" in dict(aside.headers)["detail"]


def test_the_last_word_on_a_case_is_the_one_with_the_latest_time_whatever_arrives_last() -> None:
    early, late = said("false_positive", 0), said("reopen", 5000, by="bob")
    other = said("benign", 9000, session_id="s-2")
    for order in ((early, late, other), (late, early, other, early)):
        listed = verdicts(_said_of(*order))
        assert [(each.verdict, each.stands) for each in listed] == [
            ("benign", True),
            ("reopen", True),
            ("false_positive", False),
        ]


def test_the_subject_of_a_case_is_read_off_its_alerts() -> None:
    alert = {
        "severity_id": 4,
        "metadata": {"tenant_uid": "acme", "correlation_uid": "s-0"},
        "actor": {"session": {"uid": "s-1"}, "app_name": "invoices"},
        "finding_info": {"uid": CASE},
        "unmapped": {"enforced": True},
    }
    opening = {"finding_info": {"uid": "b"}, "severity_id": 5}
    found = subject([[], {}, opening, alert, {**alert, "severity_id": 3}], CASE)
    assert found == ("acme", CASE, "s-0", "s-1", "invoices", 4, True)
    assert subject([alert, opening], "b") is None
    assert subject([alert], "case") is None


DECIDED = {"tenant": "acme", "root_session_id": "s-0", "session_id": "s-7", "agent": None, "enforced": True}


def test_a_session_without_a_case_is_judged_under_the_id_that_a_case_of_it_would_have() -> None:
    (found,) = uncased([None, {}, DECIDED, DECIDED | {"session_id": "s-8"}, DECIDED], "s-7")
    assert found == ("acme", case_id_of("acme", "s-0", "s-7"), "s-0", "s-7", "", 0, True)
    told = said("true_positive", **found._asdict())
    (output,) = actor().act(log(record_of(told)))
    assert problems(orjson.loads(output.value)) == []
    assert len(uncased([DECIDED, DECIDED | {"tenant": "globex"}], "s-7")) == 2


@pytest.mark.parametrize(
    ("named", "tenant", "says"),
    [
        ("s-7", None, ("acme", "s-7", False)),
        ("s-1", None, ("acme", "s-1", True)),
        (CASE, None, ("acme", "s-1", True)),
        ("s-9", None, "names several: .* of acme, root s-0, .* of globex, root s-0. Give --tenant"),
        ("s-9", "globex", ("globex", "s-9", False)),
        ("s-7", "globex", "no decision of a session of that name of tenant globex"),
        ("nothing", None, "no alert tells of a case 'nothing'"),
    ],
)
def test_feedback_takes_a_case_or_a_session_also_one_without_a_case(
    named: str, tenant: str | None, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [DECIDED | {"session_id": "s-9", "tenant": name} for name in ("acme", "globex")]
    bus = {ALERTS: _said_of(said()), DECISIONS: [DECIDED, *twice]}
    monkeypatch.setattr(case_feedback, "documents", lambda _, base: bus[base])
    if isinstance(says, str):
        with pytest.raises(InputError, match=says):
            _subject(Settings(), named, tenant)
    else:
        found, alerted = _subject(Settings(), named, tenant)
        assert (found.tenant, found.session_id, alerted) == says


def test_labels_keep_all_words_tell_conflicts_and_let_the_last_word_count() -> None:
    second = {"session_id": "s-2", "root_session_id": "s-2"}
    words = [
        said("false_positive", 0),
        said("true_positive", 1000, by="bob"),
        said("true_positive", 0, **second),
        said("unsure", 500, by="eve", **second),
        said("true_positive", 900, **second),
    ]
    decisions = [
        {"tenant": "acme", "root_session_id": f"s-{n}", "session_id": f"s-{n}", "verdict": v, "call_seq": c}
        for n, v, c in ((1, "allow", 0), (1, "deny", 4), (1, "alert", 2), (2, "revoke", 7), (3, "alert", 1))
    ]
    listed = verdicts(_said_of(*words))
    first = first_alarms([None, *decisions], [each for each in listed if each.stands])
    rows = {row["case_id"]: row for row in labels(listed, first)}
    assert rows[CASE]["conflict"] is True
    assert rows[case_id_of("acme", "s-2", "s-2")]["conflict"] is False
    assert (rows[CASE]["label"], rows[CASE]["first_bad_seq"]) == ("hijacked", 2)
    assert (
        rows[case_id_of("acme", "s-2", "s-2")]["label"],
        rows[case_id_of("acme", "s-2", "s-2")]["first_bad_seq"],
    ) == ("hijacked", 7)
    assert [word["verdict"] for word in rows[CASE]["said"]] == ["true_positive", "false_positive"]
    withdrawn = verdicts(_said_of(*words, said("reopen", 2000)))
    assert labels(withdrawn, {})[-1] | {"said": 0} == rows[CASE] | {
        "verdict": "reopen",
        "label": "unclear",
        "first_bad_seq": None,
        "by": "ada",
        "time": rfc3339(NINE_MS + 2000),
        "conflict": False,
        "said": 0,
    }


def test_a_recorded_session_that_was_judged_is_read_as_a_labelled_one() -> None:
    from models.training.dataset import of_record, target_of

    calls = [{"tool": "pay", "args": {}, "result": "ok"}] * 3
    recorded = [{"session_id": f"s-{n}", "intent": "Pay.", "calls": calls} for n in range(4)]
    words = [
        said("true_positive"),
        said("benign", session_id="s-2"),
        said("unsure", session_id="s-3"),
    ]
    rows = labels(verdicts(_said_of(*words)), {CASE: 1})
    read = {each["session_id"]: of_record(each, {}) for each in labelled(recorded, rows)}
    assert {name: each.kind for name, each in read.items()} == {
        "s-1": "hijacked",
        "s-2": "benign",
        "s-3": "unclear",
    }
    assert [target_of(read["s-1"], seq) for seq in range(3)] == [0, 1, -1]
    assert [target_of(read["s-2"], seq) for seq in range(3)] == [0, 0, 0]
    other = labels(verdicts(_said_of(*words, said("benign", tenant="other"))), {})
    twins = {each["session_id"]: each["label"] for each in labelled(recorded, other)}
    assert twins["s-1"] == "unclear"


@pytest.mark.parametrize("width", [80, 200])
def test_what_was_said_is_shown_whole_and_never_as_markup(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    words = [
        said(by="[/bold]eve.fischer-lindqvist@security.acme.example"),
        said("reopen", 1000, comment="[link=x]\x1b[31m"),
    ]
    _show(verdicts(_said_of(*words)))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count(CASE) == 2
    assert shown.count("reopen, counts") == shown.count(", counts") == 1
    for word in ("[/bold]eve.fischer", "[link=x] [31m", "2026-01-01 09:00", "acme: s-1, invoices"):
        assert word in shown
    _show([])
    assert capsys.readouterr().out == "nothing was said\n"
    _show([], "a-case")
    assert "look at its spelling" in capsys.readouterr().out
