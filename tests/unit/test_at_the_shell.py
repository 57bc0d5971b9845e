"""What a person expects of every command at a shell: help, completion, settings that are told when they are none."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from models.errors import ConfigError, InputError
from stream.cli.main import app
from stream.settings import Settings
from stream.shell import topic_check

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "stream" / "samples"
SAMPLE, OTHER = SAMPLES / "19-finance-invoice-iban-swap.jsonl", SAMPLES / "20-code-issue-leaks-secret.jsonl"
COMMANDS: Any = typer.main.get_command(app)
"""Typer's own copy of click, whose types it does not tell."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, where ``replay --all`` makes its development key."""
    monkeypatch.chdir(tmp_path)


def commands(group: Any = COMMANDS, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("words", [(), *(path for path, _ in commands())], ids=" ".join)
def test_the_short_help_is_the_long_one(words: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*words, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0, short.output
    assert short.stdout == long.stdout != ""


@pytest.mark.parametrize("words", [(), *(path for path, _ in commands())], ids=" ".join)
def test_help_cuts_no_name_of_an_option_or_a_variable_on_a_narrow_terminal(words: tuple[str, ...]) -> None:
    shown = CliRunner(env={"COLUMNS": "60"}).invoke(app, [*words, "--help"]).stdout
    command: Any = COMMANDS
    for word in words:
        command = command.commands[word]
    names = [name for option in command.params for name in option.opts if name.startswith("-")]
    names += [str(option.envvar) for option in command.params if option.envvar]
    assert [name for name in names if name not in shown] == []
    assert "…" not in shown
    for name, sub in getattr(command, "commands", {}).items():
        assert " ".join(sub.help.partition("\n\n")[0].split())[-20:] in " ".join(shown.split()), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str, tmp_path: Path) -> None:
    done = driftline(tmp_path, _DRIFTLINE_COMPLETE=f"source_{shell}")
    assert done.returncode == 0, done.stderr
    assert "_DRIFTLINE_COMPLETE" in done.stdout


def test_commands_are_completed_and_nothing_else_is_said(tmp_path: Path) -> None:
    asked = {"COMP_WORDS": "driftline rep", "COMP_CWORD": "1", "DRIFTLINE_PARTITION": "3"}
    done = driftline(tmp_path, _DRIFTLINE_COMPLETE="complete_bash", **asked)
    assert done.stdout.split() == ["replay"]
    assert done.stderr == ""


def driftline(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command under its own name, which completion goes by."""
    program = "import sys; sys.argv[0] = 'driftline'; from stream.cli.main import main; main()"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=kept | {"PYTHONPATH": str(ROOT), **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["topics", "list"], ["verify", "policy"], ["worker", "--print-config"]]
)
def test_every_command_tells_once_of_a_setting_that_is_none(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_PARTITION", "3")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("DRIFTLINE_PARTITION is no setting; did you mean DRIFTLINE_PARTITIONS?") == 1
    assert "DRIFTLINE_PARTITION is" not in done.stdout


def test_what_a_command_reads_of_the_environment_is_never_called_unknown() -> None:
    read = {
        parameter.envvar: "set"
        for _, command in commands()
        for parameter in command.params
        if isinstance(getattr(parameter, "envvar", None), str)
    }
    assert "DRIFTLINE_MCP_KEY_FILE" in read
    assert Settings.misspelt(read) == {}


def test_a_log_in_json_tells_of_it_in_json(tmp_path: Path) -> None:
    # The worker warns before it asks for a broker; of one that is not there nothing else need be read.
    done = driftline(
        tmp_path, "worker", "--stage", "act", "--bootstrap", "127.0.0.1:1",
        DRIFTLINE_PARTITION="3", DRIFTLINE_LOG_FORMAT="json",
    )  # fmt: skip
    told = [json.loads(line) for line in done.stderr.splitlines() if "DRIFTLINE_PARTITION is" in line]
    assert [line["level"] for line in told] == ["warning"]


def judged(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def test_several_files_are_judged_as_one_log(tmp_path: Path) -> None:
    """As ``cat`` would join them, so that a session whose file was rotated goes on."""
    lines = SAMPLE.read_text().splitlines(keepends=True)
    parts = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for part, some in zip(parts, (lines[:4], lines[4:]), strict=True):
        part.write_text("".join(some))
    joined, apart = judged(SAMPLE, OTHER, "--all"), judged(*parts, OTHER, "--all")
    assert apart.stdout == joined.stdout
    (tmp_path / "all.jsonl").write_text(SAMPLE.read_text() + OTHER.read_text())
    assert judged(tmp_path / "all.jsonl", "--all").stdout == joined.stdout


def test_of_several_files_the_first_line_that_is_refused_is_told_with_its_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(OTHER.read_text() + "no JSON\n")
    done = judged(SAMPLE, broken)
    assert f"the first is {broken}, line {len(broken.read_text().splitlines())}: decode" in done.stderr


def test_one_file_of_several_that_is_none_of_ours_is_refused_before_any_is_judged(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no JSON\n")
    done = CliRunner().invoke(app, ["replay", str(SAMPLE), str(tmp_path / "notes.txt")])
    assert isinstance(done.exception, InputError)
    assert "notes.txt" in str(done.exception)
    assert done.stdout == ""


def test_standard_input_is_named_once() -> None:
    done = CliRunner().invoke(app, ["replay", "-", "-"], input=SAMPLE.read_text())
    assert isinstance(done.exception, ConfigError)


def test_a_pipe_is_judged_though_it_can_be_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_text(SAMPLE.read_text()))
    writing.start()
    assert judged(pipe).stdout == judged(SAMPLE).stdout
    writing.join()


LONG = "0123456789" * 4
"""A session's id that half a screen holds, and no column of 80."""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """What ``replay --all`` prints of a sample, whose session and agent have long names, and the events themselves."""
    event = json.loads(SAMPLE.read_text().splitlines()[0])
    text = (
        SAMPLE.read_text()
        .replace(event["session_id"], LONG)
        .replace(event["agent"]["id"], f"agent-{LONG[:24]}")
    )
    (tmp_path / "events.jsonl").write_text(text)
    path = tmp_path / "all.jsonl"
    path.write_text(judged(tmp_path / "events.jsonl", "--all").stdout + text)
    return path


LISTS = {
    "shadow-report": (["shadow-report", "all.jsonl"], LONG),
    "coverage": (["coverage", "--file", "all.jsonl"], f"agent-{LONG[:24]}"),
    "audit": (["audit", LONG, "--file", "all.jsonl"], LONG),
    "show": (["show", LONG, "--file", "all.jsonl"], LONG),
    "privileges": (["privileges", "events.jsonl"], f"agent-{LONG[:24]}"),
    "topics list": (["topics", "list", "--prefix", f"{LONG}."], f"{LONG}.agent.quarantine.v1"),
    "topics --acls": (["topics", "--acls", "--prefix", f"{LONG}."], f"{LONG}.agent.quarantine.v1"),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_piped_has_no_id_folded_or_cut(
    name: str, everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    arguments, whole = LISTS[name]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert whole in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 1000  # as wide as its rows, not as its screen


@pytest.mark.parametrize("name", ["shadow-report", "topics list"])
def test_columns_that_somebody_asks_for_hold_in_a_pipe_too(
    name: str, everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    done = CliRunner().invoke(app, LISTS[name][0])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 72


@pytest.mark.parametrize("name", LISTS)
def test_what_lists_lists_as_json(name: str, everything: Path) -> None:
    arguments, whole = LISTS[name]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    assert whole in done.stdout


def test_a_story_as_json_has_what_it_tells_a_person(everything: Path) -> None:
    arguments = ["show", LONG, "--file", "all.jsonl"]
    told = CliRunner().invoke(app, arguments).stdout
    document, whole = (
        json.loads(CliRunner().invoke(app, [*arguments, "--json", *more]).stdout) for more in ([], ["--all"])
    )
    for section in ("asked", "did_instead", "credential", "what_to_do"):
        assert document[section]
        assert not [line for line in document[section] if line not in told]
    assert 0 < len(document["trail"]) < len(whole["trail"])
    assert document["session"]["session_id"] == LONG


def test_a_check_of_alerts_tells_its_findings_as_json(everything: Path) -> None:
    alerts = [each["value"] for line in everything.read_text().splitlines() if "alerts" in (each := json.loads(line)).get("topic", "")]  # fmt: skip
    Path("good.jsonl").write_text("".join(json.dumps(each) + "\n" for each in alerts))
    Path("bad.jsonl").write_text(json.dumps({**alerts[0], "severity_id": "high"}) + "\n")
    good, bad = (
        CliRunner().invoke(app, ["verify", "alert", name, "--json"]) for name in ("good.jsonl", "bad.jsonl")
    )
    assert (good.exit_code, json.loads(good.stdout)) == (
        0,
        {"alerts": len(alerts), "with_problems": 0, "problems": []},
    )
    assert bad.exit_code == 1
    found = json.loads(bad.stdout)
    assert (found["alerts"], found["with_problems"], found["problems"][0]["line"]) == (1, 1, 1)
    assert "severity_id" in found["problems"][0]["problem"]


def test_a_check_of_providers_tells_its_findings_as_json(tmp_path: Path) -> None:
    brokers = {word: {"provider": "spire", "command": [word]} for word in ("true", "false")}
    Path("bridge.yaml").write_text(json.dumps({"audiences": ["demo"], "brokers": brokers}))
    asked = ["bridge", "--config", "bridge.yaml"]
    done = CliRunner().invoke(app, [*asked, "--check", "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [(each["broker"], each["provider"], each["ok"]) for each in found] == [
        ("true", "spire", True),
        ("false", "spire", False),
    ]
    plain = CliRunner().invoke(app, [*asked, "--check"]).stdout
    assert all(each["says"] in plain for each in found)
    assert isinstance(CliRunner().invoke(app, [*asked, "--json"]).exception, ConfigError)


def test_a_check_of_topics_tells_its_findings_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [topic_check.Finding("warning", "few copies"), topic_check.Finding("error", "a topic is missing")]
    monkeypatch.setattr(topic_check, "check", lambda _: found)
    done = CliRunner().invoke(app, ["topics", "check", "--json"])
    assert done.exit_code == 1
    assert [each["level"] for each in json.loads(done.stdout)] == ["warning", "error"]


def in_a_terminal(*arguments: str | Path, out: Path | None = None) -> str:
    """What a command whose stderr is a terminal shows on it; its stdout is that terminal too, or the file `out`."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    with out.open("wb") if out is not None else open(theirs, "wb", closefd=False) as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", *map(str, arguments)],
            env=kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=theirs,
        )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while some := os.read(ours, 65_536):
            shown += some
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode()


def test_a_long_replay_says_how_far_it_is_and_what_is_left(tmp_path: Path) -> None:
    log, out = tmp_path / "log.jsonl", tmp_path / "decisions.jsonl"
    log.write_text(SAMPLE.read_text() * 100)  # some parts of a file
    shown = in_a_terminal("replay", log, out=out)
    per_cent = [int(found) for found in re.findall(r"(\d+)%", shown)]
    assert per_cent == sorted(per_cent)
    assert len({each for each in per_cent if 0 < each < 100}) > 3
    assert re.search(r"\d:\d\d:\d\d\S* left", shown)
    assert out.read_bytes().count(b"\n") == 5
    beside = in_a_terminal("replay", log)
    assert "judging" not in beside  # decisions on the same screen say themselves how far it is


@pytest.mark.parametrize("judge", [True, False])
def test_a_long_import_says_how_far_it_is_and_what_is_left(tmp_path: Path, judge: bool) -> None:
    run = {
        "suite_name": "s",
        "pipeline_name": "p",
        "user_task_id": "t",
        "injection_task_id": None,
        "attack_type": None,
    }
    told = [{"role": "user", "content": "Read my mail."}]
    (tmp_path / "runs").mkdir()
    for n in range(20):
        whole = {
            **run,
            "user_task_id": f"t{n}",
            "messages": told,
            "error": None,
            "utility": True,
            "security": True,
        }
        (tmp_path / "runs" / f"{n}.json").write_text(json.dumps(whole))
    call = {"seq": 0, "tool": "read_mail", "args": {}, "result": "none " * 2000}
    rows = [{"session_id": f"s{n}", "intent": "Read my mail.", "calls": [call]} for n in range(60)]
    (tmp_path / "runs" / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    shown = in_a_terminal("import", tmp_path / "runs", *(["--judge"] if judge else []), out=out)
    assert ("judging" if judge else "importing") in shown
    per_cent = [int(found) for found in re.findall(r"(\d+)%", shown)]
    assert per_cent == sorted(per_cent)
    assert per_cent[-1] == 100
    assert len({each for each in per_cent if 0 < each < 99}) > 3  # amid the large file, which comes first
    assert re.search(r"\d:\d\d:\d\d\S* left", shown)
    if not judge:
        assert "importing" not in in_a_terminal("import", tmp_path / "runs")


def test_nothing_is_shown_of_it_on_a_pipe(tmp_path: Path) -> None:
    done = driftline(tmp_path, "replay", str(SAMPLE))
    assert done.stderr == ""


@pytest.mark.slow
def test_an_evaluation_says_how_far_it_is(tmp_path: Path) -> None:
    call = {"seq": 0, "tool": "read_mail", "args": {}, "result": "none"}
    of = {
        "source": "ours",
        "suite": "ours",
        "user_task_id": "t",
        "label": "benign",
        "intent": "Read my mail.",
    }
    rows = [of | {"session_id": f"s{n}", "tools_ref": "none", "calls": [call]} for n in range(900)]
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = in_a_terminal("evaluate", path)
    assert re.search(r"judging recorded.*\b89%.*\d:\d\d:\d\d\S* left", shown), shown


def test_what_lacks_is_installed_from_the_folder_since_the_name_is_in_no_registry() -> None:
    sources = [*(ROOT / "stream").rglob("*.py"), *(ROOT / "models").rglob("*.py"), *(ROOT / "client").rglob("*.py")]  # fmt: skip
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    named = re.compile(r"pip install[^\n]*?[\s'\"]driftline(?:-client)?\b(?!/)")
    assert [path for path in (*sources, *pages) if named.search(path.read_text(encoding="utf-8"))] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {found for path in sources for found in re.findall(r"\bbrings\(['\"](\w+)['\"]", path.read_text(encoding="utf-8"))}  # fmt: skip
    assert (
        {"aws", "console", "data", "demo", "gate", "import", "mcp", "otel", "plots"} == asked <= extras.keys()
    )
