"""What a change of its catalogue means for a session: which tools are declared otherwise than at first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.contracts import Tool
from models.session import MAX_CHANGED, MAX_GONE, Session
from models.text.fingerprints import content_print, fingerprint
from models.tools.catalogue import Catalogue
from stream.events import dumps

NO_TOOLS: Mapping[str, Tool] = {}


def note(session: Session, before: Catalogue | None, after: Catalogue, key: bytes) -> None:
    """Note which tools are declared otherwise than when they were first offered, and which left.

    What a declaration left out and a change adds is no change: names may come first, and their descriptions once asked for.
    """
    held = before.tools if before is not None else NO_TOOLS
    gone = _pairs(session.gone)
    changed = dict.fromkeys(np.frombuffer(session.changed, "<u4").tolist())
    for name, tool in after.tools.items():
        name_print = fingerprint(name, key)
        first, left = held.get(name), gone.pop(name_print, None)
        if (first is not None and _differs(first, tool)) or (
            left is not None and left != _declared(tool, key)
        ):
            changed[name_print] = None
    for name, tool in held.items():
        if name not in after.tools and (tool.description or tool.parameters):
            gone[fingerprint(name, key)] = _declared(tool, key)
    session.changed = np.array(list(changed)[:MAX_CHANGED], "<u4").tobytes()
    session.gone = np.array(list(gone.items())[-MAX_GONE:], "<u4").tobytes()
    move(session, before, after)


def move(session: Session, before: Catalogue | None, after: Catalogue) -> None:
    """Put what results said of each tool where that tool now stands in its catalogue."""
    spoken = bytearray(len(after.vectors))
    for name, place in after.order.items():
        was = before.order.get(name) if before is not None else None
        if was is not None and was < len(session.lure):
            spoken[place] = session.lure[was]
    session.lure = bytes(spoken)


def _pairs(packed: bytes) -> dict[int, int]:
    """By the print of its name, that of the declaration of each tool that left."""
    return dict(np.frombuffer(packed, "<u4").reshape(-1, 2).tolist())


def _differs(first: Tool, now: Tool) -> bool:
    """Whether a tool is declared otherwise than before, in what was declared of it at all."""
    pairs = ((first.description, now.description), (first.parameters, now.parameters))
    return any(was and was != is_now for was, is_now in (*pairs, (first.annotations, now.annotations)))


def _declared(tool: Tool, key: bytes) -> int:
    return content_print(dumps([tool.description, tool.parameters, tool.annotations]), key)
