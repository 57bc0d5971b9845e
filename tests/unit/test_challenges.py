"""Challengers beside the champion: the same calls find each other, and what differs is told by session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from models.contracts import GRAVITY, Label, WouldBe
from models.errors import ConfigError
from models.release import registry
from stream import activations, bootstrap
from stream.cli import challenging
from stream.core.deployment import Activation
from stream.events import CHALLENGES, EVENTS, dumps
from stream.offline.challenges import MAX_FLIPS, Comparison
from stream.policy import read_policy
from stream.settings import Settings
from stream.shell.acls import acls
from stream.shell.challenge_stage import Challenger, would_be
from stream.shell.checkpoints import Shelf, StateRecord
from tests import builders as b

BLUE = Challenger("blue", "ab" * 32)


def said(session: str, call: int, verdict: str, standing: str = "quiet", **more: Any) -> dict[str, Any]:
    """What a decision and a would-be verdict have alike."""
    return {
        "tenant": "acme",
        "root_session_id": session,
        "session_id": session,
        "event_id": f"{session}/{call}",
        "call_seq": call,
        "arguments_digest": "a",
        "verdict": verdict,
        "standing": standing,
        "score": GRAVITY.index(verdict) / 10,
        "tool": "send_email",
        "time": "2026-03-01T10:00:00.000Z",
        "explanation": f"{verdict} it is",
        "release": "m@1",
        "policy": "p@1",
        "marks": [],
        **more,
    }


def blue(*args: Any, **more: Any) -> dict[str, Any]:
    return {**said(*args, **more), "challenger": "blue", "release_digest": BLUE.digest}


def label(session: str, kind: str) -> Label:
    return Label.model_validate(
        {"tenant": "acme", "session_id": session, "label": kind, "whence": "dataset", "who": "set"}
    )


def compared(
    champion: list[dict[str, Any]], challenger: list[dict[str, Any]], labels: list[Label] | None = None
) -> dict[str, Any]:
    made = Comparison(labels or [])
    made.partition(map(dumps, champion), map(dumps, challenger))
    told: dict[str, Any] = made.document()["challengers"]["blue"]
    return told


def test_sessions_are_told_by_their_gravest_verdicts_and_a_flip_by_the_first_call_that_differs() -> None:
    told = compared(
        [said("s", 0, "allow"), said("s", 1, "allow"), said("s", 2, "allow"), said("t", 0, "allow")],
        [
            blue("s", 0, "allow"),
            blue("s", 1, "alert", "alert"),
            blue("s", 2, "revoke", "contained", time="2026-03-02T10:00:00.000Z"),
            blue("t", 0, "allow"),
        ],
    )
    assert (told["calls"], told["calls_judged_alike"]) == (4, 2)
    assert (told["sessions"], told["sessions_judged_alike"], told["flips"]) == (2, 1, 1)
    assert told["verdicts"] == [
        {"champion": "allow", "challenger": "allow", "sessions": 1},
        {"champion": "allow", "challenger": "revoke", "sessions": 1},
    ]
    [flip] = told["flipped"]
    assert (flip["call_seq"], flip["champion_call"], flip["challenger_call"]) == (1, "allow", "alert")
    assert (flip["champion"], flip["challenger"], flip["why"]) == ("allow", "revoke", "alert it is")
    assert told["tenants"]["acme"] == {
        "sessions": 2,
        "alerts_champion": 0,
        "alerts_challenger": 1,
        "revocations_champion": 0,
        "revocations_challenger": 1,
    }


def test_what_only_one_of_them_judged_is_counted_and_not_compared() -> None:
    told = compared(
        [said("s", 0, "allow"), said("s", 1, "revoke", "contained"), said("t", 0, "allow")],
        [blue("s", 0, "allow"), blue("s", 9, "revoke", "contained")],
    )
    assert (told["calls"], told["calls_not_judged_yet"], told["calls_of_its_own"]) == (1, 2, 1)
    assert told["flips"] == 0
    assert told["tenants"]["acme"]["alerts_champion"] == 0


def test_what_a_crash_repeats_counts_once_and_one_number_with_other_arguments_is_another_call() -> None:
    twice = [said("s", 0, "allow"), said("s", 0, "allow"), said("s", 0, "allow", arguments_digest="b")]
    told = compared(twice, [blue("s", 0, "allow"), blue("s", 0, "allow", arguments_digest="b")] * 2)
    assert (told["calls"], told["calls_not_judged_yet"]) == (2, 0)


def test_a_session_of_the_same_id_under_two_tenants_is_two() -> None:
    told = compared(
        [said("s", 0, "allow"), said("s", 0, "allow", tenant="other")],
        [blue("s", 0, "allow"), blue("s", 0, "alert", "alert", tenant="other")],
    )
    assert told["sessions"] == 2
    assert [told["tenants"][tenant]["alerts_challenger"] for tenant in ("acme", "other")] == [0, 1]


def test_what_analysts_confirmed_and_called_false_is_told_apart() -> None:
    told = compared(
        [said("bad", 0, "allow"), said("good", 0, "alert", "alert"), said("torn", 0, "alert", "alert")],
        [blue("bad", 0, "alert", "alert"), blue("good", 0, "allow"), blue("torn", 0, "allow")],
        [label("bad", "hijacked"), label("good", "benign"), label("torn", "unclear")],
    )
    assert told["labelled"] == {
        "confirmed": {"sessions": 1, "told_champion": 0, "told_challenger": 1},
        "false_positive": {"sessions": 1, "told_champion": 1, "told_challenger": 0},
    }
    assert {flip["session_id"]: flip["known"] for flip in told["flipped"]} == {
        "bad": "confirmed",
        "good": "false_positive",
        "torn": None,
    }


def test_a_challenger_that_is_silent_in_a_partition_has_all_of_it_before_it() -> None:
    made = Comparison()
    made.partition([dumps(said("s", 0, "allow"))], [dumps(blue("s", 0, "allow"))])
    made.partition([dumps(said("t", 0, "allow")), b"{", dumps({"verdict": "allow"})], [])
    told = made.document()
    assert told["challengers"]["blue"]["calls_not_judged_yet"] == 1
    assert told["records_not_read"] == 2


def test_a_challenger_that_begins_late_owes_the_partitions_that_were_read_before_its_first_word() -> None:
    made = Comparison()
    made.partition([dumps(said("t", 0, "allow"))], [])
    made.partition([dumps(said("s", 0, "allow"))], [dumps(blue("s", 0, "allow"))])
    assert made.document()["challengers"]["blue"]["calls_not_judged_yet"] == 1


def test_flips_are_bounded_and_those_furthest_apart_stay() -> None:
    n = 2 * MAX_FLIPS + 10
    champion = [said(f"s{i}", 0, "allow") for i in range(n)]
    challenger = [blue(f"s{i}", 0, "revoke" if i == n - 1 else "alert", "alert") for i in range(n)]
    told = compared(champion, challenger)
    assert told["flips"] == n
    assert len(told["flipped"]) == MAX_FLIPS
    assert told["flipped"][0]["session_id"] == f"s{n - 1}"


def test_what_a_challenger_says_is_its_own_judgement_in_its_contract() -> None:
    run = b.play([b.declared(), b.called(seq=1), b.called(seq=2)])
    decisions = [dumps(decision) for decision in run.decisions]
    assert len(decisions) == 2
    for value in decisions:
        decision, told = json.loads(value), would_be(BLUE, value)
        WouldBe.model_validate(told)
        assert told.keys() == WouldBe.model_fields.keys()
        for name in told.keys() & decision.keys():
            assert told[name] == decision[name]
        assert (told["challenger"], told["release_digest"], told["challenge_id"]) == (
            *BLUE,
            decision["decision_id"],
        )


def test_challengers_have_a_group_and_a_shelf_each_and_another_release_another_shelf() -> None:
    settings = Settings(group="g")
    green = Challenger("green", BLUE.digest)
    newer = Challenger("blue", "cd" * 32)
    assert BLUE.settings(settings).group == "g-challenger-blue"
    assert green.settings(settings).group != BLUE.settings(settings).group
    shelves = [one.shelf for one in (BLUE, green, newer)]
    record = StateRecord(b"0000000001-ab/0/s/x", (), b"v")
    for place, mine in enumerate(shelves):
        lying = mine.put(record)
        taken = [shelf.take(lying) for shelf in shelves]
        assert taken == [record if n == place else None for n in range(3)]
    assert Shelf().put(record) == record == Shelf().take(record)


def test_whatever_the_log_activates_a_challenger_judges_all_sessions(tmp_path: Path) -> None:
    shutil.copytree(registry.BUNDLED, tmp_path / "ours")
    text, _ = read_policy()
    assert "idle_minutes: 60 " in text
    (tmp_path / "ours" / "policy.yaml").write_text(text.replace("idle_minutes: 60 ", "idle_minutes: 61 "))
    key = ECKey.generate_key("P-256", auto_kid=True)
    (tmp_path / "keys.json").write_bytes(dumps({"keys": [key.as_dict(private=False)]}))
    settings = Settings(activation_jwks=tmp_path / "keys.json")
    token = activations.sign(Activation(EVENTS, 0, 1, "ff" * 32, "open"), settings.issuer, key)
    judge = bootstrap.challenger(settings, tmp_path / "ours")
    run = b.Run(judge).feed(
        b.log([b.declared(), b.called(seq=1), {"type": "release.activated", "token": token}, b.called(seq=2)])
    )
    assert run.partition.ledger.new_release == "ff" * 32  # heard, and of no effect
    assert not run.quarantined
    assert {each["policy"] for each in run.decisions} == {judge.policy_name(judge.releases[""].policy)}
    assert len(run.decisions) == 2


def test_a_challenger_may_write_its_verdicts_and_its_states_alone_and_only_where_it_is_named() -> None:
    settings = Settings()
    assert not [right for right in acls(settings) if right.role == "challenger"]
    rights = [right for right in acls(settings, {"challenger": "User:c"}) if right.role == "challenger"]
    assert {right.name for right in rights if right.operation == "write"} == {
        CHALLENGES,
        "driftline.challengers.v1",
    }
    groups = [right.name for right in rights if right.resource == "group"]
    assert groups == [Challenger("challenger", "").settings(settings).group + "-judge"]


def test_the_report_fits_a_screen_of_80_columns_says_ids_whole_and_reads_nothing_as_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-session-of-an-agent-1111-2222-3333-4444-5555"
    made = Comparison([label(name, "hijacked")])
    told = {"tool": "[red]send", "policy": "p\x1b[31m" + "x" * 90}
    made.partition(
        [dumps(said(name, 0, "allow", **told))],
        [dumps({**blue(name, 0, "revoke", "contained", **told), "challenger": "[b]blue"})],
    )
    challenging._show("[b]blue", made.versus["[b]blue"], made)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "[b]blue beside the champion, 1 day\n" in shown
    assert "[red]send" in shown
    assert "\x1b" not in shown
    column = "".join(line.split("│")[1].strip() for line in shown.splitlines() if line.count("│") == 5)
    assert name in column
    assert "confirmed" in shown
    assert "1.00 > 1.00" not in shown
    assert "0.00 > 1.00" in shown


@pytest.mark.parametrize("name", ["", "Blue", "a b", "x" * 33, "-x", "a@b"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a challenger"):
        challenging._named(name, "folder")


def test_a_challenger_is_called_as_its_alias_unless_it_has_a_name() -> None:
    assert challenging._named(None, "@blue") == "blue"
    assert challenging._named(None, "releases/ours") == "challenger"
    assert challenging._named("green", "@blue") == "green"


def test_a_folder_without_a_policy_says_what_is_missing(tmp_path: Path) -> None:
    done = CliRunner().invoke(challenging.app, ["run", str(tmp_path)])
    assert "no policy.yaml" in str(done.exception)
