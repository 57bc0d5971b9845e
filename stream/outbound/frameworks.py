"""What a family of evidence means to an analyst, and where the public frameworks put it.

The mapping is a judgement, not a rule: OWASP's agentic (ASI) and non-human identity (NHI) risks, CSA MAESTRO
layers, NIST AI RMF functions and MITRE ATLAS techniques.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from models.contracts import Family

ATLAS_VERSION = "5.6.0"


class Driver(NamedTuple):
    """What a family means to an analyst, and where the frameworks put it (a judgement, not a rule)."""

    title: str
    steps: str
    asi: tuple[str, ...]
    nhi: tuple[str, ...]
    maestro: tuple[str, ...]
    nist: tuple[str, ...]
    atlas: tuple[str, ...]


DRIVERS: dict[Family, Driver] = {
    "intent": Driver(
        "actions outside the declared intent",
        "Compare the calls listed here with what the user asked for, over the whole session.",
        ("ASI01",),
        (),
        ("L3", "L1"),
        ("MEASURE 2.4", "MANAGE 2.4"),
        ("AML.T0051",),
    ),
    "provenance": Driver(
        "an untrusted value reached a sink",
        "Find the call whose result the marked argument came from, and who controls that source.",
        ("ASI01", "ASI02"),
        (),
        ("L2", "L3"),
        ("MEASURE 2.7", "MANAGE 4.1"),
        ("AML.T0051.001", "AML.T0053"),
    ),
    "scope": Driver(
        "an action beyond the declared scope",
        "Ask the agent's owner whether this tool and this resource belong to the task.",
        ("ASI02", "ASI03", "ASI04"),
        ("NHI5", "NHI3"),
        ("L3", "L6", "L7"),
        ("MEASURE 2.6", "MANAGE 2.4"),
        ("AML.T0053",),
    ),
    "sequence": Driver(
        "harmless steps that add up",
        "Read the path from its first call: which private data was read, and where could it leave.",
        ("ASI02",),
        ("NHI2",),
        ("L2", "L7"),
        ("MEASURE 2.7", "MANAGE 4.1"),
        ("AML.T0086",),
    ),
    "tempo": Driver(
        "a pace unlike the task",
        "Look for loops and bursts in the last hour of the session, and at the budget it declared.",
        ("ASI10",),
        (),
        ("L5",),
        ("MEASURE 3.1", "MANAGE 4.3"),
        (),
    ),
    "identity": Driver(
        "an identity or credential that does not fit",
        "Check who issued the credential, for which workload, and when it should have expired.",
        ("ASI03",),
        ("NHI1", "NHI7", "NHI9"),
        ("L6",),
        ("MANAGE 2.4", "GOVERN 1.5"),
        ("AML.T0012", "AML.T0055"),
    ),
    "content": Driver(
        "a tool result that instructs the agent",
        "Read the result that speaks to the agent, and take it out of reach of other sessions.",
        ("ASI01", "ASI06"),
        (),
        ("L1", "L2"),
        ("MEASURE 2.4", "MEASURE 2.7"),
        ("AML.T0051.001",),
    ),
}

# MITRE ATLAS 5.6.0. A tactic is given only where the matrix names exactly one that fits.
_TACTICS = {
    "AML.TA0005": "Execution",
    "AML.TA0010": "Exfiltration",
}
_TECHNIQUES: dict[str, tuple[str, str | None]] = {
    "AML.T0012": ("Valid Accounts", None),
    "AML.T0051": ("LLM Prompt Injection", "AML.TA0005"),
    "AML.T0053": ("AI Agent Tool Invocation", "AML.TA0005"),
    "AML.T0055": ("Unsecured Credentials", None),
    "AML.T0086": ("Exfiltration via AI Agent Tool Invocation", "AML.TA0010"),
}
_SUB_TECHNIQUES = {"AML.T0051.001": "Indirect"}


def attacks(families: Sequence[Family]) -> list[dict[str, Any]]:
    attacked = []
    for uid in dict.fromkeys(uid for family in families for uid in DRIVERS[family].atlas):
        parent = uid if uid in _TECHNIQUES else uid.rsplit(".", 1)[0]
        name, tactic = _TECHNIQUES[parent]
        attack: dict[str, Any] = {"version": ATLAS_VERSION, "technique": {"uid": parent, "name": name}}
        if tactic is not None:
            attack["tactic"] = {"uid": tactic, "name": _TACTICS[tactic]}
        if uid in _SUB_TECHNIQUES:
            attack["sub_technique"] = {"uid": uid, "name": _SUB_TECHNIQUES[uid]}
        attacked.append(attack)
    return attacked


def frameworks(families: Sequence[Family]) -> dict[str, list[str]]:
    def gather(pick: Callable[[Driver], tuple[str, ...]]) -> list[str]:
        return list(dict.fromkeys(uid for family in families for uid in pick(DRIVERS[family])))

    return {
        "owasp_asi": gather(lambda driver: driver.asi),
        "owasp_nhi": gather(lambda driver: driver.nhi),
        "csa_maestro": gather(lambda driver: driver.maestro),
        "nist_ai_rmf": gather(lambda driver: driver.nist),
    }
