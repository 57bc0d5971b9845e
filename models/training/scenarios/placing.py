"""Where a demand is put in a session: into a result, apart into two, or into a tool's description."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from models.training.scenarios.demands import Demand
from models.training.scenarios.wordings import Wording


def place(
    session: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    wording: Wording,
    demand: Demand,
    seq: int,
    rng: random.Random,
    before: int | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Copies of `session` and `tools` in which `wording` asks for `demand`.

    Parameters
    ----------
    seq : the call whose result gets the text.
    before : a ``split`` has its other text in a result before this call (default: `first_bad_seq`, or any).
        With no other such result both texts stand in result `seq`.

    Returns
    -------
    The session with ``wording`` set to the family and ``exposed_seq`` to the call whose result made the
    demand whole (None for the catalogue), and the catalogue.
    """
    made = copy.deepcopy(dict(session))
    catalogue = [copy.deepcopy(dict(tool)) for tool in tools]
    texts = wording.write(demand, rng)
    made["wording"] = wording.family
    made["exposed_seq"] = seq
    if wording.place == "catalogue":
        made["exposed_seq"] = None
        if catalogue:
            others = [tool for tool in catalogue if tool["name"] != demand.tool] or catalogue
            chosen = rng.choice(others)
            chosen["description"] = f"{chosen.get('description') or ''} {texts[0]}".strip()
        return made, catalogue
    calls = made["calls"]
    if wording.place == "split":
        bound = made.get("first_bad_seq") if before is None else before
        bound = len(calls) if bound is None else bound
        places = [n for n in range(min(bound, len(calls))) if n != seq]
        other = rng.choice(places) if places else seq
        made["exposed_seq"] = max(seq, other)
        for n, text in zip((min(seq, other), max(seq, other)), texts, strict=True):
            put(calls[n], text, rng)
    else:
        for text in texts:
            put(calls[seq], text, rng)
    return made, catalogue


def put(call: dict[str, Any], text: str, rng: random.Random) -> None:
    """Put `text` into the call's result: before, after, between two lines, or in a string of a JSON result."""
    result = call.get("result") or call.get("error") or ""
    if not isinstance(result, str):
        result = json.dumps(result, ensure_ascii=False)
    inside = _in_json(result, text, rng) if rng.random() < 0.7 else None
    if inside is not None:
        call["result"] = inside
        return
    lines = result.split("\n") if result else []
    at = rng.choice((0, len(lines), len(lines), rng.randint(0, len(lines))))
    call["result"] = "\n".join([*lines[:at], text, *lines[at:]])


def _in_json(result: str, text: str, rng: random.Random) -> str | None:
    """`result` with `text` added to one of its strings, or None when it is not a JSON object or list."""
    if result[:1] not in "{[" or not result:
        return None
    try:
        document = json.loads(result)
    except ValueError:
        return None
    spots: list[tuple[Any, Any]] = []
    stack: list[Any] = [document]
    while stack:
        node = stack.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                stack.append(value)
            elif isinstance(value, str):
                spots.append((node, key))
    if not spots:
        return None
    node, key = spots[rng.randrange(len(spots))]
    node[key] = f"{node[key]} {text}" if rng.random() < 0.7 else f"{text} {node[key]}"
    return json.dumps(document, ensure_ascii=False)
