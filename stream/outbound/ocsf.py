"""The OCSF schema that findings follow: version, profiles, captions, and what is wrong with a finding by it.

Class and profiles: https://schema.ocsf.io/1.8.0/classes/detection_finding?profiles=host,security_control
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from stream.events import PACKAGE

OCSF_VERSION = "1.8.0"
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


@cache
def _validator() -> Any:
    """The official schema's validator; built once, since building it costs a second and a check 0.5 ms."""
    ocsf = importlib.import_module("ocsf_json_schema")
    jsonschema = importlib.import_module("jsonschema")
    schema = ocsf.OcsfJsonSchemaEmbedded(ocsf.get_ocsf_schema(version=OCSF_VERSION)).get_class_schema(
        "detection_finding", profiles=list(PROFILES)
    )
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
    """What is wrong with a finding by the official schema, and by the five rules that it cannot express.

    Notes
    -----
    The five: `type_uid` against `activity_id`, captions against ids, milliseconds, URLs, and the profiles
    that the metadata must name. They are asked only where the schema finds nothing: they lean on its types.
    """
    wrong = [
        f"{'.'.join(str(step) for step in error.absolute_path) or 'event'}: {error.message[:300]}"
        for error in _validator().iter_errors(event)
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
    return wrong
