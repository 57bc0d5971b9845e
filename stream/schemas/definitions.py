"""Contracts as JSON Schema definitions, within what AsyncAPI 3 can say too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema


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


def definitions(models: Sequence[type[BaseModel]], template: str) -> dict[str, Any]:
    """The definition of each of `models` and what they refer to, by name; `template` is how references read."""
    _, schema = models_json_schema([(model, _mode(model)) for model in models], ref_template=template)
    by_name: dict[str, Any] = _draft_07(schema).get("$defs", {})
    return by_name
