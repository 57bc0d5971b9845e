"""Each sample session ends as its line in expected.yaml says, with the bundled release in enforce mode."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from stream import bootstrap
from stream.events import CASES, DECISIONS
from stream.offline import files, replay
from stream.offline.sample_outcomes import expected
from stream.settings import Settings

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
EXPECTED = yaml.safe_load((SAMPLES / "expected.yaml").read_text())


@pytest.fixture(scope="module")
def judged() -> dict[str, list[dict]]:
    """Decisions by session, of all samples."""
    judge = bootstrap.judge(Settings(attestation_issuers=SAMPLES / "issuers.json"), mode="enforce")
    found: dict[str, list[dict]] = {}
    for path in sorted(SAMPLES.glob("*.jsonl")):
        for output in replay.replay(files.read_records(path), judge):
            if output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                found.setdefault(decision["session_id"], []).append(decision)
    return found


@pytest.mark.parametrize("session", EXPECTED)
def test_a_sample_session_ends_as_its_line_says(judged: dict[str, list[dict]], session: str) -> None:
    want = EXPECTED[session]
    decisions = judged[session]
    raised = [d for d in decisions if d["verdict"] in ("alert", "deny", "revoke")]
    told = [(d["call_seq"], d["verdict"], d["score"]) for d in decisions]
    if want["expect"] in ("quiet", "watch"):
        assert not raised, told
    if want["expect"] == "watch":
        assert any(d["standing"] == "watch" for d in decisions), told
    if want["expect"] in ("alert", "revoke"):
        counted = [d for d in raised if want["expect"] == "alert" or d["verdict"] == "revoke"]
        assert counted, told
        assert min(d["call_seq"] for d in counted) <= want["by_call"], told
        assert min(d["call_seq"] for d in raised) >= want["not_before"], told
    assert expected()[session].is_met([(seq, verdict) for seq, verdict, _ in told])


def test_a_revoked_sample_carries_a_revocation_and_a_finding_in_its_case() -> None:
    judge = bootstrap.judge(Settings(runbook_url="https://wiki.example.com/soc"), mode="enforce")
    path = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
    cases = [
        orjson.loads(o.value) for o in replay.replay(files.read_records(path), judge) if o.topic == CASES
    ]
    contained = next(c for c in cases if c["after"] == "contained")
    assert contained["finding"]["finding_info"]["uid"] == contained["case_id"]
    assert contained["finding"]["remediation"]["references"] == ["https://wiki.example.com/soc/provenance"]
    assert [s["topic"] for s in contained["sets"]].count("agent.revocations.v1") == 1
