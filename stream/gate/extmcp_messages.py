"""The messages of agentgateway's ExtMCP, by the names and numbers that they have on the wire since parameters are JSON in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

VERSION = "v1.5.0"
"""agentgateway's release by whose form these are."""
PACKAGE = "agentgateway.dev.ext_mcp"
SERVICE = f"{PACKAGE}.ExtMcp"


class Code(IntEnum):
    """Why a message is refused."""

    UNKNOWN = 0
    PERMISSION_DENIED = 1
    RESOURCE_EXHAUSTED = 2
    INVALID = 3


_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {"text": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "number": _Field.TYPE_INT32}
_STRUCT = "google.protobuf.Struct"
_SHOWN = (("service_names", 1, "text*"), ("method", 2, "text"), ("metadata_context", 3, _STRUCT))
_MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "McpRequest": (*_SHOWN, ("mcp_request", 4, "bytes")),
    "McpResponse": (*_SHOWN, ("mcp_response", 4, "bytes")),
    "McpRequestResult": (
        ("pass", 1, f"{PACKAGE}.Pass"),
        ("error", 3, f"{PACKAGE}.AuthorizationError"),
        ("metadata", 5, _STRUCT),
    ),
    "McpResponseResult": (("pass", 1, f"{PACKAGE}.Pass"), ("error", 3, f"{PACKAGE}.AuthorizationError")),
    "Pass": (),
    "AuthorizationError": (("code", 1, "number"), ("reason", 2, "text"), ("mcp_error", 3, "bytes")),
}
"""What is read and answered. Headers (5 of a request) are not, nor are answers that change a message (2) or headers (4)."""
_LEFT = {"McpRequest": {5}, "McpResponse": set[int]()}
"""Fields that the release has and that are left unread."""


def _made() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="driftline/ext_mcp.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for called, number, kind in fields:
            plain = _TYPES.get(kind.removesuffix("*"))
            many = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            message.field.add(
                name=called,
                number=number,
                label=many,
                type=_Field.TYPE_MESSAGE if plain is None else plain,
                type_name=f".{kind}" if plain is None else None,
            )
    # A pool of our own: in one process somebody else may have the gateway's own file.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _made()


def read(kind: str, raw: bytes) -> Any:
    """A message, ``McpRequest`` or ``McpResponse``; `ValueError` where the bytes are none."""
    try:
        return _CLASSES[kind].FromString(raw)
    except DecodeError as error:
        raise ValueError(f"the bytes are no {kind}") from error


def passed(kind: str, metadata: Mapping[str, str] | None = None) -> Any:
    """The message may go on; `kind`: ``McpRequestResult`` or ``McpResponseResult``. `metadata`: what the gateway keeps with the request."""
    result = _CLASSES[kind]()
    getattr(result, "pass").SetInParent()
    for name, value in (metadata or {}).items():
        result.metadata.fields[name].string_value = value
    return result


def refused(kind: str, code: Code, reason: str, data: bytes = b"") -> Any:
    """The message may not go on; `data`: JSON for the error that the agent gets."""
    result = _CLASSES[kind]()
    result.error.code, result.error.reason, result.error.mcp_error = code, reason, data
    return result


def text(message: Any, name: str, most: int | None = None) -> str:
    """A text that the gateway's configuration maps into its metadata; empty where there is none.

    Raises
    ------
    ValueError
        It is no text, or has more than `most` characters.
    """
    value = message.metadata_context.fields.get(name)
    kind = None if value is None else value.WhichOneof("kind")
    if value is None or kind in (None, "null_value"):
        return ""
    if kind != "string_value":
        raise ValueError(f"metadata.{name} is no text; let its expression end in string(...)")
    found = str(value.string_value)
    if most is not None and len(found) > most:
        raise ValueError(f"metadata.{name} has more than {most:,} characters")
    return found


def strange(message: Any) -> list[int]:
    """Numbers of fields that the release lacks."""
    left = _LEFT[message.DESCRIPTOR.name]
    return sorted({each.field_number for each in UnknownFieldSet(message)} - left)
