"""The composition root: settings in, a judge and an actor out, ready before the first record."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.errors import ArtefactError, ConfigError
from models.forest.joint import Joint
from models.heads.readers import Readers
from models.release import contents, registry
from models.release import readers as readers_on_disk
from stream import jose
from stream.activations import SignedActivations
from stream.attestations import SignedAttestations, load_issuers
from stream.core.deployment import Deployment
from stream.core.judge import Judge
from stream.core.releases import Release, Releases
from stream.declarations import load_keys
from stream.feedback import SignedFeedback
from stream.opinions import SignedOpinions
from stream.outbound.act import Actor
from stream.outbound.change import Receivers
from stream.outbound.keys import SigningKeys
from stream.policy import Policy, levels, load_policy
from stream.resolutions import SignedResolutions
from stream.settings import Settings


def release(settings: Settings, *, mode: str | None = None) -> Release:
    """The release in use: the bundled model and policy, or those that the settings name."""
    model = registry.load(settings.model_dir)
    policy = load_policy(settings.policy_path, mode=mode)
    return make_release(model, policy, readers_on_disk.load_beside(settings.model_dir))


def make_release(model: Any, policy: Policy, readers: Readers | None = None) -> Release:
    """Model, readers and policy as one release; without `readers` with those that come with the package.

    A model that is joined with no reader is not read with: what nobody reads is not kept.
    """
    readers = readers if readers is not None else readers_on_disk.load()
    joint = model.manifest.get("joint") if readers.reader is not None else None
    if joint is None:
        readers = readers._replace(reader=None)
    return Release(
        f"{model.name}@{model.digest[:12]}",
        model,
        readers,
        policy,
        levels(policy, model.threshold),
        Joint.parse(joint) if joint is not None else None,
        {tenant: levels(policy, model.threshold, tenant) for tenant in policy.tenant_thresholds},
    )


def judge(
    settings: Settings,
    *,
    mode: str | None = None,
    jwks: dict[str, Any] | None = None,
    more: dict[str, Release] | None = None,
    fetch: Callable[[str], Path | None] | None = None,
) -> Judge:
    """The judge that `settings` describe; `mode` overrides the policies', `jwks` may activate releases `more`.

    Parameters
    ----------
    fetch : callable, optional
        From the digest of a release that is in no folder to one that holds it, None where there is none.

    Raises
    ------
    ArtefactError
        A model, its manifest or a release cannot be used.
    ConfigError
        A policy or a key file cannot be read.
    """
    if jwks is None and settings.activation_jwks is not None:
        jwks = _read_jwks(settings.activation_jwks, "DRIFTLINE_ACTIVATION_JWKS", "may activate releases")
    if more is None and settings.releases_dir is not None:
        more = releases_in(settings.releases_dir, mode=mode)
    bundled = release(settings, mode=mode)

    def find(digest: str) -> Release | None:
        found = find_release(digest, settings.releases_dir, fetch, mode=mode)
        if found is not None:
            _attestations(settings, [found.policy])
        return found

    return judge_with(settings, bundled, jwks=jwks, more=more, find=find)


def challenger(settings: Settings, folder: Path) -> Judge:
    """A judge of all sessions by the release in `folder`, whatever the log activates: as if workers had begun with it.

    Raises
    ------
    ArtefactError, ConfigError
        The release cannot be used.
    """
    keys = settings.activation_jwks
    jwks = (
        _read_jwks(keys, "DRIFTLINE_ACTIVATION_JWKS", "may activate releases") if keys is not None else None
    )
    made = _in_folder(folder, None)
    return judge_with(settings, made, jwks=jwks, find=lambda _: made)


def _read_jwks(path: Path, variable: str, whose: str) -> dict[str, Any]:
    """A JWK set that a variable names, checked here so that the error names the file."""
    name = f"{variable} {path}, the public keys of those who {whose}"
    keys = jose.read_json(path, name)
    document: dict[str, Any] = keys if isinstance(keys, dict) else {}
    jose.public_keys(document, name)
    return document


def releases_in(folder: Path, *, mode: str | None = None) -> dict[str, Release]:
    """The releases in `folder` by digest: each a folder with a model, its manifest and a ``policy.yaml``.

    Raises
    ------
    ConfigError
        The folder cannot be read, or two releases in it are one.
    """
    releases: dict[str, Release] = {}
    try:
        places = sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError as error:
        raise ConfigError(f"DRIFTLINE_RELEASES_DIR {folder} cannot be read: {error.strerror}") from error
    for place in places:
        digest = release_digest(place, load_policy(place / "policy.yaml"))
        if digest in releases:
            raise ConfigError(
                f"{place} is the same release as another folder of {folder} (digest {digest}); remove one of them"
            )
        releases[digest] = _in_folder(place, mode)
    return releases


def find_release(
    digest: str, folder: Path | None, fetch: Callable[[str], Path | None] | None, *, mode: str | None = None
) -> Release | None:
    """The release that `digest` names: of one that came into `folder` since, else what `fetch` brings; None if there is none.

    Raises
    ------
    ArtefactError, ConfigError
        It is there and cannot be used.
    """
    places = [place for place in sorted(folder.iterdir()) if place.is_dir()] if folder is not None else []
    for place in places:
        with suppress(ArtefactError, ConfigError):  # another release, or one that is still being copied
            if release_digest(place, load_policy(place / "policy.yaml")) == digest:
                return _in_folder(place, mode)
    brought = fetch(digest) if fetch is not None else None
    return _in_folder(brought, mode) if brought is not None else None


def _in_folder(place: Path, mode: str | None) -> Release:
    policy = load_policy(place / "policy.yaml", mode=mode)
    return make_release(registry.load(place), policy, readers_on_disk.load_beside(place))


def release_digest(directory: Path | None, policy: Policy) -> str:
    """What an activation names: all that decisions of a release depend on, 64 hexadecimal digits; see `models.release.contents`."""
    return contents.digest_of(directory, policy.digest)


def judge_with(
    settings: Settings,
    bundled: Release,
    *,
    jwks: dict[str, Any] | None = None,
    more: dict[str, Release] | None = None,
    find: Callable[[str], Release | None] | None = None,
) -> Judge:
    """A judge whose sessions begin under the release `bundled`; `find` brings others than `more`, see `stream.core.releases.Releases`.

    Raises
    ------
    ConfigError
        A policy demands signed declarations, and no key of any tenant is known; or attested ones, and no issuer is, or none of a
        tenant that it names.
    """
    attestations = _attestations(settings, [release.policy for release in (bundled, *(more or {}).values())])
    keys = settings.declaration_jwks
    deployment = Deployment(
        SignedActivations(jwks, settings.issuer),
        fingerprint_key=settings.fingerprint_key,
        tenants=settings.tenants(),
        declarations=load_keys(keys) if keys is not None else None,
        opinions=_opinions(settings),
        attestations=attestations,
    )
    return Judge(
        Releases({"": bundled, **(more or {})}, find),
        deployment,
        Receivers(settings.issuer, settings.audiences, settings.risk_audience, settings.runbook_url),
    )


def _attestations(settings: Settings, policies: list[Policy]) -> SignedAttestations | None:
    """Who attests agents; raises `ConfigError` where one of `policies` demands what nobody is known for."""
    keys, issuers = settings.declaration_jwks, settings.attestation_issuers
    if issuers is None and any(policy.attestations.anywhere for policy in policies):
        raise ConfigError(
            "the policy demands attested declarations, but no issuer is known; set DRIFTLINE_ATTESTATION_ISSUERS to a file "
            "of the tenants' issuers (docs/identity.md)"
        )
    if keys is None and any(policy.signatures.anywhere for policy in policies):
        raise ConfigError(
            "the policy demands signed declarations, but no key is known to check them; set "
            "DRIFTLINE_DECLARATION_JWKS to the tenants' public keys (docs/security.md)"
        )
    attestations = load_issuers(issuers, settings.issuer) if issuers is not None else None
    if attestations is not None:
        _see_that_they_can_attest(policies, attestations, f"the file of issuers {issuers}")
    return attestations


def _see_that_they_can_attest(policies: list[Policy], known: SignedAttestations, file: str) -> None:
    demands = [policy.attestations for policy in policies if policy.attestations.anywhere]
    named = {tenant for demand in demands for tenant, wanted in demand.tenants.items() if wanted}
    if demands and (not known.tenants or named - known.tenants):
        whose = f" of {', '.join(map(repr, sorted(named - known.tenants)))}" if known.tenants else ""
        raise ConfigError(
            f"the policy demands attested declarations{whose}, but {file} names no issuer{' of theirs' if whose else ''}: none of "
            "their declarations would count; add one (docs/identity.md)"
        )


def _opinions(settings: Settings) -> SignedOpinions | None:
    if settings.opinion_jwks is None:
        return None
    keys = _read_jwks(settings.opinion_jwks, "DRIFTLINE_OPINION_JWKS", "may give second opinions")
    return SignedOpinions(keys, settings.issuer)


def actor(settings: Settings) -> Actor:
    """The actor that `settings` describe, with its signing keys."""
    rulings = SignedResolutions(_responders(settings), settings.issuer)
    verdicts = feedback_reader(settings)
    signing = SigningKeys(path=settings.signing_key_file, state_dir=settings.state_dir)
    return Actor(signing, rulings.read, verdicts.read, ocsf_version=settings.ocsf_version)


def feedback_reader(settings: Settings) -> SignedFeedback:
    """What verifies the tokens of analysts' verdicts, as act does; without keys it trusts nobody."""
    return SignedFeedback(_responders(settings), settings.issuer)


def _responders(settings: Settings) -> dict[str, Any] | None:
    if settings.responder_jwks is None:
        return None
    return _read_jwks(
        settings.responder_jwks, "DRIFTLINE_RESPONDER_JWKS", "may rule on what is held and give feedback"
    )


def spare_the_collector() -> None:
    """Tell Python's collector that models, policies and contracts stay for good, and to look less often.

    It saves some 10 % of the core's time; sessions are packed bytes, which it never looks into anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
