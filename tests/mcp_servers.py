"""MCP servers of the registries, by npm and pip, pinned; installed once into ``build/mcp-servers``, and what starts each."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT, absent

HOME = ROOT / "build" / "mcp-servers"
NPM = {"filesystem": ["@modelcontextprotocol/server-filesystem@2026.8.31"]}
PIP = {
    # These two run on the SDK that Driftline has.
    "git": ["mcp-server-git==2026.10.19", "GitPython==3.2.1", "gitdb==4.0.12", "smmap==5.0.3"],
    "fetch": [
        *("mcp-server-fetch==2026.10.24", "markdownify==1.2.3", "protego==0.7.0", "readabilipy==0.3.0"),
        *(
            "html5lib==1.1",
            "beautifulsoup4==4.15.0",
            "soupsieve==4.1.3",
            "webencodings==0.6.1",
            "six==1.17.0",
        ),
        *("lxml==6.1.3", "regex", "socksio==1.0.0"),
    ],
    # This one knows the SDK's first version alone.
    "sqlite": [
        *("mcp-server-sqlite==2025.4.25", "mcp==1.30.0", "httpx-sse==0.4.3", "pydantic-settings==2.16.3"),
        "python-dotenv==1.2.4",
    ],
}
INSTALL_S = 240


def command(name: str, *arguments: str) -> list[str]:
    """What starts a server; it is installed where it is not yet."""
    if name in NPM:
        if shutil.which("npm") is None or shutil.which("node") is None:
            absent("NOT RUN: the filesystem server of MCP needs node and npm")
        folder = _installed(
            name, NPM[name], ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"]
        )
        return [
            "node",
            str(folder / "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"),
            *arguments,
        ]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ]
    folder = _installed(name, PIP[name], pip)
    module = f"mcp_server_{name}"
    return [
        "env",
        f"PYTHONPATH={folder}",
        sys.executable,
        "-c",
        f"import {module}; {module}.main()",
        *arguments,
    ]


def _installed(name: str, pins: Sequence[str], how: Sequence[str]) -> Path:
    """The folder with a server, of just these pins; one process installs, others wait."""
    digest = hashlib.sha256(json.dumps([sys.version, *pins]).encode()).hexdigest()[:12]
    HOME.mkdir(parents=True, exist_ok=True)
    folder, done = HOME / f"{name}-{digest}", HOME / f"{name}-{digest}.done"
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                subprocess.run([*how, str(folder), *pins], check=True, capture_output=True, timeout=INSTALL_S)
            except (OSError, subprocess.SubprocessError) as error:
                absent(f"NOT RUN: the MCP server {name} cannot be installed ({type(error).__name__})")
            done.touch()
    return folder
