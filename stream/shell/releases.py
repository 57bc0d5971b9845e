"""The registry of releases on the bus: what may be activated, where its bytes are, and what goes live when."""

from __future__ import annotations

import logging
import lzma
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import orjson

from models.contracts import ReleaseAlias, ReleaseRecord
from models.errors import ArtefactError, BrokerError, ConfigError, DriftlineError
from stream import activations, jose, registrations
from stream.bootstrap import release_digest
from stream.core.deployment import Activation
from stream.events import RELEASES, dumps
from stream.policy import load_policy
from stream.registrations import Alias, Place, SignedRegistrations
from stream.settings import Settings
from stream.shell import direct_http, export, wire
from stream.shell.connection import refused

MAX_BYTES = 256 << 20
"""Bytes of one release."""
MAX_FILES = 256
FETCH_S = 45.0
"""How long a fetch may take in all: a worker that waits for longer is taken for dead (`livenessProbe` in deploy/)."""
LEFT_S = 3600.0
"""Age from which on what a killed fetch left behind is removed: no fetch that is under way is as old."""

log = logging.getLogger("driftline.worker")


class Registry(NamedTuple):
    """What stands on the topic of releases and bears a trusted signature; how many records do not; by which key each release was registered."""

    places: Mapping[str, Place]
    aliases: Mapping[str, Alias]
    untrusted: int
    signers: Mapping[str, str] = {}


def registry(settings: Settings) -> Registry:
    """The registry as it stands.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is missing.
    ConfigError
        The file of keys cannot be read.
    """
    trusted = SignedRegistrations(_keys(settings), settings.issuer)
    places: dict[str, Place] = {}
    aliases: dict[str, Alias] = {}
    signers: dict[str, str] = {}
    untrusted = 0
    for record, _ in export.records(settings, RELEASES):
        key = (record.key or b"").decode(errors="replace")
        try:
            token = orjson.loads(record.value or b"")["token"]
            if key.startswith("@"):
                alias = trusted.alias(token)
                if f"@{alias.alias}" != key:
                    raise ValueError("the key names another alias")
                aliases[alias.alias] = alias
            else:
                place = trusted.place(token)
                if place.digest != key:
                    raise ValueError("the key names another release")
                places[place.digest] = place
                signers[place.digest] = jose.kid_of(token)
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ):  # anybody's record; the trusted one before it stands
            untrusted += 1
    return Registry(places, aliases, untrusted, signers)


def _keys(settings: Settings) -> Mapping[str, Any] | None:
    if settings.activation_jwks is None:
        return None
    keys = jose.read_json(settings.activation_jwks, f"DRIFTLINE_ACTIVATION_JWKS {settings.activation_jwks}")
    return keys if isinstance(keys, dict) else {}


def fetch(settings: Settings, digest: str) -> Path | None:
    """The folder with the release of this digest, fetched once and kept in the state directory; None if nobody registered it.

    Raises
    ------
    ArtefactError
        Its bytes cannot be had, or are those of another release.
    BrokerError
        No broker answers.
    """
    kept = settings.state_dir / "releases" / digest
    if _is(kept, digest):
        return kept
    place = registry(settings).places.get(digest)
    if place is None:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(kept.parent)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as scratch:
        brought = Path(scratch) / "release"
        bring(place.location, brought)
        if not _is(brought, digest):
            raise ArtefactError(
                f"what lies at {place.location} is not the release {digest}; publish it again"
            )
        shutil.rmtree(kept, ignore_errors=True)  # what a disk spoilt
        os.replace(brought, kept)
    log.info("release %s fetched from %s", digest, place.location)
    return kept


def _remove_left(folder: Path) -> None:
    """Remove what fetches left that were killed: a release each, and a worker that is killed again and again would fill its disk."""
    for scratch in folder.glob(".*"):
        with suppress(OSError):
            if time.time() - scratch.stat().st_mtime > LEFT_S:
                shutil.rmtree(scratch, ignore_errors=True)


def _is(folder: Path, digest: str) -> bool:
    with suppress(DriftlineError):
        return release_digest(folder, load_policy(folder / "policy.yaml")) == digest
    return False


def bring(location: str, folder: Path) -> None:
    """Copy a release from where it lies, a folder or a tar archive, on a disk or at an ``https`` address.

    Raises
    ------
    ArtefactError
        It cannot be had, or is too large.
    """
    try:
        parts = urlsplit(location)
        if parts.scheme == "https":
            with tempfile.TemporaryFile() as archive:
                direct_http.within(FETCH_S, lambda: _download(location, archive))
                archive.seek(0)
                _unpack(archive, folder)
            return
        path = Path(unquote(parts.path) if parts.scheme == "file" else location)
        if path.is_dir():
            _take_files(path, folder)
        else:
            with path.open("rb") as archive:
                _unpack(archive, folder)
    except (
        OSError,
        ValueError,
        HTTPException,
        tarfile.TarError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise ArtefactError(f"the release at {location} cannot be had: {error}") from error


def _download(location: str, archive: Any) -> None:
    # The scheme is checked, and the digest that somebody trusted signed says what may come.
    with direct_http.opener(location).open(location, timeout=direct_http.SILENT_S) as answer:
        _copy(answer.read, archive.write, MAX_BYTES)


def _take_files(path: Path, folder: Path) -> None:
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    if len(files) > MAX_FILES or sum(file.stat().st_size for file in files) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_FILES} files, or {MAX_BYTES >> 20} MiB")
    folder.mkdir()
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _unpack(archive: Any, folder: Path) -> None:
    """The regular files of a tar archive, whatever folders it has them in."""
    folder.mkdir()
    total = 0
    with tarfile.open(fileobj=archive, mode="r:*") as members:
        for n, member in enumerate(members):
            total += member.size
            if n >= MAX_FILES or total > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_FILES} files, or {MAX_BYTES >> 20} MiB")
            content = members.extractfile(member) if member.isfile() else None
            if content is not None:
                with content, (folder / Path(member.name).name).open("xb") as file:
                    shutil.copyfileobj(content, file)


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], object], most: int) -> None:
    while piece := read(1 << 20):
        most -= len(piece)
        if most < 0:
            raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
        write(piece)


# ------------------------------------------------------------------ writing


def location_of(text: str) -> str:
    """Where workers find a release, as its record says it; `ConfigError` where no worker could.

    Raises
    ------
    ConfigError
        It is neither a path nor an ``https`` address.
    """
    parts = urlsplit(text)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return text
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme == "file" else text)
        return path.resolve().as_uri()
    raise ConfigError(
        f"{text} is no place for a release; name a folder, a tar archive, or an https address without a password"
    )


def next_epoch(before: Alias | None) -> int:
    """An epoch above that of an alias as it stood, and above those of activations that were made without it."""
    return max(int(time.time()), 0 if before is None else before.epoch + 1)


def publish(settings: Settings, place: Place, manifest: Mapping[str, Any], key: Any) -> None:
    """Register a release; raises `BrokerError` where no broker confirms it."""
    record = registrations.record_of(place, manifest, settings.issuer, key)
    with writing(settings) as producer:
        confirmed(producer.send(settings.topic(RELEASES), key=place.digest.encode(), value=_bytes(record)))


def name(settings: Settings, alias: Alias, key: Any) -> None:
    """Say what an alias means from now on; raises as `publish`."""
    record = registrations.alias_record_of(alias, settings.issuer, key)
    with writing(settings) as producer:
        confirmed(
            producer.send(settings.topic(RELEASES), key=f"@{alias.alias}".encode(), value=_bytes(record))
        )


def _bytes(record: ReleaseRecord | ReleaseAlias) -> bytes:
    return dumps(record.model_dump())


class Sent(NamedTuple):
    """An activation on its way: which partition it stands in, and where."""

    topic: str
    partition: int
    offset: int


def partitions_of(settings: Settings) -> list[tuple[str, int]]:
    """Every partition that events come in, by topic; raises `BrokerError` where a topic is missing."""
    found: list[tuple[str, int]] = []
    with writing(settings) as producer:
        for base in settings.input_topics:
            topic = settings.topic(base)
            known = sorted(producer.partitions_for(topic) or ())
            if not known:
                raise BrokerError(
                    f"topic {topic} does not exist at {settings.bootstrap}; run `driftline topics create`"
                )
            found += [(topic, number) for number in known]
    return found


def activate(
    settings: Settings, places: list[tuple[str, int]], digest: str, epoch: int, scope: str, key: Any
) -> list[Sent]:
    """Put an activation into each of these partitions; raises `BrokerError` where no broker confirms it."""
    sent: list[Sent] = []
    with writing(settings) as producer:
        for topic, partition in places:
            token = activations.sign(Activation(topic, partition, epoch, digest, scope), settings.issuer, key)
            value = dumps({"type": "release.activated", "token": token})
            stored = confirmed(producer.send(topic, value=value, partition=partition))
            sent.append(Sent(topic, partition, stored.offset))
    return sent


def taken(settings: Settings, sent: list[Sent], within_s: float) -> list[Sent]:
    """Of these activations those that no worker has acknowledged within that time.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    deadline = time.monotonic() + within_s
    try:
        # It asks what the group has acknowledged and never joins it.
        consumer = KafkaConsumer(
            **settings.kafka(), group_id=f"{settings.prefix}{settings.group}-judge", enable_auto_commit=False
        )
        try:
            left = sent
            while True:
                left = [
                    each
                    for each in left
                    if (consumer.committed(TopicPartition(each.topic, each.partition)) or 0) <= each.offset
                ]
                if not left or time.monotonic() > deadline:
                    return left
                time.sleep(0.1)
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error


@contextmanager
def writing(settings: Settings, client: str = "driftline-release") -> Iterator[Any]:
    """A producer that waits for every copy; `BrokerError` where no broker answers."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    wire.install()
    try:
        producer = KafkaProducer(**settings.kafka(), acks="all", client_id=client)
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        yield producer
    finally:
        producer.close(5)


def confirmed(future: Any) -> Any:
    """What the broker says of a record once it has it; `BrokerError` where it refuses it."""
    from kafka.errors import KafkaError

    try:
        return future.get(timeout=30)
    except KafkaError as error:
        raise BrokerError(f"the broker refused a record ({type(error).__name__})") from error
