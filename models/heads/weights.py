"""Reads the weights of a head, what all heads' files have in common, and what may stand in place of the bundled head for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ArtefactError

T = TypeVar("T")
F = TypeVar("F", bound="WeightsFile")

Weight = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
"""A whole number: sums of others would differ between machines."""


class WeightsFile(BaseModel):
    """What a head's file must hold, as JSON; what it says beside that of how it was made is for people."""

    model_config = ConfigDict(strict=True, frozen=True)


def read_weights(path: Path, form: type[F]) -> F:
    """The weights at `path`, checked against the `form` of their head.

    Raises
    ------
    ArtefactError
        The file is missing, is not JSON, lacks a member, or has a weight that is no whole number of 32 bits.
    """
    mend = f"run `python -m models.training.heads {path.stem}`"
    try:
        return form.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ArtefactError(
            f"{path} holds no weights of this head ({place}: {first['msg']}); {mend}"
        ) from error


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
