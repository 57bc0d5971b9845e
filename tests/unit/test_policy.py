"""The policy file: what is refused, and with which words."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.errors import ConfigError
from stream.cli.main import app
from stream.cli.verifying import SOON_DAYS, ending_exceptions
from stream.policy import Credentials, Levels, Limits, levels, load_policy, parse_policy, read_policy
from stream.signals.registry import BY_ID
from tests import builders as b

SHIPPED = (Path(__file__).parents[2] / "stream" / "policy.yaml").read_text(encoding="utf-8")

EXCEPTION = (
    "{broker: forge, kind: pat, value: docs-bot, owner: docs, reason: no app yet, expires: 2026-06-30}"
)
LEAST = "version: 1\nname: x\nmode: shadow\nthresholds: {watch: 0.1, alert: 0.2, revoke: 0.3}\n"
OLDEST = "d9362e785d42"
"""Digest of a policy of required parts alone, noted: what decisions of it were signed and chained under."""


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.split("\n"), 1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "mend"),
    [
        ("mode: shadow", "mode: maybe", "'shadow' or 'enforce'"),
        ("  revoke: 2", "  revoke: 1", "greater than or equal to 2"),
        ("  watch: {budget: 0.05}", "  watch: {budget: 5}", "less than 1"),
        ("  watch: {budget: 0.05}", "  watch: 1.5", "thresholds.watch"),
        ("loop_calls: 5", "lop_calls: 5", "correct its name"),
        ("  tempo.loop: watch", "  tempo.lop: watch", "unknown signal tempo.lop"),
        ("  tempo.loop: watch", "  tempo.loop: revoke", "'deny'"),
        ("  content.talks_to_agent: watch", "  content.talks_to_agent: alert", "write watch or none"),
        ("  sub_agents: 256 ", "  sub_agents: many ", "limits.sub_agents: expected a whole number"),
        ("tools: {}", "tools: {reconcile: destroy}", "'execute'"),
        ("sensitive: {}", "sensitive: {reconcile: quite}", "sensitive.reconcile: expected true or false"),
        ("modes: []", "modes: [{mode: enforce}]", "names a tenant, an agent or both"),
        ("modes: []", "modes: [{agent: a, mode: loud}]", "'shadow' or 'enforce'"),
        (
            "modes: []",
            "modes: [{agent: a, mode: shadow}, {agent: a, mode: enforce}]",
            "modes: two rows are for",
        ),
        (
            "modes: []",
            "modes: ~",
            "modes: is empty; expected a list; write [] for none, or leave the line away",
        ),
        ("tools: {}", "tools: ~", "tools: is empty; expected a mapping; write {} for none, or leave"),
        ("tools: {}", "tools: {7: read}", "tools.7: expected a text; put it in quotes"),
        ("tools: {}", "tools: read", "tools: expected a mapping"),
        ("loop_calls: 5", "loop_calls: ~", "loop_calls: is empty; expected a whole number"),
        (
            "  watch: {budget: 0.05}",
            "  watch: ~",
            "watch: is empty; expected a number from 0 to 1, or a budget",
        ),
        ("  watch: {budget: 0.05}", "  watch: {budgt: 0.05}", "watch.budgt: no such setting; remove it or"),
        ("  tombstones: 200000 ", "  tombstones: 99999999999999999999 ", "equal to 9007199254740992"),
        ("  idle_minutes: 60 ", "  idle_minutes: .inf ", "idle_minutes: it should be a finite number"),
        ("tools: {}", "attestations: {bound: true}", "bound has no effect where no attestation is required"),
        ("  demo: {jti: revoke}", "  demo: {jti: kill}", "'revoke', 'release' or 'nothing'"),
        ("  demo: {jti: revoke}", "  demo: [jti]", "ends.demo: "),
    ],
)
def test_an_invalid_policy_is_refused_with_its_line_and_the_mend(old: str, new: str, mend: str) -> None:
    assert SHIPPED.count(old) == 1
    text = SHIPPED.replace(old, new)
    with pytest.raises(ConfigError) as refused:
        parse_policy(text, "mine.yaml")
    said = str(refused.value)
    assert f"mine.yaml, line {line_of(text, new)}:" in said
    assert mend in said
    assert not [bare for bare in ("Value error", "Input should", "\n") if bare in said]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "mode: [", "a: b: c", "\tmode: shadow", "7"])
def test_a_file_that_is_no_policy_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml, line \d+:"):
        parse_policy(text, "mine.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [("tools: {a: read, a: write}\n", 1), ("data_classes: {payroll: [salary_lookup]}\n", 129)],
)
def test_what_stands_twice_is_refused_and_not_lost(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"line {line}: .* already; make one of the two"):
        parse_policy(text + read_policy()[0], "p.yaml")


def test_a_policy_without_a_required_part_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 1: thresholds: "):
        parse_policy("version: 1\nname: x\nmode: shadow\n", "mine.yaml")


def test_what_is_wrong_inside_a_list_is_refused_with_its_own_line() -> None:
    text = f"{SHIPPED}task_credentials:\n  demo:\n    - jti\n    - [lease]\n"
    with pytest.raises(ConfigError, match=rf"line {line_of(text, '- [lease]')}: task_credentials\.demo\.1: "):
        parse_policy(text, "mine.yaml")


def test_what_is_no_yaml_is_refused_where_it_breaks_and_without_a_line_where_nothing_tells() -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 3: not YAML"):
        parse_policy("version: 1\nname: x\n  mode: shadow\n", "mine.yaml")
    with pytest.raises(ConfigError, match=r"^mine\.yaml: not YAML: "):
        parse_policy("name: \x07\n", "mine.yaml")


def test_a_date_that_is_none_is_refused_as_one() -> None:
    rules = EXCEPTION.replace("2026-06-30", "2026-06-31")
    with pytest.raises(
        ConfigError, match=r"^mine\.yaml: a date or a number in it is none: day is out of range"
    ):
        parse_policy(f"{SHIPPED}\ncredentials: {{exceptions: [{rules}]}}\n", "mine.yaml")


def test_limits_at_their_bounds_are_limits_still() -> None:
    names = (
        "idle_minutes",
        "tombstone_hours",
        "tombstones",
        "open_sessions",
        "open_mib",
        "clock_skew_seconds",
    )
    bound = Limits(**dict.fromkeys(names, 2**53))
    run = b.play([b.declared("s"), b.called("s", 1), b.ended("s", 2)], bundled=b.release(**dict(bound)))
    assert (len(run.decisions), run.quarantined) == (1, [])
    assert run.judge.next_deadline(run.partition) is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "none.yaml")


def test_the_digest_of_a_policy_changes_with_its_content_and_not_with_its_comments() -> None:
    plain = parse_policy(SHIPPED, "a")
    assert parse_policy("# more\n" + SHIPPED, "b").digest == plain.digest
    assert parse_policy(SHIPPED.replace("loop_calls: 5", "loop_calls: 6"), "c").digest != plain.digest


@pytest.mark.parametrize(
    ("at_its_default", "otherwise"),
    [
        ("sensitive: {}", "sensitive: {reconcile: true}"),
        ("modes: []", "modes: [{agent: a, mode: enforce}]"),
        ("revocations: {confirm_minutes: null}", "revocations: {confirm_minutes: 5}"),
        ("revocations: {overall: null}", "revocations: {overall: 100}"),
        ("alerts_a_day: null", "alerts_a_day: 200"),
        ("task_credentials: {}", "task_credentials: {vault: [lease]}"),
        ("ends: {}", "ends: {vault: {lease: revoke}}"),
        ("ends: {vault: {lease: release}}", "ends: {vault: {lease: nothing}}"),
        ("signatures: {required: false}", "signatures: {required: true}"),
        ("credentials: {longest_minutes: {}}", "credentials: {longest_minutes: {sensitive: 30}}"),
        ("credentials: {exceptions: []}", f"credentials: {{exceptions: [{EXCEPTION}]}}"),
        ("credentials: {scopes: {}}", "credentials: {scopes: {forge: {read: [look]}}}"),
        # Without lists of scopes that signal never speaks, whatever it may lead to.
        ("signals: {identity.credential_beyond_scope: deny}", "signals: {identity.credential_expired: deny}"),
        (f"limits: {{open_mib: {Limits().open_mib}}}", "limits: {open_mib: 77}"),
    ],
)
def test_a_field_counts_in_the_digest_only_where_it_is_not_at_its_default(
    at_its_default: str, otherwise: str
) -> None:
    """So that an upgrade, which brings fields, renames no policy that says nothing of them."""
    digest = parse_policy(LEAST, "a").digest
    assert digest == OLDEST
    assert parse_policy(LEAST + at_its_default, "b").digest == digest
    assert parse_policy(LEAST + otherwise, "c").digest != digest


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        # Noted before there was `ends`: decisions of such policies were chained under them, and releases signed.
        ("task_credentials: {vault: [token, lease], demo: [jti]}", "cc409785fdd8"),
        ("task_credentials: {vault: []}", "6fb1d6ed4043"),
    ],
)
def test_a_policy_of_the_older_spelling_is_the_one_it_was(text: str, digest: str) -> None:
    assert parse_policy(LEAST + text, "a").digest == digest


@pytest.mark.parametrize(
    "ends",
    [
        "ends: {demo: {jti: revoke}, vault: {lease: revoke}}",
        "ends: {vault: {lease: revoke, token: release}, demo: {jti: revoke}}",
        "ends: {vault: {lease: revoke}}\ntask_credentials: {demo: [jti], vault: [lease]}",
    ],
)
def test_one_meaning_of_an_end_is_one_policy_however_it_is_spelled(ends: str) -> None:
    older = parse_policy(f"{LEAST}task_credentials: {{demo: [jti], vault: [lease]}}", "a")
    assert parse_policy(LEAST + ends, "b").digest == older.digest


def test_what_the_end_of_a_session_means_is_said_by_broker_and_kind_and_else_it_releases() -> None:
    text = "ends: {vault: {lease: revoke, token: nothing, pki: release}}\ntask_credentials: {demo: [jti]}"
    said = parse_policy(LEAST + text, "a")
    assert [said.at_end("vault", kind) for kind in ("lease", "token", "pki", "jti")] == [
        "revoke",
        "nothing",
        "release",
        "release",
    ]
    assert (said.at_end("demo", "jti"), said.at_end("demo", "lease")) == ("revoke", "release")
    assert load_policy().at_end("demo", "jti") == "revoke"


@pytest.mark.parametrize("end", ["release", "nothing"])
def test_two_words_on_one_kind_are_refused_where_the_younger_one_stands(end: str) -> None:
    text = f"{LEAST}task_credentials: {{vault: [token, lease]}}\nends:\n  vault:\n    token: revoke\n    lease: {end}\n"
    with pytest.raises(ConfigError) as refused:
        parse_policy(text, "mine.yaml")
    assert str(refused.value).startswith(
        f"mine.yaml, line 9: ends.vault.lease: {end} here, but revoke by task_credentials"
    )
    assert "strike the kind from one of them" in str(refused.value)


@pytest.mark.parametrize(
    ("credentials", "at", "mend"),
    [
        ("{longest_minutes: {secret: 5}}", "longest_minutes.secret", "correct its name"),
        ("{longest_minutes: {other: 0}}", "longest_minutes.other", "greater than 0"),
        (
            f"{{exceptions: [{EXCEPTION.replace('owner: docs, ', '')}]}}",
            "exceptions.0.owner",
            "is missing; add it",
        ),
        (
            f"{{exceptions: [{EXCEPTION.replace('2026-06-30', 'never')}]}}",
            "exceptions.0.expires",
            "expected a date",
        ),
        ("{scopes: {forge: [read]}}", "scopes.forge", "expected a mapping"),
    ],
)
def test_what_is_wrong_with_credentials_is_refused_with_its_place(
    credentials: str, at: str, mend: str
) -> None:
    with pytest.raises(ConfigError, match=rf"line {SHIPPED.count(chr(10)) + 1}: credentials\.{at}: .*{mend}"):
        parse_policy(f"{SHIPPED}credentials: {credentials}\n", "mine.yaml")


@pytest.mark.parametrize(
    ("revocations", "said"),
    [
        ("tenant: 50\n  overall: 90", "overall is 90 and tenant 50; overall must be at least twice tenant"),
        ("tenant: null\n  overall: 90", "overall takes a number for tenant"),
    ],
)
def test_an_overall_budget_that_one_tenant_could_use_up_is_refused_with_both_figures(
    revocations: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_policy(SHIPPED.replace("tenant: 50\n  overall: null", revocations), "mine.yaml")


def test_a_part_of_a_policy_is_told_to_be_one_and_a_misspelt_part_is_told_first() -> None:
    with pytest.raises(
        ConfigError, match=r"mine\.yaml is a part of a policy: it has no version, .*no thresholds"
    ):
        parse_policy("mode: enforce\n", "mine.yaml")
    with pytest.raises(ConfigError, match=r"line 2: treshold: no such setting"):
        parse_policy("mode: enforce\ntreshold: {}\n", "mine.yaml")


def test_exceptions_that_ran_out_or_soon_will_are_told_with_who_answers_for_them() -> None:
    calls = "{agent: a, tool: t, lets_pass: [intent.grave_act], owner: ada, reason: r, expires: 2026-06-30}"
    rules = parse_policy(
        f"{SHIPPED}credentials: {{exceptions: [{EXCEPTION}]}}\nexpected_calls: [{calls}]\n", "mine.yaml"
    )
    last = date(2026, 6, 30)
    assert ending_exceptions(rules, last - timedelta(SOON_DAYS + 1)) == []
    for before, said in ((SOON_DAYS, "in 30 days"), (0, "in 0 days"), (-1, "ran out on 2026-06-30")):
        texts = ending_exceptions(rules, last - timedelta(before))
        assert all(said in text for text in texts)
        assert "forge pat docs-bot (owner docs)" in texts[0]
        assert "expected of a with t (owner ada)" in texts[1]


def test_the_command_says_which_exceptions_ran_out_and_the_policy_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    old = EXCEPTION.replace("2026", "2020")
    file.write_text(f"{SHIPPED}credentials: {{exceptions: [{old}]}}\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["verify", "policy", str(file)])
    assert done.exit_code == 0
    assert done.stdout.startswith("valid, ")
    assert "ran out on 2020-06-30" in done.stderr


def test_the_example_of_credentials_in_the_shipped_policy_is_one() -> None:
    lines = SHIPPED.split("\n")
    begin = lines.index("# credentials:")
    block = [line[2:] for line in lines[begin : lines.index("", begin)]]
    text = "\n".join(block) + "\n"
    rules = parse_policy(SHIPPED + text, "mine.yaml").credentials
    assert rules.longest_ms(sensitive=True) == 30 * 60_000
    assert rules.exceptions
    assert rules.needed("forge", "commit_file") == {"repo:write"}


def test_the_shipped_policy_starts_in_shadow_and_names_every_signal() -> None:
    shipped = load_policy()
    assert shipped.mode == "shadow"
    assert set(shipped.signals) == set(BY_ID)


def test_thresholds_are_numbers_or_budgets_that_the_model_maps() -> None:
    mixed = parse_policy(SHIPPED.replace("  watch: {budget: 0.05}", "  watch: 0.25"), "a")
    assert levels(mixed, lambda budget: round(9000 - budget * 1000)) == Levels(2500, 8990, 8999)


def test_thresholds_that_do_not_rise_are_refused() -> None:
    falling = parse_policy(SHIPPED.replace("  watch: {budget: 0.05}", "  watch: 0.95"), "a")
    with pytest.raises(ConfigError, match="must rise from watch to alert to revoke"):
        levels(falling, lambda budget: round(9000 - budget * 1000))


def test_lists_whose_signal_leads_to_nothing_are_told() -> None:
    listed = {
        "data_classes": {"payroll": ["salary_lookup"]},
        "credentials": Credentials(scopes={"b": {"s": ["t"]}}),
    }
    policy = load_policy().model_copy(update=listed)
    assert (load_policy().silenced, policy.silenced) == ([], [])
    silent = policy.model_copy(update={"signals": {"scope.data_class_not_allowed": "none"}})
    assert silent.silenced == ["scope.data_class_not_allowed", "identity.credential_beyond_scope"]


def test_the_order_of_tools_in_a_class_of_data_is_no_other_policy() -> None:
    one, other = ({"payroll": names} for names in (["a", "b"], ["b", "a", "a"]))
    digests = {load_policy().model_copy(update={"data_classes": each}).digest for each in (one, other)}
    assert len(digests) == 1
    assert load_policy().digest not in digests
