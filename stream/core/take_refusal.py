"""take, refused records: who waits on one, and which session it would have declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import AwareDatetime, TypeAdapter

from models.contracts import EVENT_TYPES, SessionDeclared
from models.errors import SchemaError
from models.session import Session
from stream.core.arrival import EARLIEST_MS, LATEST_MS, Arrival, check_place
from stream.core.births import Births
from stream.core.deployment import Deployment
from stream.core.draft import Draft
from stream.core.items import Item, Named, Refused
from stream.core.partition import state_key
from stream.events import Record, milliseconds

_ELSEWHERE = frozenset({"decode", "key", "partition", "control"})
"""Reasons of records that tell nothing, or do not lie where their session is judged: an answer from here would come in
no order among that session's decisions."""
_MOMENT: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)


class RefusalTaker:
    """Takes refused records that name a session.

    Parameters
    ----------
    deployment : Deployment
        Which tenant a topic is bound to.
    draft, births
        Where sessions stand, and how they begin.
    items : list of Item
        Where what is to be answered is put.
    """

    def __init__(self, deployment: Deployment, draft: Draft, births: Births, items: list[Item]) -> None:
        self._deployment = deployment
        self._draft = draft
        self._births = births
        self._items = items

    def take(self, record: Record, reason: str, detail: str) -> None:
        """Leave an answer for whoever waits on a refused call; note a refused declaration in its session."""
        draft = self._draft
        named = _read(record.value) if reason not in _ELSEWHERE else None
        if named is None or not _in_place(record, named.root, draft.base.n_partitions):
            return
        tenant = self._deployment.tenants.get(record.topic) or named.tenant or "default"
        key = state_key(tenant, named.root, named.session)
        if named.declares:
            self._note(record, named, tenant, key)
        elif named.call:
            state = draft.state(key)
            release = draft.release(state)
            agent, dossier = (state.agent, state.dossier) if state is not None else (None, None)
            self._items.append(Refused(record, named, tenant, reason, detail, agent, dossier, release))

    def _note(self, record: Record, named: Named, tenant: str, key: str) -> None:
        """Note that a declaration was refused in the session that it was for, which begins with it."""
        state = self._draft.state(key)
        if state is None:
            stamped = record.timestamp_type == "append"
            time_ms = record.timestamp_ms if stamped else named.time_ms
            if time_ms is None:
                return  # a session's clock cannot begin without a time
            event = SessionDeclared(
                type="session.declared",
                id=named.id or "refused",
                session_id=named.session,
                time=_MOMENT.validate_python(0),
            )
            arrival = Arrival(
                record, event, {}, b"", tenant, named.root, named.session, key, time_ms, stamped
            )
            state = self._births.begin(arrival, self._draft.ledger.clock_ms if stamped else time_ms)
        if isinstance(state, Session) and not state.declared:
            state.refused = True
            self._draft.changed[key] = None


def _read(value: bytes | None) -> Named | None:
    """What a refused record tells; None where it does not say whose it is."""
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    session, root = _identifier(document, "session_id"), _identifier(document, "root_session_id")
    tenant = _identifier(document, "tenant")
    if not session or root is None or tenant is None:
        return None
    kind = document.get("type")
    call, tool = _identifier(document, "call_id") or "", _identifier(document, "tool") or ""
    # Of a type that nobody knows it is a call if it looks like one.
    is_call = kind == "tool.called" or (tool != "" and not (isinstance(kind, str) and kind in EVENT_TYPES))
    seq = document.get("seq")
    return Named(
        _identifier(document, "id") or "",
        session,
        root or session,
        tenant or None,
        seq if type(seq) is int and 0 <= seq <= 2**53 else None,
        call if is_call else "",
        tool,
        _time_of(document.get("time")),
        kind == "session.declared",
    )


def _identifier(document: Mapping[str, Any], name: str) -> str | None:
    """An id of the document: empty where it has none, None where what it has is no id."""
    value = document.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) and 1 <= len(value) <= 256 else None


def _time_of(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        time_ms = milliseconds(_MOMENT.validate_python(value))
    except (ValueError, OverflowError):
        return None
    return time_ms if EARLIEST_MS <= time_ms < LATEST_MS else None


def _in_place(record: Record, root: str, n_partitions: int | None) -> bool:
    try:
        check_place(record, root.encode(), n_partitions)
    except SchemaError:
        return False
    return True
