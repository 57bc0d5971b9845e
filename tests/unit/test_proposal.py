"""A proposal lets its case pass, says for whom it would hold, and tells what else it would have silenced; it never applies anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.contracts import CredentialRef
from models.errors import ConfigError
from models.text.secrets import digested
from stream.cli.main import app
from stream.offline.proposal import (
    EXCEPTED,
    Case,
    Judged,
    Reason,
    backtest,
    proposal,
    with_exception,
    with_expected,
    with_tool,
)
from stream.offline.recorded import TENANT
from stream.policy import load_policy, parse_policy, read_policy
from tests import builders as b

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
EXPIRED, LONG_LIVED, BY_SCORE = (
    SAMPLES / name
    for name in (
        "30-cloud-expired-credential.jsonl",
        "31-code-long-lived-credential.jsonl",
        "32-support-unknown-tool.jsonl",
    )
)
OTHER = SAMPLES / "43-cloud-borrowed-credential.jsonl"
BORROWED = "fc703779c12ac2a9ac0840e1a4fff5c4"
GIVEN = ("--by", "ada@acme.example", "--comment", "known: see ticket 7", "--until", "2031-12-31")
ENTRY = '{broker: "b", kind: "k", value: "v", owner: "o", reason: "r", expires: 2031-12-31}'


def case_of(sample: Path, policy: Path | None = None) -> str:
    environment = {"DRIFTLINE_POLICY_PATH": str(policy)} if policy is not None else {}
    lines = CliRunner().invoke(app, ["replay", str(sample)], env=environment).stdout.splitlines()
    return next(
        str(decision["case_id"])
        for decision in map(json.loads, lines)
        if decision["verdict"] in ("alert", "deny", "revoke")
    )


def propose(case: str, *files: Path, policy: Path | None = None, more: tuple[str, ...] = ("--json",)) -> Any:
    logs = [part for file in files for part in ("--log", str(file))]
    environment = {"DRIFTLINE_POLICY_PATH": str(policy)} if policy is not None else {}
    return CliRunner().invoke(app, ["feedback", case, "--propose", *GIVEN, *logs, *more], env=environment)


def patched(diff: str, policy: Path) -> str:
    """The policy with the diff applied by `patch` itself."""
    if shutil.which("patch") is None:
        pytest.skip("patch is not installed: the diff was not applied by it")
    copied = policy.with_name("patched.yaml")
    copied.write_text(policy.read_text())
    subprocess.run(["patch", "-s", str(copied)], input=diff, text=True, check=True)
    return copied.read_text()


def nameless(sample: Path, folder: Path) -> Path:
    """The sample, its agent without a name: no call can be expected of it."""
    events = [json.loads(line) for line in sample.read_text().splitlines()]
    path = folder / sample.name
    path.write_text(
        "".join(
            json.dumps({**event, **({"agent": {}} if "agent" in event else {})}) + "\n" for event in events
        )
    )
    return path


def test_the_case_s_calls_are_expected_of_its_agent_with_their_values_until_the_last_day(
    tmp_path: Path,
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(read_policy()[0])
    told = json.loads(propose(case_of(BY_SCORE), BY_SCORE, OTHER, policy=policy).stdout)
    assert told["ends_by_itself"] is True
    assert told["scope"] == (
        "export_customer_table called with the values listed by the agent support-assistant of acme, and scope.action_not_allowed, score alone"
    )
    changed = parse_policy(patched(told["diff"], policy), "p")
    (row,) = changed.expected_calls
    assert (row.tenant, row.agent, row.tool) == ("acme", "support-assistant", "export_customer_table")
    assert row.arguments == {"destination": ["https://drop.example.net/in"]}
    assert (row.owner, row.reason, str(row.expires)) == GIVEN[1::2]
    assert changed.model_copy(update={"expected_calls": []}) == load_policy(policy)
    assert told["backtest"]["sessions"] == [2, 1]
    assert policy.read_text() == read_policy()[0]
    # Run out before the session began it lets nothing pass; for a score there is no wider word.
    late = propose(case_of(BY_SCORE), BY_SCORE, policy=policy, more=("--until", "2020-01-01"))
    assert late.exit_code == 1
    assert "--until 2020-01-01" in late.stderr
    assert "2026-03-02" in late.stderr


def test_a_row_lists_each_destination_of_the_call_not_only_the_one_that_evidence_cites(
    tmp_path: Path,
) -> None:
    sample = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
    policy = tmp_path / "policy.yaml"
    policy.write_text(read_policy()[0])
    told = json.loads(propose(case_of(sample), sample, policy=policy).stdout)
    changed = tmp_path / "changed.yaml"
    changed.write_text(patched(told["diff"], policy))
    (row,) = [
        each
        for each in parse_policy(changed.read_text(), "p").expected_calls
        if each.tool == "create_payment"
    ]
    assert row.arguments == {"account": ["operating"], "iban": ["GB33BUKB20201555555555"]}
    # Another account gets the money: the row does not let that pass.
    events = [json.loads(line) for line in sample.read_text().splitlines()]
    for event in events:
        if event.get("tool") == "create_payment":
            event["arguments"]["iban"] = "DE02120300000000202051"
    moved = tmp_path / "moved.jsonl"
    moved.write_text("".join(json.dumps(event) + "\n" for event in events))
    environment = {"DRIFTLINE_POLICY_PATH": str(changed)}
    verdicts = {
        name: [
            json.loads(line)["verdict"]
            for line in CliRunner().invoke(app, ["replay", str(of)], env=environment).stdout.splitlines()
            if json.loads(line)["tool"] == "create_payment"
        ]
        for name, of in (("same", sample), ("moved", moved))
    }
    assert verdicts == {"same": ["allow"], "moved": ["revoke"]}


@pytest.mark.parametrize("other", [{"call_id": 5}, {"session_id": "another"}, {"tenant": "globex"}])
def test_an_event_that_only_bears_the_call_s_id_puts_no_value_into_the_policy(
    other: dict[str, Any], tmp_path: Path
) -> None:
    lines = BY_SCORE.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "export_customer_table" in line and "tool.called" in line)
    forged = json.loads(lines[at]) | other
    forged["arguments"] = {"destination": ["https://drop.example.net/in", "https://evil.example.net/x"]}
    events = tmp_path / "events.jsonl"
    events.write_text("".join(f"{line}\n" for line in (*lines[:at], json.dumps(forged), *lines[at:])))
    done = propose(case_of(BY_SCORE), events)
    assert done.exit_code == 0, done.stderr
    assert "evil.example.net" not in done.stdout
    assert "drop.example.net" in done.stdout


def test_a_signal_of_one_agent_s_tool_is_proposed_before_the_signal_of_all() -> None:
    told = json.loads(propose(case_of(EXPIRED), EXPIRED).stdout)
    assert told["scope"].startswith(
        "restart_service, get_metrics called by the agent operations-assistant of acme, and identity.credential_expired"
    )
    assert "score" not in told["scope"]


def test_a_signal_for_everybody_is_proposed_with_its_reason_owner_and_price(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(read_policy()[0])
    expired = nameless(EXPIRED, tmp_path)
    case = case_of(expired)
    done = propose(case, expired, OTHER, policy=policy)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["scope"].startswith("all tenants, agents and tools")
    assert told["ends_by_itself"] is False
    changed = patched(told["diff"], policy)
    assert parse_policy(changed, "p").signals == load_policy(policy).signals | {
        "identity.credential_expired": "watch"
    }
    (line,) = [line for line in changed.splitlines() if case in line]
    for word in (
        "acme",
        "agent unnamed",
        "restart_service",
        "known: see ticket 7",
        "ada@acme.example",
    ):
        assert word in line
    tested = told["backtest"]
    assert (tested["sessions"], tested["of_others"], tested["attacks"]) == ([2, 1], [], [])
    assert {each["session_id"] for each in tested["silenced"]} == {"cloud-expired-credential"}
    assert policy.read_text() == read_policy()[0]


def test_a_long_lived_credential_is_excepted_alone_and_until_its_day(tmp_path: Path) -> None:
    text = read_policy()[0].replace("credential_long_lived: watch", "credential_long_lived: alert")
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    told = json.loads(propose(case_of(LONG_LIVED, policy), LONG_LIVED, policy=policy).stdout)
    assert told["ends_by_itself"] is True
    changed = parse_policy(patched(told["diff"], policy), "p")
    (exception,) = changed.credentials.exceptions
    assert (exception.broker, exception.kind, exception.owner) == ("forge", "jti", "ada@acme.example")
    assert str(exception.expires) == "2031-12-31"
    assert changed.signals == parse_policy(text, "p").signals
    # Run out before the session began: it lets nothing pass, and what is left is the signal for everybody.
    late = ["--until", "2020-01-01", "--json"]
    wide = json.loads(
        propose(case_of(LONG_LIVED, policy), LONG_LIVED, policy=policy, more=tuple(late)).stdout
    )
    assert wide["ends_by_itself"] is False


def test_a_case_by_score_of_an_agent_without_a_name_has_no_proposal_and_the_command_says_what_there_is(
    tmp_path: Path,
) -> None:
    by_score = nameless(BY_SCORE, tmp_path)
    done = propose(case_of(by_score), by_score)
    assert done.exit_code == 1
    assert "calls are expected of an agent with a name" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("value", ["x" * 257, "ghp_" + "a1B2" * 9])
def test_a_value_that_nobody_would_review_or_write_down_binds_no_score(value: str, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text(
        BY_SCORE.read_text().replace("https://drop.example.net/in", f"https://drop.example.net/{value}")
    )
    done = propose(case_of(events), events, more=())
    assert done.exit_code == 1
    assert value not in done.stdout + done.stderr


def test_what_else_falls_silent_is_named_and_an_attack_by_its_label(tmp_path: Path) -> None:
    twin = tmp_path / "twin.jsonl"
    twin.write_text(EXPIRED.read_text().replace("cloud-expired-credential", "cloud-expired-twin"))
    done = propose(case_of(EXPIRED), EXPIRED, twin, more=())
    assert done.exit_code == 0, done.stderr
    assert "beside this case: 1 (cloud-expired-twin)" in done.stdout
    assert done.stdout.count("deny today, unlabelled") == 4

    alarms = {(TENANT, name, 0): {"tool": "t", "verdict": "alert"} for name in ("one", "two", "three")}
    kept = {place: call for place, call in alarms.items() if place[1] == "three"}
    labels = {"one": "benign", "two": "hijacked", "three": "hijacked"}
    case = Case(TENANT, "one", "one", "a")
    found = backtest(Judged(alarms, n_calls=9), Judged(kept, n_calls=9), case, labels)
    assert found.attacks == found.of_others == ["two"]
    assert found.sessions_silenced == {"benign": 1, "hijacked": 1}
    assert [each["label"] for each in found.silenced] == ["benign", "hijacked"]


def test_a_case_that_the_files_do_not_hold_and_what_is_missing_are_told() -> None:
    unknown = propose("nothing", EXPIRED)
    assert unknown.exit_code != 0
    assert "no call in these files alerts for a case 'nothing'" in str(unknown.exception)
    for more, why in (
        ((), "--log and --by and --comment and --until"),
        (("--log", "-", *GIVEN), "standard input"),
        (("--log", str(EXPIRED), *GIVEN[:-1], "soon"), "expected a day"),
    ):
        done = CliRunner().invoke(app, ["feedback", BORROWED, "--propose", *more])
        assert isinstance(done.exception, ConfigError)
        assert why in str(done.exception)


@pytest.mark.parametrize(
    "section",
    [
        "",
        "credentials:\n  longest_minutes: {other: 480}  # ours\n",
        "credentials:\n    exceptions:\n    # first\n    - {x: 1}\n\n# after\n",
        "credentials:\n  exceptions:\n    - x: 1\n      y: 2\n  longest_minutes: {other: 480}\n",
    ],
)
def test_an_exception_is_added_and_everything_else_stays(section: str) -> None:
    for text in (f"name: a  # said\n{section}last: 1\n", f"name: a\n{section}".rstrip("\n")):
        before, after = yaml.safe_load(text), yaml.safe_load(with_exception(text, ENTRY))
        entries = after["credentials"].pop("exceptions")
        old = (before.get("credentials") or {}).pop("exceptions", [])
        assert [each for each in entries if each.get("broker") != "b"] == old
        assert len(entries) == len(old) + 1
        before.setdefault("credentials", {})
        assert after == before
        for line in text.splitlines():
            assert line in with_exception(text, ENTRY)


@pytest.mark.parametrize("section", ["credentials: {exceptions: []}", "credentials:\n  exceptions: []"])
def test_what_is_written_in_braces_is_left_to_people(section: str) -> None:
    with pytest.raises(ConfigError, match="add by hand"):
        with_exception(f"name: a\n{section}\n", ENTRY)


WORDS = st.text(min_size=1, max_size=40)


@given(WORDS, WORDS, WORDS, st.booleans())
def test_no_reason_owner_or_credential_writes_policy(reason: str, owner: str, value: str, fits: bool) -> None:
    text = read_policy()[0].replace("credential_long_lived: watch", "credential_long_lived: alert")
    policy = parse_policy(text, "p")
    family, name = EXCEPTED.split(".")
    call = {
        "tenant": "acme",
        "root_session_id": "s",
        "session_id": "s",
        "agent": "",
        "arguments_digest": "e",
        "score": 0.1,
        "thresholds": {"alert": 0.5, "revoke": 0.9},
        "tool": "t\n# d",
        "case_id": "c",
        "credential": None,
        "evidence": [{"family": family, "name": name, "supports": True}],
    }
    before = Judged({("acme", "s", 0): call}, [CredentialRef(broker="b", kind="k", value=value)])
    why = Reason(reason, owner, date(2031, 1, 1))
    made = proposal(text, policy, before, "c", why, lambda of: fits or not of.credentials.exceptions)
    assert made is not None
    changed, plain = parse_policy(made.text, "p"), policy.model_dump()
    if fits:
        (entry,) = changed.credentials.exceptions
        assert (entry.value, entry.reason, entry.owner) == (value, reason, owner)
        assert changed.model_dump() | {"credentials": 0} == plain | {"credentials": 0}
    else:
        assert changed.model_dump() == plain | {"signals": policy.signals | {EXCEPTED: "watch"}}


def test_what_a_tool_does_is_proposed_on_the_word_of_whoever_asks(tmp_path: Path) -> None:
    policy, events = tmp_path / "policy.yaml", tmp_path / "events.jsonl"
    policy.write_text(read_policy()[0])
    declared = b.declared("s", tenant="acme", intent={"text": "Reconcile the ledger.", "actions": ["read"]})
    declared.pop("agent", None)
    called = b.called("s", 1, "run_report", tenant="acme", arguments={})
    events.write_text("".join(json.dumps(event) + "\n" for event in (declared, called)))
    case = case_of(events)
    wide = json.loads(propose(case, events, policy=policy).stdout)
    assert wide["scope"].startswith("all tenants, agents and tools: of the signal scope.action_not_allowed")
    told = json.loads(
        propose(case, events, policy=policy, more=("--json", "--tool", "run_report=read")).stdout
    )
    assert told["scope"].startswith("the tool run_report (read) of all tenants")
    assert parse_policy(patched(told["diff"], policy), "p").tools == {"run_report": "read"}
    assert told["backtest"]["sessions"] == [1, 0]
    # A word that helps nothing is not proposed, and one that is none is refused.
    other = json.loads(propose(case, events, policy=policy, more=("--json", "--tool", "another=read")).stdout)
    assert other["diff"] == wide["diff"]
    wrong = propose(case, events, more=("--tool", "run_report"))
    assert isinstance(wrong.exception, ConfigError)


@settings(max_examples=30)
@given(WORDS, WORDS, WORDS, WORDS, WORDS)
@example("why\x85", "o\u2028", "a: b", "t\n# c", "\x85")
def test_no_reason_owner_agent_tool_or_value_of_an_expected_call_writes_policy(
    reason: str, owner: str, agent: str, tool: str, value: str
) -> None:
    text = read_policy()[0]
    policy = parse_policy(text, "p")
    call = {
        "tenant": "acme",
        "root_session_id": "s",
        "session_id": "s",
        "agent": agent,
        "arguments_digest": "e",
        "score": 0.9,
        "thresholds": {"alert": 0.5, "revoke": 0.9},
        "tool": tool,
        "case_id": "c",
        "credential": None,
        "evidence": [
            {
                "family": "provenance",
                "name": "foreign_destination",
                "supports": True,
                "argument": {"path": "to.0"},
            }
        ],
    }
    before = Judged({("acme", "s", 0): call}, arguments={"e": {"to": [value]}})
    why = Reason(reason, owner, date(2031, 1, 1))
    made = proposal(text, policy, before, "c", why, lambda of: bool(of.expected_calls))
    if made is None:
        assert digested(value) != value
        return
    changed = parse_policy(made.text, "p")
    (row,) = changed.expected_calls
    assert (row.agent, row.tool, row.owner, row.reason, row.arguments) == (
        agent,
        tool,
        owner,
        reason,
        {"to": [value]},
    )
    assert changed.model_copy(update={"expected_calls": []}) == policy


@pytest.mark.parametrize(
    "section",
    [
        "",
        "expected_calls: []  # none yet\n",
        "expected_calls:\n  # the first\n  - {x: 1}\n\n# after\n",
        "expected_calls:\n- x: 1\n  y: 2\n",
    ],
)
def test_an_expected_call_is_added_and_everything_else_stays(section: str) -> None:
    for text in (f"name: a  # said\n{section}last: 1\n", f"name: a\n{section}".rstrip("\n")):
        before, after = yaml.safe_load(text), yaml.safe_load(with_expected(text, "{agent: b}"))
        rows, old = after.pop("expected_calls"), before.pop("expected_calls", [])
        assert [each for each in rows if each.get("agent") != "b"] == old
        assert len(rows) == len(old) + 1
        assert after == before
        for comment in ("# said", "# none yet", "# the first", "# after"):
            assert (comment in text) == (comment in with_expected(text, "{agent: b}"))
    with pytest.raises(ConfigError, match="add by hand"):
        with_expected("expected_calls: [{x: 1}]", "{agent: b}")


@given(
    WORDS,
    st.sampled_from(
        [
            "name: a\n",
            "tools: {}\n  # an example\nlast: 1\n",
            "tools: {}",
            "tools: {x: write}\nlast: 1\n",
            "tools:\n    # said\n    x: write  # why\n    y: read\nlast: 1\n",
        ]
    ),
)
def test_a_tool_is_added_whatever_it_is_called_and_everything_else_stays(tool: str, text: str) -> None:
    before = yaml.safe_load(text)
    after = yaml.safe_load(with_tool(text, tool, "read", "why"))
    assert after.pop("tools") == (before.pop("tools", None) or {}) | {tool: "read"}
    assert after == before
