"""What an analyst says of a case on its page: signed in their name, once, by nobody else, and told as soon as a worker has told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from starlette.testclient import TestClient

from models.errors import BrokerError, ConfigError
from stream.console import saying
from stream.console.guard import Access
from stream.console.index import Kept
from stream.console.provider import Person
from stream.console.saying import MEANS, Saying
from stream.console.site import application
from stream.events import FEEDBACK, Record, dumps
from stream.feedback import SignedFeedback
from stream.offline.trail import build
from stream.outbound.act import Actor
from stream.outbound.feedback import MAX_COMMENT, VERDICTS
from stream.shell.outputs import claims_of
from tests.unit.test_breaker import KEYS, log, rulings
from tests.unit.test_console import HOST, PAYLOADS, TOKEN, Tags, indexed, records

__all__ = ["records"]
ISSUER = "https://driftline.example.com/ssf"
KEY = ECKey.generate_key("P-256", {"kid": "console"})
ADA = Person("ada", "analyst", "https://sso.example.com", "0001")
OWN = {"origin": HOST}


class Bench:
    """A console over a case, with all that it put on the bus."""

    def __init__(
        self, records: Sequence[Record], person: Person | None = ADA, key: Any = KEY, **how: Any
    ) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fails: BaseException | None = None
        self.index = indexed(records)
        (self.case,) = self.index.cases()
        self.access = Access({"127.0.0.1:8800"}, may_judge=key is not None, **how)
        made = None if key is None else Saying(key, ISSUER, self.send)
        self.app = application(self.index, self.access, saying=made)
        self.pages = self.browser(person)

    def send(self, tenant: str, token: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.sent.append((tenant, token))

    def browser(self, person: Person | None) -> TestClient:
        pages = TestClient(self.app, base_url=HOST, follow_redirects=False)
        if person is not None:
            self.access.provider = object()  # type: ignore[assignment]  # there is one, and nobody asks it here
            pages.cookies.set(self.access.cookie, self.access.sign_in(person))
        return pages

    @property
    def path(self) -> str:
        return f"/sessions/{self.case.case_id}"

    def text(self, pages: TestClient | None = None) -> str:
        return (pages or self.pages).get(self.path).text

    def form(self, pages: TestClient | None = None) -> str:
        return re.findall(r'name="form" value="([^"]+)"', self.text(pages))[0]

    def say(
        self,
        form: str | None = None,
        verdict: str = "false_positive",
        comment: str = "the payee is ours",
        **how: Any,
    ) -> Any:
        given = {"form": self.form() if form is None else form, "verdict": verdict, "comment": comment}
        return (how.pop("pages", None) or self.pages).post(
            f"{self.path}/feedback", data=given, headers=OWN, **how
        )

    def works(self) -> None:
        """Let a worker read what was sent, and the console what that tells."""
        keys = {"keys": [KEY.as_dict(private=False)]}
        actor = Actor(KEYS, rulings().read, SignedFeedback(keys, ISSUER).read)
        said = [{"type": "feedback.given", "tenant": tenant, "token": token} for tenant, token in self.sent]
        later = [each._replace(timestamp_ms=4_000_000_000_000) for each in log(*said)]
        for n, output in enumerate(actor.act(later)):
            self.index.take(
                Record(output.topic, 0, 900 + n, 0, "none", output.key, output.headers, output.value)
            )


@pytest.fixture
def bench(records: list[Record]) -> Bench:
    return Bench(records)


def test_each_verdict_of_the_command_line_is_offered_and_no_other(bench: Bench) -> None:
    assert tuple(MEANS) == VERDICTS
    assert tuple(re.findall(r'type="radio" name="verdict" value="(\w+)"', bench.text())) == VERDICTS


@pytest.mark.parametrize("verdict", VERDICTS)
def test_what_an_analyst_says_is_signed_by_the_console_in_their_name_and_told(
    bench: Bench, verdict: str
) -> None:
    answer = bench.say(verdict=verdict)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{bench.path}#said")
    ((tenant, token),) = bench.sent
    claims = claims_of(token.encode())
    assert (tenant, claims["by"], claims["verdict"], claims["case_id"]) == (
        "acme",
        "ada",
        verdict,
        bench.case.case_id,
    )
    assert claims["sub_id"] == {"format": "iss_sub", "iss": ADA.issuer, "sub": ADA.subject}
    heard = SignedFeedback({"keys": [KEY.as_dict(private=False)]}, ISSUER).read(token)
    assert (heard.key, heard.said.by, heard.said.comment) == ("console", "ada", "the payee is ours")
    assert "is on its way" in bench.text()
    bench.works()
    page = Tags(bench.text()).text
    assert "is on its way" not in page
    assert f"{verdict} by ada, signed by console" in page
    assert "the payee is ours" in page
    assert f"{verdict} by ada" in bench.pages.get("/").text


def test_a_reload_a_second_click_and_a_form_of_before_say_nothing_twice(bench: Bench) -> None:
    form = bench.form()
    for _ in range(3):
        assert bench.say(form).status_code == 303
    assert bench.say(form, "reopen", "otherwise").status_code == 303
    assert len(bench.sent) == 1
    assert bench.say(verdict="reopen", comment="taken back").status_code == 303
    bench.works()
    (case,) = bench.index.cases()
    assert case.feedback == "reopen by ada"


def test_the_last_word_said_again_by_the_same_person_is_said_no_more(bench: Bench) -> None:
    bench.say()
    bench.say()
    bench.works()
    bench.say()
    assert len(bench.sent) == 1
    bench.say(pages=bench.browser(ADA._replace(name="mo", subject="0002")), form=None)
    assert len(bench.sent) == 1  # mo has not ada's form
    mo = bench.browser(ADA._replace(name="mo", subject="0002"))
    bench.say(bench.form(mo), pages=mo)
    bench.say(verdict="reopen")
    bench.say()
    assert [claims_of(token.encode())["by"] for _, token in bench.sent] == ["ada", "mo", "ada", "ada"]


def test_what_no_worker_tells_of_can_be_said_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.say()
    bench.say()
    assert len(bench.sent) == 1
    monkeypatch.setattr(saying, "AGAIN_S", 0.0)
    bench.say()
    assert len(bench.sent) == 2


def test_a_reader_s_address_of_the_form_leads_to_the_page(bench: Bench) -> None:
    answer = bench.pages.get(f"{bench.path}/feedback")
    assert (answer.status_code, answer.headers["location"]) == (303, bench.path)


def test_an_audit_tells_the_person_as_the_provider_knows_them_and_the_key(bench: Bench) -> None:
    bench.say()
    bench.works()
    document = {"type": "feedback.given", "tenant": "acme", "token": bench.sent[0][1]}
    bench.index.take(Record(FEEDBACK, 0, 1, 0, "none", b"acme", (), dumps(document)))
    name = bench.case.name
    assert name is not None
    trail = build(
        Kept(bench.index, bench.case), name.session, bench.index.inputs, tenant=name.tenant, root=name.root
    )
    told = trail.of("alert")[-1]
    assert told.text.endswith("says ada, signed by the key console: the payee is ours")
    assert (told.data["feedback"]["by"], told.data["feedback"]["key"]) == ("ada", "console")
    (said,) = trail.of("feedback")
    assert said.text.startswith("ada, 0001 at https://sso.example.com, says false_positive")
    assert said.data["person"] == {"iss": ADA.issuer, "sub": ADA.subject}


# ------------------------------------------------------------------------ who may


def test_a_viewer_has_no_form_and_says_nothing_with_somebody_else_s(bench: Bench) -> None:
    viewer = bench.browser(ADA._replace(name="eve", role="viewer"))
    text = bench.text(viewer)
    assert 'name="form"' not in text
    assert "analysts say it" in text
    assert "driftline feedback" in text
    assert "eve, viewer" in Tags(text).text
    answer = bench.say(bench.form(), pages=viewer)
    assert (answer.status_code, bench.sent) == (403, [])
    assert "You are a viewer here" in answer.text


def test_without_a_key_the_page_tells_the_command_and_takes_nothing(records: list[Record]) -> None:
    bench = Bench(records, None, None)
    text = bench.text()
    assert 'name="form"' not in text
    assert "This console has no key" in text
    assert "driftline feedback" in text
    assert ", viewer" not in Tags(text).text
    assert bench.say("x").status_code == 403


def test_on_loopback_and_with_a_token_the_name_is_the_key_s(records: list[Record], tmp_path: Path) -> None:
    bench = Bench(records, None)
    assert bench.say().status_code == 303
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    token = Bench(records, None, token_file=tmp_path / "token")
    assert token.pages.post("/login", data={"token": TOKEN}, headers=OWN).status_code == 303
    assert token.say().status_code == 303
    for each in (bench, token):
        claims = claims_of(each.sent[0][1].encode())
        assert claims["by"] == "console"
        assert "sub_id" not in claims


def test_where_people_are_known_the_token_is_nobody_s_and_only_reads(
    records: list[Record], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    bench = Bench(records, token_file=tmp_path / "token")
    other = bench.browser(None)
    assert other.post("/login", data={"token": TOKEN}, headers=OWN).status_code == 303
    assert 'name="form"' not in bench.text(other)
    assert bench.say(bench.form(), pages=other).status_code == 403
    bearer = {"authorization": f"Bearer {TOKEN}", **OWN}
    answer = bench.browser(None).post(f"{bench.path}/feedback", data={"form": bench.form()}, headers=bearer)
    assert (answer.status_code, bench.sent) == (403, [])


def test_nobody_says_anything_before_signing_in_or_after_signing_out(bench: Bench) -> None:
    form = bench.form()
    assert bench.say(form, pages=bench.browser(None)).status_code == 401
    assert bench.pages.post("/logout", headers=OWN).status_code == 303
    assert bench.say(form).status_code == 401
    assert bench.sent == []


# ------------------------------------------------------------------------ another page's, another form's


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
        {"origin": "null", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8801"},
        {"sec-fetch-site": "same-origin"},
    ],
)
def test_another_page_says_nothing_in_an_analyst_s_name_whatever_form_it_has(
    bench: Bench, headers: dict[str, str]
) -> None:
    given = {"form": bench.form(), "verdict": "benign", "comment": "x"}
    answer = bench.pages.post(f"{bench.path}/feedback", data=given, headers=headers)
    assert (answer.status_code, bench.sent) == (403, [])


def test_a_form_counts_in_its_session_and_for_its_case_alone(bench: Bench) -> None:
    other = bench.browser(ADA._replace(name="eve", subject="0002"))
    name, _, seal = bench.form().partition(".")
    forged = bench.access.sealed("form", "", bench.case.case_id, name)
    of_another_case = bench.access.sealed("form", bench.pages.cookies["driftline"], "0" * 32, name)
    for form in (
        "",
        ".",
        name,
        f"{name}.",
        f"{name}.{seal[:-1]}",
        f"x{name}.{seal}",
        f"{name}.{forged}",
        f"{name}.{of_another_case}",
        "é.é",
        bench.form(other),
    ):
        answer = bench.say(form)
        assert answer.status_code == 403, form
        assert "of another sign-in" in answer.text
    assert bench.sent == []


@pytest.mark.parametrize(
    ("verdict", "comment", "status", "says"),
    [
        ("", "x", 400, "choose one of"),
        ("allow", "x", 400, "choose one of"),
        ("TRUE_POSITIVE", "x", 400, "choose one of"),
        ("benign", "", 400, "give a reason"),
        ("benign", " \r\n\t ", 400, "give a reason"),
        ("benign", "\u202e\u200b", 400, "give a reason"),
        ("benign", "é" * (MAX_COMMENT + 1), 400, "1001 characters"),
        ("benign", "é" * 9_999, 413, "too much"),
    ],
)
def test_what_is_no_verdict_with_a_reason_is_refused_with_the_mend(
    bench: Bench, verdict: str, comment: str, status: int, says: str
) -> None:
    answer = bench.say(verdict=verdict, comment=comment)
    assert (answer.status_code, bench.sent) == (status, [])
    assert says in answer.text
    assert answer.headers["content-security-policy"]


def test_an_error_keeps_what_was_written(bench: Bench) -> None:
    text = bench.say(verdict="", comment="a </textarea><b>long</b> story").text
    assert "a &lt;/textarea&gt;&lt;b&gt;long&lt;/b&gt; story</textarea>" in text
    assert re.search('value="benign" required checked', bench.say(verdict="benign", comment="").text)


def test_a_body_that_is_no_form_is_none(bench: Bench) -> None:
    for body in (b"", b"\xff\xfe", b"&" * 99, b"form=x&" * 99, b'{"verdict": "benign"}'):
        answer = bench.pages.post(f"{bench.path}/feedback", content=body, headers=OWN)
        assert answer.status_code in (403, 413)
    assert bench.sent == []


def test_of_a_session_without_a_case_and_of_none_nothing_is_said(bench: Bench) -> None:
    quiet = next(row for row in bench.index.sessions() if not row.finding)
    assert 'id="say"' not in bench.pages.get(f"/sessions/{quiet.case_id}").text
    answer = bench.pages.post(f"/sessions/{quiet.case_id}/feedback", data={"form": "x"}, headers=OWN)
    assert (answer.status_code, bench.sent) == (409, [])
    assert (
        bench.pages.post(f"/sessions/{'0' * 32}/feedback", data={"form": "x"}, headers=OWN).status_code == 404
    )


# ------------------------------------------------------------------------ what others wrote


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_reason_and_a_name_are_no_markup(records: list[Record], payload: str) -> None:
    name = re.sub(r"[^ -~]", "", payload)
    bench = Bench(records, ADA._replace(name=name))
    assert bench.say(comment=f"{payload} because").status_code == 303
    texts = [bench.text(), bench.say(verdict="", comment=payload).text]
    bench.works()
    texts += [bench.text(), bench.pages.get("/").text]
    for text in texts:
        page = Tags(text)
        assert name in page.text
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert "img" not in {tag for tag, _ in page.tags}
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", page.text)
    assert "because" in Tags(texts[2]).text


def test_a_secret_in_a_reason_is_told_by_its_digest(bench: Bench) -> None:
    secret = "ghp_" + "a1" * 18
    bench.say(comment=f"it used {secret}")
    assert secret not in str(claims_of(bench.sent[0][1].encode()))
    bench.works()
    assert secret not in bench.text()
    assert "secret-sha256:" in bench.text()


# ------------------------------------------------------------------------ a bus that fails


def test_a_broker_that_is_away_is_a_sentence_and_the_form_can_be_sent_again(bench: Bench) -> None:
    bench.fails = BrokerError("no broker answers at 127.0.0.1:1")
    form = bench.form()
    answer = bench.say(form)
    assert answer.status_code == 503
    assert "It is not known whether it was said: no broker answers" in answer.text
    assert "is on its way" not in bench.text()
    bench.fails = None
    assert bench.say(form).status_code == 303
    assert len(bench.sent) == 1


def test_so_many_are_sent_at_once_and_no_more(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "MAX_SENDING", 0)
    full = Bench(records)
    answer = full.say()
    assert (answer.status_code, full.sent) == (503, [])
    assert "in a moment" in answer.text


def test_what_waits_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "MAX_WAITING", 0)
    assert bench.say().status_code == 303
    assert "is on its way" not in bench.text()


def test_a_key_whose_name_no_verdict_could_carry_is_refused() -> None:
    with pytest.raises(ConfigError, match="kid"):
        Saying(ECKey.generate_key("P-256", {"kid": "k" * 65}), ISSUER, lambda tenant, token: None)
