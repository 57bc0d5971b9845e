"""A live view of what is decided, in the terminal.

`Board` holds what is shown and renders it; it knows no broker, so that a test can feed it. Everything shown
comes from others: control characters are removed and nothing is read as markup.
"""

from __future__ import annotations

import base64
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from models.errors import BrokerError
from stream.events import ALERTS, DECISIONS, QUARANTINE, REVOCATIONS
from stream.settings import Settings
from stream.shell.connection import refused

STYLES = {"allow": "green", "abstain": "dim", "alert": "yellow", "deny": "magenta", "revoke": "bold red"}
SHOWN = (DECISIONS, ALERTS, REVOCATIONS, QUARANTINE)

_log = logging.getLogger("driftline.watch")


class Seen(NamedTuple):
    """One record of an output topic (base name), and when it was read, in seconds since 1970."""

    topic: str
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    read_at: float


def plain(text: object, limit: int = 80) -> str:
    """`text` on one line without control characters, at most `limit` long.

    >>> plain("a\\x1b[31m b")
    'a [31m b'
    """
    shown = "".join(ch if ch.isprintable() else " " for ch in str(text))
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def claims_of(token: bytes) -> dict[str, Any]:
    """The claims of a compact JWS, unverified: good for showing, not for acting on."""
    try:
        payload = token.split(b".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


class Board:
    """What the live view shows: counts, and the latest of each kind."""

    def __init__(self, *, latest: int = 12) -> None:
        self.verdicts: Counter[str] = Counter()
        self.sessions: set[tuple[str, str]] = set()
        self.n_alerts = self.n_revocations = self.n_ended = self.n_quarantined = 0
        self.raised: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self._latest: deque[dict[str, Any]] = deque(maxlen=latest)
        self._notable: deque[Text] = deque(maxlen=latest)

    def feed(self, seen: Seen) -> dict[str, Any] | None:
        """Take one record in; gives its document, or None for a repeat or something unreadable."""
        if seen.topic == REVOCATIONS:
            document = claims_of(seen.value)
            identity = str(document.get("jti", ""))
        elif seen.topic == QUARANTINE:
            headers = {name: value.decode(errors="replace") for name, value in seen.headers}
            document = dict(headers)
            identity = f"{headers.get('topic')}/{headers.get('partition')}/{headers.get('offset')}"
        else:
            try:
                document = orjson.loads(seen.value)
            except orjson.JSONDecodeError:
                return None
            if seen.topic == DECISIONS:
                identity = str(document.get("decision_id", ""))
            else:
                identity = str(
                    document.get("metadata", {}).get("uid") or base64.b64encode(seen.value).decode()
                )
        if (seen.topic + identity) in self._seen:
            return None  # decided again after a crash: the same record
        self._seen.add(seen.topic + identity)
        self._count(seen.topic, document)
        return document

    def _drifted(self, document: dict[str, Any]) -> None:
        """Keep, for each session, the call that raised it highest: the reason to show at the end."""
        rank = {"alert": 1, "deny": 2, "revoke": 3}
        verdict = str(document.get("verdict"))
        session = str(document.get("session_id"))
        held = self.raised.get(session)
        if verdict in rank and (held is None or rank[verdict] > rank[str(held.get("verdict"))]):
            self.raised[session] = document

    def _count(self, topic: str, document: dict[str, Any]) -> None:
        if topic == DECISIONS:
            self.verdicts[str(document.get("verdict"))] += 1
            self.sessions.add((str(document.get("tenant")), str(document.get("session_id"))))
            self._latest.append(document)
            self._drifted(document)
        elif topic == ALERTS:
            self.n_alerts += 1
            info = document.get("finding_info", {})
            self._notable.append(
                Text.assemble(
                    ("CLOSED  ", "dim") if document.get("activity_id") == 3 else ("ALERT   ", "yellow"),
                    plain(document.get("severity", ""), 10),
                    "  ",
                    plain(document.get("metadata", {}).get("correlation_uid", ""), 30),
                    "  ",
                    plain(info.get("desc") or info.get("title", ""), 140),
                )
            )
        elif topic == REVOCATIONS:
            event: dict[str, Any] = next(iter(document.get("events", {}).values()), {})
            refs = ", ".join(
                f"{one.get('broker')}:{one.get('kind')}:{one.get('value')}"
                for one in event.get("driftline_credentials", [])
                if isinstance(one, dict)
            )
            reason = event.get("reason_admin", {})
            if event.get("initiating_entity") == "policy":
                self.n_revocations += 1
            else:  # the session is over, and its credentials with it: routine, counted apart
                self.n_ended += 1
                return
            why = next(iter(reason.values()), "") if isinstance(reason, dict) else reason
            self._notable.append(
                Text.assemble(("REVOKE  ", "bold red"), plain(refs, 60), "  ", plain(why, 70))
            )
        else:
            self.n_quarantined += 1
            self._notable.append(
                Text.assemble(
                    ("REFUSED ", "cyan"),
                    plain(document.get("reason", ""), 12),
                    "  ",
                    plain(document.get("detail", ""), 90),
                )
            )

    @property
    def n_calls(self) -> int:
        """Calls decided."""
        return self.verdicts.total()

    def render(self) -> RenderableType:
        """The view as it stands."""
        table = Table(expand=True, pad_edge=False, box=None)
        for name, width in (("verdict", 8), ("score", 6), ("session", 30), ("call", 5), ("tool", 24)):
            table.add_column(name, width=width, no_wrap=True)
        table.add_column("why", no_wrap=True, ratio=1)
        for one in self._latest:
            verdict = str(one.get("verdict"))
            table.add_row(
                Text(plain(verdict, 8), style=STYLES.get(verdict, "")),
                f"{float(one.get('score', 0)):.2f}",
                Text(plain(one.get("session_id"), 30)),
                str(one.get("call_seq")),
                Text(plain(one.get("tool"), 24)),
                Text(plain(one.get("explanation"), 120), style="dim" if verdict == "allow" else ""),
            )
        return Group(
            Panel(table, title=self.headline(), title_align="left", border_style="blue"),
            *(Panel(Text("\n").join(self._notable), border_style="red") for _ in [0] if self._notable),
        )

    def headline(self) -> Text:
        """One line of counts."""
        parts = [f"{len(self.sessions)} sessions", f"{self.n_calls} calls"]
        parts += [f"{self.verdicts[verdict]} {verdict}" for verdict in STYLES if self.verdicts[verdict]]
        parts += [f"{self.n_alerts} alerts", f"{self.n_revocations} revocations for drift"]
        if self.n_quarantined:
            parts.append(f"{self.n_quarantined} refused")
        return Text(" · ".join(parts))


def records(
    settings: Settings,
    *,
    beginning: bool = False,
    wait_ms: int = 200,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Seen]]:
    """What arrives on the output topics, as it comes; an empty list when nothing did.

    Raises
    ------
    BrokerError
        No broker answers, or the topics are missing.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_wait_ms,
            max_partition_fetch_bytes=4 * settings.message_max_bytes,
            client_id="driftline-watch",
        )
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        places = []
        for base in SHOWN:
            name = settings.topic(base)
            numbers = consumer.partitions_for_topic(name)
            if not numbers:
                _log.warning("%s is not shown: it is missing, or this principal may not read it", name)
            places += [TopicPartition(name, number) for number in sorted(numbers or ())]
        if not places:
            raise BrokerError(
                f"no output topic is to be seen at {settings.bootstrap}; run `driftline topics create`, or grant "
                "this principal the rights of `driftline topics --acls`"
            )
        consumer.assign(places)
        if beginning:
            consumer.seek_to_beginning(*places)
        else:
            consumer.seek_to_end(*places)
        while not stop():
            polled = consumer.poll(timeout_ms=wait_ms)
            now = time.time()
            yield [
                Seen(settings.base(item.topic), item.key, tuple(item.headers or ()), item.value or b"", now)
                for items in polled.values()
                for item in items
            ]
    except KafkaError as error:
        raise BrokerError(f"reading the output topics failed: {type(error).__name__}") from error
    finally:
        consumer.close()


def watch(settings: Settings, *, beginning: bool = False) -> None:
    """Show what is decided until Ctrl-C; in a pipe, one line for each decision that is not an allow."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    board = Board()
    try:
        if not console.is_terminal:
            for batch in records(settings, beginning=beginning):
                for seen in batch:
                    document = board.feed(seen)
                    if document is not None and not (
                        seen.topic == DECISIONS and document.get("verdict") == "allow"
                    ):
                        console.out(f"{seen.topic} {orjson.dumps(document).decode()}", highlight=False)
            return
        with Live(board.render(), console=console, refresh_per_second=4, screen=False) as live:
            for batch in records(settings, beginning=beginning):
                for seen in batch:
                    board.feed(seen)
                live.update(board.render())
    except KeyboardInterrupt:
        console.print(board.headline())
