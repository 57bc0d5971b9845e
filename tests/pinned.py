"""What must not move while the house is rebuilt: ``make pinned`` compares it, ``make pinned WRITE=1`` notes it anew.

Every output and packed state of the samples, of a fixed slice of each recorded set, of the fuzz corpus and of generated
load, and the feature rows of every scenario set, each as one digest. ``PART=quick`` takes what needs no recordings, and
``PART=rows,recorded`` those groups alone. Digests of recordings are compared where ``DRIFTLINE_DATA`` is set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from benchmarks.detection import rows
from benchmarks.detection.rows import say
from models.training.scenarios import corpus
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import CASES, EVENTS, Output, Record, dumps
from stream.offline import files, generate, study
from stream.offline.files import load_tools, name_of
from stream.settings import Settings
from tests import fuzz

ROOT = Path(__file__).parents[1]
HELD = Path(__file__).parent / "golden" / "pinned.json"
BATCHES = (1, 7, 64, 512)
"""Records that are judged together, in turn."""
SLICE = 48
"""Sessions of a recorded set, and of a scenario set, that are judged."""
RECORDINGS = 12
"""Of so many recordings one is what scenarios are made of."""
Jobs = dict[str, Callable[[], str]]


class Digest:
    """SHA-256 of outputs and states, in order."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def output(self, output: Output) -> None:
        """Take one output; of a signed token its payload, since its signature differs from key to key."""
        value = output.value
        headers = [[name, raw.hex()] for name, raw in output.headers]
        if value.count(b".") == 2 and value.startswith(b"eyJ"):
            value = value.split(b".")[1]
        self._sha.update(dumps([output.topic, output.key.hex(), headers]) + value + b"\n")

    def states(self, partition: Partition) -> None:
        """Take all packed states of a partition."""
        for key in sorted(partition.states):
            self._sha.update(key.encode() + partition.states[key])

    def hexadecimal(self) -> str:
        """The digest so far."""
        return self._sha.hexdigest()


def judged(records: Iterable[Record], judge: Judge, n_partitions: int | None = None) -> str:
    """Digest of everything that `records` of one partition lead to, and of the states that they leave."""
    total, partition = Digest(), Partition.empty(n_partitions)
    with tempfile.TemporaryDirectory() as folder:
        actor = bootstrap.actor(Settings(state_dir=Path(folder)))
        waiting: list[Record] = []
        turn = 0

        def flush() -> None:
            step = judge.judge(partition, waiting)
            partition.apply(step.changes)
            waiting.clear()
            for output in step.outputs:
                total.output(output)
                if output.topic == CASES:
                    case = Record(CASES, 0, 0, 0, "none", output.key, output.headers, output.value)
                    for sent in actor.act([case]):
                        total.output(sent)

        for record in records:
            waiting.append(record)
            if len(waiting) >= BATCHES[turn % len(BATCHES)]:
                flush()
                turn += 1
        flush()
    total.states(partition)
    return total.hexadecimal()


def _slice(sessions: Iterable[Any], most: int = SLICE) -> list[Any]:
    """At most so many sessions, whose ids a hash puts first, in their own order."""
    listed = list(sessions)
    drawn = sorted(listed, key=lambda s: hashlib.sha256(str(s["session_id"]).encode()).digest())[:most]
    kept = {id(one) for one in drawn}
    return [one for one in listed if id(one) in kept]


def sample(path: Path, mode: str) -> str:
    """Digest of one sample file, in `mode`."""
    settings = Settings(attestation_issuers=path.with_name("issuers.json"))
    return judged((record for record, _ in files.read_records(path)), bootstrap.judge(settings, mode=mode))


def recorded(path: Path) -> str:
    """Digest of a slice of one recorded set."""
    tools = load_tools(path, None)
    records: list[Record] = []
    for session in _slice(files.read_sessions(path)):
        for event in files.events_at(path.name, session, tools):
            root = event.get("root_session_id") or event["session_id"]
            records.append(Record(EVENTS, 0, len(records), 0, "none", root.encode(), (), dumps(event)))
    return judged(records, bootstrap.judge(Settings(), mode="enforce"))


def load(duplicates: float, result_chars: int, seed: int) -> str:
    """Digest of generated load, stamped by a broker."""

    def stamped() -> Iterator[Record]:
        drawn = generate.sessions(
            seed,
            160,
            generate.Profile(hijacked=0.3, unfinished=0.2, result_chars=result_chars),
            at_once=20,
            duplicates=duplicates,
        )
        for n, event in enumerate(drawn):
            key = event["session_id"].encode()
            stamp = fuzz.START_MS + 900_000 + 200 * n
            yield Record(EVENTS, 0, n, stamp, "append", key, (), dumps(event))

    return judged(stamped(), bootstrap.judge(Settings(), mode="enforce"))


def fuzzed(seed: int, n: int = 6000) -> str:
    """Digest of the fuzz corpus of one seed, each partition by itself."""
    generator = fuzz.Generator(seed)
    placed: list[list[Record]] = [[] for _ in range(fuzz.PARTITIONS)]
    for record in generator.records(n):
        placed[record.partition].append(record)
    digests = (judged(part, fuzz.judge(), fuzz.PARTITIONS) for part in placed)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def feature_rows(one: corpus.Set) -> str:
    """Digest of the feature rows of a slice of one scenario set, seen through the bundled readers.

    What :attr:`corpus.Set.unread` holds is fitted here and now, and the last digits of a fit are the processor's.
    """
    sessions = _slice(one.sessions)
    refs = {session["tools_ref"] for session in sessions}
    tools = {ref: listed for ref, listed in one.tools.items() if ref in refs}
    found = study.rows_through(sessions, tools, None)
    told = [found.X.tobytes(), orjson.dumps(found.session_ids), found.call_seqs.tobytes()]
    return hashlib.sha256(b"".join([*told, found.families.tobytes()])).hexdigest()


def quick() -> Jobs:
    """What needs no recordings, by name."""
    jobs: Jobs = {}
    for path in sorted((ROOT / "stream" / "samples").glob("*.jsonl")):
        for mode in ("enforce", "shadow"):
            jobs[f"sample {path.stem} {mode}"] = lambda path=path, mode=mode: sample(path, mode)
    for seed in (1, 2):
        jobs[f"fuzz {seed}"] = lambda seed=seed: fuzzed(seed)
    for seed, (duplicates, chars) in enumerate([(0.0, 0), (0.1, 3000)], 1):
        jobs[f"load {seed}"] = lambda *, seed=seed, d=duplicates, c=chars: load(d, c, seed)
    return jobs


def of_recordings(data: Path) -> Jobs:
    """A slice of each recorded set, by name."""
    return {f"recorded {name_of(path)}": lambda path=path: recorded(path) for path in _files(data)}


def of_scenarios(data: Path) -> Jobs:
    """A slice of each set that training and evaluation read, by name."""
    source = rows.Source(_files(data), (), 1 / RECORDINGS, True, 1)
    jobs: Jobs = {}
    for names in ("learn", "closed", "opened"):
        for n, one in enumerate(source.sets(names)):
            if one.sessions:
                jobs[f"rows {names} {n} {one.name}"] = lambda one=one: feature_rows(one)
    return jobs


def _files(data: Path) -> list[Path]:
    return sorted(data.glob("*.jsonl.gz"))


_JOBS: Jobs = {}


def _run(name: str) -> tuple[str, str]:
    return name, _JOBS[name]()


def digests(parts: Iterable[str], processes: int) -> dict[str, str]:
    """Digest of each thing pinned, by name; processes are forked, so that they inherit what is to be done."""
    data = os.environ.get("DRIFTLINE_DATA")
    made = {"quick": quick}
    if data:
        made |= {
            "recorded": lambda: of_recordings(Path(data)),
            "rows": lambda: of_scenarios(Path(data)),
        }
    else:
        say("NOT COMPARED: recordings and scenarios, DRIFTLINE_DATA is not set")
    for part in parts:
        if part in made:
            _JOBS.update(made[part]())
    found: dict[str, str] = {}
    began = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        for done in as_completed([pool.submit(_run, name) for name in _JOBS]):
            name, digest = done.result()
            found[name] = digest
            if sys.stderr.isatty() or len(found) % 20 == 0:
                say(f"{len(found)} of {len(_JOBS)}, {time.monotonic() - began:.0f} s")
    return found


def main() -> int:
    """The command line of ``make pinned``."""
    parser = argparse.ArgumentParser(description="Compare what must not move with its digests.")
    parser.add_argument("--write", action="store_true", help="note the digests, instead of comparing them")
    parser.add_argument("--part", default="quick,recorded,rows", help="groups, parted by commas")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    held = json.loads(HELD.read_text()) if HELD.exists() else {}
    found = digests(asked.part.split(","), asked.jobs)
    if asked.write:
        HELD.write_text(json.dumps({**held, **found}, indent=1, sort_keys=True) + "\n")
        say(f"{len(found)} digests written")
        return 0
    moved = sorted(name for name, digest in found.items() if held.get(name) != digest)
    for name in moved:
        say(f"MOVED: {name}" if name in held else f"NOT PINNED: {name}")
    say(f"{len(found) - len(moved)} of {len(found)} are as pinned")
    return 1 if moved or not found else 0


if __name__ == "__main__":
    raise SystemExit(main())
