"""One connection: lines of a client and of a server passed on as they are, but for calls, which wait for what is decided on them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Protocol

from driftline_client import Call

from stream.proxy.gate import Gate, NotRun
from stream.proxy.messages import (
    ENVELOPE_META,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    NAMES,
    TOOL_CALL,
    Unreadable,
    called,
    denial,
    failure,
    from_client,
    from_server,
    key_of,
    meta_of,
    told,
    written,
)

MAX_WAITING, MAX_OPEN = 256, 4_096
"""Calls of a connection that wait for a decision; requests whose answers are looked at, and tasks that run."""
LIST_S, MAX_PAGES = 5.0, 100
"""How long a call waits for the server to list its tools, and of how many pages."""
LAST_S = 2.0
"""How long a server may go on answering once its client has said all that it will."""
NO_ANSWER = "no answer: the connection ended"

_log = logging.getLogger("driftline.proxy")


class Uncarried(ValueError):
    """A message that this side's transport cannot carry."""


class Link(Protocol):
    """One side of a connection."""

    def lines(self) -> AsyncIterator[bytes]:
        """What comes, a message a line, until that side ends."""

    async def send(self, line: bytes) -> None:
        """Pass a message on; waits while that side does not read. `ConnectionError` where it is gone, `Uncarried` where it cannot be sent."""

    def finish(self) -> bool:
        """Nothing more is sent; whether that side hears so, and may go on answering."""


class Relay:
    """Passes messages between a client and a server.

    Parameters
    ----------
    front, back : Link
        The client's side and the server's.
    say : callable
        Hears, once for each kind, what was not passed on.
    intent_meta : str or None
        The name in ``_meta`` of requests under which the client's host says what the user asked for.
    """

    def __init__(
        self,
        front: Link,
        back: Link,
        gate: Gate,
        say: Callable[[str], None],
        *,
        intent_meta: str | None = None,
    ) -> None:
        self._front, self._back, self._gate, self._say = front, back, gate, say
        self._intent_meta = intent_meta
        self._waiting: dict[str, asyncio.Task[None]] = {}  # calls that the server has not seen
        self._calls: dict[str, Call] = {}  # that it has, by request
        self._tasks: dict[str, Call] = {}  # whose answer comes later, by the server's name for it
        self._listings: dict[str, Any] = {}  # cursors of the client's tools/list
        self._results: dict[str, str] = {}  # tasks by the client's tasks/result
        self._own: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._meta: dict[str, Any] = {}
        self._listing = asyncio.Lock()
        self._list_failed = False
        self._running: set[asyncio.Task[None]] = set()
        self.not_passed: Counter[str] = Counter()
        """What was not passed on, by its kind."""

    async def run(self) -> str:
        """Pass on until one side ends; which, in words."""
        sides = {
            asyncio.create_task(self._from_server()): "the server ended the connection",
            asyncio.create_task(self._from_client()): "the client ended the connection",
        }
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            ended = next(each for each in sides if each in done)
            server = next(iter(sides))
            if ended is not server and ended.exception() is None and self._back.finish():
                await asyncio.wait({server}, timeout=LAST_S)  # what it still answers is passed on
            if (error := ended.exception()) is None:
                return sides[ended]
            if not isinstance(error, ConnectionError):
                raise error
            return f"{sides[ended]} ({error})" if str(error) else sides[ended]
        finally:
            for task in (*sides, *self._running):
                task.cancel()
            await asyncio.gather(*sides, *self._running, return_exceptions=True)
            for call in (*self._calls.values(), *self._tasks.values()):
                self._gate.returned(call, NO_ANSWER, ok=False)

    def _drop(self, kind: str) -> None:
        self.not_passed[kind] += 1
        if self.not_passed[kind] == 1:
            self._say(f"not passed on: {kind}")

    # ------------------------------------------------------------------ from the client

    async def _from_client(self) -> None:
        async for line in self._front.lines():
            if not line.strip():
                continue
            try:
                line, message = from_client(line)
            except Unreadable as why:
                self._drop(f"a message of the client's ({why})")
                await self._front.send(failure(why.request, why.code, f"not passed on: {why}"))
                continue
            if not await self._is_ours(line, message):
                await self._to_server(line, message)

    async def _to_server(self, line: bytes, message: dict[str, Any]) -> None:
        try:
            await self._back.send(line)
        except Uncarried:
            self._drop("a message of the client's that HTTP cannot carry")
            if "method" in message and message.get("id") is not None:
                await self._front.send(
                    failure(message["id"], INVALID_REQUEST, "not passed on: HTTP cannot carry it")
                )

    async def _is_ours(self, line: bytes, message: dict[str, Any]) -> bool:
        """Whether a message does not simply go on."""
        method, request = message.get("method"), message.get("id")
        if method is None:
            return False
        meta = meta_of(message)
        self._meta = {name: meta[name] for name in ENVELOPE_META if name in meta} or self._meta
        if self._intent_meta is not None and isinstance(said := meta.get(self._intent_meta), str):
            self._gate.heard(said)
        if method in NAMES:
            await self._call(line, message)
            return True
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if method == "notifications/cancelled":
            waiting = self._waiting.get(key_of(params.get("requestId")))
            if waiting is not None:
                waiting.cancel()
                return True  # the server knows nothing of it
        elif request is not None and len(self._listings) + len(self._results) < MAX_OPEN:
            if method == "tools/list":
                self._listings[key_of(request)] = params.get("cursor")
            elif method == "tasks/result" and isinstance(params.get("taskId"), str):
                self._results[key_of(request)] = params["taskId"]
        return False

    async def _call(self, line: bytes, message: dict[str, Any]) -> None:
        request = message.get("id")
        if request is None:
            self._drop("a call that asks for no answer")
            return
        key = key_of(request)
        if key in self._waiting or key in self._calls:
            self._drop("a call under an id that is in use")
            await self._front.send(failure(request, INVALID_REQUEST, "not passed on: this id is in use"))
        elif len(self._waiting) >= MAX_WAITING or len(self._calls) >= MAX_OPEN:
            self._drop("more calls at once than are decided on")
            await self._front.send(
                denial(message, "not run: too many calls at once. Wait for some, then try again.")
            )
        else:
            task = asyncio.create_task(self._decided(key, line, message))
            self._waiting[key] = task
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _decided(self, key: str, line: bytes, message: dict[str, Any]) -> None:
        """Pass a call on, or answer it in the server's place."""
        with suppress(ConnectionError):  # then the connection ends, and every call with it
            await self._answer_or_pass(key, line, message)

    async def _answer_or_pass(self, key: str, line: bytes, message: dict[str, Any]) -> None:
        try:
            if message["method"] == TOOL_CALL:
                await self._know_the_tools()
            call = await self._gate.passed(*called(message))
        except NotRun as why:
            answer = denial(message, str(why))
        except Exception as error:  # a fault of ours is no allow
            _log.error("a call could not be told: %s", error)
            answer = denial(message, "not run: the proxy failed; its log says how.")
        else:
            del self._waiting[key]  # from here on the server knows of it
            self._calls[key] = call
            await self._to_server(line, message)
            return
        finally:
            self._waiting.pop(key, None)
        await self._front.send(answer)

    async def _know_the_tools(self) -> None:
        """Have the server list its tools, where nobody has since they changed; who asks first asks for all."""
        if self._gate.catalogue.is_whole or self._list_failed:
            return
        async with self._listing:
            if self._gate.catalogue.is_whole or self._list_failed:
                return
            try:
                async with asyncio.timeout(LIST_S):
                    self._list_failed = not await self._list()
            except TimeoutError:
                self._list_failed = True
            if self._list_failed:
                self._say("the server did not list its tools: calls are judged by what is known of them")

    async def _list(self) -> bool:
        cursor = None
        for _ in range(MAX_PAGES):
            name = f"driftline-{uuid.uuid4()}"
            answered = self._own[key_of(name)] = asyncio.get_running_loop().create_future()
            params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            asked = params | ({"_meta": self._meta} if self._meta else {})
            try:
                await self._back.send(
                    written({"jsonrpc": "2.0", "id": name, "method": "tools/list", "params": asked})
                )
                answer = await answered
            finally:
                del self._own[key_of(name)]
            if not isinstance(answer.get("result"), dict):
                return False
            cursor = self._gate.listed(cursor, answer["result"])
            if cursor is None:
                return True
        return False

    # ------------------------------------------------------------------ from the server

    async def _from_server(self) -> None:
        async for line in self._back.lines():
            messages = from_server(line)
            if messages is None:
                if line.strip():
                    self._drop("a line of the server's that is no message")
                continue
            # Told before it is passed on: what the client does next comes after it in the log.
            go_on = [self._goes_on(each) for each in messages]
            if all(go_on):
                try:
                    await self._front.send(line)
                except Uncarried:
                    self._drop("a message of the server's that HTTP cannot carry")
                    for each in messages:
                        if "method" not in each and "id" in each:
                            await self._front.send(
                                failure(each["id"], INTERNAL_ERROR, "HTTP cannot carry this answer")
                            )

    def _goes_on(self, message: dict[str, Any]) -> bool:
        if isinstance(message.get("method"), str):  # an SDK reads an answer where the method is none
            if message["method"] == "notifications/tools/list_changed":
                self._gate.changed()
                self._list_failed = False
            return True
        if "id" not in message:
            return True
        key = key_of(message["id"])
        if (own := self._own.get(key)) is not None:
            if not own.done():
                own.set_result(message)
            return False
        if key in self._waiting:
            self._drop("an answer to a call that the server was not sent")
            return False
        try:
            self._look(key, message)
        except Exception as error:  # what cannot be told stops no answer
            _log.error("an answer could not be told: %s", error)
        return True

    def _look(self, key: str, answer: dict[str, Any]) -> None:
        """Tell of an answer to a call, and of a list of tools."""
        result = answer.get("result")
        call = self._calls.pop(key, None)
        task = result.get("task") if isinstance(result, dict) else None
        name = task.get("taskId") if isinstance(task, dict) else None
        if call is not None and isinstance(name, str) and len(self._tasks) < MAX_OPEN:
            self._tasks[name] = call  # the answer is yet to come; the client asks for it by this name
            return
        if key in self._results:
            call = self._tasks.pop(self._results.pop(key), None)
        if call is not None:
            said, ok = told(answer)
            self._gate.returned(call, said, ok=ok)
        if key in self._listings:
            cursor = self._listings.pop(key)
            if isinstance(result, dict):
                self._gate.listed(cursor, result)
