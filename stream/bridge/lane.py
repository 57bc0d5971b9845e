"""One provider's way in: so many calls at once, fewer while it struggles, none while it asks to be left alone."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from models.contracts import CredentialRef
from stream.bridge.configuration import Limits
from stream.bridge.provider import Effect, Provider, Rejected, Unavailable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
"""Between which a pause after a failure is drawn: the upper bound doubles with each failure in a row (chosen)."""
LONGEST_RETRY_AFTER_S = 300.0
"""How long a provider is left alone at most, whatever it asks for: one odd header must not end revocation there (chosen)."""

_log = logging.getLogger("driftline.bridge")


class GaveUp(Exception):
    """The provider was not available for as long as the configuration waits; the text says why, at last."""


class Lane:
    """Calls of one provider, in the order in which they were asked for.

    Parameters
    ----------
    provider : Provider
        Whom to call.
    limits : Limits
        How many at once and a second, and how long to try.
    draw : callable
        Uniform in [0, 1): the jitter of pauses.

    Attributes
    ----------
    waiting : int
        Calls that are asked for and not answered.
    down_why : str
        Why the provider is left alone at the moment; empty while it is not.

    Notes
    -----
    A failure is the provider's, not the call's: the lane closes for everybody, for a pause with full jitter (Brooker,
    "Exponential Backoff and Jitter", 2015) and at least for as long as `Retry-After` says. One call at a time then tries, and
    each success lets one more in beside it, so that nobody storms a provider that has just come back.

    A call is given up once it has failed for as long as the limits say, or has waited so long for a provider that answered nobody.
    While the provider answers others, a line before it may be as long as it likes.
    """

    def __init__(self, provider: Provider, limits: Limits, draw: Callable[[], float]) -> None:
        self.provider, self.waiting, self.down_why = provider, 0, ""
        self._limits, self._draw = limits, draw
        self._door = asyncio.Lock()  # first come, first served
        self._left = asyncio.Event()
        self._width, self._running, self._failures = 1, 0, 0
        self._opens_s = self._answered_s = 0.0

    async def revoke(
        self, credential: CredentialRef, issued_before_s: int, delayed: Callable[[str], Awaitable[None]]
    ) -> Effect:
        """Call the provider until it answers; `delayed` hears once why that takes longer.

        Raises
        ------
        GaveUp
            It did not, for as long as the limits say.
        Rejected
            It never will.
        """
        loop, give_up_s = asyncio.get_running_loop(), self._limits.give_up_minutes * 60
        self.waiting += 1
        asked_s, failing_s, why = loop.time(), math.inf, ""
        timer: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout(None) as limit:

                def watch() -> None:
                    nonlocal timer
                    ends_s = min(failing_s, max(asked_s, self._answered_s)) + give_up_s
                    if ends_s <= loop.time():
                        limit.reschedule(ends_s)
                    else:
                        timer = loop.call_at(ends_s, watch)

                watch()
                while True:
                    await self._turn()
                    began_s = loop.time()
                    try:
                        return await self._call(credential, issued_before_s)
                    except Unavailable as error:
                        first, why = not why, error.why
                    if first:
                        failing_s = began_s
                        await delayed(why)
        except TimeoutError as error:
            raise GaveUp(why or self.down_why or "its turn did not come") from error
        finally:
            if timer is not None:
                timer.cancel()
            self.waiting -= 1

    async def _call(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        try:
            effect = await self.provider.revoke(credential, issued_before_s)
        except Unavailable as error:
            self._close(error)
            raise
        except Rejected:
            self._open()  # it answers
            raise
        except Exception as error:
            # A provider that fails in a way that nobody foresaw fails this one credential, and no other.
            _log.exception("%s: an answer that the bridge does not understand", credential.broker)
            raise Rejected(f"the bridge did not understand the answer ({type(error).__name__})") from error
        else:
            self._open()
            return effect
        finally:
            self._running -= 1
            self._left.set()

    async def _turn(self) -> None:
        """Wait for a place; returns with it taken."""
        loop = asyncio.get_running_loop()
        async with self._door:
            while True:
                pause = self._opens_s - loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                elif self._running >= self._width:
                    self._left.clear()
                    await self._left.wait()
                else:
                    break
            self._running += 1
            self._opens_s = max(self._opens_s, loop.time() + 1 / self._limits.per_second)

    def _close(self, error: Unavailable) -> None:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 16))
        pause = max(self._draw() * longest, min(error.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))
        self._failures += 1
        self._width, self.down_why = 1, error.why
        self._opens_s = max(self._opens_s, asyncio.get_running_loop().time() + pause)

    def _open(self) -> None:
        self._failures, self.down_why, self._answered_s = 0, "", asyncio.get_running_loop().time()
        self._width = min(self._limits.at_once, self._width + 1)
