"""The Guardian of the Agent Control Standard 0.1.0: JSON-RPC over HTTP, handshakes, signatures, replays, chains, decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from driftline_client.client import READY_S

from stream.gate import acs_envelope as wire
from stream.gate.acs_envelope import AcsError, Request
from stream.gate.acs_hooks import DEFERRABLE, EVALUATED, HELLO, PING, UNDENIABLE, Session, Steps
from stream.gate.acs_integrity import ALGORITHM, canonical, entry_hash, is_signed, session_key, signed
from stream.gate.configuration import Acs, Limits
from stream.gate.reading import strict_json
from stream.gate.sessions import Full, Gate, Kept, Ruling

KEY_ID = "default"
"""The name of our key: both sides have one secret."""
MAX_SEEN = 20_000
"""Ids of a session that may come again within the window."""
MAX_SEEN_OF_ALL = 2_000_000
"""Of all sessions."""
MAX_DEFERRED = 32
"""Calls of a session that are put off; from then on they are denied."""
QUICK = 65_536
"""Bytes of a request that are read at once."""
DEFER_MS = 30_000
MARGIN_MS = 1_500 + round(READY_S * 1000)
"""How much longer than for a decision the agent shall wait: the first one may take as long as the gate's connections do."""
PROFILES = ("acs-core",)
"""What of the standard's profiles we keep."""
_NEEDED_OF_CLIENT = (
    "acs_versions_supported",
    "methods_implemented",
    "transports_supported",
    "provenance_producer",
)
_KNOWN_UNSERVED = ("agbom/", "protocols/", "trace/", "wrapped:", "steps/skill")
_log = logging.getLogger("driftline.gate.acs")


class Guardian:
    """Answers observed agents.

    Parameters
    ----------
    secrets : dict
        Each tenant's, from which its sessions' keys are derived.
    now_s : callable
        Seconds since 1970: what times in requests are held against.
    rising_s : callable
        A clock that only rises.
    """

    def __init__(
        self,
        gate: Gate,
        secrets: Mapping[str, bytes],
        settings: Acs,
        limits: Limits,
        now_s: Callable[[], float],
        rising_s: Callable[[], float],
    ) -> None:
        self._gate, self._secrets, self._settings, self._now_s = gate, secrets, settings, now_s
        self._began_s = now_s()
        self._sessions: Kept[Session] = Kept(limits.sessions, limits.idle_s, rising_s, self._idle)
        # Of what is over only what could come again: its requests, as long as their time would let them in.
        self._over: Kept[Session] = Kept(
            limits.sessions, 2 * settings.skew_ms / 1000, rising_s, self._forgotten
        )
        self._steps = Steps(gate, self._delegate)
        self._n_seen = 0

    @property
    def n_sessions(self) -> int:
        """How many are known."""
        return len(self._sessions)

    def sweep(self) -> None:
        """End what is idle."""
        self._sessions.sweep()
        self._over.sweep()

    def _known(self, tenant: str, session_id: str) -> Session | None:
        return self._sessions.get(tenant, session_id) or self._over.get(tenant, session_id)

    def _close(self, session: Session, reason: str) -> None:
        """A session is over; it makes room for another."""
        session.is_closed = True
        if session.task is not None:
            self._gate.ended(session.task, reason)
        try:
            self._over.add(session.tenant, session.id, session)
        except Full:
            return  # it stays where it is, until it is idle
        self._sessions.remove(session.tenant, session.id)

    def _forgotten(self, session: Session) -> None:
        self._n_seen -= len(session.seen)

    def _idle(self, session: Session) -> None:
        self._forgotten(session)
        if session.task is not None:
            self._gate.ended(session.task)

    async def answer(self, tenant: str, raw: bytes) -> dict[str, Any]:
        """The JSON-RPC response to a request of a tenant's."""
        # What takes long to read keeps nobody else waiting: it is anybody's until its signature is looked at.
        read = (
            self._read(tenant, raw) if len(raw) <= QUICK else await asyncio.to_thread(self._read, tenant, raw)
        )
        if isinstance(read, dict):
            return read
        request, key, is_known = read
        if request.method == PING:
            pong = {"jsonrpc": "2.0", "id": request.id, "result": self._pong(request)}
            return signed(pong, key, KEY_ID) if is_known else pong
        if not is_known:
            said = "the signature is missing or does not verify"
            return _error(request.id, AcsError(wire.SIGNATURE_INVALID, said, reason="signature_invalid"))
        try:
            result = await self._evaluated(tenant, request)
            return signed({"jsonrpc": "2.0", "id": request.id, "result": result}, key, KEY_ID)
        except AcsError as error:
            return signed(_error(request.id, error), key, KEY_ID)
        except Exception:
            # A fault of ours is no decision, and an error would leave the agent to its own posture.
            _log.exception("a step that nobody foresaw: %s of session %s", request.method, request.session_id)
            result = self._result(
                request, Ruling("deny", "internal", "the gate failed; its operator sees why")
            )
            return signed({"jsonrpc": "2.0", "id": request.id, "result": result}, key, KEY_ID)

    def _read(self, tenant: str, raw: bytes) -> tuple[Request, bytes, bool] | dict[str, Any]:
        """A request, its session's key, and whether that signed it; the response where it is none."""
        try:
            document = strict_json(raw)
        except ValueError as error:
            return _error(None, AcsError(wire.PARSE_ERROR, f"the body is no JSON that is taken: {error}"))
        try:
            request = wire.request_of(document)
            key = session_key(self._secrets[tenant], request.key_name)
            return request, key, is_signed(request.envelope, key)
        except AcsError as error:
            return _error(wire.id_of(document), error)
        except ValueError:
            said = "invalid request: it has a number or a text without a canonical form"
            return _error(wire.id_of(document), AcsError(wire.INVALID_REQUEST, said))

    # ------------------------------------------------------------------ one request

    async def _evaluated(self, tenant: str, request: Request) -> dict[str, Any]:
        if request.method == HELLO:
            return self._hello(tenant, request)
        if request.method not in EVALUATED:
            if request.method.startswith(_KNOWN_UNSERVED):
                raise AcsError(
                    wire.NOT_NEGOTIATED, "this Guardian does not evaluate the method", method=request.method
                )
            raise AcsError(wire.METHOD_NOT_FOUND, "the standard has no such method", method=request.method)
        session = self._session(tenant, request)
        self._remember(session, request)
        if refused := self._binding(session, request):
            return self._result(request, refused)
        if session.methods is not None and request.method not in session.methods:
            raise AcsError(
                wire.NOT_NEGOTIATED, "the handshake did not negotiate the method", method=request.method
            )
        step = EVALUATED[request.method]
        if request.method == "steps/sessionEnd":
            reason = request.payload.get("reason", "completed")
            if not isinstance(reason, str):
                raise AcsError(wire.INVALID_PARAMS, "payload.reason is a text")
            self._close(session, reason)
        elif request.method == "steps/subagentStop":
            self._stop(session, request)
        # Entered on its arrival, whatever is decided: concurrent steps have their places in the chain at once.
        head = session.head
        session.head = entry_hash(request.method, request.params, head)
        entered = session.head
        try:
            ruling = await step(self._steps, session, request)
        except AcsError:
            if session.head == entered:
                session.head = head
            raise
        except (TypeError, ValueError) as error:
            ruling = Ruling("deny", "not_taken", f"the contract does not take this: {error}")
        return self._result(request, ruling, session, entered)

    def _session(self, tenant: str, request: Request) -> Session:
        found = self._known(tenant, request.session_id)
        if found is not None and found.agent_id:
            return found
        # Begun here, by whoever spawned it or nowhere: a request from before our start may have been here.
        self._timely(request)
        if found is not None:
            found.agent_id, found.key_id = request.agent_id, request.key_id
            return found
        if self._settings.handshake == "optional":
            return self._opened(tenant, request, None)
        raise AcsError(
            wire.NOT_NEGOTIATED,
            "no handshake of this session is known here; send handshake/hello, or begin a new session",
            method=request.method,
            reason="session_unknown",
        )

    def _opened(self, tenant: str, request: Request, methods: frozenset[str] | None) -> Session:
        made = Session(tenant, request.session_id, request.agent_id, request.key_id, methods)
        try:
            return self._sessions.add(tenant, request.session_id, made)
        except Full as error:
            raise AcsError(
                wire.SESSION_REFUSED, f"no session is taken: {error}", reason="sessions_full"
            ) from error

    def _timely(self, request: Request) -> None:
        window_ms, off_s = self._settings.skew_ms, abs(request.at_s - self._now_s())
        if off_s * 1000 > window_ms:
            raise AcsError(
                wire.OUT_OF_WINDOW,
                "the request's time is too far from ours; see to the clocks",
                reason="timestamp_out_of_window",
                skew_window_ms=window_ms,
            )
        if request.at_s < self._began_s:
            # What came before our start is not remembered, so what was signed before it may have been here.
            raise AcsError(
                wire.REPLAY_DETECTED,
                "signed before this Guardian started, which remembers nothing from before; sign anew",
                reason="before_start",
            )

    def _remember(self, session: Session, request: Request) -> None:
        """Refuse what was here before, or is too old or too new to tell."""
        now_s = self._now_s()
        # The oldest come first; none of these is taken again by its time.
        while session.seen and next(iter(session.seen.values())) < now_s:
            del session.seen[next(iter(session.seen))]
            self._n_seen -= 1
        names = [request.request_id] + ([] if request.nonce is None else [f"nonce {request.nonce}"])
        if any(name in session.seen for name in names):
            raise AcsError(
                wire.REPLAY_DETECTED, "this request_id or nonce was here before", reason="replay_detected"
            )
        self._timely(request)
        if len(session.seen) >= MAX_SEEN or self._n_seen >= MAX_SEEN_OF_ALL:
            raise AcsError(
                wire.SESSION_REFUSED, "too many requests within the window", reason="too_many_requests"
            )
        for name in names:
            session.seen[name] = now_s + 2 * self._settings.skew_ms / 1000
            self._n_seen += 1

    def _binding(self, session: Session, request: Request) -> Ruling | None:
        """Why a session does not take a request that is signed all right; None: it does."""
        if request.agent_id != session.agent_id:
            return Ruling("deny", "agent_id_not_bound", "another agent opened this session")
        if request.key_id != session.key_id:
            return Ruling("deny", "key_not_bound", "another key opened this session")
        if session.is_closed:
            return Ruling("deny", "session_closed", "the session is over; begin a new one")
        state = request.metadata.get("session_state")
        told = state.get("chain_hash") if isinstance(state, dict) else None
        if told is not None and told != session.head:
            _log.warning("session %s: its agent knows another head of the chain", session.id)
            return Ruling(
                "deny", "chain_mismatch", "the agent's chain_hash is not the head of this session's chain"
            )
        return None

    def _delegate(self, parent: Session, child_id: str, told: str) -> Ruling:
        """Open a sub-agent's session, which its own steps then find."""
        if self._known(parent.tenant, child_id) is not None:
            return Ruling(
                "deny", "subagent_session_known", "a session of the sub-agent's id is there already"
            )
        task = parent.task
        made = Session(parent.tenant, child_id, "", "", parent.methods, parent=parent)
        made.derived = told or ("" if task is None else task.intent)
        try:
            self._sessions.add(parent.tenant, child_id, made)
        except Full as error:
            return Ruling("deny", "sessions_full", f"no sub-agent is taken: {error}")
        return Ruling("allow", "delegated")

    def _stop(self, parent: Session, request: Request) -> None:
        named = request.payload.get("subagent_session_id")
        child = self._known(parent.tenant, named.lower()) if isinstance(named, str) else None
        if child is None or child.parent is not parent or child.is_closed:
            return  # audit only, and nobody ends another's sub-agent
        self._close(child, str(request.payload.get("outcome", "stopped"))[:64])

    # ------------------------------------------------------------------ answers

    def _hello(self, tenant: str, request: Request) -> dict[str, Any]:
        """The ServerHello, which is itself the result."""
        hello, found = request.payload, self._known(tenant, request.session_id)
        told = canonical(hello)
        if found is not None and found.agent_id:
            self._remember(found, request)
            # Who asks for the same once more lost our answer, or keeps it for a while only.
            mine = (found.agent_id, found.key_id) == (request.agent_id, request.key_id)
            if not mine or found.is_closed or found.hello not in (b"", told):
                raise AcsError(
                    wire.SESSION_REFUSED,
                    "the session is negotiated already; the standard has no renegotiation",
                    reason="renegotiation_not_supported",
                )
        else:
            self._timely(request)
        if missing := [name for name in _NEEDED_OF_CLIENT if name not in hello]:
            raise AcsError(
                wire.INVALID_REQUEST, f"invalid request: the ClientHello lacks {', '.join(missing)}"
            )
        if not all(_are_texts(hello[name]) for name in _NEEDED_OF_CLIENT[:3]):
            raise AcsError(
                wire.INVALID_PARAMS, "versions, methods and transports of a ClientHello are lists of texts"
            )
        if not any(wire.major(each) == wire.major(wire.VERSION) for each in hello["acs_versions_supported"]):
            raise AcsError(
                wire.UNSUPPORTED_VERSION,
                "no common version",
                reason="version",
                supported_versions=[wire.VERSION],
            )
        transport = next((each for each in ("https", "http") if each in hello["transports_supported"]), None)
        if transport is None:
            raise AcsError(
                wire.SESSION_REFUSED,
                "no common transport",
                reason="no_common_transport",
                supported_transports=["http", "https"],
            )
        methods = [
            name for name in dict.fromkeys(hello["methods_implemented"]) if name in EVALUATED or name == PING
        ]
        if found is None:
            found = self._opened(tenant, request, frozenset(methods))
        if not found.agent_id or not found.seen:
            self._remember(found, request)
        found.agent_id, found.key_id, found.methods = request.agent_id, request.key_id, frozenset(methods)
        found.hello = told
        asked = hello.get("profiles_supported")
        return {
            "negotiated_version": wire.VERSION,
            "methods_evaluated": methods,
            "selected_transport": transport,
            "signature_algorithms_supported": [ALGORITHM],
            "timeout_config": {"default_ms": round(self._gate.wait_s * 1000) + MARGIN_MS},
            "on_decision_failure": "deny",  # an error is an answer, and never a yes
            "skew_window_ms": self._settings.skew_ms,
            "policy_requires_provenance": False,
            "profiles_accepted": [each for each in PROFILES if isinstance(asked, list) and each in asked],
        }

    def _pong(self, request: Request) -> dict[str, Any]:
        echo = request.payload.get("echo")
        told = datetime.fromtimestamp(self._now_s(), UTC).isoformat(timespec="milliseconds")
        payload = {"status": "ok", "server_timestamp": told.replace("+00:00", "Z")}
        if isinstance(echo, str):
            payload["echo"] = echo[:1_024]
        return {**self._result(request, Ruling("allow", "ping")), "payload": payload}

    def _result(
        self, request: Request, ruling: Ruling, session: Session | None = None, head: str | None = None
    ) -> dict[str, Any]:
        """A decision as the standard has it; `head`: of the chain after the step, where it was entered."""
        result: dict[str, Any] = {
            "type": "final",
            "acs_version": wire.VERSION,
            "request_id": request.params["request_id"],
            **_disposition(request.method, ruling, session),
        }
        if ruling.decision is not None:
            result["policy_data"] = {"driftline": ruling.facts()}
        if head is not None:
            result["chain_hash"] = head
        return result


def _disposition(method: str, ruling: Ruling, session: Session | None) -> dict[str, Any]:
    """The decision, why, and what goes with it.

    Nobody decided, and the posture lets nobody else: that is a deferral, which times out as a denial. There is no approver to ask.
    """
    said: dict[str, Any] = {"reasoning": ruling.why} if ruling.why else {}
    if ruling.code not in ("ping", "not_judged"):
        said["reason_codes"] = [ruling.code]
    if ruling.word == "allow":
        return {"decision": "allow", **said}
    if method in UNDENIABLE:
        return {"decision": "allow", **said, "reason_codes": [ruling.code, "disposition_not_permitted"]}
    task = None if session is None else session.task
    if ruling.word == "undecided" and method in DEFERRABLE and task is not None:
        task.n_deferred += 1
        if task.n_deferred <= MAX_DEFERRED:
            details = {
                "reason": "insufficient_context" if ruling.code == "abstain" else "pending_dependency",
                "resolution_method": "timeout",
                "resolution_timeout_ms": DEFER_MS,
                "timeout_decision": "deny",
            }
            return {"decision": "defer", **said, "defer_details": details}
        said["reason_codes"] = [ruling.code, "deferrals_exhausted"]
    return {"decision": "deny", **said}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 256 and all(isinstance(each, str) for each in value)


def _error(rpc_id: str | int | None, error: AcsError) -> dict[str, Any]:
    said: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data:
        said["data"] = {**error.data, "message": error.message}
    return {"jsonrpc": "2.0", "id": rpc_id, "error": said}
