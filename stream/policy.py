"""The policy: a validated YAML file of all that a security engineer decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from models.contracts import MAX_WHOLE, MOST_MINUTES, Action
from models.errors import ConfigError
from models.forest.units import UNITS
from models.text.quotes import Quotes
from models.tools.facts import PolicySays
from stream.events import dumps, printable, short_hash
from stream.signals.registry import BY_ID, FOLLOWS
from stream.signals.signal import Consequence

ClassName = Annotated[str, Field(max_length=256, pattern=r"\S")]
_SERVED = re.compile(r"^mcp__.+?__")
"""What MCP clients put before a tool's own name."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FalsePositiveBudget(_Part):
    """Share of honest sessions that may reach a threshold."""

    budget: Annotated[float, Field(gt=0, lt=1)]


Threshold = FalsePositiveBudget | Annotated[float, Field(ge=0, le=1)]


class ThresholdTable(_Part):
    """Threshold of each level, as a budget or a number."""

    watch: Threshold
    alert: Threshold
    revoke: Threshold


class FamilyCounts(_Part):
    """Families that must speak; the floor is the design's, a policy may only ask for more."""

    alert: Annotated[int, Field(ge=1, le=6)] = 1
    revoke: Annotated[int, Field(ge=2, le=6)] = 2
    revoke_by_signal: Annotated[int, Field(ge=2, le=6)] | None = 3


class Limits(_Part):
    """Bounds of a partition, reached in the log's order."""

    idle_minutes: Annotated[float, Field(gt=0, le=MAX_WHOLE)] = 60
    tombstone_hours: Annotated[float, Field(gt=0, le=MAX_WHOLE)] = 24
    tombstones: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 200_000
    open_sessions: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 100_000
    open_mib: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 512
    sub_agents: Annotated[int, Field(ge=1, le=4096)] = 256
    catalogues: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 1024
    clock_skew_seconds: Annotated[float, Field(gt=0, le=MAX_WHOLE)] = 300


class _Demand(_Part):
    """What declarations, amendments and changed catalogues must bring in order to count."""

    required: bool = False
    tenants: dict[str, bool] = Field(default_factory=dict)

    def demanded(self, tenant: str) -> bool:
        """Whether `tenant`'s must: its own line, else the rule for all."""
        return self.tenants.get(tenant, self.required)

    @property
    def anywhere(self) -> bool:
        """Whether any tenant's must."""
        return self.required or any(self.tenants.values())


class Signatures(_Demand):
    """Whose count only with a signature of their tenant (docs/security.md)."""


class AttestationDemand(_Demand):
    """Whose count only with an attestation of who sends them (docs/identity.md); ``bound``: one that names the session."""

    bound: bool = False

    @model_validator(mode="after")
    def _binds_something(self) -> Self:
        if self.bound and not self.anywhere:
            raise ValueError(
                "bound has no effect where no attestation is required; set required, or tenants for some, or leave it away"
            )
        return self


class SecondOpinions(_Part):
    """What a signed second opinion on a call may lead to; none ever revokes, or takes back what a signal found.

    To close is a right of its own: a model that reads a hostile text may be talked into it.
    """

    raise_cases: bool = True
    close_cases: bool = False


class Revocations(_Part):
    """The circuit breaker's budget: sessions that drift may revoke within the window, and when a broker is late; None: no limit."""

    window_minutes: Annotated[float, Field(gt=0, le=1440)] = 60
    agent: Annotated[int, Field(ge=1, le=10_000)] | None = 20
    tenant: Annotated[int, Field(ge=1, le=10_000)] | None = 50
    overall: Annotated[int, Field(ge=1, le=10_000)] | None = None
    confirm_minutes: Annotated[float, Field(gt=0, le=60)] | None = None

    @model_validator(mode="after")
    def _let_no_tenant_hold_back_another(self) -> Self:
        if self.overall is not None and self.tenant is None:
            raise ValueError(
                "overall takes a number for tenant: without one a tenant alone would hold back another"
            )
        if self.overall is not None and self.tenant is not None and self.overall < 2 * self.tenant:
            raise ValueError(
                f"overall is {self.overall} and tenant {self.tenant}; overall must be at least twice tenant, "
                "or one tenant alone would hold back another"
            )
        return self


class Amounts(_Part):
    """From which sum of money on a call is one step more severe, and below which one step less; None: no sum is."""

    large: Annotated[float, Field(gt=0, le=MAX_WHOLE)] | None = None
    trivial: Annotated[float, Field(gt=0, le=MAX_WHOLE)] | None = None

    @model_validator(mode="after")
    def _leave_something_between(self) -> Self:
        if self.large is not None and self.trivial is not None and self.trivial >= self.large:
            raise ValueError("trivial must be less than large")
        return self

    @property
    def are_weighed(self) -> bool:
        """Whether any sum changes a severity."""
        return self.large is not None or self.trivial is not None

    def step(self, amount: float | None) -> Literal[-1, 0, 1]:
        """By how many steps a call's largest sum moves its severity.

        >>> [Amounts(large=1000.0, trivial=5.0).step(amount) for amount in (None, 4.99, 5, 999.99, 1000)]
        [0, -1, 0, 0, 1]
        """
        if amount is None:
            return 0
        if self.large is not None and amount >= self.large:
            return 1
        return -1 if self.trivial is not None and amount < self.trivial else 0


class ModeOf(_Part):
    """Whom another mode holds for than for the rest: a tenant, an agent by its declared id, or an agent of one tenant."""

    tenant: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    agent: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    mode: Literal["shadow", "enforce"]

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.tenant is None and self.agent is None:
            raise ValueError("a row names a tenant, an agent or both; for everybody set mode above")
        return self


class LongestMinutes(_Part):
    """Longest life of credentials by the data of the calls that use them; None: `Policy.credential_max_hours`."""

    sensitive: Annotated[float, Field(gt=0, le=MOST_MINUTES)] | None = None
    other: Annotated[float, Field(gt=0, le=MOST_MINUTES)] | None = None


class _Excepted(_Part):
    """What was looked at and may be: who answers for it, why, and the last day (UTC) on which it may."""

    owner: Annotated[str, Field(min_length=1, max_length=256)]
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    expires: Annotated[date, Field(ge=date(1970, 1, 1), le=date(9998, 12, 31))]

    @property
    def until_ms(self) -> int:
        """When it runs out, in ms since 1970: at the end of its last day."""
        return ((self.expires - date(1970, 1, 1)).days + 1) * 86_400_000


class LongLived(_Excepted):
    """A credential that may live longer."""

    broker: Annotated[str, Field(min_length=1, max_length=256)]
    kind: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(min_length=1, max_length=256)]


SCORE = "score"
"""In `ExpectedCalls.lets_pass`: the score, in place of a signal."""


class ExpectedCalls(_Excepted):
    """Calls of one agent's tool that are meant to happen: what is listed of them leads to no more than watch.

    Attributes
    ----------
    tenant : of the agent; None: of any
    agent : by its declared id
    tool : as the agent calls it, or without what an MCP client puts before it
    lets_pass : ids of signals, or `SCORE`
    arguments : by path, without places in lists, the only values that such a call may carry there; it carries one at least
    """

    tenant: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    agent: Annotated[str, Field(min_length=1, max_length=256)]
    tool: Annotated[str, Field(min_length=1, max_length=256)]
    lets_pass: Annotated[list[str], Field(min_length=1, max_length=64)]
    arguments: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=256)], Annotated[list[str], Field(min_length=1)]],
        Field(max_length=64),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _binds_a_score(self) -> Self:
        if SCORE in self.lets_pass and not self.arguments:
            raise ValueError(
                "to let a score pass, say under arguments which values: else whatever the tool does would pass"
            )
        return self


class Credentials(_Part):
    """What credentials are held to.

    Attributes
    ----------
    exceptions : list of LongLived
        Of one credential's the one that lasts longest counts.
    scopes : dict of str to (dict of str to list of str)
        By broker, for each scope that is listed all tools that it lets be called. A tool that some scope of a broker lists needs one
        of the scopes there that list it and no other; of any other tool nothing is known.
    """

    longest_minutes: LongestMinutes = LongestMinutes()
    exceptions: list[LongLived] = Field(default_factory=list)
    scopes: dict[str, dict[str, list[str]]] = Field(default_factory=dict)

    def needed(self, broker: str, tool: str) -> frozenset[str] | None:
        """The scopes of `broker`, any of which lets `tool` be called; None where no list names the tool."""
        needed = frozenset(scope for scope, tools in self.scopes.get(broker, {}).items() if tool in tools)
        return needed or None

    def longest_ms(self, sensitive: bool) -> int | None:
        """Longest life of a credential that calls of tools which read sensitive data, or do not, use; None: not said."""
        minutes = self.longest_minutes.sensitive if sensitive else self.longest_minutes.other
        return None if minutes is None else round(minutes * 60_000)

    def exception(self, broker: str, kind: str, value: str) -> LongLived | None:
        """The exception for a credential that may live longer."""
        named = [e for e in self.exceptions if (e.broker, e.kind, e.value) == (broker, kind, value)]
        return max(named, key=lambda each: each.expires, default=None)

    def excepted_until_ms(self, broker: str, kind: str, value: str) -> int | None:
        """When that runs out, in ms since 1970."""
        found = self.exception(broker, kind, value)
        return found.until_ms if found is not None else None


End = Literal["revoke", "release", "nothing"]
"""What the end of a session means to a credential of which its declaration does not say whether it was issued for the task: dead; left
alone, and its broker told; left alone."""


class Policy(_Part):
    """Everything a security engineer decides, see the comments in ``policy.yaml``."""

    version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    mode: Literal["shadow", "enforce"]
    modes: Annotated[list[ModeOf], Field(max_length=10_000)] = []
    thresholds: ThresholdTable
    tenant_thresholds: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=256)], ThresholdTable], Field(max_length=10_000)
    ] = Field(default_factory=dict)
    """Of tenants that have some of their own."""
    families: FamilyCounts = FamilyCounts()
    signals: dict[str, Consequence] = Field(default_factory=dict)
    credential_max_hours: Annotated[float, Field(gt=0, le=MAX_WHOLE)] = 24
    ends: dict[str, dict[str, End]] = Field(default_factory=dict)
    task_credentials: dict[str, list[str]] = Field(default_factory=dict)
    """The older spelling of ``revoke`` in `ends`."""
    loop_calls: Annotated[int, Field(ge=2, le=64)] = 5
    calm_calls: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 10
    tools: dict[str, Action] = Field(default_factory=dict)
    sensitive: dict[str, bool] = Field(default_factory=dict)
    data_classes: dict[ClassName, list[Annotated[str, Field(min_length=1)]]] = Field(default_factory=dict)
    excerpts: bool = False
    quotes: Quotes = "masked"
    limits: Limits = Limits()
    signatures: Signatures = Signatures()
    attestations: AttestationDemand = AttestationDemand()
    opinions: SecondOpinions = SecondOpinions()
    revocations: Revocations = Revocations()
    alerts_a_day: Annotated[int, Field(ge=1, le=100_000)] | None = None
    amounts: Amounts = Amounts()
    credentials: Credentials = Credentials()
    expected_calls: Annotated[list[ExpectedCalls], Field(max_length=10_000)] = []

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without what was looked up for the original."""
        copied = super().model_copy(update=update, deep=deep)
        for name, member in vars(type(self)).items():
            if isinstance(member, cached_property):
                vars(copied).pop(name, None)
        return copied

    @property
    def says(self) -> PolicySays:
        """Its word on tools."""
        return PolicySays(self.tools, self.sensitive)

    @cached_property
    def _handled(self) -> dict[str, list[str]]:
        handled: dict[str, list[str]] = {}
        for name, tools in self.data_classes.items():
            for tool in tools:
                handled.setdefault(tool, []).append(name)
        return handled

    def data_classes_of(self, tools: Set[str]) -> list[str]:
        """The classes of data that any of `tools` handles, in order of their names.

        A tool is listed as agents call it, or without what an MCP client puts before it (``mcp__server__``).
        """
        handled = self._handled
        if not handled:
            return []
        listed = (handled.get(tool) or handled.get(_SERVED.sub("", tool)) or [] for tool in tools)
        return sorted({name for names in listed for name in names})

    @field_validator("modes")
    @classmethod
    def _say_one_thing(cls, modes: list[ModeOf]) -> list[ModeOf]:
        if len({(of.tenant, of.agent) for of in modes}) < len(modes):
            raise ValueError("two rows are for the same tenant and agent; keep one")
        return modes

    @cached_property
    def _modes(self) -> dict[tuple[str | None, str | None], str]:
        return {(of.tenant, of.agent): of.mode for of in self.modes}

    def enforces(self, tenant: str, agent: str | None) -> bool:
        """Whether what is decided of an agent has an effect: by its own row in its tenant, else its own, its tenant's, or the rest's."""
        rows = ((tenant, agent), (None, agent), (tenant, None)) if self.modes else ()
        return next((self._modes[row] for row in rows if row in self._modes), self.mode) == "enforce"

    def at_end(self, broker: str, kind: str) -> End:
        """What the end of a session means to credentials of a broker and kind."""
        listed: End = "revoke" if kind in self.task_credentials.get(broker, ()) else "release"
        return self.ends.get(broker, {}).get(kind, listed)

    @cached_property
    def _expected(self) -> dict[tuple[str, str], list[ExpectedCalls]]:
        expected: dict[tuple[str, str], list[ExpectedCalls]] = {}
        # In one order however the file has them, since decisions tell it.
        for each in sorted(self.expected_calls, key=lambda row: dumps(row.model_dump(mode="json"))):
            expected.setdefault((each.agent, each.tool), []).append(each)
        return expected

    def expected(self, tenant: str, agent: str | None, tool: str, now_ms: int) -> list[ExpectedCalls]:
        """What holds for calls of a tool by an agent at a moment, whatever their arguments."""
        if not self.expected_calls or agent is None:
            return []
        bare = _SERVED.sub("", tool)
        listed = [
            each for name in dict.fromkeys((tool, bare)) for each in self._expected.get((agent, name), ())
        ]
        return [each for each in listed if each.tenant in (None, tenant) and now_ms < each.until_ms]

    @property
    def silenced(self) -> list[str]:
        """Signals that lead to nothing by themselves though this policy has lists for them."""
        lists = {
            "scope.data_class_not_allowed": self.data_classes,
            "identity.credential_beyond_scope": self.credentials.scopes,
        }
        return [name for name, listed in lists.items() if listed and self.signals.get(name, "none") == "none"]

    @property
    def mode_told(self) -> str:
        """The mode, and for how many another one holds."""
        return f"{self.mode} ({len(self.modes)} tenants or agents otherwise)" if self.modes else self.mode

    @property
    def digest(self) -> str:
        """Identity of the policy's content, comments and order apart."""
        content = self.model_dump(mode="json")
        # A policy that leaves younger fields at their defaults is the one it was before there were any.
        if self.signatures == Signatures():
            del content["signatures"]
        if self.attestations == AttestationDemand():
            del content["attestations"]
        if self.opinions == SecondOpinions():
            del content["opinions"]
        if self.revocations == Revocations():
            del content["revocations"]
        else:
            for younger in ("confirm_minutes", "overall"):
                if content["revocations"][younger] is None:
                    del content["revocations"][younger]
        content["expected_calls"].sort(key=dumps)
        if self.alerts_a_day is None:
            del content["alerts_a_day"]
        if self.quotes == "masked":
            del content["quotes"]
        if self.amounts == Amounts():
            del content["amounts"]
        if self.credentials == Credentials():
            del content["credentials"]
        else:
            content["credentials"] = self.credentials.model_dump(mode="json", exclude_defaults=True)
        if not self.credentials.scopes:  # without lists it never speaks
            content["signals"].pop("identity.credential_beyond_scope", None)
        content["modes"].sort(key=dumps)
        # However it is spelled, one meaning is one policy; `release` is what no word means.
        said = [(broker, kind, end) for broker, of in self.ends.items() for kind, end in of.items()]
        for broker, kind in sorted((broker, kind) for broker, kind, end in said if end == "revoke"):
            kinds = content["task_credentials"].setdefault(broker, [])
            if kind not in kinds:
                kinds.append(kind)
        content["data_classes"] = {name: sorted(set(tools)) for name, tools in self.data_classes.items()}
        content["ends"] = sorted((broker, kind) for broker, kind, end in said if end == "nothing")
        for younger in (
            "tenant_thresholds",
            "expected_calls",
            "modes",
            "sensitive",
            "data_classes",
            "task_credentials",
            "ends",
        ):
            if not content[younger]:
                del content[younger]
        if self.limits.open_mib == Limits().open_mib:
            del content["limits"]["open_mib"]
        return short_hash(dumps(content), size=6)


def load_policy(path: Path | None = None, *, mode: str | None = None) -> Policy:
    """The policy in `path`, or the shipped one; `mode` overrides the file's.

    Raises
    ------
    ConfigError
        With the line and the mend.
    """
    return parse_policy(*read_policy(path), mode=mode)


def read_policy(path: Path | None = None) -> tuple[str, str]:
    """Text of the policy in `path`, or of the shipped one, and what errors call it; raises as `load_policy` does."""
    name = str(path) if path is not None else "policy.yaml"
    try:
        return (path or resources.files("stream") / "policy.yaml").read_text(), name
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the policy {name} cannot be read: {error}") from error


def parse_policy(text: str, name: str, *, mode: str | None = None) -> Policy:
    """The policy in `text`; see `load_policy`."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except ValueError as error:
        raise ConfigError(
            f"{name}: a date or a number in it is none: {error}; write dates as 2026-06-30"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"{name}{line}: not YAML: {getattr(error, 'problem', error)}; check the indentation"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f"{name}, line 1: a policy is a mapping; start from the shipped policy.yaml")
    _check_said_once(tree, name)
    if mode is not None:
        document |= {"mode": mode, "modes": []}  # for everybody
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        raise _refusal(error, tree, name) from error
    _check_signals(policy, tree, name)
    _check_expected(policy, tree, name)
    _check_ends(policy, tree, name)
    return policy


_EXPECTED = {
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "date_type": "a date such as 2026-06-30",
    "string_type": "a text; put it in quotes",
    "invalid_key": "a text; put it in quotes",
}
"""By pydantic's name for what is wrong with a value, what it is to be."""
_NONE = {"a list": "[]", "a mapping": "{}"}


def _refusal(error: ValidationError, tree: yaml.Node | None, name: str) -> ConfigError:
    """The first thing that is wrong with the policy called `name`, where, and the mend."""
    found = error.errors(include_url=False)
    lacking = [str(each["loc"][0]) for each in found if each["type"] == "missing" and len(each["loc"]) == 1]
    if len(lacking) > 1 and not any(each["type"] == "extra_forbidden" for each in found):
        return ConfigError(
            f"{name} is a part of a policy: it has no {', no '.join(lacking)}; change a copy of the whole shipped policy.yaml"
        )
    if len(found) > 1 and "FalsePositiveBudget" in found[0]["loc"] and found[0]["type"] == "model_type":
        del found[0]  # it is no budget, so it was to be a number
    # What is misspelt first: it is why another is missing.
    first = min(found, key=lambda each: each["type"] != "extra_forbidden")
    unseen = ("FalsePositiveBudget", "constrained-float", "[key]")
    place = [p for p in first["loc"] if not (isinstance(p, str) and p in unseen)]
    at = printable(".".join(str(p) for p in place))
    return ConfigError(f"{name}, line {_line(tree, place)}: {at}: {_problem(first)}")


def _problem(error: ErrorDetails) -> str:
    """What is wrong with a value, and the mend."""
    expected = _EXPECTED.get(error["type"])
    if expected == "a number" and not {"thresholds", "tenant_thresholds"}.isdisjoint(error["loc"]):
        expected = "a number from 0 to 1, or a budget such as {budget: 0.01}"
    if error["type"] == "extra_forbidden":
        return "no such setting; remove it or correct its name"
    if error["type"] == "missing":
        return "is missing; add it, as the shipped policy.yaml has it"
    if expected is None:
        return re.sub("^(Input|String|List) should", "it should", error["msg"].removeprefix("Value error, "))
    if error["input"] is not None:
        return f"expected {expected}"
    none = _NONE.get(expected) if error["loc"] != ("thresholds",) else None
    mend = f"; write {none} for none, or leave the line away" if none else ""
    return f"is empty; expected {expected}{mend}"


def _check_said_once(node: yaml.Node | None, name: str) -> None:
    """Raise `ConfigError` where the policy called `name` has a key twice: YAML takes the last, and what stood before would be lost."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_said_once(each, name)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line, told = key.start_mark.line + 1, str(key.value)
            if told in lines and key.tag != "tag:yaml.org,2002:merge":
                raise ConfigError(
                    f"{name}, line {line}: {printable(told)}: stands in line {lines[told]} already; make one of the two"
                )
            lines[told] = line
            _check_said_once(value, name)


def _check_signals(policy: Policy, tree: yaml.Node | None, name: str) -> None:
    """Raise `ConfigError` where the policy called `name` has an unknown signal, or lets content do more than watch."""
    for signal, consequence in policy.signals.items():
        if signal not in BY_ID:
            problem = f"unknown signal {signal}; known are {', '.join(BY_ID)}"
        elif BY_ID[signal].family == "content" and consequence in ("alert", "deny"):
            problem = "content alone may raise watch at most; write watch or none"
        else:
            continue
        raise ConfigError(f"{name}, line {_line(tree, ['signals', signal])}: {problem}")


def _check_expected(policy: Policy, tree: yaml.Node | None, name: str) -> None:
    """Raise `ConfigError` where the policy called `name` expects calls with an unknown signal, or with one that says what came of another call."""
    for n, each in enumerate(policy.expected_calls):
        for m, signal in enumerate(each.lets_pass):
            if signal == SCORE or (signal in BY_ID and signal not in FOLLOWS):
                continue
            problem = (
                "it says what came of an earlier call; let that one pass"
                if signal in BY_ID
                else f"unknown signal; known are {SCORE}, {', '.join(BY_ID)}"
            )
            line = _line(tree, ["expected_calls", n, "lets_pass", m])
            raise ConfigError(f"{name}, line {line}: {printable(signal)}: {problem}")


def _check_ends(policy: Policy, tree: yaml.Node | None, name: str) -> None:
    """Raise `ConfigError` where the policy called `name` says two things of one kind of credential."""
    for broker, kinds in policy.task_credentials.items():
        for kind in kinds:
            if (end := policy.at_end(broker, kind)) != "revoke":
                raise ConfigError(
                    f"{name}, line {_line(tree, ['ends', broker, kind])}: ends.{broker}.{kind}: {end} here, but revoke by "
                    "task_credentials, its older spelling; strike the kind from one of them"
                )


def _line(node: yaml.Node | None, path: Sequence[int | str]) -> int:
    """Line of the deepest part of `path` that stands in the file."""
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if match is None:
                break
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


class Levels(NamedTuple):
    """Thresholds in units of 0.0001."""

    watch: int
    alert: int
    revoke: int

    def as_scores(self) -> dict[str, float]:
        """What decisions show of them: scores between 0 and 1, by level."""
        return {"watch": self.watch / UNITS, "alert": self.alert / UNITS, "revoke": self.revoke / UNITS}


def levels(policy: Policy, threshold: Callable[[float], int], tenant: str | None = None) -> Levels:
    """The policy's thresholds as numbers; `threshold` maps a false-positive budget to one (the manifest).

    With a `tenant` those of its own, where it has some.
    """
    own = policy.tenant_thresholds.get(tenant) if tenant is not None else None

    def number(level: Threshold) -> int:
        """The level in units of 0.0001."""
        return threshold(level.budget) if isinstance(level, FalsePositiveBudget) else round(level * 10_000)

    table, section = (
        (own, f"tenant_thresholds.{printable(str(tenant))}")
        if own is not None
        else (policy.thresholds, "thresholds")
    )
    numbers = Levels(number(table.watch), number(table.alert), number(table.revoke))
    if not numbers.watch <= numbers.alert <= numbers.revoke:
        raise ConfigError(
            f"policy {policy.name}: thresholds must rise from watch to alert to revoke, but are "
            f"{numbers.watch / 10_000:.4f}, {numbers.alert / 10_000:.4f}, {numbers.revoke / 10_000:.4f} with this model; "
            f"mend the section `{section}`"
        )
    return numbers
