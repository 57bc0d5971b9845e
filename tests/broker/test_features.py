"""What `driftline features` makes of a topic is what the worker decided on, bit for bit."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.forest.joint import Joint
from models.forest.units import UNITS
from models.release import registry
from stream.events import DECISIONS, EVENTS
from stream.offline import generate, parquet
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, play
from tests.unit.test_cli import run
from tests.worker import Worker, live, mixed, replayed, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]

SAME = (
    "decision_id tenant root_session_id session_id call_id call_seq event_id tool agent score verdict standing enforced families marks"
    " release policy core"
).split()


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        made = Settings.from_environment(
            bootstrap=broker.bootstrap,
            prefix=f"t{uuid.uuid4().hex[:8]}.",
            partitions=3,
            state_dir=tmp_path / "state",
            session_timeout_s=2.0,
            checkpoint_s=0.5,
        )
        topics.create(made)
        yield made


def shuffled(seed: int, n: int) -> list[Message]:
    """Events of `n` generated sessions, half of them hijacked, in any order that keeps each session's own; with repeats and garbage."""
    rng = random.Random(seed)
    profile = generate.Profile(hijacked=0.5, unfinished=0.2)
    sent: list[Message] = []
    for message in mixed(generate.sessions(seed, n, profile, at_once=7, duplicates=0.05), rng):
        sent.append(message)
        if rng.random() < 0.02:
            sent.append(Message(EVENTS, b"somebody", (), rng.choice([b"{", b"[]", b'{"type":"no.such"}'])))
    return sent


def command(settings: Settings, folder: Path, *arguments: str | Path) -> str:
    done = run(
        *arguments, cwd=folder, DRIFTLINE_BOOTSTRAP=settings.bootstrap, DRIFTLINE_PREFIX=settings.prefix
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_decided(rows: pa.Table, decisions: list[dict[str, Any]]) -> None:
    """Each decision that judged a call has one row and the other way round, and they say the same, to the last bit."""
    by_id = {each["decision_id"]: each for each in decisions if "refused" not in each["marks"]}
    found = rows.to_pylist()
    assert len(found) == len(by_id)
    for row in found:
        decision = by_id[row["decision_id"]]
        assert {name: row[name] for name in SAME} == {name: decision[name] for name in SAME}
        spoke = {f"{each['family']}.{each['name']}" for each in decision["evidence"] if each["supports"]}
        assert set(row["signals"]) == spoke


def assert_scored(rows: pa.Table) -> None:
    """The release's own estimator, applied to the columns, gives the very scores; with its reader's word where it read."""
    model = registry.load()
    forest = model.score(parquet.matrix(rows), rows["call_seq"].to_numpy().astype(np.int64))
    assert (forest / UNITS).tolist() == rows["forest_score"].to_pylist()
    heard = rows["reader_log_odds"].to_numpy()
    read = ~np.isnan(heard)
    expected = forest.copy()
    expected[read] = Joint.parse(model.manifest["joint"]).scores(forest[read], heard[read])
    assert (expected / UNITS).tolist() == rows["score"].to_pylist()
    assert read.any(), "some calls are read, or this proves little"
    assert len({*expected.tolist()}) > 20


def test_rows_of_a_topic_are_what_the_worker_decided_on(settings: Settings, tmp_path: Path) -> None:
    play(settings, shuffled(3, 60), None)
    _, n = replayed(settings)
    with Worker(settings, tmp_path / "worker.log") as worker:
        wait_until(lambda: len({value for _, value in live(settings, DECISIONS)}) >= n, worker)
        assert worker.stop()[0] == 0
    decisions = [json.loads(value or b"") for _, value in live(settings, DECISIONS)]

    told = json.loads(command(settings, tmp_path, "features", "--out", "rows", "--mode", "enforce", "--json"))
    rows = parquet.read(tmp_path / "rows")
    assert_decided(rows, decisions)
    assert_scored(rows)
    assert {"allow", "alert"} < {*rows["verdict"].to_pylist()}
    assert rows["whole"].to_pylist() == [True] * len(rows)
    assert told["rows"] == len(rows)
    assert told["skipped"].keys() >= {"duplicate", "quarantined: decode", "quarantined: type"}
    assert sorted(each.name for each in (tmp_path / "rows").iterdir()) == [
        f"part-0000{n}.parquet" for n in range(3)
    ]

    (tmp_path / "dump.jsonl").write_text(command(settings, tmp_path, "topics", "dump"))
    of_files = json.loads(
        command(
            settings,
            tmp_path,
            "features",
            "dump.jsonl",
            "--out",
            "dump.parquet",
            "--mode",
            "enforce",
            "--json",
        )
    )
    assert parquet.read(tmp_path / "dump.parquet").to_pylist() == rows.to_pylist()
    assert {name: value for name, value in of_files.items() if name != "ranges"} == {
        name: value for name, value in told.items() if name != "ranges"
    }


def test_a_range_by_offsets_gives_its_rows_and_says_how_to_get_them_again(
    settings: Settings, tmp_path: Path
) -> None:
    play(settings, shuffled(4, 40), None)
    command(settings, tmp_path, "features", "--out", "all")
    full = {row["event_id"]: row for row in parquet.read(tmp_path / "all").to_pylist()}
    ends = {row["partition"]: row["offset"] + 1 for row in full.values()}
    begin = ",".join(f"{partition}:{end // 2}" for partition, end in sorted(ends.items()))
    printed = command(settings, tmp_path, "features", "--out", "half", "--from", begin)
    half = parquet.read(tmp_path / "half").to_pylist()
    assert [row["event_id"] for row in half] == [
        row["event_id"] for row in full.values() if row["offset"] >= ends[row["partition"]] // 2
    ]
    assert half == [full[row["event_id"]] for row in half]

    play(settings, shuffled(5, 5), None)
    again = printed.split("the same again: ")[1].split()
    command(settings, tmp_path, "features", "--out", "again", *again)
    for part in (tmp_path / "half").iterdir():
        assert (tmp_path / "again" / part.name).read_bytes() == part.read_bytes()

    command(settings, tmp_path, "features", "--out", "torn", *again, "--read-back", "0")
    torn = parquet.read(tmp_path / "torn").to_pylist()
    # A repeat of what came before is judged there as if it were the first; its row, too, says that something is missing.
    assert {row["event_id"] for row in torn} >= {row["event_id"] for row in half}
    assert 0 < sum(row["whole"] for row in torn) < len(torn)
    assert [row for row in torn if row["whole"]] == [full[row["event_id"]] for row in torn if row["whole"]]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--from", "0:9999"), 3, "and not 9999"),
        (("--to", "7:0"), 2, "has no partition 7"),
        (("--partition", "5"), 2, "has no partition 5"),
        (("--from", "yesterday"), 2, "--from is 'yesterday'; expected a day such as"),
        (("--to", "2026-03-02T09:00:00"), 2, "expected a day such as"),
        (("--from", "0:1,0:2"), 2, "names a partition twice"),
        (("--topic", "no.such.v1"), 4, "does not exist"),
    ],
)
def test_a_range_that_is_not_there_is_refused(
    settings: Settings, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    where = ("--bootstrap", settings.bootstrap, "--prefix", settings.prefix)
    done = run("features", "--out", "rows", *where, *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "rows").exists()
