"""Issuers of workload identity for tests, whose tokens Authlib signs, and the samples that need tokens.

``python -m tests.attested`` writes those samples anew, with new keys, which nobody keeps, and their public halves beside them.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, RSAKey

from stream.attestations import Issuer, SignedAttestations
from stream.settings import Settings

with warnings.catch_warnings():
    # It announces joserfc, which we verify with, as its successor, through a filter that it sets itself.
    from authlib import deprecate as _  # noqa: F401

    warnings.simplefilter("ignore")
    from authlib.jose import JsonWebKey, JsonWebToken
    from authlib.jose.errors import JoseError

OURS = Settings().issuer
TRUST_DOMAIN = "spiffe://acme.example.com"
IDP = "https://idp.acme.example.com/realms/agents"
TTS = "https://tts.acme.example.com"
SUPPORT = f"{TRUST_DOMAIN}/agent/support-assistant"
SAMPLES = Path(__file__).parents[1] / "stream" / "samples"

KEYS: dict[str, Any] = {
    TRUST_DOMAIN: ECKey.generate_key("P-256", auto_kid=True),
    IDP: RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True),
    TTS: ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True),
}
BEARER = ECKey.generate_key("P-256", {"kid": "bearer-1"})
"""A key of the workload itself, that a token may name: by its thumbprint, which is not its kid."""


def public(key: Any, **more: Any) -> dict[str, Any]:
    """A JWK set of one public key."""
    return {"keys": [{**key.as_dict(private=False), **more}]}


def issuers() -> list[dict[str, Any]]:
    """The three issuers of tenant acme, as their file has them."""
    return [
        {
            "kind": "jwt-svid",
            "issuer": TRUST_DOMAIN,
            "jwks": public(KEYS[TRUST_DOMAIN], use="jwt-svid"),
            "agents": {
                f"{TRUST_DOMAIN}/agent/{name}": name for name in ("support-assistant", "travel-assistant")
            },
        },
        {"kind": "oauth", "issuer": IDP, "jwks": public(KEYS[IDP]), "agents": {SUPPORT: "support-assistant"}},
        {
            "kind": "txn-token",
            "issuer": TTS,
            "jwks": public(KEYS[TTS]),
            "session": "txn",
            "agents": {SUPPORT: "support-assistant"},
            "user_issuer": IDP,
        },
    ]


def trusted(*more: dict[str, Any]) -> SignedAttestations:
    """Our three issuers and `more`; those of the samples are believed too."""
    held = json.loads((SAMPLES / "issuers.json").read_text(encoding="utf-8"))["acme"]
    mine = issuers()
    for issuer, other in zip(mine, held, strict=True):
        issuer["jwks"] = [issuer["jwks"], other["jwks"]]
    return SignedAttestations({"acme": [Issuer.model_validate(each) for each in (*mine, *more)]}, OURS)


def signed(claims: dict[str, Any], key: Any, **header: Any) -> str:
    """A compact JWS of `claims` by Authlib; a header of None is left away."""
    name = {"EC": "ES256", "RSA": "RS256"}[key.key_type]
    whole = {"alg": name, "kid": key.kid, **header}
    whole = {field: value for field, value in whole.items() if value is not None}
    token: bytes = JsonWebToken([name]).encode(
        whole, claims, _of_authlib(json.dumps(key.as_dict(private=True))), check=False
    )
    return token.decode()


@cache
def _of_authlib(jwk: str) -> Any:
    """A private key as Authlib has it, without its kid, which would go into the header by itself."""
    return JsonWebKey.import_key({n: v for n, v in json.loads(jwk).items() if n != "kid"})


def _times(at_s: int, life_s: int) -> dict[str, int]:
    return {"iat": at_s - 20, "exp": at_s - 20 + life_s}


def svid(at_s: int, agent: str = SUPPORT, audience: Any = OURS, **more: Any) -> str:
    """A JWT-SVID as SPIRE makes it; `at_s` is when it is used, in seconds since 1970."""
    header = more.pop("header", {"typ": "JWT"})
    key = more.pop("key", KEYS[TRUST_DOMAIN])
    audiences = [audience] if isinstance(audience, str) else audience
    return signed({"sub": agent, "aud": audiences, **_times(at_s, 300), **more}, key, **header)


def access(at_s: int, agent: str = SUPPORT, user: str = "u-1", audience: Any = OURS, **more: Any) -> str:
    """An access token that was exchanged for a user's: the agent in ``act``."""
    header = more.pop("header", {"typ": "at+jwt"})
    key = more.pop("key", KEYS[IDP])
    claims = {
        "iss": IDP,
        "sub": user,
        "act": {"sub": agent},
        "aud": audience,
        "client_id": "agents",
        "scope": "tickets",
    }
    return signed({**claims, "jti": "j-1", **_times(at_s, 300), **more}, key, **header)


def transaction(at_s: int, txn: str, agent: str = SUPPORT, user: str = "u-1", **more: Any) -> str:
    """A Transaction Token for an agent."""
    header = more.pop("header", {"typ": "txntoken+jwt"})
    key = more.pop("key", KEYS[TTS])
    claims = {"iss": TTS, "aud": OURS, "txn": txn, "sub": user, "act": {"sub": agent}, "scope": "tickets"}
    return signed({**claims, **_times(at_s, 60), **more}, key, **header)


def read_by_authlib(token: str, now_s: int) -> dict[str, Any] | None:
    """What Authlib reads in a token of one of our issuers that is for us or for session ``s``, or None."""
    jwks = JsonWebKey.import_key_set({"keys": [key.as_dict(private=False) for key in KEYS.values()]})
    wanted = {"exp": {"essential": True}, "aud": {"essential": True, "values": [OURS, f"{OURS}#s"]}}
    try:
        claims = JsonWebToken(["ES256", "RS256"]).decode(token, jwks, claims_options=wanted)
        claims.validate(now=now_s, leeway=0)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(claims)


# ------------------------------------------------------------------------------------------- samples


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text(encoding="utf-8").splitlines()]


def _another(base: str, session: str, minute: int) -> list[dict[str, Any]]:
    """The sample `base` once more, as `session`, some minutes later."""
    old = base[3:].removesuffix(".jsonl")
    text = "\n".join(json.dumps(event, ensure_ascii=False) for event in _lines(base)).replace(old, session)
    later = timedelta(minutes=minute - int(_lines(base)[0]["time"][14:16]))
    times = re.compile(r"2026-03-02T09:[0-9]{2}:[0-9]{2}Z")
    text = times.sub(lambda found: f"{datetime.fromisoformat(found[0]) + later:%Y-%m-%dT%H:%M:%SZ}", text)
    return [json.loads(line) for line in text.splitlines()]


def _write(number: int, session: str, events: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    (SAMPLES / f"{number}-{session}.jsonl").write_text(text, encoding="utf-8")


def _seconds(event: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(event["time"]).timestamp())


def write_samples() -> None:
    """Write the samples with attestations, and the issuers that sign them."""
    lookup, team = "01-support-refund-lookup.jsonl", "29-travel-team-offsite.jsonl"
    user = _lines(lookup)[0]["agent"]["user"]
    thief = f"{TRUST_DOMAIN}/agent/travel-assistant"
    for number, session, minute in (
        (38, "support-attested", 38),
        (39, "support-borrowed-name", 39),
        (40, "support-replayed-token", 40),
        (41, "support-foreign-audience", 41),
        (42, "support-stolen-token", 42),
    ):
        events = _another(lookup, session, minute)
        at_s = _seconds(events[0])
        events[0]["attestation"] = {
            "support-attested": svid(at_s, audience=f"{OURS}#support-attested"),
            "support-borrowed-name": access(at_s, thief, user),
            "support-replayed-token": transaction(at_s, "support-attested", user=user),
            "support-foreign-audience": svid(at_s, audience=[OURS, "https://vault.acme.example.com"]),
            "support-stolen-token": access(at_s, user=user, cnf={"jkt": BEARER.thumbprint()}),
        }[session]
        _write(number, session, events)
    _write(43, "cloud-borrowed-credential", _borrowed())
    events = _another(team, "travel-shared-token", 44)
    token = svid(_seconds(events[0]), thief)
    for event in events:
        if event["type"] == "session.declared":
            event["attestation"] = token
            event["agent"] = {**event["agent"], "id": "travel-assistant", "spiffe_id": thief}
    _write(44, "travel-shared-token", events)
    issuing = json.dumps({"acme": issuers()}, indent=1, sort_keys=True)
    (SAMPLES / "issuers.json").write_text(issuing + "\n", encoding="utf-8")


def _borrowed() -> list[dict[str, Any]]:
    """The look into latency, with a role session that was issued to the code assistant."""
    events = _another("04-cloud-latency-investigation.jsonl", "cloud-borrowed-credential", 43)
    for credential in events[0]["credentials"]:
        credential["issued_to"] = f"{TRUST_DOMAIN}/agent/code-assistant"
    return events


if __name__ == "__main__":
    write_samples()
    sys.stdout.write("samples 38 to 44 and issuers.json written\n")
