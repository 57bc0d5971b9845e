"""Who may do what on the bus: the least rights of each role, as ACLs of Apache Kafka.

The list follows from the settings alone (prefix, group, input topics), so that it can be printed before a
cluster exists, compared with one, and tested against one: ``tests/kafka/test_security.py`` grants exactly
this list and holds it against the broker's own audit log.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Literal, NamedTuple

from models.errors import ConfigError
from stream.events import (
    ALERTS,
    CASES,
    CHALLENGES,
    DECISIONS,
    ENDS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    RELEASES,
    REVOCATIONS,
    RISK,
    STREAMS,
)
from stream.settings import Settings
from stream.shell.checkpoints import CHALLENGER_STATE_TOPIC, state_topic
from stream.shell.topic_table import topic_table

Resource = Literal["topic", "group"]
Operation = Literal["read", "write", "create", "describe", "describe_configs"]

ROLES: Mapping[str, str] = {
    "worker": "judges and acts; the only one that writes outputs and state",
    "soc": "the SOC's reader: alerts, and the decisions behind them",
    "broker": "a credential broker's reader: revocations",
    "bridge": "`driftline bridge`: carries revocations out, and tells what became of them",
    "transmit": "`driftline transmit`: hands revocations and risk changes to receivers that are not on Kafka",
    "risk": "a receiver of risk levels, an identity provider for one: risk changes",
    "oncall": "who mends what was quarantined, which is whole input records",
    "advise": "asks a model for second opinions, where DRIFTLINE_OPINION_JWKS trusts any; writes as a producer does",
    "console": "`driftline console --feedback-key`, where it is named: reads as the SOC does, and writes what analysts say of cases",
    "release": "`driftline release`, where DRIFTLINE_ACTIVATION_JWKS trusts any: registers releases and activates them, as a producer writes",
    "challenger": "`driftline challengers`, where it is named: says what another release would have decided, and compares; writes nothing that acts",
    "operator": "runs `driftline topics create` and `check`",
}
"""Roles apart from the producers: those have one for each input topic, called as the topic's base name."""


class Acl(NamedTuple):
    """One right: `principal` may do `operation` on the resource with exactly this name, from any host."""

    role: str
    principal: str
    resource: Resource
    name: str
    operation: Operation
    why: str


def acls(settings: Settings, principals: Mapping[str, str] | None = None) -> list[Acl]:
    """The least rights that each role needs, role by role.

    Parameters
    ----------
    settings : Settings
        Prefix, group and input topics, and whether second opinions are trusted: only then somebody may send them.
    principals : mapping of str to str
        Kafka principal (``User:name``) of a role of `ROLES`, of one producer by the base name of its topic,
        or of every event topic's producer (``producer``). Who is not named is ``User:driftline-<role>``, but a
        console that writes and a challenger have rights only where they are named; the producer of a topic bound to a tenant ``User:driftline-producer-<tenant>``.

    Raises
    ------
    ConfigError
        A name that is no role, a principal without its type, or one producer for the topics of two tenants.

    Notes
    -----
    Read and Write let a client describe the same topic or group; Kafka implies it. No role needs a right on
    the cluster, on a transactional id (the worker uses none), on anything by prefix or wildcard, or Delete,
    Alter and AlterConfigs. An idempotent producer needs Write on its topic and nothing else (Kafka 3.0 on).
    Reading the ACLs back (`stream.shell.acl_check`) takes Describe on the cluster, which whoever granted them has.
    """
    given = principals or {}
    return [*_rights(settings, _principals(settings, given), given)]


def _principals(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    topics = _producer_topics(settings)
    known = {*ROLES, *topics, "producer"}
    for role, principal in given.items():
        if role not in known:
            raise ConfigError(f"{role!r} is no role; known are {', '.join(sorted(known))}")
        kind, _, name = principal.partition(":")
        if not kind or not name.strip() or name == "*" or principal != principal.strip():
            raise ConfigError(f"{principal!r} is no Kafka principal; expected User:name (one, no wildcard)")
    principals = {role: given.get(role, f"User:driftline-{role}") for role in ROLES}
    tenants: dict[str, str] = {}
    for base, tenant in topics.items():
        shared = given.get("producer") if base in settings.input_topics else None
        made = f"User:driftline-producer-{tenant}" if tenant else f"User:driftline-{_kind(base)}"
        principals[base] = given.get(base) or shared or made
        if tenant and tenants.setdefault(principals[base], tenant) != tenant:
            raise ConfigError(
                f"{principals[base]} would produce for the tenants {tenants[principals[base]]} and {tenant}: give each "
                f"topic its own, --principal {base}=User:name"
            )
    return principals


def _producer_topics(settings: Settings) -> dict[str, str | None]:
    """Base name of every topic that others write, and the tenant bound to it."""
    return {
        topic.base: settings.input_topics.get(topic.base)
        for topic in topic_table(settings)
        if topic.use == "input"
    }


def _kind(base: str) -> str:
    """``outcomes`` of ``agent.outcomes.v1``; ``producer`` of every event topic without a tenant."""
    name = base.split(".")[1] if base.count(".") == 2 else ""
    return name if name in ("outcomes", "feedback") else "producer"


def _rights(settings: Settings, principals: Mapping[str, str], named: Collection[str]) -> Iterator[Acl]:
    def topic(role: str, base: str, operation: Operation, why: str) -> Acl:
        return Acl(role, principals[role], "topic", settings.topic(base), operation, why)

    def group(role: str, name: str, why: str) -> Acl:
        return Acl(role, principals[role], "group", f"{settings.prefix}{settings.group}-{name}", "read", why)

    for base in settings.input_topics:
        yield topic("worker", base, "read", "judge: the events")
        yield topic("worker", base, "write", "judge: clock ticks when a deadline is overdue")
        yield topic("worker", state_topic(base), "read", "judge: recovery")
        yield topic("worker", state_topic(base), "write", "judge: checkpoints")
    yield topic("worker", DECISIONS, "write", "judge: one for each call")
    yield topic("worker", CASES, "write", "judge: changes of state, for act")
    yield topic("worker", QUARANTINE, "write", "both stages: what could not be read")
    yield topic("worker", CASES, "read", "act: what to do about")
    yield topic("worker", FEEDBACK, "read", "act: verdicts of analysts, rulings on what is held")
    yield topic("worker", OUTCOMES, "read", "act: what became of revocations")
    yield topic("worker", HELD, "read", "act: what is held")
    yield topic("worker", HELD, "write", "act: what the circuit breaker holds")
    yield topic("worker", ALERTS, "write", "act: for the SOC")
    yield topic("worker", ALERTS, "read", "act: which campaigns are known")
    yield topic("worker", REVOCATIONS, "write", "act: for credential brokers")
    yield topic("worker", RISK, "write", "act: for receivers of risk levels")
    yield topic("worker", ENDS, "write", "act: for credential brokers")
    yield group("worker", "judge", "judge: its consumer group")
    yield group("worker", "act", "act: its consumer group")
    yield topic("soc", ALERTS, "read", "the alerts")
    yield topic("soc", HELD, "read", "revocations that are held")
    yield topic("soc", DECISIONS, "read", "what each alert rests on")
    yield group("soc", "soc", "to go on where the reader stopped")
    yield topic("broker", REVOCATIONS, "read", "which credentials to kill")
    yield topic("broker", ENDS, "read", "which credentials outlive a session that held them")
    yield group("broker", "broker", "to go on where the reader stopped")
    yield topic("bridge", REVOCATIONS, "read", "which credentials to kill")
    yield topic("bridge", OUTCOMES, "read", "what was done already")
    yield topic("bridge", OUTCOMES, "write", "what became of each credential")
    yield group("bridge", "bridge", "to go on where it stopped")
    yield topic("transmit", REVOCATIONS, "read", "what receivers get")
    yield topic("transmit", RISK, "read", "what receivers get")
    yield topic("transmit", STREAMS, "read", "what each receiver has already")
    yield topic("transmit", STREAMS, "write", "what each receiver took, and how it wants to be reached")
    yield group("transmit", "transmit", "so that one of several serves at a time")
    yield topic("risk", RISK, "read", "whose risk changed")
    yield group("risk", "risk", "to go on where the reader stopped")
    yield topic("oncall", QUARANTINE, "read", "what was refused, and why; sent again by its topic's producer")
    if settings.opinion_jwks is not None:
        for base in settings.input_topics:
            yield topic("advise", base, "read", "the words of sessions")
            yield topic("advise", base, "write", "second opinions")
        yield topic("advise", DECISIONS, "read", "what to ask about")
        yield group("advise", "advise", "to go on where it stopped")
    if settings.activation_jwks is not None:
        yield topic("worker", RELEASES, "read", "judge: where a release is that was activated")
        yield topic("release", RELEASES, "read", "what is registered, what aliases mean")
        yield topic("release", RELEASES, "write", "releases and aliases, signed")
        for base in settings.input_topics:
            yield topic("release", base, "write", "activations, signed")
        yield group("release", "judge", "to see that an activation was taken; it never joins")
    if "challenger" in named:
        for base in settings.input_topics:
            state = state_topic(base, CHALLENGER_STATE_TOPIC)
            yield topic("challenger", base, "read", "the events")
            yield topic("challenger", state, "read", "recovery")
            yield topic("challenger", state, "write", "checkpoints")
        yield topic("challenger", RELEASES, "read", "where its release is")
        yield topic("challenger", CHALLENGES, "read", "to compare")
        yield topic("challenger", CHALLENGES, "write", "one for each call")
        yield topic("challenger", DECISIONS, "read", "to compare: the champion's")
        yield topic("challenger", FEEDBACK, "read", "to compare: what analysts said")
        yield group(
            "challenger", "challenger-challenger-judge", "its consumer group; another name has another"
        )
    if "console" in named:
        yield topic("console", ALERTS, "read", "the cases")
        yield topic("console", HELD, "read", "revocations that are held")
        yield topic("console", DECISIONS, "read", "what each alert rests on")
        yield topic("console", FEEDBACK, "write", "what analysts say of cases, signed")
    for base in _producer_topics(settings):
        yield topic(base, base, "write", "produces to this topic and no other")
    for entry in topic_table(settings):
        for operation, why in _OPERATOR:
            yield topic("operator", entry.base, operation, why)


_OPERATOR: tuple[tuple[Operation, str], ...] = (
    ("create", "to make it with its settings"),
    ("describe", "to see that it exists, with its partitions"),
    ("describe_configs", "to compare its settings"),
)


def table(rights: Iterable[Acl]) -> list[str]:
    """`rights` as lines of text, role by role; names are never cut, since people copy them."""
    lines: list[str] = []
    for (role, principal), some in groupby(rights, key=lambda right: (right.role, right.principal)):
        lines += [f"{role} ({principal}): {ROLES.get(role, 'produces')}"]
        for (resource, name), same in _by_resource(some):
            operations = ", ".join(right.operation for right in same)
            why = "; ".join(right.why for right in same)
            lines.append(f"  {resource} {name:32} {operations:34} {why}")
    return lines


def kafka_commands(settings: Settings, rights: Iterable[Acl]) -> list[str]:
    """``kafka-acls.sh`` command lines that grant `rights`, one for each principal and resource."""
    lines = []
    for principal, some in groupby(sorted(rights, key=identity), key=lambda right: right.principal):
        for (resource, name), same in _by_resource(some):
            operations = " ".join(
                f"--operation {operation.title().replace('_', '')}"
                for operation in dict.fromkeys(right.operation for right in same)
            )
            lines.append(
                f"kafka-acls.sh --bootstrap-server {shlex.quote(settings.bootstrap)} "
                f"--command-config admin.properties --add --allow-principal {shlex.quote(principal)} "
                f"{operations} --{resource} {shlex.quote(name)}"
            )
    return lines


def _by_resource(rights: Iterable[Acl]) -> list[tuple[tuple[str, str], list[Acl]]]:
    grouped: dict[tuple[str, str], list[Acl]] = {}
    for right in rights:
        grouped.setdefault((right.resource, right.name), []).append(right)
    return list(grouped.items())


def identity(acl: Acl) -> tuple[str, str, str, str]:
    """What tells one right on a cluster from another, whatever roles want it."""
    return acl.principal, acl.resource, acl.name, acl.operation


def rows(rights: Iterable[Acl]) -> list[dict[str, str]]:
    """`rights` for machines, complete: with host, pattern and permission, which are the same for all."""
    return [{**right._asdict(), "pattern": "literal", "host": "*", "permission": "allow"} for right in rights]
