"""What to take away from agents, in the words of where they got it: OAuth clients, Keycloak's roles, AWS policies.

Only what went unused for long enough goes (`stream.offline.privileges.Holding.may_go`). Whoever shares a client, a role or a policy
keeps what any of those who share it may need.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ConfigError, InputError
from stream.offline.privileges import NAMELESS, Agent, Enough, Holding, Report

Provider = Literal["oauth", "keycloak", "aws"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Role(_Part):
    """A role at Keycloak: of a client, or of the realm where none is named."""

    role: Annotated[str, Field(min_length=1)]
    client: Annotated[str, Field(min_length=1)] | None = None


class Broker(_Part):
    """What a broker's names are at its provider.

    Attributes
    ----------
    clients : dict of str to str
        By agent (``tenant/agent`` goes before ``agent``): its OAuth client, or its role at AWS.
    realm : str
        Keycloak's.
    roles : dict of str to Role
        By scope, the role that grants it at Keycloak.
    """

    provider: Provider
    clients: dict[str, str] = Field(default_factory=dict)
    realm: Annotated[str, Field(min_length=1)] = "master"
    roles: dict[str, Role] = Field(default_factory=dict)

    def client(self, agent: Agent) -> str | None:
        """The client of an agent; None where nothing names it."""
        return self.clients.get(f"{agent.tenant}/{agent.name}", self.clients.get(agent.name or ""))


class Names(_Part):
    """The file of ``--names``: what providers call what declarations name."""

    version: Literal[1]
    brokers: dict[str, Broker]


def load_names(path: Path) -> Names:
    """The names in a YAML file.

    Raises
    ------
    ConfigError
        It cannot be read, or something in it is wrong; with the place and the mend.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--names {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"--names {path} is no YAML{at}; check the indentation") from error
    try:
        return Names.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise ConfigError(
            f"--names {path}: {place}: {first['msg']} (docs/privileges.md shows one)"
        ) from error


@dataclass
class Client:
    """Who shares a name at a provider, and what they hold there.

    Attributes
    ----------
    name : str or None
        At the provider; None: nothing names it, and it stands for one agent.
    agents : dict of str to str
        Their names, by tenant and name.
    keep, undecided, drop : sets of str
        Scopes that some of them may need, of these such as no call is known to have needed, and those that none needed.
    on : dict of str to sets of str
        The ARNs that stood beside a scope that is kept, one set for each way in which they did.
    open : bool
        They used, or were given, credentials whose scope nobody declared: they may hold more than is known.
    """

    broker: str
    name: str | None
    agents: dict[str, str] = field(default_factory=dict)
    keep: set[str] = field(default_factory=set)
    undecided: set[str] = field(default_factory=set)
    drop: set[str] = field(default_factory=set)
    on: dict[str, set[frozenset[str]]] = field(default_factory=dict)
    open: bool = False

    def take(self, scope: str, holding: Holding, enough: Enough) -> None:
        """Add what one of those who share it makes of a scope."""
        self.on.setdefault(scope, set()).update(holding.on)
        if holding.may_go(enough):
            self.drop.add(scope)
            return
        self.keep.add(scope)
        if holding.state == "unknown":
            self.undecided.add(scope)

    def settle(self, sharing: set[str]) -> None:
        """Keep what any may need; of agents that share it and are not in the log nothing is known."""
        seen = self.agents.keys() | set(self.agents.values())
        if sharing - seen:
            self.keep |= self.drop
            self.undecided |= self.drop
        self.drop -= self.keep


def clients(report: Report, provider: Provider, names: Names | None, only: str | None = None) -> list[Client]:
    """Who holds what at the brokers of a provider; without names every broker is one.

    With `only` those that this agent, which may share one with others, is among.

    Raises
    ------
    InputError
        No broker of the report is one of that provider.
    """
    found: dict[tuple[str, str | None, str], Client] = {}
    for _, agent in sorted(report.agents.items()):
        for broker in sorted({broker for broker, _ in agent.kinds}):
            told = names.brokers.get(broker) if names is not None else None
            if names is not None and (told is None or told.provider != provider):
                continue
            name = told.client(agent) if told is not None else None
            label = f"{agent.tenant}/{agent.name or NAMELESS}"
            client = found.setdefault((broker, name, "" if name else label), Client(broker, name))
            client.agents[label] = agent.name or NAMELESS
            client.open |= any(held.unscoped for (of, _), held in agent.kinds.items() if of == broker)
            client.open |= any(ref[0] == broker for ref in agent.undeclared)
            for (of, _, scope), holding in agent.scopes.items():
                if of == broker:
                    client.take(scope, holding, report.enough)
    if not found:
        where = "in the log" if names is None else f"that --names calls {provider}"
        raise InputError(f"no agent declared a credential of a broker {where}")
    for client in found.values():
        told = names.brokers[client.broker] if names is not None else None
        mapped = told.clients.items() if told is not None and client.name is not None else ()
        client.settle({agent for agent, name in mapped if name == client.name})
    return [client for client in found.values() if only is None or only in client.agents.values()]


def oauth(found: Iterable[Client]) -> dict[str, Any]:
    """What goes from each client, and what its registration should have as its ``scope`` (RFC 7591, 2; set by RFC 7592, 2.2).

    Where not all that it holds was declared no ``scope`` is given: it would take away what nobody knows of.
    """
    return {
        "clients": [
            {
                "broker": client.broker,
                "client_id": client.name,
                "agents": list(client.agents),
                "scope": None if client.open else " ".join(sorted(client.keep)),
                "drop": sorted(client.drop),
                "undecided": sorted(client.undecided),
            }
            for client in found
        ]
    }


def keycloak(found: Iterable[Client], names: Names) -> Iterator[str]:
    """Lines of a shell script: ``kcadm.sh`` takes roles from service accounts; a comment says what cannot be known."""
    yield "#!/bin/sh"
    yield "# Roles of service accounts that went unused. Log in first: kcadm.sh config credentials --server URL --realm master --user NAME"
    yield "set -e"
    for client in found:
        told = names.brokers[client.broker]
        if client.name is None:
            yield _comment(
                f"unknown: no client is named for {', '.join(client.agents)} at {client.broker}; {_words(client.drop)} may go"
            )
            continue
        kept = {told.roles[scope] for scope in client.keep if scope in told.roles}
        for scope in sorted(client.drop):
            role = told.roles.get(scope)
            if role is None:
                yield _comment(
                    f"unknown: no role is named for scope {scope} of {client.broker}, which {client.name} may lose"
                )
            elif role in kept:
                yield _comment(
                    f"kept: role {role.role} of {client.name} grants {scope}, and a scope that may be needed"
                )
            else:
                kept.add(role)  # once is enough
                of_client = ["--cclientid", role.client] if role.client is not None else []
                account = f"service-account-{client.name.lower()}"
                words = ["-r", told.realm, "--uusername", account, *of_client, "--rolename", role.role]
                yield f"kcadm.sh remove-roles {shlex.join(words)}"


_IAM_ACTION = re.compile(r"[a-z0-9-]{1,64}:[A-Za-z0-9*?]{1,128}")


def aws(found: Iterable[Client]) -> tuple[dict[str, Any], list[str]]:
    """A policy for each role, to be set as its permissions boundary or as a session policy; and for which there is none, and why.

    Both kinds of policy only ever narrow, so that a resource that no scope told is left open (``*``). They take away whatever they
    do not name: where what a role holds is not known in IAM's words there is no policy.
    """
    policies: dict[str, Any] = {}
    unknown: list[str] = []
    for client in found:
        name = client.name or next(iter(client.agents))
        strange = sorted(scope for scope in client.keep if _IAM_ACTION.fullmatch(scope) is None)
        if client.open or strange:
            why = f"{', '.join(strange)} is no IAM action" if strange else "not all scopes were declared"
            unknown.append(f"{name}: {why}")
            continue
        by_place: dict[tuple[str, ...], set[str]] = {}
        for scope in client.keep:
            for arns in client.on[scope]:
                by_place.setdefault(tuple(sorted(arns)) or ("*",), set()).add(scope)
        statements: list[Mapping[str, Any]] = [
            {"Effect": "Allow", "Action": sorted(actions), "Resource": list(place)}
            for place, actions in sorted(by_place.items())
        ]
        nothing = {"Effect": "Deny", "Action": "*", "Resource": "*"}
        policies[name] = {"Version": "2012-10-17", "Statement": statements or [nothing]}
    return policies, unknown


def _comment(text: str) -> str:
    """A comment of one line, whatever the names in it hold."""
    return "# " + "".join(letter if letter.isprintable() else "?" for letter in text)


def _words(scopes: set[str]) -> str:
    return f"scopes {', '.join(sorted(scopes))}" if scopes else "nothing"
