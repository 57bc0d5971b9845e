"""Where the texts lie that training reads, and how they are read: data, beside the code and never in the wheel.

What stands in each file, and how its templates are written, is told in ``corpora/README.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.errors import ConfigError, DatasetError

SETTING = "DRIFTLINE_CORPORA"
"""Names the folder, where this is not a checkout of the repository."""
_CHECKOUT = Path(__file__).resolve().parents[2] / "corpora"
_DIGESTS: dict[str, str] = {}
"""Of each corpus that this process has read: only `raw` adds to it."""


def folder() -> Path:
    """The folder of corpora: the one that `SETTING` names in the environment, or the checkout's own.

    Raises
    ------
    ConfigError
        There is none: an installed package comes without them.
    """
    named = os.environ.get(SETTING)
    path = Path(named) if named else _CHECKOUT
    if not (path / "written").is_dir():
        where = f"{named} is not that folder" if named else "an installed package comes without them"
        raise ConfigError(
            "training reads scenario texts and invented catalogues from the folder corpora/ of the repository, and"
            f" {where}: set {SETTING} to corpora/ of a checkout or of an unpacked source distribution"
        )
    return path


def names(part: str) -> list[str]:
    """The corpora of JSON in a part of the folder, sorted, without their endings."""
    return sorted(path.stem for path in (folder() / part).glob("*.json"))


@lru_cache(maxsize=256)
def read(name: str, shape: Any) -> Any:
    """One corpus of JSON, checked against what it should be made of.

    Parameters
    ----------
    name : its path in the folder, for instance ``report/texts.json``
    shape : a type: a named tuple or a typed dictionary stands for an object, whose fields are all known

    Raises
    ------
    ConfigError
        There is no folder of corpora.
    DatasetError
        The file is missing, is no JSON, or has another shape.
    """
    return _checked(name, json.loads, shape)


@lru_cache(maxsize=8)
def lines(name: str, shape: Any) -> Any:
    """A list of what a corpus has one a line, each of this shape; errors as for `read`."""
    return _checked(name, lambda raw: [json.loads(line) for line in raw.splitlines()], list[shape])


def raw(name: str) -> bytes:
    """The bytes of one corpus; raises `ConfigError` where there is no folder of them, `OSError` where it cannot be read."""
    found = (folder() / name).read_bytes()
    _DIGESTS[name] = hashlib.sha256(found).hexdigest()
    return found


def digest(name: str) -> str:
    """SHA-256 of one corpus as it lies there, which counts as read by that; raises as `raw` does."""
    raw(name)
    return _DIGESTS[name]


def digests() -> dict[str, str]:
    """SHA-256 of each corpus that this process has read, by its path in the folder."""
    return dict(sorted(_DIGESTS.items()))


def _checked(name: str, parse: Callable[[bytes], Any], shape: Any) -> Any:
    path = folder() / name
    try:
        return TypeAdapter(shape).validate_python(parse(raw(name)))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(map(str, first["loc"]))
        raise DatasetError(
            f"{path} has another shape than its readers expect: {where}: {first['msg']}"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
