"""Does a tool act, or does it only look?

Verbs in a name tell most (`models.tools.catalogue`), and lists of verbs end where people name tools after things
(`EmbargoLift`, `my-bookings`, `percent_change`). Here a linear model over the words of a tool's name, of its
description and of its parameters says how sure it is. Where no verb tells it decides, and where it is sure of
the opposite it overrules the verbs; what it may not overrule is said where they are read. It learnt from the
tools of the written tasks, of which the authors say what each does. How well it holds on authors whom it did not
learn from stands in its file, which ``python -m models.heads.acting`` rebuilds.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from models.contracts import Tool
from models.heads.learnt import Learnt, demand_whole, read

BUNDLED = Path(__file__).resolve().parents[1] / "release" / "bundled" / "acting.json"
SURE = 100
"""Log odds, in hundredths, from which on it overrules verbs (chosen on authors held out)."""
LEANING = 50
"""... and below whose opposite a tool of which no verb tells only looks: what leans no further is taken for an act."""
MAX_CHARS = 400
MAX_WORDS = 40
MAX_BEGINNINGS = 6
"""Characters, words and beginnings of sentences of a description that are looked at."""

_UNIT = 1 << 12
_WORDS = re.compile(r"[a-z]+")
BEGINS = re.compile(r"[.!?:]\s+")
"""What parts the sentences of a description."""
_FAMILY = re.compile(r"\A\s*This tool .*?[Dd]escription: ", re.DOTALL)
"""What some catalogues put before each description, of all their tools alike."""


def marks(
    words: Sequence[str], own: Sequence[str], description: str, parameters: Collection[str]
) -> set[str]:
    """What a tool is told by.

    Parameters
    ----------
    words, own : of its whole name, and of the name without its server's or its group's, see `models.tools.catalogue`
    description : "" if it has none
    parameters : words of their names

    >>> sorted(marks(["crm", "list", "leads"], ["list", "leads"], "Lists leads.", ["page"]))
    ['begin lists', 'first lists', 'first of name list', 'group crm', 'last of name leads', 'name leads', 'name list', 'parameter page', 'text leads', 'text lists']
    """
    found = {f"name {word}" for word in own} | {f"parameter {word}" for word in parameters}
    found |= {f"group {word}" for word in words[: max(0, len(words) - len(own))]}
    if own:
        found |= {f"first of name {own[0]}", f"last of name {own[-1]}"}
    text = _FAMILY.sub("", description[:MAX_CHARS], count=1).lower()
    for n, part in enumerate(BEGINS.split(text)[:MAX_BEGINNINGS]):
        if begun := _WORDS.findall(part[:40]):
            found |= {f"begin {begun[0]}"} | ({f"first {begun[0]}"} if n == 0 else set())
    return found | {f"text {word}" for word in _WORDS.findall(text)[:MAX_WORDS]}


class Acting:
    """How sure it is that a tool acts.

    Parameters
    ----------
    weights : by mark, in units of 1 / 4096 of log odds
    bias : likewise
    """

    def __init__(self, weights: Mapping[str, int], bias: int) -> None:
        self._weights = dict(weights)
        self._bias = bias

    def of(self, found: Collection[str]) -> int:
        """Log odds that a tool with these marks acts, in hundredths; 0 for one of which no mark is known."""
        known = [weight for mark in found if (weight := self._weights.get(mark)) is not None]
        return 100 * (sum(known) + self._bias) // _UNIT if known else 0


@lru_cache(maxsize=1)
def bundled() -> Acting:
    """What comes with the code."""

    def made_of(document: Any) -> Acting:
        weights, bias = document["weights"], document["bias"]
        demand_whole((bias, *weights.values()))
        return Acting(weights, bias)

    return read(BUNDLED, "models.heads.acting", made_of)


_IN_USE = Learnt(bundled)
current, instead = _IN_USE.current, _IN_USE.instead


# ------------------------------------------------------------------ learning it


class Said(NamedTuple):
    """A tool of the written tasks, and whether its author says that it acts."""

    author: str
    tool: Tool
    acts: bool


def tools(without: Collection[str] = ()) -> list[Said]:
    """The tools to learn from, but for those of some authors."""
    from models.training.scenarios import written_tasks

    catalogues = written_tasks.catalogues()
    return [
        Said(file["author"], Tool.model_validate(tool), written["does"] != "read")
        for name, file in written_tasks.to_learn_from(without).items()
        for tool, written in zip(catalogues[name], file["tools"], strict=True)
    ]


def fit(told: Sequence[Said]) -> Acting:
    """Logistic regression on each tool as it is, by its name alone, and as if its name said nothing.

    Those that act weigh as much as those that look.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    from models.tools.catalogue import marks_of

    ways = [((one.tool.name, one.tool), (one.tool.name, None), ("", one.tool)) for one in told]
    seen = [marks_of(name, tool) for each in ways for name, tool in each]
    columns = DictVectorizer()
    X = columns.fit_transform([dict.fromkeys(sorted(found), 1) for found in seen])
    model = LogisticRegression(class_weight="balanced", max_iter=3000)
    model.fit(X, [one.acts for one in told for _ in range(3)])
    weights = {name: round(float(model.coef_[0][at]) * _UNIT) for name, at in columns.vocabulary_.items()}
    return Acting({n: w for n, w in sorted(weights.items()) if w}, round(float(model.intercept_[0]) * _UNIT))


def unread() -> Iterator[tuple[list[str], Acting]]:
    """The authors of written tasks, half of them at a time, each half with what learnt from the other."""
    from models.training.scenarios import written_tasks

    for half in written_tasks.halves():
        yield half, fit(tools(without=half))


def measured(found: Acting, told: Sequence[Said]) -> dict[str, float]:
    """On these tools: area under the ROC curve; per cent taken for the other kind, by verbs and with what was learnt.

    By all that is declared of them, and by their names alone, as of tools that no catalogue lists.
    """
    from sklearn.metrics import roc_auc_score

    from models.tools.catalogue import facts_of, marks_of

    acts = [one.acts for one in told]
    odds = [found.of(marks_of(one.tool.name, one.tool)) for one in told]
    kept = {"area": round(float(roc_auc_score(acts, odds)), 4)}
    for way, used in (("by verbs", Acting({}, 0)), ("with what was learnt", found)):
        for seen, declared in (("", True), (", by name alone", False)):
            with instead(used):
                taken = [
                    facts_of(one.tool.name, one.tool if declared else None, {}).action != "read"
                    for one in told
                ]
            for kind, truth in (("looks taken for acts", False), ("acts taken for looks", True)):
                wrong = [is_ != truth for is_, one in zip(taken, acts, strict=True) if one == truth]
                kept[f"{kind}{seen}, {way}"] = round(100 * sum(wrong) / len(wrong), 1)
    return kept


def main() -> None:
    """Learn it, measure it on authors that it did not learn from, write the file."""
    told = tools()
    kept: dict[str, Any] = {}
    for half, other in unread():
        theirs = [one for one in told if one.author in half]
        kept[f"{', '.join(half)}, learnt on the others"] = measured(other, theirs)
    found = fit(told)
    document = {
        "measured": kept,
        "command": "python -m models.heads.acting",
        "tools": len(told),
        "bias": found._bias,
        "weights": found._weights,
    }
    BUNDLED.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n")
    for name, value in kept.items():
        sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    from models.heads import acting

    acting.main()  # the module that `models.tools.catalogue` knows, not this second one of its name
