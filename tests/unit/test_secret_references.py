"""A secret that a host gives in place of a credential reference: its digest stands wherever the secret would."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
import uuid
from pathlib import Path
from time import perf_counter

import pytest

from models.text.secrets import DIGEST, digested
from stream.events import CASES, REVOCATIONS, Record
from stream.offline.replay import run_replay
from stream.outbound.act import Actor
from stream.outbound.keys import SigningKeys
from stream.settings import Settings
from tests import builders as b

_DRAW = random.Random(5)  # made at run time: scanners of repositories look for such shapes


def drawn(length: int, more: str = "") -> str:
    """Letters and figures as a machine draws them, each kind among them."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(("a", "B", "7", *(_DRAW.choice(letters + more) for _ in range(length - 3))))


def jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "u-1", "jti": "9"})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{drawn(43)}"


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}PRIVATE " + f"KEY-----\n{drawn(64)}\n-----END {kind}PRIVATE " + "KEY-----"


SECRETS = {
    "github classic": "gh" + "p_" + drawn(36),
    "github app": "gh" + "s_" + drawn(36),
    "github fine-grained": "github" + "_pat_" + drawn(22) + "_" + drawn(59),
    "jwt": jwt(),
    "aws secret key": drawn(20) + "/" + drawn(19),
    "aws session": "IQoJb3" + "JpZ2lu" + drawn(90, "+/") + "==",
    "pem": pem(""),
    "pem of rsa": pem("RSA "),
    "slack": "xo" + "xb-" + "123456789012-123456789012-" + drawn(24),
    "google": "ya" + "29." + "a0" + drawn(100, "-_"),
    "stripe": "sk" + "_live_" + drawn(24),
    "openai": "sk" + "-" + drawn(48),
    "openai project": "sk" + "-proj-" + drawn(30) + "_" + drawn(40) + "-" + drawn(12),
    "openai look-alike": "sk" + "-" + "0123456789abcdef" * 2,
    "anthropic": "sk" + "-ant-api03-" + drawn(80, "-_"),
    "vault": "hv" + "s." + drawn(24),
    "vault before 1.10": "s" + "." + drawn(24),
    "gitlab": "gl" + "pat-" + drawn(20),
    "npm": "np" + "m_" + drawn(36),
}
REFERENCES = [
    "lease/17",
    "led-finance-invoice-iban-swap",
    str(uuid.UUID(int=7)),
    f"urn:uuid:{uuid.UUID(int=2**120)}",
    "database/creds/readonly/2f6a614c-4aa2-7b19-24b9-ad944a8d4de6",
    "database/creds/app/" + drawn(24),
    "aws/creds/deploy/" + drawn(23),  # 40 characters
    "aws/creds/ops2/" + drawn(25),
    "ops-assistant/cloud-log-line-command",
    "arn:aws:iam::123456789012:role/Deploy-Prod_1",
    "arn:aws:sts::123456789012:assumed-role/Deploy/2026-01-01T09-00-00",
    "spiffe://example.org/ns/agents/sa/invoice-bot",
    "AK" + "IA" + drawn(16).upper(),  # the id of a key, not the key
    drawn(24),  # an accessor of Vault
    drawn(40),  # an id, drawn too
    hashlib.sha1(b"a").hexdigest(),
    hashlib.sha256(b"a").hexdigest(),
    "fp:" + hashlib.sha256(b"a").hexdigest(),  # privacy mode
    "sk-internationalization",
    f"sk-{uuid.UUID(int=7)}",
    "kv/data/ghp_rotation",
    "s.example.com",
    "npm_install_of_2026_01_01_in_frankfurt",
]


def digest(secret: str) -> str:
    return "secret-sha256:" + hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_of_a_known_shape_is_told_by_its_digest_alone(kind: str) -> None:
    secret = SECRETS[kind]
    assert digested(secret) == digest(secret)
    assert digested(f"Bearer {secret}") == f"Bearer {digest(secret)}"
    assert digested(digested(secret)) == digested(secret)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("about", ["vault lease", "aws key"])
def test_a_reference_stays_as_it_is(reference: str, about: str) -> None:
    if reference == REFERENCES[14] and about == "aws key":
        return  # of a broker of AWS forty drawn characters are its secret key
    assert digested(reference, about) == reference


def test_of_aws_forty_characters_without_a_sign_are_a_key_too() -> None:
    key = drawn(40)
    assert (digested(key, "aws secret"), digested(key, "vault lease")) == (digest(key), key)
    assert digested(f"AKIAX:{key}", "AWS access_key") == f"AKIAX:{digest(key)}"


@pytest.mark.parametrize(
    "text", ["sk-" * 340, "eyJ-" * 250, "hvs." * 250, "-----BEGIN " * 90, "a/" * 500, "A1a/" * 250]
)
def test_a_hostile_text_is_looked_through_in_a_moment(text: str) -> None:
    began = perf_counter()
    digested(text)
    assert perf_counter() - began < 0.1  # some 0.5 ms


SECRET = SECRETS["github classic"]
HELD = {
    "broker": "github",
    "kind": "token",
    "value": SECRET,
    "scope": f"repo {SECRETS['jwt']}",
    "issued_for_task": True,
}
DRIFT = b.called(
    "s", 1, tool="wire_money", arguments={"to": "desk@evil.example", "text": "zq"}, credential=HELD
)


def everything(run: b.Run) -> bytes:
    """All that came out, and all that is kept."""
    return b"".join([*(out.value for out in run.outputs), *run.partition.states.values()])


@pytest.mark.parametrize("units", [0, 10_000])
@pytest.mark.parametrize("batch", [1, 512])
def test_no_output_and_no_state_holds_the_secret_and_a_revocation_its_digest(units: int, batch: int) -> None:
    events = [b.declared(credentials=[HELD]), DRIFT, b.ended("s", 2), b.called("s", 3, credential=HELD)]
    run = b.play(events, batch, bundled=b.release(scorer=b.ConstantScorer(units)))
    assert SECRET[6:].encode() not in everything(run)
    assert SECRETS["jwt"][6:].encode() not in everything(run)
    sets = [each for case in run.cases for each in case["sets"] if each["topic"] == REVOCATIONS]
    assert [next(iter(each["claims"]["events"].values()))["driftline_credentials"] for each in sets] == [
        [
            {
                "broker": "github",
                "kind": "token",
                "value": digest(SECRET),
                "scope": f"repo {digest(SECRETS['jwt'])}",
            }
        ]
    ]
    told = f"github/token/{digest(SECRET)}"
    assert [decision["credential"] for decision in run.decisions] == [told, told]


def test_the_tokens_that_act_signs_hold_no_secret(tmp_path: Path) -> None:
    run = b.play([b.declared(credentials=[HELD]), b.ended("s", 1)])
    cases = [out for out in run.outputs if out.topic == CASES]
    records = [Record(CASES, 0, n, 0, "none", out.key, (), out.value) for n, out in enumerate(cases)]
    (token,) = [
        out.value for out in Actor(SigningKeys(state_dir=tmp_path)).act(records) if out.topic == REVOCATIONS
    ]
    payload = token.split(b".")[1]
    told = base64.urlsafe_b64decode(payload + b"==")
    assert SECRET[6:].encode() not in told
    assert digest(SECRET).encode() in told


def test_the_state_between_two_records_holds_no_secret() -> None:
    run = b.play([b.declared(credentials=[HELD])])
    assert run.session.credentials[0].value == digest(SECRET)
    assert SECRET[6:].encode() not in everything(run)


def test_what_an_end_leaves_alone_is_named_by_its_digest() -> None:
    run = b.play([b.declared(credentials=[{**HELD, "issued_for_task": False}]), b.ended("s", 1)])
    assert [one["value"] for one in run.cases[0]["released"]] == [digest(SECRET)]
    ((event,),) = [each["claims"]["events"].values() for each in run.cases[0]["end_sets"]]
    assert [one["value"] for one in event["driftline_released"]] == [digest(SECRET)]
    assert SECRET[6:].encode() not in everything(run)


def test_the_same_secret_in_a_call_is_the_one_declared_and_another_is_not() -> None:
    def names(value: str) -> set[str]:
        run = b.play([b.declared(credentials=[HELD]), b.called("s", 1, credential={**HELD, "value": value})])
        return {each["name"] for each in run.decisions[0]["evidence"]}

    assert "credential_undeclared" not in names(SECRET)
    assert "credential_undeclared" in names(SECRETS["github app"])


def test_two_sessions_of_one_secret_share_it_and_the_last_one_gives_it_up() -> None:
    run = b.play([b.declared(s, credentials=[HELD]) for s in "st"] + [b.ended("s", 1), b.ended("t", 1)])
    assert [bool(case["sets"]) for case in run.cases] == [False, True]


def test_a_decision_says_so_by_a_mark_that_leads_to_nothing() -> None:
    plain = b.play([b.declared(), b.called("s", 1)]).decisions[0]
    declared = b.play([b.declared(credentials=[HELD]), b.called("s", 1)]).decisions[0]
    named = b.play([b.declared(credentials=[]), b.called("s", 1, credential=HELD)]).decisions[0]
    after = b.play([b.declared(), b.ended("s", 1), b.called("s", 2, credential=HELD)]).decisions[0]
    assert "secret_reference" not in plain["marks"]
    assert all("secret_reference" in each["marks"] for each in (declared, named, after))
    assert (declared["verdict"], declared["evidence"]) == (plain["verdict"], plain["evidence"])


def test_an_event_that_comes_twice_is_known_again() -> None:
    declared = b.declared(credentials=[HELD])
    run = b.play([declared, declared, DRIFT, DRIFT])
    assert (run.counters["duplicate"], len(run.decisions)) == (2, 1)
    assert run.counters["secret_reference"] == 4


def test_what_a_step_warns_of_names_broker_and_kind_and_never_the_value() -> None:
    values = [
        b.declared(credentials=[HELD, {**HELD, "kind": "pat\n"}]),
        DRIFT,
        b.declared("t", credentials=[HELD]),
    ]
    step = b.judge().judge(b.Run(b.judge()).partition, b.log(values))
    warnings = [str(each) for each in step.secrets]
    assert len(warnings) == 2
    assert all("'github'" in each and "'s'" in each and "\n" not in each for each in warnings)
    assert re.search(r"kind 'token'", warnings[0])
    assert not any(SECRET[6:] in each or DIGEST in each for each in warnings)


def test_replay_warns_once_and_of_no_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = [b.declared(credentials=[HELD]), DRIFT, b.declared("t", credentials=[HELD])]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))
    out = io.StringIO()
    run_replay([tmp_path / "log.jsonl"], True, None, Settings(state_dir=tmp_path), out)
    told = capsys.readouterr().err
    assert told.count("names a secret as its credential of broker 'github', kind 'token'") == 1
    assert SECRET[6:] not in told + out.getvalue()


def test_a_reference_in_the_wrong_field_is_found_too() -> None:
    run = b.play(
        [b.declared(credentials=[{"broker": SECRET, "kind": SECRET, "value": "x"}]), b.ended("s", 1)]
    )
    assert SECRET[6:].encode() not in everything(run)
    assert SECRET[6:] not in str(
        b.judge().judge(b.Run(b.judge()).partition, b.log([b.declared(credentials=[HELD])])).secrets
    )
