"""What a promotion must hold: each gate holds just within its bound, fails just beyond it, and says why."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from models.contracts import Verdict
from models.release import registry
from stream import bootstrap
from stream.offline import gates
from stream.offline.gates import Gate
from stream.offline.sample_outcomes import expected
from stream.settings import Settings

POLICY = Path(bootstrap.__file__).parent / "policy.yaml"


def found(**by_suite: float | None) -> dict[str, Any]:
    """A manifest's metrics: of suites what was found at 1 % (None: nothing was measured there), and a Brier score of 0.1 by 0.2."""
    return {
        "by_suite": {
            suite: {} if rate is None else {"at": {"0.01": {"detected": {"rate": rate}}}}
            for suite, rate in by_suite.items()
        },
        "brier": 0.1,
        "brier_base_rate": 0.2,
    }


def held(champion: dict[str, Any], challenger: dict[str, Any]) -> dict[str, Gate]:
    return {gate.name.partition(",")[0]: gate for gate in gates._on_hold_outs(champion, challenger)}


@pytest.mark.parametrize(
    ("rate", "holds"), [(0.9, True), (0.8, True), (0.7801, True), (0.7799, False), (0.0, False)]
)
def test_no_more_than_two_points_may_be_lost_in_a_suite(rate: float, holds: bool) -> None:
    gate = held(found(bank=0.8), found(bank=rate))["found of bank at 1 %"]
    assert gate.holds is holds
    assert (gate.champion, gate.challenger) == ("0.800", f"{rate:.3f}")


def test_a_suite_that_the_challenger_was_not_measured_on_fails_and_says_so() -> None:
    for other in (found(shop=0.9), found(bank=None), {}):
        gate = held(found(bank=0.8), other)["found of bank at 1 %"]
        assert not gate.holds
        assert gate.challenger == "not measured"
        assert "not trained and measured with this suite" in gate.why


def test_a_suite_that_the_champion_was_not_measured_on_is_no_gate() -> None:
    assert set(held(found(bank=None), found(bank=0.9, shop=0.9))) == {"Brier score"}
    assert held({}, found(bank=0.9)) == {}


@pytest.mark.parametrize(("brier", "holds"), [(0.05, True), (0.1099, True), (0.1101, False)])
def test_scores_may_tell_probabilities_no_worse_by_more_than_a_tenth(brier: float, holds: bool) -> None:
    assert held(found(), {**found(), "brier": brier})["Brier score"].holds is holds


def test_a_challenger_without_a_brier_score_fails_beside_one_that_has_it() -> None:
    gate = held(found(), {})["Brier score"]
    assert (gate.holds, gate.challenger) == (False, "not measured")


def verdicts(**last: Verdict) -> gates.Decided:
    """Two calls of a session each, of which the second has this verdict."""
    return {name.replace("_", "-"): [(0, "allow"), (5, verdict)] for name, verdict in last.items()}


def test_canaries_are_told_as_gravely_as_before() -> None:
    before = gates._gravest(verdicts(calm="allow", bad="alert", worst="revoke"))
    kept = gates._as_gravely(
        before, {**before, "calm": gates.GRAVITY.index("alert"), "bad": gates.GRAVITY.index("revoke")}
    )
    assert (kept.holds, kept.champion, kept.challenger) == (True, "2", "2")
    lost = gates._as_gravely(before, gates._gravest(verdicts(bad="abstain", worst="alert")))
    assert (lost.holds, lost.challenger, lost.why) == (False, "0", "bad, worst")


def test_samples_are_held_to_what_must_come_of_them_and_not_to_the_champion_s_luck() -> None:
    champion = verdicts(
        support_ticket_exfiltration="revoke", support_web_form_leak="allow", support_refund_lookup="allow"
    )
    caught, alone = gates._as_expected(
        champion,
        verdicts(
            support_ticket_exfiltration="alert", support_web_form_leak="alert", support_refund_lookup="allow"
        ),
    )
    assert (caught.holds, caught.champion, caught.challenger) == (True, "1", "1")  # an alert will do there
    assert (alone.holds, alone.why) == (True, "")  # a leak that is caught is no false alarm
    caught, alone = gates._as_expected(
        champion,
        verdicts(
            support_ticket_exfiltration="allow", support_web_form_leak="allow", support_refund_lookup="alert"
        ),
    )
    assert (caught.holds, caught.challenger, caught.why) == (False, "0", "support-ticket-exfiltration")
    assert (alone.holds, alone.why) == (False, "support-refund-lookup")


@pytest.mark.parametrize(
    ("decisions", "is_met"),
    [
        ([(0, "allow"), (2, "revoke")], True),
        ([(0, "allow"), (3, "revoke")], True),
        ([(2, "alert"), (3, "revoke")], True),
        ([(4, "revoke")], False),
        ([(3, "alert")], False),
        ([(1, "alert"), (3, "revoke")], False),
        ([], False),
    ],
)
def test_a_sample_is_caught_as_gravely_and_as_early_as_its_line_says(
    decisions: list[tuple[int, Verdict]], is_met: bool
) -> None:
    outcome = expected()["finance-invoice-iban-swap"]
    assert (outcome.expect, outcome.not_before, outcome.by_call) == ("revoke", 2, 3)
    assert outcome.is_met(decisions) is is_met


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled release in a folder of its own."""
    place = tmp_path / "ours"
    shutil.copytree(registry.BUNDLED, place)
    shutil.copy(POLICY, place)
    return place


def test_the_bundled_release_passes_every_gate_beside_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(gates.time, "perf_counter", lambda: next(clock))
    configured = Settings()
    compared = gates.gates(gates.candidate(configured, None), gates.candidate(configured, folder))
    assert [gate.name for gate in compared if not gate.holds] == []
    suites = registry.read_manifest(registry.BUNDLED)["metrics"]["by_suite"]
    assert sum(gate.name.startswith("found of") for gate in compared) == len(suites) == 5


@pytest.mark.parametrize(("times", "holds"), [(1.4, True), (1.6, False)])
def test_a_release_may_grow_by_half(folder: Path, times: float, holds: bool) -> None:
    configured = Settings()
    champion, challenger = gates.candidate(configured, None), gates.candidate(configured, folder)
    had = gates._bytes(None)
    (folder / "more").write_bytes(b"0" * round((times - 1) * had))
    assert gates._size(champion, challenger).holds is holds


def cpu_gate(folder: Path, monkeypatch: pytest.MonkeyPatch, rounds: list[tuple[float, float]]) -> Gate:
    """The gate by CPU where the rounds take each side so many seconds a file; it may ask for no more rounds than these."""
    now = [0.0]
    n_files = len(gates._samples())
    turns = iter([seconds for each in rounds for _ in range(n_files) for seconds in each])

    def told(*_: Any) -> dict[str, int]:
        now[0] += next(turns)
        return {}

    monkeypatch.setattr(gates.time, "process_time", lambda: now[0])
    monkeypatch.setattr(gates, "_decided", told)
    configured = Settings()
    champion, challenger = gates.candidate(configured, None), gates.candidate(configured, folder)
    (gate,) = (each for each in gates._on_samples(champion, challenger) if each.name.startswith("µs"))
    assert next(turns, None) is None, "fewer rounds than said"
    return gate


def test_an_event_may_take_half_as_much_cpu_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_gate(folder, monkeypatch, [(1.0, 1.4)] * gates.ROUNDS).holds
    assert not cpu_gate(folder, monkeypatch, [(1.0, 1.6)] * gates.MOST_ROUNDS).holds


def test_a_machine_at_other_work_makes_no_release_slow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [(1.0, 2.0)] * (gates.ROUNDS + 1)
    assert cpu_gate(folder, monkeypatch, [*busy, (1.1, 1.2)]).holds
