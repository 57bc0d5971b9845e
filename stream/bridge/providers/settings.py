"""What the configuration says of every provider, and the files that hold its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stream.bridge.provider import Unavailable
from stream.tls import address_for_secrets


class Part(BaseModel):
    """A part of the configuration: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Seconds = Annotated[float, Field(gt=0, le=600)]
"""How long an answer may take; to the client below, 0 would mean for ever."""
Minutes = Annotated[float, Field(gt=0, le=525_600)]
"""A life of something; at most a year, so that it can be told as a point in time."""
WebAddress = Annotated[str, AfterValidator(address_for_secrets)]
"""An https address; http to this machine alone."""


class WebProvider(Part):
    """A provider that is called over HTTP.

    Attributes
    ----------
    url : str
        Its address, without what the calls add.
    ca_file : Path or None
        PEM of the authority that signed its certificate, where the system does not know it.
    timeout_s : float
        After which a call counts as not answered.
    """

    url: WebAddress
    ca_file: Path | None = None
    timeout_s: Seconds = 10.0


def secret(path: Path) -> str:
    """The secret in a file, read at each use so that it may rotate.

    Raises
    ------
    Unavailable
        The file cannot be read or holds nothing: somebody will mend it.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}; it should hold a secret that the provider knows"
        raise Unavailable(why) from error
    except UnicodeDecodeError:  # the error would quote the file
        raise Unavailable(
            f"{path} is no UTF-8 text; it should hold a secret that the provider knows"
        ) from None
    if not text:
        raise Unavailable(f"{path} is empty; it should hold a secret that the provider knows")
    return text
