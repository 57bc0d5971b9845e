"""``driftline topics``: the bus's topics made, checked and exported, and who needs which rights on them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError
from stream.cli.exits import FINDINGS
from stream.cli.options import AsJson, Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.settings import Settings
    from stream.shell.topic_check import Finding

app = typer.Typer(help="Create, check and export topics; --acls: who needs which rights.")


@app.callback(invoke_without_command=True)
def topics(
    ctx: typer.Context,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the least rights of each role, and end.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="table, kafka (kafka-acls.sh command lines) or json.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    principal: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=User:name, or INPUT_TOPIC=User:name for its producer (repeatable)."),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Create, check and export topics; with --acls, who needs which rights on them."""
    if not acls:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())
        return
    if ctx.invoked_subcommand is not None:
        raise ConfigError(f"--acls prints a list and ends; leave {ctx.invoked_subcommand!r} away")
    _print_acls(settings(bootstrap=bootstrap, prefix=prefix), "json" if as_json else form, principal)


def _principals(given: list[str] | None) -> dict[str, str]:
    """Principal of each role, from ``ROLE=User:name``."""
    principals = {}
    for text in given or []:
        role, equals, name = text.partition("=")
        if not equals:
            raise ConfigError(f"--principal is {text!r}; expected ROLE=User:name")
        principals[role] = name
    return principals


def _print_acls(configured: Settings, form: str, principal: list[str] | None) -> None:
    from stream.shell import acls

    rights = acls.acls(configured, _principals(principal))
    if form == "json":
        typer.echo(json.dumps(acls.rows(rights), indent=2))
    elif form in {"kafka", "table"}:
        lines = acls.table(rights) if form == "table" else acls.kafka_commands(configured, rights)
        typer.echo("\n".join(lines))
    else:
        raise ConfigError(f"--format is {form!r}; expected table, kafka or json")


@app.command()
def create(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each topic; chosen once.")
    ] = None,
    replication: Annotated[int | None, typer.Option(min=1, help="Copies of each topic.")] = None,
) -> None:
    """Create what is missing, then check."""
    from stream.shell.topics import create as create_missing

    configured = settings(bootstrap=bootstrap, prefix=prefix, partitions=partitions, replication=replication)
    for name in create_missing(configured):
        typer.echo(f"created {name}")
    _check_topics(configured)


@app.command()
def check(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partitions: Annotated[int | None, typer.Option(min=1, help="Partitions expected.")] = None,
    replication: Annotated[int | None, typer.Option(min=1, help="Copies of each topic expected.")] = None,
    acls: Annotated[
        bool, typer.Option("--acls", help="Compare the rights, too (takes Describe on the cluster).")
    ] = False,
    principal: Annotated[
        list[str] | None, typer.Option(help="ROLE=User:name, as of `topics --acls` (repeatable).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the cluster's topics with what Driftline needs; exit 1 when something is wrong."""
    configured = settings(bootstrap=bootstrap, prefix=prefix, partitions=partitions, replication=replication)
    if acls:
        _check_acls(configured, principal, as_json=as_json)
    _check_topics(configured, as_json=as_json)


def _check_acls(configured: Settings, principal: list[str] | None, *, as_json: bool) -> None:
    from stream.shell.acl_check import compare
    from stream.shell.acls import acls
    from stream.shell.topic_check import Finding

    differences = compare(configured, acls(configured, _principals(principal)))
    if differences:
        _tell([Finding("error", text) for text in differences], as_json=as_json)
        raise typer.Exit(FINDINGS)


def _check_topics(configured: Settings, *, as_json: bool = False) -> None:
    from stream.shell.topic_check import check as differences

    findings = differences(configured)
    _tell(findings, as_json=as_json)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FINDINGS)
    if not as_json:
        typer.echo(f"topics at {configured.bootstrap} are as they must be")


def _tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        typer.echo(f"{finding.level}: {finding.text}")


@app.command("list")
def table(as_json: AsJson = False, prefix: Prefix = None) -> None:
    """The table of topics: key, partitions, retention, compaction. Asks no broker."""
    from rich.table import Table

    from stream.shell.screen import screen
    from stream.shell.topic_table import DAY_MS, topic_table

    configured = settings(prefix=prefix)
    if as_json:
        named = [asdict(each) | {"topic": configured.topic(each.base)} for each in topic_table(configured)]
        typer.echo(json.dumps(named, indent=2))
        return
    rows = Table("topic", "key", "partitions", "kept", "holds")
    rows.columns[0].no_wrap = True
    for topic in topic_table(configured):
        kept = "last of each key" if topic.compacted else f"{topic.retention_ms // DAY_MS} days"
        rows.add_row(configured.topic(topic.base), topic.key, str(topic.partitions), kept, topic.content)
    screen().print(rows)


@app.command()
def dump(
    topic: Annotated[str, typer.Argument(help="Base name of the topic.")] = "agent.events.v1",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition (repeatable).")
    ] = None,
) -> None:
    """Export a topic as a log in JSON lines, for `driftline replay`."""
    from stream.shell.export import log_line, records

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    out = sys.stdout.buffer
    count = 0
    for record, partitions in records(configured, configured.base(topic), partition):
        out.write(log_line(record, partitions) + b"\n")
        count += 1
    out.flush()
    say(f"{count} records of {configured.topic(configured.base(topic))}")
