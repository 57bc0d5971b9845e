"""The sentences that the table of words is fitted on: what people wrote, templates, docstrings, and jumbles of words."""

from __future__ import annotations

import ast
import hashlib
import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.contracts import Tool
from models.text.meaning import clauses_of, sentences_of
from models.tools.names import spoken_name
from models.tools.verbs import READ_VERBS, WRITE_VERBS
from models.training import corpora
from models.training.heads import expectation, handover
from models.training.scenarios import made_up, written_tasks

SEED = "words-1"


class Phrases(NamedTuple):
    """What requests and tool descriptions are made of: frames, and things, people and details for their places."""

    things: list[str]
    people: list[str]
    details: list[str]
    frames: list[str]


def _random(part: str) -> random.Random:
    return random.Random(int.from_bytes(hashlib.sha256(f"{SEED}|{part}".encode()).digest()[:8], "big"))


def templates(count: int) -> list[str]:
    """Requests and tool descriptions by templates, without repeats, in the order made."""
    rng = _random("templates")
    held: Phrases = corpora.read("encoder.json", Phrases)
    verbs = sorted(v for v in READ_VERBS | WRITE_VERBS if v.isalpha() and len(v) > 3)
    made: dict[str, None] = {}
    while len(made) < count:
        verb, verb2 = rng.choice(verbs), rng.choice(verbs)
        thing, thing2 = rng.choice(held.things), rng.choice(held.things)
        text = rng.choice(held.frames).format(
            verb=verb,
            verb2=verb2,
            a=rng.choice(("the", "a", "my", "all", "this")),
            a2=rng.choice(("the", "a", "my")),
            thing=thing,
            thing2=thing2,
            who=rng.choice(held.people),
            detail=rng.choice(held.details),
            name=f"{verb}_{thing}".replace(" ", "_").replace("-", "_").lower(),
        )
        made[text[:1].upper() + text[1:] if " " in text else text] = None
    return list(made)


def docstrings(count: int) -> list[str]:
    """First paragraphs of docstrings of the standard library that runs this, chosen by a hash."""
    home = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
    found = set()
    for path in home.rglob("*.py"):
        if left_out & set(path.relative_to(home).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if 20 <= len(text) <= 240:
                    found.add(text)
    return sorted(found, key=lambda text: hashlib.sha256(f"{SEED}|{text}".encode()).digest())[:count]


def written() -> dict[str, list[str]]:
    """What people wrote: whole tasks with their tools, and sentences of users. Only of authors to learn from."""
    catalogues = written_tasks.catalogues()
    wishes, calls, tools, texts, answers = (set[str]() for _ in range(5))
    for name, file in written_tasks.to_learn_from().items():
        tools_of = map(Tool.model_validate, catalogues[name])
        names = {tool.name: spoken_name(tool, tool.name) for tool in tools_of}
        for tool in file["tools"]:
            tools |= {f"{tool['name']}: {tool['description']}", *tool["parameters"].values()}
        for wish, made in expectation.wishes(file):
            wishes |= _with_clauses(wish)
            calls |= {expectation.spoken(names, call) for call in made}
            told = (made_up.as_text(call["result"]).replace(written_tasks.SLOT, "") for call in made)
            answers |= {line for one in told for line in sentences_of(one)}
        demands = [one for task in file["work"] for one in (task["calm"], task["attack"]["text"])]
        demands += [one for task in file["handed"] for one in (task["text"], task["beyond"]["text"])]
        texts = texts.union(*map(_with_clauses, demands))
    said = {s.text for s in (*handover.sentences(), *handover.requests()) if s.author in handover.LEARN}
    found = {
        "requests of written tasks, and their clauses": wishes,
        "calls of written tasks": calls,
        "tools of written tasks": tools,
        "texts in written tasks": texts,
        "answers in written tasks": {line for line in answers if 15 <= len(line) <= 240},
        "sentences of users": said,
    }
    met: set[str] = set()
    parts = {}
    for name, one in found.items():
        parts[name] = sorted(one - met)
        met |= one
    return parts


def _with_clauses(text: str) -> set[str]:
    return {text, *(clause for clause, _ in clauses_of(text))}


def jumbles(words: Sequence[str], rounds: int) -> list[str]:
    """Four words at random in a row, such that each word occurs once a round."""
    made = []
    for turn in range(rounds):
        dealt = list(words)
        _random(f"jumbles-{turn}").shuffle(dealt)
        made += [" ".join(dealt[at : at + 4]) for at in range(0, len(dealt), 4)]
    return made
