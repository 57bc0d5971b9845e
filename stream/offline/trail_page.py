"""A session's story as one HTML file: no script, nothing loaded from elsewhere, and every text of others escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape

from models.contracts import FLAGGED
from stream.events import counted, printable
from stream.offline.trail import Trail
from stream.offline.trail_entries import Entry
from stream.offline.trail_gaps import where

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #666; --bad: #a4161a; --gap: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --bad: #ff8a80; --gap: #ffc261; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
tbody td:nth-child(-n+2) { white-space: nowrap; font-variant-numeric: tabular-nums; }
.facts th { white-space: nowrap; width: 12rem; }
.where, summary { color: var(--quiet); font-size: .85em; }
.bad td:nth-child(2) { color: var(--bad); font-weight: 600; }
.gap td { color: var(--gap); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85em; }
"""


def page(trail: Trail) -> Iterator[str]:
    """The file, part by part."""
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    name = trail.name
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>How access was used: {_told(name.session)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>How access was used: {_told(name.session)}</h1>\n<table class="facts"><thead>\n'
    )
    for label, text in facts(trail):
        yield f'<tr><th scope="row">{escape(label)}</th><td>{_told(text)}</td></tr>\n'
    yield "</thead></table>\n"
    gaps = trail.of("gap")
    said = "A missing verdict is not an allow." if gaps else "None."
    yield f"<h2>Gaps ({len(gaps)})</h2>\n<p>What is missing, or went on all the same. {said}</p>\n<ul>\n"
    for gap in gaps:
        yield f"<li>{_told(gap.text)}</li>\n"
    yield (
        "</ul>\n<h2>The trail</h2>\n<table>\n"
        '<thead><tr><th scope="col">time</th><th scope="col">what</th><th scope="col">says</th></tr></thead>\n<tbody>\n'
    )
    for entry in trail.entries:
        yield _row(entry)
    yield "</tbody>\n</table>\n</body>\n</html>\n"


def facts(trail: Trail) -> Iterator[tuple[str, str]]:
    """What stands above a story: whose it is, and what it rests on."""
    name, chain = trail.name, trail.chain
    yield "session", name.session
    yield "tenant, root session", f"{name.tenant}, {name.root}"
    for member in ("agent", "user", "standing"):
        yield member, str(trail.said(member) or "not told")
    if trail.of("case", "alert"):
        yield "case", trail.case_id
    nothing = not (chain.decisions or chain.outside or chain.faults)
    over = f"{counted(chain.decisions, 'decision')}, {counted(chain.repeats, 'repeat')}"
    if nothing:
        yield "chain", "no decision was read"
    elif chain.holds:
        yield "chain", f"holds over {over}; a chain that was cut at its end holds too"
    for finding in chain.findings:
        yield "chain", f"DOES NOT HOLD, {finding.fault}: {finding.text} (call {finding.call_seq})"
    for note in chain.notes:
        yield "chain", note
    yield "values", "shown, without secrets" if trail.values else "masked"
    for why in sorted(set(trail.unread.values())):
        yield (
            "not read",
            f"{', '.join(sorted(base for base in trail.unread if trail.unread[base] == why))}: {why}",
        )


def _row(entry: Entry) -> str:
    bad = entry.kind == "decided" and entry.data["verdict"] in FLAGGED
    mark = ' class="gap"' if entry.kind == "gap" else ' class="bad"' if bad else ""
    document = json.dumps(entry.data, ensure_ascii=False, indent=1, sort_keys=True)
    data = "\n".join(escape(printable(line)) for line in document.split("\n"))
    more = (
        f"<details><summary>{_told(where(entry))}</summary><pre>{data}</pre></details>" if entry.place else ""
    )
    return f"<tr{mark}><td>{_told(entry.time)}</td><td>{escape(entry.kind)}</td><td>{_told(entry.text)}{more}</td></tr>\n"


def _told(text: str) -> str:
    return escape(printable(text))
