"""What each part is worth: recipes that leave one thing out, rules without a model, and how the split lies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.detection.fits import Bench, Variant
from benchmarks.detection.rates import SUITES, Flags, Ints, Rate, Scored
from benchmarks.detection.rows import Floats, Part, Source
from models.evidence.features.registry import FEATURES
from models.training.rates import clustered


def ablated(bench: Bench, seed: int, chosen: Sequence[Variant]) -> dict[str, Any]:
    """TPR of each recipe at the 1 % point of each suite's own honest sessions, suites held out."""
    sessions = bench.learn.calls.sessions
    wanted = bench.learn.calls.rows_where(
        s.domain in SUITES and home in ("agentdojo", "removed", "withheld")
        for s, home in zip(sessions, bench.learn.home, strict=True)
    )
    crossed = bench.held.calls.rows_where(home == "crossed" for home in bench.held.home)
    out = {}
    whole: Flags | None = None
    for variant in chosen:
        learn = Scored(bench.learn, bench.held_out(bench.learn, seed, variant, wanted))
        held = Scored(bench.held, bench.held_out(bench.held, seed, variant, crossed))
        found, hit = _own_points(learn, held)
        out[variant.name] = found | _paired(learn, hit if whole is None else whole, hit)
        whole = hit if whole is None else whole
    return out


def _paired(learn: Scored, whole: Flags, hit: Flags) -> dict[str, Any]:
    """How many hijacks fewer than with the whole recipe, of the same sessions: as recorded, and with the text taken out.

    None for the whole recipe itself.
    """
    bad = learn.suites & (learn.kind == "hijacked")
    fewer = whole.astype(np.float64) - hit
    return {
        f"less_{name}": clustered(fewer[here], [learn.task[here], learn.goal[here]])
        if whole is not hit
        else None
        for name, here in (
            ("recorded", bad & (learn.variant == "recorded")),
            ("removed", bad & (learn.home == "removed")),
        )
    }


def _own_points(learn: Scored, held: Scored) -> tuple[dict[str, Any], Flags]:
    """Rates at the 1 % point of each suite's own honest sessions, and which sessions reach it."""
    clean = learn.suites & learn.honest
    limits = {name: learn.own_limit(clean & (learn.domain == name)) for name in SUITES}
    bad = learn.suites & (learn.kind == "hijacked")
    told = held.column("wording")
    across = (held.home == "crossed") & (held.kind == "hijacked")

    def over(scored: Scored) -> Flags:
        never = np.iinfo(np.int64).max
        return scored.highest >= np.array([limits.get(d, never) for d in scored.domain.tolist()])

    def of(scored: Scored, at: Flags) -> Rate:
        return scored.caught(at, over(scored))

    families = [of(held, across & (told == name))["rate"] for name in sorted(set(told[across].tolist()))]
    blind = (learn.home == "withheld") & learn.suites
    blind_flags = learn.own_flags(blind & (learn.kind == "benign") & ~learn.hard)
    found = {
        "recorded": of(learn, bad & (learn.variant == "recorded")),
        "crossed": of(held, across),
        "crossed_worst": min(families, default=None),
        "removed": of(learn, bad & (learn.home == "removed")),
        "withheld": learn.caught(bad & blind, blind_flags),
        "ignored": learn.alarms(
            learn.suites & (learn.variant == "recorded") & (learn.kind == "attempted"), over(learn)
        ),
        "auroc": learn.area(clean, bad & (learn.variant == "recorded")),
    }
    return found, over(learn)


def writes(X: Floats) -> Flags:
    """Calls that write, run or take something out."""
    found: Flags = (X[:, FEATURES.index("action")] > 0) | (X[:, FEATURES.index("outward")] > 0)
    return found


def plain_rules(source: Source, bench: Bench) -> dict[str, Any]:
    """What needs no model: nothing, every write, words that the intent lacks; and a probe of labels."""
    part = bench.learn
    plain = Scored(part, np.zeros(len(part.calls), dtype=np.int64))
    recorded = (plain.variant == "recorded") & plain.suites
    clean, bad = plain.honest & plain.suites, plain.hijacked & plain.suites
    ignored = recorded & (plain.kind == "attempted")

    def told(scores: Ints, flags: Flags | None = None) -> dict[str, Any]:
        scored = Scored(part, scores)
        hit = scored.own_flags(clean) if flags is None else flags
        return {
            "detected": scored.caught(bad, hit),
            "false_alarms": scored.alarms(clean, hit),
            "ignored": scored.alarms(ignored, hit),
            "auroc": scored.area(clean, bad),
        }

    writing = writes(part.X)
    every = Scored(part, writing.astype(np.int64))
    found = {
        "nothing (null model)": told(plain.scores),
        "flag every write": told(every.scores, every.highest > 0),
    }
    recordings = {s["session_id"]: s for s in source.read[0].get("agentdojo", ())}
    apart = tfidf(part, recordings)
    found["TF-IDF of the call against the intent"] = told(apart)
    found["… of writes alone"] = told(np.where(writing, apart, 0))
    found["length of intent and session, model, defence"] = told(labels_only(part, recorded & (clean | bad)))
    return found


def tfidf(part: Part, recordings: Mapping[str, Mapping[str, Any]]) -> Ints:
    """One less the cosine of call and intent, in thousandths; idf from the other suites."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    scores = np.zeros(len(part.calls), dtype=np.int64)
    domains = np.array([s.domain for s in part.calls.sessions])[part.calls.session]
    ids = [s.session_id if s.session_id in recordings else "" for s in part.calls.sessions]
    known = np.array([bool(one) for one in ids])[part.calls.session]
    for suite in SUITES:
        here = np.flatnonzero(known & (domains == suite))
        if not len(here):
            continue
        owners = [recordings[ids[part.calls.session[row]]] for row in here]
        made = [owner["calls"][part.calls.call_seq[row]] for owner, row in zip(owners, here, strict=True)]
        texts = [f"{call['tool']} {json.dumps(call.get('args') or {}, ensure_ascii=False)}" for call in made]
        others = [s for s in recordings.values() if s["domain"] != suite]
        taught = [str(s["intent"]) for s in others]
        taught += [f"{c['tool']} {json.dumps(c.get('args') or {})}" for s in others[::4] for c in s["calls"]]
        words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)[^\W_]{2,}")
        words.fit(taught or texts)
        cosine = np.asarray(
            words.transform(texts).multiply(words.transform([str(o["intent"]) for o in owners])).sum(axis=1)
        ).ravel()
        scores[here] = np.rint(1000 * (1 - cosine)).astype(np.int64)
    return scores


def labels_only(part: Part, chosen: Flags) -> Ints:
    """Scores of a model that knows length of intent and session, agent model and defence, suites held out."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    sessions = part.calls.sessions
    models = {name: n for n, name in enumerate(sorted({one["model"] for one in part.told}))}
    defences = {name: n for n, name in enumerate(sorted({one["defense"] for one in part.told}))}
    X = np.array(
        [
            [s.n_calls, one["intent_chars"], one["tools"], models[one["model"]], defences[one["defense"]]]
            for s, one in zip(sessions, part.told, strict=True)
        ],
        dtype=np.float64,
    )
    y = np.array([s.kind == "hijacked" for s in sessions])
    domain = np.array([s.domain for s in sessions])
    found = np.zeros(len(sessions), dtype=np.int64)
    for suite in SUITES:
        learn, here = chosen & (domain != suite), domain == suite
        if here.any() and len(set(y[learn].tolist())) == 2:
            fitted = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=7, random_state=0)
            fitted.fit(X[learn], y[learn])
            found[here] = np.rint(1e6 * fitted.predict_proba(X[here])[:, 1]).astype(np.int64)
    return found[part.calls.session]


def split(bench: Bench) -> dict[str, Any]:
    """For each domain what is held out, and how much of it occurs in other domains too."""
    sessions, home = bench.learn.calls.sessions, bench.learn.home
    families = {str(s.wording) for s in sessions if s.wording}
    crossed = {
        str(s.wording)
        for s, h in zip(bench.held.calls.sessions, bench.held.home, strict=True)
        if h == "crossed"
    }
    out: dict[str, Any] = {"shared_wording_families": sorted(families & crossed), "domains": {}}
    for domain in bench.domains:
        inside = [s for s in sessions if s.domain == domain]
        intents, goals = (
            {s.intent for s in sessions if s.domain != domain},
            {s.goal for s in sessions if s.domain != domain},
        )
        own = [
            s for s, h in zip(sessions, home, strict=True) if s.domain == domain and s.variant == "recorded"
        ]
        out["domains"][domain] = {
            "recorded": len(own),
            "honest": sum(s.kind == "benign" for s in own),
            "tasks": len({s.task for s in own}),
            "hijacked": sum(s.kind == "hijacked" for s in own),
            "attempted": sum(s.kind == "attempted" for s in own),
            "scenarios": len(inside) - len(own),
            "intents_met": len({s.intent for s in own} & intents),
            "goals_met": len({s.goal for s in own if s.goal} & goals),
        }
    return out
