"""Events, records and judges for tests: small, explicit, deterministic."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.contracts import Case
from models.errors import SchemaError
from models.forest.joint import Joint
from models.release import registry
from models.release.readers import load
from models.session import Session
from models.session import load as unpacked
from stream.bootstrap import release_digest
from stream.core.deployment import Activation, Deployment
from stream.core.judge import Judge
from stream.core.partition import Partition, state_key
from stream.core.releases import Release
from stream.events import CASES, DECISIONS, EVENTS, QUARANTINE, Output, Record, dumps, rfc3339
from stream.outbound.change import Change, Receivers
from stream.policy import Levels, Policy, load_policy, read_policy
from tests.drawn_reader import reader

T0 = 1_767_258_000_000  # 2026-01-01T09:00:00Z
KEY = b"test-key"
TOOLS = [
    {"name": "read_file", "description": "Read a file of the project"},
    {"name": "search_mail", "description": "Search the mailbox for messages"},
    {"name": "send_email", "description": "Send an email to a recipient"},
    {"name": "run_shell", "description": "Run a shell command"},
]
CREDENTIAL = {"broker": "demo", "kind": "jti", "value": "c-1"}


def event(
    kind: str, session: str = "s", seq: int | None = None, at: float = 0, **more: Any
) -> dict[str, Any]:
    """An event of `session`, `at` seconds after the start; fields in `more` win, None takes one away."""
    made = {
        "type": kind,
        "id": f"{session}/{seq}",
        "session_id": session,
        "seq": seq,
        "time": rfc3339(T0 + round(at * 1000)),
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def declared(
    session: str = "s", seq: int | None = 0, text: str = "read notes.txt", **more: Any
) -> dict[str, Any]:
    """A declaration with an intent, the tools above and one credential."""
    made = {
        "intent": {"text": text},
        "tools": TOOLS,
        "credentials": [{**CREDENTIAL, "value": f"c-{session}"}],
    }
    return event("session.declared", session, seq, **{**made, **more})


def called(
    session: str = "s", seq: int | None = None, tool: str = "read_file", arguments: Any = None, **more: Any
) -> dict[str, Any]:
    """A call; its call_id follows from session and number."""
    more.setdefault("call_id", f"{session}:{seq}")
    return event("tool.called", session, seq, tool=tool, arguments=arguments or {"path": "notes.txt"}, **more)


def returned(
    session: str = "s", seq: int | None = None, call: str = "", result: Any = "ok", **more: Any
) -> dict[str, Any]:
    """What the call `call` answered."""
    return event("tool.returned", session, seq, call_id=call, result=result, **more)


def ended(session: str = "s", seq: int | None = None, **more: Any) -> dict[str, Any]:
    """The end of a session."""
    return event("session.ended", session, seq, reason="completed", **more)


def record(value: Any, offset: int, stamp: int | None = None, key: str | None = "") -> Record:
    """A record of the log; stamped by the broker if `stamp` (seconds after the start) is given."""
    raw = value if isinstance(value, bytes | None) else dumps(value)
    if key == "":
        root = value.get("root_session_id") or value.get("session_id") if isinstance(value, dict) else None
        key = root if isinstance(root, str) else None
    where = (0, "none") if stamp is None else (T0 + stamp * 1000, "append")
    return Record(EVENTS, 0, offset, *where, key.encode() if key is not None else None, (), raw)


def log(values: Iterable[Any]) -> list[Record]:
    """An unstamped log of `values` (events or bytes) from offset 0 on."""
    return [record(value, n) for n, value in enumerate(values)]


def stamped(values: Iterable[tuple[int, Any]]) -> list[Record]:
    """A log stamped by the broker: pairs of seconds after the start and value."""
    return [record(value, n, stamp) for n, (stamp, value) in enumerate(values)]


def unstamped(record: Record) -> Record:
    """The same record as a topic has it that takes its producers' stamps."""
    return record._replace(timestamp_ms=0, timestamp_type="none")


class RowScorer:
    """A scorer that depends on every feature and the calls before, and on nothing else: exact, by integers."""

    def __init__(self, salt: int = 7) -> None:
        self.salt = salt
        self.name, self.digest, self.manifest = "row", f"{salt:064d}", {}

    def score(self, X: Any, seen: Any) -> Any:
        rows = X.astype(np.int64)
        weights = np.array([(self.salt * (n + 3) ** 2) % 1009 for n in range(rows.shape[1])], np.int64)
        return ((rows * weights).sum(axis=1) + 13 * seen) % 10_001

    def shares(self, row: Any) -> Any:
        return []


def first(X: Any) -> Any:
    """Calls before each row's, for rows that are all the first of their session: none, and so no allowance."""
    return np.zeros(len(X), np.int64)


class ConstantScorer:
    """Answers one number to everything."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.name, self.digest, self.manifest = "constant", f"{units:064d}", {}

    def score(self, X: Any, seen: Any) -> Any:
        return np.full(len(X), self.units, np.int64)

    def shares(self, row: Any) -> Any:
        return []


class JsonActivations:
    """Activations as plain JSON, with a marker in place of a signature."""

    def read(self, token: str) -> Activation:
        try:
            found = json.loads(token)
            if found.pop("signature") != "good":
                raise SchemaError("control", "the signature does not fit")
            return Activation(**found)
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaError("control", "not an activation") from error


def activation(digest: str, epoch: int = 1, scope: str = "new", **more: Any) -> dict[str, Any]:
    """A release.activated event that `JsonActivations` believes."""
    token = {
        "topic": EVENTS,
        "partition": 0,
        "epoch": epoch,
        "digest": digest,
        "scope": scope,
        "signature": "good",
    }
    return {"type": "release.activated", "token": json.dumps({**token, **more})}


@cache
def shipped(mode: str) -> Policy:
    """The shipped policy."""
    return load_policy(mode=mode)


@cache
def shipped_model() -> registry.Model:
    """The model that comes with the package, read when first asked for."""
    return registry.load()


SERVED: dict[str, Callable[[str, str], str]] = {
    "mcp": lambda server, name: f"mcp__{server}__{name}",
    "dots": lambda server, name: f"{server}.{name}",
    "camel case": lambda server, name: f"{server}_{name}".title().replace("_", ""),
}
"""What clients call a server's tool."""


LEVELS = Levels(1000, 2000, 3500)


def release(
    name: str = "bundled",
    scorer: Any = None,
    levels: Levels = LEVELS,
    mode: str = "enforce",
    reads: bool = False,
    **limits: Any,
) -> Release:
    """A release whose levels are low enough for verdicts to vary; `limits` replace the policy's.

    One that `reads` has a reader that learnt nothing, and reads every call.
    """
    policy = shipped(mode)
    if limits:
        policy = policy.model_copy(update={"limits": policy.limits.model_copy(update=limits)})
    made = Release(name, scorer or RowScorer(), load(), policy, levels)
    if not reads:
        return made
    return made._replace(readers=made.readers._replace(reader=reader()), joint=Joint(0, 1.0, 0.3, 0.0))


def judge(
    bundled: Release | None = None,
    *,
    more: dict[str, Release] | None = None,
    tenants: dict[str, str | None] | None = None,
    **how: Any,
) -> Judge:
    """A judge of the release `bundled`, or of one made from `how`."""
    return Judge(
        {"": bundled or release(**how), **(more or {})},
        Deployment(
            JsonActivations(),
            fingerprint_key=KEY,
            tenants=tenants or {EVENTS: None},
        ),
        Receivers(
            "https://issuer.example.com", {"demo": "https://demo.example.com"}, "https://soc.example.com"
        ),
    )


def changed(**fields: Any) -> Change:
    """A change of a case, from the fields of both; ``peak`` is the highest standing that was told before."""
    peak = fields.pop("peak", None)
    case = {"finding": None, "sets": [], **{k: v for k, v in fields.items() if k in Case.model_fields}}
    beside = {k: v for k, v in fields.items() if k not in Case.model_fields}
    return Change(
        case=Case(**case),
        alerted=peak in ("alert", "contained"),
        revoked=peak == "contained",
        **beside,
    )


class Run:
    """A judge over a partition, with what came out so far."""

    def __init__(
        self, judge: Judge, partition: Partition | None = None, *, n_partitions: int | None = None
    ) -> None:
        self.judge = judge
        self.partition = partition or Partition.empty(n_partitions)
        self.outputs: list[Output] = []

    def feed(self, records: Sequence[Record], batch: int = 512) -> Run:
        """Judge `records` in batches and apply each step."""
        for start in range(0, len(records), batch):
            step = self.judge.judge(self.partition, records[start : start + batch])
            self.partition.apply(step.changes)
            self.outputs += step.outputs
        return self

    def of(self, topic: str) -> list[dict[str, Any]]:
        """Values of the outputs to `topic`."""
        return [orjson.loads(o.value) for o in self.outputs if o.topic == topic]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """All decisions."""
        return self.of(DECISIONS)

    @property
    def cases(self) -> list[dict[str, Any]]:
        """All cases."""
        return self.of(CASES)

    @property
    def quarantined(self) -> list[tuple[str, int]]:
        """Reason and offset of each quarantined record."""
        heads = [dict(o.headers) for o in self.outputs if o.topic == QUARANTINE]
        return [(h["reason"].decode(), int(h["offset"])) for h in heads]

    @property
    def session(self) -> Session:
        """What is kept of the open session `s`."""
        state = unpacked(self.partition.states[state_key("default", "s", "s")])
        assert isinstance(state, Session)
        return state

    @property
    def counters(self) -> dict[str, int]:
        """The partition's counters."""
        return self.partition.ledger.counters

    def __repr__(self) -> str:
        return f"Run({len(self.outputs)} outputs)"


def play(values: Iterable[Any], batch: int = 512, **how: Any) -> Run:
    """Judge an unstamped log of `values`."""
    return Run(judge(**how)).feed(log(values), batch)


def play_stamped(values: Iterable[tuple[int, Any]], batch: int = 512, **how: Any) -> Run:
    """Judge a stamped log of `values`."""
    return Run(judge(**how)).feed(stamped(values), batch)


def as_log_lines(records: Iterable[Record]) -> bytes:
    """`records` as a file that replay reads."""
    rows = [
        {
            "topic": r.topic,
            "partition": r.partition,
            "partitions": None,
            "offset": r.offset,
            "timestamp_ms": r.timestamp_ms,
            "timestamp_type": r.timestamp_type,
            "key": r.key.decode() if r.key is not None else None,
            "headers": [],
            "value_b64": base64.b64encode(r.value).decode() if r.value is not None else None,
        }
        for r in records
    ]
    return b"".join(dumps(row) + b"\n" for row in rows)


def attacked(intent: str, goal: str, calls: Iterable[dict[str, Any]], bad: int) -> dict[str, Any]:
    """A recorded session, as AgentDojo's are: its first call read the injected text, call `bad` first serves its goal."""
    return {
        "source": "agentdojo",
        "suite": "shop",
        "session_id": "made",
        "intent": intent,
        "tools_ref": "shop",
        "calls": [{"seq": seq, **call} for seq, call in enumerate(calls)],
        "label": "hijacked",
        "attack": "important_instructions",
        "user_task_id": "user_task_1",
        "injection_task_id": "injection_task_1",
        "injection_goal": goal,
        "exposed_seq": 0,
        "first_bad_seq": bad,
    }


def release_in(place: Path, idle_minutes: int) -> tuple[Path, str]:
    """The bundled model under the shipped policy with another value, in a folder, and its digest."""
    shutil.copytree(registry.BUNDLED, place)
    text, _ = read_policy()
    policy = place / "policy.yaml"
    policy.write_text(text.replace("idle_minutes: 60 ", f"idle_minutes: {idle_minutes} "), encoding="utf-8")
    return place, release_digest(place, load_policy(policy))
