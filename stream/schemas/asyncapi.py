"""The AsyncAPI 3 document: every topic with key, retention and messages."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from stream.schemas.catalogue import CONTRACTS, JSON, TOKEN, Contract
from stream.schemas.definitions import definitions
from stream.settings import Settings
from stream.shell.topic_table import DAY_MS, Topic, topic_table


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


def _channel(contract: Contract, topic: Topic, settings: Settings) -> dict[str, Any]:
    """A topic with its messages, and how the broker keeps them."""
    models: tuple[type[BaseModel] | None, ...] = contract.models or (None,)
    configuration = topic.configuration(settings)
    shown: dict[str, Any] = {
        "cleanup.policy": [configuration["cleanup.policy"]],
        "max.message.bytes": int(configuration["max.message.bytes"]),
    }
    kept = "the last record of each key for good"
    if "retention.ms" in configuration:
        shown["retention.ms"] = int(configuration["retention.ms"])
        kept = f"{shown['retention.ms'] // DAY_MS} days"
    return {
        "address": contract.topic,
        "title": contract.title,
        "description": f"Key: {topic.key}. Kept: {kept}.",
        "messages": {
            model.__name__ if model is not None else "value": _message(contract, model, topic.key)
            for model in models
        },
        "bindings": {
            "kafka": {
                "topic": contract.topic,
                "partitions": topic.partitions,
                "topicConfiguration": shown,
                "bindingVersion": "0.5.0",
            }
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.1 document: every topic with key, retention and messages, in the default settings."""
    settings = Settings()
    table = {topic.base: topic for topic in topic_table(settings)}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    models: list[type[BaseModel]] = []
    for contract in CONTRACTS:
        name = contract.topic.replace(".", "_")
        channels[name] = _channel(contract, table[contract.topic], settings)
        references = [{"$ref": f"#/channels/{name}/messages/{key}"} for key in channels[name]["messages"]]
        for action in contract.actions:
            operations[f"{action}_{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": references,
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
        "components": {"schemas": definitions(models, "#/components/schemas/{model}")},
    }
