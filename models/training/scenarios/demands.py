"""Words for an act: one imperative sentence that names it and its arguments, as a person would ask an agent for it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from models.tools.names import name_words
from models.tools.verbs import EXECUTE_VERBS, READ_VERBS, WRITE_VERBS

MAX_VALUE = 600
"""Characters of one argument that a demand spells out; a longer one is cut, as a person would."""

MAX_NAMED = 6
"""Arguments that one sentence names."""


class Demand(NamedTuple):
    """An act that a text asks for.

    Attributes
    ----------
    goal : one imperative sentence that names the act and its arguments
    """

    goal: str
    tool: str
    arguments: dict[str, Any]


_VERBS = READ_VERBS | WRITE_VERBS | EXECUTE_VERBS
_COMMANDS = frozenset("command cmd code script query sql statement".split())
_TARGETS = frozenset(
    "to recipient recipients recipient_id receiver destination receiver_id participants channel".split()
)
_SENTENCE = re.compile(r"[^.\n]{8,140}?(?=[.\n]|$)")


def demand_of(call: Mapping[str, Any], tool_schema: Mapping[str, Any] | None, rng: random.Random) -> Demand:
    """Words for `call`: its name or description in the imperative, its arguments, one of several sentences.

    Parameters
    ----------
    call : a recorded call; ``tool`` and ``args`` are read.
    tool_schema : the tool's catalogue entry, or None when it is not at hand.
    """
    tool = str(call["tool"])
    arguments = dict(call.get("args") or {})
    named = [
        (_words(name), value_text(value)) for name, value in arguments.items() if value not in (None, "")
    ]
    named = [(name, value) for name, value in named if value][:MAX_NAMED]
    commands = [value for name, value in arguments.items() if name.lower() in _COMMANDS and value]
    if commands and len(named) <= 2 and (len(named) == 1 or " " in value_text(commands[0]).strip()):
        return Demand(_run(value_text(commands[0]), tool, rng), tool, arguments)
    act = act_of(tool, tool_schema, rng)
    using = f"use {tool}" if act.startswith("carry out") else f"use {tool} to {act}"
    if not named:
        return Demand(_sentence(rng.choice((act, using, f"call {tool}"))), tool, arguments)
    target = next(((n, v) for n, v in named if n.replace(" ", "_") in _TARGETS), None)
    templates: list[Callable[[], str]] = [
        lambda: f"{act} with {_joined([f'{n} {v}' for n, v in named])}",
        lambda: f"{act}: {'; '.join(f'{n} = {v}' for n, v in named)}",
        lambda: f"{act} ({', '.join(f'{n}: {v}' for n, v in named)})",
        lambda: f"{act} where {_joined([f'the {n} is {v}' for n, v in named])}",
        lambda: f"{using}, {', '.join(f'{n} {quoted(v)}' for n, v in named)}",
        lambda: f"call {tool} with {_joined([f'{n}={quoted(v)}' for n, v in named])}",
    ]
    if target is not None:
        rest = [pair for pair in named if pair != target]
        more = f", {_joined([f'{n} {quoted(v)}' for n, v in rest])}" if rest else ""
        templates += [lambda: f"{act} to {target[1]}{more}"] * 2
    if len(named) == 1:
        templates.append(lambda: f"{act} {named[0][1]}")
    return Demand(_sentence(rng.choice(templates)()), tool, arguments)


def _run(command: str, tool: str, rng: random.Random) -> str:
    return _sentence(
        rng.choice(
            (
                f"run {command}",
                f"run `{command}`",
                f"run this: {command}",
                f"execute `{command}`",
                f"execute the following: {command}",
                f"use {tool} to run `{command}`",
                f"make sure that `{command}` is run",
            )
        )
    )


def act_of(tool: str, schema: Mapping[str, Any] | None, rng: random.Random) -> str:
    """The tool's act in the imperative: the words of its name, or its description's first sentence.

    >>> act_of("send_money", None, random.Random(0)), act_of("PlayMusic", None, random.Random(0))
    ('send money', 'carry out play music')
    """
    words = name_words(tool.rsplit(".", 1)[-1]) or [tool]
    if words[0] in EXECUTE_VERBS:
        return "run a query" if "sql" in words else rng.choice(("run a command", "run a script"))
    if words[0] not in _VERBS and words[-1] in _VERBS:
        words = [words[-1], *words[:-1]]
    plain = " ".join(words) if words[0] in _VERBS else f"carry out {' '.join(words)}"
    found = _SENTENCE.search(str((schema or {}).get("description") or "").strip())
    if found is None:
        return plain
    first, _, rest = found.group().strip().partition(" ")
    verb = next((v for v in (first.lower(), first.lower()[:-1], first.lower()[:-2]) if v in _VERBS), None)
    return plain if verb is None or not rest else rng.choice((plain, f"{verb} {rest}"))


def _words(name: str) -> str:
    return " ".join(name_words(name)) or name


def quoted(value: str) -> str:
    """A value as a call would be given it: with quotes, unless it is one word or number."""
    return value if value.replace(".", "").replace("-", "").isalnum() else f'"{value}"'


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def clause(goal: str) -> str:
    """`goal` for the middle of a sentence: lower-case first letter, no full stop.

    >>> clause("Send money to Ann.")
    'send money to Ann'
    """
    return goal[:1].lower() + goal[1:].rstrip(".!")


def value_text(value: Any) -> str:
    """An argument's value in one line, cut where it is long."""
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        text = ", ".join(map(str, value))
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = " ".join(text.split())
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE].rsplit(" ", 1)[0]
