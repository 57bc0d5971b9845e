"""What the MCP proxy adds to a call: the SDK's client at a server alone, through the proxy, and through it with each call decided on.

``python -m benchmarks.proxy`` prints a table. The server answers at once; calls come one after the other over standard input and output;
broker (embedded) and worker (the shipped release, enforcing) run on the same machine. Ways alternate, so that its load meets all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.worker import ROOT, Worker

SERVER = [sys.executable, "-m", "tests.offering_server"]
PROXY = [
    sys.executable,
    "-m",
    "stream.cli.main",
    "mcp-proxy",
    "--intent",
    "Look the words up.",
    "--wait",
    "30",
]
WAYS = {
    "the server alone": SERVER,
    "through the proxy, which only tells (`--no-decisions`)": [*PROXY, "--no-decisions", "--", *SERVER],
    "through the proxy, each call decided on": [*PROXY, "--", *SERVER],
}
LEAD = 20
"""Calls before those that count: connections, caches."""


async def timed(command: list[str], environment: dict[str, str], n: int) -> list[float]:
    """Milliseconds of each of `n` calls, as the client's host waits for it."""
    started = StdioServerParameters(command=command[0], args=command[1:], env=environment, cwd=ROOT)
    took = []
    with open(os.devnull, "w") as errors:
        async with Client(stdio_client(started, errlog=errors), mode="legacy") as client:
            await client.list_tools()
            for number in range(LEAD + n):
                begun = time.perf_counter()
                found = await client.call_tool("look_up", {"word": f"word {number}"})
                took.append((time.perf_counter() - begun) * 1000)
                if found.is_error:
                    raise SystemExit(f"a call was not run: {found.content}")
    return took[LEAD:]


def share(took: list[float], per_cent: float) -> float:
    """The value that so many per cent of the samples reach at most."""
    return sorted(took)[min(len(took) - 1, int(len(took) * per_cent / 100))]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="calls of each way, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=1, state_dir=Path(folder), metrics_port=0)
        topics.create(settings)
        environment = os.environ | {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}",
        }
        with Worker(settings, Path(folder) / "log"):
            asyncio.run(
                timed(WAYS["through the proxy, each call decided on"], environment, 1)
            )  # until it judges
            for _ in range(asked.rounds):
                for way, command in WAYS.items():
                    took[way] += asyncio.run(timed(command, environment, asked.calls))
    print("| a call | p50, ms | p95, ms | p99, ms | calls |\n| --- | ---: | ---: | ---: | ---: |")
    for way, samples in took.items():
        figures = " | ".join(f"{share(samples, each):.1f}" for each in (50, 95, 99))
        print(f"| {way} | {figures} | {len(samples)} |")


if __name__ == "__main__":
    main()
