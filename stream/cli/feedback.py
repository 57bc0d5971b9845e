"""``driftline feedback``: what an analyst says of a case, what was said, and what that teaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import Bootstrap, Prefix, settings, signing_key
from stream.cli.terminal import say

if TYPE_CHECKING:
    from stream.offline.verdicts import Verdict
    from stream.settings import Settings


def feedback(
    case: Annotated[
        str | None, typer.Argument(help="A case, as its alerts name it: finding_info.uid.")
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option(
            help="true_positive, false_positive or benign close the case; unsure leaves it open, reopen opens it again."
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who says it, for the record.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="DRIFTLINE_RESPONDER_KEY_FILE",
            help="Private JWK that signs it; workers trust its public half.",
        ),
    ] = None,
    comment: Annotated[str, typer.Option(help="Why, in at most 1,000 characters.")] = "",
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait until the alerts tell of it.")
    ] = 30,
    listed: Annotated[
        bool, typer.Option("--list", help="What was said, of CASE or of all, newest first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="--list as JSON, for machines.")] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Write what was said as labels, a JSON line for each case; needs to read the decisions too."
        ),
    ] = None,
    sessions: Annotated[
        Path | None,
        typer.Option(help="With --labels: recorded sessions; those that were judged are written, labelled."),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Say what a case was, and so close it or open it again; or see what was said."""
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    asked = [
        name for name, given in (("--verdict", verdict), ("--list", listed), ("--labels", labels)) if given
    ]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} exclude each other")
    if sessions is not None and labels is None:
        raise ConfigError("--sessions goes with --labels")
    if labels is not None:
        _write_labels(configured, labels, sessions)
    elif verdict is not None:
        _give(configured, case, verdict, by, key, comment, wait)
    else:
        _list(configured, case, as_json)


def _give(
    configured: Settings,
    case: str | None,
    verdict: str,
    by: str | None,
    key: Path | None,
    comment: str,
    wait: float,
) -> None:
    from stream import feedback as tokens
    from stream.events import ALERTS
    from stream.offline.verdicts import subject
    from stream.outbound.feedback import MAX_COMMENT, VERDICTS, closes
    from stream.shell import case_feedback

    if verdict not in VERDICTS:
        raise ConfigError(f"--verdict is {verdict!r}; expected one of {', '.join(VERDICTS)}")
    lacking = [name for name, given in (("the case", case), ("--key", key), ("--by", by)) if not given]
    if case is None or key is None or not by:
        raise ConfigError(f"to say what a case was, name {' and '.join(lacking)} too; alerts name their case")
    signing = signing_key(key)
    if len(by) > tokens.MAX_BY or not by.isprintable():
        raise ConfigError(f"--by is no name of at most {tokens.MAX_BY} printable characters")
    if len(comment) > MAX_COMMENT:
        raise ConfigError(f"--comment has {len(comment)} characters; at most {MAX_COMMENT} are told")
    found = subject(case_feedback.documents(configured, ALERTS), case)
    if found is None:
        raise InputError(
            f"no alert tells of a case {case[:64]!r}; `driftline watch --json --from-beginning` shows the alerts, each with its case as "
            "finding_info.uid (an opening of the circuit breaker is ruled on with `driftline held`)"
        )
    said = case_feedback.verdict_on(found, verdict, by, comment)
    case_feedback.give(configured, said, tokens.sign(said, configured.issuer, signing))
    becomes = "closed" if closes(verdict) else "open"
    if not wait:
        typer.echo(f"the case will be {becomes} once a worker has read it: {verdict}, says {by}")
    elif case_feedback.told(configured, said, wait):
        typer.echo(f"the case is {becomes}: {verdict}, says {by}")
    else:
        typer.echo(
            f"no worker has told of it within {wait:g} s. Does one run? If so it put the feedback into quarantine, reason control: its "
            "DRIFTLINE_RESPONDER_JWKS lacks this key, DRIFTLINE_ISSUER is another there than here, or a clock is wrong"
        )
        raise typer.Exit(FINDINGS)


def _list(configured: Settings, case: str | None, as_json: bool) -> None:
    from stream.events import ALERTS, dumps
    from stream.offline.verdicts import verdicts
    from stream.shell.case_feedback import documents

    said = [each for each in verdicts(documents(configured, ALERTS)) if case in (None, each.case_id)]
    if as_json:
        typer.echo(dumps([each._asdict() for each in said]).decode())
    else:
        _show(said)


def _show(said: Sequence[Verdict]) -> None:
    """Print what was said; the last word on a case is marked."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from stream.shell.board import plain

    console = Console()
    if not said:
        console.print("nothing was said")
        return
    table = Table("time", "tenant", "session", "agent", "verdict", "counts", "by", "comment")
    table.add_column("case", min_width=32, no_wrap=True)  # people copy it
    for each in said:
        cells = (
            (each.time, 30),
            (each.tenant, 40),
            (each.session_id, 40),
            (each.agent, 30),
            (each.verdict, 16),
            ("yes" if each.stands else "", 4),
            (each.by, 64),
            (each.comment, 200),
            (each.case_id, 64),
        )
        table.add_row(*(Text(plain(text, most)) for text, most in cells))  # people's words are no markup
    console.print(table)


def _write_labels(configured: Settings, out: Path, sessions: Path | None) -> None:
    from stream.events import ALERTS, DECISIONS, dumps
    from stream.offline.files import read_sessions
    from stream.offline.verdicts import first_alarms, labelled, labels, verdicts
    from stream.shell.case_feedback import documents

    said = verdicts(documents(configured, ALERTS))
    if not said:
        raise InputError("nothing was said of any case yet; `driftline feedback CASE --verdict ...` says it")
    confirmed = [each for each in said if each.stands and each.verdict == "true_positive"]
    first = first_alarms(documents(configured, DECISIONS) if confirmed else (), confirmed)
    rows = labels(said, first)
    written = rows if sessions is None else list(labelled(read_sessions(sessions), rows))
    out.write_bytes(b"".join(dumps(row) + b"\n" for row in written))
    torn = sum(row["conflict"] for row in rows)
    say(
        f"{len(written)} of {len(rows)} cases written to {out}; in {torn} of them people disagree, and the last word counts"
    )
