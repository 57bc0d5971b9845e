"""How a call and its result are folded into a session's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from models.contracts import ToolCalled
from models.evidence.call import CallEvidence
from models.evidence.called import ACTIONS
from models.evidence.content import talks_to_agent
from models.evidence.echo import leave_out_echo
from models.evidence.results import Answer, read_answer, read_excerpts
from models.heads.readers import Readers
from models.reading.memory import Told
from models.session import (
    MAX_DISCOVERED,
    MAX_SAID,
    MAX_SAID_PRINTS,
    MAX_SAID_TOTAL,
    MAX_TOOL,
    MAX_TOOL_BYTES,
    SURE_PRINTS,
    WINDOW,
    CallRow,
    SaidRow,
    Session,
    heard_limit,
    print_limit,
)
from models.text.fingerprints import answer_print, apart, fingerprint
from models.text.index import Index, as_prints
from models.text.meaning import mean_with, with_lines
from models.text.stems import stem_prints, stems_of_pieces
from models.text.vectors import NO_VECTORS
from models.tools.catalogue import Catalogue
from models.tools.discovery import tools_listed
from models.tools.names import name_print
from stream.events import dumps


def observe_call(
    session: Session, event: ToolCalled, evidence: CallEvidence, digest: int, time_ms: int, key: bytes
) -> None:
    """Fold a call into the window, after its evidence was extracted."""
    seq, facts, delegation = session.calls, evidence.tool.facts, evidence.delegation
    catalogue = evidence.context.catalogue
    row = CallRow(
        seq,
        fingerprint(event.call_id, key),
        ACTIONS[facts.action],
        digest,
        time_ms,
        facts.open_world,
        delegation.named,
        delegation.clause,
        catalogue is not None and evidence.tool.name in catalogue.discovering,
        _place_of(session, event.tool[:MAX_TOOL]),
    )
    session.window = [*session.window, row][-WINDOW:]
    said = SaidRow(row.call, _prints_said(evidence, key), _fetcher(evidence))
    session.said = _with_said(session.said, said)
    session.calls = seq + 1
    session.work = mean_with(session.work, evidence.meaning.vector, seq)
    session.nearness += evidence.meaning.explained.nearness
    at = delegation.clause
    if facts.action != "read" and at >= 0:
        served = bytearray(session.served)
        served[at] = min(255, served[at] + 1)
        session.served = bytes(served)
    if facts.action == "read" and facts.sensitive:
        apart = not evidence.system or evidence.system != session.private_system
        session.private_apart = session.private_apart or (session.last_private >= 0 and apart)
        session.private_system = evidence.system
        session.last_private = seq
    if facts.open_world:
        session.open_reads += 1
        session.last_open = seq


def _with_said(held: Sequence[SaidRow], row: SaidRow) -> list[SaidRow]:
    """The latest of what calls said, within the limits on their number and on all prints; one row for each call."""
    kept = [other for other in held if other.call != row.call]
    if row.prints:
        kept = [*kept, row][-MAX_SAID:]
    room = 4 * MAX_SAID_TOTAL
    for at in range(len(kept) - 1, -1, -1):
        room -= len(kept[at].prints)
        if room < 0:
            return kept[at + 1 :]
    return kept


def _fetcher(evidence: CallEvidence) -> bytes:
    reader = evidence.context.readers.reader
    if reader is None or not reader.wrote(evidence.context.session.asked):
        return b""
    return reader.fetcher_of(evidence.tool_in_words, evidence.tool.arguments)


def _prints_said(evidence: CallEvidence, key: bytes) -> bytes:
    prints = {name_print(name, key) for name in evidence.tool.names}
    arguments = evidence.arguments
    for tokens_said in (*(leaf.tokens for leaf in arguments.leaves), *arguments.echo):
        if len(prints) >= MAX_SAID_PRINTS:
            break
        prints.update(tokens_said.said)
    return as_prints(prints)[:MAX_SAID_PRINTS].astype("<u4").tobytes()


def _place_of(session: Session, tool: str) -> int:
    """The place of a tool's name among those that the session called, which it joins; -1 where there is no room for it."""
    if tool not in session.tools:
        if sum(len(each.encode()) for each in session.tools) + len(tool.encode()) > MAX_TOOL_BYTES:
            return -1
        session.tools = [*session.tools, tool]
    return session.tools.index(tool)


def observe_result(
    session: Session,
    call_id: str,
    status: str,
    result: Any,
    catalogue: Catalogue | None,
    readers: Readers,
    key: bytes,
) -> list[str]:
    """Fold what a tool answered into the session's provenance; returns what was unusual, as the ledger counts it."""
    unusual: list[str] = []
    call = fingerprint(call_id, key)
    row = next((row for row in reversed(session.window) if row.call == call), None)
    if row is None:
        unusual.append("return_without_call")
        seq = max(0, session.calls - 1)
    else:
        seq = row.seq
    if row is not None and row.discovers and status == "ok":
        _discover(session, result, key)
    _note_answer(session, seq, result, key)
    session.results += 1
    answer = _read(session, call, result, catalogue, key)
    if readers.reader is not None and readers.reader.wrote(session.asked):
        fetcher = next((said.fetcher for said in session.said if said.call == call), b"")
        records = (Told([*each.keyed, *each.fields], [*each.lines, *each.hidden]) for each in answer.records)
        session.heard = readers.reader.with_answer(session.heard, seq, fetcher, records, heard_limit(session))
    if answer.cuts:
        unusual.append("result_cut")
    for text in answer.texts:
        bait = talks_to_agent(text)
        if bait > session.bait:
            session.bait, session.bait_call = bait, seq
    if answer.fields or answer.anchored or answer.prose or answer.between:
        session.told = True
        _index(session, answer, seq)
    if answer.talk:
        _listen(session, answer.talk, seq, catalogue, readers, key)
    return unusual


def _note_answer(session: Session, seq: int, result: Any, key: bytes) -> None:
    """Note the print of what counts as the answer of call `seq`: of the whole, since parts of two answers may be the same by chance."""
    raw = dumps(result)
    # A row is shared with copies of the session that are still to be judged.
    session.window = [
        msgspec.structs.replace(row, answer=answer_print(raw, row.answer, key)) if row.seq == seq else row
        for row in session.window
    ]


def _discover(session: Session, result: Any, key: bytes) -> None:
    """Note the tools that the answer of a tool which looks up tools names: these are known, and no more is told of them."""
    held = np.frombuffer(session.discovered, "<u4").tolist()
    fresh = [fingerprint(name, key) for name in tools_listed(result)]
    kept = list(dict.fromkeys([*held, *fresh]))[-MAX_DISCOVERED:]
    session.discovered = np.array(kept, "<u4").tobytes()


def _read(session: Session, call: int, result: Any, catalogue: Catalogue | None, key: bytes) -> Answer:
    """What a result says that its call did not say before."""
    row = next((row for row in session.said if row.call == call), None)
    said = set(np.frombuffer(row.prints, "<u4").tolist()) if row is not None else set()
    acts = catalogue.acts - said if catalogue is not None else ()
    answer = read_answer(result, set(np.frombuffer(session.names, "<u4").tolist()), key, acts)
    # Of a call that said more than is kept of it, nothing tells what the answer only repeats.
    if len(said) < MAX_SAID_PRINTS:
        read_excerpts(answer, key)
    if said:
        leave_out_echo(answer, said, key)
    return answer


def _index(session: Session, answer: Answer, seq: int) -> None:
    """Keep where the values come from that the result of call `seq` brought."""
    index = Index(session.index)
    most = len(index.prints) + len(answer.fields) + len(answer.anchored) + len(answer.prose)
    limit = SURE_PRINTS if most <= SURE_PRINTS else print_limit(session)
    index.add_result(answer.anchored, answer.fields, answer.prose, seq + 1, limit=limit)
    if answer.between:
        # It displaces nothing, and leaves room for what is still to come.
        room = print_limit(session)
        kept = sorted(answer.between)[: max(0, (room - len(index.prints)) // 4)]
        index.add(kept, seq + 1, prose=True, limit=room)
    session.index = index.dump()


def _listen(
    session: Session, talk: list[str], seq: int, catalogue: Catalogue | None, readers: Readers, key: bytes
) -> None:
    """Keep what prose said that speaks of the catalogue's tools."""
    tools = catalogue.vectors if catalogue is not None else NO_VECTORS
    session.lines = with_lines(session.lines, readers.words.vectors_of(talk), seq, session.likeness, tools)
    if catalogue is None:
        return
    text = "\n".join(talk)
    words = stems_of_pieces(text.split(), key) if apart(text) else stem_prints(text, key)
    spoken = catalogue.affinity(words)
    held = list(session.lure) or [0] * len(spoken)
    if len(held) == len(spoken):
        session.lure = bytes(max(a, b) for a, b in zip(held, spoken, strict=True))
