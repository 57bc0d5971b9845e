"""One provider's way in: what happens while it is down, busy, or asks to be left alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from models.contracts import CredentialRef
from stream.bridge.configuration import Limits
from stream.bridge.lane import LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S, GaveUp, Lane
from stream.bridge.provider import Effect, Rejected, Unavailable
from tests.bridge.virtual import run

LIMITS = Limits(at_once=4, per_second=20, give_up_minutes=30)


def ref(value: str = "one") -> CredentialRef:
    return CredentialRef(broker="sso", kind="sid", value=value)


class Clocked:
    """A provider that answers by the loop's clock, and notes when it was called."""

    def __init__(self, answer: Callable[[float, str], Effect | Exception], takes_s: float = 0.1) -> None:
        self.answer, self.takes_s = answer, takes_s
        self.called: list[tuple[float, str]] = []
        self.running = self.most = 0

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        now_s = asyncio.get_running_loop().time()
        self.called.append((now_s, credential.value))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.running -= 1
        said = self.answer(now_s, credential.value)
        if isinstance(said, Exception):
            raise said
        return said

    async def check(self) -> str:
        return "ok"

    async def close(self) -> None:
        pass


async def told_of(_: str) -> None:
    pass


async def all_of(lane: Lane, values: list[str]) -> list[Effect | BaseException]:
    return await asyncio.gather(*(lane.revoke(ref(v), 0, told_of) for v in values), return_exceptions=True)


def test_calls_begin_in_order_at_most_so_many_at_once_and_a_second() -> None:
    provider = Clocked(lambda *_: Effect("done"), takes_s=1.0)
    values = [str(n) for n in range(40)]

    async def main() -> list[Effect | BaseException]:
        return await all_of(Lane(provider, LIMITS, random.Random(1).random), values)

    assert run(main()) == [Effect("done")] * 40
    assert [value for _, value in provider.called] == values
    assert provider.most == 4
    starts = [at for at, _ in provider.called]
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(starts))


def test_a_provider_that_is_down_for_minutes_is_asked_rarely_and_by_one_and_nothing_is_lost() -> None:
    provider = Clocked(lambda now_s, _: Effect("done") if now_s > 300 else Unavailable("HTTP 503"))

    async def main() -> tuple[list[Effect | BaseException], float]:
        done = await all_of(Lane(provider, LIMITS, random.Random(2).random), [str(n) for n in range(200)])
        return done, asyncio.get_running_loop().time()

    done, ended_s = run(main())
    assert done == [Effect("done")] * 200
    while_down = [at for at, _ in provider.called if at <= 300]
    assert len(while_down) < 60  # 200 that tried by themselves would be some thousands
    first_second = [at for at, _ in provider.called if at > 300]
    back_s = first_second[0]
    assert sum(at < back_s + 0.1 for at in first_second) == 1  # one tries first
    assert sum(at < back_s + 1 for at in first_second) <= 20
    assert ended_s < 300 + LONGEST_PAUSE_S + 200 / 20 + 5


def test_retry_after_closes_the_lane_for_everybody_and_no_longer() -> None:
    answers = iter([Unavailable("HTTP 429", 120.0)])
    provider = Clocked(lambda *_: next(answers, Effect("done")))

    async def main() -> list[Effect | BaseException]:
        return await all_of(Lane(provider, LIMITS, random.Random(3).random), ["a", "b", "c"])

    assert run(main()) == [Effect("done")] * 3
    starts = [at for at, _ in provider.called]
    assert starts[0] == 0
    assert starts[1] == pytest.approx(120.1, abs=0.01)


def test_pauses_have_full_jitter_and_an_upper_bound_that_doubles() -> None:
    draws = iter([1.0] * 12)
    provider = Clocked(
        lambda now_s, _: Effect("done") if now_s > 200 else Unavailable("HTTP 500"), takes_s=0.0
    )

    async def main() -> None:
        await Lane(provider, LIMITS, lambda: next(draws, 1.0)).revoke(ref(), 0, told_of)

    run(main())
    starts = [at for at, _ in provider.called]
    gaps = [round(b - a, 2) for a, b in pairwise(starts)]
    assert gaps[:9] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_what_is_delayed_is_told_once_with_its_reason() -> None:
    provider = Clocked(lambda now_s, _: Effect("done") if now_s > 60 else Unavailable("HTTP 503"))
    told: list[str] = []

    async def main() -> None:
        async def hear(why: str) -> None:
            told.append(why)

        await Lane(provider, LIMITS, random.Random(4).random).revoke(ref(), 0, hear)

    run(main())
    assert told == ["HTTP 503"]


def test_a_provider_that_stays_down_is_given_up_after_the_limit() -> None:
    provider = Clocked(lambda *_: Unavailable("HTTP 503"))

    async def main() -> tuple[list[Effect | BaseException], float, int]:
        lane = Lane(provider, LIMITS, random.Random(5).random)
        done = await all_of(lane, ["a", "b"])
        return done, asyncio.get_running_loop().time(), lane.waiting

    done, ended_s, waiting = run(main())
    assert [type(each) for each in done] == [GaveUp, GaveUp]
    assert "HTTP 503" in str(done[0])
    assert ended_s == pytest.approx(30 * 60, abs=1)
    assert waiting == 0


def test_one_credential_that_always_fails_holds_up_no_other() -> None:
    provider = Clocked(lambda _, value: Unavailable("HTTP 500") if value == "bad" else Effect("done"))

    async def main() -> float:
        lane = Lane(provider, LIMITS, random.Random(6).random)
        bad = asyncio.create_task(lane.revoke(ref("bad"), 0, told_of))
        good = await all_of(lane, [str(n) for n in range(50)])
        assert good == [Effect("done")] * 50
        bad.cancel()
        return asyncio.get_running_loop().time()

    assert run(main()) < 30


def test_a_rejection_and_an_unforeseen_failure_fail_their_credential_alone() -> None:
    def answer(_: float, value: str) -> Effect | Exception:
        return {"no": Rejected("no such kind"), "bug": KeyError("x")}.get(value, Effect("done"))

    provider = Clocked(answer)

    async def main() -> list[Effect | BaseException]:
        return await all_of(Lane(provider, LIMITS, random.Random(7).random), ["no", "bug", "good"])

    no, bug, good = run(main())
    assert isinstance(no, Rejected)
    assert isinstance(bug, Rejected)
    assert "KeyError" in str(bug)
    assert good == Effect("done")


def test_a_call_that_is_cancelled_gives_its_place_back() -> None:
    provider = Clocked(lambda *_: Effect("done"), takes_s=5.0)

    async def main() -> Effect:
        lane = Lane(provider, Limits(at_once=1), random.Random(8).random)
        first = asyncio.create_task(lane.revoke(ref("a"), 0, told_of))
        await asyncio.sleep(1)
        second = asyncio.create_task(lane.revoke(ref("b"), 0, told_of))
        await asyncio.sleep(1)
        first.cancel()
        return await second

    assert run(main()) == Effect("done")


def test_a_provider_that_asks_to_be_left_alone_for_a_year_is_asked_again_within_minutes() -> None:
    """One header of a proxy gone wrong must not end revocation there until somebody restarts the bridge."""
    answers = iter([Unavailable("HTTP 429", 365 * 86_400.0)])
    provider = Clocked(lambda *_: next(answers, Effect("done")))

    async def main() -> float:
        assert (
            await all_of(Lane(provider, LIMITS, random.Random(9).random), ["a", "b"]) == [Effect("done")] * 2
        )
        return asyncio.get_running_loop().time()

    assert run(main()) < LONGEST_RETRY_AFTER_S + 5


def test_a_provider_that_asks_for_no_pause_and_fails_on_is_not_stormed() -> None:
    provider = Clocked(lambda now_s, _: Effect("done") if now_s > 300 else Unavailable("HTTP 503", 0.0))

    async def main() -> None:
        await all_of(Lane(provider, LIMITS, random.Random(10).random), [str(n) for n in range(20)])

    run(main())
    assert sum(at <= 300 for at, _ in provider.called) < 60


def test_a_long_line_at_a_slow_provider_that_answers_is_never_given_up() -> None:
    provider = Clocked(lambda *_: Effect("done"), takes_s=9.9)  # four at once: 83 minutes for all of them
    values = [str(n) for n in range(2000)]

    async def main() -> list[Effect | BaseException]:
        return await all_of(Lane(provider, LIMITS, random.Random(11).random), values)

    assert run(main()) == [Effect("done")] * 2000


def test_a_credential_that_fails_by_itself_is_given_up_while_others_are_answered() -> None:
    provider = Clocked(lambda _, value: Unavailable("HTTP 500") if value == "bad" else Effect("done"))

    async def main() -> float:
        lane = Lane(provider, LIMITS, random.Random(12).random)
        bad = asyncio.create_task(lane.revoke(ref("bad"), 0, told_of))
        while not bad.done():
            await lane.revoke(ref("good"), 0, told_of)
            await asyncio.sleep(30)
        assert isinstance(bad.exception(), GaveUp)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(30 * 60, abs=60)
