"""Play a file onto the bus: bus events, recorded sessions or a log, at a rate.

The key is the root session, and kafka-python's default partitioner is Kafka's murmur2, as the contract asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from models.contracts import ToolCalled
from models.errors import BrokerError, ContractError, InputError
from stream.events import EVENTS, FEEDBACK, QUARANTINE, Headers, Record, dumps, parse
from stream.offline.files import events_at, load_tools, read_records
from stream.offline.lines import Heard, documents_in, is_log, is_recorded, unheard
from stream.settings import Settings
from stream.shell.connection import refused

_IDS = ("id", "session_id", "root_session_id", "parent_session_id")


class Message(NamedTuple):
    """One record to send; ``topic`` is a base name."""

    topic: str
    key: bytes | None
    headers: Headers
    value: bytes | None


def messages(
    path: Path | str, *, tools: Path | None = None, run: str = "", heard: Heard = unheard
) -> Iterator[Message]:
    """What the file at `path` puts on the bus, in its order; `run` prefixes every id.

    Parameters
    ----------
    heard : see `stream.offline.lines.open_text`

    Raises
    ------
    InputError
        The file cannot be read, or a line of a log has another shape.
    """
    catalogues = load_tools(path, tools)
    if not run:
        for record, partitions in read_records(path, tools, heard=heard):
            if partitions is not None and not record.topic.endswith(EVENTS):
                raise InputError(
                    f"{path} is a log of {record.topic}, not of events; a mended quarantine goes with --from-quarantine"
                )
            yield Message(EVENTS, record.key, record.headers, record.value)
        return
    for number, raw, document in documents_in(path, heard):
        if is_recorded(document):
            for event in events_at(f"{path}, line {number}", document, catalogues, run):
                yield Message(EVENTS, _root(event), (), dumps(event))
        elif is_log(document):
            raise InputError(f"{path}, line {number}: a log is played as it is; leave --as away")
        elif isinstance(document, dict):
            event = {
                name: f"{run}-{value}" if name in _IDS and isinstance(value, str) else value
                for name, value in document.items()
            }
            yield Message(EVENTS, _root(event), (), dumps(event))
        else:
            yield Message(EVENTS, None, (), raw)  # as on the bus: quarantine will tell


def _root(event: dict[str, Any]) -> bytes | None:
    root = event.get("root_session_id") or event.get("session_id")
    return root.encode() if isinstance(root, str) else None


def mended(records: Iterable[Record], inputs: Collection[str] = ()) -> Iterator[tuple[Message | None, str]]:
    """Each quarantined record as what to send again, or None with the reason why it is still refused.

    Records refused for their key or partition are mended by being sent again with the right key.
    """
    for record in records:
        try:
            event = parse(record.value).event
        except ContractError as error:
            yield None, f"{record.topic}[{record.partition}]@{record.offset} is still refused: {error.reason}"
            continue
        root = getattr(event, "root_session_id", None) or getattr(event, "session_id", None)
        if root is None:
            yield (
                None,
                f"{record.topic}[{record.partition}]@{record.offset} is a control record: not sent again",
            )
            continue
        topic = dict(record.headers).get("topic", EVENTS.encode()).decode(errors="replace")
        if not topic.endswith(EVENTS) and topic not in inputs:
            # The header is data: it may not send our records, with our rights, to any topic it likes.
            yield (
                None,
                f"{record.topic}[{record.partition}]@{record.offset} names {topic[:64]!r}, which is no input",
            )
            continue
        yield Message(topic, root.encode(), (), record.value), ""


class Refusals:
    """Messages that the contract refuses: among calls they are sent all the same, and the worker puts them into quarantine."""

    def __init__(self) -> None:
        self.count = self.seen = self.calls = 0
        self.first = ""

    def watching(self, items: Iterable[Message]) -> Iterator[Message]:
        """`items` as they are; calls and whatever is no event among them are counted."""
        for message in items:
            self.seen += 1
            try:
                self.calls += isinstance(parse(message.value).event, ToolCalled)
            except ContractError as error:
                self.count += 1
                self.first = self.first or f"{error.reason}, {error.detail}"
            yield message

    @property
    def nothing_left(self) -> bool:
        """Whether some were refused and no call is left to judge: then ``driftline replay`` refuses the whole, too."""
        return self.count > 0 and not self.calls

    def text(self) -> str:
        """What to say of them."""
        return f"{self.count} of {self.seen} records are no events ({self.first})"


def refuse_unjudgeable(items: Iterable[Message]) -> None:
    """Read `items` up to the first call, and raise `InputError` where there is none and records are refused."""
    refusals = Refusals()
    for _ in refusals.watching(items):
        if refusals.calls:
            return
    if refusals.nothing_left:
        raise InputError(f"no call is left to judge, and nothing was sent: {refusals.text()}")


def quarantined_file(path: Path | str) -> Iterator[Record]:
    """Records of a quarantine topic that was dumped, and mended by hand."""
    for record, partitions in read_records(path):
        if partitions is None:
            raise InputError(f"{path} is no log; dump one: driftline topics dump {QUARANTINE}")
        yield record


class Sender:
    """A producer that confirms: every record is acknowledged by the broker before `close` returns."""

    def __init__(self, settings: Settings) -> None:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError

        self._settings = settings
        self._futures: list[Any] = []
        self.sent = 0
        try:
            self._producer = KafkaProducer(
                **settings.kafka(),
                acks="all",
                max_request_size=settings.message_max_bytes + 65_536,
                client_id="driftline-send",
            )
        except (KafkaError, OSError) as error:
            raise refused(settings, error) from error

    def send(self, message: Message) -> None:
        """Send one record; a failure shows at the next `confirm`."""
        from kafka.errors import KafkaError

        try:
            name = self._settings.topic(self._settings.base(message.topic))
            self._futures.append(
                self._producer.send(
                    name, key=message.key, value=message.value, headers=list(message.headers) or None
                )
            )
        except KafkaError as error:
            raise _refused(error, message) from error
        except ValueError as error:  # the client takes no record that has neither
            raise InputError("a record has neither a key nor a value and cannot be sent") from error
        self.sent += 1
        if len(self._futures) >= 5000:
            self.confirm()

    def confirm(self) -> None:
        """Wait until the broker has everything sent so far."""
        from kafka.errors import KafkaError

        futures, self._futures = self._futures, []
        try:
            for future in futures:
                future.get(timeout=60)
        except KafkaError as error:
            raise _refused(error, None) from error

    def close(self) -> None:
        """Confirm and close."""
        try:
            self.confirm()
        finally:
            self._producer.close(5)

    def __enter__(self) -> Self:
        """Ready to send."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close; what was sent is confirmed unless an error is already on its way."""
        if error is None:
            self.close()
        else:
            with suppress(Exception):  # the error on its way says more
                self._producer.close(0)


def _refused(error: Exception, message: Message | None) -> BrokerError | InputError:
    name = type(error).__name__
    if name == "MessageSizeTooLargeError":
        size = "" if message is None else f" of {len(message.value or b'')} bytes"
        return InputError(f"a record{size} is larger than the topic takes; raise DRIFTLINE_MESSAGE_MAX_BYTES")
    return BrokerError(f"the broker refused a record ({name}); what was sent before may have arrived")


def paced(items: Sequence[Message] | Iterable[Message], rate: float | None) -> Iterator[Message]:
    """`items`, at most `rate` a second (None: as fast as they are taken)."""
    if rate is None:
        yield from items
        return
    began = time.monotonic()
    for n, item in enumerate(items):
        wait = began + n / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield item


def play(
    settings: Settings,
    items: Iterable[Message],
    rate: float | None,
    *,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Send `items` at `rate` and confirm them; gives how many."""
    with Sender(settings) as sender:
        for message in paced(items, rate):
            sender.send(message)
            if progress is not None:
                progress(sender.sent)
    return sender.sent


def send_signed(settings: Settings, kind: str, tenant: str, token: str) -> None:
    """Send a person's signed word on its way; it counts once a worker that trusts its key has read it.

    Parameters
    ----------
    kind : str
        Its type on the topic of feedback, such as ``held.resolved``.

    Raises
    ------
    BrokerError
        No broker answers, or it does not take the record.
    """
    value = dumps({"type": kind, "tenant": tenant, "token": token})
    play(settings, [Message(FEEDBACK, tenant.encode(), (), value)], None)


def interleaved(streams: Sequence[Sequence[Message]]) -> list[Message]:
    """One list of all streams, each in its own order, as concurrent sessions would arrive.

    >>> a, b = [Message("t", b"a", (), b"1"), Message("t", b"a", (), b"2")], [Message("t", b"b", (), b"3")]
    >>> [m.value for m in interleaved([a, b])]
    [b'1', b'3', b'2']
    """
    longest = max((len(stream) for stream in streams), default=0)
    return [stream[n] for n in range(longest) for stream in streams if n < len(stream)]
