"""The documents say what the code does."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import pytest
from joserfc.jwk import KeySet, RSAKey
from typer.testing import CliRunner

from models.contracts import Outcome, Standing
from stream import bootstrap
from stream.cli.main import app
from stream.core import decisions, refusals, take_call
from stream.core.items import Mark
from stream.core.judge import Judge
from stream.events import DECISIONS, OUTCOMES, REVOCATIONS
from stream.offline.files import read_records
from stream.offline.replay import replay
from stream.outbound.act import Actor
from stream.outbound.claims import CREDENTIALS_RELEASED, default_audience
from stream.outbound.keys import SigningKeys
from stream.outbound.tokens import verify_token
from stream.policy import load_policy
from stream.settings import Settings
from stream.shell.topic_table import DAY_MS, topic_table
from stream.signals.registry import BY_ID

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
PAGES = [*sorted(DOCS.glob("*.md")), *ADRS, ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
PROSE = [*PAGES, ROOT / "corpora" / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]
LONGEST = 40
"""Words of a sentence, at most."""
KEY = b"key"


def written(page: Path) -> str:
    """A page's text without its blocks of code, which hold neither links nor headings."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def section(page: Path, heading: str) -> str:
    return written(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def anchors(text: str) -> set[str]:
    """What GitHub calls a page's headings: small letters, no punctuation, hyphens for blanks, repeats numbered."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", text, re.M):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # of a link its words
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of `text`, as it would stand in `page`, whose file or heading is not there."""
    dead = []
    for link in re.findall(r"\]\((?![a-z][a-z+.-]*:)([^)\s]+)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if path and not target.exists():
            dead.append(link)
        elif anchor and target.suffix == ".md":
            heading = anchors(text if target == page else written(target))
            dead += [] if anchor in heading else [link]
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    assert dead_links(page, written(page)) == []


def test_a_link_to_a_file_or_heading_that_is_not_there_is_found() -> None:
    text = "# Here, `now`\n## Twice\n## Twice\n"
    assert anchors(text) == {"here-now", "twice", "twice-1"}
    good = (
        "[a](#here-now) [b](#twice-1) [c](security.md#rights) [d](https://example.com/#y) [e](../README.md)"
    )
    bad = ["#twice-2", "none.md", "security.md#right"]
    wrong = " ".join(f"[x]({link})" for link in bad)
    assert dead_links(DOCS / "new.md", text + good + wrong) == bad


def prose_of(page: Path) -> str:
    """What a page says: of a notebook the text between its cells of code."""
    if page.suffix != ".ipynb":
        return written(page)
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def paragraphs(text: str) -> list[str]:
    """Paragraphs and items of lists, each on one line; without headings, tables, pictures, marks and indented code."""
    found: list[str] = []
    begins = True
    for line in text.splitlines():
        bare = line.strip()
        item = re.match(r"(?:[-*]|\d+\.) ", bare)
        if (
            not bare
            or bare.startswith(("|", "#", "![", "<!--"))
            or (begins and not item and line[:4] == "    ")
        ):
            begins = True
        elif begins or item:
            found.append(bare[item.end() :] if item else bare)
            begins = False
        else:
            found[-1] += f" {bare}"
    return found


def long_sentences(text: str) -> list[str]:
    """Sentences of more than `LONGEST` words; a link counts for its words alone."""
    shown = (re.sub(r"\]\([^)]*\)", "]", paragraph) for paragraph in paragraphs(text))
    ends = re.compile(r"(?<=[.!?])[\"”)*_]*\s+(?=[\"“(\[]*(?:[A-Z0-9`]|[*_]+\w))")
    sentences = (sentence for paragraph in shown for sentence in ends.split(paragraph))
    return [
        one for one in sentences if len([word for word in one.split() if re.search(r"\w", word)]) > LONGEST
    ]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_no_sentence_of_a_page_is_longer_than_forty_words(page: Path) -> None:
    assert long_sentences(prose_of(page)) == []


def test_a_sentence_that_is_too_long_is_found_and_code_and_tables_are_none() -> None:
    words = " ".join(["Word"] * LONGEST)
    long = f"One {words}."
    assert long_sentences(f"{words}. {words}") == []
    assert long_sentences(f"# {long}\n\n| {long} |\n\n    {long}\n") == []
    assert long_sentences(f"Short.\n\n- {long} Short.\n- Short.\n") == [long]
    assert long_sentences(f"Of two lines:\n    {words}") == [f"Of two lines: {words}"]


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.name)
def test_a_decision_has_context_decision_price_and_what_holds_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "Consequences", "Held by"]
    assert "**Price:**" in text
    assert len(text.splitlines()) <= 60
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert not [test for test in named if not (ROOT / test).is_file()]


def test_the_storage_table_is_the_table_of_topics() -> None:
    settings = Settings()
    rows = re.findall(
        r"^\| `([\w.]+)`[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|",
        (DOCS / "storage.md").read_text(encoding="utf-8"),
        re.M,
    )
    told = {base: (key, partitions, kept.split(":")[0]) for base, key, partitions, kept in rows}
    assert told == {
        topic.base: (
            topic.key,
            "1" if topic.partitions == 1 else "P",
            "compacted" if topic.compacted else f"{topic.retention_ms // DAY_MS} days",
        )
        for topic in topic_table(settings)
    }


def test_contributing_gives_the_reason_of_every_module() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = [path for package in ("models", "stream") for path in (ROOT / package).glob("*.py")]
    missing = [f"{m.parent.name}/{m.name}" for m in modules if m.name != "__init__.py"]
    assert not [name for name in missing if f"`{name}`" not in text]


def test_the_readme_shows_four_lines_and_the_decision_that_they_lead_to(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines, shown = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    assert lines == (DOCS / "first.jsonl").read_text(encoding="utf-8")
    outputs = replay(read_records(DOCS / "first.jsonl"), bootstrap.judge(Settings(), mode="enforce"))
    decisions = [json.loads(output.value) for output in outputs if output.topic == DECISIONS]
    assert [decision["verdict"] for decision in decisions] == ["allow", "revoke"]
    assert json.loads(shown).items() <= decisions[-1].items()
    (wider,) = re.findall(r'Had the user asked "([^"]+)", the call would pass', text)
    asked = tmp_path / "asked.jsonl"
    asked.write_text(lines.replace("Summarise the invoices in my inbox.", wider), encoding="utf-8")
    outputs = replay(read_records(asked), bootstrap.judge(Settings(), mode="enforce"))
    verdicts = [json.loads(output.value)["verdict"] for output in outputs if output.topic == DECISIONS]
    assert verdicts == ["allow", "allow"]
    assert len(text.splitlines()) <= 120


def test_the_page_of_imports_shows_what_its_transcript_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "import.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    (command,) = re.findall(r"^    driftline (import docs/.*)$", text, re.M)
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0
    assert done.stderr + done.stdout == shown
    assert "revoke" in shown


def test_the_tutorial_tells_what_a_reader_sees(tmp_path: Path) -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    judge = bootstrap.judge(Settings(), mode="enforce")

    def decided(path: Path, by: Judge) -> dict[str, Any]:
        values = [o.value for o in replay(read_records(path), by) if o.topic == DECISIONS]
        return dict(json.loads(values[-1]))

    told = decided(DOCS / "first.jsonl", judge)
    assert f"| `score` | {told['score']} |" in text
    assert f"{told['thresholds']['alert']} alert, {told['thresholds']['revoke']} revoke" in text
    assert sum(evidence["supports"] for evidence in told["evidence"]) == 2
    ((before, after),) = re.findall(r"sed 's/([^/]+)/([^/]+)/' docs/first.jsonl", text)
    asked = tmp_path / "asked.jsonl"
    asked.write_text((DOCS / "first.jsonl").read_text().replace(before, after), encoding="utf-8")
    assert decided(asked, judge)["verdict"] == "allow"
    ((old, new),) = re.findall(r"replace `(revoke: [^`]+)` by `(revoke: [^`]+)`", text)
    shipped = (ROOT / "stream" / "policy.yaml").read_text(encoding="utf-8")
    assert shipped.count(old) == 1
    mine = tmp_path / "my-policy.yaml"
    mine.write_text(shipped.replace(old, new), encoding="utf-8")
    changed = decided(DOCS / "first.jsonl", bootstrap.judge(Settings(policy_path=mine), mode="enforce"))
    assert (changed["verdict"], changed["standing"]) == ("alert", "alert")
    assert changed["policy"] != told["policy"]


def test_readme_and_security_name_the_same_settings_before_production() -> None:
    (paragraph,) = re.findall(r"^Set before production.*?\n\n", written(ROOT / "README.md"), re.M | re.S)
    table = written(DOCS / "security.md").split("### Before production\n", 1)[1].split("\n### ", 1)[0]
    rows = re.findall(r"^\| `(DRIFTLINE_\w+)` \|", table, re.M)
    assert sorted(re.findall(r"`(DRIFTLINE_\w+)`", paragraph)) == sorted(rows)
    assert {name.removeprefix("DRIFTLINE_").lower() for name in rows} < {one.name for one in fields(Settings)}


def test_brokers_gives_the_times_that_were_measured() -> None:
    def rows(page: str, heading: str) -> list[list[str]]:
        lines = (line for line in section(DOCS / page, heading).splitlines() if line.startswith("| "))
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    measured = {
        (row[0], row[2].removesuffix(" readable")): [row[4], row[5]]
        for row in rows("performance.md", "Latency")
        if len(row) == 8
    }
    told = rows("brokers.md", "In ten lines")[2:]
    legs = ["bad call to decision", "decision to revocation", "revocation to dead", "bad call to dead"]
    assert [row[1:] for row in told] == [measured["0", leg] + measured["200", leg] for leg in legs]


class Taken(NamedTuple):
    """A record as a receiver's consumer gives it, for a receiver that reads only its value."""

    value: bytes


class Bus(list[Any]):
    """Consumer and producer of the receiver in docs/brokers.md: what is read, and in ``sent`` what is written."""

    def __init__(self, records: list[Taken]) -> None:
        super().__init__(records)
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.committed = 0

    def commit(self) -> None:
        self.committed += 1

    def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
        self.sent.append((topic, key, value))
        return self

    def get(self, timeout: int) -> None:
        assert timeout


def test_the_receiver_in_brokers_takes_our_tokens_once_and_refuses_the_rest() -> None:
    receiving = (DOCS / "brokers.md").read_text(encoding="utf-8").split("\n## A receiver\n")[1]
    (code,) = re.findall(r"^```python\n(.*?)^```", receiving, re.M | re.S)
    receiver: dict[str, Any] = {}
    exec(code, receiver)
    named, development = (
        SigningKeys(text=json.dumps({**RSAKey.generate_key(2048).as_dict(private=True), "kid": kid}))
        for kid in ("k-1", "dev-1")
    )
    settings = Settings()
    sample = read_records(ROOT / "stream" / "samples" / "19-finance-invoice-iban-swap.jsonl")
    outputs = replay(sample, bootstrap.judge(settings, mode="enforce"), Actor(named))
    (token,) = [one.value for one in outputs if one.topic == REVOCATIONS]
    keys = KeySet.import_key_set(cast(Any, named.jwks()))
    whom = (settings.issuer, default_audience("ledger"))
    claims = receiver["accepted"](token, keys, *whom, 0)
    assert claims == verify_token(token, named.jwks(), *whom)
    assert receiver["accepted"](token, keys, settings.issuer, "https://other.example.com", 0) is None

    head, _, seal = token.split(b".")
    forged = b".".join((head, b"e30", seal))
    foreign = development.sign(claims).encode()
    for wrong, now in ((forged, 0), (foreign, 0), (b"\xff", 0), (token, claims["iat"] + 46 * 86_400)):
        with pytest.raises(receiver["Refused"]):
            receiver["accepted"](wrong, keys, *whom, now)
    event = {
        "driftline_released": [{"broker": "ledger", "kind": "lease", "value": "l-1"}],
        "event_timestamp": 0,
    }
    released = named.sign({**claims, "events": {CREDENTIALS_RELEASED: event}}).encode()
    with pytest.raises(receiver["Refused"], match="another event"):
        receiver["accepted"](released, keys, *whom, 0)
    theirs = KeySet.import_key_set(cast(Any, development.jwks()))
    with pytest.raises(receiver["Refused"], match="development key"):
        receiver["accepted"](foreign, theirs, *whom, 0)
    # What it is tried with is taken if it is told to, and nothing else is.
    late = claims["iat"] + 400 * 86_400
    assert receiver["accepted"](foreign, theirs, *whom, late, dev=True) == claims
    assert (
        receiver["accepted"](foreign, theirs, settings.issuer, "https://other.example.com", late, True)
        is None
    )
    for wrong in (forged, b"\xff", token):
        with pytest.raises(receiver["Refused"]):
            receiver["accepted"](wrong, theirs, *whom, late, dev=True)

    fresh = named.sign({**claims, "iat": 4_000_000_000}).encode()
    bus = Bus([Taken(fresh), Taken(fresh), Taken(forged), Taken(released)])
    killed: list[dict[str, Any]] = []
    known: set[str] = set()
    told: list[Any] = []
    receiver |= {"KafkaConsumer": lambda *_, **__: bus, "KafkaProducer": lambda **_: bus}
    ours = (killed.append, known.__contains__, known.add, lambda *one: told.append(one))
    receiver["run"]("", named.jwks(), *whom, *ours)
    assert [one["value"] for one in killed] == ["led-finance-invoice-iban-swap"]
    ((topic, key, value),) = bus.sent
    outcome = Outcome.model_validate_json(value)
    assert (topic, key, outcome.jti, outcome.status) == (OUTCOMES, b"acme", claims["jti"], "done")
    assert (known, len(told), bus.committed) == ({claims["jti"]}, 2, 4)

    tried = Bus([Taken(foreign)])
    receiver |= {"KafkaConsumer": lambda *_, **__: tried}
    receiver["run"]("", development.jwks(), *whom, *ours)
    assert (len(killed), len(told)) == (1, 3)
    known.clear()
    with pytest.warns(UserWarning, match="for a trial alone"):
        receiver["run"]("", development.jwks(), *whom, *ours, dev=True)
    assert (len(killed), len(told), known) == (2, 3, {claims["jti"]})


def first_cells(page: Path, heading: str, more: str = "") -> list[tuple[str, ...]]:
    """Of the rows of the table under `heading`: the name in the first cell, and what `more` finds in those behind it."""
    rows = re.finditer(rf"^\| `([\w.]+)` \|{more}", section(page, heading), re.M)
    return [found.groups() for found in rows]


def test_the_page_of_signals_has_each_with_what_the_shipped_policy_makes_of_it() -> None:
    shipped = load_policy().signals
    rows = first_cells(DOCS / "signals.md", "Signals", r" `(\w+)` \|")
    assert rows == [(name, shipped[name]) for name in BY_ID]


def test_the_page_of_signals_has_each_mark_of_the_code_and_each_standing() -> None:
    marks, modules = set(get_args(Mark)), (take_call, decisions, refusals)
    source = "".join(map(inspect.getsource, modules))
    assert {"vague", "after_end", "number_late", "number_reused"} < marks
    assert [mark for mark in marks if f'"{mark}"' not in source] == []
    assert {name for (name,) in first_cells(DOCS / "signals.md", "Marks")} == marks
    assert tuple(name for (name,) in first_cells(DOCS / "signals.md", "Standings")) == get_args(Standing)
