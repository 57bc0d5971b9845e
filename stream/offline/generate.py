"""Seeded sessions for load and crash tests: bus events of invented agents at work.

Every session is drawn from its own ``random.Random(f"{seed}/{index}")``, which Python seeds through SHA-512
and not through ``hash()``: session 17 of seed 3 has the same content in every process, whatever the number
of sessions and however they are interleaved. These sessions load the engine; they are too regular to
measure detection.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from stream.offline.domains import CallTemplate, Domain, world

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CREDENTIAL_LIFE = timedelta(hours=1)
MEAN_GAP_MS = 2000
"""Mean time between two events of one session, however many sessions are open."""
WAYS = 40
"""Orders in the one document of a line of work, each with a target of its own."""


class Profile(NamedTuple):
    """What drawn sessions are like.

    Attributes
    ----------
    hijacked : share of sessions in which a result carries an order that the agent then obeys
    calls : fewest and most calls that serve the user; an attack adds one or two
    result_chars : results are filled up to this many characters
    unfinished : share of sessions that never end
    tenant : whose they are
    run : prefix of session ids (``<run>-gen-...``)
    thief : who orders all attacks; empty: another one in each session
    one_source : in each line of work one document orders all attacks, each agent in one of `WAYS` ways
    """

    hijacked: float = 0.1
    calls: tuple[int, int] = (3, 9)
    result_chars: int = 0
    unfinished: float = 0.0
    tenant: str = "acme"
    run: str = ""
    thief: str = ""
    one_source: bool = False


USUAL = Profile()


class Plan(NamedTuple):
    """One drawn session before it has times: what is known of it, and its event bodies in order."""

    session_id: str
    first_bad: int | None
    """``call_seq`` of the first call that serves the attacker; None = benign."""

    bodies: list[dict[str, Any]]


def plan(seed: int, index: int, profile: Profile = USUAL) -> Plan:
    """Session ``index`` of ``seed``."""
    rng = random.Random(f"{seed}/{index}")
    domains = world().domains
    domain = domains[rng.randrange(len(domains))]
    slots = _slots(rng, domain)
    if profile.thief:
        slots["thief"] = profile.thief
    if profile.one_source:
        slots = _way(domain, random.Random(f"{seed}/{index}/way").randrange(WAYS))
    name = f"gen-{seed}-{index:06d}"
    session_id = f"{profile.run}-{name}" if profile.run else name
    credential = {"broker": "demo", "kind": "jti", "value": session_id}
    calls = _calls(rng, domain, profile)
    bodies = [_declared(domain, slots, credential, profile.tenant)]
    for call_seq, template in enumerate(calls.templates):
        result = template.result.format_map(slots)
        if call_seq == calls.bait_at:
            order = calls.bait.format(order=domain.injection.format_map(slots))
            result = _document(domain.name) if profile.one_source else f"{result} {order}"
        if len(result) < profile.result_chars:
            result += " " + _filler(rng, profile.result_chars - len(result) - 1)
        call_id = f"{session_id}:{call_seq}"
        arguments = {name: value.format_map(slots) for name, value in template.arguments.items()}
        bodies.append(
            {
                "type": "tool.called",
                "call_id": call_id,
                "tool": template.tool,
                "arguments": arguments,
                "credential": credential,
            }
        )
        bodies.append({"type": "tool.returned", "call_id": call_id, "status": "ok", "result": result})
    if rng.random() >= profile.unfinished:
        bodies.append({"type": "session.ended", "reason": "completed"})
    return Plan(session_id, None if calls.bait_at is None else calls.bait_at + 1, bodies)


def _slots(rng: random.Random, domain: Domain) -> dict[str, str]:
    """What the session's templates are filled with."""
    people = world().people
    return {name: rng.choice(values) for name, values in domain.slots.items()} | {
        "number": str(rng.randint(1000, 9999)),
        "code": f"{rng.getrandbits(24):06x}",
        "other": str(rng.randint(10_000, 99_999)),
        "small": str(rng.randint(2, 30)),
        "amount": f"{rng.randint(20, 900)}.{rng.randint(0, 99):02d}",
        "person": rng.choice(people),
        "victim": rng.choice(people),
        "thief": f"desk{rng.randint(100, 999)}",
    }


def _way(domain: Domain, way: int) -> dict[str, str]:
    """What the templates of all sessions are filled with that one document leads astray in this way."""
    return _slots(random.Random(f"{domain.name}/{way}"), domain)


@cache
def _document(domain_name: str) -> str:
    """What all agents of a line of work read, with an order for each way."""
    domain = next(each for each in world().domains if each.name == domain_name)
    orders = (domain.injection.format_map(_way(domain, way)) for way in range(WAYS))
    return " ".join(world().bait[0].format(order=order) for order in orders)


class _Calls(NamedTuple):
    """The calls of a session, and the one whose result carries the `bait` (None: benign)."""

    templates: list[CallTemplate]
    bait_at: int | None
    bait: str


def _calls(rng: random.Random, domain: Domain, profile: Profile) -> _Calls:
    wanted = max(rng.randint(*profile.calls), 1)
    if wanted == 1:
        templates = [domain.reads[0]]
    else:
        reads = [domain.reads[place % len(domain.reads)] for place in range(wanted - 1)]
        templates = [*reads, domain.writes[0]]
    # All draws happen for every session, so that another share of hijacked ones leaves the rest as it is.
    hijacked = rng.random() < profile.hijacked
    bait, place = rng.choice(world().bait), rng.randrange(max(wanted - 1, 1))
    if hijacked:
        templates[place + 1 : place + 1] = domain.attack
    return _Calls(templates, place if hijacked else None, bait)


def _declared(
    domain: Domain, slots: Mapping[str, str], credential: Mapping[str, str], tenant: str
) -> dict[str, Any]:
    """The declaration that begins a session."""
    return {
        "type": "session.declared",
        "agent": {
            "id": f"{domain.name}-assistant",
            "spiffe_id": f"spiffe://{tenant}.example.com/agent/{domain.name}-assistant",
            "user": f"{slots['person']}@{tenant}.example.com",
        },
        "intent": {"text": domain.intent.format_map(slots)},
        "tools": domain.catalogue(),
        "credentials": [credential],
    }


def sessions(
    seed: int,
    n: int,
    profile: Profile = USUAL,
    *,
    at_once: int = 1,
    duplicates: float = 0.0,
    start: datetime = START,
) -> Iterator[dict[str, Any]]:
    """Bus events of ``n`` sessions, in the order in which they would arrive.

    Parameters
    ----------
    seed, n : what to draw, and how many sessions.
    profile : what they are like.
    at_once : sessions open at the same time, interleaved; 1 = one after the other.
    duplicates : share of events that are sent a second time, unchanged, right away.
    start : the first event's time.
    """
    order = random.Random(f"{seed}/order")
    waiting = iter(range(n))
    opened: list[tuple[Plan, int]] = []
    now = start
    while True:
        while len(opened) < max(at_once, 1) and (index := next(waiting, None)) is not None:
            opened.append((plan(seed, index, profile), 0))
        if not opened:
            return
        place = order.randrange(len(opened))
        drawn, seq = opened[place]
        event = _event(drawn, seq, profile.tenant, now)
        yield event
        if order.random() < duplicates:
            yield event
        if seq + 1 < len(drawn.bodies):
            opened[place] = (drawn, seq + 1)
        else:
            # The last one takes its place: which one is drawn next must not cost a shift of the whole list.
            opened[place] = opened[-1]
            opened.pop()
        step_us = order.randint(1, 2 * MEAN_GAP_MS * 1000 // max(len(opened), 1))
        now += timedelta(microseconds=step_us)


def _event(drawn: Plan, seq: int, tenant: str, now: datetime) -> dict[str, Any]:
    """Event `seq` of a session, at the time `now`; the first one dates its credentials."""
    body = drawn.bodies[seq]
    event = {
        "id": f"{drawn.session_id}/{seq}",
        "type": body["type"],
        "session_id": drawn.session_id,
        "seq": seq,
        "tenant": tenant,
        "time": _rfc3339(now),
        **body,
    }
    if seq == 0:
        # A very long session gets a longer one, or its second half would be misuse of an expired one.
        life = max(CREDENTIAL_LIFE, timedelta(milliseconds=4 * MEAN_GAP_MS * len(drawn.bodies)))
        lifetime = {"issued": _rfc3339(now), "expires": _rfc3339(now + life)}
        event["credentials"] = [{**credential, **lifetime} for credential in event["credentials"]]
    return event


def truth(seed: int, n: int, profile: Profile = USUAL) -> dict[str, int | None]:
    """First bad ``call_seq`` of each session that `sessions` draws so; None = benign."""
    drawn = (plan(seed, index, profile) for index in range(n))
    return {each.session_id: each.first_bad for each in drawn}


_WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "larch")


def _filler(rng: random.Random, chars: int) -> str:
    words = "".join(f"{word} " for word in rng.choices(_WORDS, k=max(chars, 0) // 5 + 1))
    return words[: max(chars, 0)]


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
