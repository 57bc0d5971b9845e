"""The documents say what the code does."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from stream.settings import Settings
from stream.topics import DAY_MS, topic_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "adr").glob("*.md"))
PAGES = [*sorted(DOCS.glob("*.md")), *DECISIONS, ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
KEY = b"key"


def written(page: Path) -> str:
    """A page's text without its blocks of code, which hold neither links nor headings."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


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


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
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
