"""act: what is done about a case. Alerts and signed events, and nothing that judge did not decide.

A case carries its final finding and claims; act sends or holds them, and signs. What it knows beside is the breaker's, and whether what
it sent is dead; both are functions of the case log: the same case read twice, late or after a crash gives the same ids and claims
(design, Law 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from pydantic import ValidationError

from models.contracts import (
    SCHEMA_VERSION,
    Case,
    ClockTick,
    Feedback,
    FeedbackGiven,
    HeldResolved,
    OutcomeTold,
    Signed,
)
from models.errors import ContractError, DecodeError, DriftlineError, SchemaError
from stream.events import (
    ALERTS,
    CORE,
    ENDS,
    HELD,
    REVOCATIONS,
    Headers,
    Output,
    Record,
    case_id_of,
    dumps,
    milliseconds,
    refusal,
)
from stream.outbound import alarm, feedback
from stream.outbound.breaker import SENT, Breaker, Held, Resolution, Ruling, standing
from stream.outbound.campaigns import Campaigns
from stream.outbound.claims import CREDENTIALS_RELEASED
from stream.outbound.containment import Containment
from stream.outbound.keys import SigningKeys
from stream.outbound.ocsf import OCSF_VERSION, Version, in_version
from stream.outbound.tokens import TOKEN_TYPE, TokenError
from stream.outbound.volume import AlertBudgets

FromLog = Case | HeldResolved | FeedbackGiven | OutcomeTold | ClockTick
"""What stands in the log of cases."""
MAX_AHEAD_MS = 300_000
"""How far ahead of the broker the time of a verdict may be: the latest one counts, so none may lie in the future."""
SET_HEADERS = (("content-type", f"application/{TOKEN_TYPE}".encode()), ("core", CORE.encode()))


def plan(case: Case, ruling: Ruling = SENT) -> list[Signed]:
    """The tokens of a case that are sent now.

    Shadow mode sends brokers nothing: neither a revocation, nor what an end released. Nor does a breaker that holds a revocation send it.
    """
    revokes = case.enforced and ruling.held_by is None and not ruling.dropped
    goes = {REVOCATIONS: revokes, ENDS: case.enforced}  # in whichever list a token stands
    return [signed for signed in (*case.sets, *case.end_sets) if goes.get(signed.topic, True)]


def _nobody(token: str) -> Resolution:
    raise SchemaError("control", "nobody is trusted to rule on what is held; set DRIFTLINE_RESPONDER_JWKS")


def _unheard(token: str) -> tuple[Feedback, str]:
    raise SchemaError("control", "nobody is trusted to give feedback; set DRIFTLINE_RESPONDER_JWKS")


class Actor:
    """Turns cases into alerts and signed Security Event Tokens.

    Parameters
    ----------
    keys : SigningKeys
        What signs the tokens.
    rulings : callable
        Verifies the token of a ruling on what is held, or raises `SchemaError`.
    verdicts : callable
        Verifies the token of an analyst's verdict, and gives it with the id of its key, or raises `SchemaError`.
    ocsf_version : str
        The version of OCSF in which alerts go out; cases hold theirs in `OCSF_VERSION`.
    """

    def __init__(
        self,
        keys: SigningKeys,
        rulings: Callable[[str], Resolution] = _nobody,
        verdicts: Callable[[str], tuple[Feedback, str]] = _unheard,
        *,
        ocsf_version: Version = OCSF_VERSION,
    ) -> None:
        self._keys, self._rulings, self._verdicts = keys, rulings, verdicts
        self._ocsf_version: Version = ocsf_version
        self.forget()
        # By record id: what a ruling may be about, while records are acted on.
        self._held: dict[str, Record] = {}

    def act(self, records: Sequence[Record], held: Iterable[Record] = ()) -> list[Output]:
        """The outputs of `records` from the case log, in their order.

        Parameters
        ----------
        held : iterable of Record
            What the topic `HELD` has, where `records` hold a ruling: the cases themselves are not kept in memory.
        """
        self._held = {each.held.record_id: each.record for each in standing(held)}
        outputs: list[Output] = []
        for record in records:
            outputs.extend(self._act(record))
        self._held.clear()
        return outputs

    def rules(self, records: Iterable[Record]) -> bool:
        """Whether a ruling that holds is among `records`: to carry it out takes what the topic `HELD` has."""
        for record in records:
            if b'"held.resolved"' in (record.value or b""):
                with suppress(ContractError):
                    read = read_case(record)
                    if isinstance(read, HeldResolved):
                        self._ruling(read)
                        return True
        return False

    def forget(self) -> None:
        """Forget what is known of all tenants: other workers may have gone on with their logs."""
        self.breaker, self.containment = Breaker(), Containment()
        self.campaigns, self.budgets = Campaigns(), AlertBudgets()

    def recall(self, records: Iterable[Record], held: Sequence[Record]) -> None:
        """Note cases that were acted on before, so that this worker knows what the one before knew of them; sends nothing.

        Parameters
        ----------
        records : iterable of Record
            From the log of cases, in order.
        held : sequence of Record
            All that the topic `HELD` has of their partition, in order. A ruling that was carried out is not noted by its trace
            there: what it means for the cases around it shows where it stands among them, be that still to come.
        """
        waited = _held_cases(held)
        for record in records:
            with suppress(Exception):  # what it was, was said when the record was acted on
                self.containment.pass_time(record.partition, record.timestamp_ms)
                self._recall(record, waited)
        for each in standing(held):
            self.breaker.hold(each.tenant, each.held)
            self.breaker.reopen(each.tenant, each.scope, each.held.breaker)

    def recall_alerts(self, records: Iterable[Record]) -> None:
        """Note the findings that went out before, from the topic of alerts, in order: which campaigns are known, and how often
        analysts were called."""
        for record in records:
            with suppress(orjson.JSONDecodeError):
                finding = orjson.loads(record.value or b"")
                if isinstance(finding, dict):
                    self.campaigns.take(finding, record.partition)
                    self.budgets.recall(finding, record.partition)

    def _recall(self, record: Record, waited: Mapping[tuple[str, str], list[tuple[int, Case]]]) -> None:
        read, at_ms = read_case(record), record.timestamp_ms
        if isinstance(read, HeldResolved):
            ruling, place = self._ruling(read), (record.partition, record.offset)
            sends = ruling.action == "send"
            self.breaker.resolve(ruling.tenant, ruling.breaker, place, sends=sends)
            for offset, case in waited.get((ruling.tenant, ruling.breaker), ()) if sends else ():
                if offset < record.offset:
                    self.containment.sent(case, case.sets, record.partition, at_ms)
        elif isinstance(read, OutcomeTold):
            self.containment.take(record.partition, read.tenant, read.outcome)
        elif isinstance(read, Case):
            sets = plan(read, self.breaker.rule(read, record.partition))
            self.containment.sent(read, sets, record.partition, at_ms)

    def next_deadline(self, partition: int) -> int | None:
        """When a stamp of a partition of cases would lead to something, in ms since 1970; None: nothing is waited for."""
        return self.containment.next_deadline(partition)

    def standing(self) -> dict[str, int]:
        """How many cases wait for a person, or for a broker, by what they wait for, and how many nobody can rule on any more."""
        waiting = {"held": self.breaker.n_held, "dropped": self.breaker.n_dropped}
        return waiting | self.containment.count()._asdict()

    def _act(self, record: Record) -> list[Output]:
        # Time before the record: what is late is late, though it come with this very one.
        outputs: list[Output] = []
        for step in (self._pass_time, self._read):
            try:
                outputs += step(record)
            except ContractError as error:
                outputs.append(refusal(record, error.reason, error.detail))
            except (DriftlineError, OSError):
                raise  # a key that cannot be read
            except Exception as error:  # nobody foresaw it: the record is put aside, and stops nobody
                outputs.append(refusal(record, "internal", type(error).__name__))
        return outputs

    def _pass_time(self, record: Record) -> list[Output]:
        return self._alerts(self.containment.pass_time(record.partition, record.timestamp_ms))

    def _read(self, record: Record) -> list[Output]:
        read = read_case(record)
        if isinstance(read, HeldResolved):
            return self._resolve(record, self._ruling(read))
        if isinstance(read, FeedbackGiven):
            return self._feedback(record, read)
        if isinstance(read, OutcomeTold):
            return self._alerts(self.containment.take(record.partition, read.tenant, read.outcome))
        return self._case(record, read) if isinstance(read, Case) else []

    def _case(self, record: Record, case: Case) -> list[Output]:
        outputs: list[Output] = []
        key = case.tenant.encode()
        ruling = self.breaker.rule(case, record.partition)
        sets = plan(case, ruling)
        told: list[dict[str, Any]] = []
        if case.finding is not None:
            first, *told = self.campaigns.take(case.finding, record.partition)
            told = [*self.budgets.take(case, first, record.partition), *told]
        if ruling.opens is not None:
            told.append(alarm.held(case, ruling.opens))
        outputs += [self._alert(key, finding) for finding in told]
        if ruling.held_by is not None:
            held = Held(ruling.held_by, record.partition, record.offset, case.record_id)
            self.breaker.hold(case.tenant, held)
            self._held[case.record_id] = record
            scope = self.breaker.scope_of(case.tenant, held.breaker)
            outputs.append(Output(HELD, key, _headers(held, scope), record.value or b""))
        outputs += self._signed(record, case, sets)
        self.containment.sent(case, sets, record.partition, record.timestamp_ms)
        return outputs

    def _ruling(self, read: HeldResolved) -> Resolution:
        ruling = self._rulings(read.token)
        if ruling.tenant != read.tenant:
            raise SchemaError("control", "the ruling is for another tenant")
        return ruling

    def _feedback(self, record: Record, read: FeedbackGiven) -> list[Output]:
        """Say what an analyst said of a case: all of it stands in the token, so nothing is kept, and it may be said twice."""
        said, key = self._verdicts(read.token)
        if said.tenant != read.tenant:
            raise SchemaError("control", "the feedback is for another tenant")
        if said.case_id != case_id_of(said.tenant, said.root_session_id, said.session_id):
            raise SchemaError("control", "the feedback's case is not that of its session")
        if record.timestamp_type == "append" and milliseconds(said.time) > record.timestamp_ms + MAX_AHEAD_MS:
            raise SchemaError(
                "control", "the feedback lies ahead of the broker's time; set the clock where it is signed"
            )
        return self._alerts([feedback.finding(said, key)])

    def _resolve(self, record: Record, ruling: Resolution) -> list[Output]:
        """Send or drop what an opening held before this place of the log, and say so."""
        sends = ruling.action == "send"
        place = record.partition, record.offset
        found = self.breaker.resolve(ruling.tenant, ruling.breaker, place, sends=sends)
        records = [self._held[held.record_id] for held in found if held.record_id in self._held]
        cases = [(each, case) for each in records if isinstance(case := read_case(each), Case)]
        if not cases:
            return []
        outputs: list[Output] = []
        key = ruling.tenant.encode()
        for held, case in cases if sends else ():
            revocations = [signed for signed in case.sets if signed.topic == REVOCATIONS]
            outputs += self._signed(held, case, revocations)
            self.containment.sent(case, revocations, record.partition, record.timestamp_ms)
        last = cases[-1][1]
        closing = alarm.resolved(last, ruling.breaker, sent=sends, by=ruling.by, count=len(cases))
        outputs.append(self._alert(key, closing))
        headers = (
            ("action", ruling.action.encode()),
            ("breaker", ruling.breaker.encode()),
            ("by", ruling.by.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        )
        outputs.append(Output(HELD, key, headers, b""))
        return outputs

    def _alerts(self, found: Sequence[dict[str, Any]]) -> list[Output]:
        return [self._alert(each["metadata"]["tenant_uid"].encode(), each) for each in found]

    def _alert(self, key: bytes, finding: dict[str, Any]) -> Output:
        return Output(ALERTS, key, (), dumps(in_version(finding, self._ocsf_version)))

    def _signed(self, record: Record, case: Case, sets: Sequence[Signed]) -> list[Output]:
        outputs: list[Output] = []
        key = case.tenant.encode()
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


def _held_cases(records: Iterable[Record]) -> dict[tuple[str, str], list[tuple[int, Case]]]:
    """Cases that the topic `HELD` has, with their offsets in their log, by tenant and opening; also those that were ruled on."""
    found: dict[tuple[str, str], dict[int, Case]] = {}
    for record in records:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        with suppress(ContractError, KeyError, ValueError):
            if "action" not in headers and isinstance(case := read_case(record), Case):
                found.setdefault((case.tenant, headers["breaker"]), {})[int(headers["offset"])] = case
    return {key: sorted(cases.items()) for key, cases in found.items()}


def _headers(held: Held, scope: str) -> Headers:
    return (
        ("breaker", held.breaker.encode()),
        ("scope", scope.encode()),
        ("partition", str(held.partition).encode()),
        ("offset", str(held.offset).encode()),
    )


_OTHERS: dict[str, type[HeldResolved | FeedbackGiven | OutcomeTold | ClockTick]] = {
    "held.resolved": HeldResolved,
    "feedback.given": FeedbackGiven,
    "outcome.told": OutcomeTold,
    "clock.tick": ClockTick,
}


def read_case(record: Record) -> FromLog:
    """The case in `record`, or what stands among cases: a ruling, a verdict, an outcome, a tick.

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
        case: FromLog
        if (other := _OTHERS.get(str(document.get("type")))) is not None:
            case = other.model_validate_json(record.value)  # times as text: JSON's rules, not Python's
        else:
            case = Case.model_validate(document, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(step)[:64] for step in first["loc"])
        raise SchemaError("schema", f"{path[:256]}: {first['msg'][:200]}") from error
    except RecursionError as error:
        raise SchemaError("schema", "nested too deep") from error
    if isinstance(case, ClockTick):
        return case
    if record.key is not None and record.key != case.tenant.encode():
        raise SchemaError("key", "a case is keyed by its tenant")
    return case


def check_set(case: Case, signed: Signed) -> None:
    """A token speaks of its own case and tenant only, and lies where its event belongs, whatever was written into the case log.

    Raises
    ------
    TokenError
        It names another case, session or tenant, or what was released would lie among revocations.
    """
    subject = signed.claims.get("sub_id")
    named = subject if isinstance(subject, dict) else {}
    if signed.claims.get("txn") != case.case_id:
        raise TokenError("claims", "txn is not the case")
    if named.get("session") != {"format": "opaque", "id": case.session_id}:
        raise TokenError("subject", "sub_id.session is not the case's session")
    if named.get("tenant") != {"format": "opaque", "id": case.tenant}:
        raise TokenError("subject", "sub_id.tenant is not the case's tenant")
    events = signed.claims.get("events")
    is_released = isinstance(events, dict) and CREDENTIALS_RELEASED in events
    if is_released != (signed.topic == ENDS):
        raise TokenError("event", f"the event does not belong on {signed.topic}")
