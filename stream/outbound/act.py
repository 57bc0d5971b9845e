"""act: what is done about a case. Alerts and signed events, and nothing that judge did not decide.

A case carries its final finding and claims; act signs and sends them. It keeps no state, so the same case
read twice, late or after a crash gives the same ids and claims (design, Law 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from models.contracts import SCHEMA_VERSION, Case, Signed
from models.errors import ContractError, DecodeError, SchemaError
from stream.events import ALERTS, CORE, REVOCATIONS, Output, Record, dumps, refusal
from stream.outbound.keys import SigningKeys
from stream.outbound.tokens import TOKEN_TYPE, TokenError

SET_HEADERS = (("content-type", f"application/{TOKEN_TYPE}".encode()), ("core", CORE.encode()))


class Plan(NamedTuple):
    """What goes out for a case now."""

    finding: dict[str, Any] | None
    sets: list[Signed]


def plan(case: Case) -> Plan:
    """What of a case is sent now.

    Shadow mode sends no revocation. Everything else goes out at once: holding (budgets, the circuit breaker)
    and grouping (one campaign over many sessions) do not exist yet, and this is the place for them.
    """
    sets = [signed for signed in case.sets if case.enforced or signed.topic != REVOCATIONS]
    return Plan(case.finding, sets)


class Actor:
    """Turns cases into alerts and signed Security Event Tokens.

    Parameters
    ----------
    keys : SigningKeys
        What signs the tokens.
    """

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def act(self, records: Sequence[Record]) -> list[Output]:
        """The outputs of `records` from the case log, in their order."""
        outputs: list[Output] = []
        for record in records:
            outputs.extend(self._act(record))
        return outputs

    def _act(self, record: Record) -> list[Output]:
        try:
            case = read_case(record)
        except ContractError as error:
            return [refusal(record, error.reason, error.detail)]
        outputs: list[Output] = []
        key = case.tenant.encode()
        finding, sets = plan(case)
        if finding is not None:
            outputs.append(Output(ALERTS, key, (), dumps(finding)))
        refused: list[str] = []
        for signed in sets:
            try:
                check_set(case, signed)
                token = self._keys.sign(signed.claims)
            except TokenError as error:
                refused.append(str(error))
                continue
            outputs.append(Output(signed.topic, key, SET_HEADERS, token.encode()))
        if refused:
            # The rest is sent all the same: sending it again later repeats ids that receivers drop.
            outputs.append(refusal(record, "schema", f"not signed: {'; '.join(refused)}"))
        return outputs


def read_case(record: Record) -> Case:
    """The case in `record`.

    Raises
    ------
    DecodeError
        No JSON.
    SchemaError
        Reason ``version`` (newer than ours), ``schema`` (another shape) or ``key`` (not the tenant's, so that
        two workers would act for one tenant).
    """
    if record.value is None:
        raise DecodeError("decode", "no value; a case is a JSON object")
    try:
        document = orjson.loads(record.value)
    except orjson.JSONDecodeError as error:
        raise DecodeError("decode", f"not JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(document, dict):
        raise SchemaError("schema", f"a case is a JSON object, not {type(document).__name__}")
    version = document.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SchemaError(
            "version", f"schema_version {version} is newer than {SCHEMA_VERSION}: upgrade first"
        )
    try:
        # Extra fields are ignored, so that judge may be upgraded before act.
        case = Case.model_validate(document, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(step)[:64] for step in first["loc"])
        raise SchemaError("schema", f"{path[:256]}: {first['msg'][:200]}") from error
    except RecursionError as error:
        raise SchemaError("schema", "nested too deep") from error
    if record.key is not None and record.key != case.tenant.encode():
        raise SchemaError("key", "a case is keyed by its tenant")
    return case


def check_set(case: Case, signed: Signed) -> None:
    """A token speaks of its own case and tenant only, whatever was written into the case log.

    Raises
    ------
    TokenError
        It names another case, session or tenant.
    """
    subject = signed.claims.get("sub_id")
    named = subject if isinstance(subject, dict) else {}
    if signed.claims.get("txn") != case.case_id:
        raise TokenError("claims", "txn is not the case")
    if named.get("session") != {"format": "opaque", "id": case.session_id}:
        raise TokenError("subject", "sub_id.session is not the case's session")
    if named.get("tenant") != {"format": "opaque", "id": case.tenant}:
        raise TokenError("subject", "sub_id.tenant is not the case's tenant")
