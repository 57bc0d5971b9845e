"""The generated contracts: not stale, well formed, and true of what the program reads and writes."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from models import contracts
from models.contracts import ReleasedClaims, RevocationClaims, RiskClaims
from stream.events import dumps
from stream.outbound.claims import released_claims, revocation_claims, risk_claims
from stream.outbound.findings import finding
from stream.schemas.__main__ import main
from stream.schemas.asyncapi import asyncapi
from stream.schemas.catalogue import CONTRACTS
from stream.schemas.documents import DOCS, stale, write
from stream.schemas.json_schema import json_schemas
from tests.builders import changed

TOPICS = {
    "agent.events.v1",
    "agent.outcomes.v1",
    "agent.feedback.v1",
    "agent.decisions.v1",
    "agent.cases.v1",
    "agent.held.v1",
    "agent.alerts.v1",
    "agent.revocations.v1",
    "agent.risk.v1",
    "agent.ends.v1",
    "agent.quarantine.v1",
    "agent.releases.v1",
    "agent.challenges.v1",
}
NINE = 1_767_258_000_000
CHANGE = changed(
    case_id="case-1",
    record_id="case-1/2",
    change=2,
    kind="standing",
    cause="drift",
    tenant="acme",
    root_session_id="s-1",
    session_id="s-1",
    time="2026-01-01T09:00:00.000Z",
    time_ms=NINE,
    before="watch",
    after="contained",
    reason="customer rows to an outside host",
    verdict="revoke",
    score=0.91,
    families=["provenance", "sequence"],
    evidence=[],
    agent="invoice-bot",
    spiffe_id=None,
    user="u-4711",
    credentials=[contracts.CredentialRef(broker="vault", kind="lease", value="db/creds/1")],
    path=[],
    first_time_ms=NINE,
    enforced=True,
    inherited_from=None,
    release="bundled",
    policy="p-1",
    core="1",
)


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
        for child in document.values():
            yield from nodes(child)
    elif isinstance(document, list):
        for child in document:
            yield from nodes(child)


def resolved(document: dict[str, Any], ref: str) -> Any:
    place: Any = document
    for name in ref.removeprefix("#/").split("/"):
        place = place[name]
    return place


def test_checked_in_contracts_are_those_of_the_code() -> None:
    assert stale(DOCS) == [], "run `python -m stream.schemas`"


def test_contracts_cover_every_topic() -> None:
    assert {contract.topic for contract in CONTRACTS} == TOPICS
    assert {channel["address"] for channel in asyncapi()["channels"].values()} == TOPICS


def test_contracts_cover_every_event_type() -> None:
    (events,) = [contract for contract in CONTRACTS if contract.topic == "agent.events.v1"]
    types = {model.model_fields["type"].annotation.__args__[0] for model in events.models}  # type: ignore[union-attr]
    assert types == contracts.EVENT_TYPES


def test_check_after_a_change_exits_1_and_after_writing_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--docs", str(tmp_path), "--check"]) == 1
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--docs", str(tmp_path), "--check"]) == 0
    (tmp_path / "schemas" / "agent.cases.v1.json").write_text("{}")
    capsys.readouterr()
    assert main(["--docs", str(tmp_path), "--check"]) == 1
    assert "agent.cases.v1.json" in capsys.readouterr().err


def test_check_finds_a_schema_whose_contract_is_gone_and_write_removes_it(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "schemas" / "agent.gone.v1.json").write_text("{}")
    assert stale(tmp_path) == ["schemas/agent.gone.v1.json"]
    write(tmp_path)
    assert stale(tmp_path) == []


def test_module_run_as_a_command_checks_what_is_checked_in() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stream.schemas", "--check"], cwd=DOCS.parent, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_json_schema_is_a_valid_schema_with_all_its_references(name: str) -> None:
    schema = json_schemas()[name]
    Draft202012Validator.check_schema(schema)
    for node in nodes(schema):
        if isinstance(node.get("$ref"), str):
            assert resolved(schema, node["$ref"])


def test_asyncapi_references_all_resolve() -> None:
    document = asyncapi()
    refs = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert refs
    for ref in refs:
        assert resolved(document, ref)


def test_asyncapi_operations_refer_to_the_messages_of_their_own_channel() -> None:
    for operation in asyncapi()["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["action"] in ("send", "receive")
        assert operation["messages"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_asyncapi_schemas_stay_within_draft_07() -> None:
    document = asyncapi()
    for node in nodes(document):
        assert "prefixItems" not in node
        assert "$defs" not in node
        assert not isinstance(node.get("discriminator"), dict)
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_asyncapi_channels_tell_key_and_retention() -> None:
    for channel in asyncapi()["channels"].values():
        assert channel["description"].startswith("Key: ")
        told = channel["bindings"]["kafka"]["topicConfiguration"]
        assert told["cleanup.policy"] == ["compact"] or told["retention.ms"] > 0
        for message in channel["messages"].values():
            assert message["bindings"]["kafka"]["key"]["description"]


def test_asyncapi_file_is_plain_yaml_of_the_document() -> None:
    text = (DOCS / "asyncapi.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == asyncapi()


def valid(topic: str, value: Any) -> bool:
    schema = json_schemas()[f"{topic}.json"]
    return bool(Draft202012Validator(schema).is_valid(value))


def test_revocation_claims_fit_their_contract() -> None:
    (claims,) = revocation_claims(CHANGE, "https://driftline.example.com/ssf", {})
    assert RevocationClaims.model_validate(claims).model_dump(by_alias=True, exclude_unset=True) == claims
    assert valid("agent.revocations.v1", claims)
    assert not valid("agent.revocations.v1", {**claims, "sub_id": {"format": "complex"}})


def test_risk_claims_fit_their_contract() -> None:
    claims = risk_claims(CHANGE, "https://driftline.example.com/ssf", "https://soc.example.com/set")
    assert RiskClaims.model_validate(claims).model_dump(by_alias=True, exclude_unset=True) == claims
    assert valid("agent.risk.v1", claims)
    assert not valid("agent.revocations.v1", claims)


def test_claims_of_what_an_end_released_fit_their_contract_and_not_that_of_a_revocation() -> None:
    change = replace(CHANGE, announced=CHANGE.case.credentials)
    (claims,) = released_claims(change, "https://driftline.example.com/ssf", {})
    assert ReleasedClaims.model_validate(claims).model_dump(by_alias=True, exclude_unset=True) == claims
    assert valid("agent.ends.v1", claims)
    assert not valid("agent.revocations.v1", claims)


def test_finding_fits_its_contract() -> None:
    event = finding(CHANGE)
    assert valid("agent.alerts.v1", event)
    assert not valid("agent.alerts.v1", {**event, "class_uid": 2003})


def test_event_fits_its_contract_with_fields_that_nobody_knows() -> None:
    event = {
        "type": "tool.called",
        "id": "s-1/1",
        "session_id": "s-1",
        "time": "2026-01-01T09:00:00Z",
        "call_id": "s-1:0",
        "tool": "http.post",
        "newer": dumps({}).decode(),
    }
    assert valid("agent.events.v1", event)
    assert not valid("agent.events.v1", {**event, "type": "tool.guessed"})
