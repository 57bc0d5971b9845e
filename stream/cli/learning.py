"""Commands of the data scientist: measure a model, calibrate it to an ecosystem; and what they share with `train`."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, DatasetError, brings
from stream.cli.exits import FINDINGS
from stream.cli.options import EVENTS_WANTED, Tools, settings
from stream.cli.terminal import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.contracts import Label
    from models.training.scenarios.corpus import Recordings
    from models.training.scenarios.corpus import Tools as Catalogue
    from stream.offline.calibration import Fitted
    from stream.offline.evaluation import Found
    from stream.offline.signal_rates import Rate
    from stream.offline.study import OnBus


def data_files(files: list[Path] | None) -> list[Path]:
    """The files named, or those of DRIFTLINE_DATA that the bundled model learns from."""
    if files:
        return files
    return bundled_sets("name files of recorded sessions, or set DRIFTLINE_DATA to a folder of them")


def bundled_sets(otherwise: str) -> list[Path]:
    """The files of DRIFTLINE_DATA that the bundled model learns from; raises `DatasetError`, with `otherwise` where it is not set."""
    from models.training.dataset import TRAINING_SETS

    folder = os.environ.get("DRIFTLINE_DATA")
    if not folder:
        raise DatasetError(otherwise)
    present = [path for name in TRAINING_SETS for path in sorted(Path(folder).glob(f"{name}.jsonl*"))]
    if not present:
        raise DatasetError(f"DRIFTLINE_DATA is {folder}, which holds none of {', '.join(TRAINING_SETS)}")
    return present


Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="Labels of the sessions of FILES, which may be bus events then (docs/labels.md; repeatable)."
    ),
]


def check_sessions(files: list[Path] | None, tools: Path | None, labels: list[Path] | None) -> None:
    """Refuse files named that hold neither sessions nor labels, before a model is loaded."""
    from stream.offline import lines

    lines.check(files or [], lines.is_input, EVENTS_WANTED, tools)
    lines.check(labels or [], None, "labels")


def labelled_sessions(
    chosen: list[Path],
    tools: Path | None,
    labels: Sequence[Label] | None,
    *,
    need_tools: bool = False,
    bus: OnBus | None = None,
) -> tuple[Recordings, dict[str, Catalogue]]:
    """Labelled sessions of files, and of what was read of the bus, with their catalogues."""
    from stream.offline import study

    return study.given(chosen, tools, labels, settings().tenants(), say, need_tools=need_tools, bus=bus)


def read_labels(files: list[Path] | None) -> list[Label] | None:
    """The labels of these files, where any are named."""
    from stream.offline.labels import store

    return None if files is None else store.read(files)


def calibrate(
    decisions: Annotated[
        list[Path], typer.Argument(help="Decisions of shadow operation, as JSON lines or as a dumped topic.")
    ],
    out: Annotated[Path, typer.Option(help="New directory of the release.")],
    model: Annotated[Path | None, typer.Option(help="Model (default: the one in use).")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy (default: the one in use).")] = None,
    promise: Annotated[
        str | None,
        typer.Option(help="Keep false alerts to this share of honest sessions, expected, as 0.01."),
    ] = None,
    alerts_a_day: Annotated[
        str | None, typer.Option(help="In place of --promise: so many false alerts a day and tenant.")
    ] = None,
    hijacked_at_most: Annotated[
        str | None,
        typer.Option(help="Share of the sessions that is hijacked at most, of a promise (default: 0.05)."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="What makes sessions one task of a promise: intent (default), agent or session."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Labels: sessions known to be hijacked are left out of a promise (repeatable)."),
    ] = None,
) -> None:
    """Fit thresholds, and quieten signals, by what an ecosystem's own sessions show, unlabelled; write them as a release.

    A threshold given as a budget rises when more sessions reach it than the budget, and 5 % of hijacks, explain, and never
    passes that of a tenth of its budget. Alert falls where so few sessions score high that it keeps its budget further
    down (under 1 %: 230 sessions or more), and never below that of five times its budget. Give the policy that has the
    budgets each time: a level given as a number stays. A signal that alone alerts more sessions than the alert's budget
    is to watch from then on; one that denies stays. Activate the release as docs/operations.md says.

    With --promise or --alerts-a-day, alert is the lowest threshold for which few false alerts are guaranteed, by tenant where it
    has enough tasks: docs/promise.md says what is supposed, and when it does not hold. Exit 1 where it cannot be promised to some tenant,
    which is named; the others have theirs.
    """
    from stream.cli import promising
    from stream.offline import lines

    lines.check(decisions, lines.is_json, "JSON")
    asked = promising.asked(promise, alerts_a_day, hijacked_at_most, tasks, labels)
    from models.release import registry
    from stream.bootstrap import make_release
    from stream.cli.documents import documents
    from stream.offline import calibration, signal_rates
    from stream.policy import parse_policy, read_policy

    configured = settings()
    source = model or configured.model_dir or registry.BUNDLED
    loaded = registry.load(source)
    text, name = read_policy(policy or configured.policy_path)
    release = make_release(loaded, parse_policy(text, name))
    rows = [
        (f"{file}, line {number}", row)
        for file in decisions
        for number, row in documents(file, "agent.decisions.v1")
    ]
    sample = calibration.maxima(rows, release.name)
    calibration.enough(sample, release.name)
    if asked is not None:
        seen = promising.seen(rows, release.name, labels)
        whole = promising.write(
            asked, seen, sample, promising.Source(loaded, source, release, text, name), out
        )
        if not whole:
            raise typer.Exit(FINDINGS)
        return
    levels = calibration.fit_levels(release.policy, loaded, list(sample.highest.values()))
    after = calibration.levels_after(levels, release.policy, loaded)
    signals = signal_rates.rates(sample.heard, sample.highest, after["alert"], release.policy)
    digest = calibration.write(calibration.calibrated(text, levels, signals), name, loaded, source, out)
    typer.echo(f"{len(sample.highest)} sessions", err=True)
    _print_levels(levels)
    _print_signals(signals, len(sample.heard))
    for level, at in calibration.fixed(release.policy, loaded).items():
        reached = sum(score >= at for score in sample.highest.values())
        say(
            f"{level}: a number in this policy ({at / 10_000:.4f}, reached by {reached} sessions), so it stays; to fit it again, give"
            " the policy that has its budget"
        )
    if after["alert"] == after["watch"]:
        say("alert now equals watch: no score is only watched, if families of evidence speak with it")
    if (pushed := calibration.spent(levels, release.policy, loaded)) is not None:
        say(
            f"WARNING: alert: {pushed.reached_after} of {len(sample.highest)} sessions still reach its threshold: look for"
            " attacks in the sample; alert now equals revoke"
        )
    typer.echo(f"release {digest} in {out}")


def _print_levels(levels: Sequence[Fitted]) -> None:
    typer.echo(f"{'level':<8}{'budget':>8}{'before':>10}{'reached':>9}{'after':>10}{'reached':>9}")
    for level in levels:
        before = f"{level.before / 10_000:>10.4f}{level.reached_before:>9}"
        after = f"{level.after / 10_000:>10.4f}{level.reached_after:>9}"
        typer.echo(f"{level.level:<8}{level.budget:>8g}{before}{after}")


def _print_signals(signals: Sequence[Rate], n_sessions: int) -> None:
    """Of all sessions, those in which each signal speaks, those that it alone alerts, and what the policy says of it from now on."""
    typer.echo(f"\n{'signal':<36}{'before':>8}{'speaks':>9}{'%':>7}{'alone':>7}{'%':>7}{'after':>8}")
    for rate in signals:
        spoke, alone = (f"{100 * n / n_sessions:>7.1f}" for n in (rate.spoke, rate.alone))
        counted = f"{rate.spoke:>9}{spoke}{rate.alone:>7}{alone}"
        typer.echo(f"{rate.signal:<36}{rate.consequence:>8}{counted}{rate.proposed:>8}")
    for rate in signals:
        if rate.too_loud:
            say(
                f"signals: {rate.signal}: {rate.proposed} (alone it alerts {rate.alone} of {n_sessions} sessions)"
            )


def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recorded sessions, or bus events with --labels (default: DRIFTLINE_DATA)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one HTML file, with plots (docs/evaluation.md).")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Score with this model (default: see below).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG with ROC and reliability.")] = None,
    tools: Tools = None,
    labels: Labels = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            help="Fit models without one group each, and score that: ecosystem, attack, goal, agent-model or time."
        ),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(help="With --leave-out time: learn from what ended before this day or time (UTC)."),
    ] = None,
    sessions_a_day: Annotated[float, typer.Option(help="For alerts and costs a day.")] = 1000.0,
    hijacked_share: Annotated[float, typer.Option(help="Of these, from 0 to 1: assumed.")] = 0.001,
    cost_ratio: Annotated[float, typer.Option(help="False alerts that one missed hijack is worth.")] = 100.0,
) -> None:
    """Detection quality on labelled sessions: recorded ones, or bus events with labels of their own.

    Sessions that the model never saw are judged with it, under the policy in use. Where it knows an intent, an attacker's goal or a
    source of them, none of them is called held out: each suite is left out in turn, and a model fitted on the
    others scores it.
    """
    check_sessions(files, tools, labels)
    _check_pictures(html, plot)
    from models.release import registry
    from models.training.costs import Budget
    from models.training.dataset import overlap
    from stream.cli.report import print_report
    from stream.offline import evaluation, study
    from stream.policy import load_policy

    budget = Budget(sessions_a_day, hijacked_share, cost_ratio).checked()
    chosen = data_files(files)
    scored = registry.load(model)
    evaluation.checked(leave_out, cut, needs_fit=False)
    recorded, catalogues = labelled_sessions(chosen, tools, read_labels(labels))
    given = evaluation.Given(list(study.recorded_sets(recorded, catalogues)), study.acted(chosen))
    seen = overlap(given.labels(), scored.manifest["seen"])
    if seen:
        known = ", ".join(f"{n} by {what}" for what, n in seen.items())
        say(f"the model knows sessions of these ({known}): leaving one {leave_out or 'suite'} out in turn")
    group, moment = evaluation.checked(leave_out, cut, needs_fit=bool(seen))
    if group is None:
        policy = _policy_beside(model)
        found = evaluation.held_out(given, scored, model, policy, progress)
    else:
        policy = None
        found = evaluation.left_out(given, group, moment, seen, say, progress)
    used = load_policy(policy)
    report = evaluation.whole(
        found,
        given,
        budget,
        {
            "model": f"the recipe of {scored.name}" if group else scored.name,
            "digest": scored.digest,
            "policy": f"{used.name}@{used.digest}",
            "files": study.digests([*chosen, *(labels or [])]),
        },
    )
    _write_pictures(report, found, html, plot)
    if as_json:
        typer.echo(json.dumps(report, indent=2, sort_keys=True, default=str))
    else:
        print_report(report)


def _policy_beside(model: Path | None) -> Path | None:
    """The policy that judges with a model: the one in its folder, as of a release, else that of the settings."""
    own = None if model is None else model / "policy.yaml"
    return own if own is not None and own.exists() else settings().policy_path


def _check_pictures(*places: Path | None) -> None:
    """Refuse pictures that could not be drawn or written, before hours are spent on what they would show."""
    for place in places:
        if place is None:
            continue
        if find_spec("matplotlib") is None:
            raise ConfigError(
                f"plots are drawn by matplotlib, which the extra plots brings: {brings('plots')}"
            )
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{place.parent} cannot be made: {error.strerror}; name another") from error
        if place.is_dir() or not os.access(place.parent, os.W_OK):
            raise ConfigError(f"{place} cannot be written; name another file")


def _write_pictures(report: dict[str, Any], found: Found, html: Path | None, plot: Path | None) -> None:
    """The report as a page, and ROC and reliability as a PNG, where they are asked for."""
    if html is not None:
        from stream.offline import quality_page

        text = "".join(quality_page.page(report))
        html.write_text(text, encoding="utf-8")
        say(f"report: {html}")
    if plot is not None:
        from models.training.plots import draw

        draw(found.judged.scores, found.calls, report["calibration"]["reliability"], plot)
