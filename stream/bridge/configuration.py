"""The bridge's configuration: who it is, which provider each broker name means, and how hard it may lean on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from models.errors import ConfigError
from stream.bridge.provider import Provider
from stream.bridge.providers.aws import Aws, AwsSettings
from stream.bridge.providers.entra import Entra, EntraSettings
from stream.bridge.providers.keycloak import Keycloak, KeycloakSettings
from stream.bridge.providers.okta import Okta, OktaSettings
from stream.bridge.providers.rfc7009 import OAuthServer, OAuthServerSettings
from stream.bridge.providers.settings import Minutes, Part
from stream.bridge.providers.spire import Spire, SpireSettings
from stream.bridge.providers.vault import Vault, VaultSettings

ProviderSettings = Annotated[
    KeycloakSettings
    | OAuthServerSettings
    | VaultSettings
    | OktaSettings
    | EntraSettings
    | AwsSettings
    | SpireSettings,
    Field(discriminator="provider"),
]
_CLASSES: Mapping[str, Callable[[Any], Provider]] = {
    "keycloak": Keycloak,
    "rfc7009": OAuthServer,
    "vault": Vault,
    "okta": Okta,
    "entra": Entra,
    "aws": Aws,
    "spire": Spire,
}

Form = TypeVar("Form", bound=Part)


class Limits(Part):
    """How hard one provider may be leant on, and how long a revocation is tried.

    Attributes
    ----------
    at_once : int
        Calls at the same time.
    per_second : float
        Calls begun a second.
    give_up_minutes : float
        How long one revocation fails, or waits for a provider that answers nobody; then its outcome is ``failed``.
    """

    at_once: int = Field(default=16, ge=1, le=64)
    per_second: float = Field(default=50.0, gt=0, le=1000)
    give_up_minutes: Minutes = 30.0


class Configuration(Part):
    """All of the bridge that is no connection to Kafka.

    Attributes
    ----------
    audiences : list of str
        Who the bridge is, as the worker's ``DRIFTLINE_AUDIENCES`` has it; tokens for others are skipped.
    brokers : dict
        By the name that credentials are declared with, where they come from.
    limits : Limits
        Of each provider.
    orders_at_once : int
        Tokens that are read ahead while others are not done.
    """

    version: Literal[1] = 1
    audiences: Annotated[list[str], Field(min_length=1)]
    brokers: Annotated[dict[str, ProviderSettings], Field(min_length=1)]
    limits: Limits = Limits()
    orders_at_once: int = Field(default=1000, ge=1, le=100_000)


def load(path: Path) -> Configuration:
    """The bridge's configuration in a YAML file; raises as `read_as` does."""
    return read_as(Configuration, path, "a mapping with audiences and brokers, as docs/bridge.md shows")


def read_as(form: type[Form], path: Path, expected: str, option: str = "--config") -> Form:
    """A configuration of any `form` in the YAML file that an option names; `expected` describes it.

    Raises
    ------
    ConfigError
        It cannot be read, or something in it is wrong; the text names the line's place and never a value.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; {option} names {expected}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text; {option} names {expected}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path} is no YAML{at}") from None  # the error would quote the line
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected {expected}")
    try:
        read = form.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        # What is misspelt first: it is why another is missing.
        first = min(found, key=lambda each: each["type"] != "extra_forbidden")
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "tuple_type":
            said = "expected a list, such as [one, another]"
        raise ConfigError(
            f"{path}: {place}: {'no such setting' if first['type'] == 'extra_forbidden' else said}"
        ) from None
    return read


def provider_of(settings: Any) -> Provider:
    """The provider that a part of the configuration describes.

    Raises
    ------
    ConfigError
        A file that it names cannot be read, or a library that it needs is not installed.
    """
    return _CLASSES[settings.provider](settings)
