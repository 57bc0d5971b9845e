"""Where the user's words come from: what started the proxy, never the server, and never what an agent wrote into a call."""

from __future__ import annotations

import os
from pathlib import Path

MAX_INTENT = 32_768
"""Characters of an intent."""


class Intent:
    """The user's words, as far as they are known by now.

    Parameters
    ----------
    text : str or None
        Said when the proxy was started, or by its client's host.
    path : Path or None
        A file in which they stand, and which may change while the session runs: each other text in it is the user's next word.
    """

    def __init__(self, text: str | None = None, path: Path | None = None) -> None:
        self._said, self._path = (text or "").strip()[:MAX_INTENT], path
        self._known = ""
        self._seen: tuple[int, ...] = ()
        self.lacks = "nothing says what the user asked for"
        """Why nothing is known, where nothing is."""

    def say(self, text: str) -> None:
        """The user said something."""
        self._said = text.strip()[:MAX_INTENT] or self._said

    def news(self) -> str | None:
        """What was said since this was last asked; None: nothing, or the same."""
        self._look()
        if self._said == self._known:
            return None
        self._known = self._said
        return self._said

    def _look(self) -> None:
        """Read the file where it changed; while it is away or empty, what was said last holds."""
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            with self._path.open(encoding="utf-8", errors="replace") as file:
                self.say(file.read(MAX_INTENT))
            self._seen = seen
            self.lacks = f"{self._path} does not say yet what the user asked for"
        except OSError as error:
            self.lacks = f"{self._path}, which is to say what the user asked for, cannot be read ({error.strerror}): mend the path"
