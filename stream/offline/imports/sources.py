"""Which files there are, of which format, and which belong together: their events, format after format."""

from __future__ import annotations

import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from models.errors import ConfigError, InputError
from stream.offline.files import events_at, load_tools
from stream.offline.imports import agentdojo, claude_code, codex, inspect_logs, mcp_logs, otlp
from stream.offline.imports.assembly import TENANT, Made, checked, events, merged
from stream.offline.imports.joining import Joiner, Limits, Seen
from stream.offline.imports.reading import Head, documents_of, head_of
from stream.offline.imports.steps import MISSHAPEN, Moment, Notes, moment_of
from stream.offline.lines import Heard, is_recorded, unheard

T = TypeVar("T")
_UNREADABLE = (InputError, OSError, EOFError, zlib.error)


class Format(NamedTuple):
    """A format that files may have.

    Parameters
    ----------
    recognised : callable
        Tells by a file's head.
    origin : callable or None
        The file's session and the one above; None where a file holds sessions that have nothing to do with other files.
    """

    title: str
    recognised: Callable[[Head], bool]
    origin: Callable[[Head], tuple[str, str | None]] | None = None


FORMATS: dict[str, Format] = {
    "recorded": Format(
        "recorded sessions of Driftline's own", lambda head: any(map(is_recorded, head.documents[:1]))
    ),
    "claude-code": Format("transcripts of Claude Code", claude_code.recognised, claude_code.origin),
    "codex": Format("rollouts of the Codex CLI", codex.recognised, codex.origin),
    "agentdojo": Format("runs of AgentDojo", agentdojo.recognised),
    "inspect": Format("logs of Inspect", inspect_logs.recognised),
    "mcp": Format("logs of MCP messages", mcp_logs.recognised),
    "otlp": Format("spans of OpenTelemetry", otlp.recognised),
}
"""In the order in which a file is tried."""


_AT_ONCE = 1000
"""Spans of a file that are taken together."""
_HELD = 200_000
"""Spans of files that are held, so that those of one trace meet."""


class _File(NamedTuple):
    path: Path
    format: str
    start: datetime | None
    session: str
    above: str | None


class _Part:
    """Tells how much of a file was read, in bytes on disk: as it is read where that is known, the rest at its end."""

    def __init__(self, path: Path, heard: Heard) -> None:
        self._left, self._heard = path.stat().st_size, heard

    def __call__(self, count: int) -> None:
        told = min(count, self._left)
        self._left -= told
        self._heard(told)

    def end(self) -> None:
        self(self._left)


class Import:
    """Files that became events.

    Parameters
    ----------
    sources : sequence of Path
        Files, and folders of them.
    forced : str or None
        The format that all of them have; None: told by their content.
    tools : Path or None
        Catalogues of recorded sessions, and of AgentDojo's suites.
    intent : str
        What the user asked for in logs of MCP messages, which do not say it.
    run : str
        Prefixes every id.

    Attributes
    ----------
    notes : notes by format
    files : counts by format
    unknown : list of Path
        Files in folders that are of no known format.
    seen : Seen or None
        Of spans, how much they told, once their events were made.

    Raises
    ------
    ConfigError
        There is no such format.
    InputError
        A file cannot be read or, named by itself, is of no known format.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        forced: str | None = None,
        *,
        tools: Path | None = None,
        intent: str = "",
        run: str = "",
    ) -> None:
        if forced is not None and forced not in FORMATS:
            raise ConfigError(f"--format is {forced!r}; expected one of {', '.join(FORMATS)}")
        self.notes: dict[str, Notes] = defaultdict(Notes)
        self.unknown: list[Path] = []
        self.seen: Seen | None = None
        self._catalogues = load_tools(tools, tools) if tools is not None else None
        self._intent, self._run = intent, run
        self._heard: Heard = unheard
        self._found = [found for source in sources for found in self._files(source, forced)]
        self.files = Counter(each.format for each in self._found)
        self.paths = {each.path.resolve() for each in self._found}

    def events(self, heard: Heard = unheard) -> Iterator[Made]:
        """All events, session after session; `heard` hears of each part of a file that was read, in bytes.

        Raises
        ------
        InputError
            Nothing became of the files.
        """
        self._heard = heard
        for name in FORMATS:
            found = [each for each in self._found if each.format == name]
            if name == "otlp":  # a trace may stand in several files
                yield from self._joined(found)
                continue
            for group in _groups(found):
                yield from self._of(name, group)
        if not any(notes.mapped["sessions"] for notes in self.notes.values()):
            first = next(
                (notes.first for notes in self.notes.values() if notes.first), "no session is in them"
            )
            raise InputError(f"nothing was imported: {first}")

    def _files(self, source: Path, forced: str | None) -> Iterator[_File]:
        if not source.is_dir():
            if not source.exists() and str(source) in FORMATS:
                raise InputError(f"there is no file {source}; a format is named with --format {source}")
            if source.exists() and not source.is_file():
                raise InputError(
                    f"{source} is a stream, and files are read more than once; give it as standard input, -"
                )
            found = self._file(source, forced)
            if found is None:
                known = "; ".join(f"{name}: {each.title}" for name, each in FORMATS.items())
                raise InputError(f"{source} is of no format that is known ({known}); --format says which")
            yield found
            return
        for folder, folders, names in os.walk(source):
            folders.sort()
            for path in (Path(folder, name) for name in sorted(names)):
                if not path.is_file():
                    continue
                try:
                    found = self._file(path, forced)
                except _UNREADABLE:
                    found = None
                if found is None:
                    self.unknown.append(path)
                else:
                    yield found

    def _file(self, path: Path, forced: str | None) -> _File | None:
        head = head_of(path)
        name = forced or next((name for name, each in FORMATS.items() if each.recognised(head)), None)
        if name is None:
            return None
        origin = FORMATS[name].origin
        session, above = origin(head) if origin else ("", None)
        times = (moment_of(document.get("timestamp")) for document in head.documents)
        return _File(path, name, next((time for time in times if time), None), session, above)

    def _of(self, name: str, group: list[_File]) -> Iterator[Made]:
        notes, seen = self.notes[name], set[str]()
        if name in {"recorded", "agentdojo"}:
            for each in group:
                yield from self._whole(name, each.path, notes)
            return

        def opener(path: Path) -> Callable[[], Iterator[Moment]]:
            def opened() -> Iterator[Moment]:
                part = _Part(path, self._heard)
                return _guarded(self._moments(name, path, notes, seen, part), path, notes, part)

            return opened

        moments = merged((each.start, opener(each.path)) for each in group)
        if name != "inspect":
            yield from events(moments, notes, self._run)
            return
        for _, sample in groupby(
            moments, lambda moment: moment.session
        ):  # one after another, and thousands of them
            yield from events(sample, notes, self._run)

    def _joined(self, found: list[_File]) -> Iterator[Made]:
        if not found:
            return
        notes = self.notes["otlp"]
        joiner = Joiner(notes, Limits(spans=_HELD, trace_spans=_HELD), tenant=TENANT, run=self._run)
        for each in found:
            part = _Part(each.path, self._heard)
            spans = _guarded(otlp.spans_of(each.path, notes), each.path, notes, part)
            while batch := list(islice(spans, _AT_ONCE)):
                yield from joiner.take(batch, 0.0)
        yield from joiner.drain()
        yield from joiner.ends()
        self.seen = joiner.seen

    def _moments(self, name: str, path: Path, notes: Notes, seen: set[str], heard: Heard) -> Iterator[Moment]:
        if name == "claude-code":
            return claude_code.moments(path, notes, seen, heard)
        if name == "codex":
            return codex.moments(path, notes, heard)
        if name == "inspect":
            return inspect_logs.moments(path, notes)
        return mcp_logs.moments(path, notes, self._intent, heard)

    def _whole(self, name: str, path: Path, notes: Notes) -> Iterator[Made]:
        catalogues = self._catalogues
        if catalogues is None and name == "recorded":
            catalogues = load_tools(path)
        part = _Part(path, self._heard)
        made = (
            agentdojo.events(path, notes, catalogues, self._run)
            if name == "agentdojo"
            else _recorded(path, notes, catalogues, self._run, part)
        )
        for event in _guarded(made, path, notes, part):
            value = checked(event, notes)
            if value is not None:
                yield Made(event["session_id"], value)


def _guarded(items: Iterable[T], path: Path, notes: Notes, part: _Part) -> Iterator[T]:
    """What comes of a file, until it cannot be read on."""
    try:
        yield from items
    except _UNREADABLE as error:
        notes.refuse(
            str(path), str(error) if isinstance(error, InputError) else f"cannot be read on ({error})"
        )
    part.end()


def _recorded(
    path: Path, notes: Notes, catalogues: dict[str, list[dict[str, Any]]] | None, run: str, heard: Heard
) -> Iterator[dict[str, Any]]:
    for number, document in documents_of(path, notes, heard):
        where = f"{path}, line {number}"
        if not is_recorded(document):
            notes.refuse(where, "not a recorded session: it needs session_id, intent and calls, and no type")
            continue
        try:
            made = events_at(where, document, catalogues, run)
        except InputError as error:
            notes.refuse(where, str(error).removeprefix(f"{where}: "))
            continue
        except MISSHAPEN as error:
            notes.refuse(where, f"a recorded session of another shape ({type(error).__name__})")
            continue
        notes.mapped["sessions"] += 1
        if catalogues is None:
            notes.lose("tool catalogues that are not known")
        for event in made:
            notes.mapped["calls"] += event["type"] == "tool.called"
            yield event


def _groups(found: list[_File]) -> Iterator[list[_File]]:
    """Files of sessions that work for one another, those above first; every other file by itself."""
    above = {each.session: each.above for each in found if each.session}

    def root(session: str) -> str:
        met = {session}
        while (over := above.get(session)) in above and over is not None and over not in met:
            session = over
            met.add(session)
        return session

    groups: dict[str, list[_File]] = {}
    for number, each in enumerate(found):
        groups.setdefault(root(each.session) if each.session else f"\n{number}", []).append(each)
    for group in groups.values():
        yield sorted(group, key=lambda each: (each.above is not None, str(each.path)))
