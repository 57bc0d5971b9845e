"""What a table of words is worth: which tools the clauses of an intent lead to by it, beside its encoder and word overlap."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.text.embedding import Embedding, cosines, unit
from models.tools.names import name_words
from models.training import dataset
from models.training.distill_encoder import Encoder, Floats, normalised
from models.training.named_tools import facts_of_name

MEASURED = ("agentdojo", "tau_retail", "bfcl_multiturn", "apibank")
SESSIONS = 250
"""Benign sessions of a domain that are measured on."""


class Case(NamedTuple):
    """A benign session as a retrieval task: clauses of its intent, its tools' texts, the writes it called."""

    domain: str
    clauses: list[str]
    tools: list[str]
    called: list[int]


_CLAUSE = re.compile(r"(?<=[.!?;:])\s+|\n+")


def cases(directory: Path, source: str) -> list[Case]:
    """One benign session of each intent, at most SESSIONS a domain, of those that called a tool that writes."""
    catalogues = json.loads((directory / f"{source}_tools.json").read_bytes())
    records = dataset.read_records(directory / f"{source}.jsonl.gz")
    records.sort(key=lambda record: hashlib.sha256(record["session_id"].encode()).digest())
    seen: set[str] = set()
    taken: dict[str, int] = {}
    found = []
    for record in records:
        intent = "\n".join([record["intent"], *(a["text"] for a in record.get("amendments") or ())])
        if record["label"] != "benign" or intent in seen:
            continue
        seen.add(intent)
        tools = catalogues[record["tools_ref"]]
        names = [tool["name"] for tool in tools]
        called = {call["tool"] for call in record["calls"] if not call["error"]}
        writes = [
            n for n, name in enumerate(names) if name in called and facts_of_name(name).action != "read"
        ]
        domain = source if source != "agentdojo" else f"{source} {record['suite']}"
        if writes and len(tools) > 3 and taken.get(domain, 0) < SESSIONS:
            taken[domain] = taken.get(domain, 0) + 1
            clauses = [clause for clause in _CLAUSE.split(intent) if Embedding.words(clause)][:24]
            texts = [f"{' '.join(name_words(t['name']))}. {t['description'] or ''}" for t in tools]
            found.append(Case(domain, clauses, texts, writes))
    return found


Similar = Callable[[list[str], list[str]], NDArray[Any]]
"""Similarities of texts (rows) with tools' texts (columns)."""


def measure(listed: Sequence[Case], similar: Similar, reference: Similar | None = None) -> dict[str, float]:
    """Mean reciprocal rank of the called writes and the share among the first three; rank correlation.

    A tool's score is that of the clause that it is most similar to; of equal scores, the mean rank counts.
    ``spearman`` is over all pairs of a clause and a tool's text, with `reference`.
    """
    reciprocal, top, mine, theirs = [], [], [], []
    for case in listed:
        scores = similar(case.clauses, case.tools)
        ranks = stats.rankdata(-scores.max(axis=0))
        reciprocal.append(float(np.mean(1 / ranks[case.called])))
        top.append(float(np.mean(ranks[case.called] <= 3)))
        if reference is not None:
            mine.append(scores.ravel())
            theirs.append(reference(case.clauses, case.tools).ravel())
    found = {"mrr": round(float(np.mean(reciprocal)), 3), "top3": round(float(np.mean(top)), 3)}
    if reference is not None:
        rank = stats.spearmanr(np.concatenate(mine), np.concatenate(theirs)).statistic
        found["spearman"] = round(float(rank), 3)
    return found


def by_table(table: Embedding) -> Similar:
    """Similarity by a table's cosines."""

    def similar(texts: list[str], tools: list[str]) -> NDArray[Any]:
        matrix = np.stack([unit(table.total(tool)) for tool in tools])
        return np.stack([cosines(matrix, unit(table.total(text))) for text in texts])

    return similar


def by_encoder(encoder: Encoder) -> Similar:
    """Similarity by the encoder's cosines; each text is encoded once."""
    known: dict[str, Floats] = {}

    def similar(texts: list[str], tools: list[str]) -> NDArray[Any]:
        new = [text for text in dict.fromkeys([*texts, *tools]) if text not in known]
        known.update(zip(new, encoder.encode(new), strict=True))
        return np.stack([known[t] for t in texts]) @ np.stack([known[t] for t in tools]).T

    return similar


def by_words(listed: Sequence[Case]) -> Similar:
    """Similarity by TF-IDF, its document frequencies from all texts of `listed`."""
    texts = {text for case in listed for text in (*case.clauses, *case.tools)}
    spread: dict[str, int] = {}
    for text in texts:
        for word in set(Embedding.words(text)):
            spread[word] = spread.get(word, 0) + 1
    words = sorted(spread)
    weights = np.log((1 + len(texts)) / (1 + np.array([spread[word] for word in words]))) + 1
    place = {word: n for n, word in enumerate(words)}

    def vectors(texts: list[str]) -> NDArray[Any]:
        found = np.zeros((len(texts), len(words)))
        for n, text in enumerate(texts):
            for word in Embedding.words(text):
                found[n, place[word]] += weights[place[word]]
        return normalised(found.astype(np.float32))

    return lambda texts, tools: vectors(texts) @ vectors(tools).T


def compare(encoder: Encoder, made: dict[str, Embedding], directory: Path) -> dict[str, dict[str, Any]]:
    """Measures a domain, of TF-IDF, each table of `made` and the encoder."""
    domains: dict[str, list[Case]] = {}
    for source in MEASURED:
        for case in cases(directory, source):
            domains.setdefault(case.domain, []).append(case)
    reference = by_encoder(encoder)
    found: dict[str, dict[str, Any]] = {}
    for domain, listed in domains.items():
        ways = {
            "tf-idf": by_words(listed),
            **{name: by_table(table) for name, table in made.items()},
            "encoder": reference,
        }
        found[domain] = {"sessions": len(listed)}
        found[domain].update({name: measure(listed, way, reference) for name, way in ways.items()})
    return found


def as_text(measures: dict[str, dict[str, Any]]) -> str:
    """Measures as lines: a domain, then for each way MRR / top 3 / Spearman; the last line is the mean."""
    ways = [name for name in next(iter(measures.values())) if name != "sessions"]
    lines = [f"{'domain':22}{'n':>5}" + "".join(f"{way:>22}" for way in ways)]
    for domain, row in measures.items():
        cells = ("{mrr:.3f} {top3:.3f} {spearman:.3f}".format(**row[way]) for way in ways)
        lines.append(f"{domain:22}{row['sessions']:5}" + "".join(f"{cell:>22}" for cell in cells))
    lines.append(f"{'mean':27}" + "".join(f"{cell:>22}" for cell in map(" ".join, _means(measures, ways))))
    return "\n".join(lines) + "\n"


def _means(measures: dict[str, dict[str, Any]], ways: Sequence[str]) -> list[list[str]]:
    return [
        [
            f"{np.mean([row[way][key] for row in measures.values()]):.3f}"
            for key in ("mrr", "top3", "spearman")
        ]
        for way in ways
    ]
