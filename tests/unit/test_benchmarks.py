"""What the benchmarks conclude from their samples, and that the documents hold their tables."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import core, results
from stream.events import CORE

ROOT = Path(__file__).parents[2]


def test_percentiles_are_nearest_ranks_in_milliseconds() -> None:
    found = results.latencies(n / 1000 for n in range(1000, 0, -1))
    assert (found["n"], found["p50"], found["p99"], found["max"]) == (1000, 500.0, 990.0, 1000.0)
    assert results.latencies([]) == {"n": 0}


def test_a_single_sample_is_every_percentile() -> None:
    assert {results.percentile([7.0], share) for share in (0.0, 0.5, 0.999)} == {7.0}


def test_text_between_marks_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n")
    results.write_between(page, "x", "new\\1")
    results.write_between(page, "y", "first")
    assert page.read_text() == "a\n<!-- x -->\nnew\\1\n<!-- /x -->\nb\n<!-- y -->\nfirst\n<!-- /y -->\n"
    with pytest.raises(ValueError, match="no marks for z"):
        results.write_between(page, "z", "")


def test_a_table_goes_into_the_one_page_that_has_its_marks(tmp_path: Path) -> None:
    one, other = tmp_path / "one.md", tmp_path / "other.md"
    one.write_text("<!-- x -->\n<!-- /x -->\n<!-- z -->\n<!-- /z -->\n")
    other.write_text("<!-- y -->\n<!-- /y -->\n<!-- z -->\n<!-- /z -->\n")
    tables = {name: (name, ("a", "b"), [[name, "1"]]) for name in "xy"}
    results.show_all(tables, [])
    assert results.rows_between(one, "x") == []
    results.show_all(tables, [one, other])
    assert (results.rows_between(one, "x"), results.rows_between(other, "y")) == ([["x", "1"]], [["y", "1"]])
    for name, many in (("z", 2), ("w", 0)):
        with pytest.raises(ValueError, match=f"marks for {name} stand {many} times"):
            results.page_with([one, other], name)


def test_a_row_that_was_not_measured_again_stays_in_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\n<!-- /x -->\n| no | row |\n")
    columns = ("target", "aim", "met")
    assert results.rows_between(page, "x") == []
    results.write_between(page, "x", results.markdown(columns, [["cost", "", "no"], ["rate", "5", "yes"]]))
    table = results.renewed(results.rows_between(page, "x"), [["rate", "5", "no"], ["tail", "1", "aim"]])
    assert table == [["cost", "", "no"], ["rate", "5", "no"], ["tail", "1", "aim"]]


def test_a_section_is_kept_with_the_core_and_the_day_that_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "bench.json")
    results.merge("scale", {"workers": {}})
    results.merge("soak", {"rate": 1})
    report = results.read()
    assert (report["scale"], report["soak"]) == ({"workers": {}}, {"rate": 1})
    assert [(run["core"], run["date"]) for run in report["runs"].values()] == 2 * [(CORE, results.today())]
    line = results.measured_by("make soak", report["runs"]["soak"])
    assert line.startswith(f"`make soak`; core {CORE}, {results.today()}; load of the machine before it: ")


def test_a_report_that_names_no_cores_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "bench.json")
    results.write({"scale": {"workers": {}}, "load_before": {"scale": 0.1}})
    results.merge("soak", {"rate": 1})
    assert "scale" not in results.read()


def test_every_table_of_what_was_measured_names_its_core_and_day() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    tables = dict(re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.S))
    rows = [line.split("|") for line in tables.pop("targets").splitlines()[2:]]
    assert not [row[1] for row in rows if "orjson" not in row[1] and not row[-2].strip().isdigit()]
    costs = [[cell.strip() for cell in line.split("|")] for line in tables.pop("cost").splitlines()[2:]]
    assert not [row for row in costs if not row[1].isdigit() or not re.fullmatch(r"\d{4}-\d\d-\d\d", row[6])]
    said = re.compile(r"\n\n`.+`; core \d+, \d{4}-\d\d-\d\d; load of the machine before it: [\d.]+\n$")
    assert tables
    assert not [name for name, table in tables.items() if not said.search(table)]


def test_a_unit_that_another_benchmark_measures_is_of_that_one_s_core_and_day() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.capacity import PAGE, unit_rows

    unit = defaultdict(lambda: 1.0)
    rows = {row[0]: row[2] for row in unit_rows(unit, {"recovery": {"core": "29", "date": "2026-11-01"}})}
    assert rows["reading and loading one state"] == "29, 2026-11-01"
    page = {row[0]: row[2] for row in results.rows_between(PAGE, "units")}
    what = "CPU of an event, core and shell"
    assert rows[what] == page[what]  # measured by one that did not run here: what the page keeps
    assert rows["an event's key and value"] == f"{CORE}, {results.today()}"


def test_units_that_were_not_measured_are_the_page_s() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.capacity import BY_OTHERS, kept, measured

    assert min(kept().values()) > 0
    assert measured({}) == {}
    recovery = {
        "state_bytes_mean": 1000.0,
        "sessions": 10,
        "ready_s": {"median": 0.001},
        "first_checkpoint_s": {"median": 0.002},
    }
    found = measured({"recovery": recovery})
    assert found == {"state_bytes": 1060.0, "recover_us": 100.0, "rewrite_us": 200.0}
    assert set(found) == {name for name, section in BY_OTHERS.items() if section == "recovery"}


def test_a_token_that_lives_counts_among_the_slowest_and_in_no_leg_that_it_did_not_go() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.revocation import WHOLE, Bad, rows, summary

    way = {"sent": 5.0, "decided": 5.1, "revoked": 5.15, "dead": 5.2, "told": 5.5}
    fates = [way, way, {"sent": 5.0, "decided": 5.1}, {"sent": 5.0}]
    bads = [Bad(n, f"bad-{n}", None, None, at) for n, at in enumerate(fates)]  # type: ignore[arg-type]
    found = summary(bads)
    assert (found["alive"], found["not_decided"], found["not_revoked"]) == (2, 1, 2)
    assert [each["n"] for each in found["legs"].values()] == [3, 2, 2, 4, 2]
    whole = next(row for row in rows({"rates": {"0": {"rate": 0.0, **found}}}) if row[2] == WHOLE)
    assert whole == ["0", "", WHOLE, "4", "200.0", "over 30,000", "over 30,000", "2"]
    fates[2] |= {"revoked": 35.5, "dead": 36.0}  # later than the limit is alive at the limit
    assert summary(bads)["alive"] == 2


def test_a_second_time_that_calls_the_provider_or_tells_an_outcome_is_found() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.replayed import repeated

    turns = [{"calls": 10, "outcomes": 10}, {"calls": 0, "outcomes": 0}, {"calls": 0, "outcomes": 0}]
    assert repeated({"turns": turns}) == 0
    turns[2] = {"calls": 1, "outcomes": 2}
    assert repeated({"turns": turns}) == 3


@pytest.mark.parametrize("name", ["performance.md", "capacity.md"])
def test_every_table_of_the_document_was_measured(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.S)
    assert tables
    assert not [mark for mark, table in tables if not re.search(r"\d", table)]


def test_a_minute_that_the_machine_spoils_moves_the_most_and_not_the_median() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.soak import minutes

    calm = [(float(due), 0.010) for due in range(600)]
    spoilt = [(due, 1.0 if 300 <= due < 315 else took) for due, took in calm]
    assert minutes(calm, 200, 400) == {"p99": 10.0, "p99_most": 10.0}
    assert minutes(spoilt, 200, 400) == {"p99": 10.0, "p99_most": 1000.0}
    assert minutes([(5.0, 0.010)], 0, 20) == {"p99": 10.0, "p99_most": 10.0}


def test_a_soak_fails_on_growth_and_on_drift_alone() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.soak import complaints, slope

    flat = {"p99": 20.0}
    calm = {"rss_mb_per_hour": 5.0, "rss_growth_share": 0.01, "middle": flat, "last": {"p99": 60.0}}
    assert complaints(calm) == []
    assert complaints({**calm, "rss_mb_per_hour": 40.0}) == []  # within the allocator's noise for its length
    assert "memory rose" in complaints({**calm, "rss_mb_per_hour": 40.0, "rss_growth_share": 0.05})[0]
    assert "p99 of a minute went from 20.0 to 90.0 ms" in complaints({**calm, "last": {"p99": 90.0}})[0]
    steep = {**calm, "rss_mb_per_hour": 400.0, "rss_growth_share": 0.1, "rss_mb_end": 310.0}
    assert complaints(steep, 450.0) == []
    assert "memory reached 310 MB" in complaints(steep, 300.0)[0]
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == 2.0


def recorded_file(path: Path, sessions: int, calls: int) -> Path:
    with path.open("w") as sink:
        for n in range(sessions):
            made = [
                {
                    "seq": k,
                    "tool": "read_note",
                    "args": {"title": f"t{n}{k}"},
                    "result": f"note {n} {k}",
                    "error": None,
                }
                for k in range(calls)
            ]
            session = {"session_id": f"{path.stem}-{n}", "intent": "Read my notes.", "calls": made}
            sink.write(json.dumps(session) + "\n")
    return path


def test_a_sample_of_a_recorded_file_is_every_kth_session(tmp_path: Path) -> None:
    path = recorded_file(tmp_path / "few.jsonl", 10, 1)
    records, count = core.sample(path, 4)
    assert count == 10
    assert sorted({record.key for record in records}) == [b"few-0", b"few-3", b"few-6", b"few-9"]
    assert len({record.key for record in core.sample(path, 300)[0]}) == 10


def test_a_set_counts_in_the_mean_of_all_by_its_sessions_not_by_those_measured(tmp_path: Path) -> None:
    paths = [recorded_file(tmp_path / "many.jsonl", 30, 1), recorded_file(tmp_path / "long.jsonl", 3, 12)]
    found = core.session_bytes(paths, 3)
    many, long = found["sets"]["many"], found["sets"]["long"]
    assert (many["recorded"], many["sessions"], long["recorded"], long["sessions"]) == (30, 3, 3, 3)
    assert long["mean"] > many["mean"] > 0
    assert found["mean"] == round((30 * many["mean"] + 3 * long["mean"]) / 33)
    assert core.size_rows(found)[-1] == ["all", "33", "6", f"{found['mean']:,}", "", f"{long['max']:,}"]


def test_stages_add_up_to_what_a_call_takes_and_each_takes_something() -> None:
    found = {"generated": core.stages(core.generated(8))}
    assert list(found["generated"]) == [*core.STAGES, core.BESIDE]
    assert all(took > 0 for took in found["generated"].values())
    rows = core.stage_rows(found)
    assert rows[-1][:3] == ["all", f"{sum(found['generated'].values()):,.0f}", "100"]
    assert rows[-1][3:] == ["", ""], "recorded sessions were not timed"


def test_targets_show_the_raw_ratio_and_that_for_the_same_core_each_decided_by_itself() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.suite import targets

    def of(value: float) -> dict[str, float]:
        return results.spread([value])

    ratio = {"wall": of(1.4), "cpu": of(0.95), "cpu_for_core": of(1.002)}
    ours = {"events_per_core_s": of(6000.0), "shell_us_per_event": of(17.0)}
    report: dict[str, Any] = {
        "throughput": {
            "programs": {"driftline": ours},
            "ratios": {"confluent": ratio, "quixstreams": ratio},
            "orjson_us_per_event": of(2.5),
        },
        "session_bytes": {"mean": 6145},
        "revocations": {
            "200": {"p99_ratio": 1.3, "decided": {"p50": 2.4}},
            "1000": {"p99_ratio": 1.8, "decided": {"p50": 8620.6}},
        },
        "runs": {
            "throughput": {"core": "30"},
            "session_bytes": {"core": "29"},
            "revocations": {"core": "30"},
        },
    }
    rows = {row[0]: row[3:] for row in targets(report)}
    assert rows["throughput, ratio to confluent (CPU)"] == ["0.95", "aim", "30"]
    assert rows["throughput, ratio to quixstreams (wall)"] == ["1.40", "aim", "30"]
    assert rows["throughput, ratio to quixstreams (CPU)"] == ["0.95", "no", "30"]
    assert rows["throughput, ratio to quixstreams (CPU for the same core)"] == ["1.002", "yes", "30"]
    (state,) = (cells for name, cells in rows.items() if name.startswith("state of a session"))
    assert state == ["6,145", "yes", "29"]
    assert rows["p99 to revoked at 200, ratio to decided"] == ["1.30", "aim", "30"]
    assert rows["p99 to revoked at 1,000, ratio to decided"] == ["1.80", "no", "30"], (
        "a queue meets no target"
    )
    assert not [row for row in targets({}) if row]


def test_a_row_of_another_cluster_has_its_ratios_to_the_first_and_the_first_none() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks import secured, worker

    figures = dict.fromkeys(
        ("cores", "broker_us_per_event", "events_per_core_s", "shell_us_per_event", "state_bytes_per_event"),
        1.0,
    )
    plain = [
        {
            **figures,
            "events_per_s": of,
            "cpu_us_per_event": 100.0,
            "shell_per_cent": 5.0,
            "rss_mb": 9.0,
            "digest": "a",
        }
        for of in (1000.0, 2000.0)
    ]
    tls = [{**one, "events_per_s": 500.0, "cpu_us_per_event": 125.0, "shell_per_cent": 24.0} for one in plain]
    runs = worker.alternate(
        {name: partial(list.pop, each[:], 0) for name, each in ((secured.ONE, plain), (secured.TLS, tls))}, 2
    )
    assert runs == {secured.ONE: plain, secured.TLS: tls}
    found = {
        "programs": worker.spreads(runs),
        "ratios": {secured.TLS: worker.ratios(runs[secured.TLS], runs[secured.ONE])},
    }
    first, second = (dict(zip(secured.COLUMNS, row, strict=True)) for row in worker.rows(found))
    assert (first["worker on"], first["events/s"]) == (secured.ONE, "1,500 (1,000..2,000)")
    told = [name for name in secured.COLUMNS if name.startswith("×")]
    assert [first[name] for name in told] == ["", "", ""]
    assert [second[name].split(" ")[0] for name in told] == ["0.38", "0.80", "0.800"]


def test_programs_take_turns_there_and_back_and_one_that_decides_otherwise_ends_the_benchmark() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks import worker

    turns: list[str] = []

    def runs(name: str, digest: str) -> dict[str, Any]:
        turns.append(name)
        return {"digest": digest}

    worker.alternate({name: partial(runs, name, "a") for name in "ABC"}, 2)
    assert turns == [*"ABCCBA"]
    with pytest.raises(RuntimeError, match="did not decide alike"):
        worker.alternate({name: partial(runs, name, name) for name in "AB"}, 1)


def test_sections_are_taken_by_name_and_an_unknown_one_is_refused() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.suite import SECTIONS, TABLES, sections

    assert sections("scale,session_bytes") == ["scale", "session_bytes"]
    with pytest.raises(argparse.ArgumentTypeError, match="no such section: soup; there are core, "):
        sections("scale,soup")
    assert TABLES.keys() - set(SECTIONS) == {"soak"}


def test_what_was_made_on_a_broker_that_stays_is_deleted_and_nothing_else() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from confluent_kafka import KafkaException

    from benchmarks.rig import clear

    class Admin:
        def __init__(self) -> None:
            self.deleted: list[str] = []

        def list_consumer_groups(self) -> Future[Any]:
            return done(
                SimpleNamespace(valid=[SimpleNamespace(group_id=name) for name in ("b1.g-judge", "g-judge")])
            )

        def list_topics(self, timeout: float) -> Any:
            return SimpleNamespace(topics=dict.fromkeys(["b1.events", "events", "b2.events", "xb1.events"]))

        def delete_consumer_groups(self, names: list[str]) -> dict[str, Future[None]]:
            return self._refused(names)

        def delete_topics(self, names: list[str]) -> dict[str, Future[None]]:
            return self._refused(names)

        def _refused(self, names: list[str]) -> dict[str, Future[None]]:
            self.deleted += names
            refused: Future[None] = Future()
            refused.set_exception(KafkaException("not allowed"))
            return dict.fromkeys(names, refused)

    def done(value: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(value)
        return future

    admin = Admin()
    clear(admin, ["b1.", "b2."])
    assert admin.deleted == ["b1.g-judge", "b1.events", "b2.events"]
    clear(admin, [])
    assert len(admin.deleted) == 3
