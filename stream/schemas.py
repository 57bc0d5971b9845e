"""The published contracts: JSON Schemas, one file each, and an AsyncAPI 3 document, from `models.contracts`.

``python -m stream.schemas`` writes them under ``docs/``; with ``--check`` it writes nothing and exits 1 when
what is checked in is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from models.contracts import (
    Case,
    ClockTick,
    Decision,
    Feedback,
    IntentAmended,
    Outcome,
    QuarantineHeaders,
    ReleaseActivated,
    ReleaseRecord,
    RevocationClaims,
    RiskClaims,
    SessionDeclared,
    SessionEnded,
    ToolCalled,
    ToolReturned,
)
from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    EVENTS,
    FEEDBACK,
    OUTCOMES,
    QUARANTINE,
    RELEASES,
    REVOCATIONS,
    RISK,
)
from stream.outbound.findings import OCSF_VERSION, PROFILES
from stream.settings import Settings
from stream.shell.topic_table import topic_table

DOCS = Path(__file__).resolve().parent.parent / "docs"
JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
JSON, TOKEN, BYTES = "application/json", "application/secevent+jwt", "application/octet-stream"

Action = Literal["receive", "send"]


class Contract(NamedTuple):
    """What one topic carries: `models` one message each, or a `payload` that no model of ours describes."""

    topic: str
    title: str
    actions: tuple[Action, ...]
    models: tuple[type[BaseModel], ...]
    content_type: str = JSON
    payload: Mapping[str, Any] | None = None
    headers: type[BaseModel] | None = None


# The class has hundreds of optional attributes; what is stated here is what every one of our alerts holds.
_FINDING: dict[str, Any] = {
    "type": "object",
    "title": "Detection Finding",
    "description": (
        f"OCSF {OCSF_VERSION} Detection Finding with the profiles {' and '.join(PROFILES)}; "
        "the whole class: "
        f"https://schema.ocsf.io/{OCSF_VERSION}/classes/detection_finding?profiles={','.join(PROFILES)}"
    ),
    "required": [
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
        "unmapped",
    ],
    "properties": {
        "class_uid": {"const": 2004},
        "category_uid": {"const": 2},
        "activity_id": {"enum": [1, 2, 3], "description": "1 Create, 2 Update, 3 Close"},
        "type_uid": {"enum": [200401, 200402, 200403]},
        "severity_id": {"enum": [4, 5], "description": "4 High: alert; 5 Critical: contained"},
        "time": {"type": "integer", "description": "milliseconds since 1970"},
        "finding_info": {
            "type": "object",
            "required": ["uid"],
            "properties": {"uid": {"type": "string", "description": "the case id, one for a session"}},
        },
        "metadata": {"type": "object", "required": ["product", "profiles", "version"]},
        "unmapped": {
            "type": "object",
            "required": ["dedup_key", "enforced", "exposure"],
            "properties": {
                "dedup_key": {"type": "string"},
                "enforced": {"type": "boolean", "description": "false: shadow mode, nothing was revoked"},
                "exposure": {"type": "object", "description": "how long the credentials may still work"},
            },
        },
    },
}
_COMPACT_JWS: dict[str, Any] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "description": "Compact JWS, RS256, typ secevent+jwt; its payload is the claims' schema.",
}
_ANY_BYTES: dict[str, Any] = {
    "description": "The input's own bytes, whatever they are; the headers say why they were put aside."
}

CONTRACTS: tuple[Contract, ...] = (
    Contract(
        EVENTS,
        "What agents do",
        ("receive",),
        (
            SessionDeclared,
            IntentAmended,
            ToolCalled,
            ToolReturned,
            SessionEnded,
            ReleaseActivated,
            ClockTick,
        ),
    ),
    Contract(OUTCOMES, "What became of a revocation", ("receive",), (Outcome,)),
    Contract(FEEDBACK, "An analyst's verdict on an alert", ("receive",), (Feedback,)),
    Contract(DECISIONS, "One decision for each call", ("send",), (Decision,)),
    Contract(CASES, "A session's changes of state, from judge to act", ("send", "receive"), (Case,)),
    Contract(ALERTS, "Findings for the SOC", ("send",), (), payload=_FINDING),
    Contract(REVOCATIONS, "Signed revocations", ("send",), (RevocationClaims,), TOKEN, payload=_COMPACT_JWS),
    Contract(RISK, "Signed changes of risk", ("send",), (RiskClaims,), TOKEN, payload=_COMPACT_JWS),
    Contract(
        QUARANTINE,
        "Input that could not be read",
        ("send",),
        (),
        BYTES,
        payload=_ANY_BYTES,
        headers=QuarantineHeaders,
    ),
    Contract(RELEASES, "Releases of model and policy", ("receive",), (ReleaseRecord,)),
)


def _mode(model: type[BaseModel]) -> Literal["validation", "serialization"]:
    """What we read is described as we accept it, what we write as we write it."""
    return "validation" if model.model_config.get("extra") == "ignore" else "serialization"


def _draft_07(node: Any) -> Any:
    """`node` without what AsyncAPI 3 cannot say: pydantic's `discriminator` object.

    Tuples would give ``prefixItems``, which is not Draft 07 either; the contracts have none, and a test
    keeps it so.
    """
    if isinstance(node, dict):
        return {
            name: _draft_07(child)
            for name, child in node.items()
            if not (name == "discriminator" and isinstance(child, dict) and "propertyName" in child)
        }
    if isinstance(node, list):
        return [_draft_07(child) for child in node]
    return node


def _definitions(models: Sequence[type[BaseModel]], template: str) -> dict[str, Any]:
    _, schema = models_json_schema([(model, _mode(model)) for model in models], ref_template=template)
    definitions: dict[str, Any] = _draft_07(schema).get("$defs", {})
    return definitions


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema (2020-12) of each topic's value, or of its token's claims or headers."""
    schemas: dict[str, dict[str, Any]] = {}
    for contract in CONTRACTS:
        models = contract.models if contract.headers is None else (contract.headers,)
        what = {TOKEN: " (claims)", BYTES: " (headers)"}.get(contract.content_type, "")
        schema: dict[str, Any] = {"$schema": JSON_SCHEMA, "title": f"{contract.topic}{what}"}
        if models:
            schema["description"] = contract.title
            refs = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
            schema |= refs[0] if len(refs) == 1 else {"oneOf": refs}
            schema["$defs"] = _definitions(models, "#/$defs/{model}")
        else:
            schema |= {name: value for name, value in (contract.payload or {}).items() if name != "title"}
        schemas[f"{contract.topic}.json"] = schema
    return schemas


def _message(contract: Contract, model: type[BaseModel] | None, key: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "title": model.__name__ if model is not None else contract.title,
        "contentType": contract.content_type,
        "payload": contract.payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }
    if contract.payload is None and model is not None:
        message["payload"] = {"$ref": f"#/components/schemas/{model.__name__}"}
    elif model is not None:
        message["x-claims"] = {"$ref": f"#/components/schemas/{model.__name__}"}
    if contract.headers is not None:
        message["headers"] = {"$ref": f"#/components/schemas/{contract.headers.__name__}"}
    if contract.content_type == TOKEN:
        message["headers"] = {
            "type": "object",
            "required": ["content-type", "core"],
            "properties": {"content-type": {"const": TOKEN}, "core": {"type": "string"}},
        }
    return message


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.1 document: every topic with key, retention and messages, in the default settings."""
    settings = Settings()
    table = {topic.base: topic for topic in topic_table(settings)}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    models: list[type[BaseModel]] = []
    for contract in CONTRACTS:
        topic = table[contract.topic]
        name = contract.topic.replace(".", "_")
        messages = {
            model.__name__ if model is not None else "value": _message(contract, model, topic.key)
            for model in contract.models or (None,)
        }
        configuration = topic.configuration(settings)
        told: dict[str, Any] = {
            "cleanup.policy": [configuration["cleanup.policy"]],
            "max.message.bytes": int(configuration["max.message.bytes"]),
        }
        kept = "the last record of each key for good"
        if "retention.ms" in configuration:
            told["retention.ms"] = int(configuration["retention.ms"])
            kept = f"{told['retention.ms'] // 86_400_000} days"
        channels[name] = {
            "address": contract.topic,
            "title": contract.title,
            "description": f"Key: {topic.key}. Kept: {kept}.",
            "messages": messages,
            "bindings": {
                "kafka": {
                    "topic": contract.topic,
                    "partitions": topic.partitions,
                    "topicConfiguration": told,
                    "bindingVersion": "0.5.0",
                }
            },
        }
        for action in contract.actions:
            operations[f"{action}_{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/{one}"} for one in messages],
            }
        models.extend(contract.models)
        models.extend([contract.headers] if contract.headers is not None else [])
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Driftline",
            "version": "1",
            "description": "Run-time judgement of agent sessions against their declared intent, over Kafka.",
        },
        "defaultContentType": JSON,
        "channels": channels,
        "operations": operations,
        "components": {"schemas": _definitions(models, "#/components/schemas/{model}")},
    }


def documents() -> dict[str, bytes]:
    """Path under ``docs/`` -> bytes of every generated file."""
    files = {
        f"schemas/{name}": orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
        for name, schema in json_schemas().items()
    }
    header = "# Generated by `python -m stream.schemas`; edit models/contracts.py instead.\n"
    # Through JSON first: YAML would write anchors for parts that occur twice.
    plain = orjson.loads(orjson.dumps(asyncapi()))
    files["asyncapi.yaml"] = (header + yaml.safe_dump(plain, sort_keys=False, width=110)).encode()
    return files


def stale(docs: Path) -> list[str]:
    """What under `docs` differs from what would be generated, is missing, or belongs to no contract."""
    wanted = documents()
    found = {
        f"schemas/{path.name}" for path in (docs / "schemas").glob("*.json") if path.is_file()
    } - wanted.keys()
    for name, content in wanted.items():
        path = docs / name
        if not path.is_file() or path.read_bytes() != content:
            found.add(name)
    return sorted(found)


def write(docs: Path) -> None:
    """Bring `docs` up to date, and remove schemas of contracts that are gone."""
    wanted = documents()
    for name in stale(docs):
        path = docs / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wanted[name])
        else:
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: up to date, or written; 1: stale."""
    parser = argparse.ArgumentParser(prog="python -m stream.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder (default: docs/)")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.docs)
        return 0
    names = stale(options.docs)
    for name in names:
        sys.stderr.write(f"stale: {name}; run `python -m stream.schemas`\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
