"""What a call does that goes through a general tool: found where it is said, and left alone where nothing says it."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evidence.dispatch import dispatched
from models.evidence.features.registry import FEATURES
from models.evidence.nested_json import document
from models.evidence.plain_code import MAX_CALLS, MAX_CODE
from models.release.readers import load
from models.text.documents import arguments_in
from models.tools.facts import facts_of
from stream.offline.rows import feature_rows
from tests import builders as b

GIVEN = {"recipient": "eve@x-77.com", "amount": 50}
GENERAL: dict[str, Any] = {
    name: {}
    for name in "method path url body json tool_name action operation arguments input parameters code".split()
}

READERS = load()


def called(arguments: Any, parameters: Any = GENERAL, tool: str = "general") -> tuple[tuple[str, ...], Any]:
    found = dispatched(
        tool, arguments, parameters, lambda name: facts_of(name, None, {}, READERS.acting).action != "read"
    )
    return found.names, found.arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "POST", "path": "/v1/send-money", "body": GIVEN},
        {"method": "post", "path": "/api/send_money", "json": json.dumps(GIVEN)},
        {"tool_name": "send_money", "arguments": GIVEN},
        {"action": "send_money", "input": json.dumps(GIVEN)},
        {"code": "send_money(recipient='eve@x-77.com', amount=50)"},
        {"code": "to = 'eve@x-77.com'\nbank.send_money(recipient=to, amount=50)"},
        {"code": "from bank import send_money\nprint(send_money(recipient='eve@x-77.com', amount=50))"},
    ],
)
def test_what_is_called_inside_names_the_call(arguments: dict[str, Any]) -> None:
    names, given = called(arguments)
    assert names == ("send_money",)
    assert given.get("body", given.get("json", given)) == GIVEN


@pytest.mark.parametrize(
    "given",
    [
        {"arguments": json.dumps(GIVEN)},
        {"parameters": [{"name": name, "value": value} for name, value in GIVEN.items()]},
        {"input": json.dumps(json.dumps(GIVEN))},
    ],
)
def test_documents_in_strings_and_names_with_values_are_opened_for_any_tool(given: dict[str, Any]) -> None:
    names, found = called(given, None)
    assert names == ()
    assert next(iter(found.values())) == GIVEN


@pytest.mark.parametrize(
    "arguments",
    [
        GIVEN,
        {},
        {"name": "Bob", "data": {"city": "Bern"}},
        {"path": "notes.txt", "text": "[draft] call Bob (soon)"},
        {"command": "ls", "timeout": 5},
        {"query": "SELECT count(*) FROM t"},
        {"code": "for i in range(3): print(len(str(i)))"},
        {"code": "this is no code (at all"},
        {"code": "f(" + "x" * MAX_CODE + ")"},
        {"code": "\n".join(f"send_{n}(1)" for n in range(MAX_CALLS + 1))},
        {"method": "fuzzy", "path": "/a"},
        {"": "get", "path": "/a"},
        {"\n": "GET", "path": "/a"},
        {"tool_name": "https://evil.example/drop", "arguments": GIVEN},
        {"tool_name": "send_money", "arguments": "no document"},
        {"body": "[" * 40 + "]" * 40},
        {"body": json.dumps(list(range(300)))},
        {"parameters": [{"name": "mallory.evil-corp.com", "value": "admin"}]},
        {"body": '{"to": "\\ud800x"}'},
        {"parameters": [{"name": "EVIL SECRET", "value": None}]},
    ],
)
def test_what_calls_nothing_inside_stays_as_it_is(arguments: dict[str, Any]) -> None:
    names, found = called(arguments)
    assert names == ()
    assert found is arguments


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"to": "eve", "to": "bob"}', {("body.to.0", "eve"), ("body.to.1", "bob")}),
        ('{"a name that is in truth a whole text": null}', {("body", "a name that is in truth a whole text")}),
        ('{"mallory@evil.com": 5000}', {("body", "mallory@evil.com"), ("body.mallory@evil.com", "5000")}),
        ('{"account": 123456789012345678901234}', {("body.account", "123456789012345678901234")}),
        ('{"to": "eve", "n": 1e3}', {("body.to", "eve"), ("body.n", "1e3")}),
        ('{"a": ' + "[" * 1010 + "]" * 1010 + ', "a": "eve"}', None),
    ],
)  # fmt: skip
def test_nothing_that_a_document_in_a_string_says_is_lost(
    text: str, wanted: set[tuple[str, str]] | None
) -> None:
    read, unread = arguments_in(called({"body": text})[1])
    assert not unread.anything
    assert {(leaf.path, leaf.text) for leaf in read} == (wanted or {("body", text)})


@pytest.mark.parametrize(
    "code",
    [
        "get_ticket = grant_role\nget_ticket(user='eve')",
        "desk.get_ticket = desk.grant_role\ndesk.get_ticket(user='eve')",
        "for get_ticket in [grant_role]: get_ticket('eve')",
        "table['get'](user='eve')",
        "(lambda x: x)(user)('eve')",
        "from bank import send_money as get_balance\nget_balance('eve')",
        "if 0:\n def grant_role(): 0\nget_ticket(1)\ngrant_role('eve')",
        "search_directory('x')\nlist(map(grant_role, ['eve']))",
        "match grant_role:\n case get_ticket: get_ticket('eve')",
        "def f(get_ticket): get_ticket('eve')\nf(grant_role)",
        "type('T', (), {'get_ticket': grant_role}).get_ticket('eve')",
        "class T: get_balance = send_money\nT.get_balance('eve')",
        "reply(4471, 'hello')\ngrant_role('eve')",
        "u = 'eve'\nif 0: u = 'bob'\ngrant_role(u)",
        "set_roles(dict(mallory='admin'), x=mallory)",
        "send_email(to=mallory.address)",
        "send('a' + " * 301 + "'b'" + ")" * 301,
        "x = {'a': 1}\nsend(f'{x['a']}')",
        "type X = int\nsend(1)",
    ],
)
def test_code_whose_calls_may_be_others_stays_a_text(code: str) -> None:
    assert called({"code": code}) == ((), {"code": code})


@pytest.mark.parametrize(
    "more",
    [
        {"action": "view"},
        {"method": "GET", "path": "/x"},
        {"tool": "get_balance", "args": {}},
        {"code": "get_x()"},
    ],
)
def test_no_argument_that_a_tool_does_not_declare_renames_it(more: dict[str, Any]) -> None:
    assert called({**GIVEN, **more}, {"recipient": {}, "amount": {}})[0] == ()
    assert row("send_money", {**GIVEN, **more})["action"] == row("send_money", GIVEN)["action"] == 1


def test_a_mode_is_one_that_the_schema_lists() -> None:
    modes = {"command": {"enum": ["view", "create"]}, "path": {}}
    assert called({"command": "view", "path": "a"}, modes, "editor")[0] == ("view_editor",)
    assert called({"command": "look", "path": "a"}, modes, "editor")[0] == ()
    assert called({"command": "view", "path": "a"}, {"command": {}, "path": {}}, "editor")[0] == ()


MODES = {"properties": {"operation": {"enum": ["add", "divide"]}, "a": {}}}


def test_a_tool_that_only_reads_stays_one() -> None:
    tools = [{"name": "calculator", "description": "Calculates sums.", "parameters": MODES}]
    calls = [
        {"seq": 0, "tool": "calculator", "args": {"operation": "add", "a": 1}, "result": "2", "error": None}
    ]
    session = {"session_id": "s", "intent": "How much is it?", "tools_ref": "x", "calls": calls}
    found = feature_rows([session], {"x": tools}).X[-1]
    assert found[FEATURES.index("action")] == 0


@pytest.mark.parametrize(
    ("method", "url", "names"),
    [
        ("POST", "https://evil.example/get/balance", ("post_request",)),
        ("GET", "https://evil.example/x/y?k=v", ("get_request",)),
        ("DELETE", "//evil.example/get/balance", ("delete_request",)),
        ("POST", "/v1/send-money?back=http://a/get/b", ("send_money",)),
        ("GET", "/v2/users/8831/cards", ("get_cards_users",)),
        ("POST", "/search/transfer", ("transfer_search",)),
        ("POST", "evil.example/get/balance", ("post_request",)),
        ("POST", "/get/ticket/../../grant-role", ("post_request",)),
        ("POST", "/get/%74icket", ("post_request",)),
    ],
)
def test_only_paths_of_the_tools_own_host_name_what_is_done(method: str, url: str, names: Any) -> None:
    found, given = called({"method": method, "url": url})
    assert found == names
    if names[0].endswith("_request"):
        assert given == {"method": method, "url": url} if "method" in given else {"url": url}
    for value in ("8831", "http://a/get/b"):
        assert (value in url) == (value in json.dumps(given))


@pytest.mark.parametrize(
    "code",
    [
        "note = 'k77'\nsend(f'x {note}')",
        "print('k77')\nsend(1)",
        "send(*['k77'], 2)",
        "send(**{'a': 'k77'}, **{'a': 1})",
        "x = 'k77'\nif 0: x = 'other'\nsend(x)",
        "a, b = 'k77', 1\nsend(a)",
        "x: str = 'k77'\nsend(x)",
        "x = 'a'\nx += 'k77'\nsend(x)",
        "[send(x) for x in ('k77', 'b')]",
        "for x in ['k77']: send(x)",
        "send(b'k77')",
        "send(1)  # k77",
        "def f(x='k77'):\n    return send(x)\nf()",
        "'k77'\nsend(text='t', _rest='r')",
        "outer(inner('k77'))",
        "send({'a': {'b': ['k77']}})",
        "send(k77=1)",
        "open('~/x', 'a').write('k77')",
    ],
)
def test_no_text_of_code_is_lost(code: str) -> None:
    _, given = called({"code": code, "text": "beside"})
    told = json.dumps(given)
    assert "k77" in told
    assert "beside" in told


def test_a_first_argument_without_a_name_goes_somewhere() -> None:
    assert called({"code": "send_money('eve@x-77.com', 50)"})[1] == {"target": "eve@x-77.com", "_1": 50}


def test_numbers_of_code_are_kept() -> None:
    for code in (
        "x: int = 7734\nsend('Bob', amount=x)",
        "a.append(7734)\nsend(1)",
        f"send({'9' * 5000 + '7734'})",
    ):
        assert "7734" in json.dumps(called({"code": code})[1])


@pytest.mark.parametrize("label", ["given", "without", "more", "found", "_rest", "self"])
def test_any_name_of_an_argument_is_one(label: str) -> None:
    for arguments in (
        {"code": f"send({label}='k77')  # note"},
        {"tool_name": "send_it", "arguments": {label: "k77"}},
        {label: "k77", "method": "GET", "path": "/x/1?y"},
    ):
        assert "k77" in json.dumps(called(arguments)[1])


def test_names_that_are_taken_stay() -> None:
    _, given = called({"tool_name": "send_money", "arguments": {"note": "a"}, "note": "b"})
    assert sorted(given.values()) == ["a", "b"]
    _, given = called({"method": "GET", "path": "/x/8831?q=EVIL", "asked": "kept"})
    assert {"8831", "q=EVIL", "kept"} <= set(given.values())


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(nested)
def test_any_arguments_can_be_read(arguments: Any) -> None:
    called(arguments)


@given(st.dictionaries(st.sampled_from(["", *GENERAL]), nested, max_size=4))
def test_any_arguments_of_a_general_tool_can_be_read(arguments: Any) -> None:
    called(arguments)


@given(st.text(max_size=60))
def test_any_code_can_be_read(code: str) -> None:
    called({"code": code})
    _, given = called({"code": f"f({code!r})"})
    orjson.dumps(given)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "code",
    [
        "f(" + "-" * 7990 + "1)",
        "f(" + "a." * 3990 + "b)",
        "f(" + "1+" * 3990 + "1)",
        "f(" * 190 + "1" + ")" * 190,
        "f(" + "1if 1 else " * 700 + "1)",
        "f(f'" + "{x}" * 2000 + "')",
        "f('\\d')",
        "f()" + ";f()" * 1900,
        "f(" + "**1," * 1990 + ")",
        "a=[" + "1," * 2000 + "]\nf(" + "a," * 1500 + ")",
        "f('\x00')",
        "f('\ud800')",
    ],
    ids=lambda code: code[:12].encode("ascii", "backslashreplace").decode(),
)
def test_hostile_code_costs_little_and_warns_of_nothing(code: str) -> None:
    began = time.perf_counter()
    called({"code": code})
    assert time.perf_counter() - began < 1  # some 20 ms on any machine


@pytest.mark.parametrize("depth", [100, 1000, 4000])
def test_deep_code_and_documents_are_left_alone(depth: int) -> None:
    called({"code": "f(" + "(" * depth + ")" * depth + ")"})
    called({"code": "f(" + "-" * depth + "1)"})
    called({"x": "[" * depth + "]" * depth})
    assert document("[" * depth) is None


def row(tool: str, arguments: Any, intent: str = "Send 50 to Ann.") -> dict[str, int]:
    tools: list[dict[str, Any]] = [
        {"name": "send_money", "parameters": {"properties": {"recipient": {}, "amount": {}}}},
        *({"name": name, "parameters": {"properties": GENERAL}} for name in ("call_tool", "http", "python")),
        {"name": "read_file"},
    ]
    session = {
        "session_id": "s",
        "intent": intent,
        "tools_ref": "x",
        "calls": [{"seq": 0, "tool": tool, "args": arguments, "result": "done", "error": None}],
    }
    found = feature_rows([session], {"x": tools}).X[-1]
    return dict(zip(FEATURES, found.astype(int).tolist(), strict=True))


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("call_tool", {"tool_name": "send_money", "arguments": GIVEN}),
        ("call_tool", {"tool_name": "send_money", "arguments": json.dumps(GIVEN)}),
        ("python", {"code": f"send_money(recipient={GIVEN['recipient']!r}, amount=50)"}),
    ],
)
def test_a_call_through_a_general_tool_shows_what_the_call_itself_does(tool: str, arguments: Any) -> None:
    assert row(tool, arguments) == row("send_money", GIVEN)


CODE_TOOL = {"name": "run_shell", "parameters": {"properties": {"script": {}}}}


def test_the_tool_keeps_its_class_for_the_policy() -> None:
    listed = b.declared(text="Fetch a page.", tools=[CODE_TOOL])
    script = b.called(seq=1, tool="run_shell", arguments={"script": "get_page('a.b')"})
    assert b.play([listed, script]).decisions[-1]["action"] == "execute"


def test_the_strongest_of_several_calls_tells_what_code_does() -> None:
    mixed = "read_file('a')\ndelete_files('b')\ndelete_files('c')"
    alone, among = (row("python", {"code": code}) for code in ("delete_files('b')", mixed))
    assert alone["destructive"] == among["destructive"] == 1
    assert among["action"] == 1
    assert row("python", {"code": "read_file('a')"})["action"] == 0


@pytest.mark.parametrize(
    ("tool", "action"),
    [({"name": "weather", "description": "Shows the weather of a place."}, 0), ({"name": "weather"}, 1)],
)
def test_a_mode_that_is_no_verb_leaves_the_tools_own_class(tool: dict[str, Any], action: int) -> None:
    listed = {**tool, "parameters": {"properties": {"command": {"enum": ["forecast"]}, "x": {}}}}
    call = {"seq": 0, "tool": "weather", "args": {"command": "forecast", "x": 1}, "result": "", "error": None}
    session = {"session_id": "s", "intent": "How will it be?", "tools_ref": "x", "calls": [call]}
    found = feature_rows([session], {"x": [listed]}).X[-1]
    assert found[FEATURES.index("action")] == action


@pytest.mark.parametrize("code", ["f(0x" + "f" * 4000 + ")", "send_email(to='\\ud800x')", "f('a')\n" * 40])
def test_odd_code_is_judged(code: str) -> None:
    listed = b.declared(text="Fetch a page.", tools=[CODE_TOOL])
    odd = b.called(seq=1, tool="run_shell", arguments={"script": code, "": "get"})
    run = b.play([listed, odd])
    assert run.decisions[-1]["session_id"] == "s"
    assert not run.of("agent.quarantine.v1")
