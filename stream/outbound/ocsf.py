"""The OCSF schema that findings follow: versions, profiles, captions, and what is wrong with a finding by it.

Class and profiles: https://schema.ocsf.io/1.8.0/classes/detection_finding?profiles=host,security_control. Findings are made in
1.8.0; where the deployment asks for 1.9.0 they are told in that as they go out (`in_version`), and whoever reads alerts reads both.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from stream.events import PACKAGE, member

Version = Literal["1.8.0", "1.9.0"]
VERSIONS: tuple[Version, ...] = get_args(Version)
OCSF_VERSION: Version = "1.8.0"
PROFILES = ("security_control", "host")

ACTIVITY = {1: "Create", 2: "Update", 3: "Close"}
SEVERITY = {2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
CONFIDENCE = {1: "Low", 2: "Medium", 3: "High"}
RISK_LEVEL = {1: "Low", 2: "Medium", 3: "High", 4: "Critical"}


def product(core: str) -> dict[str, Any]:
    """What made a finding: the package, and the core that judged."""
    feature = {"name": "core", "version": core}
    return {"name": "Driftline", "vendor_name": "Driftline", "version": PACKAGE, "feature": feature}


def classified(activity: int) -> dict[str, Any]:
    """Class and activity of a Detection Finding, as OCSF numbers them and in its words."""
    return {
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": activity,
        "activity_name": ACTIVITY[activity],
        "type_uid": 200_400 + activity,
        "type_name": f"Detection Finding: {ACTIVITY[activity]}",
    }


def in_version(finding: dict[str, Any], version: Version) -> dict[str, Any]:
    """A finding of ours as that version of OCSF wants it; nothing is lost, and what is in it already stays as it is.

    In 1.9.0 the agent is the actor's ``application`` and an ``ai_agent`` of each evidence, and a ``comment`` is one of the ``notes``.

    >>> in_version({"metadata": {"version": "1.8.0"}, "actor": {"app_name": "a"}}, "1.9.0")
    {'metadata': {'version': '1.9.0'}, 'actor': {'application': {'name': 'a'}}}
    """
    metadata = member(finding, "metadata")
    if version == OCSF_VERSION or metadata.get("version") != OCSF_VERSION:
        return finding
    told = {**finding, "metadata": {**metadata, "version": version}}
    actor = member(finding, "actor")
    application = {
        name: actor[old] for name, old in (("name", "app_name"), ("uid", "app_uid")) if old in actor
    }
    if application:
        others = {name: value for name, value in actor.items() if name not in ("app_name", "app_uid")}
        told["actor"] = {**others, "application": application}
        evidences = finding.get("evidences")
        if isinstance(evidences, list):
            # A run of an agent is an instance of it; its workload's identity outlives names.
            agent = {"uid": application.get("uid", application.get("name")), **application}
            if (session := member(actor, "session").get("uid")) is not None:
                agent["instance_uid"] = session
            told["evidences"] = [
                {**each, "ai_agent": dict(agent)} if isinstance(each, dict) else each for each in evidences
            ]
    if (comment := told.pop("comment", None)) is not None:
        note = {"comment": comment, "created_time": finding.get("time")}
        if by := member(member(finding, "unmapped"), "feedback").get("by"):
            note["owner"] = {"name": by}
        told["notes"] = [note]
    return told


def agent_of(finding: Any) -> Any:
    """Whom a finding of either version is about, as it was declared; whatever stands in its place."""
    actor = member(finding, "actor")
    return actor.get("app_name") or member(actor, "application").get("name")


def comment_of(finding: dict[str, Any]) -> Any:
    """What a person said in a finding of either version; whatever stands in its place."""
    notes = finding.get("notes")
    noted = notes[0] if isinstance(notes, list) and notes else None
    return finding.get("comment") or (noted.get("comment") if isinstance(noted, dict) else None)


@cache
def _validator(version: Version) -> Any:
    """The published schema's validator; built once, since building it costs a second and a check 0.5 ms."""
    jsonschema = importlib.import_module("jsonschema")
    if version == "1.8.0":
        ocsf = importlib.import_module("ocsf_json_schema")
        embedded = ocsf.OcsfJsonSchemaEmbedded(ocsf.get_ocsf_schema(version=version))
        return jsonschema.Draft202012Validator(
            embedded.get_class_schema("detection_finding", profiles=list(PROFILES))
        )
    vendored = resources.files("stream.outbound") / f"ocsf-{version}"
    schema, profiles = (
        json.loads((vendored / name).read_text(encoding="utf-8"))
        for name in ("detection_finding.json", "profiles.json")
    )
    for profile in PROFILES:
        schema["properties"].update(profiles[profile])
    return jsonschema.Draft202012Validator(schema)


def is_web_address(text: str) -> bool:
    """Whether `text` is an http or https address, as a finding's references must be."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


_CAPTIONS: tuple[tuple[str, str, dict[int, str]], ...] = (
    ("activity_id", "activity_name", ACTIVITY),
    ("severity_id", "severity", SEVERITY),
    ("confidence_id", "confidence", CONFIDENCE),
    ("risk_level_id", "risk_level", RISK_LEVEL),
    ("action_id", "action", {1: "Allowed", 2: "Denied", 3: "Observed", 4: "Modified"}),
    ("disposition_id", "disposition", {19: "Alert", 24: "Access Revoked"}),
    ("status_id", "status", {1: "New", 2: "In Progress", 3: "Suppressed", 4: "Resolved", 5: "Archived"}),
)
# 2001-09-09 and 2286-11-20: what is smaller is a time in seconds, what is larger one in microseconds.
_FIRST_MS, _END_MS = 1_000_000_000_000, 10_000_000_000_000


def problems(event: dict[str, Any]) -> list[str]:
    """What is wrong with a finding by the published schema of its version, and by the rules that this cannot express.

    Notes
    -----
    The rules: `type_uid` against `activity_id`, captions against ids, milliseconds, URLs, the profiles that the metadata must name,
    and in 1.9.0 no attribute that it deprecates. They are asked only where the schema finds nothing: they lean on its types.
    """
    version = member(event, "metadata").get("version", OCSF_VERSION)
    if version not in VERSIONS:
        return [f"metadata.version: {str(version)[:40]!r} is none of {', '.join(VERSIONS)}"]
    wrong = [
        f"{'.'.join(str(step) for step in error.absolute_path) or 'event'}: {error.message[:300]}"
        for error in _validator(version).iter_errors(event)
    ]
    if wrong:
        return wrong
    if event.get("type_uid") != 200_400 + event.get("activity_id", 0):
        wrong.append("type_uid: is not class_uid * 100 + activity_id")
    for number, caption, known in _CAPTIONS:
        expected = known.get(event.get(number, -1))
        if expected is not None and event.get(caption, expected) != expected:
            wrong.append(f"{caption}: {event[caption]!r} does not belong to {number} {event[number]}")
    info = event.get("finding_info", {})
    for name, moment in (
        ("time", event.get("time")),
        ("finding_info.first_seen_time", info.get("first_seen_time")),
        ("finding_info.last_seen_time", info.get("last_seen_time")),
    ):
        if moment is not None and not _FIRST_MS <= moment < _END_MS:
            wrong.append(f"{name}: {moment} is not a time in milliseconds")
    for reference in event.get("remediation", {}).get("references", []):
        if not is_web_address(reference):
            wrong.append("remediation.references: not a web address")
    if not set(PROFILES) <= set(event.get("metadata", {}).get("profiles", [])):
        wrong.append(f"metadata.profiles: must name {', '.join(PROFILES)}")
    if version != OCSF_VERSION:
        wrong += [f"{name}: deprecated in {version}" for name in _deprecated(event)]
    return wrong


def _deprecated(event: dict[str, Any]) -> list[str]:
    """What of ours 1.9.0 has another place for."""
    actor = [f"actor.{name}" for name in ("app_name", "app_uid") if name in member(event, "actor")]
    return [*actor, *(name for name in ("comment",) if name in event)]
