"""A listener's connections: whoever does not ask keeps nobody out, and whoever asks slowly is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stream.console import connections, serving
from stream.console.serving import Listen, bound_to, served

MOST = 8
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", MOST)


async def answers(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """An application that reads a body, waits where it is asked to, and answers."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slowly":
        await asyncio.sleep(1)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening() -> AsyncIterator[Callable[[], Awaitable[Opened]]]:
    listen, stop = Listen(port=0), asyncio.Event()
    bound = bound_to(listen)
    serving_now = asyncio.create_task(served(answers, listen, bound, stop.wait(), stop))

    writers: list[asyncio.StreamWriter] = []

    async def opened() -> Opened:
        reader, writer = await asyncio.open_connection(*bound.getsockname()[:2])
        writers.append(writer)
        return reader, writer

    try:
        yield opened
    finally:
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        stop.set()
        await serving_now


async def asked(opened: Opened, request: bytes = GET) -> bytes:
    """The answer's head and body; empty where the connection was closed."""
    reader, writer = opened
    writer.write(request)
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        return head + await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def is_closed(opened: Opened, within: float = 5) -> bool:
    try:
        return await asyncio.wait_for(opened[0].read(1), within) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_connections_that_do_not_ask_keep_nobody_out() -> None:
    async def scene() -> None:
        async with listening() as opened:
            silent = [await opened() for _ in range(4 * MOST)]
            for _, writer in silent[::2]:
                writer.write(b"GET / HTTP/1.1\r\n")  # half a head
            for _ in range(20):
                assert (await asked(await opened())).startswith(b"HTTP/1.1 200")
            assert await is_closed(silent[0])

    asyncio.run(scene())


def test_who_asked_before_stays_where_others_never_did() -> None:
    async def scene() -> None:
        async with listening() as opened:
            kept = await opened()
            assert await asked(kept)
            for _ in range(4 * MOST):
                await opened()
            assert (await asked(kept)).endswith(b"ok")

    asyncio.run(scene())


def test_where_all_are_being_answered_one_more_is_refused_and_none_is_cut_off() -> None:
    async def scene() -> None:
        async with listening() as opened:
            slowly = GET.replace(b"/ ", b"/slowly ", 1)
            at_work = [asyncio.create_task(asked(await opened(), slowly)) for _ in range(MOST - 1)]
            await asyncio.sleep(0.3)
            assert b"503" in await asked(await opened())
            assert all(answer.endswith(b"ok") for answer in await asyncio.gather(*at_work))

    asyncio.run(scene())


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nabc"],
    ids=["nothing", "half a head", "half a body"],
)
def test_what_is_not_sent_in_time_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)

    async def scene() -> None:
        async with listening() as opened:
            late = await opened()
            late[1].write(sent)
            assert await is_closed(late)

    asyncio.run(scene())


def test_an_answer_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)

    async def scene() -> None:
        async with listening() as opened:
            assert (await asked(await opened(), GET.replace(b"/ ", b"/slowly ", 1))).endswith(b"ok")

    asyncio.run(scene())


def test_a_burst_of_connections_that_ask_nothing_leaves_room_for_one_that_asks() -> None:
    async def scene() -> None:
        async with listening() as opened:
            # In one go, so that the listener takes many of them before any that was told to go is gone.
            await asyncio.gather(*(opened() for _ in range(8 * MOST)))
            await asyncio.sleep(0.1)
            assert b" 200" in await asked(await opened())

    asyncio.run(scene())
