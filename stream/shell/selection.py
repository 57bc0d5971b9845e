"""Which of the records on the output topics a watcher asked for: by severity, tenant, agent and session."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.errors import ConfigError
from stream.events import ALERTS, DECISIONS, ENDS, OUTCOMES, REVOCATIONS, member
from stream.outbound.ocsf import agent_of
from stream.shell.outputs import Seen

SEVERITIES = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5, "fatal": 6}
"""OCSF's, by their captions."""
REMEMBERED = 10_000
"""Cases of which it is remembered whom they are about: outcomes name their case alone."""


class _About(NamedTuple):
    """Whom a record is about, as far as it says; `severity` as OCSF numbers it, 0 where it has none."""

    tenant: str | None = None
    session: str | None = None
    agent: str | None = None
    case: str | None = None
    severity: int = 0


@dataclass
class Selection:
    """What was asked for; None or 0: anything.

    A record that does not say what was asked after is left out: of severities only findings tell.
    """

    severity: int = 0
    tenant: str | None = None
    agent: str | None = None
    session: str | None = None
    _cases: OrderedDict[str, _About] = field(default_factory=OrderedDict)

    def takes(self, seen: Seen, document: dict[str, Any]) -> bool:
        """Whether a record is among what was asked for; ask in the order in which records come."""
        if not (self.severity or self.tenant or self.agent or self.session):
            return True
        about = self._known(_about(seen, document))
        return about.severity >= self.severity and all(
            wanted is None or wanted == told
            for wanted, told in (
                (self.tenant, about.tenant),
                (self.agent, about.agent),
                (self.session, about.session),
            )
        )

    def _known(self, about: _About) -> _About:
        """`about` with what other records of its case said."""
        if about.case is None:
            return about
        known = self._cases.pop(about.case, _About())
        told = _About(
            about.tenant or known.tenant,
            about.session or known.session,
            about.agent or known.agent,
            about.case,
            about.severity,
        )
        self._cases[about.case] = told
        if len(self._cases) > REMEMBERED:
            self._cases.popitem(last=False)
        return told


def severity_of(name: str) -> int:
    """The least severity that is asked for, as OCSF numbers it; `ConfigError` for a name that it does not have."""
    if name.lower() not in SEVERITIES:
        raise ConfigError(f"--severity is {name!r}; expected one of {', '.join(SEVERITIES)}")
    return SEVERITIES[name.lower()]


def _about(seen: Seen, document: dict[str, Any]) -> _About:
    if seen.topic == DECISIONS:
        return _About(
            _text(document, "tenant"),
            _text(document, "session_id"),
            _text(document, "agent"),
            _text(document, "case_id"),
        )
    if seen.topic == ALERTS:
        agent, severity = agent_of(document), document.get("severity_id")
        return _About(
            _text(member(document, "metadata"), "tenant_uid"),
            _text(member(member(document, "actor"), "session"), "uid"),
            agent if isinstance(agent, str) else None,
            _text(member(document, "finding_info"), "uid"),
            severity if isinstance(severity, int) else 0,
        )
    if seen.topic in (REVOCATIONS, ENDS):
        subject = member(document, "sub_id")
        tenant, session = _text(member(subject, "tenant"), "id"), _text(member(subject, "session"), "id")
        application = member(subject, "application")
        # A URI there is the workload's identity; the declared id stands in other records of the case.
        agent = _text(application, "id") if application.get("format") == "opaque" else None
        return _About(tenant, session, agent, _text(document, "txn"))
    key = (seen.key or b"").decode(errors="replace")
    if seen.topic == OUTCOMES:
        return _About(key, case=_text(document, "case_id"))
    return _About(session=key)  # quarantine: the input's key is the session


def _text(value: dict[str, Any], name: str) -> str | None:
    found = value.get(name)
    return found if isinstance(found, str) else None
