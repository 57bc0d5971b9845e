"""HTTP that goes to the address that was given, follows no redirect, and comes to an end in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, build_opener

from stream.tls import is_loopback

SILENT_S = 15.0
"""How long a server may be silent."""
Made = TypeVar("Made")


class _Straight(HTTPRedirectHandler):
    """Follows no redirect: the place that was named is the place."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Refuse it."""
        raise ValueError(f"the server sends on to another place (status {code}); name that one instead")


def opener(url: str) -> OpenerDirector:
    """What opens this address; no proxy hears what is for this machine, which may go there in the clear."""
    if is_loopback(urlsplit(url).hostname or ""):
        return build_opener(_Straight, ProxyHandler({}))
    return build_opener(_Straight)


def within(seconds: float, work: Callable[[], Made]) -> Made:
    """What `work` returns; `TimeoutError` where it takes longer. A server that sends a byte now and then keeps its thread, and nobody waits for that."""
    made: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failed.append(error)

    working = threading.Thread(target=run, daemon=True)
    working.start()
    working.join(seconds)
    if failed:
        raise failed[0]
    if not made:
        raise TimeoutError(f"not all of it came within {seconds:.0f} s")
    return made[0]
