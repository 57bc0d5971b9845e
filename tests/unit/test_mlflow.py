"""What is told to an MLflow server that is silent, hostile, old, full or somebody else's; the real one is in tests/broker."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.errors import BrokerError, ConfigError, InputError, TrackingError
from models.release import registry
from stream.cli import exits, tracking
from stream.cli.main import app
from stream.offline import release_papers
from stream.offline.gates import Gate
from stream.policy import read_policy
from stream.shell import direct_http, mlflow_http, mlflow_log
from stream.shell.mlflow_http import Names, Server
from stream.shell.mlflow_log import Logging, Promotion
from tests.unit.test_refused_input import refused_lightly

SECRET = "s3cret-of-the-test"
NAMES = Names("driftline", "driftline")
DIGEST = "d" * 64
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no such thing, Bearer {SECRET}"})
Answer = tuple[int, Any]


class Stub:
    """A server that answers as MLflow documents it, of what it was told; `odd` has other answers, by method and path."""

    def __init__(self) -> None:
        self.odd: dict[str, Callable[[BaseHTTPRequestHandler], Answer | None]] = {}
        self.asked: list[str] = []
        self.headers: set[str] = set()
        self.runs: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.aliases: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.params: Counter[str] = Counter()
        self.run_tags: dict[str, str] = {}
        self.model: dict[str, Any] | None = None
        self.experiment = {
            "experiment_id": "1",
            "lifecycle_stage": "active",
            "artifact_location": "mlflow-artifacts:/1",
        }
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mine._answer(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = handler.path.partition("?")[0].removeprefix("/api/2.0/").removeprefix("mlflow/")
        self.asked.append(f"{handler.command} {path}")
        self.headers.add(handler.headers.get("Authorization", ""))
        odd = self.odd.get(self.asked[-1])
        answer = odd(handler) if odd is not None else self._usual(handler.command, path, body)
        if answer is None:  # it has answered, or never will
            return
        status, document = answer
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    def _usual(self, method: str, path: str, body: bytes) -> Answer:
        if method == "PUT":
            self.files[path.removeprefix("mlflow-artifacts/artifacts/")] = body
            return 200, {}
        told = json.loads(body) if body else {}
        match path:
            case "/version":
                return 200, b"3.17.2"
            case "registered-models/get":
                return (200, {"registered_model": self.model}) if self.model else ABSENT
            case "registered-models/create":
                self.model = told
            case "experiments/get-by-name":
                return 200, {"experiment": self.experiment}
            case "model-versions/search":
                return 200, {"model_versions": self.versions} if self.versions else {}
            case "runs/search":
                return 200, {"runs": [{"info": run} for run in self.runs]}
            case "runs/create":
                uri = "mlflow-artifacts:/1/r/artifacts"
                self.runs.append({"run_id": "r", "status": "RUNNING", "artifact_uri": uri, "start_time": "7"})
                return 200, {"run": {"info": self.runs[0]}}
            case "runs/get":
                return 200, {"run": {"info": self.runs[0]}}
            case "runs/update":
                self.runs[0]["status"] = told["status"]
            case "runs/log-batch":
                self.params.update(each["key"] for each in told.get("params", ()))
                self.run_tags |= {each["key"]: each["value"] for each in told.get("tags", ())}
            case "model-versions/create":
                self.versions.append({"version": "1", "run_id": told["run_id"], "tags": told["tags"]})
                return 200, {"model_version": self.versions[0]}
            case "model-versions/set-tag":
                self.versions[0]["tags"].append({"key": told["key"], "value": told["value"]})
            case "registered-models/alias" if method == "POST":
                self.aliases[told["alias"]] = told["version"]
            case "registered-models/alias":
                self.aliases.pop(told["alias"], None)
        return 200, {}

    def server(self, seconds: float = mlflow_http.LOG_S) -> Server:
        return Server(self.url, f"Bearer {SECRET}", seconds)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("release") / "ours"
    shutil.copytree(registry.BUNDLED, place)
    (place / "policy.yaml").write_text(read_policy()[0], encoding="utf-8")
    return place


def refused(stub: Stub, folder: Path, seconds: float = 20) -> str:
    """Why a release is not logged, which never tells the token."""
    with pytest.raises(TrackingError) as caught:
        mlflow_log.log(stub.server(seconds), NAMES, Logging(DIGEST, lambda: folder))
    assert exits.exit_code(caught.value) == 1
    assert SECRET not in str(caught.value)
    return str(caught.value)


def always(answer: Answer) -> Callable[[BaseHTTPRequestHandler], Answer]:
    return lambda _: answer


def test_a_release_is_logged_once_with_its_files_and_the_token_goes_with_every_request(
    stub: Stub, folder: Path
) -> None:
    for made in (True, False):
        logged = mlflow_log.log(stub.server(), NAMES, Logging(DIGEST, lambda: folder))
        assert logged == ("1", "r", made)
        mlflow_log.point(stub.server(), NAMES, "champion", logged.version)
    assert stub.headers == {f"Bearer {SECRET}"}
    assert stub.asked.count("POST model-versions/create") == stub.asked.count("POST runs/create") == 1
    assert stub.aliases == {"champion": "1"}
    assert stub.runs[0]["status"] == "FINISHED"
    names = {path.name for path in folder.iterdir()} - {"words.json"}  # which no list names
    assert set(stub.files) == {f"1/r/artifacts/release/{name}" for name in names}
    assert stub.files["1/r/artifacts/release/model.skops"] == (folder / "model.skops").read_bytes()
    mlflow_log.unpoint(stub.server(), NAMES, "champion")
    assert stub.aliases == {}


def test_where_a_release_is_and_who_signed_it_are_told_once_they_are_known(stub: Stub, folder: Path) -> None:
    mlflow_log.log(stub.server(), NAMES, tracking.in_folder(folder, DIGEST, "ann"))
    known = tracking.in_folder(folder, DIGEST, "bob", "https://store.example/r?key=x", "ada-key")

    def tags() -> dict[str, str]:
        return {each["key"]: each["value"] for each in stub.versions[0]["tags"]}

    assert "driftline.location" not in tags() | stub.run_tags
    for _ in range(2):
        mlflow_log.log(stub.server(), NAMES, known)
        for told in (tags(), stub.run_tags):
            assert told["driftline.location"] == "https://store.example/r"
            assert told["driftline.signed_by"] == "ada-key"
            assert told["driftline.logged_by"] == "ann"
    assert stub.asked.count("POST model-versions/set-tag") == 2
    mlflow_log.log(stub.server(), NAMES, tracking.in_folder(folder, DIGEST, "ann"))
    assert tags()["driftline.signed_by"] == "ada-key"


def test_an_unknown_host_and_an_address_without_scheme_are_told_with_the_mend() -> None:
    with pytest.raises(ConfigError, match="has no scheme: put https:// before it"):
        mlflow_http.checked_address("mlflow.example:5000")
    with pytest.raises(
        TrackingError, match=r"nohost\.invalid:9.* nothing here knows a host of this name; mend the address"
    ):
        mlflow_log.log(Server("https://nohost.invalid:9", None, 5), NAMES, Logging(DIGEST, Path))


@pytest.mark.parametrize(
    "step",
    ["POST runs/log-batch", "PUT mlflow-artifacts/artifacts/1/r/artifacts/release/model.skops", "POST model-versions/create"],
)  # fmt: skip
def test_what_broke_off_half_way_is_gone_on_with_and_makes_nothing_twice(
    stub: Stub, folder: Path, step: str, tmp_path: Path
) -> None:
    stub.odd[step] = always((500, {"error_code": "INTERNAL_ERROR"}))
    assert "HTTP 500 INTERNAL_ERROR" in refused(stub, folder)
    assert stub.versions == []
    assert stub.runs[0]["status"] == ("FINISHED" if "model-versions" in step else "FAILED")
    del stub.odd[step]
    report = tmp_path / "report.html"
    report.write_bytes(b"<p>figures")
    assert mlflow_log.log(stub.server(), NAMES, Logging(DIGEST, lambda: folder, reports=[report])).made
    assert stub.files["1/r/artifacts/reports/report.html"] == b"<p>figures"
    assert (len(stub.runs), len(stub.versions)) == (1, 1)
    assert stub.runs[0]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("step", "answer", "why"),
    [
        ("GET /version", (200, b"2.2.1"), "is of version 2.2.1, whose models have no aliases; 2.3 or newer"),
        ("GET registered-models/get", (401, b"who are you"), "HTTP 401: it wants to know who asks"),
        ("GET registered-models/get", (403, b"no"), "HTTP 403: whoever the token belongs to may not"),
        ("GET registered-models/get", (404, b"<html>"), "it knows no such path; mend the address"),
        ("GET registered-models/get", (200, b"<html>hello"), "no MLflow server; mend the address"),
        ("GET registered-models/get", (200, {"registered_model": []}), "no MLflow server"),
        ("GET registered-models/get", (200, b"[" * 100_000), "no MLflow server"),
        ("GET registered-models/get", (200, bytes(2 << 20)), "more than 1 MiB"),
        ("GET registered-models/get", (503, b""), "Run it again later"),
        ("GET registered-models/get", (400, {"error_code": f"X {SECRET}"}), "HTTP 400; its own log"),
        ("GET registered-models/get", (200, {"registered_model": {"name": "driftline"}}), "name another with --mlflow-model"),
        ("GET model-versions/search", (200, {"model_versions": [{"version": "one", "run_id": "r"}]}), "has no version"),
        ("GET experiments/get-by-name", (200, {"experiment": {"experiment_id": "1", "lifecycle_stage": "deleted"}}), "was deleted; restore it"),
        ("GET experiments/get-by-name", (200, {"experiment": {"experiment_id": "1", "lifecycle_stage": "active", "artifact_location": "s3://b/1"}}), "elsewhere (s3)"),
        ("GET experiments/get-by-name", (200, {"experiment": {"experiment_id": "1", "lifecycle_stage": "active", "artifact_location": "mlflow-artifacts://other.example/1"}}), "elsewhere"),
    ],
)  # fmt: skip
def test_a_server_that_will_not_is_told_with_the_mend_and_nothing_is_made(
    stub: Stub, folder: Path, step: str, answer: Answer, why: str
) -> None:
    stub.odd[step] = always(answer)
    assert why in refused(stub, folder)
    assert stub.runs == stub.versions == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_token_nowhere(stub: Stub, folder: Path, status: int) -> None:
    elsewhere = Stub()

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{elsewhere.url}{handler.path}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    stub.odd["GET registered-models/get"] = redirect
    stub.odd["POST runs/create"] = redirect
    try:
        assert "sends on to another place" in refused(stub, folder)
        stub.odd.pop("GET registered-models/get")
        assert "sends on to another place" in refused(stub, folder)
        assert not elsewhere.asked
    finally:
        elsewhere.stop()


def test_a_server_that_is_silent_or_never_ends_is_given_up(
    stub: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        while not over.wait(0.05):
            handler.wfile.write(b"H")

    monkeypatch.setattr(direct_http, "SILENT_S", 0.5)
    for answer, why in ((silent, "silent for 0.5 s"), (dripping, "it took too long")):
        stub.odd["GET registered-models/get"] = answer
        began = time.monotonic()
        assert why in refused(stub, folder, seconds=1.5)
        assert time.monotonic() - began < 5
    over.set()


def test_no_proxy_hears_what_is_for_this_machine(
    stub: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Stub()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        assert mlflow_log.log(stub.server(), NAMES, Logging(DIGEST, lambda: folder)).made
        assert not proxy.asked
    finally:
        proxy.stop()


@pytest.mark.parametrize(
    "url",
    ["http://mlflow.example.com", f"https://ann:{SECRET}@mlflow.example.com", f"https://mlflow.example.com?key={SECRET}", "ftp://127.0.0.1", "mlflow", "", "https://[::1", "http://127.0.0.1:x", f"https://h#{SECRET}", "https://a b"],
)  # fmt: skip
def test_an_address_that_would_tell_a_secret_or_is_none_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mlflow_http.checked_address(url)
    assert SECRET not in str(caught.value)


def test_a_token_file_holds_a_token_or_a_name_with_its_password(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert mlflow_http.authorization(None) is None
    for held, shown in ((b"abc.d\n", "Bearer abc.d"), (b"ann:p w", "Basic YW5uOnAgdw==")):
        file.write_bytes(held)
        assert mlflow_http.authorization(file) == shown
    for held in (b"", b"two words", b"a\r\nX-Evil: 1", b"\xff" + SECRET.encode(), b"x" * 9000):
        file.write_bytes(held)
        with pytest.raises(ConfigError) as caught:
            mlflow_http.authorization(file)
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        mlflow_http.authorization(tmp_path / "none")


@pytest.mark.parametrize("alias", ["latest", "v7", "a b", "", "a/b"])
def test_an_alias_that_mlflow_does_not_take_is_refused_before_anything_is_made(
    stub: Stub, folder: Path, alias: str
) -> None:
    with pytest.raises(ConfigError):
        tracking.log(stub.server(), NAMES, Logging(DIGEST, lambda: folder), [alias])
    assert not stub.asked


def test_a_promotion_s_gates_and_its_reason_stand_with_the_version(stub: Stub, folder: Path) -> None:
    told: list[dict[str, Any]] = []
    keep = stub._usual

    def keeping(method: str, path: str, body: bytes) -> Answer:
        if path in ("model-versions/set-tag", "runs/log-batch"):
            told.append(json.loads(body))
        return keep(method, path, body)

    stub._usual = keeping  # type: ignore[method-assign]
    gates = [Gate("MB", "11.1", "12.0", True), Gate("Brier", "0.4", "not measured", False)]
    promotion = Promotion("ann", "INC-7", gates)
    said = tracking.log(stub.server(), NAMES, Logging(DIGEST, lambda: folder), ["champion"], promotion)
    assert said == "MLflow: version 1 of driftline, @champion"
    tags = {each["key"]: each["value"] for each in told if "key" in each}
    assert tags == {
        "driftline.promoted_by": "ann",
        "driftline.gates": "1 of 2 hold",
        "driftline.forced": "INC-7",
    }
    figures = {each["key"]: each["value"] for each in told[-1]["metrics"]}
    assert figures["gates/MB/challenger"] == 12.0
    assert (figures["gates/MB/holds"], figures["gates/Brier/holds"]) == (1.0, 0.0)


def test_whatever_fails_after_the_deed_is_a_warning(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_: Any) -> str:
        raise AssertionError("nothing may be told")

    def broken(*_: Any) -> str:
        raise BrokerError("the broker went away")

    tracking.Tracking(None).afterwards(nothing, "@champion")
    tracking.Tracking("").afterwards(nothing, "@champion")
    assert capsys.readouterr().err == ""
    for tracked, tell, why in (
        (tracking.Tracking("http://mlflow.example.com"), nothing, "in the clear"),
        (tracking.Tracking(stub.url, token_file=tmp_path / "none"), nothing, "cannot be read"),
        (tracking.Tracking(stub.url, model="a/b"), nothing, "--mlflow-model"),
        (tracking.Tracking(stub.url), nothing, "AssertionError"),
        (tracking.Tracking(stub.url), broken, "the broker went away"),
    ):
        tracked.afterwards(tell, "@champion")
        said = capsys.readouterr().err
        assert said.startswith("driftline: WARNING: all is done on the bus")
        assert why in said
        assert "nothing may be told" not in said  # the words of what nobody foresaw may quote anything
        assert "driftline release log @champion" in said


def test_an_option_that_is_wrong_is_to_be_mended_before_it_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tracking.Tracking("https://mlflow.example", token_file=tmp_path / "none")
    wrong.afterwards(lambda *_: "", "@champion")
    said = capsys.readouterr().err
    assert f"{tmp_path / 'none'} cannot be read" in said
    assert "Mend that; then `driftline release log @champion`" in said


def test_papers_are_flat_bounded_and_of_plain_names(folder: Path) -> None:
    manifest = registry.read_manifest(folder)
    manifest["plan"] = {"seed": 7, "estimator": {"name": "x" * 900, "parameters": {"max_iter": 160}}}
    manifest["samples"] = [Gate("sessions of the samples left alone", "24", "23", False, "s")._asdict()]
    manifest["metrics"] = {**manifest["metrics"], "odd": float("nan"), "many": dict.fromkeys(range(3000), 1)}
    told = release_papers.parameters(manifest)
    assert (told["plan.seed"], told["plan.estimator.parameters.max_iter"]) == ("7", "160")
    assert max(map(len, told.values())) == release_papers.MAX_VALUE
    figures = release_papers.metrics(manifest)
    assert len(figures) == release_papers.MAX_METRICS
    assert "odd" not in figures
    del manifest["metrics"]
    figures = release_papers.metrics(manifest)
    assert figures["samples/sessions of the samples left alone/holds"] == 0
    assert figures["sessions/benign_ recorded"] == manifest["sessions"]["benign: recorded"]


def test_a_model_without_readers_of_its_own_is_kept_with_those_of_the_package(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("manifest.json", "model.skops", "policy.yaml"):
        shutil.copy(folder / name, tmp_path / name)
    assert release_papers.files(tmp_path).keys() == release_papers.files(folder).keys()


def test_a_path_that_is_no_release_or_no_report_is_refused_before_anything_heavy_is_imported() -> None:
    at = ("release", "log", "--mlflow", "http://127.0.0.1:9")
    refused_lightly(*at, "no-such-folder")
    refused_lightly(*at, "models", "--report", "no-such-report.html")


def test_the_command_takes_no_alias_for_what_is_on_the_bus_and_wants_a_server(folder: Path) -> None:
    run = CliRunner().invoke
    done = run(app, ["release", "log", str(folder)])
    assert isinstance(done.exception, ConfigError)
    assert "DRIFTLINE_MLFLOW_URL" in str(done.exception)
    at = ["--mlflow", "http://127.0.0.1:9"]
    done = run(app, ["release", "log", "@champion", "--alias", "mine", *at])
    assert "--alias is for a folder" in str(done.exception)
    done = run(app, ["release", "log", "models", *at])
    assert isinstance(done.exception, InputError)
    assert "no policy.yaml" in str(done.exception)
