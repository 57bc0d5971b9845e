"""The plots of an evaluation's page: SVG to stand in it, the same bytes each time, coloured by the page's style.

No text of the data comes into them: names stand in tables, escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

COLOURS = {
    "#010101": "ink",
    "#020202": "quiet",
    "#030303": "grid",
    "#040404": "one",
    "#050505": "two",
    "#060606": "three",
    "#ffffff": "paper",
}
"""What is drawn in these colours gets a class of this name, with the colour that the page's style gives it, light or dark."""
INK, QUIET, GRID, ONE, TWO, THREE = list(COLOURS)[:6]
LEAST = 1e-3
"""Left edge of axes of shares: what is less stands there."""

Drawing = Callable[[Any], None]


def svg(name: str, title: str, draw: Drawing, width: float = 6.2, height: float = 3.5) -> str:
    """One plot; `name` keeps its ids apart from those of others, `title` says to a screen reader what it is."""
    from matplotlib import rc_context  # slow to import, and only wanted here
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": GRID,
        "axes.grid": True,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        written = StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return _for_a_page(written.getvalue(), title)


def _for_a_page(text: str, title: str) -> str:
    """An SVG file as an element of HTML: without prologue, metadata, styles and ids of groups, colours as classes."""
    inner = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    box = re.search(r'viewBox="([^"]+)"', text)
    inner = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner).replace("xlink:href", "href")
    inner = re.sub(r' style="([^"]*)"', _attributes, inner)
    inner = re.sub(r"\n\s*", "\n", inner)
    whole = box.group(1) if box else "0 0 446 252"
    return f'<svg class="plot" viewBox="{whole}" role="img" aria-label="{escape(title)}">{inner}</svg>'


def _attributes(style: re.Match[str]) -> str:
    """A style attribute as classes, for colours of the page, and attributes: the page's policy allows no style in elements."""
    classes, attributes = [], []
    for part in style[1].split(";"):
        name, _, value = (one.strip() for one in part.partition(":"))
        if value in COLOURS:
            classes.append(f"{name}-{COLOURS[value]}")
        elif name == "font":
            size = re.search(r"[\d.]+px", value)
            attributes.append(f'font-size="{size.group(0) if size else "10px"}"')
        elif name and name != "font-family":
            attributes.append(f'{name}="{value}"')
    told = f' class="{" ".join(classes)}"' if classes else ""
    return told + "".join(f" {one}" for one in attributes)


def ranking(roc: Mapping[str, Any], points: Sequence[tuple[str, float, float]]) -> Drawing:
    """The ROC curve, and of each way of `points` its name, the share of honest and that of hijacked sessions alerted."""

    def draw(axes: Any) -> None:
        honest = [max(one, LEAST) for one in roc["honest"]]
        axes.step(honest, roc["hijacked"], where="post", color=ONE, lw=2, label="score, any threshold")
        for (name, x, y), colour, marker in zip(points, (TWO, THREE, INK), ("o", "s", "^"), strict=False):
            axes.plot(
                [max(x, LEAST)], [y], marker, color=colour, ms=7, ls="", label=name, clip_on=False, zorder=3
            )
        axes.set(xscale="log", xlim=(LEAST, 1), ylim=(0, 1.02))
        axes.set(xlabel="honest sessions alerted", ylabel="hijacked sessions caught")
        _in_per_cent(axes, "xy")
        axes.legend(loc="best", fontsize=8)

    return draw


def first_alerts(detector: Mapping[str, float], random: Mapping[str, float]) -> Drawing:
    """Where first alerts fall, as shares of hijacked sessions, beside a random detector's."""

    def draw(axes: Any) -> None:
        places = range(len(detector))
        axes.bar([p - 0.2 for p in places], detector.values(), 0.38, color=ONE, label="verdicts")
        axes.bar(
            [p + 0.2 for p in places],
            random.values(),
            0.38,
            color=TWO,
            label="at random, same share of calls",
        )
        axes.set_xticks(list(places), list(detector), fontsize=9)
        axes.set(xlabel="first alert, in calls after the step", ylabel="hijacked sessions", ylim=(0, None))
        axes.grid(axis="x", visible=False)
        _in_per_cent(axes, "y")
        axes.legend(fontsize=8)

    return draw


def reliability(bins: Sequence[Mapping[str, Any]]) -> Drawing:
    """What scores said against what came true, with Wilson's interval of each bin."""

    def draw(axes: Any) -> None:
        least = 1e-4
        axes.plot([least, 1], [least, 1], color=QUIET, lw=1, ls="--", label="said is true")
        said = [max(one["said"], least) for one in bins]
        low, high = ([max(one["wilson"][side], least) for one in bins] for side in (0, 1))
        axes.vlines(said, low, high, color=ONE, lw=2.5, alpha=0.4)
        axes.plot(
            said, [max(one["true"], least) for one in bins], "o", color=ONE, ms=5, label="calls of a bin"
        )
        axes.set(xscale="log", yscale="log", xlim=(least, 1.3), ylim=(0.8 * least, 1.3))
        axes.set(xlabel="mean score of the bin", ylabel="share that was drift")
        _in_per_cent(axes, "xy")
        axes.legend(fontsize=8)

    return draw


def alerts_a_day(curve: Sequence[Mapping[str, Any]], shipped: Mapping[str, Any]) -> Drawing:
    """Hijacks caught against alerts a day, with their interval."""

    def draw(axes: Any) -> None:
        least = min((one["alerts_a_day"] for one in curve if one["alerts_a_day"] > 0), default=1.0)
        x = [max(one["alerts_a_day"], least) for one in curve]
        low, high = ([one["caught"]["interval"][side] for one in curve] for side in (0, 1))
        axes.fill_between(x, low, high, color=ONE, alpha=0.2, lw=0, step="post")
        axes.step(
            x,
            [one["caught"]["rate"] for one in curve],
            where="post",
            color=ONE,
            lw=2,
            label="score, any threshold",
        )
        _shipped(axes, max(shipped["alerts_a_day"], least), shipped["caught"]["rate"])
        axes.set(
            xscale="log",
            ylim=(0, 1.02),
            xlabel="alerts a day, false and true",
            ylabel="hijacked sessions caught",
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        _in_per_cent(axes, "y")
        axes.legend(loc="best", fontsize=8)

    return draw


def cost(curve: Sequence[Mapping[str, Any]], shipped: Mapping[str, Any], never: float) -> Drawing:
    """Cost a day against alerts a day."""

    def draw(axes: Any) -> None:
        least = min((one["alerts_a_day"] for one in curve if one["alerts_a_day"] > 0), default=1.0)
        x = [max(one["alerts_a_day"], least) for one in curve]
        axes.plot(x, [one["cost"] for one in curve], color=ONE, lw=2, label="score, any threshold")
        axes.axhline(never, color=QUIET, lw=1, ls="--", label="never alerting")
        _shipped(axes, max(shipped["alerts_a_day"], least), shipped["cost"])
        axes.set(
            xscale="log",
            ylim=(0, None),
            xlabel="alerts a day, false and true",
            ylabel="cost a day, in false alerts",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.legend(loc="best", fontsize=8)

    return draw


def _shipped(axes: Any, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=TWO, ms=7, ls="", label="verdicts", clip_on=False, zorder=3)


def _in_per_cent(axes: Any, which: str) -> None:
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
