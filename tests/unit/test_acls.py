"""The printed list of rights: literal names, one producer for each tenant, nothing by wildcard."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from models.errors import ConfigError
from stream.settings import Settings
from stream.shell.acl_check import granted
from stream.shell.acls import acls, kafka_commands, rows, table
from stream.shell.topic_table import topic_table

TENANTS = Settings(prefix="p.", group="g", input_topics={"a.events.v1": "a", "b.events.v1": "b"})


def test_names_carry_prefix_and_group_and_each_right_is_listed_once() -> None:
    rights = acls(TENANTS)
    assert all(one.name.startswith("p.") for one in rights)
    assert {one.name for one in rights if one.resource == "group"} == {
        f"p.g-{name}" for name in ("judge", "act", "soc", "broker", "bridge", "transmit", "risk")
    }
    places = [(one.principal, one.resource, one.name, one.operation) for one in rights]
    assert len(places) == len(set(places)) == len(granted(rights))


def test_a_tenant_s_producer_writes_its_own_topic_alone() -> None:
    rights = [one for one in acls(TENANTS) if one.principal == "User:driftline-producer-a"]
    assert [(one.operation, one.name) for one in rights] == [("write", "p.a.events.v1")]


def test_only_the_worker_writes_anything_but_inputs_and_only_the_transmitter_its_streams() -> None:
    inputs = {"p.a.events.v1", "p.b.events.v1", "p.agent.outcomes.v1", "p.agent.feedback.v1"}
    rights = [(one.name, one.operation) for one in acls(TENANTS) if one.role == "transmit"]
    assert [name for name, operation in rights if operation == "write"] == ["p.agent.streams.v1"]
    inputs.add("p.agent.streams.v1")
    writers = {one.role for one in acls(TENANTS) if one.operation == "write" and one.name not in inputs}
    assert writers == {"worker"}


def test_whole_input_records_are_read_by_the_worker_and_on_call_alone() -> None:
    whole = {"p.a.events.v1", "p.b.events.v1", "p.agent.quarantine.v1"}
    readers = {(one.role, one.name) for one in acls(TENANTS) if one.operation == "read" and one.name in whole}
    assert readers == {
        ("worker", "p.a.events.v1"),
        ("worker", "p.b.events.v1"),
        ("oncall", "p.agent.quarantine.v1"),
    }


def test_who_asks_for_second_opinions_has_rights_only_where_they_are_trusted(tmp_path: Path) -> None:
    assert not any(one.role == "advise" for one in acls(TENANTS))
    trusting = dataclasses.replace(TENANTS, opinion_jwks=tmp_path)
    rights = {(one.resource, one.name, one.operation) for one in acls(trusting) if one.role == "advise"}
    assert rights == {
        *(("topic", f"p.{tenant}.events.v1", how) for tenant in "ab" for how in ("read", "write")),
        ("topic", "p.agent.decisions.v1", "read"),
        ("group", f"p.{TENANTS.group}-advise", "read"),
    }


def test_a_console_that_signs_verdicts_has_rights_only_where_it_is_named() -> None:
    assert not any(one.role == "console" for one in acls(TENANTS))
    rights = [one for one in acls(TENANTS, {"console": "User:desk"}) if one.role == "console"]
    assert {one.principal for one in rights} == {"User:desk"}
    reads = ("alerts", "held", "decisions")
    assert {(one.name, one.operation) for one in rights} == {
        *((f"p.agent.{name}.v1", "read") for name in reads),
        ("p.agent.feedback.v1", "write"),
    }


def test_every_output_has_a_reader() -> None:
    outputs = {TENANTS.topic(topic.base) for topic in topic_table(TENANTS) if topic.use == "output"}
    assert outputs <= {one.name for one in acls(TENANTS) if one.operation == "read"}


def test_principals_are_named_by_role_and_by_topic() -> None:
    rights = acls(TENANTS, {"worker": "User:w", "b.events.v1": "User:bee", "soc": "User:siem"})
    assert {one.principal for one in rights if one.role == "worker"} == {"User:w"}
    assert {one.principal for one in rights if one.role == "b.events.v1"} == {"User:bee"}
    shared = acls(Settings(), {"producer": "User:agents"})
    assert {one.principal for one in shared if one.role == "agent.events.v1"} == {"User:agents"}


@pytest.mark.parametrize(
    ("principals", "says"),
    [
        ({"auditor": "User:x"}, "no role"),
        ({"soc": "x"}, "no Kafka principal"),
        ({"soc": "User:*"}, "no wildcard"),
        ({"soc": "User: "}, "no Kafka principal"),
        ({"producer": "User:all"}, "tenants a and b"),
    ],
)
def test_a_principal_that_gives_too_much_or_nobody_is_refused(principals: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        acls(TENANTS, principals)


def test_the_three_forms_tell_the_same_rights() -> None:
    rights = acls(TENANTS, {"soc": "User:CN=siem,O=acme corp"})
    lines = kafka_commands(TENANTS, rights)
    assert len(lines) == len({(one.principal, one.resource, one.name) for one in rights})
    assert sum(line.count("--operation") for line in lines) == len(rights) == len(rows(rights))
    assert any("--allow-principal 'User:CN=siem,O=acme corp' --operation Read" in line for line in lines)
    assert any("--operation DescribeConfigs" in line for line in lines)
    told = "\n".join(table(rights))
    assert all(one.name in told and one.principal in told for one in rights)
    assert {row["pattern"] for row in rows(rights)} == {"literal"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--acls"], 0, "group driftline-judge"),
        (
            ["--acls", "--format", "kafka", "--prefix", "p.", "--principal", "soc=User:siem"],
            0,
            "p.agent.alerts.v1",
        ),
        (["--acls", "--format", "json"], 0, '"role": "worker"'),
        ([], 0, "--acls"),
    ],
)
def test_the_command_prints_the_list_and_alone_its_help(arguments: list[str], code: int, says: str) -> None:
    from typer.testing import CliRunner

    from stream.cli.main import app

    done = CliRunner().invoke(app, ["topics", *arguments])
    assert done.exit_code == code
    assert says in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--acls", "check"], "leave 'check' away"),
        (["--acls", "--format", "xml"], "expected table"),
        (["--acls", "--principal", "soc"], "ROLE=User:name"),
    ],
)
def test_the_command_refuses_what_it_would_not_do(arguments: list[str], says: str) -> None:
    from typer.testing import CliRunner

    from stream.cli.main import app

    done = CliRunner().invoke(app, ["topics", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert says in str(done.exception)
