"""An evaluation as one HTML file: no script, nothing loaded from elsewhere, and every text of the data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from models.training.named_tools import GRAVITY
from models.training.quality import FEW
from models.training.ways import COLUMNS
from stream.events import printable
from stream.offline import quality_plots as plots

SHOWN = 20
"""Values of a dimension that the page shows; the JSON has all."""
LONGEST = 60
"""Characters that are shown of a name."""

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --quiet: #5d666f; --grid: #dfe3e8; --card: #f6f7f9;
  --one: #1f5fbf; --two: #c2500a; --three: #1a7f4b; --bad: #a4161a; --badly: #fdecec; --well: #eaf5ee; --good: #17653d; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e9ec; --quiet: #9aa4ae; --grid: #343b43; --card: #1d2226;
  --one: #7db0ff; --two: #ff9d5c; --three: #6bd69a; --bad: #ff9a94; --badly: #3a1d1e; --well: #16301f; --good: #86dca9; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { border-top: 1px solid var(--grid); font-size: 1.25rem; margin: 2.4rem 0 .4rem; padding-top: 1.4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p, ul { margin: .4rem 0; max-width: 46rem; }
.lead, .read, caption, .n { color: var(--quiet); }
.read { font-size: .93rem; }
.note { border-left: 4px solid var(--two); background: var(--card); margin: 1rem 0; padding: .6rem .9rem; }
.note.dev { background: var(--badly); border-color: var(--bad); }
.note.held { background: var(--well); border-color: var(--good); }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); margin: 1rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile span { color: var(--quiet); display: block; font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; min-width: 34rem; width: 100%; }
.many { min-width: 52rem; }
th, td { border-bottom: 1px solid var(--grid); padding: .35rem .6rem; text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; }
thead th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { overflow-wrap: anywhere; text-align: left; }
tbody th { font-weight: 400; min-width: 9rem; }
.facts th { color: var(--quiet); width: 11rem; min-width: 8rem; }
.facts td { overflow-wrap: anywhere; text-align: left; }
.n { font-size: .85em; white-space: nowrap; }
td .n { display: block; }
.rough { color: var(--two); }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: .6rem 0; }
.plot { display: block; height: auto; max-width: 40rem; width: 100%; }
.plot text { font-family: system-ui, sans-serif; }
.bar { display: block; height: .55rem; margin-left: auto; width: 6rem; }
.bar .all { fill: var(--grid); }
.bar .share { fill: var(--one); }
.bar .range { stroke: var(--ink); stroke-width: 1.4; }
""" + "".join(
    f".fill-{name} {{ fill: var(--{name}); }}\n.stroke-{name} {{ stroke: var(--{name}); }}\n"
    for name in plots.COLOURS.values()
)

HEADINGS = dict(
    zip(
        COLUMNS,
        (
            "honest, alerted",
            "honest, revoked",
            "hijacked, alerted",
            "… no later than its first bad call",
            "hijacked, revoked",
            "attack ignored, alerted",
        ),
        strict=True,
    )
)


def page(report: Mapping[str, Any]) -> Iterator[str]:
    """The file, part by part."""
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>Evaluation: {_told(report['made_by']['model'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    )
    yield from _head(report)
    yield from _verdicts(report)
    yield from _early(report)
    yield from _ranked(report)
    yield from _calibrated(report)
    yield from _costs(report)
    yield from _slices(report)
    yield from _made(report)
    yield "</body>\n</html>\n"


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    made, base = report["made_by"], report["base"]
    yield "<h1>How well drift is told from work</h1>\n"
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in base["sessions"].items())
    yield f'<p class="lead">{_told(made["model"])}, on {kinds} sessions with {base["calls"]:,} calls</p>\n'
    yield f'<p class="note {"held" if made["held_out"] else "dev"}">{escape(made["standing"])}</p>\n'
    shipped = report["ways"]["verdicts"]
    early = report["early"]["verdicts"]
    tiles = [
        (
            _per_cent(shipped["hijacked alerted"]),
            f"of hijacked sessions caught{_range(shipped['hijacked alerted'])}",
        ),
        (
            _per_cent(shipped["honest alerted"]),
            f"of honest sessions alerted{_range(shipped['honest alerted'])}",
        ),
        (
            _per_cent(early["detector"]["at_or_before_harm"]),
            f"caught at or before the harmful call{_range(early['detector']['at_or_before_harm'])}; at random {_bare(early['random']['at_or_before_harm'])}",
        ),
        (
            _number(report["roc"] and report["roc"]["area"], 3),
            "area under the ROC curve of the score; 0.5 is chance",
        ),
    ]
    yield '<div class="tiles">' + "".join(
        f'<div class="tile"><b>{big}</b><span>{small}</span></div>' for big, small in tiles
    )
    yield "</div>\n"
    if report["cannot_tell"]:
        yield "<h2>What these sessions cannot tell</h2>\n<ul>\n"
        yield "".join(f"<li>{escape(one)}</li>\n" for one in report["cannot_tell"]) + "</ul>\n"


def _verdicts(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>As shipped, and by score</h2>\n"
    yield (
        '<p class="read">All rows are of the same sessions. <i>Verdicts</i> is all that a deployment lets speak: score, families of evidence, signals '
        "under the policy. The other two let one part speak without the other. In brackets stands a 95 % interval over tasks.</p>\n"
    )
    rows = [
        (escape(way), [_share(figures[column]) for column in COLUMNS])
        for way, figures in report["ways"].items()
    ]
    yield _table(("what speaks", *HEADINGS.values()), rows)
    own = report["own_point"]
    if own["hijacked alerted"]["rate"] is None or own["honest alerted"]["rate"] is None:
        return
    yield (
        f'<p class="read">For comparison: at the threshold {own["threshold"]:.4f}, which these very sessions give for {100 * own["share"]:g} % of honest ones and '
        f"no deployment has, the score alone catches {_share(own['hijacked alerted'])}.</p>\n"
    )


def _early(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>How early, beside a detector that guesses</h2>\n"
    shipped = report["early"]["verdicts"]
    if not shipped["hijacked"]:
        yield "<p>No session is hijacked in a known call: there is nothing to be early for.</p>\n"
        return
    share = shipped["calls_alerted"]
    yield (
        '<p class="read">An alert counts from the <i>step</i> on: the call with which the hijack begins to act. A session first alerted before it is not '
        "credited. The <i>harmful call</i> is the first from there on that writes, runs or takes something out. The random detector alerts on each "
        f"call with the same chance, for verdicts {share['alerted']:,} of {share['calls']:,} calls ({100 * share['share']:.2f} %). Its figures are exact expectations.</p>\n"
    )
    yield _plot(
        "early",
        "Where the first alert falls",
        plots.first_alerts(_falls(shipped["detector"]), _falls(shipped["random"])),
    )
    yield '<p class="read">How to read it: bars further left mean earlier; a detector that knows nothing has the orange ones.</p>\n'
    columns = (
        "before the step, not credited",
        "on the step",
        "at or before the harmful call",
        "from the step on",
        "never",
        "calls later, mean",
        "honest alerted",
    )
    names = (
        "before_not_credited",
        "on_the_step",
        "at_or_before_harm",
        "from_the_step_on",
        "never",
        "calls_later_mean",
        "honest_alerted",
    )
    rows = []
    for way, found in report["early"].items():
        for who, figures in (
            (escape(way), found["detector"]),
            ('<span class="n">… at random</span>', found["random"]),
        ):
            rows.append((who, [_cell(name, figures[name]) for name in names]))
    yield _table(("what speaks", *columns), rows)
    yield (
        f'<p class="read">{shipped["with_harmful_call"]:,} of {shipped["hijacked"]:,} hijacked sessions have a harmful call, and the third column is of these. '
        "<i>Calls later</i> is of the sessions that are credited, counted from the step. Verdicts repeat themselves after a revocation, and each repeat "
        "counts as an alerted call: that is in the random detector's favour.</p>\n"
    )


def _falls(figures: Mapping[str, Any]) -> dict[str, float]:
    def share(one: Any) -> float:
        return float((one["rate"] if isinstance(one, Mapping) else one) or 0.0)

    later = {name: share(value) for name, value in (figures["calls_later"] or {}).items()}
    return {
        "too soon": share(figures["before_not_credited"]),
        "on it": share(figures["on_the_step"]),
        **later,
        "never": share(figures["never"]),
    }


def _cell(name: str, figure: Any) -> str:
    if isinstance(figure, Mapping):
        return _share(figure)
    return _number(figure, 2) if name == "calls_later_mean" else _bare(figure)


def _ranked(report: Mapping[str, Any]) -> Iterator[str]:
    roc = report["roc"]
    if roc is None:
        return
    yield "<h2>Ranking</h2>\n"
    points = [
        (way, figures["honest alerted"]["rate"], figures["hijacked alerted"]["rate"])
        for way, figures in report["ways"].items()
        if figures["honest alerted"]["rate"] is not None and figures["hijacked alerted"]["rate"] is not None
    ]
    yield _plot("roc", "Hijacked sessions caught against honest sessions alerted", plots.ranking(roc, points))
    yield (
        f'<p class="read">How to read it: the line is the score at every threshold, the further up and left the better (area {roc["area"]:.3f}, each session '
        "weighing the same); the marks are verdicts, where user tasks weigh the same among honest sessions.</p>\n"
    )
    suites = [("all", report["pooled"]), *report["by_suite"].items()] if report.get("pooled") else []
    if suites:
        rates = list(suites[0][1]["at"])
        rows = [
            (
                _name(name),
                [
                    f"{one['benign']:,}",
                    f"{one['hijacked']:,}",
                    _number(one["auc"], 3),
                    *(_share(one["at"][rate]["detected"]) for rate in rates),
                ],
            )
            for name, one in suites[: SHOWN + 1]
        ]
        headings = (f"caught at {100 * float(rate):g} % of honest alerted" for rate in rates)
        yield _table(("ecosystem", "honest", "hijacked", "area", *headings), rows)


def _calibrated(report: Mapping[str, Any]) -> Iterator[str]:
    found = report["calibration"]
    yield "<h2>Calibration</h2>\n"
    if not found["calls"]:
        yield "<p>No call has a label that says whether it was drift.</p>\n"
        return
    yield _plot(
        "reliability", "What scores said against what came true", plots.reliability(found["reliability"])
    )
    yield (
        '<p class="read">How to read it: on the dashed line a score of 10 % comes true in 10 % of calls; below it the score says too much, above it too '
        "little. Both axes are logarithmic, what is less than 0.01 % stands at the edge, and upright lines are 95 % intervals.</p>\n"
    )
    rows = [
        (
            f"{one['from']:g} to {one['to']:g}",
            [f"{one['calls']:,}", f"{one['said']:.4f}", f"{one['true']:.4f}"],
        )
        for one in found["reliability"]
    ]
    yield _table(("bin of the score", "calls", "mean score", "share that was drift"), rows)
    yield (
        f"<p>Brier score {_number(found['brier'], 5)}, where always saying the base rate has {_number(found['brier_base_rate'], 5)}. Expected calibration error "
        f"{_number(found['ece'], 5)}, over the {len(found['edges']) - 1} bins between {_edges(found['edges'])}, each call counting the same. Of {found['calls']:,} calls, {found['drift']:,} are "
        "drift. Calls after the first bad one are left out: they may serve either side.</p>\n"
    )


def _edges(edges: Sequence[float]) -> str:
    return ", ".join(f"{edge:g}" for edge in edges)


def _costs(report: Mapping[str, Any]) -> Iterator[str]:
    found = report["costs"]
    yield "<h2>Alerts a day, and what errors cost</h2>\n"
    if found is None:
        yield "<p>It takes honest and hijacked sessions to weigh one error against the other.</p>\n"
        return
    yield (
        f'<p class="read">For {found["sessions_a_day"]:,g} sessions a day, of which {100 * found["hijacked_share"]:g} % are hijacked, and a missed hijack that costs as much '
        f"as {found['cost_ratio']:,g} false alerts. These three are assumptions (--sessions-a-day, --hijacked-share, --cost-ratio), not measured.</p>\n"
    )
    yield '<div class="plots">'
    yield _plot(
        "alerts",
        "Hijacks caught against alerts a day",
        plots.alerts_a_day(found["curve"], found["as_shipped"]),
        5.2,
    )
    yield _plot(
        "cost",
        "Cost a day against alerts a day",
        plots.cost(found["curve"], found["as_shipped"], found["cost_without_alerts"]),
        5.2,
    )
    yield "</div>\n"
    yield (
        '<p class="read">How to read it: find on the left what your analysts can look at in a day and read off what is caught (band: 95 % interval); '
        "on the right the lowest point is cheapest.</p>\n"
    )
    rows = [
        (
            name,
            [
                _bare(one["honest_alerted"]),
                _share(one["caught"]),
                f"{one['alerts_a_day']:,.1f}",
                f"{one['cost']:,.1f}",
            ],
        )
        for name, one in (
            ("verdicts as shipped", found["as_shipped"]),
            (f"cheapest threshold of the score, {found['cheapest']['threshold']:.4f}", found["cheapest"]),
        )
    ]
    yield _table(("", "honest alerted", "hijacked caught", "alerts a day", "cost a day"), rows)
    yield (
        f'<p class="read">Never alerting costs {found["cost_without_alerts"]:,.1f} a day, alerting on every session {found["cost_alerting_all"]:,.1f}. The cheapest threshold was '
        "chosen on these sessions, so it is too good.</p>\n"
    )


def _slices(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Slices</h2>\n"
    yield (
        '<p class="read">How to read it: compare intervals, not shares; many slices are looked at, so some differ by chance. A number in this '
        f'<span class="rough">colour</span> rests on fewer than {FEW} sessions. Verdicts as shipped have bars, the score alone stands below them.</p>\n'
    )
    for dimension, found in report["slices"].items():
        yield f"<h3>By {escape(dimension)}</h3>\n"
        if dimension == "gravest tool":
            yield f'<p class="read">The gravest call of the session by its tool\'s name: {", ".join(GRAVITY)}.</p>\n'
        if not found:
            yield '<p class="read">Nothing is known of it.</p>\n'
            continue
        if len(found) == 1:
            yield '<p class="read">There is one alone, so nothing can be compared.</p>\n'
        rows = [(_name(one["value"]), _slice(one)) for one in found[:SHOWN]]
        headings = ("honest", "alerted", "hijacked", "caught", "attack ignored", "alerted")
        yield _table((dimension, *headings), rows)
        if len(found) > SHOWN:
            yield f'<p class="read">{len(found) - SHOWN} more are in the JSON.</p>\n'


def _slice(one: Mapping[str, Any]) -> list[str]:
    cells = []
    for kind in ("honest", "hijacked", "ignored"):
        n = one[kind]
        count = f'<span class="rough">{n:,}</span>' if 0 < n < FEW else f"{n:,}"
        shipped, score = (one["ways"][way][f"{kind} alerted"] for way in ("verdicts", "score alone"))
        below = f'<div class="n">score {_bare(score["rate"])}</div>' if n else ""
        cells += [count, f"{_share(shipped)}{_bar(shipped)}{below}"]
    return cells


def _made(report: Mapping[str, Any]) -> Iterator[str]:
    made, intervals = report["made_by"], report["intervals"]
    yield '<h2>How this page was made</h2>\n<div class="wide"><table class="facts"><tbody>\n'
    base = report["base"]
    tasks = ", ".join(f"{n:,} {kind}" for kind, n in base["tasks"].items())
    facts = [
        ("what judged", made["what"]),
        ("model", f"{made['model']}, SHA-256 {made['digest']}"),
        ("policy", made["policy"]),
        ("files", ", ".join(f"{name} (SHA-256 {digest[:12]})" for name, digest in made["files"].items())),
        (
            "intervals",
            f"95 %, {intervals['resamples']} resamples of whole clusters ({intervals['clusters']}), fixed seed",
        ),
        ("clusters", f"user tasks: {tasks}; attackers' goals: {base['goals']:,}"),
        (
            "honest sessions",
            "each user task weighs the same, however often it was run, but in the table of ranking",
        ),
    ]
    for fit in made.get("fits") or ():
        facts.append(
            (
                f"fitted without {fit['left out']}",
                f"{fit['learnt from']:,} sessions learnt from, {fit['scored']:,} scored",
            )
        )
    yield "".join(
        f'<tr><th scope="row">{_told(name)}</th><td>{_told(text)}</td></tr>\n' for name, text in facts
    )
    yield "</tbody></table></div>\n"


def _plot(name: str, title: str, draw: plots.Drawing, width: float = 6.2) -> str:
    return f"<figure>{plots.svg(name, title, draw, width)}</figure>\n"


def _table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table of HTML: all cells, and the name of each row, are escaped already."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
        for name, cells in rows
    )
    many = ' class="many"' if len(columns) > 5 else ""
    return f'<div class="wide"><table{many}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _bar(figure: Mapping[str, Any]) -> str:
    """A share and its interval as a bar."""
    if figure["rate"] is None:
        return ""
    low, high = _interval(figure)
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="100" height="10"/>'
        f'<rect class="share" width="{100 * figure["rate"]:.1f}" height="10"/>'
        f'<line class="range" x1="{100 * low:.1f}" x2="{100 * high:.1f}" y1="5" y2="5"/></svg>'
    )


def _interval(figure: Mapping[str, Any]) -> Sequence[float]:
    found: Sequence[float] = figure.get("interval") or figure.get("by_task") or figure["wilson"]
    return found


def _share(figure: Mapping[str, Any]) -> str:
    if figure["rate"] is None:
        return "–"
    low, high = _interval(figure)
    return f'{100 * figure["rate"]:.1f}\u00a0% <span class="n">({100 * low:.1f}–{100 * high:.1f})</span>'


def _range(figure: Mapping[str, Any]) -> str:
    if figure["rate"] is None:
        return ""
    low, high = _interval(figure)
    return f" (95\u00a0%: {100 * low:.1f}–{100 * high:.1f})"


def _per_cent(figure: Mapping[str, Any]) -> str:
    return _bare(figure["rate"])


def _bare(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _name(text: str) -> str:
    return _told(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _told(text: str) -> str:
    return escape(printable(text))
