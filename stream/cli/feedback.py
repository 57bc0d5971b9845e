"""``driftline feedback``: what an analyst says of a case, what was said, and what that teaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import EVENTS_WANTED, Bootstrap, Prefix, checked_name, settings, signing_key
from stream.cli.terminal import say

if TYPE_CHECKING:
    from models.contracts import Action
    from stream.core.judge import Judge
    from stream.offline.proposal import Backtest, Proposal, Reason
    from stream.offline.verdicts import Subject, Verdict
    from stream.settings import Settings

SHOWN = 20
"""Sessions and calls of a backtest that are named in the terminal."""


def feedback(
    case: Annotated[
        str | None,
        typer.Argument(
            help="A case, as its alerts name it (finding_info.uid), or a session, also one without a case."
        ),
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
    comment: Annotated[str, typer.Option(help="Why, in at most 1,000 characters; no secrets.")] = "",
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait until the alerts tell of it.")
    ] = 30,
    listed: Annotated[
        bool, typer.Option("--list", help="What was said, of CASE or of all, newest first.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="--list or --propose as JSON, for machines.")
    ] = False,
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
    propose: Annotated[
        bool,
        typer.Option(
            "--propose",
            help="Show the change of the policy that would have let CASE pass, with its price; applies nothing, needs no broker.",
        ),
    ] = False,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --propose: events that hold the case, and any other to test the change on; may be given again."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="With --propose: the last day of it, such as 2026-06-30.")
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            help="With --propose: what a tool does that was taken for something else, such as nightly_report=read."
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose session it is, where several tenants have one of that id.")
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Say what a case was, and so close it or open it again; or see what was said, and what would have let it pass."""
    configured = settings(bootstrap=bootstrap, prefix=prefix)
    given = (("--verdict", verdict), ("--list", listed), ("--labels", labels), ("--propose", propose))
    asked = [name for name, it in given if it]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} exclude each other")
    if sessions is not None and labels is None:
        raise ConfigError("--sessions goes with --labels")
    if labels is not None:
        _write_labels(configured, labels, sessions)
    elif propose:
        _propose(configured, case, by, comment, until, log or [], tool or [], as_json)
    elif verdict is not None:
        _give(configured, case, tenant, verdict, by, key, comment, wait)
    else:
        _list(configured, case, as_json)


def _give(
    configured: Settings,
    case: str | None,
    tenant: str | None,
    verdict: str,
    by: str | None,
    key: Path | None,
    comment: str,
    wait: float,
) -> None:
    from stream.outbound.feedback import MAX_COMMENT, VERDICTS, closes
    from stream.shell import case_feedback

    if verdict not in VERDICTS:
        raise ConfigError(f"--verdict is {verdict!r}; expected one of {', '.join(VERDICTS)}")
    wanted = (("the case or session", case), ("--key", key), ("--by", by))
    lacking = [name for name, given in wanted if not given]
    if case is None or key is None or not by:
        raise ConfigError(f"to say what a case was, name {' and '.join(lacking)} too; alerts name their case")
    signing = signing_key(key)
    checked_name(by)
    if len(comment) > MAX_COMMENT:
        raise ConfigError(f"--comment has {len(comment)} characters; at most {MAX_COMMENT} are told")
    found, alerted = _subject(configured, case, tenant)
    said = case_feedback.verdict_on(found, verdict, by, comment)
    case_feedback.give(configured, said, signing)
    becomes = f"{'the case' if alerted else 'the session, which no alert tells of,'} {{}} {'closed' if closes(verdict) else 'open'}"
    if not wait:
        typer.echo(f"{becomes.format('will be')} once a worker has read it: {verdict}, says {by}")
    elif case_feedback.told(configured, said, str(signing.kid), wait):
        typer.echo(f"{becomes.format('is')}: {verdict}, says {by}")
    else:
        typer.echo(
            f"no worker has told of it within {wait:g} s. Does one run? If so it put the feedback into quarantine, reason control: its "
            "DRIFTLINE_RESPONDER_JWKS lacks this key, DRIFTLINE_ISSUER is another there than here, or a clock is wrong"
        )
        raise typer.Exit(FINDINGS)


def _subject(configured: Settings, named: str, tenant: str | None) -> tuple[Subject, bool]:
    """The case or session of that name, and whether an alert tells of it; decisions know of sessions that none tells of."""
    from stream.events import ALERTS, DECISIONS, printable
    from stream.offline.verdicts import subjects, uncased
    from stream.shell.case_feedback import documents

    found = subjects(documents(configured, ALERTS), named)
    alerted = bool(found)
    if not alerted:
        found = uncased(documents(configured, DECISIONS), named)
    theirs = [each for each in found if tenant in (None, each.tenant)]
    if len(theirs) > 1:
        which = ", ".join(
            printable(f"{each.case_id} of {each.tenant}, root {each.root_session_id}") for each in theirs
        )
        raise InputError(
            f"{named[:64]!r} names several: {which}. Give --tenant" + (", or the case" if alerted else "")
        )
    if not theirs:
        raise InputError(
            f"no alert tells of a case {named[:64]!r}, and no decision of a session of that name"
            + (f" of tenant {printable(tenant)}" if tenant is not None else "")
            + "; `driftline cases` lists those that there are (an opening of the circuit breaker is ruled on with `driftline held`)"
        )
    return theirs[0], alerted


def _list(configured: Settings, case: str | None, as_json: bool) -> None:
    from stream.events import ALERTS, dumps
    from stream.offline.verdicts import verdicts
    from stream.shell.case_feedback import documents

    listed = verdicts(documents(configured, ALERTS))
    said = [each for each in listed if case in (None, each.case_id, each.session_id)]
    if as_json:
        typer.echo(dumps([each._asdict() for each in said]).decode())
    else:
        _show(said, case)


def _show(said: Sequence[Verdict], case: str | None = None) -> None:
    """Print what was said, readable on 80 columns; of each case the last word is marked: it counts."""
    from rich.table import Table
    from rich.text import Text

    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    if not said:
        console.print(
            "nothing was said" if case is None else "nothing was said of that case; look at its spelling"
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("verdict, by", max_width=24, overflow="fold")
    table.add_column("case, session, comment", min_width=32, overflow="fold")  # people copy the case
    for each in said:
        about = (each.case_id, f"{each.tenant}: {each.session_id}, {each.agent or 'no agent'}", each.comment)
        table.add_row(
            Text(plain(each.time[:16].replace("T", " "), 16)),
            # People's words are no markup.
            Text(f"{plain(each.verdict, 16)}{', counts' if each.stands else ''}\n{plain(each.by, 64)}"),
            Text("\n".join(plain(line, 1000) for line in about if line)),
        )
    console.print(table)


def _write_labels(configured: Settings, out: Path, sessions: Path | None) -> None:
    from stream.events import ALERTS, DECISIONS, dumps
    from stream.offline.files import read_sessions
    from stream.offline.verdicts import first_alarms, labelled, labels, verdicts
    from stream.shell.case_feedback import documents

    said = verdicts(documents(configured, ALERTS))
    if not said:
        kept = f"; {out} is left as it was" if out.exists() else ""
        raise InputError(
            f"nothing was said of any case yet; `driftline feedback CASE --verdict ...` says it{kept}"
        )
    confirmed = [each for each in said if each.stands and each.verdict == "true_positive"]
    first = first_alarms(documents(configured, DECISIONS) if confirmed else (), confirmed)
    rows = labels(said, first)
    written = rows if sessions is None else list(labelled(read_sessions(sessions), rows))
    out.write_bytes(b"".join(dumps(row) + b"\n" for row in written))
    torn, what = sum(row["conflict"] for row in rows), "cases" if sessions is None else "labelled sessions"
    say(
        f"{len(written)} {what} written to {out}; {len(rows)} cases were judged, on {torn} of them people disagree, and the last word "
        "counts"
    )


def _propose(
    configured: Settings,
    case: str | None,
    by: str | None,
    comment: str,
    until: str | None,
    files: list[Path],
    tools: list[str],
    as_json: bool,
) -> None:
    from datetime import date

    from stream.offline import lines

    wanted = (("the case", case), ("--log", files), ("--by", by), ("--comment", comment), ("--until", until))
    lacking = [name for name, given in wanted if not given]
    if case is None or not by or until is None or lacking:
        raise ConfigError(
            f"a proposal needs {' and '.join(lacking)} too: the events, who answers for it, why, and its last day"
        )
    if any(str(file) == "-" for file in files):
        raise ConfigError("--log is read several times, so it cannot be standard input; name a file")
    lines.check(files, lines.is_input, EVENTS_WANTED)
    from models.release import readers, registry
    from stream import bootstrap
    from stream.events import dumps, printable
    from stream.offline import proposal
    from stream.policy import Policy, parse_policy, read_policy

    try:
        reason = proposal.Reason(
            " ".join(printable(comment).split()), " ".join(by.split()), date.fromisoformat(until)
        )
    except ValueError as error:
        raise ConfigError(f"--until is {until!r}; expected a day such as 2026-06-30") from error
    text, name = read_policy(configured.policy_path)
    policy = parse_policy(text, name)
    model, read = registry.load(configured.model_dir), readers.load_beside(configured.model_dir)

    def judge(of: Policy) -> Judge:
        return bootstrap.judge_with(configured, bootstrap.make_release(model, of, read))

    before = proposal.judged(files, judge(policy), case=case)
    found = proposal.case_in(before, case)

    def passes(of: Policy) -> bool:
        tree = proposal.judged(files, judge(of), root=found.root)
        return (found.tenant, found.session) not in tree.sessions()

    made = proposal.proposal(text, policy, before, case, reason, passes, _classes(tools))
    if made is None:
        last = max(each["time"][:10] for each in before.alarms.values() if each["case_id"] == case)
        if reason.until.isoformat() < last:
            say(
                f"--until {until} is before {last}, when the case last alerted, and the policy counts days by the session's own clock: "
                "name a later one"
            )
            raise typer.Exit(FINDINGS)
        say(
            "the policy has no word that lets this case pass: calls are expected of an agent with a name, and a score passes only for values "
            "that the evidence cites, which are neither secret nor long. --tool NAME=read tries whether a tool was taken for something else; "
            "would_pass in its decisions says what the user could have declared; `modes` keeps an agent of one tenant from being "
            "revoked; `driftline calibrate` raises thresholds for everybody"
        )
        raise typer.Exit(FINDINGS)
    after = proposal.judged(files, judge(parse_policy(made.text, name)))
    tested = proposal.backtest(before, after, found, proposal.labels_in(files))
    change = proposal.diff(text, made.text, Path(name).name)
    if as_json:
        document = {
            "diff": change,
            "scope": made.scope,
            "ends_by_itself": made.ends,
            "backtest": tested._asdict(),
        }
        typer.echo(dumps(document | {"owner": reason.owner, "reason": reason.why, "until": until}).decode())
    else:
        _show_proposal(made, reason, tested)
        typer.echo(change, nl=False)


def _classes(tools: Sequence[str]) -> dict[str, Action]:
    """What tools do, as ``--tool NAME=read`` says it."""
    from typing import get_args

    from models.contracts import Action

    found: dict[str, Action] = {}
    for each in tools:
        name, _, said = each.rpartition("=")
        action = next((known for known in get_args(Action) if known == said), None)
        if not name or action is None:
            raise ConfigError(f"--tool is {each!r}; expected NAME=read, NAME=write or NAME=execute")
        found[name] = action
    return found


def _show_proposal(made: Proposal, reason: Reason, tested: Backtest) -> None:
    """Print whom a change holds for and what it would have silenced; `patch` passes over these lines."""
    from stream.shell.board import plain

    ends = (
        f"it ends with {reason.until}"
        if made.ends
        else f"the policy knows no end for it: look again by {reason.until}"
    )
    lines = [
        "A proposal, not applied. Review it, `driftline verify policy` it, and restart the workers drained.",
        f"scope: {made.scope}",
        f"reason: {reason.why}",
        f"owner: {reason.owner}; {ends}",
        f"backtest of {tested.n_calls} calls: {tested.calls[0]} calls of {tested.sessions[0]} sessions alert today, "
        f"{tested.calls[1]} of {tested.sessions[1]} with the change",
        f"sessions silenced, by label: {', '.join(f'{n} {label}' for label, n in sorted(tested.sessions_silenced.items())) or 'none'}",
        f"beside this case: {_some(tested.of_others)}",
        f"attacks among them, by their labels: {_some(tested.attacks)}",
    ]
    lines += [
        f"  {each['session_id']} call {each['call_seq']} {each['tool']}: {each['verdict']} today, {each['label']}"
        for each in tested.silenced[:SHOWN]
    ]
    if len(tested.silenced) > SHOWN:
        lines.append(f"  and {len(tested.silenced) - SHOWN} calls more; --json has all")
    for line in lines:
        typer.echo(plain(line, 2000) if not line.startswith(" ") else f"  {plain(line, 400)}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})" if names else "none"
