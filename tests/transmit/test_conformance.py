"""OpenID's conformance plan for SSF 1.0 transmitters retold: each test names the module of ``openid-ssf-transmitter-test-plan`` it follows.

The suite itself needs a server of its own, MongoDB and a public TLS address, so it is not run here.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiokafka.errors import KafkaTimeoutError

from models.errors import ConfigError
from stream.outbound.claims import RISK_LEVEL_CHANGE, SESSION_REVOKED
from stream.outbound.tokens import verify_token
from stream.shell import transmit_http
from stream.shell.transmit_http import Server, application, well_known
from stream.transmit.access import Access
from stream.transmit.claims import STREAM_UPDATED, VERIFICATION
from stream.transmit.configuration import POLL, PUSH, Listen
from tests.transmit.conftest import certified
from tests.transmit.rig import BEARER, DESK, IDP, ISSUER, Endpoint, World, jti_of, world

METADATA = well_known(ISSUER)


class Client:
    """A receiver's calls."""

    def __init__(self, raw: Any, w: World, who: str = "idp") -> None:
        self._raw, self.w, self.who = raw, w, who

    def acting_as(self, who: str) -> Client:
        return Client(self._raw, self.w, who)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = "", **options: Any
    ) -> tuple[int, Any]:
        """Status and body of an answer; `token` None sends no header, "" the receiver's own."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token or BEARER[self.who]}"
        if body is not None and not isinstance(body, bytes):
            options["json"] = body
        elif body is not None:
            options["data"] = body
        async with self._raw.request(
            method, path.removeprefix("https://ssf.acme.test"), headers=headers, **options
        ) as answer:
            self.headers = answer.headers
            raw = await answer.read()
            return answer.status, await answer.json() if raw else None

    async def created(self, **body: Any) -> dict[str, Any]:
        status, made = await self.call("POST", "/ssf/stream", body)
        assert status == 201, made
        return dict(made)

    async def polled(self, made: dict[str, Any], **body: Any) -> dict[str, Any]:
        body = {"returnImmediately": True, **body}
        status, answer = await self.call("POST", made["delivery"]["endpoint_url"], body)
        assert status == 200, answer
        return dict(answer)


def served(
    scenario: Callable[[Client], Awaitable[None]], directory: Path, made: World | None = None, **changes: Any
) -> World:
    """Play `scenario` against a transmitter that serves."""

    async def play() -> World:
        w = made or world(directory, **changes)
        access = Access(w.configuration, lambda: 1_796_000_001.0)
        await w.streams.take_over(w.log.streams())
        server = Server(application(w.streams, w.configuration, access), Listen(port=0))
        await server.start()
        async with ClientSession(base_url=f"http://127.0.0.1:{server.port}") as raw:
            try:
                await scenario(Client(raw, w))
            finally:
                await w.streams.let_go()
                await server.stop()
                await w.streams.close()
        return w

    return asyncio.run(asyncio.wait_for(play(), 60))


def claims(w: World, token: str, audience: str = IDP) -> dict[str, Any]:
    return verify_token(token, w.streams.jwks(), ISSUER, audience)


def test_metadata_has_what_the_specification_and_the_interoperability_profile_require(tmp_path: Path) -> None:
    """``openid-ssf-transmitter-metadata``."""

    async def scenario(c: Client) -> None:
        status, told = await c.call("GET", METADATA, token=None)
        assert status == 200
        assert c.headers["Content-Type"] == "application/json"
        assert (told["issuer"], told["spec_version"], told["default_subjects"]) == (ISSUER, "1_0", "ALL")
        assert told["delivery_methods_supported"] == [PUSH, POLL]
        assert told["critical_subject_members"] == ["session"]
        assert {"spec_urn": "urn:ietf:rfc:6750"} in told["authorization_schemes"]
        endpoints = [
            told[name]
            for name in ("jwks_uri", "configuration_endpoint", "status_endpoint", "verification_endpoint")
        ]
        assert all(each.startswith("https://ssf.acme.test/ssf/") for each in endpoints)
        assert not any(
            value in ([], {}, "") for value in told.values()
        )  # claims without an element are left out
        assert "add_subject_endpoint" not in told  # all subjects are in each stream
        status, keys = await c.call("GET", told["jwks_uri"], token=None)
        assert status == 200
        assert [(key["kty"], key["use"], key["alg"]) for key in keys["keys"]] == [("RSA", "sig", "RS256")]
        assert not {"d", "p", "q"} & keys["keys"][0].keys()

    served(scenario, tmp_path)


def test_a_stream_is_created_read_updated_replaced_paused_and_deleted(tmp_path: Path) -> None:
    """``openid-ssf-stream-control-happy-path``, ``openid-ssf-stream-control-create-stream-without-delivery``."""

    async def scenario(c: Client) -> None:
        assert await c.call("GET", "/ssf/stream") == (200, [])
        made = await c.created(events_requested=[SESSION_REVOKED, "urn:example:unknown"], description="one")
        sid = made["stream_id"]
        assert (made["iss"], made["aud"]) == (ISSUER, IDP)
        assert made["delivery"] == {"method": POLL, "endpoint_url": f"https://ssf.acme.test/ssf/poll/{sid}"}
        assert made["events_supported"] == [SESSION_REVOKED, RISK_LEVEL_CHANGE]
        assert made["events_requested"] == [SESSION_REVOKED, "urn:example:unknown"]
        assert made["events_delivered"] == [SESSION_REVOKED]  # what it does not know it ignores
        assert await c.call("GET", f"/ssf/stream?stream_id={sid}") == (200, made)
        assert c.headers["Cache-Control"] == "no-store"
        assert await c.call("GET", "/ssf/stream") == (200, [made])

        status, updated = await c.call(
            "PATCH", "/ssf/stream", {"stream_id": sid, "events_requested": [RISK_LEVEL_CHANGE]}
        )
        assert (status, updated["events_delivered"], updated["description"]) == (
            200,
            [RISK_LEVEL_CHANGE],
            "one",
        )
        body = {
            "stream_id": sid,
            "iss": ISSUER,
            "aud": [IDP],
            "delivery": {"method": POLL},
            "events_requested": [SESSION_REVOKED],
        }
        status, replaced = await c.call("PUT", "/ssf/stream", body)
        assert (status, replaced["events_delivered"], "description" in replaced) == (
            200,
            [SESSION_REVOKED],
            False,
        )

        assert await c.call("GET", f"/ssf/status?stream_id={sid}") == (
            200,
            {"stream_id": sid, "status": "enabled"},
        )
        for state in ("paused", "disabled", "enabled"):
            body = {"stream_id": sid, "status": state, "reason": "maintenance"}
            assert await c.call("POST", "/ssf/status", body) == (200, body)
            assert await c.call("GET", f"/ssf/status?stream_id={sid}") == (200, body)
        assert await c.call("DELETE", f"/ssf/stream?stream_id={sid}") == (204, None)
        assert (await c.call("DELETE", f"/ssf/stream?stream_id={sid}"))[0] == 404
        assert await c.call("GET", "/ssf/stream") == (200, [])

    w = served(scenario, tmp_path)
    assert w.log.kept == {}


def test_a_second_stream_of_one_receiver_is_a_conflict(tmp_path: Path) -> None:
    """``openid-ssf-stream-control-error-create-stream-with-duplicate-config``."""

    async def scenario(c: Client) -> None:
        await c.created()
        assert (await c.call("POST", "/ssf/stream", {}))[0] == 409

    served(scenario, tmp_path)


CALLS = [
    ("GET", "/ssf/stream", None),
    ("POST", "/ssf/stream", {}),
    ("PATCH", "/ssf/stream", {"stream_id": "x"}),
    ("PUT", "/ssf/stream", {"stream_id": "x"}),
    ("DELETE", "/ssf/stream?stream_id=x", None),
    ("GET", "/ssf/status?stream_id=x", None),
    ("POST", "/ssf/status", {"stream_id": "x", "status": "paused"}),
    ("POST", "/ssf/verify", {"stream_id": "x"}),
    ("POST", "/ssf/poll/x", {}),
]


def test_without_a_valid_access_token_nothing_is_served(tmp_path: Path) -> None:
    """``...-create-stream-with-invalid-access-token`` and its kin for read, update, replace, delete, status, verification;
    ``...-read-stream-without-access-token``, ``...-with-token-in-uri-query``; ``...-poll-endpoint-authorization``."""

    async def scenario(c: Client) -> None:
        for method, path, body in CALLS:
            assert (await c.call(method, path, body, token=None))[0] == 401, path
            assert c.headers["WWW-Authenticate"] == 'Bearer realm="ssf"'
            assert (await c.call(method, path, body, token="x" * 40))[0] == 401, path
            assert 'error="invalid_token"' in c.headers["WWW-Authenticate"]
        status, _ = await c.call("GET", f"/ssf/stream?access_token={BEARER['idp']}", token=None)
        assert status == 401

    served(scenario, tmp_path)


def test_an_unknown_stream_is_404_and_so_is_somebody_else_s(tmp_path: Path) -> None:
    """``...-read-unknown-stream``, ``...-update-unknown-stream``, ``...-replace-unknown-stream``, ``...-delete-unknown-stream``,
    ``...-read-status-of-unknown-stream``, ``openid-ssf-transmitter-stream-verification-error-unknown-stream``."""

    async def scenario(c: Client) -> None:
        await c.created()
        theirs = (await c.acting_as("desk").created())["stream_id"]
        for sid in ("x", theirs):
            body = {"stream_id": sid}
            delivery = {"method": POLL}
            for method, path, sent in (
                ("GET", f"/ssf/stream?stream_id={sid}", None),
                ("PATCH", "/ssf/stream", body),
                ("PUT", "/ssf/stream", {**body, "delivery": delivery}),
                ("DELETE", f"/ssf/stream?stream_id={sid}", None),
                ("GET", f"/ssf/status?stream_id={sid}", None),
                ("POST", "/ssf/status", {**body, "status": "paused"}),
                ("POST", "/ssf/verify", body),
                ("POST", f"/ssf/poll/{sid}", {}),
            ):
                assert (await c.call(method, path, sent))[0] == 404, (method, path)
        assert (await c.acting_as("desk").call("GET", f"/ssf/status?stream_id={theirs}"))[1][
            "status"
        ] == "enabled"

    served(scenario, tmp_path)


BROKEN = [b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 20_000, b"NaN"]


def test_a_broken_body_is_400_and_changes_nothing(tmp_path: Path) -> None:
    """``...-create-stream-with-broken-input``, ``...-update-stream-with-invalid-body``, ``...-replace-stream-with-invalid-body``,
    ``openid-ssf-transmitter-stream-verification-error-invalid-body``."""

    async def scenario(c: Client) -> None:
        for raw in BROKEN:
            assert (await c.call("POST", "/ssf/stream", raw))[0] == 400
        for body in (
            {"delivery": "poll"},
            {"delivery": {"method": "urn:example:pigeon"}},
            {"delivery": {"method": PUSH}},
            {"delivery": {"method": PUSH, "endpoint_url": 7}},
            {"events_requested": []},
            {"events_requested": "all"},
            {"events_requested": [7]},
            {"events_requested": ["e"] * 101},
            {"description": 7},
            {"description": "x" * 5000},
        ):
            assert (await c.call("POST", "/ssf/stream", body))[0] == 400, body
        made = await c.created()
        sid = made["stream_id"]
        for method in ("PATCH", "PUT"):
            for raw in BROKEN:
                assert (await c.call(method, "/ssf/stream", raw))[0] == 400
            assert (await c.call(method, "/ssf/stream", {"delivery": {"method": POLL}}))[
                0
            ] == 400  # no stream_id
            for name, other in (
                ("iss", "https://evil.test"),
                ("aud", DESK),
                ("events_supported", []),
                ("events_delivered", [SESSION_REVOKED]),
            ):
                body = {"stream_id": sid, "delivery": {"method": POLL}, name: other}
                assert (await c.call(method, "/ssf/stream", body))[0] == 400, name
        assert (await c.call("PUT", "/ssf/stream", {"stream_id": sid}))[0] == 400
        for path in ("/ssf/status", "/ssf/verify", f"/ssf/poll/{sid}"):
            for raw in BROKEN:
                assert (await c.call("POST", path, raw))[0] == 400
        for body in (
            {"stream_id": sid},
            {"stream_id": sid, "status": "off"},
            {"stream_id": 7, "status": "paused"},
        ):
            assert (await c.call("POST", "/ssf/status", body))[0] == 400
        assert (await c.call("POST", "/ssf/verify", {"stream_id": sid, "state": 7}))[0] == 400
        assert (await c.call("DELETE", "/ssf/stream"))[0] == 400
        for body in (
            {"maxEvents": "7"}, {"maxEvents": -1}, {"maxEvents": 1.5}, {"maxEvents": True}, {"returnImmediately": 1}, {"ack": "x"},
            {"ack": [7]}, {"setErrs": ["x"]}, {"setErrs": {"x": "bad"}}, {"setErrs": {"x": {}}}, {"ack": ["x"] * 1001},
        ):  # fmt: skip
            assert (await c.call("POST", f"/ssf/poll/{sid}", body))[0] == 400, body
        assert (await c.call("POST", f"/ssf/poll/{sid}", b" " * 300_000))[0] == 413
        assert (await c.call("DELETE", f"/ssf/poll/{sid}"))[0] == 405
        assert await c.call("GET", f"/ssf/stream?stream_id={sid}") == (200, made)

    served(scenario, tmp_path)


def test_a_verification_comes_by_poll_with_its_state_and_the_stream_as_its_subject(tmp_path: Path) -> None:
    """``openid-ssf-transmitter-stream-verification-poll-and-ack``, ``...-poll-only``, ``...-ack-only``."""

    async def scenario(c: Client) -> None:
        made = await c.created()
        assert await c.call("POST", "/ssf/verify", {"stream_id": made["stream_id"], "state": "s-1"}) == (
            204,
            None,
        )
        answer = await c.polled(made)
        ((jti, token),) = answer["sets"].items()
        said = claims(c.w, token)
        assert said["jti"] == jti
        assert (said["iss"], said["aud"]) == (ISSUER, IDP)
        assert said["sub_id"] == {"format": "opaque", "id": made["stream_id"]}
        assert said["events"] == {VERIFICATION: {"state": "s-1"}}
        assert not {"sub", "exp"} & said.keys()
        assert c.w.log.streams()["idp"].own[0].jti == jti  # it outlives a crash until it is acknowledged
        assert await c.polled(made, ack=[jti], maxEvents=0) == {"sets": {}, "moreAvailable": False}
        await asyncio.sleep(0.5)
        assert (await c.polled(made))["sets"] == {}
        # Started by nobody, a verification has no state.
        assert (await c.call("POST", "/ssf/verify", {"stream_id": made["stream_id"]}))[0] == 204
        (token,) = (await c.polled(made))["sets"].values()
        assert claims(c.w, token)["events"] == {VERIFICATION: {}}

    served(scenario, tmp_path)


def test_a_long_poll_waits_for_a_token_and_ends_with_none(tmp_path: Path) -> None:
    """``openid-ssf-transmitter-stream-verification-long-poll``."""

    async def scenario(c: Client) -> None:
        made = await c.created()
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await c.polled(made, returnImmediately=False)
        assert answer == {"sets": {}, "moreAvailable": False}
        assert loop.time() - began >= 0.25
        waiting = asyncio.create_task(c.polled(made, returnImmediately=False))
        await asyncio.sleep(0.1)
        await c.call("POST", "/ssf/verify", {"stream_id": made["stream_id"], "state": "s"})
        assert len((await waiting)["sets"]) == 1

    served(scenario, tmp_path, limits={"long_poll_s": 0.3, "min_verification_interval_s": 0})


def test_an_error_reported_for_a_polled_token_is_kept_and_the_token_is_not_offered_again(
    tmp_path: Path,
) -> None:
    """``openid-ssf-transmitter-stream-verification-set-errs``."""

    async def scenario(c: Client) -> None:
        made = await c.created()
        c.w.log.publish(c.w.signer.revocation("s-1"), c.w.signer.revocation("s-2"))
        first, second = (await c.polled(made, returnImmediately=False))["sets"]
        errors = {first: {"err": "invalid_key", "description": "who\nis this?"}}
        assert (await c.polled(made, setErrs=errors, ack=[second], maxEvents=0))["sets"] == {}
        await asyncio.sleep(0.5)
        assert (await c.polled(made))["sets"] == {}
        await c.w.streams.save()
        kept = c.w.log.streams()["idp"]
        assert [(each.jti, each.err, each.description, each.offset) for each in kept.refused] == [
            (jti_of("s-1"), "invalid_key", "who is this?", 0)
        ]
        assert ("refused", "idp", "invalid_key") in c.w.told.events

    served(scenario, tmp_path)


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_a_paused_stream_holds_and_a_disabled_one_drops(tmp_path: Path, status: str) -> None:
    """``openid-ssf-transmitter-paused-stream-holds-events``, ``openid-ssf-transmitter-disabled-stream-drops-events``."""

    async def scenario(c: Client) -> None:
        made = await c.created()
        sid = made["stream_id"]
        c.w.log.publish(c.w.signer.revocation("before"))
        while not len(c.w.streams.lanes()["idp"].window):
            await asyncio.sleep(0.01)
        await c.call("POST", "/ssf/verify", {"stream_id": sid, "state": "before"})
        await c.call("POST", "/ssf/status", {"stream_id": sid, "status": status})
        assert len(c.w.streams.lanes()["idp"].window) == (1 if status == "paused" else 0)
        c.w.log.publish(c.w.signer.revocation("meanwhile"))
        assert (await c.call("POST", "/ssf/verify", {"stream_id": sid, "state": "meanwhile"}))[0] == 204
        assert (await c.polled(made, returnImmediately=False))["sets"] == {}
        await c.call("POST", "/ssf/status", {"stream_id": sid, "status": "enabled"})
        c.w.log.publish(c.w.signer.revocation("after"))
        await c.call("POST", "/ssf/verify", {"stream_id": sid, "state": "after"})
        seen: list[str] = []
        while not {jti_of("after")} <= set(seen):
            answer = await c.polled(made, returnImmediately=False)
            seen += answer["sets"]
            await c.polled(made, ack=list(answer["sets"]), maxEvents=0)
        held = [jti_of(name) for name in ("before", "meanwhile")]
        own = [jti for jti in seen if jti not in {*held, jti_of("after")}]
        if status == "paused":
            assert [jti for jti in seen if jti not in own] == [*held, jti_of("after")]
            assert len(own) == 3
        else:
            assert [jti for jti in seen if jti not in own] == [jti_of("after")]
            assert len(own) == 1

    served(scenario, tmp_path)


def test_each_poll_stream_has_an_address_of_its_own(tmp_path: Path) -> None:
    """``openid-ssf-transmitter-poll-endpoint-url-unique-per-stream``."""

    async def scenario(c: Client) -> None:
        one, other = await c.created(), await c.acting_as("desk").created()
        assert one["delivery"]["endpoint_url"] != other["delivery"]["endpoint_url"]
        assert (await c.acting_as("desk").call("POST", one["delivery"]["endpoint_url"], {}))[0] == 404

    served(scenario, tmp_path)


@pytest.mark.parametrize("authorization", [None, "Bearer " + "p" * 40])
def test_a_verification_is_pushed_with_the_header_that_the_receiver_gave_or_with_none(
    tmp_path: Path, authorization: str | None
) -> None:
    """``openid-ssf-transmitter-stream-verification-push``, ``...-push-no-auth``."""
    seal = tmp_path / "seal"
    seal.write_bytes(b"k" * 32)

    async def scenario(c: Client) -> None:
        delivery = {"method": PUSH, "endpoint_url": endpoint.url, "authorization_header": authorization}
        made = await c.created(delivery={k: v for k, v in delivery.items() if v is not None})
        assert made["delivery"] == {
            "method": PUSH,
            "endpoint_url": endpoint.url,
        }  # the header is not told again
        assert (await c.call("POST", f"/ssf/poll/{made['stream_id']}", {}))[0] == 404
        await c.call("POST", "/ssf/verify", {"stream_id": made["stream_id"], "state": "s-1"})
        while not endpoint.requests:
            await asyncio.sleep(0.01)
        headers, token = endpoint.requests[0]
        assert headers["Content-Type"] == "application/secevent+jwt"
        assert headers["Accept"] == "application/json"
        assert headers.get("Authorization") == authorization
        assert claims(c.w, token.decode())["events"] == {VERIFICATION: {"state": "s-1"}}
        if authorization is not None:
            assert not any(authorization.encode() in value for value in c.w.log.kept.values())

    with Endpoint() as endpoint:
        receivers = {
            "idp": {"audiences": [IDP], "token_file": str(tmp_path / "idp.token"), "push_to": [endpoint.url]}
        }
        served(
            scenario,
            tmp_path,
            receivers=receivers,
            seal_key_file=str(seal),
            limits={"min_verification_interval_s": 0},
        )


def test_events_come_in_the_bus_s_order_signed_as_they_were_and_for_their_audience_alone(
    tmp_path: Path,
) -> None:
    """``openid-ssf-transmitter-events``, ``openid-ssf-transmitter-stream-caep-interop``."""

    async def scenario(c: Client) -> None:
        s, log = c.w.signer, c.w.log
        log.publish(s.revocation("too-early"))
        made = await c.created()
        sent = [s.revocation("s-1"), s.revocation("other", DESK), s.revocation("s-2")]
        log.publish(*sent)
        while len(c.w.streams.lanes()["idp"].window) < 2:
            await asyncio.sleep(0.01)
        answer = await c.polled(made)
        assert list(answer["sets"].values()) == [sent[0].decode(), sent[2].decode()]
        for jti, token in answer["sets"].items():
            said = claims(c.w, token)
            event = said["events"][SESSION_REVOKED]
            assert said["jti"] == jti
            assert event["reason_admin"]["en"]
            assert said["sub_id"]["user"]["format"] == "iss_sub"
            assert said["sub_id"]["session"]
            assert isinstance(said["txn"], str)
        log.publish(s.risk("s-1"), place=("agent.risk.v1", 0))
        while len(c.w.streams.lanes()["idp"].window) < 3:
            await asyncio.sleep(0.01)
        (token,) = (await c.polled(made))["sets"].values()
        assert claims(c.w, token)["events"][RISK_LEVEL_CHANGE]["current_level"] == "HIGH"
        # Whoever asks for fewer events gets no others, of those that wait either.
        body = {"stream_id": made["stream_id"], "events_requested": [SESSION_REVOKED]}
        assert (await c.call("PATCH", "/ssf/stream", body))[0] == 200
        assert len(c.w.streams.lanes()["idp"].window) == 2
        log.publish(s.risk("s-2"), place=("agent.risk.v1", 0))
        log.publish(s.revocation("s-3"))
        while jti_of("s-3") not in (got := (await c.polled(made, returnImmediately=False))["sets"]):
            pass
        assert list(got) == [jti_of("s-3")]

    served(scenario, tmp_path)


def test_the_operator_s_pause_is_told_first_and_the_receiver_cannot_lift_it(tmp_path: Path) -> None:
    """SSF 1.0, 8.1.5: a transmitter that pauses an enabled stream sends ``stream-updated`` before (no module of the plan does this)."""

    def fixed(status: str, directory: Path = tmp_path) -> dict[str, Any]:
        stream = {"delivery": {"method": "poll"}, "status": status, "reason": "your licence ended"}
        return {"idp": {"audiences": [IDP], "token_file": str(directory / "idp.token"), "stream": stream}}

    async def begun(c: Client) -> None:
        ((made,),) = [(await c.call("GET", "/ssf/stream"))[1]]
        assert (await c.polled(made))["sets"] == {}
        for method, path, body in (
            ("POST", "/ssf/stream", {}),
            ("PATCH", "/ssf/stream", {"stream_id": made["stream_id"], "description": "x"}),
            ("PUT", "/ssf/stream", {"stream_id": made["stream_id"], "delivery": {"method": POLL}}),
            ("DELETE", f"/ssf/stream?stream_id={made['stream_id']}", None),
        ):
            assert (await c.call(method, path, body))[0] in (403, 409), method

    async def paused(c: Client) -> None:
        ((made,),) = [(await c.call("GET", "/ssf/stream"))[1]]
        c.w.log.publish(c.w.signer.revocation("held"))
        ((jti, token),) = (await c.polled(made, returnImmediately=False))["sets"].items()
        said = claims(c.w, token)
        assert said["events"] == {STREAM_UPDATED: {"status": "paused", "reason": "your licence ended"}}
        assert said["sub_id"] == {"format": "opaque", "id": made["stream_id"]}
        assert (await c.polled(made, ack=[jti], returnImmediately=False))["sets"] == {}
        body = {"stream_id": made["stream_id"], "status": "enabled"}
        assert (await c.call("POST", "/ssf/status", body))[0] == 403

    async def lifted(c: Client) -> None:
        ((made,),) = [(await c.call("GET", "/ssf/stream"))[1]]
        while not len(c.w.streams.lanes()["idp"].window):
            await asyncio.sleep(0.01)
        first, second = (await c.polled(made))["sets"].items()
        assert claims(c.w, first[1])["events"][STREAM_UPDATED]["status"] == "enabled"
        assert second[0] == jti_of("held")

    w = world(tmp_path, receivers=fixed("enabled"))
    served(begun, tmp_path, w)
    w = world(tmp_path, w.log, signer=w.signer, receivers=fixed("paused"))
    served(paused, tmp_path, w)
    served(lifted, tmp_path, world(tmp_path, w.log, signer=w.signer, receivers=fixed("enabled")))


def test_verifications_beyond_the_interval_are_429_with_the_time_to_wait(tmp_path: Path) -> None:
    async def scenario(c: Client) -> None:
        body = {"stream_id": (made := await c.created())["stream_id"]}
        assert made["min_verification_interval"] == 60
        assert (await c.call("POST", "/ssf/verify", body))[0] == 204
        assert (await c.call("POST", "/ssf/verify", body))[0] == 429
        assert int(c.headers["Retry-After"]) == 60

    served(scenario, tmp_path, limits={"min_verification_interval_s": 60})


def test_a_stand_by_serves_metadata_and_sends_receivers_away(tmp_path: Path) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        await c.w.streams.let_go()
        assert (await c.call("GET", METADATA, token=None))[0] == 200
        for method, path, body in [*CALLS, ("POST", made["delivery"]["endpoint_url"], {})]:
            assert (await c.call(method, path, body))[0] == 503, path
            assert c.headers["Retry-After"] == "2"

    served(scenario, tmp_path)


def test_what_was_refused_is_handed_out_once_more_when_the_operator_asks_and_forgotten_once_it_is_taken(
    tmp_path: Path,
) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        c.w.log.publish(c.w.signer.revocation("s-1"))
        await c.polled(made, returnImmediately=False)
        errors = {jti_of("s-1"): {"err": "invalid_key"}}
        assert (await c.polled(made, setErrs=errors))["sets"] == {}
        for _ in range(2):  # refused again, it stands there once
            assert await c.w.streams.send_refused() == 1
            assert list((await c.polled(made))["sets"]) == [jti_of("s-1")]
            await c.polled(made, setErrs=errors, maxEvents=0)
            await c.w.streams.save()
            assert [each.jti for each in c.w.log.streams()["idp"].refused] == [jti_of("s-1")]
        assert await c.w.streams.send_refused() == 1
        await c.polled(made, ack=[jti_of("s-1")], maxEvents=0)
        assert await c.w.streams.send_refused() == 0
        await c.w.streams.save()
        kept = c.w.log.streams()["idp"]
        assert (kept.refused, kept.n_refused, kept.positions["agent.revocations.v1"]) == ((), 3, {"0": 1})

    served(scenario, tmp_path)


def test_a_poller_that_left_takes_no_token_with_it_and_its_successor_waits_for_nothing(
    tmp_path: Path,
) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        left = asyncio.create_task(c.polled(made, returnImmediately=False))
        await asyncio.sleep(0.2)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        await asyncio.sleep(0.2)
        c.w.log.publish(c.w.signer.revocation("s-1"))
        await asyncio.sleep(0.2)
        assert list((await c.polled(made))["sets"]) == [jti_of("s-1")]

    served(scenario, tmp_path, limits={"long_poll_s": 30, "redeliver_after_s": 60})


def test_whoever_polls_is_sent_away_at_once_when_another_transmitter_takes_over(tmp_path: Path) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        waiting = asyncio.create_task(c.polled(made, returnImmediately=False))
        await asyncio.sleep(0.2)
        await c.w.streams.let_go()
        async with asyncio.timeout(5):
            assert (await waiting)["sets"] == {}

    served(scenario, tmp_path, limits={"long_poll_s": 30})


def test_more_polls_of_one_stream_than_may_wait_are_told_to_come_again(tmp_path: Path) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        url = made["delivery"]["endpoint_url"]
        waiting = [asyncio.create_task(c.call("POST", url, {})) for _ in range(9)]
        statuses = sorted([(await each)[0] for each in waiting])
        assert statuses == [200] * 8 + [429]

    served(scenario, tmp_path, limits={"long_poll_s": 0.5})


def test_a_bus_that_does_not_confirm_is_503_and_the_change_is_written_with_the_next(tmp_path: Path) -> None:
    async def scenario(c: Client) -> None:
        made = await c.created()
        real = c.w.log.keep

        async def broken(stream_id: str, value: bytes | None) -> None:
            raise KafkaTimeoutError

        c.w.log.keep = broken  # type: ignore[method-assign]
        body = {"stream_id": made["stream_id"], "status": "paused"}
        assert (await c.call("POST", "/ssf/status", body))[0] == 503
        c.w.log.keep = real  # type: ignore[method-assign]
        await c.w.streams.save()
        assert c.w.log.streams()["idp"].status == "paused"

    served(scenario, tmp_path)


def test_a_receiver_that_quotes_its_token_does_not_bring_it_into_what_is_kept(tmp_path: Path) -> None:
    secret = "p" * 40

    def quotes(n: int, token: bytes) -> tuple[int, dict[str, str], bytes]:
        said = {"err": "authentication_failed", "description": f"who is Bearer {secret}?"}
        return 400, {}, json.dumps(said).encode()

    async def scenario(c: Client) -> None:
        c.w.log.publish(c.w.signer.revocation("s-1"))
        while not c.w.streams.lanes()["idp"].record.refused:
            await asyncio.sleep(0.01)
        await c.w.streams.save()
        (refused,) = c.w.log.streams()["idp"].refused
        assert refused.description == "who is Bearer (its token)?"

    (tmp_path / "push").write_text(secret, encoding="utf-8")
    with Endpoint(quotes) as endpoint:
        stream = {
            "delivery": {"method": "push", "endpoint_url": endpoint.url, "token_file": str(tmp_path / "push")}
        }
        served(scenario, tmp_path, receivers={"idp": {"audiences": [IDP], "stream": stream}})
        assert endpoint.requests[0][0]["Authorization"] == f"Bearer {secret}"


def test_a_certificate_that_is_replaced_serves_the_next_connection_and_a_broken_one_does_not(
    tmp_path: Path, tls: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    monkeypatch.setattr(transmit_http, "RELOAD_S", 0.05)

    async def play() -> None:
        certificate.write_bytes(tls[0].read_bytes())
        key.write_bytes(tls[1].read_bytes())
        w = world(tmp_path)
        made = application(w.streams, w.configuration, Access(w.configuration, lambda: 0.0))
        listen = Listen(port=0, certificate_file=certificate, key_file=key)
        server = Server(made, listen)
        await server.start()
        renewing = asyncio.create_task(server.renew())

        def presented() -> str:
            return ssl.get_server_certificate(("127.0.0.1", server.port))

        try:
            assert await asyncio.to_thread(presented) == tls[0].read_text()
            other, private = certified()
            certificate.write_bytes(other)  # of another key, for a moment
            await asyncio.sleep(0.3)
            assert await asyncio.to_thread(presented) == tls[0].read_text()
            key.write_bytes(private)
            await asyncio.sleep(0.3)
            assert await asyncio.to_thread(presented) == other.decode()
        finally:
            renewing.cancel()
            await server.stop()
            await w.streams.close()

    asyncio.run(play())
    certificate.write_bytes(b"no")
    with pytest.raises(ConfigError, match="cannot be used"):
        Server(web.Application(), Listen(certificate_file=certificate, key_file=key))
