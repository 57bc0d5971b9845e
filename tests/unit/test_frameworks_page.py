"""docs/frameworks.md: the versions that it names are those that are tested, and the client's extras take them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("package", ["langchain", "langgraph", "openai-agents", "claude-agent-sdk"])
def test_the_page_names_the_version_that_is_tested(package: str) -> None:
    page = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
    assert re.findall(rf"\b{package} (\d[\d.]*\d)", page) == [PINNED[package]]


def test_whoever_imports_the_client_alone_loads_no_framework() -> None:
    heavy = "{'agents', 'claude_agent_sdk', 'langchain', 'langchain_core', 'langgraph', 'mcp', 'openai'}"
    program = (
        f"import sys; import driftline_client; print({heavy} & {{n.split('.')[0] for n in sys.modules}})"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "client", capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_each_adapter_s_extra_asks_for_what_the_tests_ask_for() -> None:
    ours, client = (
        tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        for name in ("pyproject.toml", "client/pyproject.toml")
    )
    assert client["langchain"] + client["openai-agents"] == ours["frameworks"]
    assert set(ours["claude"]) < set(client["claude-agent"])
