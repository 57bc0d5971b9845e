"""What the live view shows: counts, and the latest of each kind.

`Board` knows no broker, so that a test can feed it. Everything shown comes from others: control characters are
removed and nothing is read as markup.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from typing import Any

import orjson
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.events import ALERTS, DECISIONS, ENDS, OUTCOMES, QUARANTINE, REVOCATIONS, printable
from stream.shell.outputs import Seen, claims_of
from stream.shell.selection import Selection

STYLES = {"allow": "green", "abstain": "dim", "alert": "yellow", "deny": "magenta", "revoke": "bold red"}


def plain(text: object, limit: int = 80) -> str:
    """`text` on one line without control characters, at most `limit` long.

    >>> plain("a\\x1b[31m b")
    'a [31m b'
    """
    shown = " ".join(printable(str(text)).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class Board:
    """What the live view shows: counts, and the latest of each kind."""

    def __init__(self, *, latest: int = 40, selection: Selection | None = None) -> None:
        self._selection = selection or Selection()
        self.verdicts: Counter[str] = Counter()
        self.sessions: set[tuple[str, str]] = set()
        self.n_alerts = self.n_updates = self.n_revocations = self.n_ended = 0
        self.n_judged = self.n_quarantined = self.n_contained = self.n_released = 0
        self.outcomes: Counter[str] = Counter()
        self.raised: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self.lost = ""
        """What is wrong with the connection, where something is."""
        self._latest: deque[dict[str, Any]] = deque(maxlen=latest)
        self._notable: deque[Text] = deque(maxlen=latest)
        self._drift: deque[str] = deque(maxlen=1000)  # tokens of late that drift led to

    def feed(self, seen: Seen) -> dict[str, Any] | None:
        """Take one record in; gives its document, or None for a repeat, something unreadable or what nobody asked for."""
        read = _document(seen)
        if read is None:
            return None
        identity, document = read
        if not self._selection.takes(seen, document):
            return None
        if (seen.topic + identity) in self._seen:
            return None  # decided again after a crash: the same record
        self._seen.add(seen.topic + identity)
        count = {
            DECISIONS: self._decision,
            ALERTS: self._alert,
            REVOCATIONS: self._revocation,
            ENDS: self._release,
            OUTCOMES: self._outcome,
        }
        count.get(seen.topic, self._refusal)(document)
        return document

    def _drifted(self, document: dict[str, Any]) -> None:
        """Keep, for each session, the call that raised it highest: the reason to show at the end."""
        rank = {"alert": 1, "deny": 2, "revoke": 3}
        verdict = str(document.get("verdict"))
        session = str(document.get("session_id"))
        held = self.raised.get(session)
        if verdict in rank and (held is None or rank[verdict] > rank[str(held.get("verdict"))]):
            self.raised[session] = document

    def _decision(self, document: dict[str, Any]) -> None:
        self.verdicts[str(document.get("verdict"))] += 1
        self.n_judged += "refused" not in document.get("marks", ())
        self.sessions.add((str(document.get("tenant")), str(document.get("session_id"))))
        self._latest.append(document)
        self._drifted(document)

    def _alert(self, document: dict[str, Any]) -> None:
        calls_somebody = bool(document.get("is_alert"))
        self.n_alerts += calls_somebody
        self.n_updates += not calls_somebody
        self.n_contained += document.get("unmapped", {}).get("exposure", {}).get("revocation") == "done"
        info = document.get("finding_info", {})
        self._notable.append(
            Text.assemble(
                ("ALERT   ", "yellow") if calls_somebody else ("UPDATE  ", "dim"),
                plain(document.get("severity", ""), 10),
                "  ",
                plain(document.get("metadata", {}).get("correlation_uid", ""), 30),
                "  ",
                plain(info.get("desc") or info.get("title", ""), 140),
            )
        )

    def _revocation(self, document: dict[str, Any]) -> None:
        event: dict[str, Any] = next(iter(document.get("events", {}).values()), {})
        if event.get("initiating_entity") != "policy":
            self.n_ended += 1  # the session is over, and its credentials with it: routine, counted apart
            return
        self.n_revocations += 1
        self._drift.append(str(document.get("jti")))
        credentials = ", ".join(
            f"{reference.get('broker')}:{reference.get('kind')}:{reference.get('value')}"
            for reference in event.get("driftline_credentials", [])
            if isinstance(reference, dict)
        )
        reason = event.get("reason_admin", {})
        why = next(iter(reason.values()), "") if isinstance(reason, dict) else reason
        self._notable.append(
            Text.assemble(("REVOKE  ", "bold red"), plain(credentials, 60), "  ", plain(why, 140))
        )

    def _release(self, document: dict[str, Any]) -> None:
        event: dict[str, Any] = next(iter(document.get("events", {}).values()), {})
        self.n_released += len(event.get("driftline_released", ()))

    def _outcome(self, document: dict[str, Any]) -> None:
        status = str(document.get("status"))
        self.outcomes[status] += 1
        failed = status == "failed"
        if not failed and document.get("jti") not in self._drift:
            return  # of a task that is over: routine
        took = document.get("latency_ms")
        self._notable.append(
            Text.assemble(
                ("FAILED  ", "bold red") if failed else ("OUTCOME ", "green"),
                plain(f"{document.get('broker')}:{document.get('kind')}", 30),
                "  ",
                plain(status.replace("_", " "), 14),
                f", {took} ms after the revocation" if isinstance(took, int) and not failed else "",
                f"  {plain(document.get('detail'), 140)}" if document.get("detail") else "",
            )
        )

    def _refusal(self, document: dict[str, Any]) -> None:
        self.n_quarantined += 1
        self._notable.append(
            Text.assemble(
                ("REFUSED ", "cyan"),
                plain(document.get("reason", ""), 12),
                "  ",
                plain(document.get("key", ""), 30),
                "  ",
                plain(document.get("detail", ""), 140),
            )
        )

    @property
    def n_calls(self) -> int:
        """Calls decided."""
        return self.verdicts.total()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The view as it stands, no higher than the screen: of each kind the newest that there is room for."""
        headline = self.headline()
        n_top = len(headline.wrap(console, options.max_width))
        room = max(8, console.height - 1) - n_top
        notable = list(self._notable)[-max(2, room // 3) :]
        n_rows = max(1, room - 3 - (len(notable) + 2 if notable else 0))
        yield headline
        yield Panel(_table(list(self._latest)[-n_rows:]), border_style="blue")
        if notable:
            rows = Group(*(Text.assemble(row, no_wrap=True, overflow="ellipsis") for row in notable))
            yield Panel(rows, border_style="red")

    def headline(self) -> Text:
        """One line of counts."""
        parts = [f"{len(self.sessions)} sessions", f"{self.n_calls} calls"]
        parts += [f"{self.verdicts[verdict]} {verdict}" for verdict in STYLES if self.verdicts[verdict]]
        parts += [f"{self.n_alerts} alerts", f"{self.n_revocations} revocations for drift"]
        if self.n_ended:
            parts.append(f"{self.n_ended} as sessions ended")
        if self.n_released:
            parts.append(f"{self.n_released} credentials released")
        dead = sum(self.outcomes[status] for status in ("done", "already_gone", "wider"))
        if dead:
            parts.append(f"{dead} credentials dead")
        if self.outcomes["failed"]:
            parts.append(f"{self.outcomes['failed']} revocations FAILED")
        if self.n_quarantined:
            parts.append(f"{self.n_quarantined} refused")
        text = Text(" · ".join(parts))
        return text.append(f" · {self.lost}", "bold red") if self.lost else text


def _table(decisions: list[dict[str, Any]]) -> Table:
    table = Table(expand=True, pad_edge=False, box=None)
    for name, width in (("verdict", 7), ("score", 5), ("call", 4)):
        table.add_column(name, width=width, no_wrap=True)
    for name, share, most in (("session", 3, 30), ("tool", 3, 24), ("why", 5, None)):
        table.add_column(name, ratio=share, max_width=most, no_wrap=True, overflow="ellipsis")
    for decision in decisions:
        verdict = str(decision.get("verdict"))
        table.add_row(
            Text(plain(verdict, 8), style=STYLES.get(verdict, "")),
            f"{float(decision.get('score', 0)):.2f}",
            str(decision.get("call_seq")),
            Text(plain(decision.get("session_id"), 30)),
            Text(plain(decision.get("tool"), 24)),
            Text(plain(decision.get("explanation"), 200), style="dim" if verdict == "allow" else ""),
        )
    return table


def _document(seen: Seen) -> tuple[str, dict[str, Any]] | None:
    """What tells a record from its repeats, and its document; None for something unreadable."""
    if seen.topic in (REVOCATIONS, ENDS):
        claims = claims_of(seen.value)
        return str(claims.get("jti", "")), claims
    if seen.topic == QUARANTINE:
        headers: dict[str, Any] = {name: value.decode(errors="replace") for name, value in seen.headers}
        headers["key"] = (seen.key or b"").decode(errors="replace")  # the session's, as its producer names it
        return f"{headers.get('topic')}/{headers.get('partition')}/{headers.get('offset')}", headers
    try:
        document = orjson.loads(seen.value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    if seen.topic == DECISIONS:
        return str(document.get("decision_id", "")), document
    if seen.topic == OUTCOMES:
        names = ("jti", "broker", "credential", "status", "time")
        return "/".join(str(document.get(name)) for name in names), document
    uid = document.get("metadata", {}).get("uid") or base64.b64encode(seen.value).decode()
    return str(uid), document
