"""The console's pages in a real browser: in both themes, on a desk and on a phone, without one violation of their policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from joserfc.jwk import ECKey
from playwright.sync_api import Browser, Error, Page, sync_playwright

from stream.console.drifted import Drifted
from stream.console.index import Index
from stream.console.saying import Saying
from stream.events import ALERTS, EVENTS, Record
from tests.conftest import absent
from tests.console.served import Served
from tests.unit import test_console_drift
from tests.unit.test_console import PAYLOADS, TOKEN, attacked, finding, indexed, records, told
from tests.unit.test_console_queue import asked, written

__all__ = ["records"]
pytestmark = pytest.mark.slow
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = shutil.which("chromium")
        try:
            # In CI everything runs as root, where Chromium's own sandbox cannot.
            yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error:
            if found is not None:
                raise
            absent("NOT RUN: Chromium is needed; apt-get install chromium, or playwright install chromium")


@pytest.fixture(scope="module")
def serve(records: list[Record]) -> Iterator[Any]:
    running: list[Served] = []

    def start(made: Index, *of: Any, **how: Any) -> Served:
        running.append(Served(made, *of, **how))
        return running[-1]

    yield start
    for each in running:
        each.close()


class Watched:
    """A browser's page, and all that it complained of."""

    def __init__(self, browser: Browser, theme: Any, size: str) -> None:
        width, height = SIZES[size]
        self._context = browser.new_context(
            color_scheme=theme, viewport={"width": width, "height": height}, has_touch=size == "phone"
        )
        self._context.add_init_script(WATCH)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def violations(self) -> Sequence[str]:
        return [*self.page.evaluate("window.violations"), *self.complaints]

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()


def drift_of(folder: Path) -> Drifted:
    """A comparison of which something moved, was not there before, and is suggested."""
    tools = {"pay" * 40: {"before": 0.0, "now": 0.5, "score": None}}
    moved = test_console_drift.tenant(
        features={"new_words": test_console_drift.shift(0.4)}
        | {f"{n:0100}": test_console_drift.shift() for n in range(9)},
        tools=tools,
    )
    line = test_console_drift.line("acme")
    return test_console_drift.written(
        folder, {"acme": moved, "quiet" * 40: test_console_drift.tenant()}, line
    )


def paths(made: Index) -> list[str]:
    pages = ["/", "/?show=all", "/queue", "/overview", "/coverage", "/drift", "/health"]
    return [*pages, *(f"/sessions/{case_id}" for case_id in made.rows)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_each_page_opens_without_a_violation_or_an_error_and_fits(
    browser: Browser, serve: Any, records: list[Record], theme: str, size: str, tmp_path: Path
) -> None:
    names = ("support-refund-lookup", "finance-invoice-iban-swap", "gone" * 60)
    served = serve(indexed(records), queue=written(tmp_path, *map(asked, names)), drift=drift_of(tmp_path))
    with Watched(browser, theme, size) as seen:
        for path in paths(served.index):
            seen.page.goto(f"http://{served.host}{path}")
            seen.page.wait_for_selector("#state:text('live')")
            assert seen.violations() == [], path
            assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(20, 23, 27)" if theme == "dark" else "rgb(255, 255, 255)")
        assert {url.split("/")[2] for url in seen.requests} == {served.host}


def inaccessible(page: Page) -> list[str]:
    """What of WCAG 2.2 AA axe-core misses in a page: the rule, and the element that breaks it."""
    found = Axe().run(page, options=WCAG).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_each_page_meets_wcag_as_far_as_axe_sees(
    browser: Browser, serve: Any, records: list[Record], theme: str, size: str, tmp_path: Path
) -> None:
    made = indexed(records)
    said = Saying(ECKey.generate_key("P-256"), "https://driftline.example.com/ssf", lambda *_: None)
    queue = written(tmp_path, asked("finance-invoice-iban-swap"), asked("gone"))
    served = serve(made, saying=said, queue=queue, drift=drift_of(tmp_path))
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    closed = serve(Index({EVENTS: None}), tmp_path / "token")
    with Watched(browser, theme, size) as seen:
        for path in [*paths(made), "/sessions/of-nobody", "/?q=found-nowhere"]:
            seen.page.goto(f"http://{served.host}{path}")
            assert inaccessible(seen.page) == [], path
        seen.page.keyboard.press("?")
        assert inaccessible(seen.page) == []
        seen.page.goto(f"http://{closed.host}/")
        assert "login" in seen.page.url
        assert inaccessible(seen.page) == []


def test_axe_sees_what_nobody_can_read(browser: Browser, serve: Any, records: list[Record]) -> None:
    served = serve(indexed(records))
    with Watched(browser, "light", "desk") as seen:
        seen.page.goto(f"http://{served.host}/")
        seen.page.evaluate("document.querySelector('h1').style.color = '#eeeeee'")
        assert any(found.startswith("color-contrast: <h1") for found in inaccessible(seen.page))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_stored_attacks_do_not_run(browser: Browser, serve: Any, records: list[Record], payload: str) -> None:
    served = serve(attacked(records, payload))
    with Watched(browser, "dark", "desk") as seen:
        for path in [
            *paths(served.index),
            f"/?q={payload[:40]}&tool=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        ]:
            seen.page.goto(f"http://{served.host}{path}")
            seen.page.wait_for_selector("#state:text('live')")
            assert seen.violations() == [], path
            assert seen.page.evaluate("document.scripts.length") == 1
        # What comes live goes another way into the page.
        seen.page.goto(f"http://{served.host}/")
        seen.page.wait_for_selector("#state:text('live')")
        new = finding(f"{payload}new", 5, finding_info={"uid": "x", "title": f"{payload} fresh"})
        served.index.take(told(ALERTS, new))
        seen.page.wait_for_selector("text=fresh", timeout=15_000)
        assert seen.violations() == []
        assert seen.page.evaluate("document.scripts.length") == 1


def test_the_policy_is_watched_at_all(browser: Browser, serve: Any, records: list[Record]) -> None:
    served = serve(indexed(records))
    with Watched(browser, "light", "desk") as seen:
        seen.page.goto(f"http://{served.host}/")
        seen.page.evaluate(
            "document.body.append(Object.assign(document.createElement('img'), {src: 'https://evil.example/x'}))"
        )
        seen.page.wait_for_function("window.violations.length > 0")
        assert seen.complaints


def test_keys_lead_through_the_list_and_back_and_toggle_the_theme(browser: Browser, serve: Any) -> None:
    served = serve(indexed([told(ALERTS, finding(f"s-{n}", 5 - n)) for n in range(3)]))
    with Watched(browser, "light", "desk") as seen:
        page = seen.page
        page.goto(f"http://{served.host}/?agent=agent")
        for key in ("j", "j", "k", "j"):
            page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.closest('li').querySelector('.who').textContent")
        page.keyboard.press("Enter")
        page.wait_for_url("**/sessions/*")
        assert "s-1" in page.title()
        assert "s-1" in focused
        page.keyboard.press("u")
        page.wait_for_url("**/?agent=agent")
        page.keyboard.press("?")
        assert page.evaluate("document.getElementById('keys').open")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"
        page.keyboard.type("jt?")  # letters, not keys
        assert page.evaluate("document.activeElement.value") == "jt?"
        page.keyboard.press("Escape")
        page.keyboard.press("t")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert seen.violations() == []


def test_from_the_queue_one_key_leads_to_the_session_to_judge(
    browser: Browser, serve: Any, records: list[Record], tmp_path: Path
) -> None:
    served = serve(indexed(records), queue=written(tmp_path, asked("finance-invoice-iban-swap")))
    with Watched(browser, "light", "desk") as seen:
        seen.page.goto(f"http://{served.host}/queue")
        seen.page.keyboard.press("j")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/sessions/*")
        assert "finance-invoice-iban-swap" in seen.page.title()
        assert seen.violations() == []


def test_a_page_shows_what_comes_and_keeps_the_place(browser: Browser, serve: Any) -> None:
    served = serve(indexed([told(ALERTS, finding("first", 3))]))
    with Watched(browser, "dark", "desk") as seen:
        page = seen.page
        page.goto(f"http://{served.host}/")
        page.wait_for_selector("#state:text('live')")
        page.keyboard.press("j")
        served.index.take(told(ALERTS, finding("second", 5)))
        page.wait_for_selector("h1:text('2 cases')")
        assert "first" in page.evaluate("document.activeElement.closest('li').textContent")
        assert "second" in page.inner_text("#list li >> nth=0")
        assert seen.violations() == []


def test_signing_in_works_in_a_browser_and_a_reload_stays_signed_in(
    browser: Browser, serve: Any, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    served = serve(Index({EVENTS: None}), tmp_path / "token")
    with Watched(browser, "light", "phone") as seen:
        page = seen.page
        page.goto(f"http://{served.host}/health")
        page.wait_for_url("**/login?to=%2Fhealth")
        page.fill("input[name=token]", TOKEN)
        page.click("main button")
        page.wait_for_url("**/health")
        page.wait_for_selector("#state:text('live')")
        page.goto(f"http://{served.host}/health")
        assert page.inner_text("h1") == "Health"
        assert page.evaluate("document.cookie") == ""
        page.click("text=Sign out")
        page.wait_for_url("**/login")
        assert seen.violations() == []


@pytest.mark.parametrize(("theme", "size"), [("dark", "phone"), ("light", "desk")])
def test_what_is_being_written_stays_while_the_page_renews_and_is_said_once(
    browser: Browser, serve: Any, records: list[Record], theme: str, size: str
) -> None:
    made, sent = indexed(records), []
    key = ECKey.generate_key("P-256", {"kid": "console"})
    said = Saying(key, "https://driftline.example.com/ssf", lambda tenant, token: sent.append(token))
    served = serve(made, saying=said)
    (case,) = made.cases()
    with Watched(browser, theme, size) as seen:
        page = seen.page
        page.goto(f"http://{served.host}/sessions/{case.case_id}")
        page.wait_for_selector("#state:text('live')")
        page.keyboard.press("f")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        page.keyboard.type("the payee is ours, just ask")  # letters, not keys
        alert = finding("finance-invoice-iban-swap", 5, 99)
        alert["unmapped"]["feedback"] = {
            "verdict": "unsure",
            "by": "<b>mo</b>",
            "key": "mo",
            "time": "2026-03-02",
        }
        made.take(told(ALERTS, alert, 5_000))
        page.wait_for_selector("#said :text('<b>mo</b>')")
        assert page.evaluate("document.activeElement.value") == "the payee is ours, just ask"
        assert page.is_checked("input[value=false_positive]")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=is on its way")
        for _ in range(2):
            page.reload()
        page.go_back()
        page.wait_for_selector("text=is on its way")
        page.check("input[value=false_positive]")
        page.fill("#say textarea", "the payee is ours, just ask")
        page.click("text=Say it")  # the same once more
        page.wait_for_load_state()
        assert len(sent) == 1
        assert seen.violations() == []
