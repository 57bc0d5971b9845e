"""Twins of recorded attacks: the injected text reworded or taken out, values hidden, arguments and intents exchanged.

Recorded attacks wrap few goals in fewer fixed texts and aim at a handful of targets. Each function here
undoes one of these regularities and leaves the rest of the session as it was recorded, so that a detector's
figures with and without it tell what it leans on. All take sessions as recorded (none is changed) and are
meant for hijacked and attempted ones.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.text.privacy import Hidden
from models.training.scenarios.asking import ask
from models.training.scenarios.injected import demanded, spans
from models.training.scenarios.insertion import without_results
from models.training.scenarios.made_up import seeded, twin_of
from models.training.scenarios.placing import place
from models.training.scenarios.wordings import Wording

Session = dict[str, Any]
Catalogue = list[dict[str, Any]]


def _replaced(session: Session, text: str) -> Session | None:
    """A copy with `text` in place of the injected text wherever it stands, or None when it stands nowhere."""
    found = spans(session)
    if not found:
        return None
    made = copy.deepcopy(session)
    for seq, start, end in reversed(found):
        call = made["calls"][seq]
        call["result"] = call["result"][:start] + text + call["result"][end:]
    return made


def reworded(
    session: Session, tools: Sequence[Mapping[str, Any]], wording: Wording, rng: random.Random
) -> tuple[Session, Catalogue] | None:
    """The injected text in other words, where it stood; None when it cannot be found.

    A ``split`` wording has its other text in another result before the first call that serves the injection;
    one for the catalogue takes the place of all texts in results.
    """
    found = spans(session)
    demand = demanded(session, tools)
    if not found or not demand.goal:
        return None
    if wording.place == "result":
        changed = _replaced(session, wording.write(demand, rng)[0])
        catalogue = [copy.deepcopy(dict(tool)) for tool in tools]
        assert changed is not None
        changed["wording"], changed["exposed_seq"] = wording.family, found[0][0]
    else:
        bare = _replaced(session, "")
        assert bare is not None
        changed, catalogue = place(bare, tools, wording, demand, found[0][0], rng)
    if wording.place == "catalogue":
        changed["tools"] = catalogue
    changed["attack"] = wording.family
    return twin_of(changed, session, "reworded", wording.name), catalogue


def removed(session: Session) -> Session | None:
    """The injected text taken out, the act left: drift without a visible cause. None when it is not found."""
    made = _replaced(session, "")
    if made is None:
        return None
    made["exposed_seq"] = None
    return twin_of(made, session, "removed")


def withheld(session: Session) -> Session:
    """No results at all, as when a producer withholds content."""
    return twin_of(without_results(session), session, "withheld")


_HIDDEN = Hidden(b"the key of scenarios, no secret")


def fingerprinted(session: Session) -> Session:
    """The session as producers in privacy mode send it (`docs/privacy.md`): values hashed, intent in clear.

    The values that the user names, once or on the way, are given as resources.
    """

    intent = " ".join([str(session["intent"]), *(said["text"] for said in session.get("amendments") or ())])
    made = {
        **session,
        "session_id": f"{session['session_id']}-fp",
        "origin": session["session_id"],
        "variant": "fingerprints",
        "resources": _HIDDEN.named(intent),
    }
    made["calls"] = [
        {
            **call,
            "args": _HIDDEN.arguments(call.get("args") or {}),
            "result": _HIDDEN.result(call.get("result")),
            "error": _HIDDEN.result(call.get("error")),
        }
        for call in session["calls"]
    ]
    return made


def shuffled_arguments(session: Session) -> Session:
    """The keys of every call's arguments in another order: what a JSON object does not promise to keep."""
    made = copy.deepcopy(session)
    rng = seeded(session["session_id"], "shuffled_arguments")
    for call in made["calls"]:
        names = list(call.get("args") or {})
        rng.shuffle(names)
        if names:
            call["args"] = {name: call["args"][name] for name in names}
    return twin_of(made, session, "shuffled_arguments")


def amended_to_ask(session: Session) -> Session | None:
    """The user asks for the injection's goal too, before the first call that serves it: benign.

    Half of the time in the intent itself. None where no call serves the goal.
    """
    first_bad = session.get("first_bad_seq")
    goal = str(session.get("injection_goal") or "").strip()
    if first_bad is None or not goal:
        return None
    rng = seeded(session["session_id"], "amended_to_ask")
    made = copy.deepcopy(session)
    ask(made, goal, first_bad, rng)
    made.update(label="benign", first_bad_seq=None, attack=None, injection_goal=None, injection_task_id=None)
    return twin_of(made, session, "amended_to_ask")


def shuffled_intents(sessions: Iterable[Session], rng: random.Random) -> list[Session]:
    """Sessions of one catalogue with their intents (and amendments) exchanged across user tasks.

    Labels stay as they are: what a detector still finds here it finds without knowing what the user wanted.
    A session that no other task's intent is left for is missing.
    """
    groups: dict[str, list[Session]] = {}
    for session in sessions:
        groups.setdefault(str(session["tools_ref"]), []).append(session)
    shuffled: list[Session] = []
    for _, group in sorted(groups.items()):
        order = list(group)
        rng.shuffle(order)
        order.sort(key=lambda session: str(session["user_task_id"]))
        # Rotating by the largest task's size leaves no session with an intent of its own task, if any can.
        step = max(Counter(str(session["user_task_id"]) for session in order).values())
        for n, session in enumerate(order):
            other = order[(n + step) % len(order)]
            if other["user_task_id"] == session["user_task_id"]:
                continue
            made = copy.deepcopy(session)
            made["intent"] = other["intent"]
            amendments = copy.deepcopy(list(other.get("amendments") or ()))
            for amendment in amendments:
                amendment["before_seq"] = min(int(amendment["before_seq"]), len(made["calls"]))
            made["amendments"] = amendments
            shuffled.append(twin_of(made, session, "shuffled_intents", str(other["session_id"])))
    return shuffled
