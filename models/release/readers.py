"""The table of words and the heads on disk: one list names each file and its digest.

A release's directory may bring readers of its own, with such a list; one without is read by those that come with the package.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ArtefactError, DigestMismatch
from models.heads.acting import Acting
from models.heads.expectation import Expectation
from models.heads.handover import Heads
from models.heads.readers import Readers
from models.heads.vagueness import Vagueness
from models.reading.reader import Reader
from models.release.registry import BUNDLED
from models.text.embedding import Embedding
from models.text.vectors import Vectoriser

LIST_FILE = "readers.json"
_PACKED = ".gz"
MAX_READ = 4
"""Readers that are kept by the digests of their files: some 30 MB each, and half a second to parse."""


class Listed(BaseModel):
    """A file beside the list."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    file: str = Field(pattern=r"^[a-z0-9_-]+\.[a-z]+(\.gz)?$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class WordsList(BaseModel):
    """Of ``readers.json`` what heads are fitted with: a head that is new stands in no list yet."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    words: Listed


class ReadersList(WordsList):
    """``readers.json``: the files of `models.heads.readers.Readers`, by name."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    acting: Listed
    handover: Listed
    expectation: Listed
    vagueness: Listed
    reader: Listed | None = None

    def files(self) -> list[str]:
        """Names of the files that the list names."""
        return [listed.file for _, listed in self if listed is not None]


Form = TypeVar("Form", bound=WordsList)
_READ: dict[ReadersList, Readers] = {}


def has_readers(directory: Path) -> bool:
    """Whether a release's directory brings readers of its own."""
    return (directory / LIST_FILE).exists()


def read_list(directory: Path) -> ReadersList:
    """What the list in `directory` names; raises `ArtefactError` where it is missing or not sound."""
    return _read_list(directory, ReadersList)


def _read_list(directory: Path, form: type[Form]) -> Form:
    path = directory / LIST_FILE
    try:
        return form.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); reinstall the release") from error
    except ValidationError as error:
        raise ArtefactError(f"{path} is no list of readers ({error}); reinstall the release") from error


def load(directory: Path | None = None) -> Readers:
    """The readers that the list in `directory` names; those that come with the package without one.

    Releases whose files are the same share what was read of them.

    Raises
    ------
    DigestMismatch
        A file's bytes are not those that the list names.
    ArtefactError
        The list or a file is missing, or is not what it should be.
    """
    directory = BUNDLED if directory is None else directory
    listed = read_list(directory)
    raw = {name: _checked(directory, file) for name, file in listed if file is not None}
    held = _READ.get(listed)
    if held is None:
        if len(_READ) >= MAX_READ:
            _READ.clear()
        held = _READ[listed] = _parsed(raw)
    return held


def load_beside(directory: Path | None) -> Readers:
    """The readers that a release's directory brings, or those that come with the package where it brings none."""
    return load(directory if directory is not None and has_readers(directory) else None)


def load_words(directory: Path | None = None) -> Vectoriser:
    """The table of words alone: what heads are fitted on; raises as `load` does."""
    directory = BUNDLED if directory is None else directory
    return _words(_checked(directory, _read_list(directory, WordsList).words))


def _parsed(raw: Mapping[str, bytes]) -> Readers:
    words = _words(raw["words"])
    return Readers(
        words=words,
        acting=Acting.parse(raw["acting"]),
        handover=Heads.parse(raw["handover"]),
        expectation=Expectation.parse(raw["expectation"]),
        vagueness=Vagueness.parse(raw["vagueness"], words),
        reader=Reader.parse(raw["reader"]) if "reader" in raw else None,
    )


def _words(raw: bytes) -> Vectoriser:
    return Vectoriser(Embedding.parse(raw, "the table of words"))


def _checked(directory: Path, listed: Listed) -> bytes:
    """What a file holds, whose bytes are those that the list names."""
    path = directory / listed.file
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); reinstall the release") from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != listed.sha256:
        raise DigestMismatch(
            f"{path} has SHA-256 {digest}, {LIST_FILE} says {listed.sha256}; fetch it again, and suspect tampering if"
            " that changes nothing"
        )
    return gzip.decompress(raw) if listed.file.endswith(_PACKED) else raw


def write(directory: Path, name: str, raw: bytes, file: str | None = None) -> None:
    """Write what reader `name` is parsed from, and its digest into the list in `directory`, if one is there.

    Parameters
    ----------
    file : the name of its file where the list has none yet; ``<name>.json`` if None. One that ends in ``.gz`` is compressed
    """
    path = directory / LIST_FILE
    listed = json.loads(path.read_bytes()) if path.exists() else {}
    file = listed.get(name, {"file": file or f"{name}.json"})["file"]
    kept = gzip.compress(raw, 9, mtime=0) if file.endswith(_PACKED) else raw
    (directory / file).write_bytes(kept)
    if listed:
        listed[name] = {"file": file, "sha256": hashlib.sha256(kept).hexdigest()}
        path.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def bring(directory: Path) -> None:
    """Put the readers that come with the package into a release's directory, as readers of its own."""
    for file in (*read_list(BUNDLED).files(), LIST_FILE):
        (directory / file).write_bytes((BUNDLED / file).read_bytes())


def remove(directory: Path) -> None:
    """Take the readers out of a release's directory, if it has any of its own."""
    if has_readers(directory):
        for file in (*read_list(directory).files(), LIST_FILE):
            (directory / file).unlink(missing_ok=True)
