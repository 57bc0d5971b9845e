"""From ``driftline release promote`` and ``rollback`` to their effect, on a worker under a steady load.

A release is published once and promoted and rolled back in turns. Measured are, for each partition, the time from the activation's stamp to the first
decision under the other policy that the topic of decisions has, and what the command says and takes.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from benchmarks import results
from benchmarks.load import Steady, endless
from benchmarks.rig import ROOT, Rig
from models.release import registry
from stream.events import DECISIONS, EVENTS, dumps
from stream.policy import read_policy
from stream.settings import Settings
from stream.shell import export

RATE = 150.0
"""Events a second."""
TURNS = 5


class Keys:
    """Who activates, as files."""

    def __init__(self, folder: Path) -> None:
        key = ECKey.generate_key("P-256", auto_kid=True)
        self.private, self.public = folder / "activator.json", folder / "activators.json"
        self.private.write_bytes(dumps(key.as_dict(private=True)))
        self.public.write_bytes(dumps({"keys": [key.as_dict(private=False)]}))


def command(settings: Settings, keys: Keys, *arguments: str) -> tuple[str, float]:
    """What ``driftline release`` prints, and how long it took."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DRIFTLINE_"))}
    environment = {
        **kept,
        "DRIFTLINE_BOOTSTRAP": settings.bootstrap,
        "DRIFTLINE_PREFIX": settings.prefix,
        "DRIFTLINE_STATE_DIR": str(settings.state_dir / "mine"),
        "DRIFTLINE_ACTIVATION_JWKS": str(keys.public),
        "DRIFTLINE_ACTIVATION_KEY_FILE": str(keys.private),
        "PYTHONPATH": str(ROOT),
    }
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "release", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"{arguments}: {ran.stderr}")
    return ran.stdout, time.monotonic() - began


def _release(folder: Path) -> Path:
    """The bundled model under another policy."""
    shutil.copytree(registry.BUNDLED, folder)
    text, _ = read_policy()
    other = text.replace("idle_minutes: 60 ", "idle_minutes: 61 ")
    assert other != text
    (folder / "policy.yaml").write_text(other, encoding="utf-8")
    return folder


def effects(settings: Settings) -> list[list[float]]:
    """Of each activation, in their order, ms until the first decision under another policy, by partition."""
    found: list[list[float]] = []
    for partition in range(settings.partitions):
        stamps = [
            record.timestamp_ms
            for record, _ in export.records(settings, EVENTS, [partition])
            if record.value is not None and b'"release.activated"' in record.value
        ]
        changes, last = [], None
        for record, _ in export.records(settings, DECISIONS, [partition]):
            policy = json.loads(record.value or b"")["policy"]
            if last is not None and policy != last:
                changes.append(record.timestamp_ms)
            last = policy
        if len(stamps) != len(changes):
            sys.exit(f"partition {partition}: {len(stamps)} activations and {len(changes)} changes")
        found.append([float(after - before) for before, after in zip(stamps, changes, strict=True)])
    return [list(each) for each in zip(*found, strict=True)]


def measure(rig: Rig) -> dict[str, Any]:
    """Promote and roll back in turns."""
    keys = Keys(rig.directory)
    settings = rig.settings()
    said: list[tuple[str, float, float]] = []
    trust = {"DRIFTLINE_ACTIVATION_JWKS": str(keys.public)}
    with rig.start("driftline", settings, environment=trust) as worker:
        rig.await_members(settings, [worker])
        load = Steady(settings, endless(1), RATE, 600, watched=False)
        load.start()
        rig.wait(lambda: rig.count(settings) > 500, [worker])
        digest, _ = command(settings, keys, "publish", str(_release(rig.directory / "other")))
        for _ in range(TURNS):
            forced = ("--by", "bench", "--scope", "open", "--force", "only times count here")
            for kind, arguments in (
                ("promote", (digest.strip(), *forced)),
                ("rollback", ("--by", "bench")),
            ):
                time.sleep(3)
                printed, took = command(settings, keys, kind, *arguments)
                (told,) = re.findall(r"partitions after ([\d.]+) s", printed)
                said.append((kind, float(told), took))
                worker.check()
        time.sleep(3)
        load.halt.set()
        load.join()
        rig.wait(lambda: rig.committed(settings, EVENTS) >= rig.count(settings, EVENTS), [worker])
    measured = effects(settings)
    found: dict[str, Any] = {}
    names = ("promote, fetched", "promote, kept before", "rollback")
    for name, chosen in zip(
        names,
        ([0], range(2, 2 * TURNS, 2), range(1, 2 * TURNS, 2)),
        strict=True,
    ):
        first = sorted(measured[n][0] for n in chosen)
        rest = sorted(itertools.chain.from_iterable(measured[n][1:] for n in chosen))
        found[name] = {
            "times": len(chosen),
            "first_ms": [first[len(first) // 2], first[-1]],
            "others_ms": [rest[len(rest) // 2], rest[-1]],
            "said_s": max(said[n][1] for n in chosen),
            "took_s": max(said[n][2] for n in chosen),
        }
    return found


COLUMNS = (
    "command",
    "times",
    "first partition, ms, median",
    "most",
    "other partitions, ms, median",
    "most",
    "the command says, s, most",
    "it takes in all, s, most",
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table."""
    return [
        [
            name,
            str(each["times"]),
            *(f"{ms:,.0f}" for ms in (*each["first_ms"], *each["others_ms"])),
            f"{each['said_s']:.1f}",
            f"{each['took_s']:.1f}",
        ]
        for name, each in found.items()
    ]


def main() -> None:
    """Measure, print, keep."""
    with Rig() as rig:
        found = measure(rig)
    results.merge("effect", found)
    print(json.dumps({"effect": found}, indent=2))


if __name__ == "__main__":
    main()
