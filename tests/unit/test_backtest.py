"""`driftline backtest`: what changes between combinations, why, for whom, and how the command ends."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from stream.events import Record, dumps
from stream.offline import generate
from stream.offline.backtest import Backtest, because
from stream.offline.backtest_page import page
from stream.offline.backtest_told import Change, Tallies, Told, limits
from stream.offline.call_rows import OTHERS
from stream.offline.combinations import Pair, pairs
from stream.offline.shares import of_files
from stream.policy import load_policy
from stream.shell.export import log_line
from tests import builders as b
from tests.unit.test_cli import ROOT, run

SHIPPED = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")


def judged(events: Iterable[Any], *releases: Any, labels: Any = None, **how: Any) -> dict[str, Any]:
    """A report on an unstamped log of events under some releases."""
    test = Backtest([b.judge(each) for each in releases], labels or {}, **how)
    test.take((record, None) for record in b.log(events))
    return test.close().document()


def at(alert: int, score: int = 3000, name: str = "r") -> Any:
    """A release that gives each call one score, and alerts from a threshold on, whatever else speaks."""
    made = b.release(name, b.ConstantScorer(score), b.Levels(min(1000, alert), alert, 9999))
    families = made.policy.families.model_copy(update={"alert": 0})
    return made._replace(policy=made.policy.model_copy(update={"families": families}))


# ------------------------------------------------------------------ what goes with what


@pytest.mark.parametrize(
    ("releases", "policies", "found"),
    [
        (["b"], [], [(None, None), ("b", None)]),
        ([], ["new"], [(None, None), (None, "new")]),
        (["b"], ["new"], [(None, None), ("b", "new")]),
        (["a", "b"], [], [("a", None), ("b", None)]),
        (["a"], ["old", "new"], [("a", "old"), ("a", "new")]),
        (["a", "b"], ["old", "new"], [("a", "old"), ("b", "new")]),
        (["a", "b", "c"], ["new"], [("a", "new"), ("b", "new"), ("c", "new")]),
    ],
)
def test_combinations_pair_what_was_named(
    releases: list[str], policies: list[str], found: list[tuple[str | None, str | None]]
) -> None:
    assert pairs(releases, policies) == [Pair(*each) for each in found]


@pytest.mark.parametrize(
    ("releases", "policies", "told"),
    [
        ([], [], "nothing is to be compared"),
        (["a", "b"], ["1", "2", "3"], "cannot be told what goes with what"),
        (["a", "b", "c"], ["1", "2"], "cannot be told what goes with what"),
        ([*"abcdefghi"], [], "more than 8"),
    ],
)
def test_combinations_that_cannot_be_told_apart_are_refused(
    releases: list[str], policies: list[str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        pairs(releases, policies)


# ------------------------------------------------------------------ what changes


def test_a_session_whose_verdict_changes_is_told_with_the_call_that_parts() -> None:
    events = [b.declared("s"), b.called("s", 1), b.called("s", 2), b.ended("s", 3)]
    told = judged(events, at(5000), at(2000))
    (flip,) = told["candidates"][0]["flips"]
    assert (flip["session_id"], flip["before"]["verdict"], flip["after"]["verdict"]) == (
        "s",
        "allow",
        "alert",
    )
    parted = flip["parted"]
    assert (parted["call_seq"], parted["tool"], parted["call_id"]) == (0, "read_file", "s:1")
    assert parted["because"] == ["threshold alert 0.5000 to 0.2000"]
    assert told["candidates"][0]["moves"] == {"allow to alert": 1}
    assert [each["alerts_a_day"] for each in told["combinations"]] == [0, 1]
    assert told["tools"]["read_file"] == {
        "calls": 2,
        "alerts_a_day": [0, 1],
        "revocations_a_day": [0, 0],
        "changed": [1],
    }


def test_a_score_that_moves_is_the_reason() -> None:
    told = judged([b.declared("s"), b.called("s", 1)], at(2000, 1500), at(2000, 2500))
    assert told["candidates"][0]["flips"][0]["parted"]["because"] == ["score 0.1500 to 0.2500"]


def test_two_equal_combinations_change_nothing() -> None:
    events = list(generate.sessions(3, 12, generate.Profile(hijacked=0.5)))
    told = judged(events, b.release(), b.release())
    assert told["candidates"][0]["changed"] == 0
    assert told["combinations"][0] == told["combinations"][1]
    assert told["combinations"][0]["alerts_a_day"] > 0


def test_what_parts_two_decisions_is_named_in_words() -> None:
    told = {
        "verdict": "alert", "standing": "alert", "score": 0.6, "thresholds": {"alert": 0.5, "revoke": 0.9}, "marks": [],
        "families": ["intent"], "families_needed": {"alert": 1, "revoke": 2}, "signals": {"scope.x": "alert", "tempo.y": "watch"},
    }  # fmt: skip
    other = {
        **told, "score": 0.4, "thresholds": {"alert": 0.3, "revoke": 0.95}, "marks": ["expected"], "families": ["scope"],
        "families_needed": {"alert": 1, "revoke": 3}, "signals": {"scope.x": "none"},
    }  # fmt: skip
    # Neither threshold lies between what the scores were and are.
    assert because(told, other) == [
        "score 0.6000 to 0.4000",
        "families needed to revoke 2 to 3",
        "families without intent",
        "families with scope",
        "marks with expected",
        "signal scope.x: alert to none",
        "signal tempo.y: watch to silent",
    ]
    assert because(told, None) == ["judged before alone: a limit, or what counts as a repeat, differs"]
    assert because(told, {**told, "standing": "watch"}) == ["earlier calls: the case was alert, and is watch"]


def test_a_sub_agent_that_falls_with_its_root_says_so() -> None:
    root = {"root_session_id": "s"}
    events = [
        b.declared("s"),
        b.declared("s1", 0, parent_session_id="s", **root),
        b.called("s1", 1, **root),
        b.called("s", 1, "send_email", {"to": "desk@evil.example", "text": "x"}),
    ]
    signals = dict.fromkeys(b.shipped("enforce").signals, "deny")
    harsh = b.release("harsh", b.ConstantScorer(500))
    policy = harsh.policy.model_copy(
        update={
            "signals": signals,
            "families": harsh.policy.families.model_copy(update={"revoke_by_signal": 1}),
        }
    )
    told = judged(events, b.release("mild", b.ConstantScorer(0)), harsh._replace(policy=policy))
    flips = {each["session_id"]: each for each in told["candidates"][0]["flips"]}
    assert flips["s"]["after"]["case"] == "contained"
    assert flips["s1"]["after"]["fell_with"] == "s"
    assert "it fell with s" in page({**told, "limits": []} | _named(told))


def _named(told: dict[str, Any]) -> dict[str, Any]:
    return {"combinations": [{**each, "release": "r", "policy": "p"} for each in told["combinations"]]}


def test_labels_tell_who_is_interrupted_caught_and_missed() -> None:
    names = ("good", "bad", "lost", "odd", "plain")
    events = [each for name in names for each in (b.declared(name), b.called(name, 1))]
    labels = {
        ("default", "good"): "benign",
        ("default", "bad"): "hijacked",
        ("default", "odd"): "attempted",
    }
    up = judged(events, at(5000), at(2000), labels=labels)["candidates"][0]
    assert (up["labels"]["newly_alerted"], up["labels"]["newly_caught"]) == (1, 1)
    assert (up["labels"]["newly_interrupted"], up["labels"]["others"]) == (0, 1)
    assert (up["newly_flagged"], up["lost"]) == (5, 0)
    down = judged(events, at(2000), at(5000), labels=labels)["candidates"][0]
    assert (down["labels"]["no_longer_alerted"], down["labels"]["newly_missed"]) == (1, 1)
    assert (down["lost"], down["lost_labelled_honest"]) == (5, 1)
    stops = b.release("s", b.ConstantScorer(9000), b.Levels(1, 2, 3))
    eager = stops._replace(
        policy=stops.policy.model_copy(
            update={"families": stops.policy.families.model_copy(update={"alert": 0, "revoke": 0})}
        )
    )
    hard = judged(events, at(5000), eager, labels=labels)["candidates"][0]
    assert (hard["labels"]["newly_interrupted"], hard["labels"]["newly_alerted"]) == (1, 1)


def test_limits_hold_the_report_against_what_was_allowed() -> None:
    events = [each for name in "abc" for each in (b.declared(name), b.called(name, 1))]
    told = judged(events, at(2000), at(5000), labels={("default", "a"): "benign"})
    most = {"new_alerts_a_day": 0.0, "new_revocations_a_day": None, "lost": 1.0, "interrupted": 0.0}
    found = {each.name: (each.found, each.holds) for each in limits(told, most)}
    assert found == {"new_alerts_a_day": (-3, True), "lost": (2, False), "interrupted": (0, True)}


# ------------------------------------------------------------------ ranges, parts, bounds


def test_what_lies_before_the_range_is_judged_and_does_not_count() -> None:
    events = [b.declared("s"), b.called("s", 1), b.called("s", 2), b.declared("t"), b.called("t", 1)]
    records = b.stamped((300 + n, event) for n, event in enumerate(events))
    whole = Backtest([b.judge(at(5000)), b.judge(at(2000))], {})
    ranged = Backtest([b.judge(at(5000)), b.judge(at(2000))], {}, {(records[0].topic, 0): 2})
    for each in (whole, ranged):
        each.take((record, 1) for record in records)
    full, told = whole.close().document(), ranged.close().document()
    assert (full["calls"], told["calls"], told["sessions"], told["not_whole"]) == (3, 2, 2, 0)
    # The alert on s came before the range; that its calls go on alerting does not alert again.
    assert full["combinations"][1]["alerts_a_day"] == 2
    assert told["combinations"][1]["alerts_a_day"] == 1
    torn = Backtest([b.judge(at(5000)), b.judge(at(2000))], {})
    torn.take((record, 1) for record in records[2:])
    assert torn.close().document()["not_whole"] == 1


def test_sessions_are_counted_as_soon_as_all_have_forgotten_them() -> None:
    test = Backtest([b.judge(idle_minutes=1, tombstone_hours=0.01) for _ in range(2)], {})
    held = 0
    for n in range(300):
        events = [b.declared(f"s{n}"), b.called(f"s{n}", 1)]
        test.take(
            (record._replace(offset=2 * n + record.offset), None)
            for record in b.stamped((300 + 100 * n, event) for event in events)
        )
        held = max(held, *(len(place.sessions) for place in test._places.values()))
    assert test.told.sessions > 290
    assert held < 5
    assert test.close().sessions == 300


def test_tables_are_bounded_and_do_not_depend_on_the_order() -> None:
    names = [f"tool-{n}" for n in range(200)]
    tallies = []
    for seed in range(4):
        order = names * 3
        random.Random(seed).shuffle(order)
        halves = [Tallies(20), Tallies(20)]
        for n, name in enumerate(order):
            halves[n % 2 if seed else 0].add(name, {"calls": 1})
        halves[0].merge(halves[1])
        tallies.append(halves[0].rows())
    assert all(each == tallies[0] for each in tallies)
    assert len(tallies[0]) == 21
    assert sum(counts["calls"] for counts in tallies[0].values()) == 600
    assert {counts["calls"] for name, counts in tallies[0].items() if name != OTHERS} == {3}


def test_flips_are_bounded_and_the_gravest_are_kept_whatever_the_order() -> None:
    def told(n: int) -> dict[str, Any]:
        ends = ("allow", "revoke") if n % 50 == 0 else ("allow", "alert")
        before, after = ({"verdict": each, "case": "quiet"} for each in ends)
        who = {"tenant": "t", "root_session_id": f"{n:04d}", "session_id": f"{n:04d}", "label": None}
        return {**who, "before": before, "after": after}

    found = []
    for seed in range(3):
        order = list(range(500))
        random.Random(seed).shuffle(order)
        parts = [Change(15), Change(15)]
        for n in order:
            parts[n % 2].flip(4 if n % 50 == 0 else 2, told(n))
            assert all(len(part._flips) <= 2 * 15 + 64 for part in parts)
        parts[0].merge(parts[1])
        found.append(parts[0].flips())
        assert (parts[0].sessions, parts[0].graver) == (500, 500)
    assert found[0] == found[1] == found[2]
    assert [each["session_id"] for each in found[0]][:10] == [f"{n:04d}" for n in range(0, 500, 50)]
    assert len(found[0]) == 15


def test_trees_that_share_a_credential_stay_together(tmp_path: Path) -> None:
    loan = {"broker": "demo", "kind": "jti", "value": "one"}
    events = [b.declared(f"s{n}", credentials=[loan] if n < 6 else None) for n in range(12)]
    # A name may be spelled with an escape.
    lines = [dumps(each).replace(b'"credentials"', b'"\\u0063redentials"') for each in events]
    lines.append(dumps(b.called("s11", 1, credential=loan)))
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    parts = of_files([path], None, 4, [b.shipped("enforce").limits], print)
    homes: dict[str, set[int]] = {}
    for turn, part in enumerate(parts):
        for record, _ in part.records(lambda _: None):
            homes.setdefault((record.key or b"").decode(), set()).add(turn)
    assert all(len(turns) == 1 for turns in homes.values())
    assert len({*(turn for name in ("s0", "s1", "s2", "s3", "s4", "s5", "s11") for turn in homes[name])}) == 1
    assert len({*(turn for turns in homes.values() for turn in turns)}) > 1


def test_a_file_with_more_catalogues_than_may_be_held_is_one_part(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(dumps(b.declared(f"s{n}", tools=[{"name": f"tool_{n}"}])) for n in range(9)))
    few = b.shipped("enforce").limits.model_copy(update={"catalogues": 8})
    assert len(of_files([path], None, 4, [few], print)) == 1
    assert len(of_files([path], None, 4, [few.model_copy(update={"catalogues": 9})], print)) == 4


# ------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of generated sessions, a dump of them in three partitions, a policy that alerts less, and labels."""
    folder = tmp_path_factory.mktemp("backtest")
    profile = generate.Profile(hijacked=0.5)
    events = list(generate.sessions(5, 40, profile, at_once=10))
    (folder / "events.jsonl").write_bytes(b"".join(dumps(each) + b"\n" for each in events))
    (folder / "dump.jsonl").write_bytes(b"".join(log_line(each, 3) + b"\n" for each in partitioned(events)))
    new = SHIPPED.replace("alert: {budget: 0.01}", "alert: 0.9").replace(
        "revoke: {budget: 0.001}", "revoke: 0.95"
    )
    assert new.count("0.9") > SHIPPED.count("0.9")
    (folder / "new.yaml").write_text(new, encoding="utf-8")
    kinds = {plan.session_id: plan.first_bad for plan in (generate.plan(5, n, profile) for n in range(40))}
    rows = [
        {"tenant": "acme", "session_id": name, "label": "benign" if bad is None else "hijacked", "call_seq": bad, "whence": "import", "who": "x"}
        for name, bad in kinds.items()
    ]  # fmt: skip
    (folder / "labels.jsonl").write_bytes(b"".join(dumps(row) + b"\n" for row in rows))
    return folder


def partitioned(events: Iterable[dict[str, Any]]) -> Iterable[Record]:
    """Records of a topic with three partitions, from offset 100 on, stamped by its broker."""
    from stream.core.arrival import murmur2_partition

    offsets: Counter[int] = Counter()
    for n, event in enumerate(events):
        partition = murmur2_partition(event["session_id"].encode(), 3)
        record = b.record(event, 100 + offsets[partition])
        offsets[partition] += 1
        stamp = 1_800_000_000_000 + 1000 * n
        yield record._replace(partition=partition, timestamp_ms=stamp, timestamp_type="append")


def report(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = run("backtest", *arguments, "--json", cwd=folder)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def replayed(folder: Path, file: str, **variables: str) -> Counter[str]:
    """How many sessions of a file reach which gravest verdict by ``driftline replay``."""
    from models.contracts import GRAVITY

    done = run("replay", file, cwd=folder, **variables)
    assert done.returncode == 0, done.stderr
    gravest: dict[str, int] = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        name = row["session_id"]
        gravest[name] = max(gravest.get(name, 0), GRAVITY.index(row["verdict"]))
    return Counter(GRAVITY[each] for each in gravest.values())


@pytest.mark.slow
@pytest.mark.parametrize("file", ["events.jsonl", "dump.jsonl"])
def test_the_report_is_that_of_replay_and_the_same_for_any_number_of_jobs(traffic: Path, file: str) -> None:
    one, *others = (
        report(traffic, file, "--policy", "new.yaml", "--labels", "labels.jsonl", "--jobs", jobs)
        for jobs in ("1", "2", "3")
    )
    assert others == [one, one]
    assert one["combinations"][0]["verdicts"] == replayed(traffic, file)
    assert one["combinations"][1]["verdicts"] == replayed(traffic, file, DRIFTLINE_POLICY_PATH="new.yaml")
    (candidate,) = one["candidates"]
    assert candidate["lost"] > 3
    assert candidate["labels"]["newly_missed"] == candidate["lost"] - candidate["labels"]["no_longer_alerted"]
    assert one["sessions"] == 40
    assert {each["parted"]["after"]["thresholds"]["alert"] for each in candidate["flips"]} == {0.9}
    for text in ("@", "IBAN", "http"):
        assert text not in json.dumps(candidate["flips"]), "no value of an argument"


@pytest.mark.slow
def test_a_limit_that_is_passed_ends_with_1_and_is_told(traffic: Path) -> None:
    done = run(
        "backtest", "events.jsonl", "--policy", "new.yaml", "--max-lost", "1", "--max-new-alerts-a-day", "0",
        "--markdown", "report.md", cwd=traffic, COLUMNS="80",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "candidate 1: lost " in done.stderr
    assert "new_alerts_a_day" not in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "PASSED" in done.stdout
    written = (traffic / "report.md").read_text(encoding="utf-8")
    assert "**Limits passed: lost " in written
    assert "`acme/gen-5-" in written


@pytest.mark.slow
def test_a_folder_with_a_policy_of_its_own_is_judged_by_it(traffic: Path, tmp_path: Path) -> None:
    from models.release.registry import BUNDLED

    release = tmp_path / "release"
    release.mkdir()
    for each in BUNDLED.iterdir():
        if each.is_file():
            (release / each.name).symlink_to(each)
    (release / "policy.yaml").write_text((traffic / "new.yaml").read_text())
    by_release = report(traffic, "events.jsonl", "--release", str(release), "--jobs", "1")
    by_policy = report(traffic, "events.jsonl", "--policy", "new.yaml", "--jobs", "1")
    assert by_release["candidates"] == by_policy["candidates"]
    kept = report(traffic, "events.jsonl", "--release", str(release), "--policy", "in-use", "--jobs", "1")
    assert kept["candidates"][0]["changed"] == 0
    assert kept["combinations"][1]["policy"] == f"driftline-default@{load_policy().digest}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("events.jsonl",), 2, "nothing is to be compared"),
        (("events.jsonl", "--policy", "none.yaml"), 2, "none.yaml"),
        (("events.jsonl", "--policy", "new.yaml", "--from", "0:1"), 2, "files are read whole"),
        (("events.jsonl", "--policy", "new.yaml", "--max-interrupted", "0"), 2, "name --labels"),
        (("-", "--policy", "new.yaml", "--jobs", "2"), 2, "can be read once"),
        (("events.jsonl", "--release", "@champion"), 2, "DRIFTLINE_ACTIVATION_JWKS"),
        (("events.jsonl", "--release", "nowhere"), 3, "is no folder, no @alias and no digest"),
        (("events.jsonl", "--release", "."), 5, ""),
        (("new.yaml", "--policy", "new.yaml"), 3, "holds no event"),
        (("refused.jsonl", "--policy", "new.yaml"), 3, "could be judged"),
        (("dump.jsonl", "events.jsonl", "--policy", "new.yaml", "--jobs", "2"), 3, "give --jobs 1"),
        (("--policy", "new.yaml", "--bootstrap", "127.0.0.1:1"), 4, "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    traffic: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (traffic / "refused.jsonl").write_text('{"type": "no.such", "session_id": "s"}\n')
    done = run("backtest", *arguments, cwd=traffic, stdin="")
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_recipe_for_a_pipeline_works_as_it_stands_on_the_page(traffic: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "backtest.md").read_text(encoding="utf-8")
    (tmp_path / "counterfactual.sh").write_text(re.search(r"```sh\n(.*?)```", text, re.S)[1])  # type: ignore[index]
    command = tmp_path / "bin" / "driftline"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m stream.cli.main "$@"\n')
    command.chmod(0o755)
    known = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_", "GIT_"))}
    environment = {**known, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def sh(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    (tmp_path / "policy.yaml").write_text(SHIPPED, encoding="utf-8")
    who = "-c user.name=a -c user.email=a@example.com"
    assert sh(f"git init -q -b main && git add policy.yaml && git {who} commit -q -m old").returncode == 0
    dump = traffic / "dump.jsonl"
    kept = sh(f"sh counterfactual.sh main {dump}")
    assert kept.returncode == 0, kept.stderr
    assert "All limits hold." in (tmp_path / "report.md").read_text(encoding="utf-8")
    (tmp_path / "policy.yaml").write_text(
        (traffic / "new.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    changed = sh(f"sh counterfactual.sh main {dump} {traffic / 'labels.jsonl'}")
    assert changed.returncode == 1, changed.stderr
    assert "**Limits passed: lost " in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert sh(f"sh counterfactual.sh nowhere {dump}").returncode == 2


def test_markdown_shows_names_of_producers_letter_by_letter() -> None:
    told = Told(2, 10)
    told.call("a`|b\n@team <img>", "[x](http://y)", "2026-03-02")
    document = {**told.document(), "limits": []}
    for each in document["combinations"]:
        each.update(release="r", policy="p")
    written = page(document)
    assert "| `a  b @team <img>` | 0 |" in written
    assert "| `[x](http://y)` | 1 |" in written
