"""What a release must hold to be promoted: beside the champion, no worse where both were measured alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from models.contracts import GRAVITY
from models.release import contents, registry
from models.release import readers as readers_on_disk
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.core.releases import Release
from stream.events import DECISIONS, Record
from stream.offline.files import read_records
from stream.policy import load_policy
from stream.settings import Settings

SAMPLES = Path(__file__).parents[1] / "samples"
BUDGET = "0.01"
"""Share of honest sessions at which detection is compared, as manifests name it."""
MOST_LOST = 0.02
"""Detection that may be lost in a suite which both were measured on without having seen it (chosen: less is noise)."""
MOST_BLURRED = 1.1
"""By how much the Brier score, as a share of its base rate's, may grow (chosen)."""
MOST_GROWN = 1.5
"""By how much the bytes, and the time of a call, may grow (chosen)."""
ROUNDS = 3
"""Times that each judges the samples, in turn; the fastest counts."""


class Candidate(NamedTuple):
    """A release in its folder; None: the one that workers begin with."""

    folder: Path | None
    release: Release
    manifest: Mapping[str, Any]


class Gate(NamedTuple):
    """One thing that is compared."""

    name: str
    champion: str
    challenger: str
    holds: bool
    why: str = ""


def candidate(settings: Settings, folder: Path | None) -> Candidate:
    """A release as it would judge, enforcing.

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
    return Candidate(folder, made, model.manifest)


def gates(champion: Candidate, challenger: Candidate) -> list[Gate]:
    """What is compared, one by one."""
    return [
        *_on_samples(champion, challenger),
        *_on_hold_outs(champion.manifest.get("metrics", {}), challenger.manifest.get("metrics", {})),
        _size(champion, challenger),
    ]


def on_samples(champion: Candidate, challenger: Candidate) -> list[Gate]:
    """What is caught of the samples and what is left alone, without the time that it takes."""
    records = _samples()
    before, after = (_told(_judge(one), records) for one in (champion, challenger))
    return list(_as_gravely(before, after))


def on_canaries(champion: Candidate, challenger: Candidate, paths: Sequence[Path]) -> Gate:
    """Whether sessions of one's own that must stay caught are told or stopped as gravely as by the champion.

    Parameters
    ----------
    paths : files of events, recorded sessions or dumps; what the champion does not catch of them is no canary, and none is a failure
    """
    records = [[record for record, _ in read_records(path)] for path in paths]
    before, after = (_told(_judge(one), records) for one in (champion, challenger))
    stays, _ = _as_gravely(before, after, "canaries")
    if stays.champion == "0":
        return stays._replace(holds=False, why="the champion catches none of them")
    missed = [name for name, worst in before.items() if worst < GRAVITY.index("alert")]
    if stays.holds and missed:
        return stays._replace(
            why=f"protects nothing, since the champion does not catch it: {', '.join(missed)}"
        )
    return stays


def _samples() -> list[list[Record]]:
    return [[record for record, _ in read_records(path)] for path in sorted(SAMPLES.glob("*.jsonl"))]


def _judge(one: Candidate) -> Judge:
    return bootstrap.judge_with(Settings(attestation_issuers=SAMPLES / "issuers.json"), one.release)


def _on_samples(champion: Candidate, challenger: Candidate) -> Iterator[Gate]:
    records = _samples()
    judges = [_judge(one) for one in (champion, challenger)]
    fastest = [float("inf")] * 2
    told: list[dict[str, int]] = [{}, {}]
    for _ in range(ROUNDS):
        for n, judge in enumerate(judges):
            began = time.perf_counter()
            told[n] = _told(judge, records)
            fastest[n] = min(fastest[n], time.perf_counter() - began)
    yield from _as_gravely(told[0], told[1])
    n_calls = sum(len(file) for file in records)
    yield Gate(
        "µs an event of the samples",
        f"{1e6 * fastest[0] / n_calls:.0f}",
        f"{1e6 * fastest[1] / n_calls:.0f}",
        fastest[1] <= MOST_GROWN * fastest[0],
    )


def _as_gravely(
    before: Mapping[str, int], after: Mapping[str, int], of: str = "sessions of the samples"
) -> Iterator[Gate]:
    """Whether sessions are told or stopped as gravely as before, and left alone as before."""
    alert = GRAVITY.index("alert")
    caught = [name for name, worst in before.items() if worst >= alert]
    lost = [name for name in caught if after.get(name, 0) < before[name]]
    loud = [name for name, worst in before.items() if worst < alert <= after.get(name, 0)]
    yield Gate(
        f"{of} told or stopped as gravely",
        f"{len(caught)}",
        f"{len(caught) - len(lost)}",
        not lost,
        ", ".join(lost),
    )
    yield Gate(
        f"{of} left alone",
        f"{len(before) - len(caught)}",
        f"{len(before) - len(caught) - len(loud)}",
        not loud,
        ", ".join(loud),
    )


def _told(judge: Judge, files: list[list[Record]]) -> dict[str, int]:
    """The gravest verdict of each session, as its place in `GRAVITY`."""
    worst: dict[str, int] = {}
    for records in files:
        for output in judge.judge(Partition.empty(), records).outputs:
            if output.topic == DECISIONS:
                decision = orjson.loads(output.value)
                name = decision["session_id"]
                worst[name] = max(worst.get(name, 0), GRAVITY.index(decision["verdict"]))
    return worst


def _on_hold_outs(champion: Mapping[str, Any], challenger: Mapping[str, Any]) -> Iterator[Gate]:
    before, after = champion.get("by_suite") or {}, challenger.get("by_suite") or {}
    for suite in sorted(before):
        had, has = _detected(before[suite]), _detected(after.get(suite, {}))
        if had is None:
            continue
        yield Gate(
            f"found of {suite} at 1 %, left out of the fit",
            f"{had:.3f}",
            "not measured" if has is None else f"{has:.3f}",
            has is not None and has >= had - MOST_LOST,
            "" if has is not None else "it was not trained and measured with this suite",
        )
    had, has = _blur(champion), _blur(challenger)
    if had is not None:
        yield Gate(
            "Brier score, share of the base rate's",
            f"{had:.3f}",
            "not measured" if has is None else f"{has:.3f}",
            has is not None and has <= MOST_BLURRED * had,
            "lower is better",
        )


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
