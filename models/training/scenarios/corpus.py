"""Which scenarios are made of which recordings: for training, for choosing a model, and for the report.

A set is a list of sessions with a name; what a set holds is a function of the recordings and a seed. Every
session names its `domain`, what a fold holds out: the AgentDojo suite or the recorded source that it is made
of, or whose catalogue it works with. Scenarios over invented catalogues are domains of their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.errors import DatasetError
from models.heads.acting import Acting
from models.heads.expectation import Expectation
from models.heads.handover import Heads
from models.release.readers import load
from models.text.meaning import MIN_TOOLS
from models.training.heads import halves
from models.training.scenarios import (
    delegated,
    forms,
    recorded_attacks,
    renaming,
    report_tasks,
    report_wordings,
    splices,
    wordings,
    written_tasks,
)
from models.training.scenarios.made_up import seeded
from models.training.scenarios.wordings import Wording

Session = dict[str, Any]
Tools = list[dict[str, Any]]
Recordings = Mapping[str, Sequence[Session]]
"""Recorded sessions by the name of their file, each with a `tools_ref` into `Catalogues`."""
Catalogues = Mapping[str, Tools]
"""Tools by ``<file>/<tools_ref>``."""

SPLICED = {"agentdojo": 1500, "tau_retail": 350, "intercode": 350, "sweagent_a": 60}
"""Benign sessions of a source that become recipients of splices; all of those that are not named, up to 365."""
BLIND = 400
"""Honest sessions of a source that are also seen without results."""


HASHED = 1200
"""Hijacked, honest and written sessions each that are also seen as privacy mode sends them."""


FORMED = 900
"""Honest, reworded and spliced sessions each that are also seen in another form."""


class Unread(NamedTuple):
    """Readers in place of those of `models.heads.readers.Readers`, learnt without certain authors' tasks."""

    handover: Heads
    expectation: Expectation
    acting: Acting


class Set(NamedTuple):
    """Sessions and the catalogues that their ``tools_ref`` name.

    ``unread`` is what they are seen through, where what comes with the code learnt from these very tasks.
    """

    name: str
    sessions: list[Session]
    tools: dict[str, Tools]
    unread: Unread | None = None


def recordings(
    files: Mapping[str, tuple[Sequence[Session], Catalogues]],
) -> tuple[Recordings, dict[str, Tools]]:
    """Recorded files under one roof: each session's ``tools_ref`` gets its file's name, and its domain.

    Raises
    ------
    DatasetError
        A session says nothing of its source or suite. Without a ``tools_ref`` its tools are judged by their calls alone.
    """
    found: dict[str, Sequence[Session]] = {}
    tools: dict[str, Tools] = {}
    for name, (sessions, catalogues) in files.items():
        tools |= {f"{name}/{ref}": list(listed) for ref, listed in catalogues.items()}
        found[name] = [
            {**session, "tools_ref": f"{name}/{session.get('tools_ref', '')}", "domain": _domain(session)}
            for session in sessions
        ]
    return found, tools


def need_catalogues(recorded: Recordings, tools: Catalogues) -> None:
    """Nothing, where each session's tools are known: `training` makes other sessions of them.

    Raises
    ------
    DatasetError
        Of some sessions they are not.
    """
    for name, sessions in recorded.items():
        without = sum(session["tools_ref"] not in tools for session in sessions)
        if without:
            raise DatasetError(
                f"{without} of {len(sessions)} sessions of {name} have no tool catalogue, of which training makes scenarios:"
                f" lay {name}_tools.json beside the recordings, or name it with --tools"
            )


def _domain(session: Session) -> str:
    try:
        return str(session["suite"] if session["source"] == "agentdojo" else session["source"])
    except KeyError as error:
        raise DatasetError(f"not a labelled recorded session: {error} is missing (docs/labels.md)") from error


def set_of(
    name: str, sessions: Iterable[Session], tools: Mapping[str, Tools], unread: Unread | None = None
) -> Set:
    """Sessions whose catalogue was changed bring it along under a name of their own."""
    kept: list[Session] = []
    catalogues: dict[str, Tools] = {}
    for made in sessions:
        session = dict(made)
        for as_it_came in ("events", "tree"):  # of the session that it was made of, not its own
            session.pop(as_it_came, None)
        changed = session.pop("tools", None)
        if changed is not None:
            session["tools_ref"] = f"{session['tools_ref']}#{session['session_id']}"
            catalogues[session["tools_ref"]] = list(changed)
        elif session["tools_ref"] in tools:
            catalogues[session["tools_ref"]] = tools[session["tools_ref"]]
        kept.append(session)
    return Set(name, kept, catalogues, unread)


def _sample(sessions: Sequence[Session], n: int, *salt: object) -> list[Session]:
    return list(sessions) if len(sessions) <= n else seeded("corpus", *salt).sample(list(sessions), n)


def _labelled(sessions: Iterable[Session], *labels: str) -> list[Session]:
    return [session for session in sessions if session["label"] in labels]


def hijacked(recorded: Recordings) -> list[Session]:
    """Recorded hijacks with a call that shows it."""
    found = [s for sessions in recorded.values() for s in _labelled(sessions, "hijacked")]
    return [s for s in found if s["first_bad_seq"] is not None]


def ignored(recorded: Recordings) -> list[Session]:
    """Recorded sessions in which an injection was read and not followed."""
    found = [s for sessions in recorded.values() for s in _labelled(sessions, "attempted")]
    return [s for s in found if s["exposed_seq"] is not None]


def training(recorded: Recordings, tools: dict[str, Tools], seed: int = 1) -> Iterator[Set]:
    """What a model learns from beside the recordings themselves."""
    spliced = list(_spliced(recorded, tools, wordings.training(), seed))
    yield set_of("spliced", spliced, tools)
    bad, read = hijacked(recorded), ignored(recorded)
    chosen = _sample(bad, 2500, seed, "reworded") + _sample(read, 1500, seed, "reworded")
    reworded = list(_reworded(chosen, tools, wordings.training(), seed))
    yield set_of("reworded", reworded, tools)
    yield set_of("removed", (twin for s in bad if (twin := recorded_attacks.removed(s)) is not None), tools)
    honest = [s for name in sorted(recorded) for s in _honest(recorded[name], name, seed)]
    yield set_of("withheld", map(recorded_attacks.withheld, [*bad, *honest]), tools)
    chosen = [s for kind in (honest, reworded, spliced) for s in _sample(kind, FORMED, seed, "formed")]
    yield set_of("formed", _formed(chosen, tools, seed), tools)
    yield delegated_tasks(recorded, tools, seed)
    for unread, written in _written(seed):
        theirs = written_tasks.catalogues()
        yield set_of("written", written, theirs, unread)
        some = [s for s in written if s["variant"] in ("hijacked", "silent", "asked_silent", "calm")]
        some = _sample(some, HASHED // 2, seed, "hashed")
        yield set_of("hashed", map(recorded_attacks.fingerprinted, some), theirs, unread)
    chosen = [*_sample(bad, HASHED, seed, "hashed"), *_sample(honest, HASHED, seed, "hashed")]
    yield set_of("hashed", map(recorded_attacks.fingerprinted, chosen), tools)


def _written(seed: int) -> Iterator[tuple[Unread, list[Session]]]:
    """Written tasks, half of the authors at a time, with what learnt from the others."""
    readers = load()
    found = [{**s, "domain": written_tasks.SOURCE} for s in written_tasks.sessions(seed)]
    for half in halves.load():
        theirs = [s for s in found if written_tasks.files()[s["suite"]]["author"] in half.authors]
        heads = Heads(readers.handover.sentence, half.handover)
        yield Unread(heads, half.expectation, half.acting), theirs


def selection(recorded: Recordings, tools: dict[str, Tools], seed: int = 1) -> Iterator[Set]:
    """What a recipe is chosen on: wordings that training does not see."""
    chosen = _sample(hijacked(recorded), 1500, seed, "select") + _sample(
        ignored(recorded), 800, seed, "select"
    )
    yield set_of("reworded for selection", _reworded(chosen, tools, wordings.selection(), seed), tools)


def report(recorded: Recordings, tools: dict[str, Tools], seed: int = 1) -> Iterator[Set]:
    """What is reported and never chosen on: other wordings, other authors' tasks and catalogues."""
    chosen = _sample(hijacked(recorded), 2400, seed, "report") + _sample(
        ignored(recorded), 1200, seed, "report"
    )
    yield set_of("crossed", _reworded(chosen, tools, report_wordings.report(), seed), tools)
    invented = report_tasks.catalogues()
    for name, sessions in (
        ("delegated elsewhere", report_tasks.delegated(seed)),
        ("ordinary elsewhere", report_tasks.ordinary(seed)),
        ("hijacked elsewhere", report_tasks.hijacked(seed)),
        ("creeping", report_tasks.creeping(seed)),
    ):
        yield set_of(name, ({**s, "domain": "report"} for s in sessions), invented)
    elsewhere = [
        {**s, "domain": "report"} for s in written_tasks.sessions(seed, authors=written_tasks.REPORT)
    ]
    catalogues = written_tasks.catalogues()
    for name, coarse in (("written elsewhere", False), ("coarse elsewhere", True)):
        theirs = (s for s in elsewhere if written_tasks.coarse(s["suite"]) == coarse)
        yield set_of(name, theirs, catalogues)


def ablations(recorded: Recordings, tools: dict[str, Tools], seed: int = 1) -> Iterator[Set]:
    """Recorded attacks and honest work, each changed in one thing that should not matter, or that should."""
    bad = _sample(hijacked(recorded), 1200, seed, "ablations")
    honest = _labelled(recorded.get("agentdojo", ()), "benign")
    both = [*bad, *honest]
    make: dict[str, Callable[[Session], Session | None]] = {
        "argument order": recorded_attacks.shuffled_arguments,
        "targets replaced": lambda s: renaming.renamed_targets(s, seeded(seed, s["session_id"])),
        "asked for": recorded_attacks.amended_to_ask,
    }
    for name, change in make.items():
        chosen = bad if name in ("asked for", "targets replaced") else both
        yield set_of(name, (twin for s in chosen if (twin := change(s)) is not None), tools)
    renamed = []
    for session in both:
        made, catalogue = renaming.renamed_tools(
            session, tools[session["tools_ref"]], seeded(seed, session["session_id"])
        )
        renamed.append({**made, "tools": catalogue})
    yield set_of("tools renamed", renamed, tools)
    yield set_of("intents exchanged", recorded_attacks.shuffled_intents(honest, random.Random(seed)), tools)
    generic = ("Help me with this, please.", "", "Do what is needed.", "Go on.")
    yield set_of(
        "generic intent",
        (
            {
                **s,
                "session_id": f"{s['session_id']}-g",
                "intent": generic[n % len(generic)],
                "variant": "generic",
            }
            for n, s in enumerate(bad)
        ),
        tools,
    )


def delegated_tasks(recorded: Recordings, tools: Mapping[str, Tools], seed: int, tasks: int = 600) -> Set:
    """Delegated and ordinary tasks, over the recorded catalogues at hand and invented ones."""
    homes = {s["tools_ref"]: s["domain"] for sessions in recorded.values() for s in sessions}
    plain: dict[str, Tools] = {}
    domains: dict[str, str] = {}
    for name, listed in tools.items():
        ref = name.partition("/")[2]
        if name in homes and ref not in plain:
            plain[ref], domains[ref] = listed, homes[name]
    made = [
        {**s, "domain": domains.get(s["tools_ref"], "delegated")}
        for s in delegated.sessions(plain, seed, tasks)
    ]
    return set_of("delegated", made, delegated.catalogues(plain))


def _honest(sessions: Sequence[Session], name: str, seed: int) -> list[Session]:
    found = _labelled(sessions, "benign")
    return found if name == "agentdojo" else _sample(found, BLIND, seed, "blind", name)


def _spliced(
    recorded: Recordings, tools: Mapping[str, Tools], told: Sequence[Wording], seed: int
) -> Iterator[Session]:
    for name in sorted(recorded):
        honest = _labelled(recorded[name], "benign")
        chosen = _sample(honest, SPLICED.get(name, 365), seed, "spliced", name)
        yield from splices.splices(chosen, tools, told, seed)


def _formed(sessions: Iterable[Session], tools: Mapping[str, Tools], seed: int) -> Iterator[Session]:
    """Half of them amid role and rules, the others in another form; a tool for all acts stays the one it is."""
    for session in sessions:
        rng = seeded(seed, "formed", session["session_id"])
        listed = tools[session["tools_ref"]]
        others = [
            name
            for name in forms.FORMS
            if name != "framed" and (len(listed) >= MIN_TOOLS or name not in forms.GENERAL)
        ]
        yield forms.formed(session, listed, "framed" if rng.random() < 0.5 else rng.choice(others), rng)


def _reworded(
    sessions: Iterable[Session], tools: Mapping[str, Tools], told: Sequence[Wording], seed: int
) -> Iterator[Session]:
    for session in sessions:
        rng = seeded(seed, "reworded", session["session_id"], told[0].name)
        made = recorded_attacks.reworded(session, tools[session["tools_ref"]], rng.choice(told), rng)
        if made is not None:
            twin, catalogue = made
            yield twin if catalogue == tools[session["tools_ref"]] else {**twin, "tools": catalogue}
