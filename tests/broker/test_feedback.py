"""An analyst's verdict on a bus: given at the command line, told by a worker, taken back, read as a label, and nobody else's counts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from models.contracts import FLAGGED
from models.training.dataset import read_sessions
from stream.events import ALERTS, DECISIONS, EVENTS, FEEDBACK, QUARANTINE, REVOCATIONS, dumps
from stream.outbound.ocsf import problems
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, Sender
from tests.broker.test_breaker import ROOT, World, astray
from tests.broker.test_console import publish
from tests.secured import Poison

pytestmark = pytest.mark.broker


def run(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream.cli.main", *arguments],
        env=world.environment | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )


def watched(world: World, topics: set[str]) -> list[dict[str, Any]]:
    """Lines of `driftline watch` about session s-1 from the beginning, until all `topics` and the last verdict came, and what Ctrl-C adds."""
    command = [
        sys.executable,
        "-m",
        "stream.cli.main",
        "watch",
        "--json",
        "--from-beginning",
        "--session",
        "s-1",
    ]
    lines: list[dict[str, Any]] = []
    verdict: Any = None
    with subprocess.Popen(
        command, env=world.environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as watch:
        assert watch.stdout is not None
        limit = threading.Timer(120, watch.kill)  # a line that never comes must not hold up the suite
        limit.start()
        for line in watch.stdout:
            lines.append(json.loads(line))
            verdict = lines[-1]["value"].get("unmapped", {}).get("feedback", {}).get("verdict", verdict)
            if verdict == "reopen" and {each["topic"] for each in lines} >= topics:
                _interrupt(watch)
        limit.cancel()
    return lines


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C until it is heard: what comes while a client's callback runs may be lost."""
    process.send_signal(signal.SIGINT)
    again = threading.Timer(5, lambda: process.poll() is None and _interrupt(process))
    again.daemon = True
    again.start()


def documents(records: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records]


def test_a_verdict_closes_a_case_from_the_command_line_and_another_opens_it_again(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)
        topics.create(settings)
        world = World(settings, tmp_path)
        worker = world.worker()
        try:
            with Sender(settings) as sender:
                for event in astray("s-1"):
                    sender.send(Message(EVENTS, b"s-1", (), dumps(event)))
                for event in astray("quiet")[:2]:
                    sender.send(Message(EVENTS, b"quiet", (), dumps(event)))
                unsigned = {"case_id": "c", "verdict": "benign", "analyst": "eve", "tenant": "acme"}
                sender.send(Message(FEEDBACK, b"acme", (), dumps(unsigned)))
            alerts = documents(world.read(ALERTS, lambda seen: bool(seen)))
            case = alerts[-1]["finding_info"]["uid"]
            revoked = len(world.read(REVOCATIONS, lambda seen: bool(seen)))

            given = ("--by", "ada", "--key", str(world.key))
            said = run(
                world, "feedback", case, "--verdict", "false_positive", "--comment", "our payee", *given
            )
            assert (said.returncode, said.stdout) == (0, "the case is closed: false_positive, says ada\n"), (
                said.stderr
            )
            closing = next(
                each
                for each in documents(world.read(ALERTS, lambda seen: len(seen) > len(alerts)))
                if "feedback" in each["unmapped"]
            )
            assert problems(closing) == []
            assert (closing["activity_name"], closing["status"]) == ("Close", "Suppressed")
            assert closing["comment"] == "our payee"
            for name in ("dedup_key", "enforced"):
                assert closing["unmapped"][name] == alerts[-1]["unmapped"][name]
            for name in ("correlation_uid", "tenant_uid"):
                assert closing["metadata"][name] == alerts[-1]["metadata"][name]
            assert run(world, "feedback", case, "--verdict", "reopen", *given).returncode == 0

            # Nobody was told of this session; a verdict on it stands as a label all the same.
            quiet = run(world, "feedback", "quiet", "--verdict", "benign", *given)
            assert (quiet.returncode, quiet.stdout) == (
                0,
                "the session, which no alert tells of, is closed: benign, says ada\n",
            ), quiet.stderr
            assert '"by":"ada"' in run(world, "feedback", "quiet", "--json").stdout

            # Signed by nobody whom workers trust, or by nobody: put aside, and nothing is told.
            stranger = tmp_path / "stranger.json"
            stranger.write_bytes(dumps(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True)))
            unheard = run(
                world,
                *(
                    "feedback",
                    case,
                    "--verdict",
                    "benign",
                    "--by",
                    "eve",
                    "--key",
                    str(stranger),
                    "--wait",
                    "3",
                ),
            )
            assert unheard.returncode == 1
            assert "no worker has told of it" in unheard.stdout
            aside = world.read(QUARANTINE, lambda seen: len(seen) >= 2)
            assert sorted(dict(record.headers)["reason"] for record in aside) == [b"control", b"schema"]
        finally:
            worker.terminate()
            assert worker.wait(30) == 0

        listed = json.loads(run(world, "feedback", "--list", "--json").stdout)
        assert [(each["verdict"], each["by"], each["stands"]) for each in listed] == [
            ("benign", "ada", True),
            ("reopen", "ada", True),
            ("false_positive", "ada", False),
        ]
        table = run(world, "feedback", case).stdout
        assert table.index("reopen") < table.index("false_positive")
        assert len(world.read(REVOCATIONS, lambda _: False, 2)) == revoked

        publish(settings, DECISIONS, {}, headers=[(Poison("no text"), b"")])  # stops nobody
        lines = watched(world, {ALERTS, DECISIONS, REVOCATIONS})
        assert {line["value"]["session_id"] for line in lines if line["topic"] == DECISIONS} == {"s-1"}

        recorded = tmp_path / "recorded.jsonl"
        session = {
            "session_id": "s-1",
            "intent": "Pay.",
            "calls": [{"tool": "pay", "args": {}, "result": ""}],
        }
        recorded.write_bytes(dumps(session) + b"\n")
        for more in ((), ("--sessions", str(recorded))):
            labels = tmp_path / "labels.jsonl"
            assert run(world, "feedback", "--labels", str(labels), *more).returncode == 0
            rows = [json.loads(line) for line in labels.read_text().splitlines()]
            own = {row["session_id"]: row["label"] for row in rows}
            assert own == {"s-1": "unclear"} | ({} if more else {"quiet": "benign"})
        assert [each.kind for each in read_sessions(labels)] == ["unclear"]

        # Labels are of the signed words themselves: hers were taken back, the stranger's counts for nothing.
        store = tmp_path / "store.jsonl"
        partly = run(world, "labels", "collect", "--out", str(store))
        assert [json.loads(line)["session_id"] for line in store.read_text().splitlines()] == ["quiet"]
        assert "do not count: the feedback is not valid: no key is known by this kid" in partly.stderr
        confirmed = ("feedback", case, "--verdict", "true_positive", "--wait", "0", *given)
        assert run(world, *confirmed).returncode == 0
        collected = run(world, "labels", "collect", "--out", str(store))
        assert collected.returncode == 0, collected.stderr
        _, row = map(json.loads, store.read_text().splitlines())
        assert (row["session_id"], row["label"], row["who"], row["whence"]) == (
            "s-1",
            "hijacked",
            "ada",
            "analyst",
        )
        decided = [line["value"] for line in lines if line["topic"] == DECISIONS]
        assert row["call_seq"] == min(each["call_seq"] for each in decided if each["verdict"] in FLAGGED)

        unknown = run(world, "feedback", "nothing", "--verdict", "benign", *given)
        assert unknown.returncode == 3
        assert "no alert tells of a case 'nothing'" in unknown.stderr
        for wrong in (
            ("--verdict", "wrong", *given),
            ("--verdict", "benign"),
            ("--verdict", "benign", "--list"),
        ):
            assert run(world, "feedback", case, *wrong).returncode == 2
