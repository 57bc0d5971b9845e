"""What challengers cost beside the champion: CPU for a call, the worker's with and without them, and theirs.

One worker that judges, and none, one or two challengers under the same release, each a process of its own, all on the program's core. The load
comes once all are ready, as fast as the broker takes it; turns go up and down again, so that what the machine does otherwise meets all alike.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import results
from benchmarks.load import event_count, preload
from benchmarks.rig import ROOT, Rig, cpu_s
from models.release import registry
from stream.events import CHALLENGES, DECISIONS
from stream.policy import read_policy
from stream.settings import Settings

EVENTS = 4_000
TURNS = (0, 1, 2, 2, 1, 0)
READY = b"driftline: ready"


class Challenger:
    """A challenger as a process."""

    def __init__(
        self, settings: Settings, release: Path, name: str, log: Path, cores: set[int] | None
    ) -> None:
        shared = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DRIFTLINE_"))}
        passed = {
            f"DRIFTLINE_{field.upper()}": str(getattr(settings, field))
            for field in ("bootstrap", "prefix", "group", "partitions", "state_dir")
        }
        self.log = log
        command = [
            sys.executable,
            "-m",
            "stream.cli.main",
            "challengers",
            "run",
            str(release),
            "--name",
            name,
        ]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command,
                env={**shared, **passed, "PYTHONPATH": str(ROOT)},
                stdout=sink,
                stderr=sink,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )

    def __enter__(self) -> Challenger:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def _release(folder: Path) -> Path:
    """The bundled release as a folder, made once."""
    if not folder.exists():
        shutil.copytree(registry.BUNDLED, folder)
        (folder / "policy.yaml").write_text(read_policy()[0], encoding="utf-8")
    return folder


def turn(rig: Rig, challengers: int) -> tuple[float, list[float]]:
    """µs of CPU for a call: the worker's, and each challenger's."""
    settings, release = rig.settings(), _release(rig.directory / "release")
    items = event_count(EVENTS)
    calls = sum(item.call is not None for item in items)
    with ExitStack() as stack:
        worker = stack.enter_context(rig.start("driftline", settings))
        beside = [
            stack.enter_context(
                Challenger(
                    settings, release, f"c{n}", rig.directory / f"{settings.prefix}c{n}.log", rig.theirs
                )
            )
            for n in range(challengers)
        ]
        rig.wait(lambda: all(READY in one.log.read_bytes() for one in (worker, *beside)), [worker])
        before = [cpu_s(one.process.pid) for one in (worker, *beside)]
        preload(settings, items)

        def judged() -> bool:
            return rig.count(settings) >= calls and rig.count(settings, CHALLENGES) >= calls * challengers

        rig.wait(judged, [worker], limit_s=300)
        used = [cpu_s(one.process.pid) - then for one, then in zip((worker, *beside), before, strict=True)]
        assert rig.count(settings, DECISIONS) == calls
    mine, *theirs = (1e6 * seconds / calls for seconds in used)
    return mine, theirs


def measure(rig: Rig) -> dict[str, Any]:
    """Every turn, by the number of challengers."""
    found: dict[int, list[tuple[float, list[float]]]] = {n: [] for n in sorted(set(TURNS))}
    for challengers in TURNS:
        found[challengers].append(turn(rig, challengers))
    return {
        str(n): {
            "champion_us": round(mean(mine for mine, _ in turns)),
            "champion_us_turns": [round(mine) for mine, _ in turns],
            "challenger_us": round(mean(one for _, all_ in turns for one in all_)) if n else None,
        }
        for n, turns in found.items()
    }


COLUMNS = (
    "challengers",
    "worker, µs CPU a call",
    "of each turn",
    "× without",
    "each challenger, µs CPU a call",
    "× the worker's",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table."""
    alone = found["0"]["champion_us"]
    return [
        [
            n,
            f"{each['champion_us']:,}",
            " ".join(f"{us:,}" for us in each["champion_us_turns"]),
            f"{each['champion_us'] / alone:.2f}",
            f"{each['challenger_us']:,}" if each["challenger_us"] else "-",
            f"{each['challenger_us'] / each['champion_us']:.2f}" if each["challenger_us"] else "-",
        ]
        for n, each in found.items()
    ]


def main() -> None:
    """Measure, print, keep."""
    with Rig() as rig:
        found = measure(rig)
    results.merge("challengers", found)
    print(json.dumps({"challengers": found}, indent=2))


if __name__ == "__main__":
    main()
