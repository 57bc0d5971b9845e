"""deploy/siem: every Sigma rule converts for each SIEM, matches a record that the judge really made, and no honest session's."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from joserfc.jwk import ECKey
from sigma.backends.elasticsearch import ESQLBackend, LuceneBackend
from sigma.backends.kusto import KustoBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.backends.splunk import SplunkBackend
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

from models.contracts import Decision
from stream.events import ALERTS, DECISIONS, dumps
from stream.offline.replay import run_replay
from stream.outbound.act import Actor
from stream.settings import Settings
from tests.unit.test_containment import KEYS, at, outcome, revoked
from tests.unit.test_samples import SAMPLES, expected

ROOT = Path(__file__).parents[2]
SIEM = ROOT / "deploy" / "siem"
RULES = sorted((SIEM / "sigma").glob("*.yml"))
TOPICS = {"decisions": DECISIONS, "alerts": ALERTS}
HONEST = {"benign", "asked", "delegated"}
Json = dict[str, Any]
Values = dict[str, list[Any]]


def rules_in(path: Path) -> list[SigmaRule | SigmaCorrelationRule]:
    return list(SigmaCollection.load_ruleset([path]).rules)


def told(path: Path) -> SigmaRule | SigmaCorrelationRule:
    """The rule of a file that raises something; one that it only counts stands before it."""
    return rules_in(path)[-1]


def pipeline(name: str) -> ProcessingPipeline:
    return ProcessingPipeline.from_yaml((SIEM / "pipelines" / f"{name}.yml").read_text(encoding="utf-8"))


# ------------------------------------------------------------------ records, as `replay --all` makes them


def lines_of(*names: str) -> list[Json]:
    """The events of samples whose files begin so; all of them without a name."""
    files = [path for path in sorted(SAMPLES.glob("*.jsonl")) if not names or path.name.startswith(names)]
    return [orjson.loads(line) for path in files for line in path.read_bytes().splitlines()]


def renamed(events: Iterable[Json], run: str) -> list[Json]:
    """The same sessions under other ids, as ``driftline send --as`` names them."""
    ids = ("id", "session_id", "root_session_id", "parent_session_id", "call_id")
    return [{k: f"{run}{v}" if k in ids else v for k, v in event.items()} for event in events]


def replayed(place: Path, events: Iterable[Json], mode: str = "enforce", **settings: Any) -> list[Json]:
    """What ``driftline replay --all`` writes of `events`."""
    file = place / "events.jsonl"
    file.write_bytes(
        b"".join(orjson.dumps(event) + b"\n" for event in events)
    )  # in the order of the sample's own keys
    out = io.StringIO()
    run_replay([file], True, None, Settings(state_dir=place, **settings), out, mode=mode)
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def declared_without_signature(place: Path) -> list[Json]:
    policy, keys = place / "policy.yaml", place / "keys.json"
    shipped = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")
    policy.write_text(f"{shipped}\nsignatures: {{required: true}}\n", encoding="utf-8")
    key = ECKey.generate_key("P-256", {"kid": "host"}).as_dict(private=False)
    keys.write_text(json.dumps({"acme": {"keys": [key]}}), encoding="utf-8")
    return replayed(place, lines_of("01"), policy_path=policy, declaration_jwks=keys)


def goes_on_after_its_end(place: Path) -> list[Json]:
    events = lines_of("01")
    call = next(event for event in events if event["type"] == "tool.called")
    late = {**call, "id": "late", "call_id": "late", "seq": len(events), "time": events[-1]["time"]}
    return replayed(place, [*events, late])


def uses_an_ended_task_s_credential(place: Path) -> list[Json]:
    first, second = lines_of("01"), renamed(lines_of("01"), "next-")
    return replayed(place, [*first, *second])


def declares_what_the_contract_refuses(place: Path) -> list[Json]:
    events = lines_of("01")
    return replayed(place, [{**events[0], "intent": {"text": 7}}, *events[1:]])


def reuses_a_number(place: Path) -> list[Json]:
    events = lines_of("01")
    call = next(event for event in events if event["type"] == "tool.called")
    other = {**call, "call_id": "other", "arguments": {"path": "/etc/hosts"}}
    return replayed(place, [*events[:-1], other])


def in_shadow(place: Path) -> list[Json]:
    return replayed(place, lines_of(), mode="shadow")


def shipped(place: Path) -> list[Json]:
    return replayed(place, lines_of())


def more_drift_than_the_budget(place: Path) -> list[Json]:
    """One agent drifts in more sessions than the shipped policy lets be revoked within an hour."""
    return replayed(place, [event for n in range(22) for event in renamed(lines_of("19"), f"{n}-")])


def many_undeclared(place: Path) -> list[Json]:
    return replayed(place, [event for n in range(9) for event in renamed(lines_of("33"), f"{n}-")])


def few_undeclared(place: Path) -> list[Json]:
    return replayed(place, [event for n in range(8) for event in renamed(lines_of("33"), f"{n}-")])


def acts_undeclared(place: Path) -> list[Json]:
    """A sample whose declaration was lost on the way."""
    return replayed(place, [event for event in lines_of("02") if event["type"] != "session.declared"])


def a_broker_that_fails(_: Path) -> list[Json]:
    outputs = Actor(KEYS).act(at((0, revoked()), (0.01, outcome(status="failed", detail="503"))))
    alerts = [orjson.loads(out.value) for out in outputs if out.topic == ALERTS]
    return [{"topic": ALERTS, "value": alert} for alert in alerts if alert.get("class_uid")]


MADE = {
    "alert_critical": (shipped, "finance-invoice-iban-swap"),
    "alert_not_contained": (a_broker_that_fails, "s-0"),
    "alert_provenance": (shipped, "finance-invoice-iban-swap"),
    "alert_revocations_held": (more_drift_than_the_budget, None),
    "decision_abstain": (shipped, "globex-undeclared"),
    "decision_after_end": (goes_on_after_its_end, "support-refund-lookup"),
    "decision_after_revocation": (shipped, "finance-invoice-iban-swap"),
    "decision_credential_expired": (shipped, "cloud-expired-credential"),
    "decision_credential_of_another": (shipped, "cloud-borrowed-credential"),
    "decision_credential_of_ended_task": (uses_an_ended_task_s_credential, "next-support-refund-lookup"),
    "decision_declaration_refused": (declares_what_the_contract_refuses, "support-refund-lookup"),
    "decision_denied_again": (shipped, "support-ticket-exfiltration"),
    "decision_number_reused": (reuses_a_number, "support-refund-lookup"),
    "decision_revoke": (shipped, "finance-invoice-iban-swap"),
    "decision_revoke_in_shadow": (in_shadow, "finance-invoice-iban-swap"),
    "decision_tool_unknown": (shipped, "support-unknown-tool"),
    "decision_undeclared_acting": (acts_undeclared, "finance-month-end-summary"),
    "decision_unsigned": (declared_without_signature, "support-refund-lookup"),
    "several_calls_not_judged": (many_undeclared, None),
    "several_sessions_revoked": (shipped, None),
}
"""For each rule who makes a record that it matches, and the session of that record."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a maker makes, once for the module."""

    @cache
    def records(maker: Any) -> list[Json]:
        return list(maker(tmp_path_factory.mktemp(maker.__name__)))

    return records


# ------------------------------------------------------------------ an evaluator that is none of ours: SQLite


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each scalar of a document with its path; a list gives its members' values one name, as an index does."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flattened(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from flattened(inner, path)
    else:
        yield path, value


def session_of(topic: str, record: Json) -> str | None:
    if topic == DECISIONS:
        return str(record["session_id"])
    return record.get("actor", {}).get("session", {}).get("uid")


def matched(path: Path, records: Iterable[Json]) -> list[Json]:
    """Rows that a rule finds, by the query that pySigma makes of it for SQLite; ``place`` is a record's among `records`."""
    rules = rules_in(path)
    base = next(rule for rule in rules if isinstance(rule, SigmaRule))
    topic = TOPICS[str(base.logsource.service)]
    wanted = {*fields_of(base), "session_id", "tenant"}
    table = sqlite3.connect(":memory:")
    table.row_factory = sqlite3.Row
    columns = [*sorted(wanted), "timestamp", "session", "place"]
    table.execute(f"CREATE TABLE logs ({', '.join(f'`{name}`' for name in columns)})")
    for place, row in enumerate(records):
        if row["topic"] != topic:
            continue
        values: Values = {name: [] for name in wanted}
        for name, value in flattened(row["value"]):
            if name in wanted:
                values[name].append(value)
        # A field of many values matches by any of them: a row for each way to choose. No rule says "not".
        for chosen in product(*(values[name] or [None] for name in sorted(wanted))):
            held = (*chosen, row["value"]["time"], session_of(topic, row["value"]), place)
            table.execute(f"INSERT INTO logs VALUES ({', '.join('?' * len(columns))})", held)
    (query,) = sqliteBackend().convert(SigmaCollection.load_ruleset([path]))
    return [dict(row) for row in table.execute(query)]


def fields_of(rule: SigmaRule) -> set[str]:
    """The fields that a rule's detection asks for."""
    return {
        item.field
        for detection in rule.detection.detections.values()
        for item in detection.detection_items
        if item.field is not None
    }


DECISION_FIELDS = {*Decision.model_fields, "evidence.name", "evidence.family"}


def alert_fields(made: Any) -> set[str]:
    """The paths of all alerts that the samples, and a budget that is used up, lead to."""
    rows = [row for maker in (shipped, more_drift_than_the_budget) for row in made(maker)]
    return {name for row in rows if row["topic"] == ALERTS for name, _ in flattened(row["value"])}


# ------------------------------------------------------------------ the tests


@pytest.mark.slow
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_matches_a_record_that_the_judge_made(path: Path, made: Any) -> None:
    maker, session = MADE[path.stem]
    found = matched(path, made(maker))
    assert found
    if session is not None:
        assert session in {row["session"] for row in found}


@pytest.mark.slow
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_matches_nothing_of_an_honest_session(path: Path, made: Any) -> None:
    honest = {name for name, row in expected().items() if row["kind"] in HONEST}
    assert len(honest) >= 17
    for maker in (shipped, in_shadow):
        own = [
            row
            for row in made(maker)
            if row["topic"] in TOPICS.values() and session_of(row["topic"], row["value"]) in honest
        ]
        assert len(own) > 50
        assert matched(path, own) == []


@pytest.mark.slow
def test_eight_undeclared_sessions_are_no_burst_and_two_revoked_ones_no_wave(made: Any) -> None:
    assert matched(SIEM / "sigma" / "several_calls_not_judged.yml", made(few_undeclared)) == []
    two = [
        row
        for row in made(shipped)
        if row["topic"] == DECISIONS
        and row["value"]["session_id"] in ("finance-invoice-iban-swap", "support-unknown-tool")
    ]
    assert matched(SIEM / "sigma" / "several_sessions_revoked.yml", two) == []


@pytest.mark.slow
def test_the_evaluator_tells_a_rule_that_matches_everything_from_one_that_matches_nothing(
    tmp_path: Path, made: Any
) -> None:
    source = yaml.safe_load((SIEM / "sigma" / "decision_revoke.yml").read_text(encoding="utf-8"))
    decisions = [row for row in made(shipped) if row["topic"] == DECISIONS]
    for verdict, count in (("no such verdict", 0), ("*", len(decisions))):
        source["detection"]["selection"] = {"verdict": verdict}
        (tmp_path / "rule.yml").write_text(yaml.safe_dump(source), encoding="utf-8")
        assert len(matched(tmp_path / "rule.yml", decisions)) == count


@pytest.mark.slow
def test_lucene_finds_the_rows_that_sqlite_finds(lucene_jars: str, made: Any) -> None:
    """What Elasticsearch and OpenSearch are sent, read by the parser that both build on, over the same records."""
    rows = [row for maker, _ in set(MADE.values()) for row in made(maker) if row["topic"] in TOPICS.values()]
    paths = [path for path in RULES if isinstance(told(path), SigmaRule)]
    wanted = sorted({field for path in paths for rule in rules_in(path) for field in fields_of(rule)})
    sent = []
    for row in rows:
        # A rule is sought in the index of its topic: here the topic is a field beside the others.
        values = [("topic", row["topic"]), *flattened(row["value"])]
        words = [
            (name, dumps(value).decode().strip('"')) for name, value in values if name in (*wanted, "topic")
        ]
        sent.append("\t".join(part for pair in words for part in pair))
    for path in paths:
        topic = TOPICS[str(told(path).logsource.service)]
        for backend in (LuceneBackend(pipeline("elastic")), OpensearchLuceneBackend()):
            (query,) = backend.convert(SigmaCollection.load_ruleset([path]))
            sent.append(f"?\ttopic:{topic} AND ({query})")
    command = ["java", "-cp", lucene_jars, str(ROOT / "tests" / "Lucene.java")]
    done = subprocess.run(command, input="\n".join(sent), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = iter(done.stdout.split("\n"))
    for path in paths:
        for _ in range(2):
            by_lucene = {int(number) for number in next(answers).split()}
            assert by_lucene == {row["place"] for row in matched(path, rows)}, path.stem


def test_each_rule_has_a_record_that_it_matches_and_a_name_that_is_its_file_s() -> None:
    assert {path.stem for path in RULES} == set(MADE)
    assert [path.stem for path in RULES if told(path).name != path.stem] == []


def test_the_rules_satisfy_pysigma_s_validators() -> None:
    everything = [rule for path in RULES for rule in rules_in(path)]
    # These two fetch MITRE's data from the network when they are made.
    checks = {check for name, check in validators.items() if name not in {"attacktag", "d3_fendtag"}}
    issues = SigmaValidator(checks).validate_rules(iter(everything))
    assert [str(issue) for issue in issues] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_asks_for_fields_that_records_have(path: Path, made: Any) -> None:
    base = next(rule for rule in rules_in(path) if isinstance(rule, SigmaRule))
    asked = fields_of(base) | set(told(path).fields if isinstance(told(path), SigmaRule) else ())
    known = DECISION_FIELDS if base.logsource.service == "decisions" else alert_fields(made)
    assert asked - known == set()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_rule_negates_since_a_list_would_then_match_by_its_other_members(path: Path) -> None:
    for rule in rules_in(path):
        if isinstance(rule, SigmaRule):
            assert not any(" not " in f" {condition} " for condition in rule.detection.condition)


def queries() -> Iterator[tuple[str, Path, Any]]:
    """For each SIEM and rule its backend; OpenSearch and Sentinel have no correlations in pySigma."""
    for path in RULES:
        correlates = isinstance(told(path), SigmaCorrelationRule)
        yield "splunk", path, SplunkBackend(pipeline("splunk"))
        if correlates:
            yield "elastic", path, ESQLBackend(pipeline("elastic"))
        else:
            yield "elastic", path, LuceneBackend(pipeline("elastic"))
            yield "opensearch", path, OpensearchLuceneBackend()
            yield "sentinel", path, KustoBackend(pipeline("sentinel"))


@pytest.mark.parametrize(
    ("siem", "path", "backend"), [pytest.param(*row, id=f"{row[0]}-{row[1].stem}") for row in queries()]
)
def test_a_rule_becomes_one_query_of_each_siem(siem: str, path: Path, backend: Any) -> None:
    (query,) = backend.convert(SigmaCollection.load_ruleset([path]))
    if siem == "splunk":
        assert query.startswith('index="driftline" sourcetype="driftline:')
        assert "marks=" not in query
        assert "evidence.name=" not in query
    elif siem == "sentinel":
        assert query.startswith(("DriftlineDecisions_CL\n| where ", "DriftlineAlerts_CL\n| where "))
        assert "=~ true" not in query
        assert "=~ false" not in query
        assert "'" not in query  # to the backend a path is a piece of text, which equals nothing
    elif isinstance(backend, ESQLBackend):
        assert query.startswith("from driftline-decisions ")


# ------------------------------------------------------------------ the page

PAGE = (ROOT / "docs" / "siem.md").read_text(encoding="utf-8")


def test_the_page_lists_every_rule_with_its_level() -> None:
    listed = re.findall(r"^\| `((?:alert|decision|several)_\w+)` \| (\w+) \|", PAGE, re.M)
    assert listed == [(path.stem, str(told(path).level).lower()) for path in RULES]


@pytest.mark.slow
def test_the_page_maps_fields_that_records_have(made: Any) -> None:
    table = PAGE.split("| what | alert (OCSF) | decision |", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert len(rows) > 15
    for place, known in ((1, alert_fields(made)), (2, DECISION_FIELDS)):
        named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[place])}
        assert named - known == set()


@pytest.mark.slow
def test_the_page_s_searches_ask_for_fields_that_records_have(made: Any) -> None:
    searches = [
        line for block in re.findall(r"^```\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
    ]
    searches = [
        line
        for line in searches
        if "from driftline-" in line or "=driftline-" in line or "_CL" in line or "index=driftline" in line
    ]
    assert len(searches) == 16
    dotted = {name for line in searches for name in re.findall(r"\b[a-z]\w*(?:\.\w+)+\b", line)}
    assert dotted - alert_fields(made) == set()
    for line in searches:
        if "alerts" not in line and "Alerts" not in line:
            compared = set(re.findall(r'\b(\w+) ?={1,2} ?(?:"|true|false|revoke)', line))
            assert compared - DECISION_FIELDS == set()


@pytest.mark.slow
def test_an_alert_s_top_time_is_the_only_one_that_splunk_s_prefix_meets(made: Any) -> None:
    rows = [row for row in made(shipped) if row["topic"] in TOPICS.values()]
    for row in rows:
        text = dumps(row["value"]).decode()
        if row["topic"] == ALERTS:
            assert re.findall(r'"time":(\d+)', text) == [str(row["value"]["time"])]
        else:
            assert re.search(r'"time":"([^"]+)"', text)[1] == row["value"]["time"]
