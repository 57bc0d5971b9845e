"""JSON Schemas of the topics' values, one file each, and of a line of a label store."""

from __future__ import annotations

from typing import Any

from models.contracts import Label
from stream.schemas.catalogue import BYTES, CONTRACTS, TOKEN
from stream.schemas.definitions import definitions

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema (2020-12) of each topic's value, or of its token's claims or headers; and of a label."""
    label = definitions((Label,), "#/$defs/{model}")
    schemas: dict[str, dict[str, Any]] = {
        "label.json": {"$schema": JSON_SCHEMA, "title": "A label", "$ref": "#/$defs/Label", "$defs": label}
    }
    for contract in CONTRACTS:
        models = contract.models if contract.headers is None else (contract.headers,)
        what = {TOKEN: " (claims)", BYTES: " (headers)"}.get(contract.content_type, "")
        schema: dict[str, Any] = {"$schema": JSON_SCHEMA, "title": f"{contract.topic}{what}"}
        if models:
            schema["description"] = contract.title
            refs = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
            schema |= refs[0] if len(refs) == 1 else {"oneOf": refs}
            schema["$defs"] = definitions(models, "#/$defs/{model}")
        else:
            schema |= {name: value for name, value in (contract.payload or {}).items() if name != "title"}
        schemas[f"{contract.topic}.json"] = schema
    return schemas
