"""The reader: what it lets a session keep of texts, what it is shown of a call, and what it says of that."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from models.errors import ArtefactError
from models.reading import memory
from models.reading.encoder import Encoder
from models.reading.memory import Told
from models.reading.page import Page, page_of, value_of
from models.reading.pieces import Pieces
from models.text.documents import Leaf
from models.text.meaning import sentences_of

MAX_READ = 4096
"""Pages whose log odds are remembered, of some 1.5 kB each."""


class Shown(NamedTuple):
    """What a reader is shown of a call, before it is laid out on a page.

    Attributes
    ----------
    intents : kept intents that the call works for, the widest first
    heard : answers that its session keeps
    tool, description : in words
    arguments : leaves of what the tool is given
    """

    intents: Sequence[bytes]
    heard: bytes
    tool: str
    description: str
    arguments: Sequence[Leaf]


class Reader:
    """A vocabulary, and an encoder of its pieces.

    Parameters
    ----------
    pieces : of what is shown and kept
    encoder : says how little a call serves what is asked; None while none is fitted
    """

    def __init__(self, pieces: Pieces, encoder: Encoder | None = None) -> None:
        self.pieces, self.encoder = pieces, encoder
        self._head = zlib.crc32("\n".join(pieces.words).encode()).to_bytes(4, "little")
        self._read: dict[tuple[int, ...], float] = {}

    @classmethod
    def parse(cls, raw: bytes) -> Reader:
        """The reader whose file holds `raw`: the encoder's arrays, and the word pieces as lines; raises `ArtefactError`."""
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            pieces = Pieces(arrays.pop("pieces").tobytes().decode().split("\n"))
            encoder = Encoder(arrays)
        except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
            raise ArtefactError(f"this is no reader ({error}); reinstall the release") from error
        if encoder.n_pieces != len(pieces):
            raise ArtefactError(
                f"a reader knows {encoder.n_pieces} pieces and spells {len(pieces)}; reinstall the release"
            )
        return cls(pieces, encoder)

    def wrote(self, kept: bytes) -> bool:
        """Whether a kept intent is spelled in this reader's pieces: in those of another vocabulary it would say something else."""
        return kept.startswith(self._head)

    def with_intent(self, kept: bytes, text: str, room: int) -> bytes:
        """A kept intent with more text, in `room` bytes, behind the print of the vocabulary; one of another vocabulary stays as it is."""
        if kept and not self.wrote(kept):
            return kept
        own = len(self._head)
        if room <= own:
            return b""
        return self._head + memory.with_sentences(kept[own:], sentences_of(text), self.pieces, room - own)

    def with_answer(self, kept: bytes, seq: int, fetcher: bytes, records: Iterable[Told], room: int) -> bytes:
        """Kept answers with that of call `seq`, in `room` bytes."""
        return memory.with_answer(kept, seq, fetcher, records, self.pieces, room)

    def fetcher_of(self, tool: str, arguments: Iterable[Leaf]) -> bytes:
        """How a call was called, as it is kept before what it fetched."""
        return memory.fetcher_of(tool, map(value_of, arguments), self.pieces)

    def page_of(self, shown: Shown) -> Page:
        """The page of a call; intents above it that another vocabulary spells are left out."""
        intents = [kept[len(self._head) :] for kept in shown.intents if self.wrote(kept)]
        return page_of(*shown._replace(intents=intents), self.pieces)

    def read(self, pages: Sequence[Page]) -> list[float]:
        """Log odds that each call serves something else than what is asked; what was read before is remembered."""
        assert self.encoder is not None
        new = [places for places in dict.fromkeys(page.places for page in pages) if places not in self._read]
        if len(self._read) + len(new) > MAX_READ:
            self._read.clear()
            new = list(dict.fromkeys(page.places for page in pages))
        self._read.update(zip(new, self.encoder.read(new).tolist(), strict=True))
        return [self._read[page.places] for page in pages]
