"""Sessions of the suites in other forms, honest ones and hijacks alike: ``make forms``.

What is done, for whom, and what it led to stays as recorded; what changes is how answers are written and packed, how
arguments are, what tools are called and whether anything is said of them, what stands around the request, and whether
one general tool does everything. Models are those that did not see the suite, at the thresholds that the last run of
``benchmarks.detection`` took from the other domains. Frames around requests are those that nothing learns from.
Prints the table; ``--docs`` writes it into docs/detection-appendix.md, and a line into the ledger.
"""

from __future__ import annotations

import argparse
import copy
import csv
import html
import io
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from benchmarks import results
from benchmarks.detection.page import PAGES, look
from benchmarks.detection.rates import SUITES, Rate, Scored
from benchmarks.detection.targets import percent
from benchmarks.places import judged, without_suites
from models.training.scenarios import corpus, forms
from models.training.scenarios.made_up import seeded

FILE = results.ROOT / "build" / "forms.json"
HIJACKS, HONEST = 100, 3
"""Hijacks of each suite, spread over goals and tasks, and honest sessions of each task, that are shown in each form."""

Session = dict[str, Any]
Tools = list[dict[str, Any]]
Result = Callable[[str], Any]
Given = dict[str, Any]


# ------------------------------------------------------------------ answers


def parsed(text: str) -> Any:
    """What a recorded answer says, as values; None for one that is no listing and no object."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return json.loads(json.dumps(found, default=str)) if isinstance(found, dict | list) else None


def _json(text: str) -> str:
    found = parsed(text)
    return text if found is None else json.dumps(found)


def _listing(text: str) -> list[Given] | None:
    found = parsed(text)
    return found if isinstance(found, list) and found and all(isinstance(x, dict) for x in found) else None


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _markdown(text: str) -> str:
    rows = _listing(text)
    if rows is None:
        return text
    names = _columns(rows)

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(c).replace("\n", " ").replace("|", "\\|") for c in cells) + " |"

    below = [line([row.get(name, "") for name in names]) for row in rows]
    return "\n".join([line(names), "|" + "---|" * len(names), *below])


def _csv(text: str) -> str:
    rows = _listing(text)
    if rows is None:
        return text
    out = io.StringIO()
    writer = csv.DictWriter(out, _columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _html(text: str) -> str:
    rows = _listing(text)
    if rows is None:
        paragraphs = html.escape(text).replace("\n", "</p><p>")
        return f"<html><body><p>{paragraphs}</p></body></html>"
    names = _columns(rows)
    cells = ["".join(f"<td>{html.escape(str(row.get(name, '')))}</td>" for name in names) for row in rows]
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _xml(value: Any, name: str = "item") -> str:
    if isinstance(value, dict):
        inner = "".join(_xml(child, re.sub(r"\W", "_", str(label))) for label, child in value.items())
    elif isinstance(value, list):
        inner = "".join(_xml(child) for child in value)
    else:
        inner = html.escape(str(value))
    return f"<{name}>{inner}</{name}>"


ANSWERS: dict[str, Result] = {
    "as JSON": _json,
    "as content blocks": lambda text: [{"type": "text", "text": _json(text)}],
    "as a string of JSON in JSON": lambda text: {"output": json.dumps(_json(text))},
    "in an envelope with status": lambda text: {
        "status": "success",
        "data": parsed(text) or text,
        "took_ms": 12,
    },
    "as a table in Markdown": _markdown,
    "as CSV": _csv,
    "as HTML": _html,
    "as XML": lambda text: _xml(parsed(text) or text, "result"),
    "in one line": lambda text: " ".join(text.split()),
    "with numbered lines": lambda text: "\n".join(f"{n:6d}\t{s}" for n, s in enumerate(text.split("\n"), 1)),
}
"""How answers are written and packed."""


# ------------------------------------------------------------------ calls and catalogues


def _camel(name: str) -> str:
    return "".join(word.title() for word in name.split("_"))


GIVEN: dict[str, Callable[[Given], Given]] = {
    "in an object of their own": lambda given: {"input": given},
    "as a string of JSON": lambda given: {"arguments": json.dumps(given)},
    "as names with values": lambda given: {"parameters": [{"name": n, "value": v} for n, v in given.items()]},
    "with others beside them": lambda given: {**given, "request_id": "7f3c", "locale": "en-US"},
}
"""How arguments are given."""
NAMES: dict[str, Callable[[str, str], str]] = {
    "with the server's before them": lambda name, suite: f"mcp__{suite}__{name}",
    "in camel case with the service's": lambda name, suite: suite.title() + _camel(name),
    "that say nothing": lambda name, suite: f"tool_{sum(map(ord, name)) % 997}",
}
"""What tools are called."""
OTHERS = {
    "the request amid role and rules": "framed",
    "requests to paths": "request",
    "operations by name": "operation",
    "code": "code",
    "a catalogue of names alone": "undescribed",
    "no catalogue": "without catalogue",
}
"""Forms of `models.training.scenarios.forms`, of which training has others of the kind, or the same."""

RECORDED = "as recorded"
ROWS = (
    RECORDED,
    *(f"answers {name}" for name in ANSWERS),
    *(f"arguments {name}" for name in GIVEN),
    *(f"names {name}" for name in NAMES),
    *OTHERS,
)


def in_form(session: Session, tools: Tools, row: str) -> Session:
    """The session in the form of one of `ROWS`, with its catalogue under ``tools`` where that changes."""
    made = copy.deepcopy(session)
    kind, _, name = row.partition(" ")
    if row in OTHERS:
        made = forms.formed(session, tools, OTHERS[row], seeded("forms", session["session_id"]), forms.UNSEEN)
    elif kind == "answers":
        for call in made["calls"]:
            if isinstance(call.get("result"), str) and call["result"] not in ("", "None"):
                call["result"] = ANSWERS[name](call["result"])
    elif kind == "arguments":
        for call in made["calls"]:
            call["args"] = GIVEN[name](call.get("args") or {})
    elif kind == "names":
        made["tools"] = copy.deepcopy(tools)
        for tool in made["tools"]:
            tool["name"] = NAMES[name](tool["name"], session["suite"])
        for call in made["calls"]:
            call["tool"] = NAMES[name](call["tool"], session["suite"])
    return {**made, "session_id": f"{session['session_id']}/{row}", "origin": session["session_id"]}


def chosen(sessions: Sequence[Session], hijacks: int) -> list[Session]:
    """Hijacks of each suite, each of another pair of goal and task while there are any, and honest sessions of each task."""
    pairs: dict[tuple[str, str, str], list[Session]] = defaultdict(list)
    for session in corpus.hijacked({"agentdojo": sessions}):
        pairs[session["suite"], session["injection_task_id"], session["user_task_id"]].append(session)
    found: list[Session] = []
    for suite in SUITES:
        keys = sorted(key for key in pairs if key[0] == suite)
        seeded("forms", suite).shuffle(keys)
        found += [seeded("forms", *key).choice(pairs[key]) for key in keys[:hijacks]]
    tasks: dict[tuple[str, str], list[Session]] = defaultdict(list)
    for session in sessions:
        if session["label"] == "benign" and not session["user_task_id"].startswith("injection"):
            tasks[session["suite"], session["user_task_id"]].append(session)
    for key, listed in sorted(tasks.items()):
        found += seeded("forms", *key).sample(listed, min(HONEST, len(listed)))
    return found


def rates(scored: Scored) -> tuple[Rate, Rate]:
    """Hijacks that are flagged, and honest sessions."""
    return scored.caught(scored.kind == "hijacked"), scored.alarms(scored.kind == "benign")


def main() -> None:
    """Measure, print, keep, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--docs", action="store_true", help="write the table into docs/detection-appendix.md, and the ledger"
    )
    parser.add_argument("--hijacks", type=int, default=HIJACKS, help="hijacks of each suite in each form")
    parser.add_argument("--jobs", type=int, default=1, help="processes to make rows and fit models with")
    parser.add_argument("--why", default="sessions in other forms", help="reason, for the ledger")
    options = parser.parse_args()
    began = time.monotonic()
    source, bench = without_suites(options.jobs)
    recorded, tools = source.read
    sessions = chosen(recorded["agentdojo"], options.hijacks)
    if options.docs:
        look("benchmarks.forms", options.why)
    made = {
        row: rates(judged(bench, source, row, [in_form(s, tools[s["tools_ref"]], row) for s in sessions]))
        for row in ROWS
    }
    results.keep(FILE, {"forms": made, **results.of_run(began)}, trial=options.hijacks != HIJACKS)
    rows = [[row, percent(caught), percent(alarms)] for row, (caught, alarms) in made.items()]
    table = {"forms": ("The same sessions in other forms", ["form", "hijacks flagged", "honest: FPR"], rows)}
    results.show_all(table, PAGES if options.docs else ())


if __name__ == "__main__":
    main()
