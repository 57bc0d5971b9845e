"""Orders carried out: order, repeats, outcomes, and what fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from models.contracts import CredentialRef, Outcome
from models.errors import BrokerError
from stream.bridge.configuration import Limits
from stream.bridge.delivery import Delivery
from stream.bridge.lane import Lane
from stream.bridge.ledger import Ledger
from stream.bridge.order import Order
from stream.bridge.provider import Effect, Rejected, Unavailable
from stream.outbound.claims import credential_id
from tests.bridge.virtual import run

PUBLISHED_MS = 1_000


class Scripted:
    """A provider that answers each value from a list, and keeps what it was asked."""

    def __init__(self, takes_s: float = 0.0, **answers: list[Effect | Exception]) -> None:
        self.takes_s, self.answers = takes_s, answers
        self.asked: list[str] = []

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        self.asked.append(credential.value)
        await asyncio.sleep(self.takes_s)
        left = self.answers.get(credential.value)
        said = left.pop(0) if left else Effect("done")
        if isinstance(said, Exception):
            raise said
        return said

    async def check(self) -> str:
        return "ok"

    async def close(self) -> None:
        pass


class Told:
    """A bus that takes outcomes."""

    def __init__(self, refuses: int = 0) -> None:
        self.outcomes: list[Outcome] = []
        self.refuses = refuses

    async def report(self, tenant: str, outcome: Outcome) -> None:
        if self.refuses:
            self.refuses -= 1
            raise BrokerError("an outcome was not confirmed")
        assert tenant == "acme"
        self.outcomes.append(outcome)

    def statuses(self) -> list[tuple[str, str]]:
        return [(each.jti, each.status) for each in self.outcomes]


def order(jti: str, *values: str, session: str = "s", broker: str = "sso") -> Order:
    refs = tuple(CredentialRef(broker=broker, kind="sid", value=value) for value in values)
    return Order(jti, "case", "acme", session, "drift", 0, refs)


def delivery(told: Told, ledger: Ledger | None = None, **providers: Scripted) -> Delivery:
    limits = Limits(at_once=8, per_second=1000, give_up_minutes=10)
    lanes: Mapping[str, Lane] = {
        name: Lane(each, limits, random.Random(1).random) for name, each in providers.items()
    }
    return Delivery(lanes, dict.fromkeys(providers, "keycloak"), ledger or Ledger(), told.report, _now_ms)


def _now_ms() -> int:
    return PUBLISHED_MS + int(asyncio.get_running_loop().time() * 1000)


def test_an_outcome_says_what_became_of_which_credential_how_soon_and_what_stays_valid() -> None:
    told = Told()
    sso = Scripted(takes_s=0.25, a=[Effect("done", "", "cached tokens", 300)])

    async def main() -> None:
        await delivery(told, sso=sso).begin(order("j", "a"), PUBLISHED_MS)

    run(main())
    (outcome,) = told.outcomes
    assert (outcome.jti, outcome.case_id, outcome.broker, outcome.kind) == ("j", "case", "sso", "sid")
    assert (outcome.status, outcome.provider) == ("done", "keycloak")
    assert outcome.credential == credential_id("acme", order("j", "a").credentials[0])
    assert outcome.latency_ms == 250
    assert outcome.survives == "cached tokens"
    assert outcome.survives_until is not None
    assert (outcome.survives_until - outcome.time).total_seconds() == 300


def test_a_token_read_again_is_not_carried_out_again() -> None:
    told, sso, ledger = Told(), Scripted(), Ledger()

    async def main() -> None:
        for _ in range(3):
            made = delivery(told, ledger, sso=sso)
            await asyncio.gather(*(made.begin(order(f"j{n}", "a", "b"), PUBLISHED_MS) for n in range(50)))

    run(main())
    assert len(sso.asked) == 100
    assert len(told.outcomes) == 100


def test_after_a_crash_before_the_outcome_the_repeat_finds_it_gone_and_says_so() -> None:
    told = Told(refuses=1)
    sso = Scripted(a=[Effect("done"), Effect("already_gone")])
    ledger = Ledger()

    async def main() -> None:
        with pytest.raises(BrokerError):
            await delivery(told, ledger, sso=sso).begin(order("j", "a"), PUBLISHED_MS)
        await delivery(told, ledger, sso=sso).begin(order("j", "a"), PUBLISHED_MS)

    run(main())
    assert told.statuses() == [("j", "already_gone")]


def test_another_bridge_learns_from_the_outcomes_on_the_bus() -> None:
    told, first, second = Told(), Scripted(), Scripted()

    async def main() -> None:
        await delivery(told, sso=first).begin(order("j", "a"), PUBLISHED_MS)
        ledger = Ledger()
        for outcome in told.outcomes:
            ledger.take(outcome.model_dump(mode="json", exclude_none=True))
        await delivery(told, ledger, sso=second).begin(order("j", "a", "b"), PUBLISHED_MS)

    run(main())
    assert second.asked == ["b"]


def test_of_a_session_a_later_token_waits_for_the_earlier_at_its_broker_alone() -> None:
    told = Told()
    sso = Scripted(a=[Unavailable("HTTP 503", 60.0), Effect("done")])
    vault = Scripted()

    async def main() -> None:
        made = delivery(told, sso=sso, vault=vault)
        tasks = [
            made.begin(order("first", "a"), PUBLISHED_MS),
            made.begin(order("second", "b"), PUBLISHED_MS),
            made.begin(order("other broker", "v", broker="vault"), PUBLISHED_MS),
        ]
        await asyncio.gather(*tasks)

    run(main())
    assert told.statuses() == [
        ("other broker", "done"),
        ("first", "requested"),
        ("first", "done"),
        ("second", "done"),
    ] or told.statuses() == [
        ("first", "requested"),
        ("other broker", "done"),
        ("first", "done"),
        ("second", "done"),
    ]
    assert sso.asked == ["a", "a", "b"]


def test_what_fails_says_how_it_is_mended_and_holds_up_nothing() -> None:
    told = Told()
    sso = Scripted(a=[Rejected("Keycloak knows no realm 'x'")], b=[Unavailable("HTTP 503", 3600.0)] * 9)

    async def main() -> None:
        made = delivery(told, sso=sso)
        await asyncio.gather(
            made.begin(order("rejected", "a", session="1"), PUBLISHED_MS),
            made.begin(order("unknown", "a", session="2", broker="okta"), PUBLISHED_MS),
            made.begin(order("given up", "b", session="3"), PUBLISHED_MS),
        )

    run(main())
    said = {each.jti: (each.status, each.detail or "") for each in told.outcomes}
    providers = {each.jti: each.provider for each in told.outcomes}
    assert providers == {"rejected": "keycloak", "unknown": None, "given up": "keycloak"}
    assert said["rejected"] == ("failed", "Keycloak knows no realm 'x'")
    assert said["unknown"][0] == "failed"
    assert "names no broker 'okta'" in said["unknown"][1]
    assert said["given up"][0] == "failed"
    assert "--retry-failed" in said["given up"][1]


def test_names_that_hosts_chose_write_no_lines_of_their_own_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told()

    async def main() -> None:
        forged = order("j", "a", broker="x\n2026-01-01 INFO driftline.bridge: done: sso\x1b[2J")
        await delivery(told, sso=Scripted()).begin(forged, PUBLISHED_MS)

    run(main())
    assert told.outcomes[0].status == "failed"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isprintable()


def test_what_failed_is_done_again_on_demand_and_then_is_no_failure() -> None:
    ledger = Ledger()
    told = Told()
    sso = Scripted(a=[Rejected("no"), Effect("done")])

    async def main() -> None:
        made = delivery(told, ledger, sso=sso)
        await made.begin(order("j", "a", "b"), PUBLISHED_MS)
        assert ledger.failed() == {"j"}
        await made.begin(order("j", "a", "b"), PUBLISHED_MS)

    run(main())
    assert ledger.failed() == set()
    assert sso.asked == ["a", "b", "a"]


def test_an_outcome_that_the_bus_does_not_take_stops_the_bridge() -> None:
    told = Told(refuses=100)

    async def main() -> None:
        made = delivery(told, sso=Scripted())
        with pytest.raises(BrokerError):
            await made.begin(order("j", "a", "b", "c"), PUBLISHED_MS)

    run(main())


def test_the_ledger_forgets_the_oldest_first_and_what_was_done_stays_done() -> None:
    ledger = Ledger(most=2)
    for n in range(3):
        ledger.note(f"j{n}", "c", "done")
    ledger.note("j2", "c", "failed")  # of an older bridge, read late
    assert [ledger.is_done(f"j{n}", "c") for n in range(3)] == [False, True, True]
    assert ledger.forgot
    assert ledger.failed() == set()


@pytest.mark.parametrize(
    "odd",
    [{}, {"jti": 1}, {"jti": "j", "credential": None, "status": "done"}, {"jti": "j", "status": "done"}],
)
def test_outcomes_of_another_shape_say_nothing(odd: dict[str, object]) -> None:
    ledger = Ledger()
    ledger.take(odd)
    assert not ledger.is_done("j", "c")
    assert ledger.failed() == set()
