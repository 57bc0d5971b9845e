"""A label store: its format, where labels come from, and which word counts."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from models.contracts import CALLS_OF, Label
from models.errors import ConfigError, InputError
from models.training.dataset import KINDS, of_record
from stream.cli import exits
from stream.cli.main import app
from stream.events import ALERTS, CASES, DECISIONS, FEEDBACK, OUTCOMES, Record, dumps, rfc3339
from stream.feedback import SignedFeedback
from stream.offline.labels import store
from stream.offline.labels.merging import merged
from stream.offline.labels.sources import Bus, of_recording
from stream.offline.verdicts import first_alarms, verdicts
from stream.offline.verdicts import labels as rows_of_cases
from stream.outbound.feedback import finding
from stream.schemas.json_schema import json_schemas
from stream.shell.export import log_line
from tests.unit.test_breaker import AUDIENCE
from tests.unit.test_feedback import CASE, NINE_MS, PUBLIC, record_of, said

DAY = 86_400_000


def word(
    label: str = "benign", whence: str = "analyst", who: str = "ada", day: float | None = 0, **more: Any
) -> Label:
    row = {"tenant": "acme", "session_id": "s-1", "label": label, "whence": whence, "who": who}
    signed = {"key": f"key-{who}"} if whence == "analyst" else {}
    when = {"when": rfc3339(NINE_MS + round(day * DAY))} if day is not None else {}
    return Label.model_validate(row | signed | when | more)


def labels(*, kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Label]:
    return st.builds(
        word,
        label=st.sampled_from(kinds),
        whence=st.sampled_from(["analyst", "import", "dataset", "broker"]),
        who=st.sampled_from(["ada", "bob", "eve"]),
        day=st.one_of(st.none(), st.integers(0, 3)),
        session_id=st.sampled_from(["s-1", "s-2"]),
        confidence=st.one_of(st.none(), st.sampled_from([0.25, 1.0])),
        notes=st.one_of(st.none(), st.just("lone \u2028 line")),
    )


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@given(st.lists(labels(), max_size=6))
def test_what_is_written_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, ending: str, given: list[Label]
) -> None:
    path = tmp_path_factory.mktemp("labels") / f"labels.{ending}"
    store.write(given, path)
    assert store.read([path]) == given
    assert path.stat().st_mode & 0o777 == 0o600


@given(labels())
def test_every_line_written_is_valid_by_the_published_schema(label: Label) -> None:
    row = json.loads(dumps(store.row_of(label)))
    Draft202012Validator(json_schemas()["label.json"]).validate(row)
    assert tuple(row) == tuple(sorted(store.COLUMNS))
    assert set(store.COLUMNS) == set(Label.model_fields)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"label": "evil"}, "label is 'evil': Input should be 'benign', 'hijacked'"),
        ({"label": "benign", "call_seq": 0}, "a session that was benign has no first bad call"),
        ({"key": None}, "an analyst's word names the key that signed it"),
        ({"schema_version": 2}, "schema_version: "),
        ({"confidence": 2}, "confidence: "),
        ({"when": "yesterday"}, "when: "),
        ({"tenant": ""}, "tenant: "),
        ({"call_seq": "1"}, "call_seq: "),
    ],
)
def test_a_line_that_is_no_label_is_told_with_its_place_and_what_is_wrong(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(dumps(store.row_of(word())) + b"\n" + dumps(store.row_of(word()) | changes) + b"\n")
    with pytest.raises(InputError) as refused:
        store.read([path])
    assert str(refused.value).startswith(f"{path}, line 2: ")
    assert why in str(refused.value)
    assert str(refused.value).endswith("docs/labels.md has the format")


def test_kinds_with_a_first_bad_call_are_kinds_and_all_kinds_are_read_as_training_reads_them() -> None:
    assert set(KINDS) >= CALLS_OF
    for kind in KINDS:
        record = {
            "source": "s",
            "suite": "s",
            "session_id": "x",
            "label": kind,
            "user_task_id": "t",
            "calls": [{"tool": "pay"}],
            "first_bad_seq": 0,
        }
        assert of_record(record, {}).kind == kind


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[data\]'"):
        store.write([word()], tmp_path / "labels.parquet")


# ------------------------------------------------------------------ which word counts


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ([word("hijacked", "dataset", "agentdojo"), word("benign")], "benign"),
        ([word("hijacked", "dataset", "agentdojo", 9), word("benign")], "benign"),
        ([word("hijacked", "import"), word("benign", "dataset")], "hijacked"),
        ([word("hijacked"), word("benign", day=1)], "benign"),
        ([word("benign", day=1), word("hijacked")], "benign"),
        ([word("hijacked"), word("benign", who="bob", day=1)], None),
        ([word("hijacked"), word("benign", who="bob"), word("benign", day=2)], "benign"),
        ([word("unclear", who="bob", day=1), word("hijacked")], "hijacked"),
        ([word("unclear"), word("benign", "dataset")], "benign"),
        ([word("unclear", "broker"), word("unclear")], "unclear"),
        ([word("benign", "dataset", "a", None), word("hijacked", "dataset", "b", None)], None),
    ],
)
def test_which_word_counts_is_a_stated_rule(words: list[Label], label: str | None) -> None:
    done = merged(words)
    assert [each.label for each in done.labels] == ([label] if label else [])
    assert len(done.conflicts) == (label is None)
    assert len(words) == len(done.labels) + sum(map(len, done.conflicts)) + done.n_beaten


def test_those_who_agree_lend_each_other_the_call_that_one_of_them_names() -> None:
    named = word("hijacked", call_seq=3)
    assert merged([named, word("hijacked", who="bob", day=1)]).labels == [named]
    later = word("hijacked", who="bob", day=1, call_seq=4)
    assert merged([named, later]).labels == [later]


@given(st.lists(labels(), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_words_and_merging_again_change_nothing(words: list[Label], rng: Any) -> None:
    done = merged(words)
    shuffled = [*words]
    rng.shuffle(shuffled)
    assert merged(shuffled) == done
    assert merged(done.labels).labels == done.labels


def test_words_that_are_too_old_are_left_out_and_counted_and_those_without_a_time_stay() -> None:
    words = [
        word("hijacked", day=0),
        word(who="bob", day=40),
        word("benign", "dataset", "d", None, session_id="s-2"),
    ]
    done = merged(words, max_age_days=30)
    assert [(each.who, each.session_id) for each in done.labels] == [("bob", "s-1"), ("d", "s-2")]
    assert (done.n_old, done.n_undated, done.conflicts) == (1, 1, [])
    assert merged(words, 30, as_of_ms=NINE_MS + 20 * DAY).n_old == 0
    assert merged(words, 30, as_of_ms=NINE_MS + 90 * DAY).n_old == 2


# ------------------------------------------------------------------ where labels come from


def at(base: str, document: Any, **more: Any) -> tuple[str, Record]:
    return base, Record(base, 0, 0, NINE_MS, "append", b"acme", (), dumps(document))._replace(**more)


DECISION = {"tenant": "acme", "root_session_id": "s-1", "session_id": "s-1", "case_id": CASE}


def a_bus(*records: tuple[str, Record]) -> Bus:
    bus = Bus(SignedFeedback(PUBLIC, AUDIENCE).read)
    for base, record in records:
        bus.take(base, record)
    return bus


def test_a_confirmed_case_is_a_hijack_from_the_first_call_that_alerted() -> None:
    (label,) = a_bus(
        at(DECISIONS, DECISION | {"verdict": "revoke", "call_seq": 4}),
        at(DECISIONS, DECISION | {"verdict": "alert", "call_seq": 2}),
        at(DECISIONS, DECISION | {"verdict": "allow", "call_seq": 0}),
        at(FEEDBACK, record_of(said("true_positive"))),
        at(CASES, record_of(said("true_positive"))),
    ).labels()
    assert (label.label, label.call_seq, label.who, label.key) == ("hijacked", 2, "ada", "on-call")
    assert (label.whence, label.notes, label.tenant, label.session_id) == (
        "analyst",
        "the payee is ours",
        "acme",
        "s-1",
    )
    assert store.row_of(label)["when"] == rfc3339(NINE_MS)


@pytest.mark.parametrize(
    ("document", "more", "why"),
    [
        (
            record_of(said(), key=ECKey.generate_key("P-256", auto_kid=True)),
            {},
            "no key is known by this kid",
        ),
        (record_of(said(), audience="https://another.example"), {}, "aud"),
        (record_of(said(), tenant="other"), {}, "another tenant"),
        (record_of(said(case_id="c")), {}, "not that of its session"),
        (record_of(said(after_ms=600_000)), {}, "ahead of the broker's time"),
    ],
)
def test_feedback_that_no_trusted_key_signed_for_this_case_is_no_label(
    document: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    bus = a_bus(at(FEEDBACK, document, **more))
    assert list(bus.labels()) == []
    ((reason, count),) = bus.refused.items()
    assert (count, why in reason) == (1, True), reason


def test_a_finding_that_only_tells_of_feedback_is_counted_and_is_no_label() -> None:
    bus = a_bus(at(ALERTS, finding(said("true_positive"), "on-call")))
    assert (list(bus.labels()), bus.unsigned) == ([], 1)


def test_each_persons_last_word_is_kept_and_reopening_takes_back_what_was_said_before() -> None:
    words = [said("true_positive"), said("false_positive", 1), said("true_positive", 2, by="bob")]
    found = list(a_bus(*(at(FEEDBACK, record_of(each)) for each in words)).labels())
    assert [(each.who, each.label) for each in found] == [("ada", "benign"), ("bob", "hijacked")]
    assert len(merged(found).conflicts) == 1
    words += [said("reopen", 3), said("unsure", 4, by="bob")]
    found = list(a_bus(*(at(FEEDBACK, record_of(each)) for each in words)).labels())
    assert [(each.who, each.label) for each in found] == [("bob", "unclear")]


def test_what_feedback_writes_as_labels_is_read_as_the_labels_that_collect_makes_of_the_same_words(
    tmp_path: Path,
) -> None:
    words = [
        said("true_positive"),
        said("false_positive", 1),
        said("true_positive", 2, by="bob"),
        said("false_positive", session_id="s-2"),
        said("true_positive", session_id="s-3"),
        said("reopen", 5, session_id="s-3"),
    ]
    alarm = DECISION | {"verdict": "revoke", "call_seq": 4}
    collected = a_bus(at(DECISIONS, alarm), *(at(FEEDBACK, record_of(each)) for each in words)).labels()
    listed = verdicts(finding(each, "on-call") for each in words)
    rows = rows_of_cases(listed, first_alarms([alarm], listed))
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"".join(dumps(row) + b"\n" for row in rows))
    assert store.in_order(store.read([path])) == store.in_order(collected)
    assert len(merged(store.read([path])).conflicts) == 1
    path.write_bytes(dumps({"case_id": CASE, "said": [{}]}))
    with pytest.raises(InputError, match=r"line 1: no whole line of `driftline feedback --labels`"):
        store.read([path])


def test_a_brokers_outcome_says_what_we_did_and_never_what_the_session_was() -> None:
    outcome = {
        "jti": "j",
        "case_id": CASE,
        "broker": "vault",
        "status": "requested",
        "time": rfc3339(NINE_MS),
    }
    told = {
        "type": "outcome.told",
        "tenant": "acme",
        "outcome": outcome | {"status": "done", "time": rfc3339(NINE_MS + 5)},
    }
    bus = a_bus(at(OUTCOMES, outcome), at(CASES, told), at(CASES, DECISION), at(OUTCOMES, {"jti": "j"}))
    (label,) = bus.labels()
    assert (label.label, label.whence, label.who, label.notes) == (
        "unclear",
        "broker",
        "vault",
        "revocation done",
    )
    assert bus.refused.total() == 1
    assert list(a_bus(at(OUTCOMES, outcome)).labels()) == []


@pytest.mark.parametrize(
    ("label", "call", "acted", "want"),
    [
        ("hijacked", 2, {}, ("hijacked", 2)),
        ("hijacked", None, {}, ("unseen", None)),
        ("attempted", None, {}, ("attempted", None)),
        ("attempted", None, {"x": 3}, ("acted", 3)),
        ("benign", None, {"x": 3}, ("benign", None)),
    ],
)
def test_a_recordings_label_is_the_kind_that_training_makes_of_it(
    label: str, call: int | None, acted: dict[str, int], want: tuple[str, int | None]
) -> None:
    session = {
        "source": "set", "suite": "s", "session_id": "x", "user_task_id": "t", "label": label, "first_bad_seq": call,
        "calls": [{}] * 5,
    }  # fmt: skip
    found, trained = of_recording(session, acted, "here"), of_record(session, acted)
    assert (found.label, found.call_seq) == want == (trained.kind, trained.first_bad_seq)
    assert (found.tenant, found.who, found.whence) == ("recorded", "set", "dataset")


# ------------------------------------------------------------------ the command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the responder's keys and a dump of a bus."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.json").write_text(json.dumps(PUBLIC))
    monkeypatch.setenv("DRIFTLINE_RESPONDER_JWKS", "keys.json")
    monkeypatch.setenv("DRIFTLINE_ISSUER", AUDIENCE)
    monkeypatch.setenv("DRIFTLINE_PREFIX", "ours.")
    records = [
        at(DECISIONS, DECISION | {"verdict": "alert", "call_seq": 2}),
        at(CASES, record_of(said("true_positive"))),
        at(
            CASES,
            record_of(said("true_positive", 1, by="mallory"), key=ECKey.generate_key("P-256", auto_kid=True)),
        ),
        at(ALERTS, finding(said("true_positive"), "on-call")),
    ]
    lines = (log_line(record._replace(topic=f"ours.{base}"), 4) for base, record in records)
    (tmp_path / "dump.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["labels", *arguments])


def test_collect_and_merge_go_from_a_dump_and_recordings_to_one_label_a_session(here: Path) -> None:
    recorded = {"session_id": "r", "source": "set", "label": "benign", "calls": [], "intent": "x"}
    (here / "own.jsonl").write_text(json.dumps(recorded) + "\n")
    done = run("collect", "dump.jsonl", "own.jsonl", "--out", "a.jsonl")
    assert done.exit_code == 0, done.output
    assert (
        "1 words on the bus do not count: the feedback is not valid: no key is known by this kid"
        in done.stderr
    )
    assert "1 findings tell of feedback and carry no signature" in done.stderr
    assert [(each.tenant, each.label) for each in store.read([here / "a.jsonl"])] == [
        ("acme", "hijacked"),
        ("recorded", "benign"),
    ]
    store.write([word("benign", "dataset")], here / "b.jsonl")
    done = run("merge", "a.jsonl", "b.jsonl", "--out", "c.parquet")
    assert done.exit_code == 0, done.output
    assert [each.label for each in store.read([here / "c.parquet"])] == ["hijacked", "benign"]


def test_merge_tells_conflicts_leaves_them_out_and_ends_with_one(here: Path) -> None:
    store.write(
        [word("hijacked"), word("benign", who="bob"), word(session_id="s-2", day=-50)], here / "a.jsonl"
    )
    done = run("merge", "a.jsonl", "--out", "c.jsonl", "--max-age", "30", "--conflicts", "torn.jsonl")
    assert done.exit_code == exits.FINDINGS
    assert (
        "conflict, no label: acme/s-1: ada (key-ada) says hijacked, bob (key-bob) says benign" in done.stderr
    )
    assert "1 words are older than 30 days, 0 have no time" in done.stderr
    assert store.read([here / "c.jsonl"]) == []
    assert len(store.read([here / "torn.jsonl"])) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "mend"),
    [
        (["collect", "none.jsonl"], 3, "cannot read none.jsonl"),
        (["collect", "quiet.jsonl"], 3, "nothing here says what a session was"),
        (["merge", "none.jsonl", "--out", "c.jsonl"], 3, "cannot read none.jsonl"),
        (["merge", "empty.jsonl", "--out", "c.jsonl"], 3, "there is no label in it"),
        (["merge", "quiet.jsonl", "--out", "c.jsonl"], 3, "docs/labels.md has the format"),
        (["merge", "a.jsonl", "--out", "c.jsonl", "--as-of", "soon"], 2, "expected a day such as"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_mend(
    here: Path, arguments: list[str], code: int, mend: str
) -> None:
    (here / "quiet.jsonl").write_text('{"type": "tool.called"}\n')
    (here / "empty.jsonl").touch()
    store.write([word()], here / "a.jsonl")
    done = run(*arguments)
    assert mend in str(done.exception), done.output
    assert exits.exit_code(done.exception) == code
