"""A cluster's ACLs compared with the least rights, and those rights as its admin client takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError

from models.errors import BrokerError
from stream.settings import Settings
from stream.shell.acls import Acl, identity
from stream.shell.topics import admin_client


def granted(rights: Iterable[Acl]) -> list[Any]:
    """`rights` as kafka-python's ACL objects, for an admin client's ``create_acls``; each once."""
    distinct = {identity(right): right for right in rights}
    return [
        ACL(
            right.principal,
            "*",
            ACLOperation[right.operation.upper()],
            ACLPermissionType.ALLOW,
            ResourcePattern(ResourceType[right.resource.upper()], right.name),
        )
        for right in distinct.values()
    ]


def compare(settings: Settings, rights: Sequence[Acl]) -> list[str]:
    """What differs between the cluster's ACLs on our topics and groups and `rights`, one sentence each.

    Raises
    ------
    BrokerError
        No broker answers, or the principal may not describe the cluster, which reading ACLs takes.

    Notes
    -----
    Rights by prefix or wildcard that reach our resources are told as too much. A super user has no ACL and is
    not seen.
    """
    wanted = {identity(right) for right in rights}
    present: set[tuple[str, str, str, str]] = set()
    excess: list[str] = []
    for acl in _held(settings, rights):
        resource, name = acl.resource_pattern.resource_type.name.lower(), acl.resource_pattern.resource_name
        place = acl.principal, resource, name, acl.operation.name.lower()
        if _exact(acl) and place in wanted:
            present.add(place)
        else:
            excess.append(
                f"too much: {acl.permission_type.name.lower()} {acl.principal} "
                f"{acl.operation.name.lower()} {acl.resource_pattern.pattern_type.name.lower()} "
                f"{resource} {name} from {acl.host}"
            )
    missing = [
        f"missing: {principal} {operation} {resource} {name}"
        for principal, resource, name, operation in sorted(wanted - present)
    ]
    return missing + list(dict.fromkeys(excess))


def _held(settings: Settings, rights: Iterable[Acl]) -> list[Any]:
    """The cluster's ACLs that reach the resources of `rights`, as its admin client gives them."""
    admin = admin_client(settings)
    held: list[Any] = []
    try:
        for resource, name in sorted({(right.resource, right.name) for right in rights}):
            pattern = ResourcePatternFilter(
                ResourceType[resource.upper()], name, ACLResourcePatternType.MATCH
            )
            acls, _ = admin.describe_acls(
                ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
            )
            held += acls
    except KafkaError as error:
        raise BrokerError(
            f"the ACLs at {settings.bootstrap} cannot be read ({type(error).__name__}): it takes Describe on "
            "the cluster, and a cluster with an authorizer"
        ) from error
    finally:
        admin.close()
    return held


def _exact(acl: Any) -> bool:
    """Whether an ACL allows one operation on one resource by its name, from any host: the only form we ask for."""
    return bool(
        acl.resource_pattern.pattern_type == ACLResourcePatternType.LITERAL
        and acl.host == "*"
        and acl.permission_type == ACLPermissionType.ALLOW
    )
