"""Rows, from the live judge, kept between runs."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import results
from models.evidence.features.registry import FEATURES_VERSION
from models.training import dataset
from models.training.dataset import TRAINING_SETS, Calls
from models.training.named_tools import first_effect
from models.training.scenarios import corpus, recorded_attacks
from models.training.scenarios.made_up import seeded
from stream.offline import study

ROOT = results.ROOT
Floats = npt.NDArray[np.float64]
FINGERPRINTS = "fingerprints only"
ROWLESS = {
    "evidence/features/page.py",
    "forest/allowances.py",
    "forest/odds.py",
    "forest/trees.py",
    "forest/units.py",
    "release/bundled/manifest.json",
    "release/registry.py",
    "training/boosting.py",
    "training/calibrate.py",
    "training/circumstances.py",
    "training/costs.py",
    "training/distill.py",
    "training/distill_encoder.py",
    "training/distill_measures.py",
    "training/distill_texts.py",
    "training/earliness.py",
    "training/evaluate.py",
    "training/fit.py",
    "training/plots.py",
    "training/populations.py",
    "training/quality.py",
    "training/rates.py",
    "training/recipes.py",
    "training/slices.py",
    "training/splits.py",
    "training/ways.py",
}
"""Of ``models``, what no row depends on."""
SHAPING = (".py", ".toml", ".dat", ".yaml", ".npz", ".json", ".gz", ".jsonl")
"""Endings of what a row may depend on."""


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """Feature rows and labels, the set that each session comes from, and what else is told of it.

    ``families`` and ``by_signals`` have for each row how many families of evidence spoke, and what signals lead to alone, see
    `stream.offline.rows.Rows`.
    """

    X: Floats
    calls: Calls
    home: npt.NDArray[np.str_]
    told: tuple[dict[str, Any], ...]
    families: npt.NDArray[np.int64]
    by_signals: npt.NDArray[np.int64]


def about(session: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a figure needs of a session beside its labels; no feature.

    `effect`: see `models.training.named_tools.first_effect`.
    """
    return {
        "effect": first_effect(session),
        "origin": session.get("origin"),
        "model": str(session.get("model")),
        "defense": str(session.get("defense")),
        "asked_by": session.get("asked_by"),
        "intent_chars": len(str(session.get("intent") or "")),
        "tools": len(tools),
    }


def shaping() -> list[Path]:
    """All files of the repository that a row may depend on: the judge and what it reads, and what sessions are made of."""
    offline = [*sorted((ROOT / "stream" / "offline").rglob("*")), *sorted((ROOT / "stream").glob("*"))]
    judging = [path for name in ("core", "signals") for path in sorted((ROOT / "stream" / name).rglob("*"))]
    models = [
        path
        for path in sorted((ROOT / "models").rglob("*"))
        if path.relative_to(ROOT / "models").as_posix() not in ROWLESS
    ]
    written = sorted((ROOT / "corpora").rglob("*"))
    return [path for path in (*judging, *offline, *models, *written) if path.suffix in SHAPING]


class Source:
    """All sets of sessions as feature rows: made once, then read from ``build/``."""

    def __init__(
        self, paths: Sequence[Path], only: Sequence[str], sample: float, fresh: bool, processes: int
    ) -> None:
        self.paths = paths
        self.only, self.sample, self.fresh, self.processes = only, sample, fresh, processes
        self.telling = study.acted(self.paths)
        self._read: tuple[corpus.Recordings, dict[str, corpus.Tools]] | None = None
        digest = hashlib.sha256(f"{FEATURES_VERSION}|{only}|{sample}".encode())
        for path in (*shaping(), *self.paths):
            digest.update(
                path.relative_to(ROOT).as_posix().encode()
                if path.is_relative_to(ROOT)
                else path.name.encode()
            )
            digest.update(path.read_bytes())
        for made_by in (about, Source.sets, Source._make):
            digest.update(inspect.getsource(made_by).encode())
        self.digest = digest.hexdigest()[:12]

    @property
    def read(self) -> tuple[corpus.Recordings, dict[str, corpus.Tools]]:
        """Recordings and catalogues, thinned out to the sample."""
        if self._read is None:
            recorded, tools = study.read(self.paths)
            kept = {name: [s for s in sessions if self._chosen(s)] for name, sessions in recorded.items()}
            self._read = {name: sessions for name, sessions in kept.items() if sessions}, tools
        return self._read

    def _chosen(self, session: Mapping[str, Any]) -> bool:
        if self.only and session["domain"] not in self.only:
            return False
        drawn = hashlib.sha256(str(session["session_id"]).encode()).digest()
        return int.from_bytes(drawn[:4], "big") < self.sample * 2**32

    def sets(self, names: str) -> Iterator[corpus.Set]:
        """The sets to learn from (each recording and `corpus.training`), or those that are only scored.

        Of these ``opened`` has what is locked, the report's wordings and tasks; ``closed`` has wordings kept
        for choosing a recipe in their place.
        """
        recorded, tools = self.read
        taught = {name: sessions for name, sessions in recorded.items() if name in TRAINING_SETS}
        theirs = {ref: listed for ref, listed in tools.items() if ref.partition("/")[0] in TRAINING_SETS}
        if names == "learn":
            yield from study.sets_to_learn_from(taught, theirs)
            return
        yield from study.recorded_sets({n: s for n, s in recorded.items() if n not in TRAINING_SETS}, tools)
        if names == "closed":
            yield from (one._replace(name="crossed") for one in corpus.selection(taught, theirs))
        else:
            yield from corpus.report(taught, theirs)
        yield from corpus.ablations(taught, theirs)
        bad = corpus.hijacked(taught)
        bad = seeded("fingerprints", 1).sample(bad, min(len(bad), 1200))
        honest = [s for s in taught.get("agentdojo", ()) if s["label"] == "benign"]
        made = [recorded_attacks.fingerprinted(session) for session in [*bad, *honest]]
        yield corpus.Set(FINGERPRINTS, made, theirs)

    def part(self, names: str) -> Part:
        """Rows of these sets together."""
        kept = ROOT / "build" / f"detection-rows-{self.digest}-{names}.npz"
        if self.fresh or not kept.exists():
            self._make(names, kept)
        with np.load(kept, allow_pickle=False) as found:
            X, at, seqs = found["X"].astype(np.float64), found["session"], found["call_seq"]
            families, by_signals = (found[name].astype(np.int64) for name in ("families", "by_signals"))
            listed = json.loads(found["sessions"].tobytes())
        sessions = [dataset.LabelledSession(**one["labels"]) for one in listed]
        calls = dataset.join(sessions, [sessions[n].session_id for n in at], seqs)
        by_id = {one["labels"]["session_id"]: one for one in listed}
        ordered = [by_id[session.session_id] for session in calls.sessions]
        homes = np.array([one["home"] for one in ordered])
        return Part(X, calls, homes, tuple(one["told"] for one in ordered), families, by_signals)

    def _make(self, names: str, path: Path) -> None:
        recorded, _ = self.read
        # One source has one domain, whether its file's name or its own names it.
        alias = {
            name: str(sessions[0]["source"]) for name, sessions in recorded.items() if name != "agentdojo"
        }
        listed: list[dict[str, Any]] = []
        rows, at, seqs, spoke, ruled = [], [], [], [], []
        for one in self.sets(names):
            sessions = [{**s, "domain": alias.get(s["domain"], s["domain"])} for s in one.sessions]
            if not sessions:
                continue
            part = [one._replace(sessions=sessions)]
            X, calls, _, families, by_signals = study.labelled(part, self.telling, say, self.processes)
            raw = {s["session_id"]: s for s in sessions}
            at.append(calls.session + len(listed))
            for labels in calls.sessions:
                session = raw[labels.session_id]
                told = about(session, one.tools.get(session["tools_ref"], ()))
                listed.append({"labels": asdict(labels), "home": one.name, "told": told})
            rows.append(X.astype(np.float32))
            seqs.append(calls.call_seq)
            spoke.append(families.astype(np.int8))
            ruled.append(by_signals.astype(np.int8))
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(
            path,
            X=np.concatenate(rows),
            session=np.concatenate(at),
            call_seq=np.concatenate(seqs),
            families=np.concatenate(spoke),
            by_signals=np.concatenate(ruled),
            sessions=np.frombuffer(json.dumps(listed).encode(), dtype=np.uint8),
        )
