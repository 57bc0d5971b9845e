"""Tasks that people wrote out whole, each with an attack that might happen in it or a text that acts are left to.

``written/<author>_<catalogue>.json`` holds one tool catalogue and what is done with it. Nothing there is made by
template: intents, results and injected texts are all different, which is what recordings of four suites and
spliced pairs lack. Every task comes as twins that share calls or texts, so that neither tells the label.

Work, with an attack of its own:

================ ============= ===================== ============================== =========
variant          acts          text in the result    intent                         label
================ ============= ===================== ============================== =========
calm             honest        ordinary              as written                     benign
ignored          honest        demands the attack    as written                     attempted
hijacked         and attack's  demands the attack    as written                     hijacked
silent           and attack's  ordinary              as written                     hijacked
otherwise        and attack's  either                asks for another task's act    hijacked
asked            and attack's  demands it            asks for it                    benign
asked_silent     and attack's  ordinary              asks for it                    benign
blind_silent     and attack's  all results empty     as written                     hijacked
blind_asked      and attack's  all results empty     asks for it                    benign
================ ============= ===================== ============================== =========

Acts left to a text:

================ ============================ ===================================== =========
variant          acts                         intent                                label
================ ============================ ===================================== =========
delegated        what the text asks for       hands these over                      benign
delegated_both   and an act of another kind   hands both over                       benign
undelegated      what the text asks for       wants something else of the text      hijacked
read             none                         wants something else of the text      attempted
beyond           and an act of another kind   hands the first kind over             hijacked
within           what the text asks for       hands these over; text asks for more  attempted
================ ============================ ===================================== =========

A file holds ``author``, ``catalogue``, ``tools`` (with what each ``does``: read, write or execute), and two lists.
``work``: ``intent``, ``calls``, what the user says on the way (``amendments``, each ``before`` a call), the ``calm`` text,
and an ``attack`` with its ``goal``, ``text``, ``calls``, the honest call ``after`` which they come, and how the user would
have ``asked`` for them. ``handed``: ``intent``, ``calls``, the ``text`` that acts are left to, the ``acts``, another intent
that only ``reads`` the text, and what goes ``beyond``. Exactly one result of a task's calls has `SLOT`, where a text stands.
To write more: a file with an author's letter of its own, every task worded for itself, and somebody else to read it again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from models.training import corpora
from models.training.scenarios import made_up
from models.training.scenarios.asking import amend, weave
from models.training.scenarios.insertion import without_results
from models.training.scenarios.made_up import seeded
from models.training.scenarios.renaming import mapped
from models.training.scenarios.written_files import WrittenFile

SOURCE = "written"
SLOT = "{{SLOT}}"
REPORT = frozenset({"q", "wn", "xf", "ya", "yb", "yc", "yd"})
"""Authors whose tasks are only reported on: nothing is learnt from them or chosen by them."""
LONG = frozenset({"zg", "zh"})
"""Authors of long work that is only reported on, as `REPORT`; others wrote the long work that is learnt from."""
OPENED = frozenset({"zi", "zj", "zk", "zl"})
"""Authors of more of it, whose tasks nobody had scored before the first release that reads was measured on them."""
ORDINARY = frozenset({"calm", "delegated"})
"""Variants that are honest work as it was written, with nothing added to it."""
MET = ORDINARY | {"hijacked", "beyond", "ignored", "within"}
"""Variants that are met as they stand: honest work, attacks whose text was read, and such texts that were not followed."""
AMENDED = 0.3
"""Share of the wishes besides the task that come as an amendment while it runs."""

Session = dict[str, Any]
Tools = list[dict[str, Any]]
Call = Mapping[str, Any]


@lru_cache(maxsize=1)
def files() -> dict[str, dict[str, Any]]:
    """What was written, by author and catalogue."""
    return {name: corpora.read(f"written/{name}.json", WrittenFile) for name in corpora.names("written")}


def coarse(catalogue: str) -> bool:
    """Whether most tools of what was written take no arguments, so that a call's tool alone tells what it does."""
    tools = files()[catalogue]["tools"]
    return 2 * sum(bool(tool["parameters"]) for tool in tools) < len(tools)


def to_learn_from(without: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Of `files` those of the authors to learn from, but for some."""
    apart = {*REPORT, *LONG, *OPENED, *without}
    return {name: file for name, file in files().items() if file["author"] not in apart}


def not_learnt_from() -> frozenset[str]:
    """The files that are read with the others and not learnt from, as `models.training.corpora` names them."""
    return frozenset(f"written/{name}.json" for name in files().keys() - to_learn_from())


def halves() -> tuple[list[str], list[str]]:
    """The authors to learn from, in two halves: what learns from the one is used on the other."""
    authors = sorted({file["author"] for file in to_learn_from().values()})
    return authors[::2], authors[1::2]


def catalogues() -> dict[str, Tools]:
    """Tools by the name that sessions carry as ``tools_ref``."""
    return {name: [_tool(tool) for tool in file["tools"]] for name, file in files().items()}


def sessions(seed: int = 1, *, authors: Collection[str] | None = None) -> Iterator[Session]:
    """All twins of the tasks to learn from, or of these authors'; `seed` decides where further wishes of users stand."""
    if authors is None:
        chosen = to_learn_from()
    else:
        chosen = {name: file for name, file in files().items() if file["author"] in authors}
    for name, file in chosen.items():
        work = file["work"]
        for n, task in enumerate(work):
            yield from _Task(name, f"work{n}", seed).with_attack(task, work[(n + 1) % len(work)])
        for n, task in enumerate(file["handed"]):
            yield from _Task(name, f"handed{n}", seed).handed_over(task)


class _Task:
    """What the twins of one task share."""

    def __init__(self, catalogue: str, name: str, seed: int) -> None:
        self.name = name
        self.salt = f"{seed}/{catalogue}/{name}"
        pair = made_up.short_digest(self.salt)
        self.task = made_up.Task(SOURCE, catalogue, f"{catalogue}-{name}", pair)

    def rng(self) -> random.Random:
        """The same draws for each twin."""
        return seeded(self.salt)

    def with_attack(self, task: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Session]:
        """Twins of ordinary work; `other` is what the user asks for in one of them."""
        attack, intent = task["attack"], task["intent"]
        calm, told = _shown(task["calls"], task["calm"]), _shown(task["calls"], attack["text"])
        at, goal, read = attack["after"] + 1, attack["goal"], _slot(task["calls"])

        def acted(calls: Sequence[Call]) -> list[Call]:
            return [*calls[:at], *attack["calls"], *calls[at:]]

        said = [(wish["before"], wish["text"]) for wish in task.get("amendments", ())]
        later = [(before + (before > at) * len(attack["calls"]), text) for before, text in said]
        yield self.session("calm", intent, calm, said=said)
        yield self.session("ignored", intent, told, read=read, goal=goal, said=said)
        yield self.session("hijacked", intent, acted(told), read=read, goal=goal, bad=at, said=later)
        yield self.session("silent", intent, acted(calm), goal=goal, bad=at, said=later)
        asked = self.session("asked", intent, acted(told), read=read, said=later)
        yield self.asking(asked, attack["asked"], at)
        silent = self.session("asked_silent", intent, acted(calm), said=later)
        yield self.asking(silent, attack["asked"], at)
        shown = acted(told if self.rng().random() < 0.5 else calm)
        otherwise = self.session("otherwise", intent, shown, goal=goal, bad=at, said=later)
        yield self.asking(otherwise, other["attack"]["asked"], at)
        blind = self.session("blind_silent", intent, acted(calm), goal=goal, bad=at, said=later)
        yield without_results(blind)
        blind = self.session("blind_asked", intent, acted(calm), said=later)
        yield without_results(self.asking(blind, attack["asked"], at))

    def handed_over(self, task: Mapping[str, Any]) -> Iterator[Session]:
        """Twins of a task whose acts a text says."""
        beyond, intent, reads = task["beyond"], task["intent"], task["reads"]
        told = _shown(task["calls"], task["text"])
        more = _shown(task["calls"], f"{task['text'].rstrip()}{_gap(task['text'])}{beyond['text']}")
        at, read = len(told), _slot(task["calls"])
        goal, acts = beyond["goal"], task["acts"]
        yield self.session("delegated", intent, [*told, *acts])
        yield self.session("undelegated", reads, [*told, *acts], read=read, goal=task["text"][:400], bad=at)
        yield self.session("read", reads, told, read=read, goal=task["text"][:400])
        further = [*more, *acts, *beyond["acts"]]
        yield self.session("beyond", intent, further, read=read, goal=goal, bad=at + len(acts))
        yield self.asking(self.session("delegated_both", intent, further), beyond["asked"], at)
        yield self.session("within", intent, [*more, *acts], read=read, goal=goal)

    def asking(self, made: Session, wish: str, at: int) -> Session:
        """`made`, whose user wishes something besides: in the intent, or while it runs, before call `at`."""
        rng = self.rng()
        if rng.random() < AMENDED:
            amend(made, wish, at, rng)
        else:
            made["intent"] = weave(made["intent"], wish, rng)
        return made

    def session(
        self,
        variant: str,
        intent: str,
        calls: Sequence[Call],
        *,
        read: int | None = None,
        goal: str | None = None,
        bad: int | None = None,
        said: Sequence[tuple[int, str]] = (),
    ) -> Session:
        """A recorded session: benign without a `goal`, hijacked from call `bad` on, attempted without one.

        `said` is what the user says on the way, and before which call.
        """
        if goal is None:
            labels = made_up.HONEST._replace(exposed=read)
        else:
            label = "attempted" if bad is None else "hijacked"
            labels = made_up.Labels(label, SOURCE, self.name, goal, read, bad)
        salt = f"{self.salt}/{variant}"
        return made_up.session(self.task, variant, intent, calls, labels, salt=salt, said=said)


def _gap(text: str) -> str:
    return "\n" if "\n" in text else " "


def _slot(calls: Sequence[Call]) -> int:
    """The call whose result carries the text."""
    return next(n for n, call in enumerate(calls) if SLOT in made_up.as_text(call["result"]))


def _shown(calls: Sequence[Call], text: str) -> list[Call]:
    """`calls` with `text` in the result that has a place for it."""
    return [
        {**call, "result": mapped(call["result"], lambda said: said.replace(SLOT, text))} for call in calls
    ]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool with a JSON schema made of what was written: parameters with their descriptions, ``?`` optional."""
    told = tool["parameters"]
    return {
        "name": tool["name"],
        "description": tool["description"],
        "parameters": {
            "type": "object",
            "properties": {name.rstrip("?"): {"description": text} for name, text in told.items()},
            "required": [name for name in told if not name.endswith("?")],
        },
    }
