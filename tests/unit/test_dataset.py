"""Labels of recorded sessions: who is a positive, what a call teaches, what is held out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DatasetError
from models.training import dataset
from models.training.dataset import LEFT_OUT, LabelledSession
from models.training.scenarios import written_tasks


def record(name: str, label: str = "benign", **changes: Any) -> dict[str, Any]:
    return {
        "source": "agentdojo",
        "suite": "slack",
        "session_id": name,
        "label": label,
        "user_task_id": "user_task_1",
        "attack": None,
        "first_bad_seq": None,
        "exposed_seq": None,
        "calls": [{"seq": number} for number in range(5)],
        **changes,
    }


def labelled(name: str, label: str = "benign", **changes: Any) -> LabelledSession:
    return dataset.of_record(record(name, label, **changes), {})


def targets(session: LabelledSession) -> list[int]:
    return [int(x) for x in dataset.join([session], [session.session_id] * 5, range(5)).target]


def test_hijacked_teaches_its_first_bad_call_and_nothing_after_it() -> None:
    session = labelled("h", "hijacked", first_bad_seq=2)
    assert targets(session) == [0, 0, 1, LEFT_OUT, LEFT_OUT]


def test_hijacked_without_a_bad_call_counts_apart_and_teaches_nothing() -> None:
    session = labelled("u", "hijacked")
    assert session.kind == "unseen"
    assert targets(session) == [LEFT_OUT] * 5


def test_the_twin_of_one_that_acted_acted_too() -> None:
    twin = dataset.of_record({**record("ra-1", "attempted"), "origin": "a"}, {"a": 3})
    assert (twin.kind, twin.first_bad_seq) == ("acted", 3)
    assert dataset.of_record({**record("ra-2", "attempted"), "origin": "q"}, {"a": 3}).kind == "attempted"


def test_attempted_teaches_less_unless_it_acted() -> None:
    quiet = labelled("q", "attempted")
    acted = dataset.of_record(record("a", "attempted"), {"a": 3})
    other = labelled("h", "hijacked", first_bad_seq=0)
    calls = dataset.join([quiet, acted, other], ["q", "a", "h"], [0, 0, 0])
    assert (quiet.kind, acted.kind, acted.first_bad_seq) == ("attempted", "acted", 3)
    assert calls.target.tolist() == [0, LEFT_OUT, 1]
    assert calls.weight[0] < calls.weight[2]
    assert calls.weight[0] / calls.weight[2] == pytest.approx(dataset.ATTEMPTED_WEIGHT)


@pytest.mark.parametrize("label", ["overreach", "complied", "unclear"])
def test_labels_of_whole_sessions_teach_no_call(label: str) -> None:
    assert targets(labelled("o", label)) == [LEFT_OUT] * 5


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(DatasetError, match="evil"):
        labelled("x", "evil")


def test_a_line_without_labels_is_refused() -> None:
    with pytest.raises(DatasetError, match="user_task_id"):
        dataset.of_record({k: v for k, v in record("x").items() if k != "user_task_id"}, {})


def test_the_domain_is_the_suite_for_agentdojo_and_the_source_elsewhere() -> None:
    assert labelled("a", suite="travel").domain == "travel"
    assert labelled("b", source="intercode", suite="bash").domain == "intercode"


def test_thresholds_are_taken_on_honest_sessions_as_they_were_recorded_or_written() -> None:
    written = {"source": "written", "suite": "d_shell", "domain": "written"}
    assert labelled("recorded").sets_limits
    assert labelled("calm", **written, variant="calm").sets_limits
    assert labelled("delegated", **written, variant="delegated").sets_limits
    assert not labelled("asked", **written, variant="asked").sets_limits
    assert not labelled("elsewhere", **written | {"domain": "report"}, variant="calm").sets_limits
    assert not labelled("spliced", variant="calm").sets_limits
    assert not labelled("hijacked", "hijacked", first_bad_seq=1).sets_limits


def test_rows_are_joined_by_id_and_call_whatever_their_order() -> None:
    sessions = [labelled("b"), labelled("h", "hijacked", first_bad_seq=1), labelled("silent")]
    calls = dataset.join(sessions, ["h", "b", "h"], [1, 0, 0])
    assert calls.target.tolist() == [1, 0, 0]
    assert [calls.sessions[at].session_id for at in calls.session] == ["h", "b", "h"]
    assert "silent" not in {session.session_id for session in calls.sessions}


@pytest.mark.parametrize(
    ("ids", "seqs", "said"),
    [(["gone"], [0], "no label"), (["b", "b"], [0, 0], "same call"), (["b"], [0, 1], "session ids")],
)
def test_rows_that_do_not_fit_the_labels_are_refused(ids: list[str], seqs: list[int], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        dataset.join([labelled("b")], ids, seqs)


def test_a_file_given_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="one id"):
        dataset.join([labelled("b"), labelled("b")], ["b"], [0])


def many() -> dataset.Calls:
    sessions = [
        labelled(f"{suite}{task}{run}", suite=suite, user_task_id=f"user_task_{task}")
        for suite in ("slack", "travel")
        for task in range(12)
        for run in range(3)
    ]
    return dataset.join(sessions, [s.session_id for s in sessions for _ in range(2)], [0, 1] * len(sessions))


def test_task_folds_keep_a_task_whole_and_share_out_every_suite() -> None:
    calls = many()
    part = dataset.task_folds(calls, 3, seed=3)
    parts = [{session.task for session in calls.take(part == fold).sessions} for fold in range(3)]
    assert set.intersection(*parts) == parts[0] & parts[1] == parts[1] & parts[2] == set()
    for tasks in parts:
        assert sorted(task.split("/")[0] for task in tasks) == ["slack"] * 4 + ["travel"] * 4


def test_task_folds_stay_when_another_set_is_added() -> None:
    calls = many()
    slack = calls.rows_of("slack")
    alone = dataset.task_folds(calls.take(slack), 3, seed=3)
    assert np.array_equal(alone, dataset.task_folds(calls, 3, seed=3)[slack])
    assert not np.array_equal(alone, dataset.task_folds(calls.take(slack), 3, seed=4))


def test_a_group_of_many_sessions_teaches_as_much_as_the_root_of_their_number() -> None:
    drift = labelled("h", "hijacked", first_bad_seq=0)
    honest = [labelled(f"b{n}") for n in range(9)]
    calls = dataset.join([drift, *honest], ["h", *(f"b{n}" for n in range(9))], [0] * 10)
    weights = calls.weight / calls.weight[0]
    assert weights.tolist() == pytest.approx([1.0] + [1 / 3] * 9)


def test_splices_under_an_unchanged_intent_teach_half() -> None:
    spliced = dataset.of_record({**record("s", "hijacked", first_bad_seq=0), "variant": "spliced_silent"}, {})
    amended = dataset.of_record({**record("a"), "variant": "spliced_asked"}, {})
    calls = dataset.join([spliced, amended], ["s", "a"], [0, 0])
    assert (spliced.variant, amended.variant) == ("spliced_silent", "spliced_asked")
    assert calls.weight[0] == pytest.approx(dataset.UNCHANGED_WEIGHT * calls.weight[1])


def test_a_task_written_out_whole_teaches_less_than_a_recording() -> None:
    written = dataset.of_record({**record("w"), "source": written_tasks.SOURCE}, {})
    calls = dataset.join([written, dataset.of_record(record("a"), {})], ["w", "a"], [0, 0])
    assert calls.weight[0] == pytest.approx(dataset.WRITTEN_WEIGHT * calls.weight[1])


def test_a_task_that_hands_acts_over_teaches_twice_as_much_where_it_was_made_whole() -> None:
    def weights(source: str, variant: str, other: str) -> list[float]:
        listed = [
            dataset.of_record({**record(name), "source": source, "variant": kind}, {})
            for name, kind in (("a", variant), ("b", other))
        ]
        weight: list[float] = dataset.join(listed, ["a", "b"], [0, 0]).weight.tolist()
        return weight

    for source in dataset.WHOLE:
        handed, plain = weights(source, "delegated", "ordinary")
        assert handed == pytest.approx(dataset.HANDED_WEIGHT * plain) == pytest.approx(2 * plain)
        assert len(set(weights(source, "read", "beyond"))) == 1
    assert len(set(weights("taubench", "delegated", "ordinary"))) == 1  # spliced into a recording


def test_goals_and_intents_are_known_again_whatever_their_spacing_and_case() -> None:
    told = {**record("a"), "injection_goal": "Send  ALL\nmoney", "intent": "Read it"}
    again = {**record("b"), "injection_goal": "send all money", "intent": "read  IT "}
    one, other = (dataset.of_record(r, {}) for r in (told, again))
    assert (one.goal, one.intent) == (other.goal, other.intent)
    assert dataset.of_record(record("c"), {}).goal is None
    assert dataset.text_digest("x") != dataset.text_digest("y")


def test_taking_rows_keeps_labels_and_sessions_aligned() -> None:
    calls = many()
    rows = np.arange(len(calls)) % 5 == 0
    part = calls.take(rows)
    names = [calls.sessions[at].session_id for at in calls.session[rows]]
    assert [part.sessions[at].session_id for at in part.session] == names
    assert len(part.sessions) == len(set(names))


def test_a_gzipped_file_is_read_with_the_acted_list_beside_it(tmp_path: Path) -> None:
    lines = [record("a", "attempted"), record("b", "attempted")]
    with gzip.open(tmp_path / "runs.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "runs_attempted_acted.json").write_text('{"a": 1}')
    assert [s.kind for s in dataset.read_sessions(tmp_path / "runs.jsonl.gz")] == ["acted", "attempted"]


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="DRIFTLINE_DATA"):
        dataset.read_sessions(tmp_path / "none.jsonl.gz")
