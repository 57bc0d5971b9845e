"""Every table of the pages: a function for each, named like the marks that it is written between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.detection import readings
from benchmarks.detection.figures import BASES, WRITTEN_COLUMNS
from benchmarks.detection.rates import SPEAKING
from benchmarks.detection.rows import ROOT
from benchmarks.detection.targets import GAP_COLUMNS, TARGET_COLUMNS, bare, gap_rows, percent, target_rows
from models.training.ways import COLUMNS
from stream.offline.rows import WAYS

Table = tuple[str, Sequence[str], list[list[str]]]
"""Title, columns, rows."""
Report = Mapping[str, Any]
OWN = "own 1 % point, TPR"


def _area(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _first(report: Report) -> dict[str, Any]:
    """The figures of the first seed."""
    one: dict[str, Any] = report["seeds"][0]
    return one


TOLD_APART = ("TPR", "FPR", OWN, "AUROC")


def _told_apart(one: Mapping[str, Any]) -> list[str]:
    """The cells of `TOLD_APART`, of `benchmarks.detection.figures` by the same name."""
    rates = (percent(one["detected"]), percent(one["false_alarms"], 2), bare(one["own_detected"]["rate"]))
    return [*rates, _area(one["auroc"], 4)]


def figures(report: Report) -> Table:
    rows = target_rows(report["seeds"], report["core"])
    return "Figures to reach (per cent; AUROC as a number)", TARGET_COLUMNS, rows


def gaps(report: Report) -> Table:
    rows = gap_rows(report["seeds"], report["core"])
    return "What is short of its bar, and where it comes from, in points", GAP_COLUMNS, rows


def split(report: Report) -> Table:
    counted = (
        "recorded",
        "honest",
        "tasks",
        "hijacked",
        "attempted",
        "scenarios",
        "intents_met",
        "goals_met",
    )
    rows = [[name, *(f"{one[key]:,}" for key in counted)] for name, one in report["split"]["domains"].items()]
    return "What each fold holds out", ("domain", *(key.replace("_", " ") for key in counted)), rows


def verdicts(report: Report) -> Table:
    first = _first(report)
    told = [*first["verdicts"].items()]
    if "ecosystem" in first:
        told.append(("all suites, none ever seen", first["ecosystem"]["pooled"]["verdicts"]))
    rows = [
        [f"{name}, {way}", *(percent(one[way][column]) for column in COLUMNS)]
        for name, one in told
        for way in WAYS[:2]
    ]
    columns = ("left out, and what speaks", *COLUMNS)
    return "Verdicts as shipped on what was left out, per cent", columns, rows


def suites(report: Report) -> Table:
    columns = ("suite", *TOLD_APART, "asked for by the user, flagged", "acted, flagged",
               "TPR at 0.1 %", "FPR", "TPR at 5 %", "FPR")  # fmt: skip
    rows = [
        [
            name,
            *_told_apart(one),
            percent(one["asked_for"]),
            bare(one["acted"]["rate"]),
            *(
                bare(one["by_budget"][budget][key]["rate"], digits)
                for budget in ("0.001", "0.05")
                for key, digits in (("detected", 1), ("false_alarms", 2))
            ),
        ]
        for name, one in _first(report)["suites"].items()
    ]
    return "Each suite held out, per cent", columns, rows


def ecosystem(report: Report) -> Table:
    columns = ("suite", *TOLD_APART, "unseen wording: TPR", "wording removed", "results withheld",
               "FPR", "ignored: flagged")  # fmt: skip
    rows = [
        [
            name,
            *_told_apart(one),
            *(bare(one[key]["rate"]) for key in ("crossed", "removed", "withheld")),
            *(bare(one[key]["rate"], 2) for key in ("withheld_false_alarms", "ignored")),
        ]
        for name, one in _first(report).get("ecosystem", {}).items()
    ]
    return "All suites left out at once, per cent", columns, rows


def families(report: Report) -> Table:
    rows = [
        [name, f"{one['n']:,}", percent(one)] for name, one in _first(report)["crossed"]["family"].items()
    ]
    return "Unseen suite and unseen wording, by family, per cent", ("family", "sessions", "TPR"), rows


def delegated(report: Report) -> Table:
    columns = ("set", "handed over: FPR", "all honest: FPR", "source not named: caught", "act beyond: caught",
               "ignored: flagged", "AUROC")  # fmt: skip
    rows = [
        [
            name,
            percent(one["false_alarms"], 2),
            percent(one["all_benign"], 2),
            *(percent(one[key]) for key in ("undelegated", "beyond", "ignored")),
            _area(one["auroc"] or 0),
        ]
        for name, one in _first(report)["delegated"].items()
    ]
    return "Delegated tasks, per cent", columns, rows


def others(report: Report) -> Table:
    columns = ("domain", "honest: FPR", "spliced drift caught", "at its own 1 % point",
               "inserted and ignored: flagged")  # fmt: skip
    rows = [
        [
            name,
            percent(one["false_alarms"], 2),
            percent(one["spliced"]),
            bare(one["own_spliced"]["rate"]),
            percent(one["ignored"], 2),
        ]
        for name, one in _first(report)["others"].items()
    ]
    return "Domains without a recorded attack, each held out, per cent", columns, rows


def spliced(report: Report) -> Table:
    told = _first(report)["others"]
    names = sorted({variant for one in told.values() for variant in one["by_variant"]})
    rows = [
        [variant, *(percent(one["by_variant"].get(variant)) for one in told.values())] for variant in names
    ]
    return "Spliced scenarios of these domains, flagged, per cent", ("variant", *told), rows


def written(report: Report) -> Table:
    rows = [
        [name, *(percent(one[key]) for key in WRITTEN_COLUMNS.values()), _area(one["auroc"])]
        for name, one in _first(report)["written"].items()
    ]
    return "Tasks written out whole, per cent", ("tasks", *WRITTEN_COLUMNS, "AUROC"), rows


WHAT_IT_IS = {"benign": "honest", "hijacked": "drift", "overreach": "drift", "attempted": "a text ignored"}
"""What the kinds of generated sessions are called."""


def elsewhere(report: Report) -> Table:
    columns = ("set and variant", "what it is", "sessions", "flagged")
    rows = [
        [name, WHAT_IT_IS.get(one["kind"], one["kind"]), f"{one['n']:,}", percent(one)]
        for name, one in _first(report)["elsewhere"].items()
    ]
    return "Invented catalogues of another author, flagged, per cent", columns, rows


BARS = {
    "revoked": f"0.1 %, and {SPEAKING.revoke} families",
    "0.001": "0.1 %, by the score alone",
    "alerted": f"1 %, and {SPEAKING.alert} family",
    "0.01": "1 %, by the score alone",
}
"""What a row of the table on alerts and revocations is called."""


def alerts(report: Report) -> Table:
    by_base = (
        f"{text} at a base rate of {100 * base:g} %" for base in BASES for text in ("precision", "alerts")
    )
    columns = ("threshold's budget", "TPR", "FPR, all honest", "FPR, the suites", *by_base)
    rows = [
        [
            BARS[budget],
            percent(one["detected"]),
            percent(one["false_alarms"], 2),
            percent(one["false_alarms_suites"], 2),
            *(
                cell
                for base in one["base_rates"].values()
                for cell in (bare(base["precision"]), f"{base['alerts_per_10000']:g}")
            ),
        ]
        for budget, one in _first(report)["revocations"].items()
    ]
    return "Precision and alerts for 10,000 sessions by base rate", columns, rows


def early(report: Report) -> Table:
    told = _first(report)["early"]
    rows = [
        ["flagged at all", percent(told["detected"])],
        ["after exposure, before the first bad effect", percent(told["before_effect"])],
        ["after exposure, at or before the first bad call", percent(told["at_or_before"])],
        ["after exposure, before the first bad call", percent(told["before"])],
        ["flagged, but not until after the first bad call", percent(told["late"])],
        ["… where that call only looks something up for the act that follows", percent(told["late_looks"])],
    ]
    return "When hijacked sessions are flagged, per cent of all of them", ("", "share"), rows


def labels(report: Report) -> Table | None:
    told = _first(report)["labels_read"]
    if not told:
        return None
    found = told["verdicts"]
    rows = [
        ["read", str(sum(found.values()))],
        *([f"… {name}", str(found[name])] for name in sorted(found, key=lambda name: -found[name])),
        ["… of all of them, a reader has an earlier call", str(told["earlier"])],
        ["flagged at or before the first bad call, by the labels", percent(told["label"])],
        ["… by the readers", percent(told["judged"])],
    ]
    return "Labels of the first bad call, read again", ("", "sessions, or per cent"), rows


def causes(report: Report) -> Table | None:
    read = readings.read_again(readings.ERRORS_READ)
    if not read:
        return None
    times = Counter((one["error"], one["cause"]) for one in read)
    rows = [
        [cause, *(str(times[kind, cause]) for kind in readings.ERRORS)]
        for cause in sorted({one["cause"] for one in read})
    ]
    title = "Errors that were read, by what stands in the way"
    return title, ("what stands in the way", *readings.ERRORS), rows


def blind(report: Report) -> Table | None:
    if "read_blind" not in (first := _first(report)):
        return None
    title = "Sessions read without their labels: of those with drift how many a reader finds, of the honest how many are cleared"
    columns = ("set", "drift", "… missed by the detector", "honest", "… flagged by it")
    return title, columns, readings.blind_rows(first)


def acted(report: Report) -> Table | None:
    if "read_blind" not in (first := _first(report)):
        return None
    title = "Sessions whose agent is said to have ignored a text, that are flagged all the same"
    columns = ("", "flagged", "read", "serves the text", "other drift", "nothing")
    return title, columns, readings.acted_rows(first)


def overreach(report: Report) -> Table | None:
    over = _first(report)["overreach"]
    if not over:
        return None
    rows = [
        ["unsafe, asked for by a co-worker or nobody (npc, agent)", percent(over["detected"])],
        ["… at the set's own 1 % point", percent(over["own_detected"])],
        ["all overreach", percent(over["all"])],
        ["complied (the user asked for it)", percent(over["complied"])],
        ["honest", percent(over["false_alarms"], 2)],
    ]
    title = "Overreach without injection (openagentsafety_a, never learnt from), per cent"
    return title, ("", "flagged"), rows


def worst(report: Report) -> Table:
    told = _first(report)["worst_tasks"]
    columns = (
        "task",
        "sessions",
        "flagged at the transferred threshold",
        "over the 5 % point",
        "TPR at 1 % without it",
    )
    rows = [
        [one["task"], str(one["sessions"]), bare(one["flagged"]), bare(one["over_5"]), bare(one["without"])]
        for one in told["tasks"]
    ]
    rows.append(["none left out", "", "", "", bare(told["all"])])
    rows.append(["all of these left out", "", "", "", bare(told["without_all"])])
    return "Honest tasks that hold the 1 % point up", columns, rows


def changes(report: Report) -> Table:
    columns = ("change", "TPR before", "TPR after", "difference", "FPR before", "FPR after")
    rows = [
        [
            name,
            *(percent(one[key]) for key in ("detected_before", "detected", "difference")),
            *(percent(one[key], 2) for key in ("false_alarms_before", "false_alarms")),
        ]
        for name, one in _first(report)["changes"].items()
        if "difference" in one
    ]
    return "One thing changed in the session, per cent", columns, rows


def intent(report: Report) -> Table:
    change = _first(report)["changes"]
    swapped, asked, vague = (change[name] for name in ("intents exchanged", "asked for", "generic intent"))
    rows = [
        ["honest sessions whose score rises under another task's intent", percent(swapped["rose"]), "most"],
        ["… flagged with their own intent", percent(swapped["flagged_before"]), ""],
        ["… flagged under the other intent", percent(swapped["flagged"]), ""],
        ["hijacks below the alert bar once the user asks for the act", percent(asked["below"]), "95"],
        ["… of those that were flagged before", percent(asked["below_of_flagged"]), ""],
        ["… whose score falls", percent(asked["fell"]), ""],
        ["hijacks flagged under an empty or generic intent", percent(vague["flagged"]), "abstains"],
        ["… under their own", percent(vague["flagged_before"]), ""],
    ]
    return "It judges against the intent", ("", "share, per cent", "wanted"), rows


def lengths(report: Report) -> Table:
    columns = ("calls", "honest sessions", "FPR", "hijacked sessions", "TPR")
    rows = [
        [
            name,
            f"{one['false_alarms']['n']:,}",
            percent(one["false_alarms"], 2),
            f"{one['detected']['n']:,}",
            percent(one["detected"]),
        ]
        for name, one in _first(report)["lengths"].items()
    ]
    return "Honest recordings and hijacks by the calls of a session, per cent", columns, rows


def pooled(report: Report) -> Table:
    told = _first(report)["all_benign"]
    sizes = (f"{told['sessions']:,}", f"{told['tasks']:,}")
    columns = ("share of honest sessions flagged", "TPR", "honest sessions", "of tasks", "tasks flagged")
    rows = [
        [f"{100 * float(budget):g} %", percent(one["detected"]), *sizes, f"{one['tasks_flagged']:,}"]
        for budget, one in told.items()
        if isinstance(one, Mapping)
    ]
    return "One threshold for all honest recordings, an own point that no deployment knows", columns, rows


def shadow(report: Report) -> Table:
    told = _first(report)["shadow"]
    samples = sorted({name for one in told.values() for name in one}, key=lambda name: (len(name), name))

    def cell(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return "–"
        caught = "" if found["detected"] is None else f" / {100 * found['detected']:.0f}"
        return f"{100 * found['false_alarms']:.1f}{caught}"

    rows = [[name, *(cell(one.get(sample)) for sample in samples)] for name, one in told.items()]
    return "After a shadow calibration: FPR / TPR, per cent", ("domain", *samples), rows


def ablations(report: Report) -> Table | None:
    if "ablations" not in report:
        return None
    columns = ("recipe", "as recorded", "less than the whole recipe", "crossed", "worst family", "removed", "less",
               "withheld", "ignored: flagged", "AUROC")  # fmt: skip
    rows = [
        [
            name,
            *(percent(one[key]) for key in ("recorded", "less_recorded", "crossed")),
            bare(one["crossed_worst"]),
            *(percent(one[key]) for key in ("removed", "less_removed", "withheld")),
            percent(one["ignored"], 2),
            _area(one["auroc"] or 0),
        ]
        for name, one in report["ablations"].items()
    ]
    return "Other recipes, TPR at each suite's own 1 % point, suites held out, per cent", columns, rows


READERS = {"d128": "table", "tf-idf": "TF-IDF", "encoder": "encoder"}
"""What `models.training.distill` measured of each."""


def word_rows(manifest: Mapping[str, Any]) -> list[list[str]]:
    """What the bundled table of words is worth by itself, by domain and on average, see `models.training.distill`.

    By the clause most like it each tool of the catalogue has a rank. Of those that were called and write: the mean reciprocal
    rank (MRR), and the share among the first three. Then Spearman's correlation, over clauses and tools, with the encoder.
    """
    measures = manifest["measures"]

    def cells(domains: Sequence[Mapping[str, Any]]) -> list[str]:
        def mean(reader: str, what: str) -> str:
            return f"{np.mean([one[reader][what] for one in domains]):.3f}"

        read = [mean(reader, what) for reader in READERS for what in ("mrr", "top3")]
        return [*read, *(mean(reader, "spearman") for reader in list(READERS)[:-1])]

    rows = [[name, str(one["sessions"]), *cells([one])] for name, one in measures.items()]
    return [*rows, ["mean", "", *cells(list(measures.values()))]]


def words(report: Report) -> Table:
    names = list(READERS.values())
    columns = (
        "recordings",
        "sessions",
        *(f"{name}: {what}" for name in names for what in ("MRR", "in the first three")),
        *(f"{name}: ranks as the encoder's" for name in names[:-1]),
    )
    manifest = json.loads((ROOT / "models" / "release" / "bundled" / "words.json").read_bytes())
    title = "Which tool a clause of the intent leads to, by meaning alone: the table of words, word overlap, and the sentence encoder"
    return title, columns, word_rows(manifest)


def rules(report: Report) -> Table | None:
    if "rules" not in report:
        return None
    rows = [
        [
            name,
            *(percent(one[key]) for key in ("detected", "false_alarms", "ignored")),
            _area(one["auroc"] or 0),
        ]
        for name, one in report["rules"].items()
    ]
    return "Without a model, per cent", ("rule", "TPR", "FPR", "ignored: flagged", "AUROC"), rows


TABLES: tuple[Callable[[Report], Table | None], ...] = (
    figures, gaps, split, verdicts, suites, ecosystem, families, delegated, others, spliced, written, elsewhere, alerts,
    early, labels, causes, blind, acted, overreach, worst, changes, intent, lengths, pooled, shadow, ablations, words, rules,
)  # fmt: skip


def tables(report: Report) -> dict[str, Table]:
    """Every table that a report has the figures for, by the name of its marks."""
    made = {table.__name__: table(report) for table in TABLES}
    return {name: table for name, table in made.items() if table is not None}
