"""What all heads' files have in common: JSON with weights that are whole numbers."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ArtefactError

F = TypeVar("F", bound="WeightsFile")

Weight = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
"""A whole number: sums of others would differ between machines."""


class WeightsFile(BaseModel):
    """What a head's file must hold, as JSON; what it says beside that of how it was made is for people."""

    model_config = ConfigDict(strict=True, frozen=True)


def parse_weights(raw: bytes, form: type[F], name: str) -> F:
    """The weights of head `name` in the bytes of its file, checked against the head's `form`.

    Raises
    ------
    ArtefactError
        They are not JSON, lack a member, or have a weight that is no whole number of 32 bits.
    """
    try:
        return form.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ArtefactError(
            f"{name}.json does not hold the weights of `{name}` ({place}: {first['msg']});"
            f" run `python -m models.training.heads {name}`"
        ) from error
