"""The change that would have passed: made, it passes."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from models.text.documents import leaves
from stream import bootstrap
from stream.declarations import SignedDeclarations, sign
from stream.policy import load_policy
from stream.settings import Settings
from stream.signals.registry import SIGNALS
from tests import attested
from tests import builders as b

SAMPLES = sorted((Path(__file__).parents[2] / "stream" / "samples").glob("*.jsonl"))
JUDGE = bootstrap.judge(Settings(), mode="enforce")
JUDGE.deployment = JUDGE.deployment._replace(
    attestations=attested.trusted(),
    declarations=SignedDeclarations({"acme": attested.public(attested.BEARER)}),
)
Events = list[dict[str, Any]]


def decisions(events: Events) -> list[dict[str, Any]]:
    return b.Run(JUDGE).feed(b.log(events)).decisions


def mended(events: Events, at: int, decision: dict[str, Any]) -> Events:
    """The log with what the decision on event `at` names made otherwise, before that call."""
    made = copy.deepcopy(events)
    call, needed = made[at], decision["would_pass"]
    (declared,) = (
        e for e in made if e["type"] == "session.declared" and e["session_id"] == call["session_id"]
    )
    if "larger budget" in needed:
        del declared["intent"]["budget"]
    if "whose catalogue holds this tool" in needed:
        declared["tools"].append({"name": call["tool"]})
    if "valid at the time of the call" in needed:
        for credential in (*declared["credentials"], *([call["credential"]] if "credential" in call else [])):
            credential["expires"] = "2036-01-01T00:00:00Z"
    if "that lists this credential" in needed:
        declared.setdefault("credentials", []).append(call["credential"])
    if "in the name of the workload that makes it" in needed:
        declared["agent"] |= {"id": decision["attested"]["agent"], "spiffe_id": decision["attested"]["agent"]}
    at_s = int(datetime.fromisoformat(declared["time"]).timestamp())
    if "issued for this session" in needed:
        declared["attestation"] = attested.svid(at_s, audience=f"{attested.OURS}#{declared['session_id']}")
    if "signed with the key that its attestation names" in needed:
        user, cnf = declared["agent"]["user"], {"jkt": attested.BEARER.thumbprint()}
        declared["attestation"] = attested.access(at_s, user=user, cnf=cnf)
        declared.update(sign("acme", declared, attested.BEARER))
    if "issued to this workload" in needed:
        for credential in declared["credentials"]:
            credential["issued_to"] = declared["agent"]["spiffe_id"]
    if "amendment by the user" not in needed:
        return made
    asks, names = "asks for this act" in needed, "names its" in needed
    values = [leaf.text for leaf in leaves(call["arguments"])[0]] if names else []
    words = [call["tool"].replace("_", " "), *values] if asks else ["go on"]
    intent: dict[str, Any] = {"text": f"Now {' '.join(words)}, please."}
    if "allows this kind of action" in needed:
        intent["actions"] = [decision["action"]]
    told = {name: call[name] for name in ("session_id", "root_session_id", "tenant", "time") if name in call}
    amended = {**told, "type": "intent.amended", "id": f"{call['id']}-amended", "intent": intent}
    return [*made[:at], amended, *made[at:]]


def test_the_change_that_a_decision_names_passes() -> None:
    """For each call of the samples that is stopped or told, but for those whose session is over: these need a new one."""
    made = 0
    for path in SAMPLES:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        place = {event["id"]: at for at, event in enumerate(events)}
        for decision in decisions(events):
            if decision["verdict"] in ("allow", "abstain") or "a new session" in decision["would_pass"]:
                continue
            changed = mended(events, place[decision["event_id"]], decision)
            (after,) = (d for d in decisions(changed) if d["event_id"] == decision["event_id"])
            # What an earlier call of the session brought about stays: a credential that is gone, a denial.
            told = f"{path.stem}, call {decision['call_seq']}: {after['explanation']}"
            assert after["verdict"] in ("allow", "abstain"), told
            assert after["would_pass"] == ""
            made += 1
    assert made >= 33


def test_every_signal_that_a_policy_may_act_on_has_its_mend() -> None:
    acted_on = {name for name in load_policy().signals if not name.startswith("content.")}
    assert acted_on == {signal.id for signal in SIGNALS if any(signal.remedy)}
