"""Where the texts lie that training reads, and how they are read: data, beside the code and never in the wheel.

What stands in each file, and how its templates are written, is told in ``corpora/README.md``.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.errors import ConfigError, DatasetError

SETTING = "DRIFTLINE_CORPORA"
"""Names the folder, where this is not a checkout of the repository."""
CORPORA = Path(os.environ.get(SETTING) or Path(__file__).resolve().parents[2] / "corpora")
"""The folder: the one named, or the checkout's own."""


def require() -> None:
    """Nothing, where the corpora are at hand.

    Raises
    ------
    ConfigError
        They are not: an installed package has none.
    """
    if not (CORPORA / "written").is_dir():
        raise ConfigError(
            f"training reads the scenario texts and invented catalogues of a checkout's corpora/, and {CORPORA} is"
            f" no such folder; set {SETTING} to it (git clone the repository, or unpack the source distribution)"
        )


@lru_cache(maxsize=64)
def read(name: str, shape: Any = Any) -> Any:
    """One corpus of JSON, checked against what it should be made of.

    Parameters
    ----------
    name : its path in the folder, for instance ``report/lab_stock.json``
    shape : a type: named tuples stand for objects, whose fields are all known

    Raises
    ------
    ConfigError
        There is no folder of corpora.
    DatasetError
        The file is missing, is no JSON, or has another shape.
    """
    require()
    try:
        return TypeAdapter(shape).validate_python(json.loads((CORPORA / name).read_bytes()))
    except OSError as error:
        raise DatasetError(f"{CORPORA / name} cannot be read: {error.strerror}") from error
    except (ValidationError, ValueError) as error:
        raise DatasetError(f"{CORPORA / name} has another shape than its readers expect: {error}") from error


@lru_cache(maxsize=8)
def lines(name: str) -> tuple[dict[str, Any], ...]:
    """The objects of a corpus that has one a line; errors as for `read`."""
    require()
    try:
        return tuple(json.loads(line) for line in (CORPORA / name).read_bytes().splitlines())
    except OSError as error:
        raise DatasetError(f"{CORPORA / name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"{CORPORA / name} is not one JSON object a line: {error}") from error
