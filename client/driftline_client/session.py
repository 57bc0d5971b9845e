"""One task of an agent: what was asked, each call before it runs and what came back, and the end."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Self, TypeVar, overload

from driftline_client import contract
from driftline_client.outcome import Decision, Denied, Lost, OnSilence, Undecided

if TYPE_CHECKING:
    from driftline_client.client import Client

P = ParamSpec("P")
R = TypeVar("R")
NOT_RUN = "not run: the decision was against it"


class Call(NamedTuple):
    """A call that was told of, and is yet to run."""

    id: str
    tool: str
    decided: Future[Decision] | None


class Session:
    """A session, from `Client.session`; a context manager, with or without ``async``.

    Attributes
    ----------
    id, root : str
        Its id, and that of the session at the top of its tree.
    lost : int
        Its events that did not reach the bus.
    """

    def __init__(
        self, client: Client, session_id: str, root: str, wait_s: float, on_silence: OnSilence
    ) -> None:
        self.id, self.root, self.lost = session_id, root, 0
        self._client, self._wait_s, self._on_silence = client, wait_s, on_silence
        self._seq = self._calls = 0
        self._lock = threading.Lock()  # numbers must reach the log in their order
        self._why_lost = ""
        self._over = False

    # ------------------------------------------------------------------ what happens

    def amend(self, intent: str, *, attestation: str | None = None, **more: Any) -> None:
        """The *user* changed their mind; never what the agent itself plans. `more`: as of `Client.session`."""
        self._send("intent.amended", intent=self._client.intent(intent, more), attestation=attestation)

    def offer(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        left: Sequence[str] | None = None,
        attestation: str | None = None,
    ) -> None:
        """Other tools from now on: those that joined or are declared otherwise, and the names of those that `left`."""
        declared = [contract.tool(each) for each in tools]
        self._send(
            "catalogue.changed",
            tools=declared,
            left=None if left is None else list(left),
            attestation=attestation,
        )

    def call(
        self, tool: str, arguments: Mapping[str, Any], *, credential: Mapping[str, Any] | None = None
    ) -> Call:
        """Tell of a call before the tool runs; `check` then says whether it may. `RuntimeError` once the session is over."""
        if self._over:
            raise RuntimeError(f"session {self.id} is over; begin a new one")
        if not isinstance(arguments, Mapping):
            raise TypeError(f"arguments: an object, not {type(arguments).__name__}")
        shown = self._client.shown.arguments(dict(arguments))
        with self._lock:
            call_id = f"{self.id}:{self._calls}"
            decided = self._client.expect(self.id, call_id)
            fields = {"call_id": call_id, "tool": tool, "arguments": shown}
            self._send_locked(
                "tool.called", {**fields, "credential": None if credential is None else dict(credential)}
            )
            self._calls += 1
        return Call(call_id, tool, decided)

    def returned(self, call: Call, result: Any, *, ok: bool = True) -> None:
        """Tell what came back: text or JSON, cut to what Driftline looks at."""
        shown = contract.cut(self._client.shown.result(result))
        self._send("tool.returned", call_id=call.id, status="ok" if ok else "error", result=shown)

    def end(self, reason: str = "done") -> None:
        """The task is over, and with it the credentials that were issued for it. Said once."""
        if not self._over:
            self._over = True
            self._send("session.ended", reason=reason[: contract.MAX_NAME])
            self._client.forget(self)

    # ------------------------------------------------------------------ what was decided

    def check(
        self, call: Call, *, wait_s: float | None = None, on_silence: OnSilence | None = None
    ) -> Decision | None:
        """Wait for the decision on a call.

        Returns
        -------
        Decision or None
            None: none came in time, and silence allows.

        Raises
        ------
        Denied
            The call may not run.
        Undecided
            No decision came in time, and silence raises.
        Lost
            Events of the session did not arrive, and silence raises: no decision would be on all of it.
        """
        decided, wait_s = self._awaited(call), self._wait_s if wait_s is None else wait_s
        try:
            decision = None if self.lost else decided.result(wait_s)
        except (FutureTimeout, CancelledError):
            decision = None
        return self._ruled(call, decision, wait_s, on_silence)

    async def acheck(
        self, call: Call, *, wait_s: float | None = None, on_silence: OnSilence | None = None
    ) -> Decision | None:
        """As `check`, for an event loop."""
        decided, wait_s = self._awaited(call), self._wait_s if wait_s is None else wait_s
        import asyncio  # who has no event loop need not load one

        decision: Decision | None = None
        if not self.lost:
            # Shielded: who stops waiting takes the answer from nobody else.
            done, _ = await asyncio.wait([asyncio.ensure_future(_answer(decided))], timeout=wait_s)
            decision = next((each.result() for each in done), None)
        return self._ruled(call, decision, wait_s, on_silence)

    def _awaited(self, call: Call) -> Future[Decision]:
        if call.decided is None:
            raise RuntimeError("nothing reads decisions here; make the client with decisions=True")
        return call.decided

    def _ruled(
        self, call: Call, decision: Decision | None, wait_s: float, on_silence: OnSilence | None
    ) -> Decision | None:
        if decision is not None:
            if decision.stops:
                raise Denied(call.tool, decision)
            return decision
        means = self._on_silence if on_silence is None else on_silence
        if means == "deny":
            raise Denied(call.tool, None)
        if means == "raise" and self.lost:
            raise Lost(
                f"{self.lost} events of session {self.id} did not arrive ({self._why_lost}); begin a new session"
            )
        if means == "raise":
            raise Undecided(f"no decision on {call.id} within {wait_s:g} s")
        return None

    # ------------------------------------------------------------------ around a tool

    @overload
    def tool(self, run: Callable[P, R]) -> Callable[P, R]: ...
    @overload
    def tool(
        self, *, name: str | None = None, on_silence: OnSilence | None = None, wait_s: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def tool(
        self, run: Any = None, *, name: str | None = None, on_silence: Any = None, wait_s: Any = None
    ) -> Any:
        """Have a function, or a coroutine function, told of, decided on, run and told of again.

        What is told are its arguments by their names. A call that may not run raises `Denied`; what the function raises is told and
        goes on.
        """
        if run is None:
            return functools.partial(self.tool, name=name, on_silence=on_silence, wait_s=wait_s)
        signature, named = inspect.signature(run), name or run.__name__
        how = {"wait_s": wait_s, "on_silence": on_silence}

        def told(args: Any, kwargs: Any) -> Call:
            bound = signature.bind(*args, **kwargs)
            return self.call(named, _by_name(signature, bound.arguments))

        if inspect.iscoroutinefunction(run):

            @functools.wraps(run)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                call = told(args, kwargs)
                with self._telling(call) as tells:
                    if call.decided is not None:
                        await self.acheck(call, **how)
                    return tells(await run(*args, **kwargs))

            return arun

        @functools.wraps(run)
        def runs(*args: Any, **kwargs: Any) -> Any:
            call = told(args, kwargs)
            with self._telling(call) as tells:
                if call.decided is not None:
                    self.check(call, **how)
                return tells(run(*args, **kwargs))

        return runs

    def _telling(self, call: Call) -> _Telling:
        return _Telling(self, call)

    # ------------------------------------------------------------------ on the bus

    def _send(self, kind: str, **fields: Any) -> None:
        with self._lock:
            self._send_locked(kind, fields)

    def _send_locked(self, kind: str, fields: Mapping[str, Any]) -> None:
        said = {name: value for name, value in fields.items() if value is not None or name == "result"}
        contract.check(kind, said)
        self._client.send(self, kind, self._seq, said, self._arrived)
        self._seq += 1

    def _arrived(self, error: Exception | None) -> None:
        """Hears of each event once, on a thread of the bus."""
        if error is not None:
            self.lost += 1
            self._why_lost = self._why_lost or type(error).__name__

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


class _Telling:
    """Tells how a call ended, whichever way."""

    def __init__(self, session: Session, call: Call) -> None:
        self._session, self._call = session, call

    def __enter__(self) -> Callable[[Any], Any]:
        return self._ran

    def _ran(self, result: Any) -> Any:
        self._session.returned(self._call, result)
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        stopped = isinstance(error, Denied | Undecided | Lost)
        self._session.returned(
            self._call, NOT_RUN if stopped else f"failed: {kind.__name__}: {error}", ok=False
        )


async def _answer(decided: Future[Decision]) -> Decision | None:
    import asyncio

    try:
        return await asyncio.shield(asyncio.wrap_future(decided))
    except CancelledError:
        return None


def _by_name(signature: inspect.Signature, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names; those of ``**kwargs`` stand beside the others."""
    named: dict[str, Any] = {}
    for name, value in bound.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        elif name not in ("self", "cls"):
            named[name] = value
    return named
