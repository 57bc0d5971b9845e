"""The public suffix list: below which names a host is somebody's own (``com``, ``co.uk``, ``github.io``).

The list is data beside this module, as publicsuffix.org gave it out on `DATE` (Mozilla Public License 2.0). What it holds
decides what an address is, so its digest stands here: another list is another `CORE`. Nothing is ever fetched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from publicsuffixlist import PublicSuffixList

from models.errors import ArtefactError

DATE = "2026-10-22"
"""When the list was given out."""
SHA256 = "0232f4df0831911356e8ee1f4d5c3b6b12c0ed3f6bd66b0f81c8ab5d3d49e9ca"
"""Of the file."""
PATH = Path(__file__).with_name("public_suffix_list.dat")


def public_suffixes(path: Path = PATH) -> PublicSuffixList:
    """The list, read anew.

    Raises
    ------
    ArtefactError
        The file is missing or is not the list of `DATE`.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); reinstall the package") from error
    if (found := hashlib.sha256(raw).hexdigest()) != SHA256:
        raise ArtefactError(
            f"{path} is not the list of {DATE}: its digest is {found}; another list is another core"
        )
    return PublicSuffixList(raw, accept_unknown=False)
