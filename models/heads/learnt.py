"""What was learnt once and comes with the code, and what may stand in its place for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.errors import ArtefactError

T = TypeVar("T")


def read(path: Path, module: str, made_of: Callable[[Any], T]) -> T:
    """What is `made_of` the JSON at `path`, which ``python -m`` `module` writes.

    Raises `ArtefactError` for a file that is not there, or of another kind.
    """
    try:
        return made_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}); run `python -m {module}`") from error


def demand_whole(numbers: Iterable[object]) -> None:
    """Raise `ValueError` unless all `numbers` are whole: sums of others would differ between machines."""
    if not all(type(number) is int for number in numbers):
        raise ValueError("a weight is no whole number")


class Learnt(Generic[T]):
    """An artefact in use.

    Parameters
    ----------
    bundled : loads the one that comes with the code, and remembers it
    """

    def __init__(self, bundled: Callable[[], T]) -> None:
        self._bundled = bundled
        self._instead: list[T] = []

    def current(self) -> T:
        """The one in use: the bundled one, see `instead`."""
        return self._instead[-1] if self._instead else self._bundled()

    @contextmanager
    def instead(self, other: T | None) -> Iterator[None]:
        """Use another for a while, if there is one: what the bundled one learnt from is seen through one that did not."""
        if other is None:
            yield
            return
        self._instead.append(other)
        try:
            yield
        finally:
            self._instead.pop()
