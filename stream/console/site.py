"""The console's pages: an ASGI application over an `Index`, rendered on the server, with a hundred lines of script to keep them live."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from models.errors import DriftlineError, InputError
from stream.console import drifted, listing
from stream.console.drifted import Drifted
from stream.console.entrance import Entrance, posted
from stream.console.guard import Access, Guard
from stream.console.index import Alarm, Index, Kept, Row
from stream.console.queue import COMMAND, Queue
from stream.console.saying import MAX_FORM, MEANS, Refused, Saying
from stream.console.story import FATES, Story, standing, told
from stream.events import ALERTS, counted, printable, rfc3339
from stream.offline.coverage import MENDS, Agent
from stream.offline.drift import FEWEST_SESSIONS, MOVED
from stream.offline.verdicts import subject, verdicts
from stream.outbound.ocsf import CONFIDENCE, SEVERITY

ASSETS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
MAX_LIVE = 64
"""Pages that are kept live at once; a further one is told to come back."""
LOOK_S, BEAT_S = 0.5, 15.0
"""How often a live page's server looks for news; how often it says that it is there."""
COVERED_S = 5.0
"""For so long a count of what is not seen stands."""
MAX_STORIES = 32
"""Stories that are remembered: pages in view ask for the same ones again and again."""


def application(
    index: Index,
    access: Access,
    *,
    closing: asyncio.Event | None = None,
    saying: Saying | None = None,
    queue: Queue | None = None,
    drift: Drifted | None = None,
) -> Starlette:
    """The pages over `index`, for whoever `access` lets in.

    Parameters
    ----------
    closing : asyncio.Event or None
        Ends the pages that are kept live.
    saying : Saying or None
        Takes what analysts say of cases; None: that is not said here.
    queue : Queue or None
        The sessions to label next; None: the page tells how to have them here.
    drift : Drifted or None
        What changed in the traffic; None: likewise.
    """
    site = Site(index, access, closing or asyncio.Event(), saying, queue, drift)
    routes = [
        Route("/", site.cases),
        Route("/sessions/{case_id:uuid}", site.session),
        Route("/overview", site.overview),
        Route("/health", site.health),
        Route("/coverage", site.coverage),
        Route("/queue", site.queue),
        Route("/drift", site.drift),
        Route("/live", site.live),
        Route("/sessions/{case_id:uuid}/feedback", site.say, methods=["GET", "POST"]),
        Route("/static/{name}", site.asset),
        *Entrance(access, site.page).routes(),
    ]
    made = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={404: site.not_found, 500: site.failed},
    )
    made.router.redirect_slashes = False
    return made


class Site:
    """What each address answers."""

    def __init__(
        self,
        index: Index,
        access: Access,
        closing: asyncio.Event,
        saying: Saying | None = None,
        queue: Queue | None = None,
        drift: Drifted | None = None,
    ) -> None:
        self._index, self._access, self._closing, self._saying = index, access, closing, saying
        self._queue, self._drift = queue, drift
        self._covered: list[Agent] = []
        self._covered_until = 0.0
        self._born = secrets.token_hex(4)  # versions of a console that was started anew are others
        self._n_live = 0
        self._stories: OrderedDict[str, tuple[tuple[Any, ...], Story]] = OrderedDict()
        at = files("stream.console") / "static"
        self._assets = {name: (at / name).read_bytes() for name in ASSETS}
        self._pages = environment(
            {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self._assets.items()}
        )

    async def cases(self, request: Request) -> Response:
        """Cases, or all sessions, the riskiest first."""
        filters = listing.Filters.read(request.query_params)
        found = listing.listed(self._index, filters, _number(request))
        return self.page(
            "cases.html", request, filters=filters, found=found, choices=listing.choices(self._index)
        )

    async def session(self, request: Request) -> Response:
        """One session's story."""
        return await self._session(request)

    async def say(self, request: Request) -> Response:
        """What an analyst says of a case; the page is then asked for anew, so that a reload says nothing twice."""
        row, visitor, saying = self._row(request), request.scope["visitor"], self._saying
        if row is None:
            return await self._session(request)
        if request.method != "POST":  # a page that told of an error is looked at again
            return RedirectResponse(f"/sessions/{row.case_id}", 303)
        if saying is None or visitor.role != "analyst":
            why = (
                "This console has no key to sign with" if saying is None else f"You are a {visitor.role} here"
            )
            return await self._session(request, 403, f"{why}: nothing was said.")
        form = await posted(request, MAX_FORM)
        try:
            if form is None:
                raise Refused(413, "Nothing was said: that is too much, or no form.")
            findings = [*Kept(self._index, row).documents(ALERTS)]
            about = subject(findings, row.case_id)
            if about is None:
                raise Refused(409, "Nothing was said: no alert that the console holds tells of this case.")
            await saying.say(self._access, visitor, about, form, verdicts(findings))
        except Refused as error:
            return await self._session(request, error.status, str(error), form)
        except DriftlineError as error:
            why = f"It is not known whether it was said: {error}. Look whether it is told above, and say it again if not."
            return await self._session(request, 503, why, form)
        return RedirectResponse(f"/sessions/{row.case_id}#said", 303)

    def _row(self, request: Request) -> Row | None:
        return self._index.rows.get(request.path_params["case_id"].hex)

    async def _session(
        self, request: Request, status: int = 200, problem: str = "", form: Mapping[str, str] | None = None
    ) -> Response:
        row, visitor, saying = self._row(request), request.scope["visitor"], self._saying
        if row is None:
            return self._not_found(
                request,
                "The console holds no such session. It may have gone to make room, or have been before the console began to "
                "read: `driftline show CASE` reads it from the bus.",
            )
        try:
            story = await self._story(row)
        except InputError as error:
            return self._not_found(request, str(error))
        return self.page(
            "session.html",
            request,
            status,
            story=story,
            row=row,
            waiting=saying.waiting(row.case_id, [each.uid for each in story.said]) if saying else None,
            may_say=saying is not None and visitor.role == "analyst",
            form=saying.form(self._access, visitor, row.case_id) if saying else "",
            by=saying.by(visitor) if saying else "",
            key=saying.key_id if saying else "",
            given=form or {},
            problem=problem,
        )

    async def _story(self, row: Row) -> Story:
        """A session's story, told anew only where something was heard of it since."""
        state = row.records, row.left_out, row.calls, row.fate, row.finding, tuple(self._index.unread)
        known = self._stories.pop(row.case_id, None)
        if known is None or known[0] != state:
            known = state, await run_in_threadpool(told, self._index, row)
        self._stories[row.case_id] = known
        while len(self._stories) > MAX_STORIES:
            self._stories.popitem(last=False)
        return known[1]

    async def overview(self, request: Request) -> Response:
        """The fleet at a glance."""
        return self.page(
            "overview.html",
            request,
            over=listing.overview(self._index),
            bars=listing.bars(self._index, 24, 60),
            volume=self._alarms(of_volume=True),
        )

    async def health(self, request: Request) -> Response:
        """Whether judging keeps up, by which policy and release, and what this reader may not read."""
        delays = sorted(self._index.delays_ms)
        quantiles = (
            {q: delays[min(len(delays) - 1, len(delays) * q // 100)] for q in (50, 99)} if delays else {}
        )
        in_force = sorted(self._index.in_force.values(), key=lambda each: -each.last_ms)
        return self.page(
            "health.html",
            request,
            bars=listing.bars(self._index, 60, 1),
            delays=quantiles,
            n_delays=len(delays),
            in_force=in_force,
            watched=listing.watched(self._index),
        )

    async def coverage(self, request: Request) -> Response:
        """Of each agent what is not seen, the worst first, of one tenant or of all."""
        tenant = listing.Filters.read(request.query_params).tenant
        agents = self._agents()
        return self.page(
            "coverage.html",
            request,
            tenant=tenant,
            tenants=sorted({each.tenant for each in agents})[: listing.MAX_CHOICES],
            found=listing.paged([each for each in agents if tenant in ("", each.tenant)], _number(request)),
            mends=MENDS,
            knows=self._index.coverage.read if self._index.coverage is not None else set(),
        )

    def _agents(self) -> list[Agent]:
        """What is not seen of each agent, counted anew every few seconds: pages in view ask again at each piece of news."""
        now, coverage = time.monotonic(), self._index.coverage
        if coverage is not None and now >= self._covered_until:
            self._covered, self._covered_until = coverage.agents(), now + COVERED_S
        return self._covered

    async def queue(self, request: Request) -> Response:
        """The sessions to label next, in the order of `driftline labels next`, without those that were judged since."""
        queue = self._queue
        places = await run_in_threadpool(queue.places, self._index) if queue is not None else []
        open_ = [each for each in places if not each.is_answered]
        return self.page(
            "queue.html",
            request,
            queue=queue,
            command=COMMAND,
            found=listing.paged(open_, _number(request)),
            answered=len(places) - len(open_),
            may_say=self._saying is not None and request.scope["visitor"].role == "analyst",
        )

    async def drift(self, request: Request) -> Response:
        """What changed in the traffic since another time, of one tenant in detail: the one asked for, or the one that changed most."""
        drift, asked = self._drift, listing.Filters.read(request.query_params).tenant
        tenants = await run_in_threadpool(drift.tenants) if drift is not None else []
        return self.page(
            "drift.html",
            request,
            drift=drift,
            command=drifted.COMMAND,
            tenants=tenants,
            shown=next((each for each in tenants if asked in ("", each.name)), None),
            moved=MOVED,
            mark=round(100 * MOVED / drifted.SCALE),
            scale=drifted.SCALE,
            fewest=FEWEST_SESSIONS,
        )

    async def live(self, request: Request) -> Response:
        """Server-sent events: an event whenever there is more to see than the page, or the last event, has."""
        if self._n_live >= MAX_LIVE:
            return PlainTextResponse("too many pages are kept live; close some\n", 503, {"Retry-After": "30"})
        seen = request.headers.get("last-event-id") or request.query_params.get("seen", "")
        return StreamingResponse(
            self._events(request, seen), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _events(self, request: Request, seen: str) -> AsyncIterator[bytes]:
        self._n_live += 1
        try:
            yield b"retry: 2000\n\n"
            quiet_s = 0.0
            while not self._closing.is_set() and not await request.is_disconnected():
                now = self._version()
                if now != seen:
                    yield f"id: {now}\nevent: news\ndata: {now}\n\n".encode()
                    seen, quiet_s = now, 0.0
                elif quiet_s >= BEAT_S:
                    yield b": still here\n\n"
                    quiet_s = 0.0
                await asyncio.sleep(LOOK_S)
                quiet_s += LOOK_S
        finally:
            self._n_live -= 1

    async def asset(self, request: Request) -> Response:
        """A file of the package, by its name in a list: no path is made of what is asked for."""
        name = request.path_params["name"]
        if name not in self._assets:
            return self._not_found(request, "There is no such file.")
        return Response(self._assets[name], media_type=ASSETS[name])

    async def not_found(self, request: Request, error: Exception) -> Response:
        """What an address answers that leads nowhere."""
        return self._not_found(request, "There is no such page.")

    async def failed(self, request: Request, error: Exception) -> Response:
        """What a failure answers: nothing of it."""
        return PlainTextResponse("the console failed; its log says how\n", 500)

    def _not_found(self, request: Request, text: str) -> Response:
        return self.page("error.html", request, status=404, text=text)

    def _alarms(self, *, of_volume: bool = False) -> list[Alarm]:
        """What is open of the circuit breaker, or what is told of how many alerts there are; the latest first."""
        found = (each for each in self._index.alarms.values() if each.is_open and each.is_volume is of_volume)
        return sorted(found, key=lambda each: -each.time_ms)

    def _version(self) -> str:
        return f"{self._born}-{self._index.version}"

    def page(self, name: str, request: Request, status: int = 200, **shown: Any) -> Response:
        """A page, rendered with what every page shows; of what the console knows nothing where nobody is let in."""
        text = self._pages.get_template(name).render(
            path=request.url.path,
            version=self._version(),
            index=self._index,
            visitor=request.scope["visitor"],
            asks=self._access.asks,
            alarms_open=self._alarms(),
            **shown,
        )
        return HTMLResponse(text, status)


def _number(request: Request) -> int:
    """Which page of a list an address asks for."""
    number = request.query_params.get("page", "1")
    return int(number) if number.isdecimal() and len(number) < 7 else 1


def environment(digests: Mapping[str, str]) -> Environment:
    """What renders the pages: everything is escaped, and every text is one line of printable characters."""
    made = Environment(
        loader=PackageLoader("stream.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "asset": lambda name: f"/static/{name}?v={digests[name]}",
        "fates": FATES,
        "means": MEANS,
    }
    made.globals["here"] = _here
    made.filters |= {
        "utc": _utc,
        "counted": counted,
        "standing": standing,
        "severity": lambda number: SEVERITY.get(number, "none"),
        "confidence": lambda number: CONFIDENCE.get(number, ""),
        "took": _took,
        "plain": listing.plain,
        "number": lambda number: f"{number:,}",
        "share": lambda parts: f"{100 * parts[0] / parts[1]:.0f} %" if parts[1] else "–",
    }
    return made


def _shown(value: Any) -> Any:
    """What others wrote loses what no screen shows, above all what turns the direction of writing."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


@pass_context
def _here(context: Context, path: str) -> str:
    return Markup(' aria-current="page"') if context["path"] == path else ""


def _utc(time_ms: int) -> str:
    return rfc3339(time_ms)[:19].replace("T", " ") if 0 < time_ms < 253_370_764_800_000 else "–"


def _took(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"
