"""Standing privilege: what was granted, what was used, what may go, and what nothing tells."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from authlib.oauth2.rfc7591 import ClientMetadataClaims
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from stream.cli.main import app
from stream.core.judge import Judge
from stream.events import Record
from stream.offline.privilege_diffs import Names, aws, clients, keycloak, load_names, oauth
from stream.offline.privileges import Agent, Enough, Report, report
from stream.policy import Credentials, Signatures, load_policy
from stream.shell.demo import SAMPLES
from tests import builders as b

DAY_S = 86_400
FORGE = {"broker": "forge", "kind": "jti", "value": "f-1", "scope": "repo:read repo:write"}
SCOPES = {"forge": {"repo:read": ["read_file"], "repo:write": ["send_email"]}}
"""What needs which scope; nothing is said of `search_mail` and `run_shell`."""


def judge(scopes: dict[str, dict[str, list[str]]] | None = None, **policy: Any) -> Judge:
    """A judge that lets everything pass by its score, under the shipped policy, these lists of scopes and fields of `policy`."""
    release = b.release(scorer=b.ConstantScorer(0))
    policy["credentials"] = Credentials(scopes=SCOPES if scopes is None else scopes)
    return b.judge(release._replace(policy=release.policy.model_copy(update=policy)))


def made(values: Iterable[Any], enough: Enough | None = None, **how: Any) -> Report:
    records: list[tuple[Record, int | None]] = [(record, None) for record in b.log(values)]
    return report(records, judge(**how), enough)


def only(values: Iterable[Any], **how: Any) -> Agent:
    """The one agent of a log."""
    (agent,) = made(values, **how).agents.values()
    return agent


def declared(session: str = "s", *credentials: dict[str, Any], **more: Any) -> dict[str, Any]:
    return b.declared(session, agent={"id": "coder"}, credentials=list(credentials or (FORGE,)), **more)


def called(session: str = "s", seq: int = 1, tool: str = "read_file", **more: Any) -> dict[str, Any]:
    more.setdefault("credential", {"broker": "forge", "kind": "jti", "value": "f-1"})
    return b.called(session, seq, tool, **more)


def states(agent: Agent) -> dict[str, str]:
    return {scope: holding.state for (_, _, scope), holding in agent.scopes.items()}


@pytest.mark.parametrize(
    ("call", "read", "write"),
    [
        # A list names the tool, so what it needs is known, whether or not the call names its credential.
        ({"tool": "read_file"}, "used", "unused"),
        ({"tool": "send_email"}, "unused", "used"),
        ({"tool": "send_email", "credential": None}, "unused", "used"),
        # No list names it, and every scope's list is known: it needs none of these.
        ({"tool": "search_mail"}, "unused", "unused"),
        # Another credential than the one declared may be the same one, renewed.
        ({"tool": "send_email", "credential": {**FORGE, "value": "f-2"}}, "unused", "used"),
        # One of another broker is none of this one's.
        (
            {"tool": "send_email", "credential": {"broker": "b", "kind": "jti", "value": "f-2"}},
            "unused",
            "unused",
        ),
    ],
)
def test_the_lists_of_the_policy_tell_which_scope_a_call_used(
    call: dict[str, Any], read: str, write: str
) -> None:
    assert states(only([declared(), called(**call)])) == {"repo:read": read, "repo:write": write}


@pytest.mark.parametrize(
    ("scope", "call", "expected"),
    [
        ("a b", {}, {"a": "unknown", "b": "unknown"}),
        ("a", {}, {"a": "used"}),  # the call names a credential that has this scope alone
        ("a", {"credential": None}, {"a": "unknown"}),  # it may need no credential at all
        ("a b", {"credential": {"broker": "forge", "kind": "jti", "value": "new"}}, {"a": "unknown", "b": "unknown"}),
        ("a a  b", {"credential": {"broker": "b", "kind": "jti", "value": "new"}}, {"a": "unused", "b": "unused"}),
        ('{"Action": "x"}', {"credential": None}, {'{"Action": "x"}': "unknown"}),
        ("a b arn:aws:s3:::bucket", {}, {"a": "unknown", "b": "unknown"}),  # a resource is no scope
    ],
)  # fmt: skip
def test_where_no_list_tells_a_scope_is_unknown_and_never_unused(
    scope: str, call: dict[str, Any], expected: dict[str, str]
) -> None:
    assert states(only([declared("s", {**FORGE, "scope": scope}), called(**call)], scopes={})) == expected


def test_a_scope_whose_tools_are_listed_needs_no_guess_beside_one_whose_tools_are_not() -> None:
    some = {"forge": {"repo:read": ["read_file"]}}
    agent = only([declared(), called(tool="read_file"), called(seq=2, tool="send_email")], scopes=some)
    assert states(agent) == {"repo:read": "used", "repo:write": "unknown"}
    assert agent.unlisted == {("forge", "send_email"): 1}


def test_calls_of_sessions_that_declared_no_credential_may_have_used_any_of_the_agents() -> None:
    bare = b.declared("t", agent={"id": "coder"}, credentials=[])
    values = [
        declared(),
        b.ended("s", 1),
        bare,
        b.called("t", 1, "send_email"),
        b.called("t", 2, "search_mail"),
    ]
    assert states(only(values)) == {"repo:read": "unused", "repo:write": "used"}
    assert states(only(values, scopes={})) == {"repo:read": "unknown", "repo:write": "unknown"}


OTHER = {"broker": "mail", "kind": "jti", "value": "m-1", "scope": "x y"}


def test_a_tool_that_a_list_names_needs_nothing_of_a_broker_that_lists_none() -> None:
    beside = only([declared("s", FORGE, OTHER), called(credential=None)])
    apart = only([
        declared("s", FORGE, OTHER), b.ended("s", 1),
        b.declared("t", agent={"id": "coder"}, credentials=[]), b.called("t", 1),
    ])  # fmt: skip
    for agent in (beside, apart):
        assert states(agent) == {"repo:read": "used", "repo:write": "unused", "x": "unused", "y": "unused"}
    unlisted = only([declared("s", FORGE, OTHER), called(credential=None, tool="run_shell")])
    assert states(unlisted) == {"repo:read": "unused", "repo:write": "unused", "x": "unknown", "y": "unknown"}


def test_sessions_and_days_count_once_however_many_credentials_and_calls_they_have() -> None:
    again = {**FORGE, "value": "f-2"}
    agent = only([declared("s", FORGE, again), called(), called(seq=2), called(seq=3, credential=again)])
    read = agent.scopes["forge", "jti", "repo:read"]
    assert (read.sessions, read.used_in, read.calls) == (1, 1, 3)


def test_of_a_credential_that_outlives_several_tasks_the_longest_rest_is_told() -> None:
    held = {**FORGE, "expires": "2026-01-01T10:00:00Z"}
    values = [declared("s", held), declared("t", held), b.ended("s", 1, at=600), b.ended("t", 1, at=1200)]
    assert only(values).outlives == {("forge", "jti", "f-1"): 3_000_000}


class Marked:
    """Takes what is marked as signed."""

    def signer(self, tenant: str, event: Any, document: Any) -> str | None:
        return "key" if event.signature == "good" else None


def test_where_signatures_are_demanded_what_is_unsigned_grants_nothing() -> None:
    release = b.release(scorer=b.ConstantScorer(0))
    policy = release.policy.model_copy(update={"signatures": Signatures(required=True)})
    strict = b.judge(release._replace(policy=policy))
    strict.deployment = strict.deployment._replace(declarations=Marked())
    intent = {"text": "read notes.txt", "resources": ["notes.txt"], "actions": ["read"]}
    wider = {"text": "and all others", "resources": ["secrets.txt"], "actions": ["write"]}

    def agent(declaration: str, amendment: str) -> Agent:
        values = [
            declared(intent=intent, time=b.rfc3339(b.T0), signature=declaration),
            b.event("intent.amended", seq=1, intent=wider, signature=amendment),
        ]
        records = [(record, None) for record in b.log(values)]
        (found,) = report(records, strict).agents.values()
        return found

    signed, half, none = agent("good", "good"), agent("good", "bad"), agent("bad", "good")
    assert set(signed.named) == {"notes.txt", "secrets.txt"}
    assert signed.granted_actions == {"read", "write"}
    assert (set(half.named), half.granted_actions) == ({"notes.txt"}, {"read"})
    assert (none.name, none.scopes, none.named, none.granted_actions) == (None, {}, {}, set())


def test_calls_that_are_denied_or_come_after_the_end_are_no_use() -> None:
    reading = {"text": "read notes.txt", "actions": ["read"]}
    agent = only([
        declared(intent=reading), called(), called(seq=2, tool="send_email"), b.ended("s", 3), called(seq=4),
    ])  # fmt: skip
    assert agent.calls == 1
    assert agent.not_counted == {"deny": 1, "after_end": 1}
    assert states(agent) == {"repo:read": "used", "repo:write": "unused"}
    assert agent.sessions == 1


def test_what_the_judge_does_not_take_grants_nothing() -> None:
    anything = {"text": "anything", "resources": ["all"], "data_classes": ["all"]}
    again = declared("s", {**FORGE, "value": "f-9", "scope": "admin"}, seq=1, intent=anything)
    duplicate = called(seq=2)
    garbage = b"{"
    report = made([declared(), again, duplicate, duplicate, garbage])
    (agent,) = report.agents.values()
    assert "admin" not in states(agent)
    assert (agent.named, agent.data_classes) == ({}, set())
    assert agent.calls == 1
    assert report.refused == 1


def test_a_report_tells_tools_actions_resources_data_and_lives() -> None:
    lease = {
        **FORGE,
        "issued": "2026-01-01T09:00:00Z",
        "expires": "2026-01-01T09:30:00Z",
        "issued_for_task": True,
    }
    key = {"broker": "forge", "kind": "pat", "value": "p-1", "scope": "repo:read"}
    old = {
        "broker": "forge",
        "kind": "pat",
        "value": "p-2",
        "issued": "2025-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z",
    }
    intent = {
        "text": "read notes.txt", "actions": ["read", "write"],
        "resources": ["Notes.txt", "other.txt"], "data_classes": ["notes"],
    }  # fmt: skip
    values = [declared("s", lease, key, old, intent=intent), called(at=60), b.ended("s", 2, at=120)]
    document = only(values).document(Enough())
    assert document["actions"] == {
        "granted": ["read", "write"], "sessions_without_a_limit": 0, "used": {"read": 1}, "unused": ["write"],
    }  # fmt: skip
    assert document["tools"] == {
        "used": {"read_file": 1},
        "unused": ["run_shell", "search_mail", "send_email"],
        "never_offered": [],
    }
    assert document["resources"] == {"named_by_calls": ["Notes.txt"], "unknown": ["other.txt"]}
    assert document["data_classes"] == {"used": {}, "unused": [], "unknown": ["notes"]}
    jti, pat = document["credentials"]
    assert (jti["life_minutes"]["most"], jti["needed_minutes"], jti["calls"]) == (30.0, 1.0, 1)
    assert (pat["declared"], pat["without_an_end"], pat["needed_minutes"]) == (2, 1, 0.0)
    assert [(row["value"], row["why"]) for row in document["long_lived"]] == [
        ("p-1", "no end was declared"),
        ("p-2", "lives 1,051,200 minutes"),
    ]
    assert [(row["value"], row["minutes_left"] is None) for row in document["outlive_their_task"]] == [
        ("p-1", True),
        ("p-2", False),
    ]
    assert document["least"] == {
        "scopes": [{"broker": "forge", "kind": "jti", "scope": "repo:read"}],
        "undecided_scopes": [], "actions": ["read"], "tools": ["read_file"],
    }  # fmt: skip


def test_tools_that_join_and_actions_that_an_amendment_adds_are_granted_too() -> None:
    intent = {"text": "read notes.txt", "actions": ["read"]}
    wider = {"text": "and mail them", "actions": ["read", "write"]}
    joined = b.event("catalogue.changed", seq=1, tools=[{"name": "pay", "description": "Pay."}])
    amended = b.event("intent.amended", seq=2, intent=wider)
    agent = only([declared(intent=intent), joined, amended, called(seq=3)])
    assert set(agent.offered) == {"read_file", "search_mail", "send_email", "run_shell", "pay"}
    assert agent.granted_actions == {"read", "write"}


def weeks(n: int, **more: Any) -> list[dict[str, Any]]:
    """`n` sessions that read, two a day."""
    return [
        event
        for k in range(n)
        for event in (
            declared(f"s{k}", at=k * DAY_S // 2, **more),
            called(f"s{k}", at=k * DAY_S // 2 + 1),
            b.ended(f"s{k}", 2, at=k * DAY_S // 2 + 2),
        )
    ]


@pytest.mark.parametrize(
    ("sessions", "enough", "may_go"),
    [(3, Enough(), False), (29, Enough(), False), (30, Enough(), True), (30, Enough(30, 16), False), (3, Enough(3, 2), True)],
)  # fmt: skip
def test_an_unused_scope_may_go_only_where_it_rests_on_enough(
    sessions: int, enough: Enough, may_go: bool
) -> None:
    agent = only(weeks(sessions), enough=enough)
    writes, reads = (agent.scopes["forge", "jti", scope] for scope in ("repo:write", "repo:read"))
    assert (writes.sessions, len(writes.days)) == (sessions, (sessions + 1) // 2)
    assert writes.may_go(enough) is may_go
    assert not reads.may_go(enough)
    # Were it needed in that share of sessions, so many in a row without it would be a chance of one in twenty.
    assert (1 - writes.at_most()) ** sessions == pytest.approx(0.05)


# What to apply.


NAMES = {
    "version": 1,
    "brokers": {
        "forge": {
            "provider": "keycloak",
            "realm": "acme",
            "clients": {"coder": "Coder"},
            "roles": {"repo:write": {"client": "forge-api", "role": "write it"}, "repo:read": {"role": "reader"}},
        }
    },
}  # fmt: skip


def names(**forge: Any) -> Names:
    return Names.model_validate({**NAMES, "brokers": {"forge": {**NAMES["brokers"]["forge"], **forge}}})  # type: ignore[index]


def test_what_goes_of_a_client_is_metadata_that_an_authorization_server_takes() -> None:
    found = oauth(clients(made(weeks(30)), "oauth", None))["clients"]
    assert found == [
        {
            "broker": "forge",
            "client_id": None,
            "agents": ["default/coder"],
            "scope": "repo:read",
            "drop": ["repo:write"],
            "undecided": [],
        }
    ]
    served = {"scopes_supported": ["repo:read", "repo:write"]}
    options = ClientMetadataClaims.get_claims_options(served)
    ClientMetadataClaims({"scope": found[0]["scope"]}, {}, options, served).validate()
    (too_little,) = oauth(clients(made(weeks(3)), "oauth", None))["clients"]
    assert too_little["scope"] == "repo:read repo:write"
    assert too_little["drop"] == []


def test_who_shares_a_client_keeps_what_any_of_them_may_need() -> None:
    mailing = [
        declared("t", FORGE, at=0) | {"agent": {"id": "mailer"}},
        called("t", tool="send_email"),
    ]  # fmt: skip
    made_of_both = made([*weeks(30), *mailing])
    apart = clients(made_of_both, "oauth", None)
    assert [client.drop for client in apart] == [{"repo:write"}, set()]
    shared = names(provider="oauth", clients={"coder": "app", "default/mailer": "app"})
    (both,) = clients(made_of_both, "oauth", shared, only="coder")
    assert list(both.agents) == ["default/coder", "default/mailer"]
    assert both.drop == set()
    with pytest.raises(InputError, match="keycloak"):
        clients(made_of_both, "keycloak", shared)


def commands(lines: Iterable[str]) -> list[list[str]]:
    """The commands of a shell script, in words, as a shell reads them."""
    return [shlex.split(line) for line in lines if not line.startswith("#") and line != "set -e"]


def test_lines_for_keycloak_take_roles_from_service_accounts() -> None:
    made_of = made(weeks(30))
    lines = list(keycloak(clients(made_of, "keycloak", names()), names()))
    assert commands(lines) == [
        [
            "kcadm.sh", "remove-roles", "-r", "acme", "--uusername", "service-account-coder",
            "--cclientid", "forge-api", "--rolename", "write it",
        ]
    ]  # fmt: skip


def test_a_role_that_grants_several_scopes_goes_once_and_only_where_all_of_them_may() -> None:
    two = {"forge": {"repo:write": ["send_email"], "shell": ["run_shell"], "repo:read": ["read_file"]}}
    values = [
        e | {"credentials": [{**FORGE, "scope": "repo:read repo:write shell"}]} if "credentials" in e else e
        for e in weeks(30)
    ]
    one = {"role": "acting"}
    for roles, n_commands in (
        ({"repo:write": one, "shell": one}, 1),
        ({"repo:write": one, "shell": one, "repo:read": one}, 0),
    ):
        told = names(roles=roles)
        lines = keycloak(clients(made(values, scopes=two), "keycloak", told), told)
        assert len(commands(lines)) == n_commands


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clients": {}}, "unknown: no client is named for default/coder"),
        ({"roles": {}}, "unknown: no role is named for scope repo:write"),
        (
            {"roles": {"repo:write": {"role": "both"}, "repo:read": {"role": "both"}}},
            "kept: role both of Coder grants repo:write",
        ),
    ],
)
def test_what_nothing_names_at_keycloak_is_a_comment_and_no_command(
    changed: dict[str, Any], said: str
) -> None:
    told = names(**changed)
    lines = list(keycloak(clients(made(weeks(30)), "keycloak", told), told))
    assert commands(lines) == []
    assert any(said in line for line in lines)


def test_a_name_from_the_log_never_becomes_a_command() -> None:
    evil = {**FORGE, "scope": "x\u2028rm;$(reboot) repo:read"}
    told = names(roles={})
    report = made([declared("s", evil), called()], enough=Enough(1, 1))
    report.agents["default", "coder"].name = "a\nrm -rf /"
    assert commands(keycloak(clients(report, "keycloak", told), told)) == []
    dropping = made([declared("s", {**FORGE, "scope": "$(reboot)"}), called(credential=None, tool="run_shell")],
                    enough=Enough(1, 1), scopes={"forge": {"$(reboot)": ["read_file"]}})  # fmt: skip
    role = names(roles={"$(reboot)": {"role": "$(reboot) 'x"}})
    (words,) = commands(keycloak(clients(dropping, "keycloak", role), role))
    assert words[-1] == "$(reboot) 'x"


S3 = {
    "broker": "forge",
    "kind": "jti",
    "value": "f-1",
    "scope": "s3:GetObject s3:PutObject arn:aws:s3:::notes/*",
}
S3_SCOPES = {"forge": {"s3:GetObject": ["read_file"], "s3:PutObject": ["send_email"], "sqs:*": ["run_shell"]}}


def test_a_policy_for_aws_has_the_least_actions_and_iam_takes_it() -> None:
    role = names(provider="aws", clients={"coder": "coder-role"})
    queue = {**S3, "value": "f-2", "scope": "sqs:*"}

    def policy(held: list[dict[str, Any]], sessions: int, enough: Enough | None = None) -> dict[str, Any]:
        values = [e | {"credentials": held} if "credentials" in e else e for e in weeks(sessions)]
        policies, unknown = aws(clients(made(values, enough, scopes=S3_SCOPES), "aws", role))
        assert unknown == []
        return policies["coder-role"]  # type: ignore[no-any-return]

    notes = ["arn:aws:s3:::notes/*"]
    least = policy([S3, queue], 30)
    assert least == {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": notes}],
    }
    kept = policy([S3, queue], 3)  # too little to go by
    assert kept["Statement"] == [
        {"Effect": "Allow", "Action": ["sqs:*"], "Resource": ["*"]},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": notes},
    ]
    none = policy([{**queue, "value": "f-1"}], 3, Enough(1, 1))
    assert none["Statement"] == [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
    with mock_aws():
        iam = boto3.client("iam", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        for n, document in enumerate([least, kept, none]):
            taken = iam.create_policy(PolicyName=f"p{n}", PolicyDocument=json.dumps(document))
            assert taken["Policy"]["Arn"].endswith(f"p{n}")
        with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
            iam.create_policy(PolicyName="bad", PolicyDocument='{"Version": "2012-10-17", "Statement": [{}]}')


@pytest.mark.parametrize(
    ("more", "call", "why"),
    [
        ([{**S3, "value": "f-2", "scope": "odd"}], {}, "odd is no IAM action"),
        ([{**S3, "value": "f-2", "scope": None}], {}, "not all scopes were declared"),
        ([], {"credential": {**FORGE, "value": "f-9"}}, "not all scopes were declared"),
    ],
)
def test_where_not_all_that_is_held_is_known_nothing_is_written_that_would_take_it_away(
    more: list[dict[str, Any]], call: dict[str, Any], why: str
) -> None:
    values = [e | {"credentials": [S3, *more]} if "credentials" in e else e for e in weeks(3)]
    values.insert(1, called("s0", 9, **call))
    report = made(values, scopes=S3_SCOPES)
    assert aws(clients(report, "aws", names(provider="aws"))) == ({}, [f"Coder: {why}"])
    (client,) = oauth(clients(report, "oauth", None))["clients"]
    assert (client["scope"] is None) is (why != "odd is no IAM action")


def test_an_agent_that_shares_a_client_and_is_not_in_the_log_may_need_all() -> None:
    shared = names(clients={"coder": "Coder", "default/nightly": "Coder"})
    (client,) = clients(made(weeks(30)), "keycloak", shared)
    assert (client.drop, client.undecided) == (set(), {"repo:write"})
    assert commands(keycloak([client], shared)) == []


def test_a_call_with_a_credential_without_a_scope_may_have_used_any_of_its_broker() -> None:
    bare = {**FORGE, "value": "f-2", "scope": None}
    named = {"broker": "forge", "kind": "jti", "value": "f-2"}
    for credential in (named, None):
        values = [
            declared("s", FORGE),
            declared("t", bare),
            called("t", tool="send_email", credential=credential),
        ]
        assert states(only(values)) == {"repo:read": "unused", "repo:write": "used"}
        assert states(only(values, scopes={})) == {"repo:read": "unknown", "repo:write": "unknown"}


def test_names_that_are_wrong_are_refused_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    file.write_text(json.dumps(NAMES), encoding="utf-8")
    assert load_names(file) == names()
    for text, said in (
        ("version: 1\nbrokers: {forge: {provider: azure}}", r"brokers\.forge\.provider"),
        ("version: 1\nbrokers: {forge: {provider: aws, role: {}}}", r"brokers\.forge\.role"),
        ("[", "YAML"),
        ("", "the file"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            load_names(file)


# The command.


def run(*arguments: str, policy: Path | None = None) -> Any:
    files = [str(path) for path in sorted(SAMPLES.glob("*-code-*.jsonl"))]
    told = {"COLUMNS": "200"} | ({"DRIFTLINE_POLICY_PATH": str(policy)} if policy else {})
    return CliRunner().invoke(app, ["privileges", *files, *arguments], env=told)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy and which tools of the forge need which scope."""
    lists = {
        "repo:read": ["list_issues", "get_issue", "search_code", "read_file"],
        "repo:write": ["commit_file", "open_pull_request", "comment_on_issue", "add_collaborator"],
        "pipeline:read": ["get_secret"],
    }
    shipped = (SAMPLES.parent / "policy.yaml").read_text(encoding="utf-8")
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text(f"{shipped}\ncredentials: {json.dumps({'scopes': {'forge': lists}})}\n", encoding="utf-8")
    return file


def test_the_command_shows_a_table_json_and_what_may_go(policy: Path) -> None:
    shown = run(policy=policy)
    assert shown.exit_code == 0, shown.output
    for text in ("code-assistant of acme: 6 sessions on 1 day, ", "repo:write", "lives 5,258,880 minutes"):
        assert text in shown.stdout
    document = json.loads(run("--json", "--agent", "code-assistant", policy=policy).stdout)
    (agent,) = document["agents"]
    assert {row["scope"]: row["state"] for row in agent["scopes"]} == {
        "pipeline:read": "used",
        "repo:read": "used",
        "repo:write": "used",
    }
    undecided = json.loads(run("--json", "--agent", "code-assistant").stdout)["agents"][0]
    assert {row["state"] for row in undecided["scopes"]} == {"unknown"}
    (client,) = json.loads(run("--as", "oauth", "--agent", "code-assistant", policy=policy).stdout)["clients"]
    assert client["scope"] == "pipeline:read repo:read repo:write"


def test_a_log_in_parts_is_read_as_one_and_what_stands_in_two_parts_counts_once(tmp_path: Path) -> None:
    values = [(0, declared()), (1, called()), (2, called(seq=2, at=2)), (3, b.ended("s", 3, at=3))]
    records = b.stamped(values)
    parts = [tmp_path / f"{n}.jsonl" for n in range(2)]
    for part, some in zip(parts, (records[:2], records[1:]), strict=True):
        part.write_bytes(b.as_log_lines(some))
    done = CliRunner().invoke(app, ["privileges", *map(str, parts), "--json"])
    (agent,) = json.loads(done.stdout)["agents"]
    assert (agent["agent"], agent["sessions"], agent["calls"]) == ("coder", 1, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as", "ldap"), "oauth, keycloak, aws"),
        (("--as", "keycloak"), "--names"),
        (("--agent", "nobody"), "its agents are 'code-assistant', 'desk-assistant'"),
        (("--as", "aws", "--names", "/nowhere.yaml"), "/nowhere.yaml cannot be read: No such file"),
        (("--names", "/nowhere.yaml"), "say with --as what, oauth, keycloak, aws"),
        (("--as", "oauth", "--json"), "--json and --as exclude each other"),
    ],
)
def test_a_wrong_option_is_refused_with_the_mend(arguments: tuple[str, ...], said: str) -> None:
    assert said in str(run(*arguments).exception)


@pytest.mark.parametrize("form", ["aws", "keycloak", "oauth"])
def test_an_agent_of_whom_nothing_is_to_be_applied_is_said_to_be_one(form: str, tmp_path: Path) -> None:
    other = {**FORGE, "broker": "other"}
    values = [declared(), b.declared("t", agent={"id": "clerk"}, credentials=[other])]
    log, names = tmp_path / "log.jsonl", tmp_path / "names.yaml"
    log.write_bytes(b.as_log_lines(b.log(values)))
    names.write_text(f"{{version: 1, brokers: {{forge: {{provider: {form}}}}}}}", encoding="utf-8")
    done = CliRunner().invoke(
        app, ["privileges", str(log), "--as", form, "--names", str(names), "--agent", "clerk"]
    )
    assert done.exit_code == 0, done.output
    assert (
        f"nothing for clerk: it declared no credential of a broker that --names calls {form}" in done.stderr
    )


def test_an_agent_without_a_role_at_aws_is_told_as_one(tmp_path: Path) -> None:
    log, names = tmp_path / "log.jsonl", tmp_path / "names.yaml"
    log.write_bytes(b.as_log_lines(b.log([declared()])))
    names.write_text("{version: 1, brokers: {forge: {provider: aws}}}", encoding="utf-8")
    done = CliRunner().invoke(app, ["privileges", str(log), "--as", "aws", "--names", str(names)])
    assert "--names has no role for default/coder at forge: add it to clients" in done.stderr


def test_one_of_something_is_told_as_one_and_all_durations_in_minutes(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ends = {"issued": "2026-01-01T00:00:00Z", "expires": "2026-01-03T00:00:00Z"}
    log.write_bytes(b.as_log_lines(b.log([declared("s", {**FORGE, **ends}), called(), {"type": "odd"}])))
    done = CliRunner().invoke(app, ["privileges", str(log)], env={"COLUMNS": "200"})
    assert "1 session on 1 day, 1 call (0 alerted on)" in done.stdout
    assert "(lives 2,880 minutes; needed for 0 minutes)" in done.stdout
    assert "lives 2,880 minutes" in done.stdout
    assert " hours" not in done.stdout
    assert "1 record was refused and counts for nothing" in done.stderr


def test_a_policy_that_says_nothing_of_credentials_is_the_one_it_was(policy: Path, tmp_path: Path) -> None:
    shipped = (SAMPLES.parent / "policy.yaml").read_text(encoding="utf-8")
    (tmp_path / "empty.yaml").write_text(f"{shipped}\ncredentials: {{}}\n", encoding="utf-8")
    assert load_policy(tmp_path / "empty.yaml").digest == load_policy().digest
    assert load_policy(policy).digest != load_policy().digest


# Laws.


TOOLS = ["read_file", "search_mail", "send_email", "run_shell"]
WORDS = ["a", "b", "c", "d"]
_credential = st.builds(
    lambda n, scope: {"broker": f"b{n % 2}", "kind": "jti", "value": f"v{n}", "scope": " ".join(scope)},
    st.integers(0, 3),
    st.lists(st.sampled_from(WORDS), max_size=3),
)
_lists = st.dictionaries(
    st.sampled_from(["b0", "b1"]),
    st.dictionaries(st.sampled_from(WORDS), st.lists(st.sampled_from(TOOLS), max_size=2)),
)


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Sessions of two agents that declare some credentials and call some tools with some of them, or others."""
    values = []
    for n in range(draw(st.integers(1, 4))):
        session, agent = f"s{n}", f"a{draw(st.integers(0, 1))}"
        held = draw(st.lists(_credential, max_size=3, unique_by=lambda each: each["value"]))
        actions = draw(st.none() | st.lists(st.sampled_from(["read", "write", "execute"]), min_size=1))
        intent = {"text": "read notes.txt"} | ({"actions": actions} if actions is not None else {})
        values.append(b.declared(session, agent={"id": agent}, credentials=held, intent=intent))
        for k in range(draw(st.integers(0, 4))):
            named = draw(st.none() | st.sampled_from(held or [None]) | _credential)
            values.append(b.called(session, k + 1, draw(st.sampled_from(TOOLS)), credential=named))
    return values


@settings(max_examples=25)
@given(logs(), _lists)
def test_the_least_is_a_part_of_what_was_granted(
    values: list[dict[str, Any]], lists: dict[str, dict[str, list[str]]]
) -> None:
    granted: dict[str, set[tuple[str, str]]] = {}
    for event in values:
        if event["type"] == "session.declared":
            mine = granted.setdefault(event["agent"]["id"], set())
            mine |= {(c["broker"], word) for c in event["credentials"] for word in c["scope"].split()}
    found = made(values, Enough(1, 1), scopes=lists)
    for agent in found.agents.values():
        document = agent.document(found.enough)
        told = {state: {(s[0], s[2]) for s, h in agent.scopes.items() if h.state == state}
                for state in ("used", "unused", "unknown")}  # fmt: skip
        assert told["used"] | told["unused"] | told["unknown"] == granted[agent.name or ""]
        least = {(row["broker"], row["scope"]) for row in document["least"]["scopes"]}
        assert least == told["used"]
        assert set(document["least"]["actions"]) <= set(document["actions"]["granted"])
        assert set(document["least"]["tools"]) <= set(TOOLS)
        assert {(r["broker"], r["scope"]) for r in document["scopes"] if r["may_go"]} == told["unused"]


@settings(max_examples=25)
@given(logs(), _lists)
def test_a_scope_that_may_go_is_needed_by_no_call_that_counts(
    values: list[dict[str, Any]], lists: dict[str, dict[str, list[str]]]
) -> None:
    """Told by decisions alone, without the report's own bookkeeping."""
    found = made(values, Enough(1, 1), scopes=lists)
    agents = {e["session_id"]: e["agent"]["id"] for e in values if e["type"] == "session.declared"}
    for decision in b.Run(judge(lists)).feed(b.log(values)).decisions:
        if decision["verdict"] in ("deny", "revoke"):
            continue
        agent = found.agents["default", agents[decision["session_id"]]]
        broker = None if decision["credential"] is None else decision["credential"].split("/")[0]
        for (name, _, scope), holding in agent.scopes.items():
            tools = lists.get(name, {}).get(scope)
            needs = tools is not None and decision["tool"] in tools
            assert not (
                needs
                and broker == name
                and holding.may_go(found.enough)
                and _had(values, decision, name, scope)
            )


@settings(max_examples=30)
@given(logs(), _lists)
def test_sessions_that_are_granted_the_least_show_nothing_new_of_scope_and_identity(
    values: list[dict[str, Any]], lists: dict[str, dict[str, list[str]]]
) -> None:
    """Of the calls that counted, where each credential keeps what was used or is unknown, and each intent the actions used."""
    found = made(values, scopes=lists)
    least = []
    for event in values:
        if event["type"] == "session.declared":
            agent = found.agents["default", event["agent"]["id"]]
            kept = [
                c | {"scope": " ".join(w for w in c["scope"].split() if _stays(agent, c, w))}
                for c in event["credentials"]
            ]
            intent = dict(event["intent"])
            if agent.actions:
                intent["actions"] = [
                    a for a in intent.get("actions", ["read", "write", "execute"]) if agent.actions[a]
                ]
            event = event | {"credentials": kept, "intent": intent}
        least.append(event)
    before, after = (b.Run(judge(lists)).feed(b.log(log)).decisions for log in (values, least))
    for was, now in zip(before, after, strict=True):
        if was["verdict"] not in ("deny", "revoke"):
            assert _speaks(now) <= _speaks(was)


def _stays(agent: Agent, credential: dict[str, Any], word: str) -> bool:
    return agent.scopes[credential["broker"], credential["kind"], word].state != "unused"


def _speaks(decision: dict[str, Any]) -> set[str]:
    return {e["name"] for e in decision["evidence"] if e["supports"] and e["family"] in ("scope", "identity")}


def test_what_an_agent_never_used_and_then_uses_is_told_once_it_is_taken_away() -> None:
    """The law above can fail: taking away what is used is seen."""
    values = [declared("s", {**FORGE, "scope": "repo:write"}), called()]
    (decision,) = b.Run(judge()).feed(b.log(values)).decisions
    assert _speaks(decision) == {"credential_beyond_scope"}


def test_a_long_life_is_told_with_its_exception_and_by_the_data_of_the_calls() -> None:
    a_day = {"issued": "2026-01-01T09:00:00Z", "expires": "2026-01-02T09:00:00Z"}
    held = [{**FORGE, "kind": "pat", "value": f"p-{n}"} for n in range(3)]
    hour = {**FORGE, "issued": "2026-01-01T09:00:00Z", "expires": "2026-01-01T10:00:00Z"}
    excepted = [
        {"broker": "forge", "kind": "pat", "value": f"p-{n}", "owner": "ada", "reason": "r", "expires": day}
        for n, day in enumerate([date(2026, 1, 1), date(2025, 12, 31)])
    ]
    rules = {"longest_minutes": {"sensitive": 30, "other": 600}, "exceptions": excepted}
    release = b.release(scorer=b.ConstantScorer(0))
    policy = release.policy.model_copy(update={
        "credentials": Credentials.model_validate(rules), "sensitive": {"read_file": True},
    })  # fmt: skip
    values = [
        declared("s", *(each | a_day for each in held), hour),
        called(),
        called(seq=2, tool="search_mail"),
    ]
    records = [(record, None) for record in b.log(values)]
    (agent,) = report(records, b.judge(release._replace(policy=policy))).agents.values()
    assert agent.long_lived == {
        ("forge", "pat", "p-0"): "lives 1,440 minutes; excepted until 2026-01-01 (ada)",
        ("forge", "pat", "p-1"): "lives 1,440 minutes; its exception ran out on 2025-12-31 (ada)",
        ("forge", "pat", "p-2"): "lives 1,440 minutes",
        ("forge", "jti", "f-1"): "a credential lives longer than 30 minutes, or for ever",
    }


def _had(values: list[dict[str, Any]], decision: dict[str, Any], broker: str, scope: str) -> bool:
    """Whether the credential that a call named was declared with that scope."""
    session = next(e for e in values if e["session_id"] == decision["session_id"])
    return any(
        f"{c['broker']}/{c['kind']}/{c['value']}" == decision["credential"] and scope in c["scope"].split()
        for c in session["credentials"]
    )


def test_a_tool_that_all_lists_forgot_is_told_though_every_scope_has_a_list() -> None:
    agent = only([declared(), called(tool="run_shell"), called(seq=2, credential=None, tool="drop_table")])
    assert agent.unlisted == {("forge", "run_shell"): 1, ("forge", "drop_table"): 1}
    assert set(states(agent).values()) == {"unused"}


def test_classes_of_data_are_used_where_the_policy_lists_a_called_tool_and_unknown_where_it_lists_none() -> (
    None
):
    intent = {"text": "read notes.txt", "data_classes": ["NOTES", "mail", "payroll"]}
    lists = {"Notes": ["read_file"], "mail": ["search_mail"]}
    agent = only([declared(intent=intent), called(), called(seq=2)], data_classes=lists)
    assert agent.document(Enough())["data_classes"] == {
        "used": {"Notes": 2}, "unused": ["mail"], "unknown": ["payroll"],
    }  # fmt: skip
