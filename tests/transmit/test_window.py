"""Delivery as a law: whatever a receiver takes, when it polls and where the transmitter dies, nothing is lost and order is kept."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stream.transmit.stream import Delivery, StreamRecord, read
from stream.transmit.window import Pending, Place, Window

PLACES: tuple[Place, ...] = (("agent.revocations.v1", 0), ("agent.revocations.v1", 1), ("agent.risk.v1", 0))


def pending(place: Place, offset: int, jti: str) -> Pending:
    return Pending(jti, "event", b"token-of-" + jti.encode(), 0, place, offset)


STEPS = st.lists(
    st.one_of(
        # (partition, id of a token, or None for a record that is another's); ids may come twice
        st.tuples(st.just("publish"), st.integers(0, 2), st.one_of(st.none(), st.integers(0, 30))),
        st.tuples(st.just("read"), st.integers(1, 8), st.none()),
        st.tuples(st.just("poll"), st.integers(1, 5), st.none()),
        st.tuples(st.just("ack"), st.integers(0, 10), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 12), st.none()),
        st.tuples(st.just("save"), st.none(), st.none()),
        st.tuples(st.just("crash"), st.none(), st.none()),
    ),
    max_size=120,
)


class Play:
    """A stream with a window of five, its bus, its receiver, and what is kept."""

    def __init__(self) -> None:
        self.bus: dict[Place, list[str | None]] = {place: [] for place in PLACES}
        self.kept = StreamRecord(stream_id="s", receiver="r", delivery=Delivery(method="poll")).at({})
        self.now_s = 0.0
        self.given: list[str] = []  # every hand-over, in order
        self.unanswered: list[str] = []
        self.acked: set[str] = set()
        self.begin()

    def begin(self) -> None:
        self.window = Window(read(self.kept.dumped()).places(), most=5)

    def read(self, most: int) -> None:
        at = self.window.read_to()
        for place in PLACES:
            for offset in range(at.get(place, 0), len(self.bus[place])):
                if most == 0 or self.window.room() <= 0:
                    return
                jti = self.bus[place][offset]
                assert (
                    self.window.read(place, offset, None if jti is None else pending(place, offset, jti)) == 0
                )
                most -= 1
                assert len(self.window) <= 5

    def poll(self, most: int) -> None:
        for each in self.window.due(self.now_s)[:most]:
            self.window.lend(each.jti, self.now_s + 10)
            self.given.append(each.jti)
            self.unanswered.append(each.jti)

    def ack(self, which: int) -> None:
        if self.unanswered:
            jti = self.unanswered.pop(which % len(self.unanswered))
            self.acked.add(jti)
            self.window.done(jti)

    def save(self) -> None:
        self.kept = self.kept.at(self.window.positions())

    def step(self, what: str, number: int | None, token: int | None) -> None:
        if what == "publish":
            place = PLACES[number or 0]
            self.bus[place].append(None if token is None else f"{place[0]}/{place[1]}/{token}")
        elif what == "read":
            self.read(number or 0)
        elif what == "poll":
            self.poll(number or 0)
        elif what == "ack":
            self.ack(number or 0)
        elif what == "wait":
            self.now_s += number or 0
        elif what == "save":
            self.save()
        else:
            self.begin()

    def check(self) -> None:
        """What is kept never lies behind a token that its receiver did not take."""
        for place, at in self.kept.places().items():
            assert {jti for jti in self.bus[place][:at] if jti is not None} <= self.acked

    def finish(self) -> None:
        """A receiver that goes on polling and acknowledging gets everything."""
        for _ in range(400):
            self.read(8)
            self.poll(5)
            while self.unanswered:
                self.ack(0)
            self.now_s += 11
            if not len(self.window) and all(
                self.window.read_to().get(place, 0) >= len(jtis) for place, jtis in self.bus.items()
            ):
                return
        raise AssertionError("it never ends")


@given(STEPS)
def test_nothing_is_lost_and_first_deliveries_keep_the_order_of_each_partition(
    steps: Sequence[tuple[str, int | None, int | None]],
) -> None:
    play = Play()
    for step in steps:
        play.step(*step)
        play.check()
    play.finish()
    play.save()
    play.check()
    for place, jtis in play.bus.items():
        wanted = list(dict.fromkeys(jti for jti in jtis if jti is not None))
        mine = [jti for jti in dict.fromkeys(play.given) if jti in wanted]
        assert mine == wanted, place
        assert play.kept.places().get(place, 0) == len(jtis)


def test_a_gap_on_the_bus_is_told_and_a_record_read_twice_is_not_taken_twice() -> None:
    place = PLACES[0]
    window = Window({place: 3})
    assert window.read(place, 7, pending(place, 7, "a")) == 4
    assert window.read(place, 7, pending(place, 7, "a")) == 0
    assert window.read(place, 2, pending(place, 2, "b")) == 0
    assert [each.jti for each in window.waiting()] == ["a"]
    assert window.positions() == {place: 7}
    assert window.done("b") is None
    assert window.done("a") is not None
    assert window.positions() == {place: 8}


def test_one_id_twice_on_the_bus_is_handed_out_once_while_it_waits() -> None:
    place = PLACES[0]
    window = Window({})
    window.read(place, 0, pending(place, 0, "a"))
    window.read(place, 1, pending(place, 1, "b"))
    window.read(place, 2, pending(place, 2, "a"))
    assert [each.jti for each in window.due(0.0)] == ["a", "b"]
    window.done("a")
    assert window.positions() == {place: 1}
    window.done("b")
    assert window.positions() == {place: 3}


def test_a_window_is_full_by_its_bytes_too() -> None:
    window = Window({}, most=100, most_bytes=20)
    assert window.room() == 100
    for offset in range(2):
        window.read(PLACES[0], offset, pending(PLACES[0], offset, f"jti{offset}"))
    assert window.room() == 0
    window.done("jti0")
    assert window.room() == 99
