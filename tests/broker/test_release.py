"""A release goes live and comes back while the worker runs and agents act, by signed words on the bus alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from models.release import registry
from stream.events import DECISIONS, EVENTS, QUARANTINE, RELEASES, dumps, rfc3339
from stream.policy import read_policy
from stream.settings import Settings
from stream.shell import export, topics
from stream.shell.broker import EmbeddedBroker, free_port
from stream.shell.send import Message, Sender
from tests.worker import Worker, by_root, live, replayed, wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.broker
TOOLS = [{"name": "read_invoice", "description": "Reads an invoice.", "parameters": {}}]


class Load(threading.Thread):
    """Sessions of one call each, one after the other, until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.settings, self.over, self.n = settings, threading.Event(), 0

    def run(self) -> None:
        at = 1_767_258_000_000
        with Sender(self.settings) as sender:
            for self.n in count():
                if self.over.is_set():
                    return
                name = f"s-{self.n}"
                common = {"session_id": name, "tenant": "acme", "time": rfc3339(at + 1000 * self.n)}
                declared = {"type": "session.declared", "id": f"{name}/0", "seq": 0, "tools": TOOLS}
                called = {"type": "tool.called", "id": f"{name}/1", "seq": 1, "call_id": f"{name}/1"}
                for event in (
                    {**common, **declared, "intent": {"text": "Read invoice 17."}},
                    {**common, **called, "tool": "read_invoice", "arguments": {"number": 17}},
                ):
                    sender.send(Message(EVENTS, name.encode(), (), dumps(event)))
                sender.confirm()
                time.sleep(0.02)


class World:
    """A broker, a worker that trusts a key to activate releases, agents at work, and the command."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.directory = directory
        self.settings = replace(settings, metrics_port=free_port())
        key = ECKey.generate_key("P-256", auto_kid=True)
        self.key, trusted = directory / "key.json", directory / "trusted.json"
        self.key.write_bytes(dumps(key.as_dict(private=True)))
        trusted.write_bytes(dumps({"keys": [key.as_dict(private=False)]}))
        self.trust = {"DRIFTLINE_ACTIVATION_JWKS": str(trusted)}
        self.worker = Worker(self.settings, directory / "worker.log", environment=self.trust)
        self.load = Load(self.settings)

    def folder(self, name: str, **policy: str) -> Path:
        """A release: the bundled model, under the shipped policy with other values."""
        folder = self.directory / name
        shutil.copytree(registry.BUNDLED, folder)
        text, _ = read_policy()
        for member, value in policy.items():
            text, n = re.subn(rf"(?m)^( *{member}:) .*$", rf"\1 {value}", text)
            assert n == 1, member
        (folder / "policy.yaml").write_text(text, encoding="utf-8")
        return folder

    def command(self, *arguments: str, key: Path | None = None, code: int = 0) -> str:
        """What ``driftline release`` prints; it must end with this code."""
        with self.begun(*arguments, key=key) as ran:
            told, failure = ran.communicate(timeout=180)
        assert ran.returncode == code, failure
        return told if code == 0 else failure

    def begun(self, *arguments: str, key: Path | None = None) -> subprocess.Popen[str]:
        """``driftline release`` at work."""
        signing = ["--key", str(key or self.key)] if arguments[0] != "list" else []
        return subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", "release", *arguments, *signing],
            env={k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
            | self.trust
            | {
                "DRIFTLINE_BOOTSTRAP": self.settings.bootstrap,
                "DRIFTLINE_PREFIX": self.settings.prefix,
                "DRIFTLINE_STATE_DIR": str(self.directory / "mine"),
            }
            | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def policies(self) -> list[str]:
        """The policy of each decision, in the order of the sessions."""
        found = [json.loads(record.value or b"") for record, _ in export.records(self.settings, DECISIONS)]
        found.sort(key=lambda each: int(each["session_id"].removeprefix("s-")))
        return [each["policy"] for each in found]

    def in_use(self) -> set[str]:
        """The policies under which sessions begin, as the worker's metrics tell them."""
        address = f"http://127.0.0.1:{self.settings.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return set(re.findall(r'(?m)^driftline_build_info\{.*policy="([^"]*)"', answer.read().decode()))

    def await_decisions(self, more: int) -> None:
        """Return when so many more sessions were judged."""
        wanted = len(self.policies()) + more
        wait_until(lambda: len(self.policies()) >= wanted, self.worker)


@contextmanager
def at_work(settings: Settings, directory: Path) -> Iterator[World]:
    """A world in which some sessions were judged."""
    made = World(settings, directory)
    with made.worker:
        made.load.start()
        try:
            wait_until(lambda: len(made.policies()) > 20, made.worker)
            yield made
        finally:
            made.load.over.set()
            made.load.join()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with EmbeddedBroker() as broker, at_work(settings_of(broker, tmp_path), tmp_path) as made:
        yield made


def settings_of(broker: EmbeddedBroker, directory: Path) -> Settings:
    """Settings for a broker on which the topics are made."""
    made = Settings(
        bootstrap=broker.bootstrap, partitions=3, session_timeout_s=4.0, state_dir=directory / "state"
    )
    topics.create(made)
    return made


def changes(policies: list[str]) -> list[str]:
    """The policies in their order, each once in a row."""
    return [one for n, one in enumerate(policies) if not n or policies[n - 1] != one]


def test_a_promoted_release_judges_new_sessions_and_a_rollback_all_without_a_restart(world: World) -> None:
    assert_live_and_back(world)


def assert_live_and_back(world: World) -> None:
    """A release is published, promoted and rolled back amid calls, each of which is decided once, as a replay of the log decides it."""
    (begun,) = changes(world.policies())
    wait_until(lambda: world.in_use() == {begun}, world.worker, 5)
    folder = world.folder("quick", idle_minutes="30")
    digest = world.command("publish", str(folder), "--alias", "challenger", "--by", "ann").strip()
    assert digest in world.command("list")
    said = world.command("promote", "@challenger", "--by", "ann")
    assert "judges sessions that begin from now on in 3 partitions" in said
    (world.directory / "kept").mkdir()
    folder.rename(world.directory / "kept" / "quick")  # workers keep what they fetched
    world.await_decisions(20)
    then = world.policies()[-1]
    assert then != begun
    wait_until(lambda: world.in_use() == {then}, world.worker, 5)
    said = world.command("rollback", "--by", "bob")
    assert "what workers begin with judges all sessions in 3 partitions" in said
    wait_until(lambda: world.in_use() == {begun}, world.worker, 5)
    world.await_decisions(20)
    world.load.over.set()
    world.load.join()
    world.await_decisions(world.load.n - len(world.policies()))

    # Every call has one decision. A partition changes once each way; sessions of three of them interleave.
    policies = world.policies()
    assert len(policies) == world.load.n
    assert policies[0] == policies[-1] == begun
    assert set(policies) == {begun, then}
    assert world.worker.process.poll() is None
    log = world.worker.log.read_text(encoding="utf-8")
    assert log.count(f"release {digest} fetched from file://") == 1
    listed = json.loads(world.command("list", "--json"))
    assert [(one["alias"], one["digest"], one["by"]) for one in listed["aliases"]] == [
        ("challenger", digest, "ann"),
        ("champion", "", "bob"),
    ]
    assert "nothing was promoted before" in world.command("rollback", "--by", "bob", code=3)
    as_replayed = {
        "activation_jwks": world.directory / "trusted.json",
        "releases_dir": world.directory / "kept",
    }
    outputs, n = replayed(replace(world.settings, **as_replayed))
    assert n == world.load.n
    assert by_root(live(world.settings, DECISIONS)) == by_root(outputs[DECISIONS])


def test_what_a_gate_an_altered_byte_or_a_stranger_s_key_speaks_against_does_not_go_live(
    world: World,
) -> None:
    begun = set(world.policies())
    deaf = world.folder("deaf")
    manifest = json.loads((deaf / registry.MANIFEST_FILE).read_bytes())
    manifest["thresholds"] = dict.fromkeys(manifest["thresholds"], registry.NEVER)
    manifest["metrics"] = {}
    (deaf / registry.MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    digest = world.command("publish", str(deaf)).strip()
    said = world.command("promote", digest[:12], "--by", "ann", code=1)
    assert "gates fail" in said

    quick = world.folder("quick", idle_minutes="30")
    other = world.command("publish", str(quick)).strip()
    (quick / "policy.yaml").write_text(
        (quick / "policy.yaml").read_text().replace("idle_minutes: 30", "idle_minutes: 31")
    )
    assert "is not the release" in world.command("promote", other, "--by", "ann", code=5)

    stranger = ECKey.generate_key("P-256", auto_kid=True)
    foreign = world.directory / "foreign.json"
    foreign.write_bytes(dumps(stranger.as_dict(private=True)))
    third = world.folder("third", idle_minutes="15")
    unknown = world.command("publish", str(third), key=foreign).strip()
    assert "no release that a trusted key registered" in world.command(
        "promote", unknown, "--by", "eve", code=3
    )

    world.await_decisions(20)
    assert set(world.policies()) == begun
    assert world.worker.process.poll() is None
    assert not list(export.records(world.settings, QUARANTINE))
    assert len(list(export.records(world.settings, RELEASES))) == 3


def test_a_forced_promotion_that_was_killed_is_brought_to_its_end_and_keeps_its_reason(world: World) -> None:
    loud = world.folder("odd", idle_minutes="45")
    manifest = json.loads((loud / registry.MANIFEST_FILE).read_bytes())
    manifest["metrics"] = {}  # measured nowhere
    (loud / registry.MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    digest = world.command("publish", str(loud)).strip()
    arguments = "promote", digest, "--by", "ann", "--scope", "open", "--force", "an incident, see INC-7"
    with world.begun(*arguments) as promoting:
        wait_until(lambda: named(world.settings) == ["@champion"], world.worker)
        promoting.kill()
    assert promoting.returncode == -signal.SIGKILL
    said = world.command("promote", "@champion", "--by", "bob", "--scope", "open")
    assert "judges all sessions in 3 partitions" in said
    world.await_decisions(20)
    (champion,) = json.loads(world.command("list", "--json"))["aliases"]
    assert (champion["reason"], champion["by"]) == ("an incident, see INC-7", "bob")
    assert "INC-7" in world.command("list")
    begun, then = changes(world.policies())[0], world.policies()[-1]
    assert set(world.policies()) == {begun, then}
    wait_until(lambda: world.in_use() == {then}, world.worker, 5)
    world.command("rollback", "--by", "bob")  # to what was there before both
    wait_until(lambda: world.in_use() == {begun}, world.worker, 5)


def named(settings: Settings) -> list[str]:
    """The aliases that the bus has a word on, each time that one was said."""
    keys = [(record.key or b"").decode() for record, _ in export.records(settings, RELEASES)]
    return [key for key in keys if key.startswith("@")]
