"""Label Studio's JSON: sessions as tasks for annotators, with what the model says as predictions, and annotations read back.

By its documented task format and the documented results of ``Choices``, ``Number`` and ``TextArea`` (read for version 1.13).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

from models.contracts import Label
from models.errors import InputError
from models.text.quotes import asked
from models.training.dataset import KINDS
from stream.offline.labels.store import label_of
from stream.offline.recorded import NAMELESS, key_of
from stream.offline.values import plain, shown

KIND, CALL, NOTES, SHOWN_AS = "label", "first_bad_call", "notes", "calls"
"""Names of the controls in the configuration, and of the object that they are about."""
MAX_NOTES = 1024


class Guess(NamedTuple):
    """What a model says of a session: its highest score, the first call that alerts (None: no call), and which model."""

    score: float
    first: int | None
    model: str


def configuration() -> str:
    """The labelling interface, for *Settings, Labeling Interface, Code*: its choices are the kinds that training knows."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$session")
    ElementTree.SubElement(view, "Text", name="intent", value="$intent")
    ElementTree.SubElement(view, "Paragraphs", name=SHOWN_AS, value="$calls", layout="dialogue")
    choices = ElementTree.SubElement(
        view, "Choices", name=KIND, toName=SHOWN_AS, choice="single-radio", required="true"
    )
    for kind in KINDS:
        ElementTree.SubElement(choices, "Choice", value=kind)
    ElementTree.SubElement(view, "Header", value="Number of the first bad call, from 0")
    ElementTree.SubElement(view, "Number", name=CALL, toName=SHOWN_AS, min="0")
    ElementTree.SubElement(view, "TextArea", name=NOTES, toName=SHOWN_AS, placeholder="Why")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def task(session: Mapping[str, Any], guess: Guess | None, *, values: bool) -> dict[str, Any]:
    """A session as a task.

    Parameters
    ----------
    values : whether arguments, results and the intent are shown as they are; otherwise an argument is its path and length, a result
        its length, and the intent has its values masked. Secrets of known shapes stay hidden even then.
    """
    tenant, name = key_of(session)
    text = str(session.get("intent") or "")
    made: dict[str, Any] = {
        "data": {
            "tenant": tenant,
            "session_id": name,
            "session": f"{tenant}/{name}",
            "agent": str(session.get("suite") or NAMELESS),
            "intent": plain(text) if values else asked(text, "masked"),
            "calls": list(_paragraphs(session, values)),
        }
    }
    if guess is not None:
        made["predictions"] = [_prediction(guess)]
    return made


def _paragraphs(session: Mapping[str, Any], values: bool) -> Iterator[dict[str, str]]:
    said = list(session.get("amendments") or ())
    for call in session["calls"]:
        yield from _amended(said, call["seq"], values)
        given = ", ".join(
            f"{row['path']}={row['text']}" if values else f"{row['path']} ({row['length']} characters)"
            for row in shown(call.get("args") or {}, values=values)
        )
        result = call.get("result") or call.get("error") or ""
        text = result if isinstance(result, str) else str(result)
        answer = plain(text) if values else f"{len(text)} characters"
        status = "error" if call.get("error") else "answer"
        yield {
            "author": f"call {call['seq']}: {plain(str(call['tool']))}",
            "text": f"{given}\n{status}: {answer}",
        }
    yield from _amended(said, None, values)


def _amended(said: list[Mapping[str, Any]], before: int | None, values: bool) -> Iterator[dict[str, str]]:
    while said and (before is None or said[0]["before_seq"] <= before):
        text = str(said.pop(0)["text"])
        yield {"author": "user", "text": plain(text) if values else asked(text, "masked")}


def _prediction(guess: Guess) -> dict[str, Any]:
    kind = "benign" if guess.first is None else "hijacked"
    results = [_result(KIND, "choices", {"choices": [kind]})]
    if guess.first is not None:
        results.append(_result(CALL, "number", {"number": guess.first}))
    return {"model_version": guess.model, "score": guess.score, "result": results}


def _result(control: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": SHOWN_AS, "type": kind, "value": dict(value)}


class Read(NamedTuple):
    """Labels of an export, and how many annotations were cancelled, or said nothing of the kind."""

    labels: list[Label]
    n_cancelled: int
    n_silent: int


def read(tasks: Any, where: str) -> Read:
    """The labels in Label Studio's export as JSON: each annotator's word on each session.

    Raises
    ------
    InputError
        It is no such export, or an annotation is no label.
    """
    if not isinstance(tasks, list):
        raise InputError(
            f"{where} is no export of Label Studio: export as JSON (not JSON-MIN or CSV), which is a list of tasks"
        )
    labels: list[Label] = []
    cancelled = silent = 0
    for number, each in enumerate(tasks, 1):
        place = f"{where}, task {number}"
        data, annotations = _parts(each, place)
        for annotation in annotations:
            if annotation.get("was_cancelled"):
                cancelled += 1
            elif (row := _row(data, annotation, place)) is None:
                silent += 1
            else:
                labels.append(label_of(row, place))
    return Read(labels, cancelled, silent)


def _parts(each: Any, place: str) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    data = each.get("data") if isinstance(each, dict) else None
    annotations = each.get("annotations") if isinstance(each, dict) else None
    sound = isinstance(annotations, list) and all(isinstance(one, dict) for one in annotations)
    if not isinstance(data, dict) or not sound or not {"tenant", "session_id"} <= data.keys():
        raise InputError(
            f"{place}: it has no annotations, or no tenant and session_id in its data; export as JSON (not JSON-MIN) what was imported from "
            "`driftline labels export`"
        )
    return data, annotations or []


def _row(data: Mapping[str, Any], annotation: Mapping[str, Any], place: str) -> dict[str, Any] | None:
    """An annotation as a row of a label store; None where it says nothing of the kind."""
    results = annotation.get("result")
    said = {
        one.get("from_name"): one["value"]
        for one in (results if isinstance(results, list) else ())
        if isinstance(one, dict) and isinstance(one.get("value"), dict)
    }
    choices = said.get(KIND, {}).get("choices")
    if not choices:
        return None
    if not isinstance(choices, list) or len(choices) != 1:
        raise InputError(f"{place}: an annotation chooses {choices!r}; a session is of one kind")
    number = said.get(CALL, {}).get("number")
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    return {
        "tenant": data["tenant"],
        "session_id": data["session_id"],
        "label": choices[0],
        "call_seq": number,
        "whence": "import",
        "who": _who(annotation.get("completed_by")),
        "when": annotation.get("updated_at") or annotation.get("created_at"),
        "notes": " ".join(_texts(said.get(NOTES, {}).get("text")))[:MAX_NOTES] or None,
    }


def _who(completed_by: Any) -> str:
    """An annotator: by mail address where the export has it, else by number."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return f"label-studio:{completed_by}"


def _texts(text: Any) -> Iterable[str]:
    return [text] if isinstance(text, str) else [str(each) for each in text or ()]
