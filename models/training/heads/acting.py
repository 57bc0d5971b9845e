"""Fits `models.heads.acting` on the tools of the written tasks, of which the authors say what each does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.contracts import Tool
from models.heads.acting import UNIT, Acting
from models.tools.facts import facts_of, marks_of
from models.training.scenarios import written_tasks


class LabelledTool(NamedTuple):
    """A tool of the written tasks, and whether its author says that it acts."""

    author: str
    tool: Tool
    acts: bool


def labelled_tools(without: Collection[str] = ()) -> list[LabelledTool]:
    """The tools to learn from, but for those of some authors."""
    catalogues = written_tasks.catalogues()
    return [
        LabelledTool(file["author"], Tool.model_validate(tool), written["does"] != "read")
        for name, file in written_tasks.to_learn_from(without).items()
        for tool, written in zip(catalogues[name], file["tools"], strict=True)
    ]


def fit(tools: Sequence[LabelledTool]) -> Acting:
    """Logistic regression on each tool as it is, by its name alone, and as if its name said nothing.

    Those that act weigh as much as those that look.
    """
    ways = [((t.tool.name, t.tool), (t.tool.name, None), ("", t.tool)) for t in tools]
    rows = [marks_of(name, tool) for each in ways for name, tool in each]
    columns = DictVectorizer()
    X = columns.fit_transform([dict.fromkeys(sorted(row), 1) for row in rows])
    model = LogisticRegression(class_weight="balanced", max_iter=3000)
    model.fit(X, [t.acts for t in tools for _ in range(3)])
    weights = {name: round(float(model.coef_[0][at]) * UNIT) for name, at in columns.vocabulary_.items()}
    return Acting({n: w for n, w in sorted(weights.items()) if w}, round(float(model.intercept_[0]) * UNIT))


def by_halves() -> Iterator[tuple[list[str], Acting]]:
    """The authors of written tasks, half of them at a time, each half with what learnt from the other."""
    for half in written_tasks.halves():
        yield half, fit(labelled_tools(without=half))


def measured(head: Acting, tools: Sequence[LabelledTool]) -> dict[str, float]:
    """On these tools: area under the ROC curve; per cent taken for the other kind, by verbs and with what was learnt.

    By all that is declared of them, and by their names alone, as of tools that no catalogue lists.
    """
    acts = [t.acts for t in tools]
    odds = [head.of(marks_of(t.tool.name, t.tool)) for t in tools]
    figures = {"area": round(float(roc_auc_score(acts, odds)), 4)}
    for way, used in (("by verbs", Acting({}, 0)), ("with what was learnt", head)):
        for seen, declared in (("", True), (", by name alone", False)):
            taken = [
                facts_of(t.tool.name, t.tool if declared else None, {}, used).action != "read" for t in tools
            ]
            for kind, truth in (("looks taken for acts", False), ("acts taken for looks", True)):
                wrong = [took != truth for took, acting in zip(taken, acts, strict=True) if acting == truth]
                figures[f"{kind}{seen}, {way}"] = round(100 * sum(wrong) / len(wrong), 1)
    return figures


def file() -> dict[str, Any]:
    """What ``acting.json`` holds: learnt from all, measured on authors that were not learnt from."""
    tools = labelled_tools()
    figures: dict[str, Any] = {}
    for half, head in by_halves():
        theirs = [t for t in tools if t.author in half]
        figures[f"{', '.join(half)}, learnt on the others"] = measured(head, theirs)
    head = fit(tools)
    return {"measured": figures, "tools": len(tools), "bias": head.bias, "weights": head.weights}
