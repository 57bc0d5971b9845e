"""Two releases on sessions of one's own: measured as a deployment would, only on what neither learnt from, and held to stated bounds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from models.release import registry
from models.training import dataset
from stream.cli.main import app
from stream.offline import gates, hold_out, month, study
from stream.offline.gates import Candidate
from stream.offline.hold_out import HoldOut
from stream.offline.labels import store
from stream.policy import read_policy
from stream.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert month.main([str(folder), "--sessions-a-day", "12"]) == 0
    return folder


@pytest.fixture(scope="module")
def own(made: Path) -> HoldOut:
    labels = store.read([made / "month-labels.jsonl"])
    recorded, tools = study.given([made / "month.jsonl"], None, labels, {}, lambda _: None)
    kept = {
        name: [
            *[one for one in sessions if one["label"] == "hijacked"],
            *[one for one in sessions if one["label"] == "benign"][:30],
        ]
        for name, sessions in recorded.items()
    }
    return HoldOut(list(study.recorded_sets(kept, tools)), {})


def release(place: Path, **manifest: Any) -> Candidate:
    """The bundled release in a folder, with something else in its manifest."""
    shutil.copytree(registry.BUNDLED, place)
    (place / "policy.yaml").write_text(read_policy()[0])
    registry.write_manifest(place, {**registry.read_manifest(place), **manifest})
    return gates.candidate(Settings(), place)


def test_a_deaf_release_loses_hijacked_sessions_and_the_same_one_holds(own: HoldOut, tmp_path: Path) -> None:
    champion = gates.candidate(Settings(), None)
    same = hold_out.compared(champion, release(tmp_path / "same"), own)
    assert [gate.name for gate in same] == [
        "own hijacked sessions told or stopped",
        "own honest sessions alerted on",
    ]
    assert all(gate.holds and gate.champion == gate.challenger for gate in same), same
    caught, of = map(int, same[0].champion.split(" of "))
    assert 0 < caught < of
    silent = release(
        tmp_path / "deaf", thresholds=dict.fromkeys(("0.001", "0.005", "0.01", "0.05"), registry.NEVER)
    )
    lost, alerted = hold_out.compared(champion, silent, own)
    assert not lost.holds
    assert alerted.holds
    assert int(lost.challenger.split()[0]) < caught


def test_a_release_that_alerts_on_everything_is_too_loud(own: HoldOut, tmp_path: Path) -> None:
    loud = release(tmp_path / "loud", thresholds=dict.fromkeys(("0.001", "0.005", "0.01", "0.05"), 1))
    caught, alerted = hold_out.compared(gates.candidate(Settings(), None), loud, own)
    assert caught.holds
    assert not alerted.holds


def test_what_either_learnt_from_takes_no_part(own: HoldOut, tmp_path: Path) -> None:
    champion = gates.candidate(Settings(), None)
    sessions = [session for one in own.sets for session in one.sessions]
    intents = [dataset.of_record(session, {}).intent for session in sessions]
    seen = champion.manifest["seen"]
    known = sorted(set(intents))[: len(set(intents)) // 2]
    part = release(tmp_path / "part", seen={**seen, "intents": [*seen["intents"], *known]})
    before, _ = hold_out.compared(champion, part, own)
    left = sum(intent not in known for intent in intents)
    assert (
        f"{len(intents) - left} of {len(intents)} take no part: their intents were learnt from" in before.why
    )
    every = release(tmp_path / "every", seen={**seen, "intents": [*seen["intents"], *intents]})
    for gate in hold_out.compared(champion, every, own):
        assert not gate.holds
        assert gate.challenger == "0 of 0"
        assert "0 are too few, 20 are needed" in gate.why


@pytest.mark.parametrize(
    ("caught", "alerted", "holds"),
    [
        ((50, 50), (2, 2), (True, True)),
        ((50, 48), (2, 3), (True, True)),
        ((50, 47), (2, 4), (False, False)),
        ((50, 90), (9, 0), (True, True)),
    ],
)
def test_two_points_may_be_lost_and_one_be_louder(
    caught: tuple[int, int], alerted: tuple[int, int], holds: tuple[bool, bool]
) -> None:
    before, after = ({"hijacked": (caught[n], 100), "benign": (alerted[n], 100)} for n in (0, 1))
    assert tuple(gate.holds for gate in hold_out._on_own(before, after, "")) == holds


def test_own_sessions_stand_in_for_suites_that_were_not_measured() -> None:
    metrics = {"by_suite": {"bank": {"at": {"0.01": {"detected": {"rate": 0.8}}}}}}
    (gate,) = gates._on_hold_outs(metrics, {}, stood_in=True)
    assert (gate.holds, gate.challenger, gate.why) == (True, "not measured", "your own sessions stand in")
    worse = {"by_suite": {"bank": {"at": {"0.01": {"detected": {"rate": 0.7}}}}}}
    (gate,) = gates._on_hold_outs(metrics, worse, stood_in=True)
    assert not gate.holds  # what was measured counts


def test_promote_refuses_labels_without_sessions_and_files_that_hold_none(made: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True)))
    base = ["release", "promote", "@challenger", "--key", str(key), "--by", "ann"]
    done = CliRunner().invoke(app, [*base, "--labels", str(made / "month-labels.jsonl")])
    assert isinstance(done.exception, ConfigError)
    assert "--labels are those of --hold-out" in str(done.exception)
    done = CliRunner().invoke(app, [*base, "--hold-out", str(key)])
    assert isinstance(done.exception, InputError)
    done = CliRunner().invoke(app, [*base, "--canaries", str(tmp_path / "none.jsonl")])
    assert done.exit_code != 0
