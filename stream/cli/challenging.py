"""``driftline challengers``: other releases on live traffic beside the champion, which act on nothing, and how they compare."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import BrokerError, ConfigError, InputError
from stream.cli.options import AsJson, Bootstrap, Prefix, settings
from stream.cli.terminal import say

if TYPE_CHECKING:
    from rich.table import Table

    from models.contracts import Label
    from stream.offline.challenges import Comparison, Versus
    from stream.settings import Settings
    from stream.shell import ranges

app = typer.Typer(
    no_args_is_help=True,
    help="Challengers: what other releases would decide of live traffic. They act on nothing.",
)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
Name = Annotated[
    str | None,
    typer.Option(
        help="What it is called (default: the alias, else challenger). Several at a time have several names."
    ),
]
SHOWN = 10
"""Flips, and tenants, that a terminal shows."""


@app.command()
def run(
    which: Annotated[
        str, typer.Argument(help="A folder with a release, a digest or the beginning of one, or an @alias.")
    ],
    name: Name = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics on 127.0.0.1; 0 turns them off.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="The stream runtime's own messages too.")
    ] = False,
) -> None:
    """Judge live traffic under another release, until Ctrl-C: would-be verdicts go to agent.challenges.v1, and nothing else anywhere.

    It reads the log from its beginning, and goes on where it stopped. More processes of one name share the partitions. Whatever
    becomes of it, workers do not notice.
    """
    from stream import bootstrap as composition
    from stream.cli.running import voice_of
    from stream.core.partition import Partition
    from stream.shell.app import run as work
    from stream.shell.challenge_stage import Challenger

    configured = settings(bootstrap=bootstrap, prefix=prefix, metrics_port=metrics_port)
    voice = voice_of(configured, verbose=verbose)
    folder, digest = _release(configured, which)
    challenger = Challenger(_named(name, which), digest)
    judge = composition.challenger(configured, folder)
    release = judge.in_use(Partition.empty())
    voice.say(
        f"challenger {challenger.name}: release {digest[:16]}, model {release.release}, policy {release.policy}; it acts on nothing"
    )
    composition.spare_the_collector()
    code = work(
        challenger.settings(configured), judge=judge, actor=None, challenger=challenger, announce=voice.say
    )
    # As the worker: threads of the Kafka client may wait for a broker that is gone.
    sys.stderr.flush()
    os._exit(code)


def _named(name: str | None, which: str) -> str:
    from stream.registrations import CHALLENGER

    told = name if name is not None else which[1:] if which.startswith("@") else CHALLENGER
    if not _NAME.fullmatch(told):
        raise ConfigError(
            f"{told!r} is no name of a challenger: up to 32 small letters, digits and hyphens; give one with --name"
        )
    return told


def _release(configured: Settings, which: str) -> tuple[Path, str]:
    """The folder of a release, and its digest."""
    from stream.bootstrap import release_digest
    from stream.cli.releasing import digest_named, trusting
    from stream.policy import load_policy
    from stream.shell import releases

    folder = Path(which)
    if folder.is_dir():
        if not (folder / "policy.yaml").is_file():
            raise InputError(
                f"{folder} has no policy.yaml; copy the policy there that the model is to judge by"
            )
        return folder, release_digest(folder, load_policy(folder / "policy.yaml"))
    if os.sep in which:
        raise InputError(f"there is no folder {which}; name one with a release, a digest or an @alias")
    digest = digest_named(releases.registry(trusting(configured)), which)
    found = releases.fetch(configured, digest) if digest else None
    if found is None:
        raise InputError(
            f"{which} is what workers begin with; a challenger is a release that was published, or a folder"
        )
    return found, digest


@app.command()
def forget(
    name: Annotated[str, typer.Argument(help="A challenger that runs no longer.")],
    running: Annotated[
        bool,
        typer.Option(
            "--although-it-runs", help="Forget though a process of it is in its group: it writes more states."
        ),
    ] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Take away what a challenger remembers of open sessions. What it would have decided stays as long as its topic keeps it.

    One that still runs is refused (exit code 3), as far as this principal may see its consumer group.
    """
    from stream.shell import challenge_stage

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    challenger = _named(name, name)
    runs = None if running else challenge_stage.runs(configured, challenger)
    if runs:
        raise InputError(
            f"challenger {name} still runs: stop it first. One that was killed counts as running for {configured.session_timeout_s:g} s more; "
            "--although-it-runs forgets all the same"
        )
    if runs is None and not running:
        say(f"whether {name} still runs cannot be seen: its consumer group takes the right Describe")
    n = challenge_stage.forget(configured, challenger)
    typer.echo(f"{n} states of {name} are gone")


@app.command()
def report(
    days: Annotated[float, typer.Option(min=0.01, max=365, help="Of the last so many days.")] = 7,
    name: Annotated[str | None, typer.Option(help="This challenger alone.")] = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Challengers beside the champion: sessions by verdict, alerts and revocations a day by tenant, what flips, and how far each is."""
    from stream.events import dumps

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    made = _compared(configured, round((time.time() - days * 86_400) * 1000))
    known = [one for one in sorted(made.versus) if name in (None, one)]
    if not known:
        raise InputError(
            f"no challenger{f' {name}' if name else ''} said anything in this time; `driftline challengers run` starts one"
        )
    if as_json:
        document = made.document()
        document["challengers"] = {one: document["challengers"][one] for one in known}
        typer.echo(dumps(document).decode())
        return
    for one in known:
        _show(one, made.versus[one], made)


def _compared(configured: Settings, since_ms: int) -> Comparison:
    from stream.events import CHALLENGES, DECISIONS
    from stream.offline.challenges import Comparison
    from stream.shell import ranges

    made = Comparison(_labels(configured))
    with (
        ranges.reading(configured, DECISIONS) as decisions,
        ranges.reading(configured, CHALLENGES) as challenges,
    ):
        if decisions.partitions != challenges.partitions:
            raise BrokerError(
                f"{decisions.name} has {len(decisions.partitions)} partitions and {challenges.name} {len(challenges.partitions)}: "
                "a session lies in two; make the second anew"
            )
        for number in decisions.partitions:
            made.partition(*(_values(topic, number, since_ms) for topic in (decisions, challenges)))
    return made


def _values(topic: ranges.Topic, number: int, since_ms: int) -> Iterator[bytes | None]:
    [span] = topic.spans(since_ms, None, [number], 0)
    for record, _ in topic.records(span, lambda _: None):
        yield record.value


def _labels(configured: Settings) -> list[Label]:
    """What analysts said, where keys are known and the topic may be read."""
    from stream import bootstrap as composition
    from stream.events import FEEDBACK
    from stream.offline.labels.merging import merged
    from stream.offline.labels.sources import Bus
    from stream.shell import export

    bus = Bus(composition.feedback_reader(configured).read)
    if configured.responder_jwks is None:
        say("what analysts said is not compared: set DRIFTLINE_RESPONDER_JWKS to their public keys")
        return []
    topics = export.Bus(configured)
    for record in topics.read([FEEDBACK]):
        bus.take(FEEDBACK, record)
    for mend in topics.unread.values():
        say(f"WARNING: {mend}")
    return merged(bus.labels()).labels


def _show(name: str, versus: Versus, made: Comparison) -> None:
    from stream.events import counted
    from stream.shell.board import plain
    from stream.shell.screen import screen

    console = screen()
    name = plain(name, 32)
    lines = [f"{name} beside the champion, {counted(made.days, 'day')}"]
    for who, counts in (("champion", made.champions), (name, versus.releases)):
        lines += [f"  {who}: {plain(told, 200)} ({counted(n, 'call')})" for told, n in counts.most_common(3)]
    lines += [
        f"  calls judged by both {versus.calls}, alike {_share(versus.same, versus.calls)}",
        f"  sessions {versus.sessions}, alike {_share(versus.agreed, versus.sessions)}",
        f"  calls that it has not judged yet {made.waiting(versus)}; its last is of {plain(versus.latest, 40)}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False)
    for table in (_grid(name, versus), _tenants(versus, made.days), _known(versus), _flips(versus)):
        if table is not None:
            console.print(table)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _grid(name: str, versus: Versus) -> Table:
    """Sessions by their gravest verdict: the champion's down, the challenger's across."""
    from rich.markup import escape
    from rich.table import Table

    from models.contracts import GRAVITY

    used = [one for one in GRAVITY if any(one in pair for pair in versus.grid)]
    table = Table(
        f"champion, {escape(name)} across", title="sessions by gravest verdict", title_justify="left"
    )
    for one in used:
        table.add_column(one, justify="right")
    for mine in used:
        table.add_row(mine, *(str(versus.grid[mine, other]) for other in used))
    return table


def _tenants(versus: Versus, days: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from stream.shell.board import plain

    table = Table("tenant", title="sessions a day, champion > challenger", title_justify="left")
    for head in ("sessions", "told to the SOC", "revoked"):
        table.add_column(head, justify="right")
    for tenant, n in versus.tenants.most_common(SHOWN):
        rates = (
            f"{counts[tenant, 'champion'] / days:.2f} > {counts[tenant, 'challenger'] / days:.2f}"
            for counts in (versus.alerts, versus.revocations)
        )
        table.add_row(escape(plain(tenant, 30)), f"{n / days:.2f}", *rates)
    if len(versus.tenants) > SHOWN:
        table.caption = f"and {len(versus.tenants) - SHOWN} more; --json has all"
    return table


def _known(versus: Versus) -> Table | None:
    """What became of sessions that analysts have spoken on; None where they have on none."""
    from rich.table import Table

    from stream.offline.challenges import KNOWN

    if not any(versus.labelled.values()):
        return None
    table = Table("analysts say", title="sessions told to the SOC", title_justify="left")
    for head in ("sessions", "champion", "challenger"):
        table.add_column(head, justify="right")
    for kind in KNOWN.values():
        row = (versus.labelled[kind, who] for who in ("sessions", "champion", "challenger"))
        table.add_row(kind.replace("_", " "), *map(str, row))
    return table


def _flips(versus: Versus) -> Table | None:
    from rich.markup import escape
    from rich.table import Table

    from stream.offline.challenges import gravest
    from stream.shell.board import plain

    if not versus.flips:
        return None
    title = f"{versus.n_flips} sessions end elsewhere; the first call that differs"
    table = Table(title=title, title_justify="left")
    for head in ("session", "call", "verdict", "score"):
        table.add_column(head, overflow="fold")  # whole, since people copy them
    for flip in gravest(versus.flips)[:SHOWN]:
        known = f" ({flip.known.replace('_', ' ')})" if flip.known else ""
        table.add_row(
            escape(plain(flip.session_id, 60)) + known,
            f"{flip.call_seq} {escape(plain(flip.tool, 30))}",
            f"{flip.champion_call} > {flip.challenger_call}",
            f"{flip.champion_score:.2f} > {flip.challenger_score:.2f}",
        )
    if versus.n_flips > SHOWN:
        table.caption = "--json has more, each with its why"
    return table
