"""The ``driftline`` command. Exit codes: 0 done, 1 findings or failed checks, 2 usage, 3 input refused,
4 broker, 5 artefact.

Data goes to stdout, progress and errors to stderr. What a command needs is imported when it runs, so that
``--help`` is quick and ``replay`` needs no broker client.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from models.errors import (
    ArtefactError,
    BrokerError,
    ConfigError,
    ContractError,
    DatasetError,
    DriftlineError,
    InputError,
    StateError,
)

DONE, FINDINGS, USAGE, REFUSED, BROKER, ARTEFACT = range(6)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _swallow_stdout() -> None:
    """Python flushes stdout at exit: what cannot be written there must not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Commands(TyperGroup):
    """The commands, with failures of files told before typer reads them its own way.

    To typer the end of a cut file is the user's Ctrl-D, and a reader of the output that has gone is a failure.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"a compressed input is cut short or damaged ({error}); fetch it again"
            ) from error
        except BrokenPipeError:
            _swallow_stdout()
            raise typer.Exit(DONE) from None
        except OSError as error:
            if error.filename is not None:
                raise ConfigError(f"{error.filename}: {error.strerror}") from error
            if error.errno not in _FULL:
                raise
            _swallow_stdout()
            raise ConfigError(f"the output cannot be written: {error.strerror}") from error


app = typer.Typer(
    name="driftline",
    cls=_Commands,
    help="Judges what AI agents do against the intent they declared, on Kafka, while they do it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="Create, check and export topics; --acls: who needs which rights.")
import_app = typer.Typer(no_args_is_help=True, help="Other formats into bus events.")
verify_app = typer.Typer(help="Check a revocation, an alert, a policy or a release.")
app.add_typer(topics_app, name="topics")
app.add_typer(import_app, name="import")
app.add_typer(verify_app, name="verify")

Bootstrap = Annotated[str | None, typer.Option(help="Kafka address host:port (default: KAFKA_BOOTSTRAP).")]
Prefix = Annotated[str | None, typer.Option(help="Put before every topic name (default: DRIFTLINE_PREFIX).")]
Tools = Annotated[
    Path | None, typer.Option(help="Tool catalogues of recorded sessions (default: beside FILE).")
]
Mode = Annotated[str | None, typer.Option(help="shadow or enforce, in place of the policy file's own mode.")]


def exit_code(error: DriftlineError) -> int:
    """The documented exit code of a failure."""
    if isinstance(error, BrokerError):
        return BROKER
    if isinstance(error, ArtefactError | StateError):
        return ARTEFACT
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, InputError | DatasetError | ContractError):
        return REFUSED
    return FINDINGS


def main() -> None:
    """Run the command; every foreseen failure becomes one sentence on stderr and its exit code."""
    try:
        app()
    except DriftlineError as error:
        sys.stderr.write(f"driftline: {error}\n")
        raise SystemExit(exit_code(error)) from None
    except json.JSONDecodeError as error:
        sys.stderr.write(f"driftline: the input is not JSON: {error}\n")
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _settings(**overrides: Any) -> Any:
    from stream.settings import Settings

    return Settings.from_environment(**overrides)


def _say(text: str) -> None:
    typer.echo(f"driftline: {text}", err=True)


def _mode(mode: str | None) -> str | None:
    if mode not in {None, "shadow", "enforce"}:
        raise ConfigError(f"--mode is {mode!r}; expected shadow or enforce")
    return mode


@contextmanager
def _progress(text: str) -> Iterator[Any]:
    """A progress bar on stderr, silent when stderr is no terminal; yields what takes the number done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done: bar.update(task, completed=done)


# ------------------------------------------------------------------------------------------ running


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Play this file in place of the samples.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 40.0,
    tools: Tools = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Play at most so many events.")] = None,
) -> None:
    """The whole system on this machine: embedded broker, worker, sessions, a live view."""
    from stream.shell.demo import run

    raise typer.Exit(run(data, rate=rate, tools=tools, limit=limit))


@app.command()
def broker(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 9092,
) -> None:
    """The embedded development broker alone, until Ctrl-C. In memory: it forgets everything."""
    import signal
    import time

    from stream.shell.broker import EmbeddedBroker

    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    with EmbeddedBroker(port) as running:
        typer.echo(running.bootstrap)
        _say("development broker, in memory, loopback only; Ctrl-C ends it")
        try:
            while running.running():
                time.sleep(0.3)
        except KeyboardInterrupt:
            return
    raise BrokerError("the embedded broker ended by itself")


@topics_app.callback(invoke_without_command=True)
def topics(
    ctx: typer.Context,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the least rights of each role, and end.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="table, kafka (kafka-acls.sh command lines) or json.")
    ] = "table",
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
    _print_acls(_settings(bootstrap=bootstrap, prefix=prefix), form, principal)


def _principals(given: list[str] | None) -> dict[str, str]:
    found = {}
    for text in given or []:
        role, equals, name = text.partition("=")
        if not equals:
            raise ConfigError(f"--principal is {text!r}; expected ROLE=User:name")
        found[role] = name
    return found


def _print_acls(settings: Any, form: str, principal: list[str] | None) -> None:
    from stream.shell import acls

    rights = acls.acls(settings, _principals(principal))
    if form == "json":
        typer.echo(json.dumps(acls.rows(rights), indent=2))
    elif form in {"kafka", "table"}:
        lines = acls.table(rights) if form == "table" else acls.kafka_commands(settings, rights)
        typer.echo("\n".join(lines))
    else:
        raise ConfigError(f"--format is {form!r}; expected table, kafka or json")


@topics_app.command("create")
def topics_create(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of each topic; chosen once.")
    ] = None,
    replication: Annotated[int | None, typer.Option(min=1, help="Copies of each topic.")] = None,
) -> None:
    """Create what is missing, then check."""
    from stream.shell.topics import create

    settings = _settings(bootstrap=bootstrap, prefix=prefix, partitions=partitions, replication=replication)
    for name in create(settings):
        typer.echo(f"created {name}")
    _check_topics(settings)


@topics_app.command("check")
def topics_check(
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
) -> None:
    """Compare the cluster's topics with what Driftline needs; exit 1 when something is wrong."""
    settings = _settings(bootstrap=bootstrap, prefix=prefix, partitions=partitions, replication=replication)
    if acls:
        from stream.shell.acls import acls as least
        from stream.shell.acls import compare

        found = compare(settings, least(settings, _principals(principal)))
        for text in found:
            typer.echo(f"error: {text}")
        if found:
            raise typer.Exit(FINDINGS)
    _check_topics(settings)


def _check_topics(settings: Any) -> None:
    from stream.shell.topics import check

    findings = check(settings)
    for finding in findings:
        typer.echo(f"{finding.level}: {finding.text}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FINDINGS)
    typer.echo(f"topics at {settings.bootstrap} are as they must be")


@topics_app.command("list")
def topics_list(prefix: Prefix = None) -> None:
    """The table of topics: key, partitions, retention, compaction. Asks no broker."""
    from rich.console import Console
    from rich.table import Table

    from stream.shell.topics import DAY_MS, topic_table

    settings = _settings(prefix=prefix)
    table = Table("topic", "key", "partitions", "kept", "holds")
    for topic in topic_table(settings):
        kept = "last of each key" if topic.compacted else f"{topic.retention_ms // DAY_MS} days"
        table.add_row(settings.topic(topic.base), topic.key, str(topic.partitions), kept, topic.content)
    Console().print(table)


@topics_app.command("dump")
def topics_dump(
    topic: Annotated[str, typer.Argument(help="Base name of the topic.")] = "agent.events.v1",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition (repeatable).")
    ] = None,
) -> None:
    """Export a topic as a log in JSON lines, for `driftline replay`."""
    from stream.shell.topics import log_line, records

    settings = _settings(bootstrap=bootstrap, prefix=prefix)
    out = sys.stdout.buffer
    count = 0
    for record, partitions in records(settings, settings.base(topic), partition):
        out.write(log_line(record, partitions) + b"\n")
        count += 1
    out.flush()
    _say(f"{count} records of {settings.topic(settings.base(topic))}")


def _announce(
    settings: Any, judge: Any, actor: Any, say: Callable[[str], None], warn: Callable[[str], None]
) -> None:
    """Say what will be decided by what, and which settings are fit for development only."""
    from stream.settings import DEVELOPMENT_FINGERPRINT_KEY

    if judge is not None:
        release = judge.releases[""]
        say(
            f"policy {release.policy.name}@{release.policy.digest}, mode {release.policy.mode}; model {release.name}"
        )
    if settings.fingerprint_key == DEVELOPMENT_FINGERPRINT_KEY:
        warn("the fingerprint key is the public default; set DRIFTLINE_FINGERPRINT_KEY")
    if actor is not None and settings.signing_key_file is None:
        warn("signing with a development key; set DRIFTLINE_SIGNING_KEY_FILE")
    if "example.com" in settings.issuer:
        warn("the issuer is an example; set DRIFTLINE_ISSUER")


@app.command()
def worker(
    stage: Annotated[str, typer.Option(help="judge, act or both.")] = "both",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mode: Mode = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics on 127.0.0.1; 0 turns them off.")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Show the settings and end.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="The stream runtime's own messages too.")
    ] = False,
) -> None:
    """The streaming worker: judges events, acts on cases."""
    if stage not in {"judge", "act", "both"}:
        raise ConfigError(f"--stage is {stage!r}; expected judge, act or both")
    settings = _settings(bootstrap=bootstrap, prefix=prefix, metrics_port=metrics_port)
    if print_config:
        typer.echo(settings.rendered())
        return
    import logging
    from importlib.metadata import version

    from stream import bootstrap as composition
    from stream.events import CORE
    from stream.shell import logs
    from stream.shell.app import run

    logs.configure(
        settings.log_format, verbose=verbose, fixed={"version": version("driftline"), "core": CORE}
    )
    log = logging.getLogger("driftline")
    as_json = settings.log_format == "json"

    def say(text: str) -> None:
        log.info(text) if as_json else _say(text)

    def warn(text: str) -> None:
        log.warning(text) if as_json else _say(f"WARNING: {text}")

    judge = (
        composition.judge(settings, partitions=settings.partitions, mode=_mode(mode))
        if stage in {"judge", "both"}
        else None
    )
    actor = composition.actor(settings) if stage in {"act", "both"} else None
    _announce(settings, judge, actor, say, warn)
    identity = (CORE, "", "")
    if judge is not None:
        bundled = judge.releases[""]
        identity = (CORE, bundled.name, f"{bundled.policy.name}@{bundled.policy.digest}")
    composition.spare_the_collector()
    code = run(settings, judge=judge, actor=actor, announce=say, identity=identity)
    # Threads of the Kafka client may wait for a broker that is gone; everything durable is done by now.
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


@app.command()
def send(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Events, recorded sessions or a log; - is stdin.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Events a second (default: as fast as it goes).")
    ] = None,
    run: Annotated[str, typer.Option("--as", help="Prefix every id, to play a file once more.")] = "",
    from_quarantine: Annotated[
        bool,
        typer.Option(
            "--from-quarantine", help="Send quarantined records again (FILE: a dump that was mended)."
        ),
    ] = False,
    tools: Tools = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Play files onto the bus."""
    from stream.shell import send as sending

    settings = _settings(bootstrap=bootstrap, prefix=prefix)
    broken: list[str] = []

    def again() -> Iterator[sending.Message]:
        from stream.events import QUARANTINE
        from stream.shell.topics import records

        sources: Iterable[Any] = (
            (record for file in files for record in sending.quarantined_file(file))
            if files
            # Read whole before anything is sent: what is refused again would otherwise be met once more.
            else [record for record, _ in records(settings, QUARANTINE)]
        )
        for message, reason in sending.mended(
            sources, [settings.topic(base) for base in settings.input_topics]
        ):
            if message is None:
                broken.append(reason)
            else:
                yield message

    if not files and not from_quarantine:
        raise InputError("name a file to send, or - for standard input")
    items: Iterable[sending.Message]
    if from_quarantine:
        items = again()
    else:
        items = (item for file in files or [] for item in sending.messages(file, tools=tools, run=run))
    with _progress("sending") as done:
        sent = sending.play(settings, items, rate, progress=done)
    for reason in broken:
        typer.echo(reason)
    _say(f"{sent} records confirmed by {settings.bootstrap}")
    if broken:
        raise typer.Exit(FINDINGS)


@app.command()
def watch(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show what is already there, too.")
    ] = False,
) -> None:
    """Decisions, alerts and revocations as they happen."""
    from stream.shell.watch import watch as show

    show(_settings(bootstrap=bootstrap, prefix=prefix), beginning=beginning)


# ------------------------------------------------------------------------------------------ offline


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Events, recorded sessions or a log; - is stdin.")],
    everything: Annotated[bool, typer.Option("--all", help="Every output, not decisions alone.")] = False,
    tools: Tools = None,
    mode: Mode = None,
) -> None:
    """Judge a file without a broker; decisions as JSON lines."""
    from stream.offline.replay import run_replay

    run_replay(file, everything, tools, _settings(), sys.stdout, mode=_mode(mode))
    sys.stdout.flush()


def _data_files(files: list[Path] | None) -> list[Path]:
    """The files named, or those of DRIFTLINE_DATA that the bundled model learns from."""
    from models.training.dataset import TRAINING_SETS

    if files:
        return files
    folder = os.environ.get("DRIFTLINE_DATA")
    if not folder:
        raise DatasetError("name files of recorded sessions, or set DRIFTLINE_DATA to a folder of them")
    found = [path for name in TRAINING_SETS for path in sorted(Path(folder).glob(f"{name}.jsonl*"))]
    if not found:
        raise DatasetError(f"DRIFTLINE_DATA is {folder}, which holds none of {', '.join(TRAINING_SETS)}")
    return found


def _labelled_rows(files: list[Path], tools: Path | None, *, scenarios: bool = False) -> tuple[Any, Any]:
    """Feature rows and labels of recorded files, aligned; with the scenarios made of them for training."""
    from models.training.scenarios import corpus
    from stream.offline import study

    recorded, catalogues = study.read(files, tools)
    sets = [study.recorded_sets(recorded, catalogues)]
    if scenarios:
        sets.append(corpus.training(recorded, catalogues))
    found = study.labelled(chain.from_iterable(sets), study.acted(files), _say)
    return found.X, found.calls


@app.command()
def train(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Labelled recorded sessions (default: DRIFTLINE_DATA).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the new model.")] = Path("build/model"),
    tools: Tools = None,
) -> None:
    """Train a challenger on labelled recorded sessions, and on scenarios made of them.

    Some three quarters of an hour on two cores: the scenarios are replayed, and a model is fitted for each domain left out.
    """
    from models.evidence.features import FEATURES, FEATURES_VERSION
    from models.training import dataset
    from models.training import fit as training

    chosen = _data_files(files)
    X, calls = _labelled_rows(chosen, tools, scenarios=True)
    trained = training.train(
        X,
        calls,
        FEATURES,
        FEATURES_VERSION,
        {file.name: dataset.file_digest(file) for file in chosen},
        progress=_say,
    )
    model = training.write(trained, out)
    typer.echo(json.dumps({"model": model.name, "digest": model.digest, "directory": str(out)}))


@app.command()
def calibrate(
    decisions: Annotated[
        list[Path], typer.Argument(help="Decisions of shadow operation, as JSON lines or as a dumped topic.")
    ],
    out: Annotated[Path, typer.Option(help="New directory of the release.")],
    model: Annotated[Path | None, typer.Option(help="Model (default: the one in use).")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy (default: the one in use).")] = None,
) -> None:
    """Raise thresholds by what an ecosystem's own sessions score, unlabelled, and write them as a release.

    A threshold given as a budget rises when more sessions reach it than the budget, and 5 % of hijacks, explain. It
    never falls, and never passes that of a tenth of the budget. Activate the release as docs/operations.md says.
    """
    from models.release import registry
    from stream.bootstrap import make_release
    from stream.offline import calibration
    from stream.policy import parse_policy, read_policy

    settings = _settings()
    source = model or settings.model_dir or registry.BUNDLED
    loaded = registry.load(source)
    text, name = read_policy(policy or settings.policy_path)
    release = make_release(loaded, parse_policy(text, name))
    documents = (
        (f"{file}, line {number}", row)
        for file in decisions
        for number, row in _documents(file, "agent.decisions.v1")
    )
    sample = calibration.maxima(documents, release.name)
    calibration.enough(sample, release.name)
    found = calibration.raise_levels(release.policy, loaded, list(sample.highest.values()))
    digest = calibration.write(found, text, name, loaded, source, out)
    typer.echo(f"{len(sample.highest)} sessions", err=True)
    typer.echo(f"{'level':<8}{'budget':>8}{'before':>10}{'reached':>9}{'after':>10}{'reached':>9}")
    for one in found:
        before, after = one.before / 10_000, one.after / 10_000
        typer.echo(
            f"{one.level:<8}{one.budget:>8g}{before:>10.4f}{one.reached_before:>9}{after:>10.4f}{one.reached_after:>9}"
        )
    if (alert := calibration.spent(found, release.policy, loaded)) is not None:
        _say(
            f"WARNING: alert: {alert.reached_after} of {len(sample.highest)} sessions still reach its threshold: look for"
            " attacks in the sample; alert now equals revoke"
        )
    typer.echo(f"release {digest} in {out}")


@app.command()
def evaluate(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Labelled recorded sessions (default: DRIFTLINE_DATA).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
    model: Annotated[Path | None, typer.Option(help="Score with this model (default: see below).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG with ROC and reliability.")] = None,
    tools: Tools = None,
) -> None:
    """Detection quality on labelled recorded sessions.

    Sessions that the model never saw are scored with it. Where it knows an intent, an attacker's goal or a
    source of them, none of them is called held out: each suite is left out in turn, and a model fitted on the
    others scores it.
    """
    from models.release import registry
    from models.training import evaluate as evaluation
    from models.training.dataset import overlap

    chosen = _data_files(files)
    scored = registry.load(model)
    X, calls = _labelled_rows(chosen, tools)
    seen = overlap(calls.sessions, scored.manifest["seen"])
    if seen:
        told = ", ".join(f"{n} by {what}" for what, n in seen.items())
        _say(f"the model knows sessions of these ({told}): leaving one suite out in turn")
    report = evaluation.evaluate(
        X,
        calls,
        "leave-one-suite-out" if seen else "score-only",
        model=scored,
        plot=plot,
        progress=_say,
    )
    if as_json:
        typer.echo(json.dumps(report, indent=2, sort_keys=True, default=str))
        return
    _tables(report)


def _tables(report: dict[str, Any]) -> None:
    """The report's main figures as aligned tables; everything is in ``--json``."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    by_suite = report.get("by_suite") or {}
    if by_suite:
        rates = list(next(iter(by_suite.values()))["at"])
        table = Table(title="hijacked sessions detected [95 % by user task]")
        table.add_column("suite")
        table.add_column("benign", justify="right")
        table.add_column("hijacked", justify="right")
        table.add_column("AUC", justify="right")
        for rate in rates:
            table.add_column(f"at {100 * float(rate):g} % FPR", justify="right")
        pooled = [(name, report[name]) for name in ("pooled", "null") if name in report]
        for name, row in [*sorted(by_suite.items()), *pooled]:
            cells = []
            for rate in rates:
                found = row["at"][rate]["detected"]
                low, high = found.get("by_task") or found["wilson"]
                value = (
                    "-"
                    if found["rate"] is None
                    else f"{100 * found['rate']:.0f} % [{100 * low:.0f}-{100 * high:.0f}]"
                )
                cells.append(value)
            auc = "-" if row["auc"] is None else f"{row['auc']:.3f}"
            table.add_row(name, str(row["benign"]), str(row["hijacked"]), auc, *cells)
        console.print(table)
    for name in ("transferred", "flagged"):
        if name not in report:
            continue
        table = Table(
            title={
                "transferred": "thresholds set on the other domains, as they transfer",
                "flagged": "flagged at the model's thresholds",
            }[name]
        )
        table.add_column("set")
        table.add_column("kind or budget")
        table.add_column("flagged of")
        for place, rows in sorted(report[name].items()):
            for kind, row in rows.items():
                parts = [
                    f"{k} {v['hits']}/{v['n']}"
                    for k, v in sorted(row.items())
                    if isinstance(v, dict) and "n" in v and v["n"]
                ]
                table.add_row(place, kind, ", ".join(parts))
        console.print(table)
    typer.echo("More (by attack, how early, calibration): --json")


@import_app.command("recorded")
def import_recorded(
    file: Annotated[Path, typer.Argument(help="Recorded sessions; - is stdin.")],
    run: Annotated[str, typer.Option("--as", help="Prefix every id.")] = "",
    tools: Tools = None,
) -> None:
    """Recorded sessions as bus events, JSON lines."""
    from stream.events import dumps
    from stream.shell.send import recorded_events

    refused: list[str] = []
    made = 0
    for event in recorded_events(file, refused.append, tools=tools, run=run):
        sys.stdout.buffer.write(dumps(event) + b"\n")
        made += 1
    sys.stdout.buffer.flush()
    if refused:
        text = f"{len(refused)} lines were refused; the first is {refused[0]}"
        if not made:
            raise InputError(f"{file} holds no recorded session: {text}")
        _say(text)


# ------------------------------------------------------------------------------------------ verify


@verify_app.callback(invoke_without_command=True)
def verify(
    ctx: typer.Context,
    jwks_out: Annotated[Path | None, typer.Option(help="Write this installation's public keys here.")] = None,
) -> None:
    """Check a revocation, an alert, a policy or a release."""
    from stream.outbound.tokens import SigningKeys

    if jwks_out is not None:
        settings = _settings()
        own = SigningKeys(path=settings.signing_key_file, state_dir=settings.state_dir).jwks()
        jwks_out.write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"public keys written to {jwks_out}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@verify_app.command("revocation")
def verify_revocation(
    file: Annotated[
        Path | None, typer.Argument(help="A token, alone or as a line of `replay --all`; - is stdin.")
    ] = None,
    jwks: Annotated[Path | None, typer.Option(help="The issuer's public keys.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer expected (default: the settings').")] = None,
    audience: Annotated[
        str | None, typer.Option(help="Who you are (default: whoever the token names).")
    ] = None,
) -> None:
    """Check the signature and claims of revocations; exit 1 when one does not hold."""
    from stream.outbound.tokens import SigningKeys, TokenError, key_set, verify_token
    from stream.shell.watch import claims_of

    settings = _settings()
    if file is None:
        raise InputError("name a file with tokens, or - for standard input")
    if jwks is not None:
        try:
            keys = json.loads(jwks.read_text(encoding="utf-8"))
            key_set(keys)
        except (OSError, ValueError) as error:
            raise InputError(f"{jwks} is no JWK set: {error}") from error
        except TokenError as error:
            raise InputError(f"{jwks}: {error.detail}") from error
    else:
        try:
            own = SigningKeys(path=settings.signing_key_file, state_dir=settings.state_dir, make=False)
        except ConfigError as error:
            raise ConfigError(f"no keys to verify with: give --jwks ({error})") from error
        keys = own.jwks()
    failed = count = 0
    for number, token in _tokens(file):
        count += 1
        stated = claims_of(token.encode()).get("aud")
        reader = audience or (stated[0] if isinstance(stated, list) and stated else str(stated))
        try:
            claims = verify_token(token, keys, issuer or settings.issuer, reader)
        except ContractError as error:
            failed += 1
            typer.echo(f"line {number}: refused, {error}")
        else:
            typer.echo(
                f"line {number}: holds, jti {claims['jti']}, aud {claims['aud']}, txn {claims.get('txn')}"
            )
    if count == 0:
        raise InputError(f"{file} holds no token")
    if failed:
        raise typer.Exit(FINDINGS)


def _tokens(file: Path) -> Iterator[tuple[int, str]]:
    """Compact tokens of a file: alone on a line, or as the value of a revocation or risk output."""
    import base64

    from stream.offline.recorded import open_text

    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            if not text.startswith("{"):
                yield number, text
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise InputError(f"{file}, line {number}: neither a token nor JSON") from error
            if str(row.get("topic", "")).endswith(("agent.revocations.v1", "agent.risk.v1")) and row.get(
                "value_b64"
            ):
                yield number, base64.b64decode(row["value_b64"]).decode("ascii", "replace")


def _documents(file: Path, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON documents of a file: one a line or one in all, bare or as outputs of `topic`."""
    import base64

    from stream.offline.recorded import open_text

    with open_text(file) as lines:
        text = lines.read()
    try:
        rows = [(1, json.loads(text))]
    except ValueError:
        try:
            rows = [(n, json.loads(line)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        except ValueError as error:
            raise InputError(f"{file} is neither JSON nor JSON lines") from error
    for number, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: expected a JSON object")
        if "topic" not in row:
            yield number, row
        elif str(row["topic"]).endswith(topic):
            yield number, row["value"] if "value" in row else json.loads(base64.b64decode(row["value_b64"]))


@verify_app.command("alert")
def verify_alert(
    file: Annotated[Path, typer.Argument(help="Alerts as JSON or JSON lines; - is stdin.")],
) -> None:
    """Check alerts against OCSF's own schema; exit 1 when one does not hold."""
    from stream.outbound.findings import problems

    failed = count = 0
    for number, alert in _documents(file, "agent.alerts.v1"):
        count += 1
        found = problems(alert)
        failed += bool(found)
        for text in found:
            typer.echo(f"line {number}: {text}")
    if count == 0:
        raise InputError(f"{file} holds no alert")
    typer.echo(f"{count} alerts, {failed} with problems")
    if failed:
        raise typer.Exit(FINDINGS)


@verify_app.command("policy")
def verify_policy(
    file: Annotated[Path | None, typer.Argument(help="A policy file (default: the one in use).")] = None,
) -> None:
    """Check a policy file; exit 1 when it is not valid."""
    from models.release import registry
    from stream.policy import levels, load_policy

    settings = _settings()
    try:
        policy = load_policy(file if file is not None else settings.policy_path)
        levels(policy, registry.load(settings.model_dir).threshold)
    except ConfigError as error:
        typer.echo(str(error))
        raise typer.Exit(FINDINGS) from None
    typer.echo(f"valid, mode {policy.mode}, digest {policy.digest}")


@verify_app.command("release")
def verify_release(
    directory: Annotated[
        Path | None, typer.Argument(help="A model directory (default: the bundled one).")
    ] = None,
) -> None:
    """Check a model's bytes against its manifest and this version; exit 5 when it cannot be used."""
    from models.release import registry
    from stream.bootstrap import release_digest
    from stream.policy import load_policy

    model = registry.load(directory)
    typer.echo(f"usable, {model.name}, digest {model.digest}")
    if directory is not None and (policy := directory / "policy.yaml").exists():
        typer.echo(f"release {release_digest(model.digest, load_policy(policy))}")


if __name__ == "__main__":
    main()
