"""Attestations: who declares, by the word of an issuer of workload identity that the configuration knows.

Three kinds, each a compact JWS of an issuer of the tenant: a JWT-SVID (SPIFFE), an OAuth access token (RFC 9068) with the agent in ``act``
(RFC 8693) or in a claim of the issuer's own, and a Transaction Token (draft-ietf-oauth-transaction-tokens) with the agent in ``act``.
Whoever reads the bus could use a token elsewhere, so one counts only if Driftline is its sole audience. Verification is
pure: keys come in at the start, the time is the log's, and nothing of the token is kept but what `Attested` holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ConfigError
from models.session import Refusal
from stream import jose
from stream.core.deployment import Attested

Kind = Literal["jwt-svid", "oauth", "txn-token"]
MAX_LIFE_MS = 86_400_000
"""From now to a token's end: what lives for longer is no short-lived credential, and lies on a bus."""
MAX_NAME = 256

_TYPES: Mapping[Kind, frozenset[str | None]] = {
    "jwt-svid": frozenset({None, "jwt", "jose"}),  # JWT-SVID, 2.3
    "oauth": frozenset({"at+jwt"}),  # RFC 9068, 2.1
    "txn-token": frozenset({"txntoken+jwt"}),
}
"""``typ`` by kind, in lower case and without ``application/`` (RFC 7515, 4.1.9): no token of another purpose is one."""
_SVID_HEADER = frozenset({"alg", "kid", "typ"})
"""All that a JWT-SVID's header may hold (JWT-SVID, 2)."""
_TRUST_DOMAIN = r"spiffe://[a-z0-9._-]{1,255}"
_SPIFFE_ID = re.compile(rf"({_TRUST_DOMAIN})(?:/(?!\.{{1,2}}(?:/|\Z))[A-Za-z0-9._-]+)+")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class Issuer(BaseModel):
    """One issuer of a tenant, as the file of issuers has it.

    Attributes
    ----------
    issuer
        The ``iss`` of its tokens; of a JWT-SVID the trust domain, as ``spiffe://acme.example.com``.
    jwks
        Its public keys: a JWK set or a SPIFFE bundle, a file of one (beside this one), or several, old and new.
    audience
        What its tokens call this installation; by default the installation's own issuer. A token with another one beside it counts
        for nothing. ``<audience>#<session id>`` binds it to a session.
    agent
        Where its tokens name the agent, as a path of claims.
    session
        The claim that names the session, where it has one.
    typ
        The ``typ`` of its access tokens, where that is not ``at+jwt``.
    agents
        By agent, as its tokens name it: what declarations may call it beside that.
    user_issuer
        Who issued the identities of those that its agents act for, if not itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind
    issuer: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    jwks: dict[str, Any] | str | list[dict[str, Any] | str]
    audience: Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern="^[^#]*$")] | None = None
    agent: Annotated[list[str], Field(min_length=1, max_length=4)] = ["act", "sub"]
    session: Annotated[str, Field(min_length=1)] | None = None
    typ: Annotated[str, Field(min_length=1)] | None = None
    agents: dict[str, str] = {}
    user_issuer: str | None = None


class _Refused(Exception):
    """A token attests nothing."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class _Verifier:
    """Verifies the tokens of one issuer."""

    def __init__(self, issuer: Issuer, keys: Mapping[str, Any], audience: str) -> None:
        self._issuer = issuer
        self._keys = keys
        self._audience = issuer.audience or audience
        self._types = frozenset({issuer.typ.lower()}) if issuer.typ is not None else _TYPES[issuer.kind]

    def read(self, token: str, claims: Mapping[str, Any], now_ms: int, skew_ms: int) -> Attested:
        """What `token`, which holds `claims`, attests; raises `_Refused`."""
        head, _, rest = token.partition(".")
        middle, _, seal = rest.partition(".")
        try:
            header = jose.verify(head, jose.decoded(middle), seal, self._keys)
        except ValueError as error:
            raise _Refused("signature") from error
        self._check_type(header)
        expires_ms = self._check_times(claims, now_ms, skew_ms)
        session = self._session(claims)
        issuer = self._issuer
        is_own = issuer.kind == "jwt-svid" or issuer.agent == ["sub"]
        agent = _name(_at(claims, ["sub"] if is_own else issuer.agent))
        if issuer.kind == "jwt-svid" and _trust_domain(agent) != issuer.issuer:
            raise _Refused("claims")
        principal = None if is_own else _name(claims.get("sub"))
        return Attested(
            issuer=issuer.issuer,
            agent=agent,
            name=issuer.agents.get(agent),
            principal=principal,
            principal_issuer=None if principal is None else issuer.user_issuer or issuer.issuer,
            session=session,
            expires_ms=expires_ms,
            key=_confirmed(claims.get("cnf")) if "cnf" in claims else None,
            digest=hashlib.sha256(f"{head}.{middle}".encode()).digest(),
        )

    def _check_type(self, header: Mapping[str, Any]) -> None:
        if self._issuer.kind == "jwt-svid" and not header.keys() <= _SVID_HEADER:
            raise _Refused("type")
        kind = header.get("typ")
        if kind is not None and not isinstance(kind, str):
            raise _Refused("type")
        if (kind.lower().removeprefix("application/") if kind is not None else None) not in self._types:
            raise _Refused("type")

    def _check_times(self, claims: Mapping[str, Any], now_ms: int, skew_ms: int) -> int:
        """The token's end, in milliseconds, if it holds now."""
        expires = claims.get("exp")
        begins = [claims[name] for name in ("nbf", "iat") if name in claims]
        if any(type(seconds) is not int for seconds in (expires, *begins)):
            raise _Refused("claims")
        assert isinstance(expires, int)
        expires_ms = expires * 1000
        if expires_ms <= now_ms:
            raise _Refused("expired")
        if any(seconds * 1000 > now_ms + skew_ms for seconds in begins):
            raise _Refused("early")
        if expires_ms > now_ms + MAX_LIFE_MS:
            raise _Refused("long_lived")
        return expires_ms

    def _session(self, claims: Mapping[str, Any]) -> str | None:
        """The session that the token is for, by its audience or a claim; raises where it is for anybody else but us."""
        stated = claims.get("aud")
        audiences = stated if isinstance(stated, list) else [stated]
        if len(audiences) != 1 or not isinstance(audiences[0], str):
            raise _Refused("audience")
        audience, bound, session = audiences[0].partition("#")
        if audience != self._audience:
            raise _Refused("audience")
        named = {session} if bound else set()
        if (claim := self._issuer.session) is not None and claim in claims:
            named.add(_name(claims[claim]))
        if len(named) > 1:
            raise _Refused("claims")
        return named.pop() if named else None


class SignedAttestations:
    """Verifies attestations by the issuers of their tenants.

    Parameters
    ----------
    issuers : mapping of str to sequence of Issuer
        By tenant. The attestations of a tenant without any are not looked at.
    audience : str
        This installation, as tokens name it where an issuer does not say otherwise: its issuer.

    Raises
    ------
    ConfigError
        An issuer contradicts itself or another, or its keys cannot be used, see `stream.jose`.

    Notes
    -----
    Issuers shape decisions, so every worker and every replay needs the same ones: add a key before it signs, and keep
    the old one for as long as the log is kept.
    """

    def __init__(
        self, issuers: Mapping[str, Sequence[Issuer]], audience: str, folder: Path | None = None
    ) -> None:
        self._verifiers: dict[str, dict[str, _Verifier]] = {}
        for tenant, each in issuers.items():
            verifiers = self._verifiers.setdefault(tenant, {})
            for issuer in each:
                whose = f"attestation issuer {issuer.issuer!r} of tenant {tenant!r}"
                if issuer.issuer in verifiers:
                    raise ConfigError(f"{whose}: it is there twice; join the two")
                _check(issuer, whose)
                keys = _keys(issuer, folder or Path(), whose)
                verifiers[issuer.issuer] = _Verifier(issuer, keys, audience)

    @property
    def tenants(self) -> frozenset[str]:
        """Who has an issuer."""
        return frozenset(tenant for tenant, issuers in self._verifiers.items() if issuers)

    def read(self, tenant: str, token: str, now_ms: int, skew_ms: int) -> Attested | Refusal | None:
        """See `stream.core.deployment.Attestations`."""
        verifiers = self._verifiers.get(tenant)
        if verifiers is None:
            return None
        try:
            claims = orjson.loads(jose.decoded(token.split(".", 2)[1]))
            verifier = verifiers.get(str(claims.get("iss"))) or verifiers.get(
                _trust_domain(claims.get("sub"))
            )
            return verifier.read(token, claims, now_ms, skew_ms) if verifier is not None else "issuer"
        except _Refused as refused:
            return refused.why
        except (ValueError, TypeError, IndexError, AttributeError, RecursionError):
            return "unreadable"  # nothing of an error is told: it may hold the token's text


def load_issuers(path: Path, audience: str) -> SignedAttestations:
    """The verifier of a file: a JSON object of tenants, each with a list of its issuers; raises as `SignedAttestations` does."""
    document = jose.read_json(path, f"attestation issuers {path}")
    if not isinstance(document, dict) or not all(isinstance(each, list) for each in document.values()):
        raise ConfigError(
            f'attestation issuers {path}: expected {{"tenant": [{{"kind": ..., "issuer": ..., "jwks": ...}}], ...}}'
        )
    issuers: dict[str, list[Issuer]] = {}
    for tenant, entries in document.items():
        for place, entry in enumerate(entries):
            try:
                issuers.setdefault(tenant, []).append(Issuer.model_validate(entry))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                at = ".".join(str(step) for step in (tenant, place, *first["loc"]))
                raise ConfigError(f"attestation issuers {path}: {at}: {first['msg']}") from error
    return SignedAttestations(issuers, audience, path.parent)


def _check(issuer: Issuer, whose: str) -> None:
    is_svid = issuer.kind == "jwt-svid"
    if is_svid and re.fullmatch(_TRUST_DOMAIN, issuer.issuer) is None:
        raise ConfigError(f"{whose}: of a JWT-SVID it is a trust domain, as spiffe://acme.example.com")
    if is_svid and issuer.agent != ["act", "sub"]:
        raise ConfigError(f"{whose}: a JWT-SVID names its agent in sub; leave agent away")
    if issuer.kind != "oauth" and issuer.typ is not None:
        raise ConfigError(f"{whose}: typ is for kind oauth alone; the others have one of their own")


def _keys(issuer: Issuer, folder: Path, whose: str) -> Mapping[str, Any]:
    """Public keys that sign the issuer's tokens, by ``kid``; those for other purposes are left out."""
    signing: dict[str, dict[str, Any]] = {}
    # SPIFFE bundle, 4.2.2: only keys of use jwt-svid sign JWT-SVIDs.
    wanted = ("jwt-svid",) if issuer.kind == "jwt-svid" else (None, "sig")
    others: set[str] = set()
    for part in issuer.jwks if isinstance(issuer.jwks, list) else [issuer.jwks]:
        jwks = jose.read_json(folder / part, f"{whose}: keys {part}") if isinstance(part, str) else part
        entries = jwks.get("keys") if isinstance(jwks, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            where = f"keys {part}: " if isinstance(part, str) else ""
            raise ConfigError(
                f'{whose}: {where}no JWK set; expected {{"keys": [{{"kty": ..., "kid": ...}}]}}'
            )
        for place, entry in enumerate(entries):
            if (use := entry.get("use")) not in wanted:
                others.add("none" if use is None else repr(use)[: jose.MAX_TOLD])
                continue
            _add(signing, entry, f"{whose}: {jose.key_named(entry, place)}", issuer)
    if not signing:
        expected = '"use": "jwt-svid"' if issuer.kind == "jwt-svid" else '"use": "sig", or without any'
        found = f"the keys there have use {', '.join(sorted(others))}" if others else "there are no keys"
        raise ConfigError(
            f"{whose}: no key that signs its tokens: expected at least one key with {expected}; {found}"
        )
    # Without their use: the library below knows none but sig and enc.
    plain = [{name: value for name, value in entry.items() if name != "use"} for entry in signing.values()]
    return jose.public_keys({"keys": plain}, whose)


def _add(signing: dict[str, dict[str, Any]], entry: dict[str, Any], which: str, issuer: Issuer) -> None:
    """Enter a key that signs the issuer's tokens under its ``kid``."""
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        raise ConfigError(f"{which}: a key without a kid; no token would find it")
    if signing.setdefault(kid, entry) != entry:
        raise ConfigError(
            f"{which}: two keys with the kid {kid[: jose.MAX_TOLD]!r}; keep one, or name one anew"
        )
    kty, alg = str(entry.get("kty")), entry.get("alg")
    if alg not in (None, *jose.ALGORITHMS.get(kty, ())) or (issuer.kind == "jwt-svid" and kty == "OKP"):
        named = f"alg {alg!r:.{jose.MAX_TOLD}}" if alg is not None else f"kty {kty!r:.{jose.MAX_TOLD}}"
        raise ConfigError(
            f"{which}: {named} is an algorithm that is not read; have it sign with RS256 or ES256"
        )


def _trust_domain(name: Any) -> str:
    """The trust domain of a workload's SPIFFE id; empty where it is none."""
    found = _SPIFFE_ID.fullmatch(name) if isinstance(name, str) else None
    return found[1] if found is not None else ""


def _at(claims: Any, path: Sequence[str]) -> Any:
    for step in path:
        claims = claims.get(step) if isinstance(claims, dict) else None
    return claims


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise _Refused("claims")
    return value


def _confirmed(confirmation: Any) -> str:
    """Thumbprint of the key of a ``cnf`` (RFC 7800, RFC 9449); a certificate's cannot be shown on a bus."""
    if not isinstance(confirmation, dict) or len(confirmation) != 1:
        raise _Refused("proof")
    thumbprint, jwk = confirmation.get("jkt"), confirmation.get("jwk")
    if isinstance(jwk, dict):
        try:
            return jose.thumbprint(jwk)
        except ValueError as error:
            raise _Refused("proof") from error
    if not isinstance(thumbprint, str) or _THUMBPRINT.fullmatch(thumbprint) is None:
        raise _Refused("proof")
    return thumbprint
