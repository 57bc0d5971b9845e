"""One task of an agent: what was asked, each call before it runs and what came back, and the end."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, Self, TypeVar, overload

from driftline_client import contract
from driftline_client.outcome import NOT_RUN, Decision, Denied, Lost, Undecided, why_not_run
from driftline_client.posture import OnSilence, Posture, meaning_of, posture_of

if TYPE_CHECKING:
    from driftline_client.client import Client

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("driftline.client")


@dataclass(slots=True, eq=False)
class Call:
    """A call that was told of, and is yet to run, once, with the arguments that were told.

    Attributes
    ----------
    id, tool : str
    decided : Future or None
        None where nothing reads decisions.
    digest : bytes
        Of its arguments; empty where nothing reads decisions.
    spent : bool
        Whether it was let run.
    """

    id: str
    tool: str
    decided: Future[Decision | None] | None
    digest: bytes
    spent: bool = False


class Session:
    """A session, from `Client.session`; a context manager, with or without ``async``.

    Attributes
    ----------
    id, root : str
        Its id, and that of the session at the top of its tree.
    lost : int
        Its events that did not reach the bus.
    tenant : str or None
        Whose it is.
    """

    def __init__(
        self,
        client: Client,
        session_id: str,
        root: str,
        wait_s: float,
        on_silence: Posture,
        tenant: str | None = None,
        parent_id: str | None = None,
    ) -> None:
        self.id, self.root, self.lost, self.tenant = session_id, root, 0, tenant
        self._parent_id, self._asked = parent_id, False
        self._client, self._wait_s, self._on_silence = client, wait_s, posture_of(on_silence)
        self._hinted: dict[str, bool] = {}  # by tool, whether all that declared it said that it only reads
        self._seq = self._calls = 0
        self._lock = (
            threading.RLock()
        )  # numbers must reach the log in their order; a full buffer tells at once
        self._why_lost = ""
        self._over = False

    # ------------------------------------------------------------------ what happens

    def declare(
        self,
        intent: str | None,
        *,
        agent: Mapping[str, Any] | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        credentials: Sequence[Mapping[str, Any]] | None = None,
        attestation: str | None = None,
        **more: Any,
    ) -> None:
        """What the user asked for, as `Client.session` tells it at the beginning; of a session that began without, from now on."""
        self.send(
            "session.declared",
            intent=None if intent is None and not more else self._client.intent(intent, more),
            agent=dict(agent) if isinstance(agent, Mapping) else agent,
            tools=None if tools is None else [contract.tool(each) for each in tools],
            credentials=None
            if credentials is None
            else [dict(each) if isinstance(each, Mapping) else each for each in credentials],
            parent_session_id=self._parent_id,
            attestation=attestation,
        )
        self._asked = self._asked or intent is not None

    def amend(self, intent: str, *, attestation: str | None = None, **more: Any) -> None:
        """The *user* changed their mind, or said only now what they want; never what the agent itself plans. `more`: as of `Client.session`."""
        if not self._asked:
            self.declare(intent, attestation=attestation, **more)
            return
        self.send("intent.amended", intent=self._client.intent(intent, more), attestation=attestation)

    def offer(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        left: Sequence[str] | None = None,
        attestation: str | None = None,
    ) -> None:
        """Other tools from now on: those that joined or are declared otherwise, and the names of those that `left`."""
        declared = [contract.tool(each) for each in tools]
        gone = None if left is None else list(left)
        self.send("catalogue.changed", tools=declared, left=gone, attestation=attestation)

    def call(
        self, tool: str, arguments: Mapping[str, Any], *, credential: Mapping[str, Any] | None = None
    ) -> Call:
        """Tell of a call before the tool runs; `check` then says whether it may.

        Raises
        ------
        TypeError, ValueError
            A name or a shape that the contract does not know, or arguments that are too large for a record. Nothing was sent, and the
            call may not run.
        RuntimeError
            The session is over.
        """
        if not isinstance(arguments, Mapping):
            raise TypeError(f"arguments: an object, not {type(arguments).__name__}")
        told = contract.digest(arguments) if self._client.decides else b""
        shown = self._client.shown.arguments(dict(arguments))
        with self._lock:
            if self._over:
                raise RuntimeError(f"session {self.id} is over; begin a new one")
            call_id = f"{self.id}:{self._calls}"
            decided = self._client.expect(self, call_id, self._seq)
            held = dict(credential) if isinstance(credential, Mapping) else credential
            try:
                fields = {"call_id": call_id, "tool": tool, "arguments": shown, "credential": held}
                self._send_locked("tool.called", fields, lambda: self._client.give_up(self, call_id))
            except Exception:
                self._client.give_up(self, call_id)
                raise
            self._calls += 1
        return Call(call_id, tool, decided, told)

    def returned(self, call: Call, result: Any, *, ok: bool = True) -> None:
        """Tell what came back: text or JSON, cut to what Driftline looks at."""
        shown = contract.cut(self._client.shown.result(result))
        self.send("tool.returned", call_id=call.id, status="ok" if ok else "error", result=shown)

    def not_run(self, call: Call, why: str = NOT_RUN) -> None:
        """Tell that a call never ran, and why: what is said here is the host's word, no tool's."""
        self.send("tool.returned", call_id=call.id, status="not_run", result=str(why)[: contract.MAX_RESULT])

    @contextmanager
    def deciding(self, call: Call) -> Iterator[None]:
        """Around the wait for a decision: where it ends with an error, the call is told as not run, and why."""
        try:
            yield
        except BaseException as error:
            self.not_run(call, why_not_run(error))
            raise

    def held(
        self,
        call: Call,
        how: Literal["asked", "deferred"],
        *,
        answer: Literal["approved", "rejected"] | None = None,
        by: str | None = None,
    ) -> None:
        """Tell that a call waits for a person, or for something else; once more with the answer, and whose it is."""
        self.send("call.held", call_id=call.id, how=how, answer=answer, by=by)

    def end(self, reason: str = "done") -> None:
        """The task is over, and with it the credentials that were issued for it. Said once."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._send_locked("session.ended", {"reason": str(reason)[: contract.MAX_NAME] or "done"})
        self._client.forget(self)

    # ------------------------------------------------------------------ what was decided

    def check(
        self,
        call: Call,
        *,
        arguments: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
        on_silence: Posture | None = None,
    ) -> Decision | None:
        """Wait until a call may run. It may once, with the arguments that were told.

        Parameters
        ----------
        arguments : mapping or None
            What is about to run, looked at once the decision is there; None: whoever runs the call holds what was told.

        Returns
        -------
        Decision or None
            None: none came in time, and silence allows.

        Raises
        ------
        Denied
            The call may not run; `Revoked` where the session's credentials are revoked with it.
        Undecided
            No decision came in time, and silence raises.
        Lost
            Events of the session did not arrive, so no decision came, and silence raises.
        RuntimeError
            The call was let run before.
        """
        decided, means = self._awaited(call, on_silence)
        wait_s = self._wait_s if wait_s is None else wait_s
        begun, left_s, decision = time.monotonic(), wait_s, None
        while True:
            try:
                decision = decided.result(left_s)
                break
            except FutureTimeout:
                if (left_s := self._left_s(begun, wait_s)) <= 0:
                    break
        return self._ruled(call, decision, wait_s, means, arguments)

    async def acheck(
        self,
        call: Call,
        *,
        arguments: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
        on_silence: Posture | None = None,
    ) -> Decision | None:
        """As `check`, for an event loop."""
        import asyncio  # who has no event loop need not load one

        decided, means = self._awaited(call, on_silence)
        wait_s = self._wait_s if wait_s is None else wait_s
        begun, left_s, decision = time.monotonic(), wait_s, None
        while True:
            try:
                # Shielded: who stops waiting takes the answer from nobody else.
                decision = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(decided)), left_s)
                break
            except TimeoutError:
                if (left_s := self._left_s(begun, wait_s)) <= 0:
                    break
        return self._ruled(call, decision, wait_s, means, arguments)

    def _left_s(self, begun: float, wait_s: float) -> float:
        return self._client.waits_from(begun) + wait_s - time.monotonic()

    def _awaited(self, call: Call, on_silence: Posture | None) -> tuple[Future[Decision | None], OnSilence]:
        if call.decided is None:
            raise RuntimeError("nothing reads decisions here; make the client with decisions=True")
        posture = self._on_silence if on_silence is None else posture_of(on_silence)
        return call.decided, meaning_of(posture, call.tool, hinted=self._hinted.get(call.tool, False))

    def _ruled(
        self,
        call: Call,
        decision: Decision | None,
        wait_s: float,
        means: OnSilence,
        arguments: Mapping[str, Any] | None,
    ) -> Decision | None:
        if decision is not None and decision.stops:
            raise Denied.by(call.tool, decision)
        if decision is None and means == "deny":
            raise Denied(call.tool, None)
        if decision is None and means == "raise":
            if self.lost:
                raise Lost(
                    f"{self.lost} events of session {self.id} did not arrive ({self._why_lost}); begin a new session"
                )
            raise Undecided(f"no decision on {call.id} within {wait_s:g} s")
        if arguments is not None and contract.digest(arguments) != call.digest:
            raise Denied(call.tool, None, "its arguments are not those that were decided on")
        with self._lock:
            if call.spent:
                raise RuntimeError(
                    f"{call.id} was let run before; an allow is for one run, so tell of a new call"
                )
            call.spent = True
        return decision

    # ------------------------------------------------------------------ around a tool

    @overload
    def tool(self, run: Callable[P, R]) -> Callable[P, R]: ...
    @overload
    def tool(
        self, *, name: str | None = None, on_silence: Posture | None = None, wait_s: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    @overload
    def tool(
        self,
        run: Callable[P, R],
        *,
        name: str | None = None,
        on_silence: Posture | None = None,
        wait_s: float | None = None,
    ) -> Callable[P, R]: ...
    def tool(
        self, run: Any = None, *, name: str | None = None, on_silence: Any = None, wait_s: Any = None
    ) -> Any:
        """Have a function, or a coroutine function, told of, decided on, run and told of again.

        What is told are its arguments by their names, defaults too. A call that may not run raises `Denied`, as does one whose
        arguments change while it waits. What the function raises is told and goes on.

        Raises
        ------
        TypeError
            A generator, whose answer is told too late to be judged: use `call`, `check` and `returned`.
        """
        if run is None:
            return functools.partial(self.tool, name=name, on_silence=on_silence, wait_s=wait_s)
        if on_silence is not None:
            posture_of(on_silence)
        inner = run
        while isinstance(inner, functools.partial):
            inner = inner.func
        kinds = (inner, getattr(inner, "__call__", None))  # noqa: B004  (an object whose call is a coroutine function is one)
        if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in kinds):
            raise TypeError("a generator is told with call, check and returned, not with tool")
        named = name or getattr(inner, "__name__", None) or type(inner).__name__
        wrapped = _Wrapped(self, run, inspect.signature(inner), named, wait_s, on_silence)
        if any(inspect.iscoroutinefunction(each) for each in kinds):

            @functools.wraps(inner, updated=())
            async def arun(*args: Any, **kwargs: Any) -> Any:
                return await wrapped.arun(args, kwargs)

            return arun

        @functools.wraps(inner, updated=())
        def runs(*args: Any, **kwargs: Any) -> Any:
            return wrapped.run(args, kwargs)

        return runs

    def tell(self, call: Call, result: Any, *, ok: bool = True) -> None:
        """As `returned`, for a tool that ran: what it did stands, though nothing can be told of it."""
        try:
            self.returned(call, result, ok=ok)
        except Exception as error:
            _log.warning("what %s returned cannot be told (%s)", call.id, type(error).__name__)
            self.returned(call, f"<{type(result).__name__}, which cannot be told>", ok=ok)

    # ------------------------------------------------------------------ on the bus

    def send(self, kind: str, **fields: Any) -> None:
        """Put an event on its way; a field that is None is left out."""
        with self._lock:
            self._send_locked(kind, fields)

    def _send_locked(
        self, kind: str, fields: Mapping[str, Any], lost: Callable[[], None] | None = None
    ) -> None:
        said = {name: value for name, value in fields.items() if value is not None or name == "result"}
        contract.check(kind, said)
        for declared in said.get("tools") or ():
            name, hints = declared["name"], declared.get("annotations") or {}
            self._hinted[name] = self._hinted.get(name, True) and hints.get("readOnlyHint") is True

        def arrived(error: Exception | None) -> None:
            if error is not None:
                self.lost += 1
                self._why_lost = self._why_lost or type(error).__name__
                if lost is not None:
                    lost()

        self._client.send(self, kind, self._seq, said, arrived)
        self._seq += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end("done" if kind is None else f"failed: {kind.__name__}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end("done" if kind is None else f"failed: {kind.__name__}")


class _Wrapped(NamedTuple):
    """A tool with what goes around it."""

    session: Session
    runs: Callable[..., Any]
    signature: inspect.Signature
    name: str
    wait_s: float | None
    on_silence: Posture | None

    def run(self, args: Any, kwargs: Any) -> Any:
        call = self._told(args, kwargs)
        with self.session.deciding(call):
            if call.decided is not None:
                now = self._named(args, kwargs)
                self.session.check(call, arguments=now, wait_s=self.wait_s, on_silence=self.on_silence)
        try:
            result = self.runs(*args, **kwargs)
        except BaseException as error:
            self._failed(call, error)
            raise
        if inspect.isawaitable(result):
            return self._later(call, result)
        self.session.tell(call, result)
        return result

    async def arun(self, args: Any, kwargs: Any) -> Any:
        call = self._told(args, kwargs)
        with self.session.deciding(call):
            if call.decided is not None:
                now = self._named(args, kwargs)
                await self.session.acheck(call, arguments=now, wait_s=self.wait_s, on_silence=self.on_silence)
        return await self._later(call, self.runs(*args, **kwargs))

    async def _later(self, call: Call, result: Awaitable[Any]) -> Any:
        try:
            found = await result
        except BaseException as error:
            self._failed(call, error)
            raise
        self.session.tell(call, found)
        return found

    def _failed(self, call: Call, error: BaseException) -> None:
        try:
            text = str(error)
        except Exception:  # what an exception says of itself hides no exception
            text = ""
        self.session.tell(call, f"failed: {type(error).__name__}: {text}", ok=False)

    def _told(self, args: Any, kwargs: Any) -> Call:
        return self.session.call(self.name, self._named(args, kwargs))

    def _named(self, args: Any, kwargs: Any) -> dict[str, Any]:
        run = self.runs
        while isinstance(run, functools.partial):
            args, kwargs, run = (*run.args, *args), {**run.keywords, **kwargs}, run.func
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _by_name(self.signature, bound.arguments)


def _by_name(signature: inspect.Signature, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names; those of ``**kwargs`` stand beside the others, unless one has another's name."""
    named: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in bound.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            rest = value if not set(value) & set(bound) else {name: value}
        else:
            named[name] = value
    return named | rest
