"""What a wire of the gate adds to a call: its decision asked of the client alone, and over each wire of ``driftline gate serve``.

``python -m benchmarks.wires`` prints a table. Calls come one after the other, each with its result where the wire tells results; broker
(embedded), worker (the shipped release, enforcing), gate and whoever asks share one machine. Ways alternate, so that its load meets all alike.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from driftline_client import Client

from benchmarks.proxy import share
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from tests.gate import SECRET, Agent, Gateway, evaluation
from tests.worker import ROOT, Worker

INTENT = "Read the invoices."
TOOL = "read_invoice"
LEAD = 20
"""Calls before those that count: connections, caches."""
READY_S = 120
Asking = Callable[[int], float]
"""Asks for one call, and says how many milliseconds it waited."""


class Http:
    """One connection that stays."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(urlsplit(address).netloc)

    def post(self, path: str, body: Any) -> Any:
        """The answer to a body, both JSON."""
        told = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        self._connection.request("POST", path, orjson.dumps(body), told)
        return orjson.loads(self._connection.getresponse().read())


def of_client(client: Client, run: str) -> Asking:
    """The client within the agent's own process."""
    session = client.session(INTENT, session_id=f"client-{run}")

    def ask(number: int) -> float:
        begun = time.perf_counter()
        call = session.call(TOOL, {"number": number})
        decision = session.check(call)
        waited = time.perf_counter() - begun
        assert decision is not None
        session.returned(call, "read")
        return waited * 1000

    return ask


def over_acs(http: Http) -> Asking:
    """The Agent Control Standard."""
    agent = Agent(time.time)
    assert "result" in http.post("/acs", agent.hello())
    http.post("/acs", agent.says(INTENT))

    def ask(number: int) -> float:
        step = agent.calls(TOOL, number=number)
        begun = time.perf_counter()
        answer = http.post("/acs", step)
        waited = time.perf_counter() - begun
        assert answer["result"]["decision"] == "allow", answer
        http.post("/acs", agent.returns(step, "read"))
        return waited * 1000

    return ask


def over_authzen(http: Http, run: str) -> Asking:
    """AuthZEN, which tells no results."""

    def ask(number: int) -> float:
        asked = evaluation(TOOL, f"authzen-{run}", intent=INTENT, arguments={"number": number})
        begun = time.perf_counter()
        answer = http.post("/access/v1/evaluation", asked)
        waited = time.perf_counter() - begun
        assert answer["decision"], answer
        return waited * 1000

    return ask


def over_extmcp(gateway: Gateway, run: str) -> Asking:
    """agentgateway's ExtMCP."""
    said = {"session_id": f"extmcp-{run}", "user": "ada", "intent": INTENT}

    def ask(number: int) -> float:
        begun = time.perf_counter()
        answer = gateway.calls(TOOL, {"number": number}, **said)
        waited = time.perf_counter() - begun
        assert answer.passes, answer.reason
        gateway.shows("tools/call", {"content": []}, call_id=answer.kept[1], **said)
        return waited * 1000

    return ask


def over_interceptors(http: Http, run: str) -> Asking:
    """MCP interceptors."""
    context, config = {"sessionId": f"interceptors-{run}"}, {"intent": INTENT}

    def invoked(phase: str, payload: Any) -> Any:
        params = {"name": "driftline", "event": "tools/call", "phase": phase, "payload": payload, "context": context, "config": config}  # fmt: skip
        return http.post(
            "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "interceptor/invoke", "params": params}
        )

    def ask(number: int) -> float:
        begun = time.perf_counter()
        answer = invoked("request", {"name": TOOL, "arguments": {"number": number}})
        waited = time.perf_counter() - begun
        assert answer["result"]["valid"], answer
        invoked("response", {"content": []})
        return waited * 1000

    return ask


@contextmanager
def gate(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The addresses of a gate that serves every wire: over HTTP, and of ExtMCP."""
    (folder / "acs.key").write_bytes(SECRET)
    (folder / "gate.yaml").write_text(
        "on_silence: raise\nwait_ms: 30000\nwires: [acs, authzen, extmcp, interceptors]\n"
        f"tenants: {{acme: {{acs_secret_file: {folder}/acs.key}}}}\n"
    )
    command = [sys.executable, "-m", "stream.cli.main", "gate", "serve", "--config", str(folder / "gate.yaml"), "--port", "0", "--rpc-port", "0"]  # fmt: skip
    log = folder / "gate.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=sink)
    try:
        until = time.monotonic() + READY_S
        while (
            found := re.search(r"ready: the gate is at (\S+?),.*extmcp: .* at ([^;\s]+)", log.read_text())
        ) is None:
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"the gate did not get ready: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield found[1], found[2]
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="calls of each way, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, EmbeddedBroker() as broker:
        folder = Path(place)
        settings = Settings(bootstrap=broker.bootstrap, partitions=1, state_dir=folder, metrics_port=0)
        topics.create(settings)
        environment = os.environ | {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}",
        }
        with (
            Worker(settings, folder / "log"),
            Client(broker.bootstrap, on_silence="raise", wait_s=30, tenant="acme") as client,
            gate(folder, environment) as (address, rpc),
        ):
            http, gateway = Http(address), Gateway(rpc)
            with closing(gateway.channel):
                of_client(client, "lead")(0)  # until it judges
                for number in range(asked.rounds):
                    run = str(number)
                    ways = {
                        "the client": of_client(client, run),
                        "`acs`": over_acs(http),
                        "`authzen`": over_authzen(http, run),
                        "`extmcp`": over_extmcp(gateway, run),
                        "`interceptors`": over_interceptors(http, run),
                    }
                    for way, ask in ways.items():
                        waited = [ask(each) for each in range(LEAD + asked.calls)]
                        took.setdefault(way, []).extend(waited[LEAD:])
    alone = share(took["the client"], 50)
    print(
        "| a decision by | p50, ms | p95 | p99 | p50 beyond the client's | calls |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for way, samples in took.items():
        figures = " | ".join(f"{share(samples, each):.1f}" for each in (50, 95, 99))
        print(f"| {way} | {figures} | {share(samples, 50) - alone:+.1f} | {len(samples)} |")


if __name__ == "__main__":
    main()
