"""docs/frameworks.md: the versions that it names are those that are tested, and the client's extras take them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("package", ["langchain", "langgraph", "openai-agents", "claude-agent-sdk"])
def test_the_page_names_the_version_that_is_tested(package: str) -> None:
    page = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
    assert re.findall(rf"\b{package} (\d[\d.]*\d)", page) == [PINNED[package]]


def test_each_adapter_s_extra_asks_for_what_the_tests_ask_for() -> None:
    ours, client = (
        tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        for name in ("pyproject.toml", "client/pyproject.toml")
    )
    assert client["langchain"] + client["openai-agents"] == ours["frameworks"]
    assert set(ours["claude"]) < set(client["claude-agent"])
