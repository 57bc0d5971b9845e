"""What was refused can be mended and sent again, and is then judged."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream.events import DECISIONS, EVENTS, QUARANTINE, dumps
from stream.settings import Settings
from stream.shell import export, topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.send import Message, play
from tests.worker import ROOT, Worker, read, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


def call(session: str, n: int) -> bytes:
    return dumps(
        {
            "type": "tool.called",
            "id": f"{session}/{n}",
            "session_id": session,
            "seq": n,
            "time": f"2026-03-02T09:00:{n:02d}Z",
            "call_id": f"{session}:{n}",
            "tool": "get_ticket",
            "arguments": {"ticket_id": "T-1"},
        }
    )


def test_a_refused_record_is_mended_sent_again_and_judged(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(
            bootstrap=broker.bootstrap,
            prefix="mend.",
            partitions=3,
            state_dir=tmp_path,
            session_timeout_s=2.0,
            checkpoint_s=0.5,
        )
        topics.create(settings)
        play(
            settings,
            [
                Message(EVENTS, b"somebody-else", (), call("wrong-key", 0)),
                Message(EVENTS, b"cut-short", (), call("cut-short", 0)[:-9]),
            ],
            None,
        )
        log = tmp_path / "worker.log"
        with Worker(settings, log) as worker:
            wait_until(lambda: len(read(settings, QUARANTINE)) == 2, worker)
            refused = {dict(r.headers)["reason"]: r for r in read(settings, QUARANTINE)}
            assert set(refused) == {b"key", b"decode"}
            assert refused[b"decode"].value == call("cut-short", 0)[:-9]

            dump = tmp_path / "quarantine.jsonl"
            lines = [json.loads(export.log_line(r, 3)) for r in read(settings, QUARANTINE)]
            for line in lines:  # mended by hand: the missing bytes are put back
                value = base64.b64decode(line["value_b64"])
                if value == call("cut-short", 0)[:-9]:
                    line["value_b64"] = base64.b64encode(call("cut-short", 0)).decode()
            dump.write_text("".join(json.dumps(line) + "\n" for line in lines))
            sent = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "stream.cli.main",
                    "send",
                    str(dump),
                    "--from-quarantine",
                    "--bootstrap",
                    settings.bootstrap,
                    "--prefix",
                    settings.prefix,
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert sent.returncode == 0, sent.stderr + sent.stdout
            wait_until(lambda: len(read(settings, DECISIONS)) == 2, worker)
            assert len(read(settings, QUARANTINE)) == 2
            assert worker.stop()[0] == 0, log.read_text()
