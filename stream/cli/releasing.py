"""``driftline release``: what may be activated, what is live, and how another goes live or comes back, without a restart."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, InputError
from stream.cli import tracking
from stream.cli.exits import FINDINGS
from stream.cli.learning import check_sessions, labelled_sessions, read_labels
from stream.cli.options import AsJson, Bootstrap, Prefix, Tools, checked_name, settings, signing_key
from stream.cli.terminal import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.offline.gates import Candidate, Gate
    from stream.offline.hold_out import HoldOut
    from stream.registrations import Alias
    from stream.settings import Settings
    from stream.shell.releases import Registry

app = typer.Typer(
    help="Releases of model and policy: publish, promote, roll back, log.", no_args_is_help=True
)
Key = Annotated[
    Path,
    typer.Option(
        envvar="DRIFTLINE_ACTIVATION_KEY_FILE",
        help="Private JWK that signs; DRIFTLINE_ACTIVATION_JWKS of the workers has its public half.",
    ),
]
By = Annotated[str, typer.Option(help="Who does it, for the record.")]
Wait = Annotated[
    float, typer.Option(min=1, max=3600, help="Seconds to wait until workers have taken an activation.")
]


@app.callback()
def release() -> None:
    """Releases of model and policy: publish, promote, roll back, log."""


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="A release: a model, its manifest and a policy.yaml.")],
    key: Key,
    location: Annotated[
        str | None,
        typer.Option(
            help="Where workers fetch it: a folder or tar archive on a disk that they share, or https. Default: the folder itself."
        ),
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Name it @ALIAS as well, such as challenger.")] = None,
    by: By = "",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mlflow: tracking.Url = None,
    mlflow_model: tracking.Model = tracking.NAME,
    mlflow_experiment: tracking.Experiment = tracking.NAME,
    mlflow_token_file: tracking.TokenFile = None,
) -> None:
    """Register a release on the bus, signed: workers fetch it when it is activated, and check every byte."""
    import tempfile

    from stream.bootstrap import release_digest
    from stream.policy import load_policy
    from stream.registrations import Place
    from stream.shell import releases

    signing = signing_key(key)
    configured = trusting(settings(bootstrap=bootstrap, prefix=prefix))
    _need_release(folder)
    made, digest = _usable(configured, folder)
    where = releases.location_of(location or str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch) / "release"
        releases.bring(where, there)
        if release_digest(there, load_policy(there / "policy.yaml")) != digest:
            raise InputError(f"what lies at {where} is not the release in {folder}; copy it there first")
    manifest = {name: made.manifest[name] for name in _TOLD if name in made.manifest}
    releases.publish(configured, Place(digest, where), manifest, signing)
    if alias is not None:
        known = releases.registry(configured)
        _name(configured, known, alias.removeprefix("@"), digest, checked_name(by), signing)
    typer.echo(digest)
    tracked = tracking.Tracking(mlflow, mlflow_model, mlflow_experiment, mlflow_token_file)
    tracked.afterwards(
        lambda server, names: tracking.log(
            server,
            names,
            tracking.in_folder(folder, digest, by, where, signing.kid),
            [alias.removeprefix("@")] if alias is not None else [],
        ),
        digest,
    )


def _need_release(folder: Path) -> None:
    """Refuse what is no release at first sight, before anything heavy is imported."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder, so no release; mend the path")
    if not (folder / "policy.yaml").is_file():
        raise InputError(f"{folder} has no policy.yaml; copy the policy there that the model is to judge by")


def _usable(configured: Settings, folder: Path) -> tuple[Candidate, str]:
    """The release in a folder, if workers could judge by it, and its digest."""
    from stream.bootstrap import release_digest
    from stream.offline.gates import candidate
    from stream.policy import load_policy

    return candidate(configured, folder), release_digest(folder, load_policy(folder / "policy.yaml"))


_TOLD = ("sha256", "features_version", "thresholds", "sklearn", "command", "base_rate")
"""What a record tells of a model's manifest: the whole of one is half a megabyte."""


@app.command()
def promote(
    which: Annotated[str, typer.Argument(help="Digest of a release, the beginning of one, or an @alias.")],
    key: Key,
    by: By,
    scope: Annotated[
        str, typer.Option(help="new: sessions that begin from now on; open: those that are open, too.")
    ] = "new",
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote it though a gate fails; the reason is kept.")
    ] = None,
    hold_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Sessions that the challenger did not learn from, with --labels: both are measured on them, and they stand in for recorded "
            "suites that it was not measured on (repeatable)."
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Labels of the sessions of --hold-out (repeatable).")
    ] = None,
    tools: Tools = None,
    canaries: Annotated[
        list[Path] | None,
        typer.Option(help="Sessions that must stay caught as gravely as by the champion (repeatable)."),
    ] = None,
    wait: Wait = 60,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mlflow: tracking.Url = None,
    mlflow_model: tracking.Model = tracking.NAME,
    mlflow_experiment: tracking.Experiment = tracking.NAME,
    mlflow_token_file: tracking.TokenFile = None,
) -> None:
    """Make a release @champion and activate it in every partition, one first; exit 1 when a gate refuses it.

    It is compared with the champion: samples that must stay caught or left alone, detection and calibration on suites that
    both were measured on without having seen them, CPU and size; with --hold-out also on labelled sessions of your own, reader, signals and
    policy included, and with --canaries on sessions that must stay caught. What is @champion already is activated again, and compared with
    nothing: so a promotion or a rollback that was cut off is brought to its end.
    """
    from stream.registrations import CHAMPION
    from stream.shell import releases
    from stream.shell.mlflow_log import Promotion

    signing, name = signing_key(key), checked_name(by)
    if scope not in ("new", "open"):
        raise ConfigError(f"--scope is {scope!r}; expected new or open")
    if force is not None and not force.strip():
        raise ConfigError("--force wants a reason, for the record")
    if labels and not hold_out:
        raise ConfigError("--labels are those of --hold-out; name its sessions, too")
    check_sessions([*(hold_out or []), *(canaries or [])], tools, labels)
    configured = trusting(settings(bootstrap=bootstrap, prefix=prefix))
    known = releases.registry(configured)
    digest = digest_named(known, which)
    champion = known.aliases.get(CHAMPION)
    tracked = tracking.Tracking(mlflow, mlflow_model, mlflow_experiment, mlflow_token_file)
    if champion is not None and champion.digest == digest:
        # A promotion or a rollback was cut off: what it began is done whole, and nothing else is changed by that.
        say("it is @champion already: nothing is compared, and it is activated again in every partition")
        _go_live(configured, known, digest, scope, name, champion.reason, signing, wait)
        tracked.champion(configured, known, digest, name)
        return
    own = _hold_out(hold_out, tools, labels) if hold_out else None
    found = _compared(configured, champion, digest, own, canaries or ())
    show_gates(found)
    failed = [gate.name for gate in found if not gate.holds]
    if failed and force is None:
        say(
            f"not promoted: {len(failed)} of {len(found)} gates fail; --force REASON promotes it all the same"
        )
        raise typer.Exit(FINDINGS)
    reason = force or "" if failed else ""
    _go_live(configured, known, digest, scope, name, reason, signing, wait)
    tracked.champion(configured, known, digest, name, Promotion(name, reason, found))


@app.command()
def rollback(
    key: Key,
    by: By,
    wait: Wait = 60,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mlflow: tracking.Url = None,
    mlflow_model: tracking.Model = tracking.NAME,
    mlflow_experiment: tracking.Experiment = tracking.NAME,
    mlflow_token_file: tracking.TokenFile = None,
) -> None:
    """Take the last promotion back: the champion before judges all sessions again, open ones too. No gate is asked."""
    from stream.registrations import CHAMPION
    from stream.shell import releases

    signing, name = signing_key(key), checked_name(by)
    configured = trusting(settings(bootstrap=bootstrap, prefix=prefix))
    known = releases.registry(configured)
    champion = known.aliases.get(CHAMPION)
    if champion is None or not champion.previous:
        raise InputError(
            "nothing was promoted before the present champion; `driftline release list` shows what is"
        )
    digest = champion.previous[0]
    _go_live(configured, known, digest, "open", name, "", signing, wait, previous=champion.previous[1:])
    tracked = tracking.Tracking(mlflow, mlflow_model, mlflow_experiment, mlflow_token_file)
    tracked.champion(configured, known, digest, name)


@app.command()
def log(
    which: Annotated[
        str,
        typer.Argument(
            help="A release's folder; or, of those on the bus, a digest, the beginning of one, or an @alias."
        ),
    ],
    alias: Annotated[
        list[str] | None, typer.Option(help="Of a folder: name its version @ALIAS there (repeatable).")
    ] = None,
    report: Annotated[
        list[Path] | None, typer.Option(help="A file to be kept beside it, such as a report (repeatable).")
    ] = None,
    by: By = "",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    mlflow: tracking.Url = None,
    mlflow_model: tracking.Model = tracking.NAME,
    mlflow_experiment: tracking.Experiment = tracking.NAME,
    mlflow_token_file: tracking.TokenFile = None,
) -> None:
    """Log a release to MLflow: a run with what its manifest tells and its files, and one version of a registered model.

    Of a release on the bus, the aliases there follow those on the bus. The same release again makes no second version. Exit 1: not logged.
    """
    if not mlflow:
        raise ConfigError("no MLflow server is named; give --mlflow, or set DRIFTLINE_MLFLOW_URL")
    server, names = tracking.Tracking(mlflow, mlflow_model, mlflow_experiment, mlflow_token_file).open()
    wanted, reports = tracking.checked_aliases(alias or []), tracking.checked_reports(report or [])
    name = checked_name(by) if by else ""
    if which.startswith("@") or (not Path(which).exists() and re.fullmatch("[0-9a-f]{8,64}", which)):
        from stream.shell import releases

        if wanted:
            raise ConfigError("--alias is for a folder; aliases of what is on the bus follow those there")
        configured = trusting(settings(bootstrap=bootstrap, prefix=prefix))
        known = releases.registry(configured)
        digest = digest_named(known, which)
        wanted = [one.alias for one in known.aliases.values() if one.digest == digest]
        release = tracking.on_bus(configured, known, digest, name, reports)
    else:
        _need_release(Path(which))
        _, digest = _usable(settings(bootstrap=bootstrap, prefix=prefix), Path(which))
        release = tracking.in_folder(Path(which), digest, name, reports=reports)
    typer.echo(tracking.log(server, names, release, wanted))


@app.command(name="list")
def list_(as_json: AsJson = False, bootstrap: Bootstrap = None, prefix: Prefix = None) -> None:
    """Releases that are registered, and what aliases mean."""
    from stream.events import dumps
    from stream.shell import releases

    configured = trusting(settings(bootstrap=bootstrap, prefix=prefix))
    known = releases.registry(configured)
    if as_json:
        document = {
            "releases": [place._asdict() for place in known.places.values()],
            "aliases": [alias._asdict() for alias in known.aliases.values()],
            "untrusted": known.untrusted,
        }
        typer.echo(dumps(document).decode())
        return
    _show(known)


def trusting(configured: Settings) -> Settings:
    if configured.activation_jwks is None:
        raise ConfigError(
            "nobody is trusted to activate releases; set DRIFTLINE_ACTIVATION_JWKS to their public keys, here and for the workers"
        )
    return configured


def digest_named(known: Registry, which: str) -> str:
    """The digest that a name, a digest or the beginning of one stands for."""
    if which.startswith("@"):
        alias = known.aliases.get(which[1:])
        if alias is None:
            raise InputError(f"{which} is no alias; `driftline release list` shows them")
        return alias.digest
    found = [digest for digest in known.places if digest.startswith(which)] if len(which) >= 8 else []
    if len(found) != 1:
        what = "more than one release begins" if found else "no release that a trusted key registered begins"
        raise InputError(f"{what} with {which!r} (at least 8 digits); `driftline release list` shows them")
    return found[0]


def _hold_out(files: list[Path], tools: Path | None, labels: list[Path] | None) -> HoldOut:
    from stream.offline import study
    from stream.offline.hold_out import HoldOut

    recorded, catalogues = labelled_sessions(files, tools, read_labels(labels))
    return HoldOut(list(study.recorded_sets(recorded, catalogues)), study.acted(files), progress)


def _compared(
    configured: Settings, champion: Alias | None, digest: str, own: HoldOut | None, canaries: Sequence[Path]
) -> list[Gate]:
    from stream.offline import hold_out
    from stream.offline.gates import candidate, gates, on_canaries
    from stream.registrations import BUNDLED
    from stream.shell import releases

    folder = releases.fetch(configured, digest) if digest != BUNDLED else None
    before = releases.fetch(configured, champion.digest) if champion and champion.digest else None
    say("comparing it with the champion ...")
    pair = candidate(configured, before), candidate(configured, folder)
    measured = hold_out.compared(*pair, own) if own is not None else ()
    return [*gates(*pair, measured), *([on_canaries(*pair, canaries)] if canaries else [])]


def _name(
    configured: Settings,
    known: Registry,
    alias: str,
    digest: str,
    by: str,
    key: Any,
    *,
    reason: str = "",
    previous: Sequence[str] | None = None,
) -> Alias:
    """Say what an alias means from now on; what it meant before is kept with it."""
    from stream.registrations import BUNDLED, CHAMPION, MAX_PREVIOUS, Alias
    from stream.shell import releases

    before = known.aliases.get(alias)
    if previous is None:
        # The first champion took over from what workers begin with.
        begun = [BUNDLED] if alias == CHAMPION else []
        if before is None:
            previous = begun
        elif before.digest == digest:
            previous = before.previous  # said again: to go back is still to what was there before it
        else:
            previous = [before.digest, *before.previous]
    made = Alias(alias, digest, releases.next_epoch(before), list(previous)[:MAX_PREVIOUS], by, reason)
    releases.name(configured, made, key)
    return made


def _go_live(
    configured: Settings,
    known: Registry,
    digest: str,
    scope: str,
    by: str,
    reason: str,
    key: Any,
    wait_s: float,
    previous: Sequence[str] | None = None,
) -> None:
    """Activate a release in one partition, then in all others, and say when it judges there."""
    from stream.registrations import CHAMPION
    from stream.shell import releases

    places = releases.partitions_of(configured)
    alias = _name(configured, known, CHAMPION, digest, by, key, reason=reason, previous=previous)
    began = time.monotonic()
    told = digest[:16] or "what workers begin with"
    for n, some in enumerate((places[:1], places[1:])):
        sent = releases.activate(configured, some, digest, alias.epoch, scope, key)
        left = releases.taken(configured, sent, wait_s)
        if left:
            where = ", ".join(f"{each.topic}[{each.partition}]" for each in left[:5])
            mend = (
                "the others were left as they are. Does a worker run, and may it read agent.releases.v1 and the release's place? Mend "
                f"that: the activation stands in the log. Then `driftline release promote @champion --scope {scope}` does the others"
                if n == 0
                else "their workers take it when they run"
            )
            say(f"no worker has taken {told} in {where} within {wait_s:g} s; {mend}")
            raise typer.Exit(FINDINGS)
    whom = "all sessions" if scope == "open" else "sessions that begin from now on"
    typer.echo(f"{told} judges {whom} in {len(places)} partitions after {time.monotonic() - began:.1f} s")


def show_gates(found: Sequence[Gate], *, beside_data: bool = False) -> None:
    """Print what was compared, as a table."""
    from rich.table import Table

    from stream.shell.screen import screen

    table = Table("gate", "champion", "challenger", "", "")
    for gate in found:
        table.add_row(
            gate.name, gate.champion, gate.challenger, "holds" if gate.holds else "[red]FAILS[/]", gate.why
        )
    screen(beside_data=beside_data).print(table)


def _show(known: Registry) -> None:
    from rich.table import Table

    from stream.shell.screen import screen

    table = Table("alias", "release", "by", "though a gate failed")
    for alias in known.aliases.values():
        told = alias.digest[:16] or "what workers begin with"
        table.add_row(f"@{alias.alias}", told, alias.by, alias.reason)
    screen().print(table)
    for digest, place in known.places.items():
        typer.echo(f"{digest}\n  {place.location}")  # whole, since people copy them
    if known.untrusted:
        say(
            f"{known.untrusted} records bear no signature that DRIFTLINE_ACTIVATION_JWKS trusts; they count for nothing"
        )
