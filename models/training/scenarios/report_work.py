"""Ordinary work in the report's lines of business: calls, acts that may be asked for besides, and how intents put them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from models.training.scenarios.placing import put
from models.training.scenarios.report_templates import Act, Domain
from models.training.scenarios.report_values import Values, phrases
from models.training.scenarios.templates import Step

MAX_CALLS = 15
"""Calls of an ordinary session."""
BATCHED = 0.4
"""Share of the work that is a batch of acts of one kind (chosen: tools then tell least)."""


class Call(NamedTuple):
    """A call with its values. `reads`: its result may carry foreign text."""

    tool: str
    args: dict[str, Any]
    result: str
    error: str | None = None
    reads: bool = False


class Done(NamedTuple):
    """An act with its values: the sentence that asks for it, and its calls."""

    kind: str
    ask: str
    goal: str
    calls: tuple[Call, ...]


class Work(NamedTuple):
    """Ordinary work: its template, its intent before tone and further acts, its calls, and its values."""

    task: str
    intent: str
    calls: list[Call]
    values: Values


def call_of(step: Step, values: Values, turn: int = 1) -> Call:
    """A call with its values."""
    return Call(step.tool, values.fill(step.args, turn), values.fill(step.result, turn), reads=step.reads)


def act_of(
    domain: Domain, rng: random.Random, among: Sequence[Act] = (), matter: Values | None = None
) -> Done:
    """One act of `among` (default: any of the domain), now and then on the matter that the session is about."""
    # Acts that begin with a look-up are few among the templates, and count double.
    act = rng.choice(among or [act for act in domain.acts for _ in range(1 if act.first is None else 2)])
    values = Values(domain, rng) if matter is None or rng.random() < 0.6 else matter.near(rng)
    steps = [act.step] if act.first is None else [act.first, act.step]
    goal = values.fill(act.goal)
    return Done(act.kind, act.ask, goal, tuple(call_of(step, values) for step in steps))


def work(domain: Domain, rng: random.Random, room: int = 3) -> Work:
    """Work of a line of business, with at most so many calls that it does not need."""
    if rng.random() < BATCHED:
        return _batch(domain, rng)
    task = rng.choice(domain.tasks)
    values = Values(domain, rng)
    calls = _steps(task.steps, values, rng)
    said = values.fill(rng.choice(task.intents))
    calls = _wander(domain, calls, rng, min(room, MAX_CALLS - 2 - len(calls)))
    return Work(task.key, said, calls, values)


def _steps(steps: Sequence[Step], values: Values, rng: random.Random) -> list[Call]:
    """The calls of a task. Steps of a loop run turn by turn, or each through all turns before the next."""
    calls: list[Call] = []
    by_turn = rng.random() < 0.5
    start = 0
    while start < len(steps):
        end = start + 1
        if steps[start].each:
            while end < len(steps) and steps[end].each:
                end += 1
            turns, loop = range(1, values.turns + 1), steps[start:end]
            if by_turn:
                calls += [call_of(step, values, turn) for turn in turns for step in loop]
            else:
                calls += [call_of(step, values, turn) for step in loop for turn in turns]
        else:
            calls.append(call_of(steps[start], values))
        start = end
    return calls


def _wander(domain: Domain, calls: list[Call], rng: random.Random, room: int) -> list[Call]:
    """`calls` with what real sessions have besides: a failed try, look-ups on the way, a second look."""
    calls = list(calls)
    if rng.random() < 0.25 and room > 0:
        at = rng.randrange(len(calls))
        calls.insert(at, _failed(calls[at], rng))
        room -= 1
    if rng.random() < 0.35:
        for _ in range(min(room, rng.choice((1, 1, 2, 3)))):
            look = call_of(rng.choice(domain.look), Values(domain, rng))
            calls.insert(rng.randrange(len(calls) + 1), look)
            room -= 1
    if rng.random() < 0.12 and room > 0:
        again = rng.choice([call for call in calls if call.reads])
        calls.insert(rng.randrange(calls.index(again) + 1, len(calls) + 1), again)
    return calls


def _failed(call: Call, rng: random.Random) -> Call:
    """A try of `call` that failed, now and then since a value of it was mistyped."""
    tried = dict(call.args)
    texts = [key for key, value in tried.items() if isinstance(value, str) and len(value) > 3]
    failures = phrases().failures
    failure = rng.choice(failures)
    if texts and failure in failures[1:4:2]:  # "not found", "value not recognised"
        key = rng.choice(texts)
        tried[key] = tried[key][:-2] + tried[key][-1]
    return call._replace(args=tried, result="", error=failure, reads=False)


def _batch(domain: Domain, rng: random.Random) -> Work:
    """Several acts of one kind, all spelled out in the intent.

    Acts whose tool no task uses are taken more often: else such a tool would by itself speak for an attack.
    """
    used = {step.tool for task in domain.tasks for step in task.steps}
    act = rng.choice([act for act in domain.acts for _ in range(1 if act.step.tool in used else 4)])
    values = Values(domain, rng)
    calls = [call_of(rng.choice(domain.look), Values(domain, rng)) for _ in range(rng.choice((1, 1, 2)))]
    batch = [act_of(domain, rng, [act]) for _ in range(rng.choice((2, 2, 3, 4)))]
    goals = [done.goal for done in batch]
    said = rng.choice(phrases().batches).format(
        ask=act.ask,
        Ask=capital(act.ask),
        line=" ".join(goals),
        rows="".join(f"\n- {goal}" for goal in goals),
    )
    return Work(f"batch_{act.kind}", said, insert(calls, batch, len(calls)), values)


def insert(calls: Sequence[Call], acts: Iterable[Done], at: int) -> list[Call]:
    """`calls` with all calls of `acts`, in order, before call `at`."""
    return [*calls[:at], *(call for act in acts for call in act.calls), *calls[at:]]


def saying(call: Call, text: str, rng: random.Random) -> Call:
    """`call` with `text` in its result."""
    record: dict[str, Any] = {"result": call.result, "error": None}
    put(record, text, rng)
    return call._replace(result=record["result"])


# --- intents


def intent(text: str, asked: Sequence[Done], rng: random.Random) -> str:
    """An intent in one of many tones, with further acts asked for."""
    tail = "".join(
        rng.choice(phrases().asking).format(goal=done.goal, act=clause(done.goal)) for done in asked
    )
    close = rng.choice(phrases().closings)
    if tail.startswith(" ") or close:
        text = stopped(text)
    return f"{rng.choice(phrases().openings)}{text}{tail}{close}"


def clause(goal: str) -> str:
    """A goal as a part of a longer sentence."""
    return goal[:1].lower() + goal[1:].rstrip(".")


def capital(text: str) -> str:
    """`text` for the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def stopped(text: str) -> str:
    """`text` with a full stop, unless it ends in punctuation of its own."""
    return f"{text}." if text[-1].isalnum() else text
