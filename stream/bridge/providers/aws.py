"""AWS, by a deny policy on the role that was assumed (IAM, *Revoking IAM role temporary security credentials*).

================  ============================================  ===================================================
kind              what is revoked                               what stays valid
================  ============================================  ===================================================
``role_arn``      every session of the role that began before   sessions that begin later: also take away what lets
                  the revocation (*wider*); IAM needs up to     the agent assume the role again
                  some minutes
``role_session``  that one session of the role, by name, for    sessions under another name
                  ever: ``<role arn>/<session name>``
================  ============================================  ===================================================

A role session is denied by an inline policy of its own on the role; a role takes 10,240 characters of inline policies, some 30 such
sessions. When they are full the outcome is ``failed`` with IAM's reason, and `role_arn` is the way. Needs the extra ``aws`` (botocore)
and the rights ``iam:PutRolePolicy`` and ``iam:GetRole``.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field

from models.contracts import CredentialRef
from models.errors import ConfigError, brings
from stream.bridge.provider import Effect, Rejected, Unavailable, named
from stream.bridge.providers.settings import Part, Seconds, WebAddress
from stream.events import short_hash

_ROLE = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/((?:[\w+=,.@-]+/)*)([\w+=,.@-]{1,64})")
_SESSION = re.compile(r"[\w+=,.@-]{2,64}")
_BUSY = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "ServiceFailure",
    "ServiceUnavailable",
    "InternalFailure",
)
BEFORE, _TIME = "DriftlineRevokedBefore", "%Y-%m-%dT%H:%M:%SZ"
_REFUSED = (
    "AccessDenied",
    "ExpiredToken",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)


class AwsSettings(Part):
    """An AWS account; the bridge's own credentials come from where botocore finds them (environment, profile, role).

    Attributes
    ----------
    account : str
        Its twelve digits, which are those of the bridge's own credentials: other accounts' roles are not this one's.
    region : str
        Of IAM's endpoint.
    endpoint_url : str or None
        In place of AWS's own.
    profile : str or None
        Of the shared configuration.
    timeout_s : float
        After which a call counts as not answered.
    """

    provider: Literal["aws"]
    account: str = Field(pattern=r"^\d{12}$")
    region: str = "us-east-1"
    endpoint_url: WebAddress | None = None
    profile: str | None = None
    timeout_s: Seconds = 10.0


class _NoSuchEntity(Exception):
    """IAM knows no such role or policy."""


class _Role(NamedTuple):
    account: str
    name: str
    session: str


class Aws:
    """Denies role sessions; the class of `AwsSettings`."""

    def __init__(self, settings: AwsSettings) -> None:
        try:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
            from botocore.session import Session
        except ImportError as error:
            raise ConfigError(f"the provider aws needs botocore: {brings('aws')}") from error
        self._account = settings.account
        self._one, self._before_s = asyncio.Lock(), dict[str, int]()
        try:
            self._iam = Session(profile=settings.profile).create_client(
                "iam",
                region_name=settings.region,
                endpoint_url=settings.endpoint_url,
                # One attempt: the bridge waits and tries again by itself, for all calls of a provider together.
                config=Config(
                    connect_timeout=settings.timeout_s,
                    read_timeout=settings.timeout_s,
                    retries={"total_max_attempts": 1},
                ),
            )
        except BotoCoreError as error:
            raise ConfigError(f"aws: {error}") from error

    async def revoke(self, credential: CredentialRef, issued_before_s: int) -> Effect:
        """Deny the sessions."""
        role = _role_of(credential)
        if role.account != self._account:
            raise Rejected(
                f"this is a role of another account than {self._account}; give that account a broker of its own"
            )
        try:
            if credential.kind == "role_arn":
                await self._deny_before(role.name, issued_before_s)
                return Effect(
                    "wider",
                    "all sessions of the role that began before; IAM takes up to some minutes",
                    "sessions of the role that begin later",
                )
            found = await self._call("get_role", RoleName=role.name)
            is_session = {"StringEquals": {"aws:userid": f"{found['Role']['RoleId']}:{role.session}"}}
            await self._deny(role.name, f"DriftlineRevoked-{short_hash(role.session, size=8)}", is_session)
        except _NoSuchEntity:
            return Effect("already_gone", "no such role")
        return Effect("done", "IAM takes up to some minutes", "sessions of the role under another name")

    async def _deny_before(self, role: str, before_s: int) -> None:
        """Deny what began before; a late repeat of an old revocation never moves a newer one back."""
        async with self._one:
            # IAM may read an older state than was written, so what was written from here is remembered as well.
            before_s = max(before_s, self._before_s.get(role, 0))
            try:
                held = await self._call("get_role_policy", RoleName=role, PolicyName=BEFORE)
                if (_before_s(held["PolicyDocument"]) or 0) >= before_s:
                    return
            except _NoSuchEntity:
                pass
            text = datetime.fromtimestamp(before_s, UTC).strftime(_TIME)
            await self._deny(role, BEFORE, {"DateLessThan": {"aws:TokenIssueTime": text}})
            self._before_s[role] = before_s

    async def check(self) -> str:
        """Ask IAM for anything at all: a refusal for lack of a right still says that the credentials are known."""
        with suppress(_NoSuchEntity):
            await self._call("get_role", RoleName="driftline-check")
        return "IAM answers; whether the bridge may put policies shows at the first revocation"

    async def close(self) -> None:
        self._iam.close()

    async def _deny(self, role: str, name: str, condition: dict[str, Any]) -> None:
        statement = {"Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": condition}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
        await self._call("put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=policy)

    async def _call(self, operation: str, **arguments: str) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(getattr(self._iam, operation), **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))[:64]
            if code in _BUSY or code in _REFUSED:
                raise Unavailable(f"IAM answered {code}") from error
            if code == "NoSuchEntity":
                raise _NoSuchEntity from error
            raise Rejected(f"IAM answered {code} to {operation}") from error
        except BotoCoreError as error:
            raise Unavailable(f"IAM: {type(error).__name__}") from error


def _role_of(credential: CredentialRef) -> _Role:
    if credential.kind == "role_arn":
        arn, session = named(credential), ""
    elif credential.kind == "role_session":
        arn, _, session = named(credential).rpartition("/")
    else:
        raise Rejected(
            f"AWS revokes by role_session or role_arn, not by {credential.kind!r}; declare one of them"
        )
    found = _ROLE.fullmatch(arn)
    if found is None or (credential.kind == "role_session" and not _SESSION.fullmatch(session)):
        raise Rejected(
            "expected a role's ARN (arn:aws:iam::123456789012:role/NAME), with /SESSION behind it for role_session"
        )
    return _Role(found[2], found[4], session)


def _before_s(document: Any) -> int | None:
    """The second before which a policy of ours denies what began; None where it is another policy."""
    try:
        text = document["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"]
        return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except (KeyError, IndexError, TypeError, ValueError):
        return None
