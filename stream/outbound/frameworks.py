"""Where the public frameworks put what a signal tells: only what its evidence supports is named.

The mapping is a judgement, not a rule; `VERSIONS` says of which edition each id is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

VERSIONS = {
    "mitre_atlas": "2026.09",
    "owasp_asi": "2026",
    "owasp_nhi": "2025",
    "csa_maestro": "1.0",
    "nist_ai_rmf": "1.0",
}
"""The edition of each framework that the ids here are of. ATLAS numbers its content by year and month since 2026.05."""


class Places(NamedTuple):
    """Where the frameworks put what a signal tells."""

    asi: tuple[str, ...] = ()
    nhi: tuple[str, ...] = ()
    maestro: tuple[str, ...] = ()
    nist: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()


_NOT_ASKED = Places(("ASI01",), (), ("L3",), ("MEASURE 2.4", "MANAGE 2.4"))
_TAKEN_FROM_ANSWER = Places(
    ("ASI01",), (), ("L2", "L3"), ("MEASURE 2.7", "MANAGE 4.1"), ("AML.T0051.001", "AML.T0053")
)
_LEAVES = Places(("ASI02",), (), ("L2", "L7"), ("MEASURE 2.7", "MANAGE 4.1"), ("AML.T0086",))
_UNKNOWN_TOOL = Places(("ASI04",), ("NHI3",), ("L7", "L3"), ("GOVERN 6.1", "MANAGE 3.1"))
_BEYOND_GRANT = Places(("ASI03",), ("NHI5",), ("L6",), ("MEASURE 2.7", "MANAGE 2.4"))
_STALE_CREDENTIAL = Places(("ASI03",), ("NHI1",), ("L6",), ("MANAGE 2.4", "GOVERN 1.5"))
_BORROWED = Places(("ASI03", "ASI07"), ("NHI9",), ("L6",), ("MANAGE 2.4", "GOVERN 1.5"), ("AML.T0012",))
_ROGUE = Places(("ASI10",), (), ("L5",), ("MEASURE 3.1", "MANAGE 4.3"))

PLACES: dict[str, Places] = {
    "intent.not_asked": _NOT_ASKED,
    "intent.grave_act": Places(
        ("ASI01", "ASI02"), (), ("L3",), ("MEASURE 2.4", "MANAGE 2.4"), ("AML.T0053",)
    ),
    "intent.other_address": _NOT_ASKED,
    "provenance.foreign_destination": _TAKEN_FROM_ANSWER,
    "provenance.unexplained_destination": _NOT_ASKED,
    "provenance.private_data_leaves": _LEAVES,
    "scope.tool_unknown": _UNKNOWN_TOOL,
    "scope.unknown_tool_reads": _UNKNOWN_TOOL,
    "scope.tool_changed": Places(
        ("ASI04",), ("NHI3",), ("L7", "L3"), ("GOVERN 6.1", "MANAGE 3.1"), ("AML.T0110.000",)
    ),
    "scope.arguments_unread": Places(("ASI02",), (), ("L3", "L5"), ("MEASURE 2.7", "MANAGE 2.4")),
    "scope.action_not_allowed": Places(("ASI02", "ASI03"), ("NHI5",), ("L6",), ("MEASURE 2.6", "MANAGE 2.4")),
    "scope.data_class_not_allowed": _BEYOND_GRANT,
    "sequence.trifecta": Places(("ASI02",), (), ("L2", "L7"), ("MEASURE 2.7", "MANAGE 4.1")),
    "sequence.lured": Places(("ASI01",), (), ("L2", "L3"), ("MEASURE 2.7", "MANAGE 4.1"), ("AML.T0051.001",)),
    "sequence.denied_before": _ROGUE,
    "tempo.loop": Places(("ASI10", "ASI08"), (), ("L5",), ("MEASURE 3.1", "MANAGE 4.3")),
    "tempo.budget_overrun": _ROGUE,
    "identity.credential_expired": _STALE_CREDENTIAL,
    "identity.credential_undeclared": _BEYOND_GRANT,
    "identity.credential_long_lived": Places(("ASI03",), ("NHI7",), ("L6",), ("MANAGE 2.4", "GOVERN 1.5")),
    "identity.credential_beyond_scope": _BEYOND_GRANT,
    "identity.credential_of_ended_task": _STALE_CREDENTIAL,
    "identity.credential_of_another": _BORROWED,
    "identity.declared_for_another": _BORROWED,
    "identity.signed_by_another": _BORROWED,
    "identity.token_replayed": _BORROWED,
    "identity.token_shared": Places(("ASI03",), ("NHI9",), ("L6",), ("MANAGE 2.4", "GOVERN 1.5")),
    "identity.attestation_refused": Places(("ASI03",), ("NHI4",), ("L6",), ("MANAGE 2.4", "GOVERN 1.5")),
    "identity.after_end": _STALE_CREDENTIAL,
    "identity.after_revocation": Places(("ASI03", "ASI10"), ("NHI1",), ("L6",), ("MANAGE 2.4", "MANAGE 4.3")),
    "content.talks_to_agent": Places(
        ("ASI01",), (), ("L1", "L2"), ("MEASURE 2.4", "MEASURE 2.7"), ("AML.T0051.001",)
    ),
}
"""For each signal the published ids that it alone supports."""

POISONED_DECLARATION = Places(
    ("ASI01", "ASI04"), (), ("L3", "L7"), ("GOVERN 6.1", "MANAGE 3.1"), ("AML.T0110.000",)
)
"""What is added where a tool's declaration, rather than an answer, is what a call follows."""

# A tactic is given only where the matrix names exactly one that fits.
_TACTICS = {
    "AML.TA0005": "Execution",
    "AML.TA0006": "Persistence",
    "AML.TA0010": "Exfiltration",
}
_TECHNIQUES: dict[str, tuple[str, str | None]] = {
    "AML.T0012": ("Valid Accounts", None),
    "AML.T0051": ("LLM Prompt Injection", "AML.TA0005"),
    "AML.T0053": ("AI Agent Tool Invocation", "AML.TA0005"),
    "AML.T0086": ("Exfiltration via AI Agent Tool Invocation", "AML.TA0010"),
    "AML.T0110": ("AI Agent Tool Poisoning", "AML.TA0006"),
}
_SUB_TECHNIQUES = {"AML.T0051.001": "Indirect", "AML.T0110.000": "Definition and Instructions"}


def attacks(signals: Sequence[str], *, declaration: bool = False) -> list[dict[str, Any]]:
    """OCSF's ``attacks`` of the signals that speak against a call.

    Parameters
    ----------
    declaration : bool
        Whether one of them rests on what is declared of a tool.
    """
    attacked = []
    for uid in _gathered(signals, declaration, lambda places: places.atlas):
        parent = uid if uid in _TECHNIQUES else uid.rsplit(".", 1)[0]
        name, tactic = _TECHNIQUES[parent]
        attack: dict[str, Any] = {
            "version": VERSIONS["mitre_atlas"],
            "technique": {"uid": parent, "name": name},
        }
        if tactic is not None:
            attack["tactic"] = {"uid": tactic, "name": _TACTICS[tactic]}
        if uid in _SUB_TECHNIQUES:
            attack["sub_technique"] = {"uid": uid, "name": _SUB_TECHNIQUES[uid]}
        attacked.append(attack)
    return attacked


def frameworks(signals: Sequence[str], *, declaration: bool = False) -> dict[str, list[str]]:
    """Ids of the other frameworks of the signals that speak against a call; ``declaration`` as in `attacks`."""
    return {
        "owasp_asi": _gathered(signals, declaration, lambda places: places.asi),
        "owasp_nhi": _gathered(signals, declaration, lambda places: places.nhi),
        "csa_maestro": _gathered(signals, declaration, lambda places: places.maestro),
        "nist_ai_rmf": _gathered(signals, declaration, lambda places: places.nist),
    }


def _gathered(
    signals: Sequence[str], declaration: bool, pick: Callable[[Places], tuple[str, ...]]
) -> list[str]:
    known = [PLACES[signal] for signal in signals if signal in PLACES]
    added = [POISONED_DECLARATION] if declaration else []
    return list(dict.fromkeys(uid for places in (*added, *known) for uid in pick(places)))
