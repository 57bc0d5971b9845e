"""The composition root: settings in, a judge and an actor out, ready before the first record."""

from __future__ import annotations

from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from models import registry
from models.errors import SchemaError
from stream.act import Actor
from stream.judge import Activation, Judge
from stream.policy import Policy, levels, load_policy
from stream.rulings import Release
from stream.settings import Settings
from stream.tokens import SigningKeys


class SignedActivations:
    """Verifies ``release.activated`` records against the keys that may activate releases.

    Parameters
    ----------
    jwks : dict or None
        Public keys; None trusts nobody, so that every activation goes to quarantine.
    """

    def __init__(self, jwks: dict[str, Any] | None) -> None:
        self._keys = KeySet.import_key_set(jwks) if jwks and jwks.get("keys") else None  # type: ignore[arg-type]

    def read(self, token: str) -> Activation:
        """The payload of `token`, verified; raises `SchemaError` with reason ``control`` otherwise."""
        import orjson

        if self._keys is None:
            raise SchemaError("control", "no key is trusted to activate releases")
        try:
            signed = jws.deserialize_compact(token, self._keys, algorithms=["RS256"])
            payload = orjson.loads(signed.payload)
            return Activation(
                topic=str(payload["topic"]),
                partition=int(payload["partition"]),
                epoch=int(payload["epoch"]),
                digest=str(payload["digest"]),
                scope={"new": "new", "open": "open"}[payload["scope"]],
            )
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SchemaError("control", f"the activation is not valid: {type(error).__name__}") from error


def release(settings: Settings, *, mode: str | None = None) -> Release:
    """The release in use: the bundled model and policy, or those that the settings name."""
    model = registry.load(settings.model_dir)
    return make_release(model, load_policy(settings.policy_path, mode=mode))


def make_release(model: Any, policy: Policy) -> Release:
    """Model and policy as one release."""
    return Release(f"{model.name}@{model.digest[:12]}", model, policy, levels(policy, model.threshold))


def judge(
    settings: Settings,
    *,
    partitions: int | None = None,
    mode: str | None = None,
    jwks: dict[str, Any] | None = None,
    more: dict[str, Release] | None = None,
) -> Judge:
    """The judge that `settings` describe; `mode` overrides the policy's, `jwks` may activate releases `more`."""
    return judge_with(settings, release(settings, mode=mode), partitions=partitions, jwks=jwks, more=more)


def judge_with(
    settings: Settings,
    bundled: Release,
    *,
    partitions: int | None = None,
    jwks: dict[str, Any] | None = None,
    more: dict[str, Release] | None = None,
) -> Judge:
    """A judge whose sessions begin under the release `bundled`."""
    return Judge(
        {"": bundled, **(more or {})},
        SignedActivations(jwks),
        fingerprint_key=settings.fingerprint_key,
        tenants={settings.topic(base): tenant for base, tenant in settings.input_topics.items()},
        issuer=settings.issuer,
        audiences=settings.audiences,
        risk_audience=settings.risk_audience,
        partitions=partitions,
    )


def actor(settings: Settings) -> Actor:
    """The actor that `settings` describe, with its signing keys."""
    return Actor(SigningKeys(path=settings.signing_key_file, state_dir=settings.state_dir))
