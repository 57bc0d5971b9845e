"""Claude Code and Codex, the programs themselves, each on a scripted model, away from whatever is configured on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, absent
from tests.frameworks import Block, Messages, Responses

CODEX = ROOT / "build" / "codex" / "node_modules" / ".bin" / "codex"
RUN_S = 120


def claude() -> Path:
    """Claude Code as the Claude Agent SDK brings it."""
    found = importlib.util.find_spec("claude_agent_sdk")
    if found is None or found.origin is None:
        absent("NOT RUN: Claude Code is needed; `make .venv/.claude` brings it, with 400 MB")
        raise AssertionError
    return Path(found.origin).parent / "_bundled" / "claude"


def codex() -> Path:
    """Codex as npm brings it."""
    if not CODEX.exists():
        absent("NOT RUN: Codex is needed; `make codex` brings it, with 430 MB")
    return CODEX


def environment_of_claude(model: Messages, home: Path) -> dict[str, str]:
    """Of Claude Code at a scripted model."""
    return {
        "ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none", "HOME": str(home), "CLAUDE_CONFIG_DIR": str(home),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1",
    }  # fmt: skip


def run_claude(model: Messages, home: Path, folder: Path, prompt: str, *arguments: str) -> str:
    """What Claude Code says to one prompt, in `folder`."""
    command = [str(claude()), "-p", prompt, *arguments]
    return _run(command, environment_of_claude(model, home), folder)


def run_codex(model: Responses, home: Path, folder: Path, prompt: str, *, of: str, more: str = "") -> str:
    """What Codex says to one prompt, in `folder`, with what it knows of the model `of`; `more` is configuration."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f"""model = "{of}"
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{more}
[analytics]
enabled = false
[model_providers.scripted]
name = "scripted"
base_url = "{model.url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
    )
    # Hooks are trusted in a dialogue else.
    command = [str(codex()), "exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", prompt]
    return _run(command, {"HOME": str(home), "CODEX_HOME": str(home)}, folder)


def _run(command: list[str], environment: Mapping[str, str], folder: Path) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        env={**kept, **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def said(text: str) -> Block:
    """An answer in words, of the Responses API."""
    return {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": text}]}  # fmt: skip


def called(call: str, name: str, namespace: str | None = None, **given: Any) -> Block:
    """A call, of the Responses API."""
    more = {"namespace": namespace} if namespace else {}
    return {"type": "function_call", "call_id": call, "name": name, "arguments": json.dumps(given), **more}


def written(call: str, name: str, text: str) -> Block:
    """A call whose input is no JSON: a patch, a script."""
    return {"type": "custom_tool_call", "call_id": call, "name": name, "input": text}
