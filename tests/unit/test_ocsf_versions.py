"""Alerts in OCSF 1.8.0 and 1.9.0: both valid by the published class, the same facts, and read back alike."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from stream import bootstrap
from stream.console.index import Index
from stream.events import ALERTS, CASES, EVENTS, Output, Record, dumps
from stream.feedback import SignedFeedback
from stream.offline import files, replay
from stream.offline.chain import name_of_alert
from stream.offline.trail import build
from stream.offline.verdicts import subject, verdicts
from stream.outbound.act import Actor
from stream.outbound.findings import finding
from stream.outbound.ocsf import OCSF_VERSION, VERSIONS, Version, agent_of, comment_of, in_version, problems
from stream.settings import Settings
from stream.shell.outputs import Seen
from stream.shell.selection import Selection
from tests.unit.test_breaker import AUDIENCE, KEYS, Stage, a_case, a_ruling, breakers, log, rulings
from tests.unit.test_campaigns import a_record, drifted
from tests.unit.test_containment import at, outcome, revoked
from tests.unit.test_feedback import PUBLIC, record_of, said
from tests.unit.test_findings import CHANGES, NINE, some_change
from tests.unit.test_trail import INPUTS, SESSION, Told, sample

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "stream" / "samples").glob("*.jsonl"))
VENDORED = ROOT / "stream" / "outbound" / "ocsf-1.9.0"


def actor(version: Version) -> Actor:
    return Actor(KEYS, rulings().read, SignedFeedback(PUBLIC, AUDIENCE).read, ocsf_version=version)


def alerts(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    return [orjson.loads(each.value) for each in outputs if each.topic == ALERTS]


def acted(version: Version) -> list[dict[str, Any]]:
    """Alerts of every kind that act knows: cases, a campaign, what became of revocations, verdicts, and what is held and dropped."""
    told = alerts(actor(version).act([a_record(drifted(n), n) for n in range(3)]))
    told += alerts(
        actor(version).act(
            at((0, revoked(0)), (0.01, outcome(0)), (1, revoked(1)), (2, outcome(1, "failed")), (90, None))
        )
    )
    for verdict in ("true_positive", "false_positive", "benign", "unsure", "reopen"):
        told += alerts(actor(version).act(log(record_of(said(verdict)))))
    return told


def held(version: Version) -> list[dict[str, Any]]:
    """Alerts of revocations that are held, and dropped by a person."""
    stage = Stage(actor(version))
    opened = stage.act(log(*(a_case(n, agent=f"a{n}") for n in range(4))))
    (breaker,) = breakers(opened)
    closed = stage.act(log(*([a_case(0)] * 9), a_ruling(breaker, "drop"))[-1:])
    return alerts([*opened, *closed])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_kind_of_change_is_valid_in_both(change: Any, version: Version) -> None:
    told = in_version(finding(change), version)
    assert told["metadata"]["version"] == version
    assert problems(told) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_that_act_tells_is_valid_in_both(version: Version) -> None:
    told = [each for each in [*acted(version), *held(version)] if "version" in each["metadata"]]
    assert len(told) > 12
    assert {each["metadata"]["version"] for each in told} == {version}
    assert {each["finding_info"].get("analytic", {}).get("uid") for each in told} >= {
        "driftline.campaign",
        "driftline.containment",
        "driftline.breaker",
    }
    for each in told:
        assert problems(each) == []


def test_in_1_9_the_agent_is_an_application_and_evidence_and_a_comment_is_a_note() -> None:
    told = in_version(finding(some_change()), "1.9.0")
    identity = "spiffe://example.org/agent/invoice-bot"
    assert told["actor"] == {
        "session": {"uid": "s-1"},
        "user": {"uid": "u-4711"},
        "application": {"name": "invoice-bot", "uid": identity},
    }
    agents = [each["ai_agent"] for each in told["evidences"]]
    assert agents == [{"uid": identity, "name": "invoice-bot", "instance_uid": "s-1"}] * 2
    (verdict,) = alerts(actor("1.9.0").act(log(record_of(said()))))
    assert verdict["notes"] == [
        {"comment": "the payee is ours", "created_time": verdict["time"], "owner": {"name": "ada"}}
    ]
    assert "comment" not in verdict


def back(told: dict[str, Any]) -> dict[str, Any]:
    """What 1.8.0 said, from what 1.9.0 says."""
    told = copy.deepcopy(told)
    told["metadata"]["version"] = OCSF_VERSION
    for each in told.get("evidences", ()):
        each.pop("ai_agent", None)
    application = told.get("actor", {}).pop("application", {})
    for name, old in (("name", "app_name"), ("uid", "app_uid")):
        if name in application:
            told["actor"][old] = application[name]
    if notes := told.pop("notes", None):
        told["comment"] = notes[0]["comment"]
    return told


NAMES = st.none() | st.text(min_size=1, max_size=20)


@given(NAMES, NAMES, NAMES, st.text(max_size=10))
def test_nothing_is_lost_and_telling_it_twice_changes_nothing(
    agent: str | None, spiffe_id: str | None, user: str | None, comment: str
) -> None:
    made = finding(some_change(agent=agent, spiffe_id=spiffe_id, user=user))
    made |= {"comment": comment, "unmapped": {**made["unmapped"], "feedback": {"by": "ada"}}}
    kept = copy.deepcopy(made)
    told = in_version(made, "1.9.0")
    assert made == kept
    assert back(told) == made
    assert in_version(told, "1.9.0") == told
    assert in_version(made, "1.8.0") is made


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda each: (
            st.lists(each, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "actor",
                        "app_name",
                        "session",
                        "evidences",
                        "comment",
                        "unmapped",
                        "feedback",
                        "by",
                    ]
                ),
                each,
            )
        ),
        max_leaves=8,
    )
)
def test_a_finding_of_whatever_shape_is_told_and_read_alike(value: Any) -> None:
    shape = value if isinstance(value, dict) else {"actor": value, "evidences": value, "comment": value}
    told = in_version({**shape, "metadata": {"version": "1.8.0"}}, "1.9.0")
    assert told["metadata"] == {"version": "1.9.0"}
    assert (agent_of(told) or None) == (agent_of(shape) or None)
    assert (comment_of(told) or None) == (comment_of(shape) or None)


# ------------------------------------------------------------------ damages


def broken(path: str, value: Any, version: Version) -> list[str]:
    event = in_version(finding(some_change()), version)
    place: Any = event
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        place = place[step]
    place[last] = value
    return [each.split(":")[0] for each in problems(event)]


DAMAGES: list[tuple[str, Any, str]] = [
    ("type_uid", 200402, "type_uid"),
    ("severity", "Low", "severity"),
    ("severity_id", 7, "severity_id"),
    ("disposition_id", 28, "disposition_id"),
    ("action_id", "3", "action_id"),
    ("time", NINE // 1000, "time"),
    ("time", "2026-01-01T09:00:00Z", "time"),
    ("finding_info.first_seen_time", NINE // 1000, "finding_info.first_seen_time"),
    ("finding_info", "none", "finding_info"),
    ("finding_info.verdict", "x", "finding_info"),
    ("evidences.0", {"name": "nothing else"}, "evidences.0"),
    ("evidences.0.colour", "red", "evidences.0"),
    ("resources.0.uid", 7, "resources.0.uid"),
    ("observables.0.type_id", 4711, "observables.0.type_id"),
    ("remediation.references", ["runbook"], "remediation.references"),
    ("metadata.profiles", ["security_control"], "metadata.profiles"),
    ("metadata.colour", "red", "metadata"),
    ("metadata.version", "1.7.0", "metadata.version"),
    ("metadata.version", ["1.9.0"], "metadata.version"),
    ("attestation_list", [{"fingerprint": {"algorithm_id": 3, "value": "ab"}}], "event"),
    ("delegation", {"uid": "d"}, "event"),
    ("is_alert", "yes", "is_alert"),
    ("colour", "red", "event"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "value", "told"), DAMAGES, ids=[f"{row[0]}={str(row[1])[:20]}" for row in DAMAGES]
)
def test_a_damage_is_found_in_both(path: str, value: Any, told: str, version: Version) -> None:
    assert set(broken(path, value, version)) == {told}


@pytest.mark.parametrize(
    ("path", "value", "version", "told"),
    [
        ("actor.application", {"name": "a"}, "1.8.0", "actor"),
        ("notes", [{"comment": "c"}], "1.8.0", "event"),
        ("evidences.0.ai_agent", {"uid": "a"}, "1.8.0", "evidences.0"),
        ("actor.app_name", "a", "1.9.0", "actor.app_name"),
        ("comment", "c", "1.9.0", "comment"),
        ("notes", [{"title": "no comment"}], "1.9.0", "notes.0"),
        ("evidences.0.ai_agent", {"instance_uid": "s"}, "1.9.0", "evidences.0.ai_agent"),
        ("evidences.0.ai_agent.type_id", 5, "1.9.0", "evidences.0.ai_agent.type_id"),
        ("actor.application", {}, "1.9.0", "actor.application"),
    ],
)
def test_what_belongs_to_the_other_version_alone_is_found(
    path: str, value: Any, version: Version, told: str
) -> None:
    assert set(broken(path, value, version)) == {told}


# ------------------------------------------------------------------ the schema


def plain(schema: Any) -> Any:
    """A JSON Schema without words for people; of what 1.8's export alone narrows the type is left: patterns, lengths, port numbers."""
    if isinstance(schema, dict):
        kept = {
            name: plain(each)
            for name, each in schema.items()
            if name
            not in ("title", "description", "deprecated", "pattern", "maxLength", "minimum", "maximum")
        }
        if isinstance(kept.get("enum"), list):
            kept["enum"] = sorted(kept["enum"])
        anything = isinstance(kept.get("type"), list) and len(kept["type"]) == 7
        return {} if anything else kept
    return [plain(each) for each in schema] if isinstance(schema, list) else schema


def differences() -> set[str]:
    """Where the vendored class differs from the published 1.8.0, of all that both have and all that it adds to that."""
    new = json.loads((VENDORED / "detection_finding.json").read_text(encoding="utf-8"))
    old = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0")).get_class_schema(
        "detection_finding", profiles=[]
    )
    pairs = [
        ("", old, new),
        *((f"{name}.", old["$defs"][name], new["$defs"].get(name, {})) for name in old["$defs"]),
    ]
    found = set()
    for path, before, after in pairs:
        ours, theirs = before["properties"], after.get("properties", {})
        found |= {
            path + name
            for name in ours.keys() | theirs.keys()
            if plain(ours.get(name)) != plain(theirs.get(name))
        }
        for rule in ("required", "anyOf"):
            if sorted(map(str, before.get(rule, ()))) != sorted(map(str, after.get(rule, ()))):
                found.add(f"{path}~{rule}")
        assert before["additionalProperties"] == after["additionalProperties"]
    return found


CHANGELOG = {
    "notes": 1670,
    "actor.application": 1702,
    "actor.iam_role": 1603,
    "actor.~anyOf": 1603,
    "analytic.sensor_info_list": 1703,
    "device.peripheral_devices": 1645,
    "device_hw_info.cores": 1630,
    "device_hw_info.cpu_info_list": 1630,
    "digital_signature.algorithm_id": 1668,
    "digital_signature.serialization": 1662,
    "digital_signature.serialization_id": 1662,
    "email.bcc": 1632,
    "email.bcc_mailboxes": 1632,
    "evidences.ai_agent": 1681,
    "file.download_info": 1658,
    "fingerprint.encoding": 1684,
    "fingerprint.encoding_id": 1684,
    "fingerprint.serialization": 1661,
    "fingerprint.serialization_id": 1661,
    "http_request.http_method": 1654,
    "job.job_actions": 1597,
    "job.job_triggers": 1597,
    "job.run_state_id": 1597,
    "job.type": 1597,
    "job.type_id": 1597,
    "job.uid": 1597,
    "job.~required": 1597,
    "job.~anyOf": 1597,
    "observable.type_id": 1603,
    "resource_details.criticality_id": 1693,
    "resource_details.device": 1693,
    "resource_details.user": 1693,
}
"""Pull requests of ocsf/ocsf-schema by the CHANGELOG of v1.9.0 (Aug 3rd, 2026), for what they change of this class."""


def test_the_vendored_class_is_1_8_with_what_the_changelog_of_1_9_names_and_nothing_else() -> None:
    found = {each for each in differences() if not each.endswith(".uid_numeric")}  # of all entities: #1643
    assert found - {"type_uid"} == set(
        CHANGELOG
    )  # its export has no values for type_uid: `problems` checks it


def test_the_vendored_files_are_those_that_their_notice_names() -> None:
    notice = (VENDORED / "NOTICE").read_text(encoding="utf-8")
    assert hashlib.sha256((VENDORED / "detection_finding.json").read_bytes()).hexdigest() in notice
    assert "Apache License" in (VENDORED / "LICENSE").read_text(encoding="utf-8")


def test_the_profiles_add_to_1_9_what_they_add_to_1_8_and_the_attestations() -> None:
    ours = json.loads((VENDORED / "profiles.json").read_text(encoding="utf-8"))
    assert plain(ours.pop("record_integrity")) == {
        "attestation_list": {"items": {"$ref": "#/$defs/attestation"}, "type": "array"}
    }
    embedded = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    bare = embedded.get_class_schema("detection_finding", profiles=[])["properties"]
    for name, adds in ours.items():
        whole = embedded.get_class_schema("detection_finding", profiles=[name])["properties"]
        assert {each: plain(whole[each]) for each in whole.keys() - bare.keys()} == plain(adds)


# ------------------------------------------------------------------ act and readers


@pytest.mark.slow
def test_a_replay_in_1_9_says_of_every_sample_what_one_in_1_8_says_and_says_it_again(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, attestation_issuers=ROOT / "stream" / "samples" / "issuers.json")
    judge = bootstrap.judge(settings, mode="enforce")
    n_alerts = 0
    for path in SAMPLES:
        judged = replay.replay(files.read_records(path), judge)
        cases = [
            Record(CASES, 0, n, 0, "none", each.key, each.headers, each.value)
            for n, each in enumerate(each for each in judged if each.topic == CASES)
        ]
        shipped, chosen, again = (
            bootstrap.actor(replace(settings, ocsf_version=version)).act(cases)
            for version in ("1.8.0", "1.9.0", "1.9.0")
        )
        assert chosen == again
        for before, after in zip(shipped, chosen, strict=True):
            if before.topic == ALERTS:
                n_alerts += 1
                told = orjson.loads(after.value)
                assert problems(told) == []
                assert back(told) == orjson.loads(before.value)
            else:
                assert before == after
    assert n_alerts > 30


def test_a_case_judged_before_the_choice_goes_out_in_the_chosen_version() -> None:
    records = [a_record(drifted(n), n) for n in range(2)]
    assert all(b'"version":"1.8.0"' in (each.value or b"") for each in records)
    assert {each["metadata"]["version"] for each in alerts(actor("1.9.0").act(records))} == {"1.9.0"}


def test_campaigns_go_on_over_a_change_of_version() -> None:
    records = [a_record(drifted(n), n) for n in range(5)]
    whole = [
        alerts(made) for worker in [actor("1.9.0")] for made in ([*worker.act([each])] for each in records)
    ]
    sent = [each for made in ([*actor("1.8.0").act(records[:3])],) for each in made if each.topic == ALERTS]
    came = actor("1.9.0")
    came.recall_alerts(
        Record(ALERTS, 0, n, NINE, "append", out.key, (), out.value) for n, out in enumerate(sent)
    )
    assert [alerts(came.act([each])) for each in records[3:]] == whole[3:]


@pytest.mark.parametrize("version", VERSIONS)
def test_whoever_reads_alerts_reads_both(version: Version) -> None:
    told = in_version(finding(some_change()), version)
    (verdict,) = alerts(actor(version).act(log(record_of(said()))))
    assert agent_of(told) == "invoice-bot"
    assert comment_of(verdict) == "the payee is ours"
    assert name_of_alert(told) == name_of_alert(finding(some_change()))

    selection = Selection(agent="invoice-bot", severity=3, session="s-1", tenant="acme")
    assert selection.takes(Seen(ALERTS, b"acme", (), b"", 0.0), told)
    assert not Selection(agent="other").takes(Seen(ALERTS, b"acme", (), b"", 0.0), told)

    index = Index({EVENTS: None})
    index.take(Record(ALERTS, 0, 0, NINE, "none", b"acme", (), orjson.dumps(told)))
    (row,) = index.cases()
    assert (row.agent, row.user, row.severity) == ("invoice-bot", "u-4711", told["severity_id"])

    (read,) = verdicts([verdict])
    assert (read.agent, read.comment, read.by) == ("invoices", "the payee is ours", "ada")
    found = subject([told], "case-1")
    assert found is not None
    assert found.agent == "invoice-bot"


def test_an_audit_tells_the_same_story_whatever_version_its_alerts_are_in() -> None:
    def in_other(record: Record) -> Record:
        if record.topic != ALERTS:
            return record
        return record._replace(value=dumps(in_version(orjson.loads(record.value or b""), "1.9.0")))

    last = [record for record in sample() if record.topic == ALERTS][-1]
    closing = orjson.loads(last.value or b"") | {"comment": "the payee is ours"}
    closing["unmapped"] |= {
        "feedback": {"verdict": "benign", "by": "ada", "key": "k", "time": "2026-03-02T10:00:00Z"}
    }
    records = [*sample(), last._replace(offset=last.offset + 1, value=dumps(closing))]
    before, after = (
        build(Told(some), SESSION, INPUTS) for some in (records, [in_other(each) for each in records])
    )
    assert len(before.of("alert")) == 3
    assert "the payee is ours" in before.of("alert")[-1].text
    assert [each.text for each in after.entries] == [each.text for each in before.entries]


def test_the_page_names_what_moved_as_findings_have_it() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8").split("## OCSF 1.9", 1)[1]
    told = in_version(finding(some_change()), "1.9.0")
    (verdict,) = alerts(actor("1.9.0").act(log(record_of(said()))))
    for path in (
        "actor.application.name",
        "evidences.ai_agent",
        "notes.comment",
        "notes.owner.name",
        "notes.created_time",
    ):
        assert f"`{path}`" in page
        place: Any = verdict if path.startswith("notes") else told
        for step in path.split("."):
            place = (place[0] if isinstance(place, list) else place)[step]
