"""What a release is: every file that its decisions depend on, under one digest.

The model, its manifest (which has the thresholds), the list of readers (which names the digests of the heads and of the
table of words), and a policy. Loading checks each file against the digests in these lists, so that one digest over the lists
binds all of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.errors import ArtefactError
from models.release.readers import LIST_FILE, has_readers
from models.release.registry import BUNDLED, MANIFEST_FILE, MODEL_FILE


def files_of(directory: Path | None = None) -> dict[str, Path]:
    """The files that bind a release, by what they are; one without readers of its own has those of the package.

    Parameters
    ----------
    directory : None = the release that comes with the package
    """
    directory = BUNDLED if directory is None else directory
    listed = directory if has_readers(directory) else BUNDLED
    return {
        "manifest": directory / MANIFEST_FILE,
        "model": directory / MODEL_FILE,
        "readers": listed / LIST_FILE,
    }


def digest_of(directory: Path | None, policy_digest: str) -> str:
    """SHA-256 over the digests of all files of a release and of its policy, hexadecimal: what an activation names.

    Raises
    ------
    ArtefactError
        A file cannot be read.
    """
    total = hashlib.sha256()
    for name, path in sorted(files_of(directory).items()):
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error.strerror}; reinstall the release") from error
        total.update(f"{name} {hashlib.sha256(raw).hexdigest()}\n".encode())
    total.update(f"policy {policy_digest}\n".encode())
    return total.hexdigest()
