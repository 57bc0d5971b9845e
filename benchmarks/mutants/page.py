"""The figures of the mutants as JSON, and the tables of docs/mutants.md that are made from them."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import results
from models.training.rates import wilson

FIGURES = results.ROOT / "docs" / "figures" / "mutants.json"
PAGE = results.ROOT / "docs" / "mutants.md"
CLASSES = ("equivalent", "killed since", "left")
"""What becomes of a survivor."""


def rows(path: Path) -> list[dict[str, Any]]:
    """Every mutant of the run, with what was written of it last."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return list({(row["path"], row["lines"][0], row["diff"]): row for row in found}.values())


def figures(
    found: Iterable[Mapping[str, Any]], packages: Mapping[str, str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The counts of each package, and each mutant that no test noticed when it was first shown."""
    old = {_name(one): one for one in _kept().get("survivors", [])}
    counts: dict[str, Counter[str]] = {package: Counter() for package in dict.fromkeys(packages.values())}
    survivors = []
    for row in found:
        counts[packages[row["path"]]][row["outcome"]] += 1
        if row["outcome"] not in ("killed", "endless"):
            told = {
                "path": row["path"],
                "line": row["lines"][0],
                "operator": row["operator"],
                "diff": row["diff"],
            }
            known = old.get(_name(told), {})
            by = (
                {"class": "killed since", "why": f"`{row['killer'].split('[')[0]}`"}
                if row["outcome"] == "killed since"
                else {}
            )
            survivors.append(
                {
                    **told,
                    "reached": row["reaching"],
                    "class": known.get("class", "left"),
                    "why": known.get("why", "not looked into"),
                    **by,
                }
            )
    return {
        **about,
        "packages": {name: dict(counted) for name, counted in counts.items()},
        "survivors": survivors,
    }


def _name(survivor: Mapping[str, Any]) -> tuple[str, str]:
    return survivor["path"], survivor["diff"]


def _kept() -> dict[str, Any]:
    return dict(json.loads(FIGURES.read_text(encoding="utf-8"))) if FIGURES.exists() else {}


def tables(told: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page, by the mark between which each stands."""
    return {"sample": _sample(told), "score": _score(told), "survivors": _survivors(told)}


def _sample(told: Mapping[str, Any]) -> str:
    """One line of prose: how many mutants, of which seed, shown to how many tests, and when."""
    mutants = sum(sum(counted.values()) for counted in told["packages"].values())
    return (
        f"{mutants:,} mutants drawn with seed {told['seed']}, at most one a place. In turn four are of the core, four of the evidence, "
        f"two of the signals and one of the policy. {told['tests']:,} tests; a mutant meets {told['budget_s']:g} seconds of them at "
        f"most. Operators of mutmut {told['mutmut']}; code of {told['commit']}, {told['date']}."
    )


def _score(told: Mapping[str, Any]) -> str:
    classes: dict[str, Counter[str]] = {name: Counter() for name in told["packages"]}
    for survivor in told["survivors"]:
        package = next(name for name in classes if survivor["path"].startswith(name))
        classes[package][survivor["class"]] += 1
    lines = []
    for name, counted in told["packages"].items():
        lines.append(_line(f"`{name}`", Counter(counted), classes[name]))
    whole = sum((Counter(counted) for counted in told["packages"].values()), Counter())
    lines.append(_line("all", whole, sum(classes.values(), Counter())))
    columns = (
        "package",
        "mutants",
        "noticed at first",
        "equivalent",
        "noticed since",
        "left",
        "score at first",
        "score now",
    )
    return results.markdown(columns, lines)


def _line(name: str, counted: Counter[str], classes: Counter[str]) -> list[str]:
    whole, first = counted.total(), counted["killed"] + counted["endless"]
    meaningful = max(1, whole - classes["equivalent"])
    now = first + classes["killed since"]
    shares = []
    for part in (first, now):
        low, high = wilson(part, meaningful)
        shares.append(f"{100 * part / meaningful:.0f} % ({100 * low:.0f}..{100 * high:.0f})")
    return [name, str(whole), str(first), *(str(classes[one]) for one in CLASSES), *shares]


def _survivors(told: Mapping[str, Any]) -> str:
    grouped: dict[tuple[str, str], list[str]] = {}
    for one in told["survivors"]:
        grouped.setdefault((one["class"], one["why"]), []).append(
            one["path"].rsplit("/", 1)[-1].removesuffix(".py")
        )
    order = sorted(grouped, key=lambda group: (CLASSES.index(group[0]), -len(grouped[group]), group[1]))
    lines = [
        [
            kind,
            why,
            str(len(grouped[kind, why])),
            ", ".join(f"`{name}`" for name in sorted(set(grouped[kind, why]))),
        ]
        for kind, why in order
    ]
    return results.markdown(("what became of it", "why, or by which test", "mutants", "modules"), lines)


def write(
    found: list[dict[str, Any]], packages: Mapping[str, str], about: Mapping[str, Any], *, docs: bool
) -> None:
    """Print the tables; keep the figures and fill the page where `docs` says so."""
    where = {"mutmut": metadata.version("mutmut"), "commit": _commit(), "date": _today()}
    told = figures(found, packages, {**about, **where})
    for name, table in tables(told).items():
        results.console.print(table, markup=False)
        if docs:
            results.write_between(PAGE, name, table)
    if docs:
        results.keep(FIGURES, told)


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=results.ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "no commit"


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
