"""What a release must hold to be promoted: beside the champion, no worse where both were measured alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from models.contracts import GRAVITY, Verdict
from models.release import contents, registry
from models.release import readers as readers_on_disk
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.core.releases import Release
from stream.events import DECISIONS, Record
from stream.offline.files import read_records
from stream.offline.sample_outcomes import FOLDER, expected
from stream.policy import load_policy
from stream.settings import Settings

BUDGET = "0.01"
"""Share of honest sessions at which detection is compared, as manifests name it."""
MOST_LOST = 0.02
"""Detection that may be lost in a suite which both were measured on without having seen it (chosen: less is noise)."""
MOST_BLURRED = 1.1
"""By how much the Brier score, as a share of its base rate's, may grow (chosen)."""
MOST_GROWN = 1.5
"""By how much the bytes, and the CPU of an event, may grow (chosen)."""
ROUNDS = 3
"""Times that each judges the samples, in turn; of each file the cheapest counts."""
MOST_ROUNDS = 12
"""Times at most: a challenger that seems too slow is tried again, since other work on the machine only ever adds."""


Decided = dict[str, list[tuple[int, Verdict]]]
"""Of each session the numbers of its calls, and their verdicts."""


class Candidate(NamedTuple):
    """A release, the folder of its model and the file of its policy; None: those that come with the package."""

    folder: Path | None
    release: Release
    manifest: Mapping[str, Any]
    policy: Path | None = None


class Gate(NamedTuple):
    """One thing that is compared."""

    name: str
    champion: str
    challenger: str
    holds: bool
    why: str = ""


def candidate(settings: Settings, folder: Path | None) -> Candidate:
    """A release as it would judge, enforcing; without a `folder` the one that workers begin with.

    Raises
    ------
    ArtefactError, ConfigError
        It cannot be used: altered, built for other features, or with a policy whose thresholds do not rise.
    """
    place = settings.model_dir if folder is None else folder
    path = settings.policy_path if folder is None else folder / "policy.yaml"
    model = registry.load(place)
    made = bootstrap.make_release(
        model, load_policy(path, mode="enforce"), readers_on_disk.load_beside(place)
    )
    return Candidate(place, made, model.manifest, path)


def gates(champion: Candidate, challenger: Candidate, own: Sequence[Gate] = ()) -> list[Gate]:
    """What is compared, one by one.

    Parameters
    ----------
    own : what sessions of one's own told of both (`stream.offline.hold_out`); they stand in for suites that the challenger was not measured on
    """
    metrics = [one.manifest.get("metrics", {}) for one in (champion, challenger)]
    return [
        *_on_samples(champion, challenger),
        *own,
        *_on_hold_outs(metrics[0], metrics[1], stood_in=bool(own)),
        _size(champion, challenger),
    ]


def on_samples(champion: Candidate, challenger: Candidate) -> list[Gate]:
    """What is caught of the samples and what is left alone, without the time that it takes."""
    records = _samples()
    before, after = (_decided(_judge(one), records) for one in (champion, challenger))
    return list(_as_expected(before, after))


def on_canaries(champion: Candidate, challenger: Candidate, paths: Sequence[Path]) -> Gate:
    """Whether sessions of one's own that must stay caught are told or stopped as gravely as by the champion.

    Parameters
    ----------
    paths : files of events, recorded sessions or dumps; what the champion does not catch of them is no canary, and none is a failure
    """
    records = [[record for record, _ in read_records(path)] for path in paths]
    before, after = (_gravest(_decided(_judge(one), records)) for one in (champion, challenger))
    stays = _as_gravely(before, after)
    if stays.champion == "0":
        return stays._replace(holds=False, why="the champion catches none of them")
    missed = [name for name, worst in before.items() if worst < GRAVITY.index("alert")]
    if stays.holds and missed:
        return stays._replace(
            why=f"protects nothing, since the champion does not catch it: {', '.join(missed)}"
        )
    return stays


def _samples() -> list[list[Record]]:
    return [[record for record, _ in read_records(path)] for path in sorted(FOLDER.glob("*.jsonl"))]


def _judge(one: Candidate) -> Judge:
    return bootstrap.judge_with(Settings(attestation_issuers=FOLDER / "issuers.json"), one.release)


def _on_samples(champion: Candidate, challenger: Candidate) -> Iterator[Gate]:
    records = _samples()
    judges = [_judge(one) for one in (champion, challenger)]
    cheapest = [[float("inf")] * len(records) for _ in judges]
    decided: list[Decided] = [{}, {}]

    def is_too_slow() -> bool:
        return sum(cheapest[1]) > MOST_GROWN * sum(cheapest[0])

    for n_rounds in range(MOST_ROUNDS):
        if n_rounds >= ROUNDS and not is_too_slow():
            break
        for file, recorded in enumerate(records):
            for n, judge in enumerate(judges):
                began = time.process_time()
                decided[n].update(_decided(judge, [recorded]))
                cheapest[n][file] = min(cheapest[n][file], time.process_time() - began)
    yield from _as_expected(*decided)
    n_events = sum(len(file) for file in records)
    champion_us, challenger_us = (f"{1e6 * sum(each) / n_events:.0f}" for each in cheapest)
    yield Gate("µs of CPU an event of the samples", champion_us, challenger_us, not is_too_slow())


def _as_expected(before: Decided, after: Decided) -> Iterator[Gate]:
    """Whether what must be raised in the samples is, as gravely and as early as they say, and honest ones are left alone.

    A sample that the champion fails itself is no gate, and to catch more than it does is no fault.
    """
    outcomes = expected()
    for name, counted in (
        (
            "sessions of the samples caught as they should be",
            [one for one in outcomes if outcomes[one].is_caught],
        ),
        ("honest sessions of the samples left alone", [one for one in outcomes if outcomes[one].is_honest]),
    ):
        had, has = (
            {one for one in counted if outcomes[one].is_met(decided.get(one, []))}
            for decided in (before, after)
        )
        lost = [one for one in counted if one in had - has]
        yield Gate(name, f"{len(had)}", f"{len(has & had)}", not lost, ", ".join(lost))


def _as_gravely(before: Mapping[str, int], after: Mapping[str, int]) -> Gate:
    """Whether canaries are told or stopped as gravely as before."""
    caught = [name for name, worst in before.items() if worst >= GRAVITY.index("alert")]
    lost = [name for name in caught if after.get(name, 0) < before[name]]
    return Gate(
        "canaries told or stopped as gravely",
        f"{len(caught)}",
        f"{len(caught) - len(lost)}",
        not lost,
        ", ".join(lost),
    )


def _gravest(decided: Decided) -> dict[str, int]:
    """The gravest verdict of each session, as its place in `GRAVITY`."""
    return {name: max(GRAVITY.index(verdict) for _, verdict in calls) for name, calls in decided.items()}


def _decided(judge: Judge, files: list[list[Record]]) -> Decided:
    """Of each session the calls, by number, and their verdicts."""
    found: Decided = {}
    for records in files:
        for output in judge.judge(Partition.empty(), records).outputs:
            if output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                found.setdefault(decision["session_id"], []).append(
                    (decision["call_seq"], decision["verdict"])
                )
    return found


def _on_hold_outs(
    champion: Mapping[str, Any], challenger: Mapping[str, Any], *, stood_in: bool = False
) -> Iterator[Gate]:
    before, after = champion.get("by_suite") or {}, challenger.get("by_suite") or {}
    for suite in sorted(before):
        had, has = _detected(before[suite]), _detected(after.get(suite, {}))
        if had is None:
            continue
        yield Gate(
            f"found of {suite} at 1 %, left out of the fit",
            f"{had:.3f}",
            "not measured" if has is None else f"{has:.3f}",
            stood_in if has is None else has >= had - MOST_LOST,
            "" if has is not None else _UNMEASURED[stood_in],
        )
    had, has = _blur(champion), _blur(challenger)
    if had is not None:
        yield Gate(
            "Brier score, share of the base rate's (lower is better)",
            f"{had:.3f}",
            "not measured" if has is None else f"{has:.3f}",
            has is not None and has <= MOST_BLURRED * had,
            "lower is better",
        )


_UNMEASURED = {
    False: "it was not trained and measured with this suite: give promote sessions of your own, --hold-out",
    True: "your own sessions stand in",
}


def _detected(suite: Mapping[str, Any]) -> float | None:
    found = suite.get("at", {}).get(BUDGET, {}).get("detected", {}).get("rate")
    return None if found is None else float(found)


def _blur(metrics: Mapping[str, Any]) -> float | None:
    brier, base = metrics.get("brier"), metrics.get("brier_base_rate")
    return float(brier) / float(base) if brier is not None and base else None


def _size(champion: Candidate, challenger: Candidate) -> Gate:
    had, has = (_bytes(one.folder) for one in (champion, challenger))
    return Gate("MB", f"{had / 1e6:.1f}", f"{has / 1e6:.1f}", has <= MOST_GROWN * had)


def _bytes(folder: Path | None) -> int:
    places = {folder or registry.BUNDLED, contents.files_of(folder)["readers"].parent}
    return sum(file.stat().st_size for place in places for file in place.iterdir() if file.is_file())
