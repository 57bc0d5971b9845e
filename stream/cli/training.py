"""``driftline train``: a challenger of labelled sessions and of scenarios, by a plan, held against the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import ConfigError
from stream.cli import ranging
from stream.cli.exits import FINDINGS, WORSE
from stream.cli.learning import (
    Labels,
    bundled_sets,
    check_sessions,
    data_files,
    labelled_sessions,
    read_labels,
)
from stream.cli.options import Bootstrap, Prefix, Tools, settings
from stream.cli.terminal import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.training.influence import Influence
    from models.training.plan import Plan, Value
    from models.training.recipes import Recipe
    from models.training.scenarios.corpus import Recordings, Set
    from models.training.search import Trial
    from stream.offline.study import Labelled
    from stream.policy import Policy

BUNDLED_CORPORA = "bundled-corpora"
TOPICS = "topics"


def train(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recorded sessions, or bus events with --labels (default: DRIFTLINE_DATA)."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="New directory of the release: the model, its manifest, its readers and a policy.yaml."
        ),
    ] = Path("build/model"),
    tools: Tools = None,
    labels: Labels = None,
    beside: Annotated[
        str | None,
        typer.Option(
            "--with",
            help=f"{BUNDLED_CORPORA}: the sets of DRIFTLINE_DATA that the bundled model learns from, too.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="What is fitted and how, as YAML: estimator, splits, budget, search (docs/training.md)."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the plan and its estimator on made-up rows, and end.")
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Policy that the new release judges by (default: the one in use).")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Write over a model in --out, which no worker may be fetching."),
    ] = False,
    canaries: Annotated[
        list[Path] | None,
        typer.Option(
            help="Sessions that must stay caught as gravely as by the bundled model, as FILES are given (repeatable)."
        ),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            help="Take the model though the samples are judged worse by it, for this reason, which its manifest keeps."
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help=f"In place of FILES: {TOPICS}, all that stands on the bus; or what does from this day, time or offset on (0:1200,1:900).",
        ),
    ] = None,
    end: ranging.End = None,
    partition: ranging.Partitions = None,
    topic: ranging.OfSeveral = None,
    read_back: ranging.ReadBack = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Train a challenger on labelled recorded sessions, and on scenarios made of them.

    An hour on two cores, minutes with a plan that takes a share: scenarios are replayed, and a model is fitted for each domain left out.
    Scenarios are made of the texts in corpora/ of a checkout; an installed package finds them by DRIFTLINE_CORPORA.
    At the end the samples are judged beside the bundled model: where they fare worse the command ends with 6, unless told to --accept that.
    With --from the sessions are those of the topic, and without --labels so are the labels: feedback and outcomes, as `labels collect` reads them.
    The same files and the same plan give the same release, byte for byte, in the same environment.
    """
    if accept is not None and not accept.strip():
        raise ConfigError(
            "--accept takes a reason: why the model is taken though the samples fare worse by it"
        )
    if beside not in (None, BUNDLED_CORPORA):
        raise ConfigError(f"--with is {beside!r}; {BUNDLED_CORPORA} is what there is")
    asked = _asked(ranging.Asked(begin, end, partition or None, topic, read_back), files, tools)
    if not check:
        check_sessions([*(files or []), *(canaries or [])], tools, labels)
        _need_room(out, replace=replace)
    planned, recipe, trials = _planned(plan, check=check)
    if check:
        return
    from models.evidence.features.registry import FEATURES, FEATURES_VERSION
    from models.release import readers, registry
    from models.training import corpora
    from models.training import fit as training
    from models.training.scenarios import corpus
    from models.training.search import search
    from stream.bootstrap import release_digest
    from stream.offline import pages, study
    from stream.offline.files import name_of

    text, judges_by = _policy_for(policy, planned.calibration.budgets)
    corpora.folder()
    chosen = data_files(files) if asked is None else []
    own = {study.BUS, *map(name_of, files or ())}
    if beside is not None and (files or asked is not None):
        vendor = bundled_sets(
            f"--with {BUNDLED_CORPORA} takes recorded sets; set DRIFTLINE_DATA to their folder"
        )
        chosen = list(dict.fromkeys([*chosen, *vendor]))
    words, bus, digests = read_labels(labels), None, {}
    if asked is not None:
        from stream.cli import standing

        configured = settings(bootstrap=bootstrap, prefix=prefix)
        bus = standing.sessions(configured, asked, judges_by.limits.tombstone_hours)
        digests = bus.digest
        if words is None:
            words, told = standing.labels(configured)
            digests = digests | told
    recorded, catalogues = labelled_sessions(chosen, tools, words, need_tools=True, bus=bus)
    corpus.need_catalogues(recorded, catalogues)
    _tell_what_lacks(chosen, recorded)
    if planned.splits.leave_out == "agent":
        recorded = study.by_agent(recorded, own)
    sets = study.shared(study.sets_to_learn_from(recorded, catalogues), planned.takes, own)
    to_read: list[corpus.Set] = []
    judged = study.labelled(pages.remembering(sets, to_read), study.acted(chosen), say, meter=progress)
    labelled = _bounded(judged, planned.influence, to_read)
    reader = pages.kept_reader(labelled.calls, to_read, say) if planned.reader else None
    scores = None
    found: list[Trial] = []
    if planned.search:
        recipe, scores, found = search(labelled.X, labelled.calls, recipe, trials, say)
        _show_trials(found)
    trained = training.train(
        labelled.X,
        labelled.calls,
        FEATURES,
        FEATURES_VERSION,
        study.learnt_from([*chosen, *(labels or [])], tools) | digests,
        recipe,
        progress=say,
        budgets=planned.calibration.budgets,
        scores=scores,
        reader=reader,
    )
    if plan is not None:
        trained.manifest["plan"] = planned.model_dump(mode="json")
    if found:
        training.note_trials(trained.manifest, found)
    readers.remove(out)
    model = training.write(trained, labelled.calls, out)
    if reader is not None:
        readers.bring(out)
    (out / "policy.yaml").write_text(text, encoding="utf-8")
    say(training.beside(trained.manifest, registry.read_manifest(registry.BUNDLED)))
    worse = _hold_against_bundled(out, accept, canaries or ())
    told = {"model": model.name, "digest": model.digest, "release": release_digest(out, judges_by)}
    typer.echo(json.dumps({**told, "directory": str(out)}))
    if worse and accept is None:
        raise typer.Exit(WORSE)


def _asked(options: ranging.Asked, files: list[Path] | None, tools: Path | None) -> ranging.Asked | None:
    """What is asked of the bus; None where files are learnt from. `topics` is all that stands there, and so no bound."""
    if options.begin is None:
        if any(option is not None for option in options):
            raise ConfigError(
                f"--to, --partition, --topic and --read-back are of the bus: give --from, too ({TOPICS}: all that stands there)"
            )
        return None
    options.check(files, tools)
    return options._replace(begin=None) if options.begin == TOPICS else options


def _need_room(out: Path, *, replace: bool) -> None:
    """Refuse, before anything is judged, a folder with a model in it: `release publish` tells workers such a folder."""
    if (out / "manifest.json").exists() and not replace:
        raise ConfigError(
            f"{out} holds a model already, which workers may be fetching; name a new folder with --out, or write over it with --replace"
        )


def _policy_for(path: Path | None, budgets: Sequence[float]) -> tuple[str, Policy]:
    """The policy that a release is to have, and its text; refused where the new model will have no threshold for it."""
    from stream.policy import FalsePositiveBudget, parse_policy, read_policy

    text, name = read_policy(path or settings().policy_path)
    policy = parse_policy(text, name)
    tables = (policy.thresholds, *policy.tenant_thresholds.values())
    levels = [level for table in tables for level in (table.watch, table.alert, table.revoke)]
    named = [level.budget for level in levels if isinstance(level, FalsePositiveBudget)]
    if min(named, default=1.0) < min(budgets):
        raise ConfigError(
            f"{name} names a budget of {min(named):g}, the plan's strictest is {min(budgets):g}; add it to calibration.budgets in the plan"
        )
    if len(named) < len(levels):
        say(
            f"WARNING: {name} has thresholds that are scores, of the model that they were taken on. The new one's mean something else: calibrate it, "
            "or give --policy with budgets"
        )
    return text, policy


def _planned(plan: Path | None, *, check: bool) -> tuple[Plan, Recipe, list[dict[str, Value]]]:
    """What a plan says, its recipe, and the trials of its search; all of whose estimators are checked, on the screen with `check`."""
    from models.evidence.features.registry import FEATURES
    from models.training.plan import Plan, read, told
    from models.training.search import in_words, trials_of

    planned = Plan() if plan is None else read(plan)
    recipe = planned.recipe(FEATURES)
    trials = trials_of(planned.search, planned.budget.trials, planned.seed)
    for changes in trials:
        tried = told(recipe, changes)
        if check or tried.own_estimator:
            _check_estimator(tried, in_words(changes) if len(trials) > 1 else None, show=check)
    return planned, recipe, trials


def _bounded(labelled: Labelled, limits: Influence, to_read: list[Set]) -> Labelled:
    """The same, with what one source may teach bounded, and that told; `to_read` are the sessions that a reader may read."""
    from models.release import registry
    from models.training import influence
    from stream.events import printable
    from stream.offline import pages

    calls = labelled.calls
    if limits.second_word:
        scores = pages.bundled_scores(labelled.X, calls, to_read, influence.is_one_persons_word)
        doubts = influence.doubted(
            calls, scores, registry.load(registry.BUNDLED).threshold(influence.DOUBTED)
        )
        if doubts.any():
            names = [s.session_id for s, doubt in zip(calls.sessions, doubts.tolist(), strict=True) if doubt]
            say(
                f"WARNING: {len(names)} own sessions, or scenarios made of such (sc-...), are called honest by one person alone, and the bundled "
                f"model flags them as it does one honest session in {1 / influence.DOUBTED:.0f}: they teach nothing until somebody else says the same "
                f"({', '.join(map(printable, names[:5]))}{', ...' if len(names) > 5 else ''}; docs/training.md, Who may teach how much)"
            )
            calls = influence.silenced(calls, doubts)
    calls, cuts = influence.bounded(calls, limits)
    for cut in cuts:
        say(
            f"{printable(cut.source)} would teach {cut.had:.0%} of all {cut.kind}: it is held to {cut.has:.0%} (docs/training.md)"
        )
    return labelled._replace(calls=calls)


def _check_estimator(recipe: Recipe, trial: str | None, *, show: bool) -> None:
    """Refuse an estimator that does not pass `models.training.checks`; with `show` print all of them, and end where one fails."""
    from models.training.checks import check_estimator

    found = check_estimator(recipe)
    if show:
        from rich.table import Table

        from stream.shell.screen import screen

        table = Table("check", "", "found", title=trial, title_justify="left")
        for one in found:
            table.add_row(one.name, "passes" if one.holds else "[red]FAILS[/]", one.found)
        screen().print(table)
    failed = [one for one in found if not one.holds]
    if failed and show:
        raise typer.Exit(FINDINGS)
    if failed:
        raise ConfigError(
            f"{recipe.estimator}{f', {trial}' if trial is not None else ''} does not pass: {failed[0].name} ({failed[0].found}); --check shows every check (docs/training.md)"
        )


def _show_trials(found: Sequence[Trial]) -> None:
    from rich.table import Table

    from models.training.search import in_words
    from stream.shell.screen import screen

    best = max(found, key=lambda one: (one.detected, one.area))
    table = Table("parameters", "detected at 1 %", "area", "")
    for one in found:
        verdict = one.failed or ("taken" if one is best else "")
        table.add_row(in_words(one.parameters), f"{one.detected:.3f}", f"{one.area:.4f}", verdict)
    screen(beside_data=True).print(table)


def _tell_what_lacks(chosen: list[Path], recorded: Recordings) -> None:
    """Say which recorded sets the bundled model learnt from and this one does not, and what that costs."""
    from models.release import registry
    from models.training import fit as training
    from models.training.dataset import file_digest
    from models.training.scenarios import corpus

    used = registry.read_manifest(registry.BUNDLED)
    without = training.lacking({file_digest(path) for path in chosen if path.is_file()}, used)
    if not without:
        return
    of = used["sessions"]
    n_sessions = sum(map(len, recorded.values()))
    say(
        f"WARNING: {len(without)} recorded sets that the bundled model learnt from are not here: {', '.join(without)}. With them go the attacks and "
        f"the honest work that they teach: it learnt from {of.get('hijacked: recorded', 0)} recorded hijacks and "
        f"{of.get('benign: recorded', 0)} honest recordings, this model will from {len(corpus.hijacked(recorded))} hijacks among {n_sessions} "
        "sessions. Such models alert later and revoke less. --with bundled-corpora adds those of DRIFTLINE_DATA (docs/labels.md)"
    )


def _hold_against_bundled(out: Path, accept: str | None, canaries: Sequence[Path] = ()) -> bool:
    """Whether the samples, or `canaries`, fare worse by the model in `out` than by the bundled one; its manifest keeps what was found, and why that is accepted."""
    from models.release import readers, registry
    from stream import bootstrap
    from stream.cli.releasing import show_gates
    from stream.events import printable
    from stream.offline import gates
    from stream.policy import load_policy

    policy = load_policy(mode="enforce")
    champion, challenger = (
        gates.Candidate(
            place,
            bootstrap.make_release(model, policy, readers.load_beside(place)),
            model.manifest,
        )
        for place, model in ((None, registry.load(registry.BUNDLED)), (out, registry.load(out)))
    )
    found = gates.on_samples(champion, challenger)
    if canaries:
        found.append(kept := gates.on_canaries(champion, challenger, canaries))
        if kept.holds and kept.why:
            say(f"WARNING: among the canaries {printable(kept.why)}")
    failed = [gate for gate in found if not gate.holds]
    notes: dict[str, object] = {"samples": [gate._asdict() for gate in found]}
    if failed and accept is not None:
        notes |= {"accepted": " ".join(accept.split())}
    registry.write_manifest(out, {**challenger.manifest, **notes})
    if failed:
        show_gates(found, beside_data=True)
        say(
            f"accepted all the same: {' '.join(accept.split())}"
            if accept is not None
            else f"the samples{' or canaries' if canaries else ''} fare worse by this model than by the bundled one: do not use it as it is. Train with more, or take it with "
            f"--accept REASON; the model and this comparison lie in {out}"
        )
    return bool(failed)
