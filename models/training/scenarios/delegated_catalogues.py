"""What is done with a tool catalogue by the tasks of `models.training.scenarios.delegated`: acts, texts, ordinary work.

Eight catalogues are invented, and of the recorded ones, whose tools come from their own files, some are known. All of it is
written in ``corpora/delegated``; what its templates look like is told there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.training import corpora
from models.training.scenarios.templates import Step, ToolText

INVENTED = ("helpdesk", "hospital", "cluster", "ledger", "sales", "people", "shell_browser", "warehouse")
"""In the order in which tasks are dealt to them."""
RECORDED = {
    "banking": "banking",
    "slack": "slack",
    "travel": "travel",
    "workspace": "workspace",
    "retail": "retail",
    "retail_tau2": "retail",
    "apibank": "apibank",
}
"""Recorded catalogues by their ``tools_ref``, and where their acts are written."""
CLASSES = (
    "GorillaFileSystem",
    "MessageAPI",
    "TwitterAPI",
    "TicketAPI",
    "TradingBot",
    "TravelAPI",
    "VehicleControlAPI",
)
"""Parts that recorded catalogues are joined from; their ``tools_ref`` has these names with ``+`` between."""


class Act(NamedTuple):
    """A kind of act: how an intent hands it over, how a text asks for it, and the call that does it.

    Attributes
    ----------
    kind, title : its name, and the name that a record gives it
    ask : ways in which an intent hands all acts of this kind over
    tool, args, result : the call that does it
    do, tell : ways in which a text asks for it: imperative, declarative
    needs : look-ups that the act takes a value from: slots that end in 7, which no text spells out
    """

    kind: str
    ask: list[str]
    title: str
    tool: str
    args: dict[str, Any]
    do: list[str]
    tell: list[str]
    result: Any
    needs: tuple[Step, ...] = ()


class Source(NamedTuple):
    """Where a text may stand: how an intent names it, and the calls that read it (the last carries ``{doc}``)."""

    nouns: list[str]
    steps: list[Step]


class Credential(NamedTuple):
    """What the user must say, and the agent call first, for any other call to work."""

    say: list[str]
    steps: list[Step]


class Flow(NamedTuple):
    """Ordinary work: intents, and the calls that do it; ``{aside}`` is a demand made of somebody else."""

    intents: list[str]
    steps: list[Step]


class Catalogue(NamedTuple):
    """All that is done with one tool catalogue; ``tools`` is empty where a recorded file has them."""

    acts: list[Act]
    sources: list[Source]
    lookups: list[Step]
    credential: Credential | None = None
    tools: tuple[ToolText, ...] = ()
    flows: tuple[Flow, ...] = ()


def invented(name: str) -> Catalogue:
    """One of the catalogues that are `INVENTED`."""
    return _read(f"invented/{name}")


def recorded(tools_ref: str) -> Catalogue | None:
    """Acts and sources for a recorded catalogue; None where none fits."""
    if tools_ref in RECORDED:
        return _read(f"recorded/{RECORDED[tools_ref]}")
    parts = [_read(f"recorded/{name}") for name in tools_ref.split("+") if name in CLASSES]
    if not any(part.sources for part in parts):
        return None
    credentials = [part.credential for part in parts if part.credential is not None]
    return Catalogue(
        acts=[act for part in parts for act in part.acts],
        sources=[source for part in parts for source in part.sources],
        lookups=[look for part in parts for look in part.lookups],
        credential=credentials[0] if credentials else None,
    )


def _read(name: str) -> Catalogue:
    catalogue: Catalogue = corpora.read(f"delegated/{name}.json", Catalogue)
    return catalogue
