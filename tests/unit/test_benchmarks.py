"""What the benchmarks conclude from their samples, and that the documents hold their tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import results

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


@pytest.mark.parametrize("name", ["performance.md", "capacity.md"])
def test_every_table_of_the_document_was_measured(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.S)
    assert tables
    assert not [mark for mark, table in tables if not re.search(r"\d", table)]


def test_a_soak_fails_on_growth_and_on_drift_alone() -> None:
    pytest.importorskip("confluent_kafka", reason="NOT RUN: needs the extra `bench`")
    from benchmarks.soak import complaints, slope

    flat = {"p99": 20.0}
    calm = {"rss_mb_per_hour": 5.0, "rss_growth_share": 0.01, "middle": flat, "last": {"p99": 60.0}}
    assert complaints(calm) == []
    assert complaints({**calm, "rss_mb_per_hour": 40.0}) == []  # within the allocator's noise for its length
    assert "memory rose" in complaints({**calm, "rss_mb_per_hour": 40.0, "rss_growth_share": 0.05})[0]
    assert "p99 went from 20.0 to 90.0 ms" in complaints({**calm, "last": {"p99": 90.0}})[0]
    steep = {**calm, "rss_mb_per_hour": 400.0, "rss_growth_share": 0.1, "rss_mb_end": 310.0}
    assert complaints(steep, 450.0) == []
    assert "memory reached 310 MB" in complaints(steep, 300.0)[0]
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == 2.0
