"""Who somebody is, by OpenID Connect: the authorization code flow with PKCE (RFC 7636), and the ID token that it ends with.

What an ID token must say: OpenID Connect Core 1.0, section 3.1.3.7. Discovery: OpenID Connect Discovery 1.0, section 4.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit

import orjson
from pydantic import AfterValidator, Field, model_validator

from models.errors import ConfigError
from stream import jose
from stream.bridge.provider import Unavailable
from stream.bridge.providers.http import Http, Reply, basic, trusting
from stream.bridge.providers.settings import Part, Seconds, WebProvider, secret
from stream.feedback import MAX_BY

Role = Literal["viewer", "analyst"]
SKEW_S = 60.0
"""How far the provider's clock and ours may differ (chosen)."""
OLD_S = 3600.0
"""After which the provider's description and keys are asked for again, so that a key that it withdrew counts no longer than that."""
MAX_SUBJECT = 255
"""Characters of ``sub`` (OpenID Connect Core, section 2)."""
MAX_VALUES = 10_000
"""Values of the claim that roles go by."""


def _issuer(issuer: str) -> str:
    """`issuer`, whose last slash counts; `ValueError` where secrets may not be sent there."""
    WebProvider(url=issuer)
    return issuer


Named = Annotated[str, Field(min_length=1, max_length=256)]


class Roles(Part):
    """Which values of a claim make somebody what; whoever has none of them is not let in.

    Attributes
    ----------
    claim : str
        A claim of the ID token, at its top, whose value is a text or a list of texts.
    viewer, analyst : tuple of str
        Its values; an analyst may do what a viewer may.
    """

    claim: Named
    viewer: tuple[Named, ...] = ()
    analyst: tuple[Named, ...] = ()

    @model_validator(mode="after")
    def _anybody(self) -> Self:
        if not self.viewer and not self.analyst:
            raise ValueError(
                "nobody would have a role: name values for viewer or analyst, or leave roles away"
            )
        return self


class OpenId(Part):
    """The provider that says who somebody is, and what that makes them here.

    Attributes
    ----------
    issuer : str
        As its ID tokens name it, to the letter.
    client_id : str
        What the console is called there.
    client_secret_file : Path or None
        Its secret, read at each use; None: a public client, which PKCE protects.
    ca_file, timeout_s
        As of every provider (`stream.bridge.providers.settings.WebProvider`).
    scopes : tuple of str
        What is asked for beside ``openid``.
    name_claim : str
        The claim of the ID token that says what somebody is called, in verdicts too.
    roles : Roles or None
        None: everybody who may sign in is a viewer.
    hours : float
        How long a sign-in holds.
    """

    issuer: Annotated[str, AfterValidator(_issuer)]
    client_id: Named
    client_secret_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: Seconds = 10.0
    scopes: tuple[Named, ...] = ("profile",)
    name_claim: Named = "preferred_username"
    roles: Roles | None = None
    hours: float = Field(default=8.0, gt=0, le=24)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.client_secret_file is not None:
            try:
                secret(self.client_secret_file)
            except Unavailable as error:
                raise ValueError(f"client_secret_file: {error.why}") from None
        return self


class Person(NamedTuple):
    """Somebody whom the provider knows: by `issuer` and `subject` for good, by `name` for people."""

    name: str
    role: Role
    issuer: str
    subject: str


class NotLetIn(Exception):
    """The provider, or what it says, lets nobody in; the text says why, and holds nothing of a token."""


class Provider:
    """Asks one OpenID provider who somebody is.

    Parameters
    ----------
    openid : OpenId
        Where it is, and what its claims mean.
    now_s : callable
        Seconds since 1970.

    Raises
    ------
    ConfigError
        The authority's file cannot be read.
    """

    def __init__(self, openid: OpenId, now_s: Callable[[], float]) -> None:
        self.openid, self._now_s = openid, now_s
        self._told: Mapping[str, Any] = {}
        self._told_s = self._keys_s = 0.0
        self._keys: Mapping[str, Any] = {}
        self._tls = trusting(openid.ca_file)

    @property
    def host(self) -> str:
        """What people call it."""
        return urlsplit(self.openid.issuer).netloc

    async def address(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to sign in.

        Raises
        ------
        Unavailable
            The provider does not say it, or not as it should.
        """
        challenge = jose.encoded(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self.openid.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(["openid", *self.openid.scopes]),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        where = await self._endpoint("authorization_endpoint")
        return f"{where}{'&' if '?' in where else '?'}{urlencode(asked, quote_via=quote)}"

    async def person(self, code: str, redirect_uri: str, *, nonce: str, verifier: str) -> Person:
        """Who came back from there with this code.

        Raises
        ------
        Unavailable
            The provider cannot be asked, or refuses the console itself.
        NotLetIn
            The code, or the ID token that it gives, is no good, or whom it names has no role here.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form |= {"code_verifier": verifier, "client_id": self.openid.client_id}
        headers: dict[str, str] = {}
        if self.openid.client_secret_file is not None:
            given = secret(self.openid.client_secret_file)
            ways = (await self._description()).get("token_endpoint_auth_methods_supported")
            if isinstance(ways, list) and "client_secret_basic" not in ways and "client_secret_post" in ways:
                form["client_secret"] = given
            else:
                headers = basic(self.openid.client_id, given)
        reply = await self._ask(await self._endpoint("token_endpoint"), headers=headers, form=form)
        if reply.status in (401, 403) or reply.error().endswith((" invalid_client", " unauthorized_client")):
            raise Unavailable(
                f"the provider refuses the console itself ({reply.error()}): mend client_id or client_secret_file"
            )
        if reply.status != 200:
            raise NotLetIn(f"the provider takes this sign-in no more ({reply.error()})")
        token = (reply.body or {}).get("id_token")
        if not isinstance(token, str):
            raise NotLetIn("the provider gave no ID token: is the console's client one of OpenID Connect?")
        return self._person(await self._claims(token), nonce)

    async def _claims(self, token: str) -> dict[str, Any]:
        """What an ID token claims, its signature verified with a key that the provider has now."""
        head, _, rest = token.partition(".")
        middle, _, seal = rest.partition(".")
        try:
            said = orjson.loads(jose.decoded(head))
            kid = said.get("kid") if isinstance(said, dict) else None
            keys = await self._trusted(kid if isinstance(kid, str) else "")
            header = jose.verify(head, jose.decoded(middle), seal, keys)
            claims = orjson.loads(jose.decoded(middle))
        except (binascii.Error, orjson.JSONDecodeError, RecursionError) as error:
            raise NotLetIn("its ID token is no JWT") from error
        except ValueError as error:
            raise NotLetIn(f"its ID token does not hold: {error}") from error
        if str(header.get("typ", "JWT")).upper() != "JWT":
            raise NotLetIn("its ID token is a token of another kind")
        if not isinstance(claims, dict):
            raise NotLetIn("its ID token claims nothing")
        return claims

    def _person(self, claims: Mapping[str, Any], nonce: str) -> Person:
        """Whom verified claims name, if they are meant for this console, this sign-in and this moment."""
        openid, now_s = self.openid, self._now_s()
        if claims.get("iss") != openid.issuer:
            raise NotLetIn("its ID token is another issuer's")
        audience, party = claims.get("aud"), claims.get("azp")
        addressees = audience if isinstance(audience, list) else [audience]
        if openid.client_id not in addressees or (
            party != openid.client_id and (party is not None or len(addressees) > 1)
        ):
            raise NotLetIn("its ID token is meant for another client")
        expires_s, issued_s, begins_s = (
            _moment(each) for each in (claims.get("exp"), claims.get("iat"), claims.get("nbf", 0))
        )
        if now_s >= expires_s + SKEW_S:
            raise NotLetIn(
                "its ID token has expired: begin anew, and compare the clocks if that does not help"
            )
        if max(issued_s, begins_s) > now_s + SKEW_S:
            raise NotLetIn(
                "its ID token is of the future: the clocks of provider and console differ too much"
            )
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise NotLetIn("its ID token belongs to another sign-in")
        subject, name = claims.get("sub"), claims.get(openid.name_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise NotLetIn("its ID token names nobody (sub)")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_BY or not name.isprintable():
            raise NotLetIn(
                f"its ID token has no {openid.name_claim} of at most {MAX_BY} printable characters: choose another name_claim, or ask for "
                "its scope"
            )
        if openid.name_claim == "email" and claims.get("email_verified") is False:
            raise NotLetIn("nobody has verified that mail address")
        role = role_of(claims, openid.roles)
        if role is None and openid.roles is not None and openid.roles.claim not in claims:
            raise NotLetIn(
                f"its ID token has no claim {openid.roles.claim}: have the provider put it into this client's ID tokens, or mend roles.claim"
            )
        if role is None:
            raise NotLetIn(
                f"{name.strip()} has no role here: the console's configuration says which {openid.roles.claim if openid.roles else 'claims'} give one"
            )
        return Person(name.strip(), role, openid.issuer, subject)

    async def _trusted(self, kid: str) -> Mapping[str, Any]:
        """The provider's keys, asked for again where they are old, or the one that signed is not among them."""
        if kid not in self._keys or self._now_s() - self._keys_s > OLD_S:
            reply = await self._ask(await self._endpoint("jwks_uri"))
            entries = (reply.body or {}).get("keys")
            if reply.status != 200 or not isinstance(entries, list):
                raise Unavailable(f"the provider does not tell its keys ({reply.error()})")
            self._keys, self._keys_s = dict(_usable(entries)), self._now_s()
        return self._keys

    async def _endpoint(self, name: str) -> str:
        found = (await self._description()).get(name)
        if not isinstance(found, str) or len(found) > 2_048 or not found.isascii() or not found.isprintable():
            raise Unavailable(f"the provider's description has no {name}")
        return found

    async def _description(self) -> Mapping[str, Any]:
        """What the provider says of itself; it must be the one that was asked."""
        if not self._told or self._now_s() - self._told_s > OLD_S:
            at = f"{self.openid.issuer.rstrip('/')}/.well-known/openid-configuration"
            reply = await self._ask(at)
            if reply.status != 200 or reply.body is None:
                raise Unavailable(f"{at} is no provider's description ({reply.error()}): mend issuer")
            if reply.body.get("issuer") != self.openid.issuer:
                raise Unavailable(
                    f"{at} describes another issuer: give issuer to the letter, its last slash included"
                )
            self._told, self._told_s = reply.body, self._now_s()
        return self._told

    async def _ask(
        self, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            parts = urlsplit(url)
            at = WebProvider(url=f"{parts.scheme}://{parts.netloc}", timeout_s=self.openid.timeout_s)
        except ValueError as error:
            raise Unavailable("the provider names an address that is not https") from error
        http, method = Http(at, self._tls), "GET" if form is None else "POST"
        try:
            path = url.partition(parts.netloc)[2]
            return await http.call(method, path, headers=headers, form=form, refusals_are_final=True)
        except ValueError as error:
            raise Unavailable("the provider names an address that is none") from error
        finally:
            await http.close()


def _moment(value: Any) -> float:
    """A point in time, in seconds since 1970, exactly: to Python a bool is a number, and NaN neither before nor after."""
    if type(value) not in (int, float) or value != value:
        raise NotLetIn("its ID token does not say from when to when it holds")
    return float(min(value, 2.0**53))


def _usable(entries: list[Any]) -> Mapping[str, Any]:
    """The keys that may have signed; a provider's set has others too, to encrypt with or of kinds that are not taken here."""
    found: dict[str, Any] = {}
    for entry in entries[:64]:
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig":
            try:
                found |= jose.public_keys({"keys": [entry]}, "the provider's keys")
            except ConfigError:
                continue
    return found


def role_of(claims: Mapping[str, Any], roles: Roles | None) -> Role | None:
    """What claims make somebody; None: nothing. A claim of any other type than a text or a list of texts says nothing.

    >>> role_of({"groups": ["soc"]}, Roles(claim="groups", analyst=["soc"]))
    'analyst'
    """
    if roles is None:
        return "viewer"
    said = claims.get(roles.claim)
    values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    held = {each for each in values[:MAX_VALUES] if isinstance(each, str)}
    return "analyst" if held & {*roles.analyst} else "viewer" if held & {*roles.viewer} else None
