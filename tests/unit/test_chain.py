"""The chain of decisions: whatever is taken out of it, changed in it or moved is found, and nothing is found in an honest one."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.errors import InputError
from stream.cli.main import app
from stream.cli.verifying import keys_of
from stream.events import ALERTS, CASES, DECISIONS, Record, dumps, murmur2_partition
from stream.offline import chain
from stream.offline.chain import Name, Report, Verifier, verify
from stream.offline.replay import line_of
from stream.shell.export import log_line
from tests import builders as b

DOCS = Path(__file__).parents[2] / "docs"
CLI = CliRunner()


@cache
def played() -> tuple[Any, ...]:
    """Outputs of two sessions, one of which drifts, and of a call that the contract refuses."""
    events: list[Any] = [b.declared("s"), b.declared("t", credentials=[])]
    for n in range(1, 7):
        events += [
            b.called("s", n, at=n),
            b.called("t", n, tool="run_shell", arguments={"command": f"rm {n}"}, at=n),
        ]
    events.append({**b.called("s", 7, at=8), "schema_version": 9})
    events += [b.called("s", 8, at=9), b.ended("s", 9, at=10), b.ended("t", 7, at=10)]
    return tuple(b.Run(b.judge(more={}, scorer=b.ConstantScorer(3000))).feed(b.log(events)).outputs)


def decisions() -> list[bytes]:
    return [output.value for output in played() if output.topic == DECISIONS]


def records(values: list[bytes], partition: int = 0, first: int = 0) -> list[Record]:
    return [
        Record(DECISIONS, partition, first + n, 0, "create", None, (), value)
        for n, value in enumerate(values)
    ]


def checked(values: list[bytes], first: int = 0, **more: Any) -> Report:
    return verify([records(values, first=first)], Verifier(**more))


def remade(value: bytes, **changed: Any) -> bytes:
    """A decision changed, with the digest of what it says then, as a forger would make it."""
    body = {**json.loads(value), **changed}
    body.pop("digest")
    return dumps({**body, "digest": hashlib.sha256(dumps(body)).hexdigest()})


def test_an_honest_log_holds_and_what_stands_outside_the_chain_is_counted() -> None:
    report = checked(decisions())
    assert report.holds
    assert report.notes == []
    assert (report.sessions, report.decisions, report.outside, report.repeats) == (2, 14, 1, 0)


@given(st.data())
def test_repeats_of_any_stretch_are_no_fault(data: st.DataObject) -> None:
    log = decisions()
    end = data.draw(st.integers(1, len(log)))
    begin = data.draw(st.integers(0, end - 1))
    report = checked(log[:end] + log[begin:])
    assert report.holds
    assert report.repeats == sum(b'"refused"' not in value for value in log[begin:end])


def chained_at(log: list[bytes]) -> list[int]:
    return [at for at, value in enumerate(log) if b'"marks":["refused"]' not in value]


def tails(log: list[bytes]) -> set[int]:
    """The last decision of each session: that it is gone nothing else of its chain tells."""
    return set({json.loads(log[at])["session_id"]: at for at in chained_at(log)}.values())


@given(st.data())
def test_a_decision_taken_out_is_found_unless_it_is_the_last_one(data: st.DataObject) -> None:
    log = decisions()
    at = data.draw(st.sampled_from(sorted(set(chained_at(log)) - tails(log))))
    report = checked(log[:at] + log[at + 1 :])
    assert dict(report.faults) == {"missing": 1}


@given(st.data())
def test_a_byte_changed_anywhere_is_found(data: st.DataObject) -> None:
    log = decisions()
    at = data.draw(st.integers(0, len(log) - 1))
    place = data.draw(st.integers(0, len(log[at]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != log[at][place]))
    report = checked([*log[:at], log[at][:place] + bytes([byte]) + log[at][place + 1 :], *log[at + 1 :]])
    try:
        same = orjson.loads(log[at]) == orjson.loads(log[at][:place] + bytes([byte]) + log[at][place + 1 :])
    except orjson.JSONDecodeError:
        same = False
    assert report.holds == same  # of a digest in capital letters, or 0.0 as 0e0, nothing is another


@given(st.data())
def test_two_decisions_of_a_session_that_change_places_are_found(data: st.DataObject) -> None:
    log = decisions()
    of_s = [at for at in chained_at(log) if json.loads(log[at])["session_id"] == "s"]
    one, other = sorted(data.draw(st.lists(st.sampled_from(of_s), min_size=2, max_size=2, unique=True)))
    log[one], log[other] = log[other], log[one]
    assert set(checked(log).faults) == {"reordered"}


@given(st.data())
def test_a_decision_changed_together_with_its_digest_breaks_what_follows(data: st.DataObject) -> None:
    log = decisions()
    at = data.draw(st.sampled_from(sorted(set(chained_at(log)) - tails(log))))
    log[at] = remade(log[at], verdict="abstain")
    assert "missing" in checked(log).faults


def test_a_second_decision_in_the_same_place_is_found_unless_two_cores_judged_the_record() -> None:
    log = decisions()
    forged = remade(log[2], verdict="allow", score=0.0)
    assert dict(checked([*log, forged]).faults) == {"forked": 1}
    first = remade(log[0], verdict="deny")
    assert dict(checked([log[0], first, *log[1:]]).faults) == {"forked": 1}
    by_two = checked([*log[:3], remade(log[2], core="999"), *log[3:]])
    assert by_two.holds
    assert "two versions judged call 1; the first counts" in by_two.notes[0]


def test_a_member_that_stands_twice_is_found_though_the_digest_fits() -> None:
    log = decisions()
    log[0] = log[0].replace(b'{"action"', b'{"verdict":"allow","action"', 1)
    assert [found.text for found in checked(log).findings] == ["a member stands there twice"]


def test_what_is_no_decision_is_told_and_stops_nothing() -> None:
    report = checked([b"\xff", b"[]", b"{}", *decisions()])
    assert dict(report.faults) == {"unreadable": 3}
    assert report.decisions == 14


def test_a_log_that_begins_above_its_first_offset_may_have_aged_out_and_one_from_the_beginning_has_not() -> (
    None
):
    log = decisions()[2:]
    assert dict(checked(log).faults) == {"missing": 2}
    aged = checked(log, first=100)
    assert aged.holds
    assert len(aged.notes) == 2
    assert "aged out, or removed" in aged.notes[0]


def test_what_two_cores_made_of_a_record_behind_the_beginning_that_aged_out_is_no_fault() -> None:
    log = [value for value in decisions() if json.loads(value)["session_id"] == "s"]
    twin = remade(log[1], core="999")
    aged = checked([log[1], twin, *log[2:]], first=7)
    assert aged.holds
    assert "two versions judged call 1; the first counts" in aged.notes[1]
    assert dict(checked([log[1], remade(log[1], score=0.0), *log[2:]], first=7).faults) == {"forked": 1}
    assert dict(checked([log[1], *log[3:]], first=7).faults) == {"missing": 1}


def test_a_session_taken_out_whole_may_have_aged_out_only_where_its_own_partition_has() -> None:
    name, log = Name("default", "s", "s"), decisions()
    others = [value for value in log if json.loads(value)["session_id"] != "s"]
    its = murmur2_partition(b"s", 2)

    def report(aged: int, *, is_one_log: bool = False) -> Report:
        logs = [
            records([remade(others[0], session_id=f"u-{at}")], at, first=500 * (at == aged)) for at in (0, 1)
        ]
        return verify([[*logs[0], *logs[1]]] if is_one_log else logs, Verifier({name: {"gone": 0}}))

    assert "cut" in report(1 - its).faults
    assert "cut" not in report(its).faults
    assert "cut" not in report(1 - its, is_one_log=True).faults  # how many partitions there are nothing tells
    assert "cut" in report(-1, is_one_log=True).faults


def test_an_id_that_is_used_again_begins_a_chain_anew_which_is_told() -> None:
    run = b.Run(b.judge(scorer=b.ConstantScorer(100), tombstone_hours=1.0, idle_minutes=1.0))
    day = 86_400
    again = [
        (0, b.declared("s")),
        (1, b.called("s", 1)),
        (day, b.declared("s", at=day)),
        (day + 1, b.called("s", 1, at=day + 1)),
    ]
    log = [output.value for output in run.feed(b.stamped(again)).outputs if output.topic == DECISIONS]
    report = checked(log)
    assert report.holds
    assert "begins anew at call 0" in report.notes[0]


def test_a_cut_end_is_told_by_cases_and_alerts_that_cite_what_is_gone_and_by_a_head_noted_before() -> None:
    log, cited = decisions(), dict[Name, dict[str, int]]()
    outputs = [Record(o.topic, 0, n, 0, "create", None, (), o.value) for n, o in enumerate(played())]
    chain.note_cited((each for each in outputs if each.topic == CASES), cited)
    assert cited
    assert checked(log, cited=cited).holds
    name = next(iter(cited))
    kept = [
        value for value in log if json.loads(value)["session_id"] != name.session or b'"call_seq":0,' in value
    ]
    assert checked(kept).holds  # nothing else tells
    assert dict(checked(kept, cited=cited).faults) == {"cut": 1}
    none = [value for value in log if json.loads(value)["session_id"] != name.session]
    assert "none of it is there" in checked(none, cited=cited).findings[0].text

    whole = checked(log, keep_heads=True).heads
    heads = {name: digest for name, (digest, _) in whole.items()}
    assert checked([*log, *log[:3]], heads=heads).holds
    assert set(checked(kept, heads=heads).faults) == {"cut"}


def test_alerts_cite_as_cases_do() -> None:
    finding = next(
        json.loads(o.value)["finding"] for o in played() if o.topic == CASES and b'"finding":{' in o.value
    )
    of_alert, of_case = dict[Name, dict[str, int]](), dict[Name, dict[str, int]]()
    chain.note_cited([Record(ALERTS, 0, 0, 0, "create", None, (), dumps(finding))], of_alert)
    chain.note_cited(
        [Record(CASES, 0, 0, 0, "create", None, (), o.value) for o in played() if o.topic == CASES], of_case
    )
    assert of_alert
    for name, path in of_alert.items():
        assert path.items() <= of_case[name].items()


def test_a_number_of_thousands_of_digits_in_an_alert_is_no_call() -> None:
    event = {"type": "decision", "uid": "d", "title": "call " + "1" * 5000}
    alert = {
        "metadata": {"tenant_uid": "a", "correlation_uid": "s"},
        "actor": {"session": {"uid": "s"}},
        "finding_info": {"related_events": [event]},
    }
    cited = dict[Name, dict[str, int]]()
    chain.note_cited([Record(ALERTS, 0, 0, 0, "create", None, (), dumps(alert))], cited)
    assert cited == {Name("a", "s", "s"): {"d": -1}}


def test_keys_nested_without_end_are_refused_in_a_sentence(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("[" * 100_000)
    with pytest.raises(InputError, match="is no JWK set"):
        keys_of(keys)


@given(st.integers(0, 2**32))
def test_logs_of_many_partitions_are_judged_one_by_one_as_all_together(seed: int) -> None:
    rng, log = random.Random(seed), decisions()
    for _ in range(rng.randrange(3)):
        log.pop(rng.randrange(len(log)))
    by_session = [
        records([value for value in log if json.loads(value)["session_id"] == session], partition)
        for partition, session in enumerate("st")
    ]
    apart, together = verify(by_session, Verifier()), verify([[*by_session[0], *by_session[1]]], Verifier())
    assert apart.document() == together.document()


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """The topic of decisions as `topics dump` writes it."""
    file = tmp_path / "decisions.jsonl"
    file.write_bytes(b"".join(log_line(record, 1) + b"\n" for record in records(decisions())))
    return file


def test_the_command_reads_dumps_and_outputs_of_replay_and_ends_with_what_it_found(
    dump: Path, tmp_path: Path
) -> None:
    replayed, heads = tmp_path / "all.jsonl", tmp_path / "heads.jsonl"
    replayed.write_bytes(b"".join(line_of(output) + b"\n" for output in played()))
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(b"\n".join(decisions()))
    for file in (dump, replayed, plain):
        done = CLI.invoke(app, ["verify", "chain", str(file), "--heads-out", str(heads)])
        assert done.exit_code == 0, done.output
        assert "2 sessions, 14 decisions (0 repeats, 1 outside their chain): no fault" in done.stdout
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(dump.read_bytes().splitlines(keepends=True)[:6]))
    assert CLI.invoke(app, ["verify", "chain", str(cut)]).exit_code == 0
    told = CLI.invoke(app, ["verify", "chain", str(cut), "--heads", str(heads), "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["faults"] == {"cut": 2}
    one = CLI.invoke(app, ["verify", "chain", str(cut), "--heads", str(heads), "--session", "s"])
    assert one.stdout.startswith("cut: default, session s: ")
    for options, mend in ((["--session", "nobody"], "another name"), (["--heads", str(dump)], "--heads-out")):
        refused = CLI.invoke(app, ["verify", "chain", str(dump), *options])
        assert isinstance(refused.exception, InputError)
        assert mend in str(refused.exception)


def recipe() -> str:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "audit.md").read_text(encoding="utf-8"), re.M | re.S
    )
    found: str = next(block for block in blocks if "hashlib" in block)
    return found


def followed(log: bytes) -> subprocess.CompletedProcess[bytes]:
    """What the page's recipe says, in a Python that knows nothing of ours."""
    return subprocess.run([sys.executable, "-I", "-c", recipe()], input=log, capture_output=True, check=False)


def test_a_stranger_verifies_the_chain_with_the_recipe_of_the_page(dump: Path) -> None:
    lines = dump.read_bytes().splitlines(keepends=True)
    assert len([line for line in recipe().splitlines() if line.strip()]) <= 20
    forged = remade(decisions()[2], score=0.0)
    forked = log_line(records([forged], first=99)[0], 1) + b"\n"
    honest = followed(b"".join([*lines, *lines[3:7]]))
    assert (honest.returncode, honest.stdout) == (0, b"18 records of 2 sessions, 0 faults\n"), honest.stderr
    row = json.loads(lines[2])
    row["value_b64"] = base64.b64encode(
        base64.b64decode(row["value_b64"]).replace(b'"enforced":', b'"enforced": ')
    ).decode()
    for wrong in (
        [*lines, forked],
        lines[:2] + lines[3:],
        [*lines[:2], json.dumps(row).encode() + b"\n", *lines[3:]],
        [lines[2], *lines[:2], *lines[3:]],
    ):
        told = followed(b"".join(wrong))
        assert told.returncode == 1, wrong
        assert not told.stderr
        assert b", 0 faults" not in told.stdout


def test_the_page_says_where_decisions_are_written_otherwise_than_rfc_8785_has_it() -> None:
    """A whole number that is a fraction by its type keeps its ``.0``; all else of our encoder is as the RFC has it."""
    assert dumps({"b": 0.0, "a": 1.0}) == b'{"a":1.0,"b":0.0}'
    assert dumps([1e16, 1e21, 1e-7, 0.00001, 0.1]) == b"[1e+16,1e+21,1e-7,0.00001,0.1]"
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028é😀'
    escaped = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    by_rfc = "".join(escaped.get(ord(c), f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in text)
    assert dumps(text) == f'"{by_rfc}"'.encode()
    names = {name for value in decisions() for name in re.findall(r'"(\w+)":', value.decode())}
    assert all(name.isascii() for name in names)
