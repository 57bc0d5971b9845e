"""The command line as people and scripts meet it: output, exit codes, and errors that tell the mend."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from models.release.registry import BUNDLED
from models.training.dataset import text_digest
from tests import builders as b

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "stream" / "samples" / "19-finance-invoice-iban-swap.jsonl"


def run(
    *arguments: str | Path,
    cwd: Path,
    stdin: str | None = None,
    stdout: Any = subprocess.PIPE,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    # A terminal that the suite runs in may have said how wide it is, and xdist says it to its workers.
    environment = {
        k: v for k, v in os.environ.items() if k != "COLUMNS" and not k.startswith(("DRIFTLINE_", "KAFKA_"))
    }
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-m", "stream.cli.main", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )


def test_replay_prints_one_decision_a_call_and_nothing_else(tmp_path: Path) -> None:
    done = run("replay", SAMPLE, "--mode", "enforce", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [row["call_seq"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[2]["verdict"] == "revoke"
    assert rows[2]["enforced"] is True


def test_replay_reads_standard_input_and_starts_in_shadow(tmp_path: Path) -> None:
    done = run("replay", "-", cwd=tmp_path, stdin=SAMPLE.read_text())
    assert {json.loads(line)["enforced"] for line in done.stdout.splitlines()} == {False}


def test_tokens_of_a_replay_hold_against_the_keys_written_and_a_changed_one_does_not(tmp_path: Path) -> None:
    done = run("replay", SAMPLE, "--all", "--mode", "enforce", cwd=tmp_path)
    (tmp_path / "all.jsonl").write_text(done.stdout)
    assert run("verify", "--jwks-out", "keys.json", cwd=tmp_path).returncode == 0
    assert all("d" not in key for key in json.loads((tmp_path / "keys.json").read_text())["keys"])
    assert (
        run("verify", "revocation", "all.jsonl", "--jwks", "keys.json", "--dev", cwd=tmp_path).returncode == 0
    )
    assert run("verify", "alert", "all.jsonl", cwd=tmp_path).returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    token = next(base64.b64decode(row["value_b64"]) for row in rows if "value_b64" in row)
    header, payload, signature = token.split(b".")
    (tmp_path / "bad.jsonl").write_bytes(b".".join([header, payload[:40] + b"A" + payload[41:], signature]))
    assert (
        run("verify", "revocation", "bad.jsonl", "--jwks", "keys.json", "--dev", cwd=tmp_path).returncode == 1
    )


LEDGER = "https://ledger.broker.invalid/set"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A folder with the outputs of a sample, `all.jsonl`, signed by a key that stands in `keys.json`."""
    key = RSAKey.generate_key(2048)
    (tmp_path / "key.json").write_text(json.dumps({**key.as_dict(private=True), "kid": "k-1"}))
    with_key = {"DRIFTLINE_SIGNING_KEY_FILE": "key.json"}
    done = run("replay", SAMPLE, "--all", "--mode", "enforce", cwd=tmp_path, **with_key)
    (tmp_path / "all.jsonl").write_text(done.stdout)
    assert run("verify", "--jwks-out", "keys.json", cwd=tmp_path, **with_key).stderr == ""
    return tmp_path


def of_revocations(folder: Path, *more: str, file: str = "all.jsonl") -> subprocess.CompletedProcess[str]:
    return run("verify", "revocation", file, "--jwks", "keys.json", *more, cwd=folder)


def test_tokens_for_others_are_counted_and_skipped_and_all_that_are_for_you_hold(signed: Path) -> None:
    done = of_revocations(signed, "--audience", LEDGER)
    told = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert told[-1] == "1 hold, 2 skipped (for others), 0 refused"
    assert [line.split(": ")[1].split(",")[0] for line in told[:-1]] == ["holds", "skipped", "skipped"]
    assert of_revocations(signed).stdout.count("holds") == 3


def test_where_no_token_is_for_you_that_is_said_with_whom_they_are_for(signed: Path) -> None:
    done = of_revocations(signed, "--audience", "https://vault.example.com/set")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "0 hold, 3 skipped (for others), 0 refused")
    assert done.stderr.startswith(
        "driftline: no token is for https://vault.example.com/set: they are for " + LEDGER
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("whom", [LEDGER, "https://receiver.example.com/ssf"])
def test_a_token_that_does_not_hold_is_never_skipped(signed: Path, whom: str) -> None:
    rows = [json.loads(line) for line in (signed / "all.jsonl").read_text().splitlines()]
    tokens = [base64.b64decode(row["value_b64"]).decode() for row in rows if "value_b64" in row]
    head, body, seal = tokens[0].split(".")  # for the ledger
    (signed / "bad.txt").write_text("\n".join([*tokens, f"{head}.{body}.{seal[:-8]}AAAAAAAA"]))
    done = of_revocations(signed, "--audience", whom, file="bad.txt")
    assert done.returncode == 1
    assert "line 4: refused, signature" in done.stdout


def test_what_an_end_released_is_no_revocation_and_is_refused_as_such_whomever_it_is_for(
    signed: Path,
) -> None:
    credential = {"broker": "ledger", "kind": "lease", "value": "l-1"}
    (signed / "log.jsonl").write_bytes(
        b.as_log_lines(b.log([b.declared(credentials=[credential]), b.ended(seq=1)]))
    )
    with_key = {"DRIFTLINE_SIGNING_KEY_FILE": "key.json"}
    done = run("replay", "log.jsonl", "--all", "--mode", "enforce", cwd=signed, **with_key)
    (token,) = [
        base64.b64decode(row["value_b64"]).decode()
        for row in map(json.loads, done.stdout.splitlines())
        if row["topic"] == "agent.ends.v1"
    ]
    (signed / "token.txt").write_text(token)
    for whom in ((), ("--audience", LEDGER), ("--audience", "https://vault.example.com/set")):
        judged = of_revocations(signed, *whom, file="token.txt")
        assert judged.returncode == 1
        assert judged.stdout.startswith(
            "line 1: refused, event: no revocation; it names credentials that an end released"
        )
    # Among the outputs of a replay it is passed over: it lies on a topic of its own.
    (signed / "both.jsonl").write_text((signed / "all.jsonl").read_text() + done.stdout)
    assert of_revocations(signed, file="both.jsonl").returncode == 0


def test_what_a_development_key_signed_holds_only_for_a_trial_which_is_said(tmp_path: Path) -> None:
    done = run("replay", SAMPLE, "--all", "--mode", "enforce", cwd=tmp_path)
    (tmp_path / "all.jsonl").write_text(done.stdout)
    told = run("verify", "--jwks-out", "keys.json", cwd=tmp_path).stderr
    assert "this is the development key of" in told
    strict = of_revocations(tmp_path, "--audience", LEDGER)
    assert (strict.returncode, strict.stdout.count("signed by a development key"), strict.stderr) == (
        1,
        3,
        "",
    )
    tried = of_revocations(tmp_path, "--audience", LEDGER, "--dev")
    assert tried.returncode == 0
    assert tried.stdout.endswith("1 hold, 2 skipped (for others), 0 refused\n")
    assert "3 of 3 tokens are signed by a development key" in tried.stderr


def test_the_commands_in_brokers_that_try_a_receiver_do_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "brokers.md").read_text(encoding="utf-8")
    lines = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("    driftline ")]
    assert [words[0] for words in lines] == ["replay", "verify", "verify"]
    (tmp_path / "stream").symlink_to(ROOT / "stream")
    *made, to, name = lines[0]
    assert to == ">"
    with (tmp_path / name).open("wb") as out:
        assert run(*made, cwd=tmp_path, stdout=out).returncode == 0
    written, verified = (run(*words, cwd=tmp_path) for words in lines[1:])
    assert (written.returncode, verified.returncode) == (0, 0), verified.stderr
    assert verified.stdout.endswith("1 hold, 2 skipped (for others), 0 refused\n")
    assert all("development key" in done.stderr for done in (written, verified))


def test_public_keys_are_written_where_there_is_a_key_and_none_is_made_up(tmp_path: Path) -> None:
    done = run("verify", "--jwks-out", "keys.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("driftline: no signing key is set, and ")
    assert "DRIFTLINE_SIGNING_KEY_FILE" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = run("verify", "--jwks-out", "keys.json", cwd=tmp_path, DRIFTLINE_SIGNING_KEY_FILE="gone.pem")
    assert (done.returncode, done.stderr) == (
        2,
        "driftline: signing key gone.pem: No such file or directory\n",
    )


def test_a_policy_with_a_wrong_word_is_refused_with_its_line(tmp_path: Path) -> None:
    text = (ROOT / "stream" / "policy.yaml").read_text().replace("mode: shadow", "mode: shadowy")
    (tmp_path / "policy.yaml").write_text(text)
    line = text.splitlines().index("mode: shadowy") + 1
    done = run("verify", "policy", "policy.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"line {line}" in done.stdout + done.stderr
    assert "'shadow' or 'enforce'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("policy", "missing"),
        ("alert", "missing"),
        ("revocation", "missing", "--jwks", "keys.json"),
        ("revocation", "-", "--jwks", "missing"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_file_to_verify_that_is_missing_or_a_folder_is_a_mistake_of_usage(
    tmp_path: Path, arguments: tuple[str, ...], there: bool
) -> None:
    (tmp_path / "keys.json").write_text('{"keys": []}')
    if there:
        (tmp_path / "missing").mkdir()
    done = run("verify", *arguments, cwd=tmp_path, stdin="a.b.c\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("driftline: ")
    assert ("missing" in done.stderr, done.stderr.count("\n")) == (True, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("replay", "missing.jsonl"), 3, "missing.jsonl"),
        (("evaluate",), 3, "DRIFTLINE_DATA"),
        (("train",), 3, "DRIFTLINE_DATA"),
        (("verify", "revocation"), 3, "file"),
        (("verify", "release", "missing"), 5, "missing"),  # as the worker that is given such a folder
        (("replay",), 2, "FILE"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_an_error_is_one_sentence_with_its_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert told.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_compressed_file_that_is_cut_is_refused_as_input(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(SAMPLE.read_bytes())[:-100])
    done = run("replay", "cut.jsonl.gz", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("driftline: a compressed input is cut short or damaged")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("replay", SAMPLE), ("verify", "policy")])
def test_an_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, arguments: tuple[str | Path, ...]
) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*arguments, cwd=tmp_path, stdout=full)
    assert done.returncode == 2
    assert done.stderr == "driftline: the output cannot be written: No space left on device\n"


def test_a_place_that_is_not_there_for_the_public_keys_is_one_sentence(tmp_path: Path) -> None:
    assert run("replay", SAMPLE, "--all", cwd=tmp_path).returncode == 0
    done = run("verify", "--jwks-out", "nowhere/k.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "driftline: nowhere/k.json: No such file or directory\n"


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("replay", SAMPLE, "--all", cwd=tmp_path, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_verifies_without_keys_is_told_to_give_some_and_makes_none(tmp_path: Path) -> None:
    done = run("verify", "revocation", "-", cwd=tmp_path, stdin="a.b.c\n")
    assert done.returncode == 2
    assert "give --jwks" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("document", ["[]", "{}", '{"keys": 1}', '{"keys": []}', '{"kty": "RSA"}', "{"])
def test_keys_that_are_no_jwk_set_are_blamed_and_not_the_token(tmp_path: Path, document: str) -> None:
    (tmp_path / "keys.json").write_text(document)
    done = run("verify", "revocation", "-", "--jwks", "keys.json", cwd=tmp_path, stdin="a.b.c\n")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("driftline: keys.json")
    assert "JWK" in done.stderr


BROKEN = """
{"type": "tool.called", "id": "a/0", "session_id": "a", "time": "2026-01-01T09:00:00Z", "call_id": "a:0"}
no JSON
"""


def test_a_file_of_which_nothing_can_be_judged_is_refused_with_its_first_line(tmp_path: Path) -> None:
    done = run("replay", "-", cwd=tmp_path, stdin=BROKEN)
    assert done.returncode == 3
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert (answer["verdict"], answer["marks"]) == ("abstain", ["refused"])
    assert "2 records were refused (1 decode, 1 schema)" in done.stderr
    assert "line 2: schema, tool is missing" in done.stderr


def test_lines_that_are_refused_among_others_are_told_and_the_rest_is_judged(tmp_path: Path) -> None:
    log = SAMPLE.read_text() * 50 + BROKEN  # more than a batch before the first that is refused
    done = run("replay", "-", cwd=tmp_path, stdin=log)
    assert done.returncode == 0
    refused = ["refused" in json.loads(line)["marks"] for line in done.stdout.splitlines()]
    assert refused == [False] * 5 + [True]
    assert f"line {50 * len(SAMPLE.read_text().splitlines()) + 2}: schema" in done.stderr


def test_the_table_of_topics_cuts_no_name_for_another_program(tmp_path: Path) -> None:
    done = run("topics", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert "agent.quarantine.v1" in done.stdout
    assert "…" not in done.stdout


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    environment = {**os.environ, "DRIFTLINE_PARTITION": "3", "DRIFTLINE_DATA": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "worker", "--print-config"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "DRIFTLINE_PARTITION is no setting; did you mean DRIFTLINE_PARTITIONS?" in done.stderr
    assert "DRIFTLINE_DATA" not in done.stderr
    assert json.loads(done.stdout)["partitions"] == 12


def test_lines_that_are_no_recorded_session_are_not_imported(tmp_path: Path) -> None:
    session = {"session_id": "s", "intent": "Read.", "calls": []}
    lines = f"{json.dumps({**session, 'calls': [{}]})}\n{BROKEN}"
    none = run("import", "-", cwd=tmp_path, stdin=lines)
    assert (none.returncode, none.stdout) == (3, "")
    assert "stdin, line 1: not a recorded session: KeyError 'seq'" in none.stderr
    some = run("import", "-", "--format", "recorded", cwd=tmp_path, stdin=f"{BROKEN}{json.dumps(session)}\n")
    assert [json.loads(line)["type"] for line in some.stdout.splitlines()] == [
        "session.declared",
        "session.ended",
    ]
    assert some.returncode == 0
    assert "recorded, 2 lines refused; the first is" in some.stderr
    unknown = run("import", "-", cwd=tmp_path, stdin=BROKEN)
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert "of no format that is known (recorded: " in unknown.stderr


def test_a_recorded_session_of_another_shape_is_told_with_its_line(tmp_path: Path) -> None:
    done = run("replay", "-", cwd=tmp_path, stdin='\n{"session_id": "s", "calls": []}\n')
    assert done.returncode == 3
    assert "-, line 2: not a recorded session" in done.stderr


def test_recorded_sessions_become_events_that_replay_reads_as_the_file_itself(tmp_path: Path) -> None:
    session = {
        "source": "mine",
        "suite": "desk",
        "model": "m",
        "session_id": "rec-1",
        "intent": "Read ticket T-1.",
        "tools_ref": "desk",
        "calls": [
            {"seq": 0, "tool": "get_ticket", "args": {"id": "T-1"}, "result": "broken lid", "error": None}
        ],
        "amendments": [{"before_seq": 1, "text": "Then answer it."}],
        "label": "benign",
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(session) + "\n")
    (tmp_path / "mine_tools.json").write_text(json.dumps({"desk": [{"name": "get_ticket"}]}))
    made = run("import", "mine.jsonl", cwd=tmp_path)
    types = [json.loads(line)["type"] for line in made.stdout.splitlines()]
    assert types == [
        "session.declared",
        "tool.called",
        "tool.returned",
        "intent.amended",
        "session.ended",
    ]
    (tmp_path / "events.jsonl").write_text(made.stdout)
    direct = run("replay", "mine.jsonl", cwd=tmp_path).stdout
    assert direct
    assert run("replay", "events.jsonl", cwd=tmp_path).stdout == direct
    assert run("replay", "-", cwd=tmp_path, stdin=made.stdout).stdout == direct
    out = tmp_path / "out.jsonl"
    judged = run("import", "mine.jsonl", "--judge", "--out", out, cwd=tmp_path)
    assert judged.stdout.startswith("1 session, 1 call (allow 1)\n0 sessions flagged")
    assert (out.read_text(), out.stat().st_mode & 0o777) == (made.stdout, 0o600)
    (decision,) = direct.splitlines()
    summary = json.loads(run("import", "mine.jsonl", "--judge", "--json", cwd=tmp_path).stdout)
    assert summary["verdicts"] == {json.loads(decision)["verdict"]: 1}
    for arguments in (
        ("mine.jsonl", "--out", "mine.jsonl"),
        ("mine.jsonl", "--json"),
        ("mine.jsonl", "--format", "csv"),
    ):
        assert run("import", *arguments, cwd=tmp_path).returncode == 2


def test_help_of_every_command_is_there(tmp_path: Path) -> None:
    top = run("--help", cwd=tmp_path).stdout
    for command in (
        "demo",
        "broker",
        "topics",
        "worker",
        "send",
        "watch",
        "replay",
        "train",
        "evaluate",
        "feedback",
        "cases",
        "import",
        "verify",
    ):
        assert command in top
    assert run("worker", "--help", cwd=tmp_path).returncode == 0


def of_strangers(path: Path) -> str:
    """Writes two labelled sessions over tools that no model knows; returns the first one's intent."""
    intent = "Look up when the spring fair at the mill pond opens."
    rows = [
        {
            "session_id": f"fair-{n}",
            "source": "fair",
            "suite": "fair",
            "user_task_id": f"t{n}",
            "label": "benign",
            "injection_goal": "Open the mill gate." if n else None,
            "intent": text,
            "calls": [
                {
                    "seq": 0,
                    "tool": "find_event",
                    "args": {"name": "spring fair"},
                    "result": "opens 9:30",
                    "error": None,
                }
            ],
        }
        for n, text in enumerate((intent, "Find out which stalls the spring fair has."))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return intent


def test_sessions_that_the_model_never_saw_are_scored_with_it(tmp_path: Path) -> None:
    of_strangers(tmp_path / "fair.jsonl")
    done = run("evaluate", "fair.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["mode"], report["sessions"], report["calls"]) == ("score-only", {"benign": 2}, 2)
    assert report["model"]["digest"] == json.loads((BUNDLED / "manifest.json").read_bytes())["sha256"]
    replayed = run("replay", "fair.jsonl", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    scores = [json.loads(line)["score"] for line in replayed.stdout.splitlines()]
    assert report["highest"]["1"] == max(scores) > 0


@pytest.mark.parametrize("what", ["intents", "goals", "sources"])
def test_sessions_whose_intent_goal_or_source_the_manifest_names_are_never_called_held_out(
    tmp_path: Path, what: str
) -> None:
    intent = of_strangers(tmp_path / "fair.jsonl")
    goal = text_digest("Open the mill gate.")
    known = {"intents": text_digest(intent), "goals": goal, "sources": "fair"}
    shutil.copytree(BUNDLED, tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_bytes())
    manifest["seen"][what].append(known[what])
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    done = run("evaluate", "fair.jsonl", "--model", "model", "--json", cwd=tmp_path)
    count = {"intents": "1 by intent", "goals": "1 by goal", "sources": "2 by source"}[what]
    assert f"the model knows sessions of these ({count}): leaving one suite out in turn" in done.stderr
    assert "score-only" not in done.stdout


def test_a_file_that_is_no_labelled_recording_is_told_from_one(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text('{"session_id": "a", "calls": []}\n')
    done = run("evaluate", "notes.jsonl", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr == "driftline: not a labelled recorded session: 'source' is missing (docs/labels.md)\n"


def test_verify_policy_tells_of_lists_whose_signal_leads_to_nothing(tmp_path: Path) -> None:
    text = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")
    listed = text.replace("data_classes: {}", "data_classes: {payroll: [salary_lookup]}")
    (tmp_path / "new.yaml").write_text(listed)
    (tmp_path / "old.yaml").write_text(listed.replace("  scope.data_class_not_allowed: deny\n", ""))
    new, old = (run("verify", "policy", name, cwd=tmp_path) for name in ("new.yaml", "old.yaml"))
    assert (new.returncode, old.returncode) == (0, 0)
    assert "scope.data_class_not_allowed" not in new.stderr
    assert "scope.data_class_not_allowed leads to nothing" in old.stderr
