"""deploy/: manifests valid by Kubernetes' own schemas, and alerts and dashboard that ask for metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from stream.policy import load_policy
from stream.settings import Settings
from stream.shell.app import STOP_S
from stream.shell.health import HealthServer
from stream.shell.metrics import Measures

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
VERSIONS = ("1.29", "1.33", "1.37")
FROM_PROMETHEUS = {"up", "ALERTS"}


def documents(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.yaml")):
        if path.name not in {"kustomization.yaml", "policy.yaml"}:
            found += yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return found


def one(kind: str) -> dict[str, Any]:
    [found] = [document for document in documents(BASE) if document["kind"] == kind]
    return found


def pod(kind: str) -> dict[str, Any]:
    template: dict[str, Any] = one(kind)["spec"]["template"]
    return template


def kustomization(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    return loaded


def settings_of(folder: Path) -> dict[str, str]:
    [literals] = [
        generator["literals"]
        for generator in kustomization(folder)["configMapGenerator"]
        if generator["name"] == "driftline-settings"
    ]
    return dict(literal.split("=", 1) for literal in literals)


def rules() -> list[dict[str, Any]]:
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana" / "driftline.json").read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def asked() -> Iterator[tuple[str, str]]:
    """Every expression of alerts and dashboard, with what asks."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def selectors(expression: str) -> list[Any]:
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def exported() -> dict[str, set[str]]:
    """Every series that a worker exposes, with the names of its labels."""
    found: dict[str, set[str]] = {}
    for family in Measures().registry.collect():
        samples = {
            "counter": ("_total",),
            "gauge": ("",),
            "histogram": ("_bucket", "_sum", "_count"),
        }[family.type]
        for suffix in samples:
            found[family.name + suffix] = {"le"} if suffix == "_bucket" else set()
    for measure in vars(Measures()).values():
        for name in getattr(measure, "_labelnames", ()):
            for series in found:
                if series.removesuffix("_total") == measure._name:
                    found[series].add(name)
    return found


# ------------------------------------------------------------------------------------------ kubernetes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", documents(BASE), ids=lambda document: str(document["kind"]))
def test_a_manifest_is_valid_by_the_schema_of_its_kind(document: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(document, version, strict=True) == version


def test_the_schema_check_refuses_a_field_that_does_not_exist() -> None:
    wrong = one("Deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystm"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_of_the_base_is_in_it_and_what_an_overlay_names_is_there() -> None:
    named = set(kustomization(BASE)["resources"])
    assert named == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    overlay = kustomization(EXAMPLE)
    assert all((EXAMPLE / path).is_dir() for path in overlay["resources"])
    assert {patch["target"]["name"] for patch in overlay["patches"]} == {
        one("Deployment")["metadata"]["name"]
    }
    assert {replicas["name"] for replicas in overlay["replicas"]} == {one("Deployment")["metadata"]["name"]}


def test_what_needs_the_operator_s_definitions_is_in_the_overlay_as_a_comment_that_works_once_taken_off() -> (
    None
):
    # Where the Prometheus operator is not installed, one PodMonitor would fail the whole `apply -k`.
    assert "components" not in kustomization(EXAMPLE)
    text = (EXAMPLE / "kustomization.yaml").read_text(encoding="utf-8")
    [commented] = re.findall(r"^# components:\n(?:#   - .+\n)+", text, re.M)
    [component] = yaml.safe_load(re.sub("^# ", "", commented, flags=re.M))["components"]
    assert kustomization(EXAMPLE / component)["kind"] == "Component"


def test_labels_of_the_kustomization_stay_out_of_selectors() -> None:
    # They would rewrite whom the network policy lets in: Prometheus would have to be called driftline.
    assert all("includeSelectors" not in labels for labels in kustomization(BASE)["labels"])


def test_every_selector_finds_the_worker_alone() -> None:
    worker, topics = (pod(kind)["metadata"]["labels"] for kind in ("Deployment", "Job"))
    [monitor] = documents(DEPLOY / "kubernetes" / "prometheus-operator")
    spread = pod("Deployment")["spec"]["topologySpreadConstraints"]
    for selector in (
        one("Deployment")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"],
        monitor["spec"]["selector"],
        *(constraint["labelSelector"] for constraint in spread),
    ):
        assert selector["matchLabels"].items() <= worker.items()
        assert not selector["matchLabels"].items() <= topics.items()


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_a_pod_has_no_rights(kind: str) -> None:
    spec = pod(kind)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])


def test_a_pod_gets_more_time_to_stop_than_it_takes() -> None:
    assert pod("Deployment")["spec"]["terminationGracePeriodSeconds"] > STOP_S


def test_a_rollout_takes_one_worker_after_the_other() -> None:
    strategy = one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
def test_driftline_accepts_the_environment_of_a_pod(kind: str, folder: Path) -> None:
    [container] = pod(kind)["spec"]["containers"]
    environment = settings_of(BASE) | (settings_of(folder) if folder != BASE else {})
    environment |= {entry["name"]: entry.get("value", "secret") for entry in container["env"]}
    known = {"DRIFTLINE_" + field.upper() for field in Settings.__dataclass_fields__}
    assert set(environment) <= known
    assert Settings.from_environment(environment).security_protocol == "SASL_SSL"


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_a_file_that_a_setting_names_is_mounted_from_a_secret(kind: str) -> None:
    spec = pod(kind)["spec"]
    [container] = spec["containers"]
    files = {
        value
        for value in (*settings_of(BASE).values(), *(entry.get("value", "") for entry in container["env"]))
        if value.startswith("/run/")
    }
    sources = {volume["name"]: volume for volume in spec["volumes"]}
    mounted = {
        f"{mount['mountPath']}/{item['path']}"
        for mount in container["volumeMounts"]
        for item in sources[mount["name"]].get("secret", {}).get("items", ())
    }
    assert files <= mounted
    # A file mounted by subPath never changes: rotation would need a restart.
    assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]


def test_no_manifest_holds_a_secret_and_the_documents_say_how_each_is_made() -> None:
    assert not [document for document in documents(BASE) if document["kind"] == "Secret"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in BASE.glob("*.yaml"))
    names = set(re.findall(r"secretName: ([\w-]+)|name: (driftline-k[\w-]+)", text))
    assert names
    for name in {part for pair in names for part in pair if part}:
        assert f"kubectl create secret generic {name} " in OPERATIONS


def test_the_documents_make_the_overlay_s_namespace_and_name_it_in_every_command() -> None:
    namespace = kustomization(EXAMPLE)["namespace"]
    commands = re.findall(r"kubectl [a-z][^`\n]*", OPERATIONS)
    itself = f"kubectl create namespace {namespace}"
    assert itself in commands
    # `apply -k` takes it from the overlay.
    others = [one for one in commands if one != itself and not one.startswith("kubectl apply -k")]
    assert not [one for one in others if not re.search(rf" -n {namespace}( |$)", one)]


def test_the_policy_of_the_example_is_the_shipped_one_but_for_its_limits_and_begins_in_shadow() -> None:
    mine, shipped = load_policy(EXAMPLE / "policy.yaml"), load_policy()
    assert mine.mode == "shadow"
    assert mine == shipped.model_copy(update={"name": mine.name, "limits": mine.limits})


LARGEST_TOMBSTONE, LARGEST_CATALOGUE, LEAST_SESSION = 4096, 131_072, 2048
"""Bytes of each, packed: docs/security.md. No session weighs less than the last, see `models.session.Session.weighs`."""
OBJECTS, ID_OBJECTS = 1400, 400
"""Bytes of Python objects around each session, and around each id of a finished one, that is held."""
WORKER = 400 << 20
"""A worker with model, memos and buffers, and no session."""


def test_partitions_as_full_as_the_limits_let_them_get_fit_the_memory_of_one_worker() -> None:
    """Whatever producers send: the last worker left holds every partition."""
    limits = load_policy(EXAMPLE / "policy.yaml").limits
    memory = pod("Deployment")["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert re.fullmatch(r"\d+Gi", memory)
    sessions = min(limits.open_sessions, (limits.open_mib << 20) // LEAST_SESSION)
    each = (
        (limits.open_mib << 20)
        + limits.tombstones * LARGEST_TOMBSTONE
        + limits.catalogues * LARGEST_CATALOGUE
        + sessions * OBJECTS
        + limits.tombstones * ID_OBJECTS
    )
    partitions = int(settings_of(EXAMPLE).get("DRIFTLINE_PARTITIONS", Settings().partitions))
    assert WORKER + partitions * each <= int(memory.removesuffix("Gi")) << 30


# ------------------------------------------------------------------------------------------ the probe


@pytest.mark.parametrize(("ready", "code"), [(1, 0), (0, 1)])
def test_the_probe_tells_ready_from_not_ready_and_sends_the_token(
    tmp_path: Path, ready: int, code: int
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 40 + "\n")
    measures = Measures()
    measures.ready.set(ready)
    server = HealthServer(measures, "127.0.0.1", 0, token)
    try:
        environment = {"DRIFTLINE_METRICS_PORT": str(server.port)}
        with_token = environment | {"DRIFTLINE_METRICS_TOKEN_FILE": str(token)}
        assert probe("readyz", with_token) == code
        assert probe("readyz", environment) == 1
    finally:
        server.close()


def probe(path: str, environment: dict[str, str]) -> int:
    command = [sys.executable, str(DEPLOY / "probe.py"), path]
    return subprocess.run(command, env=environment, timeout=30, check=False, capture_output=True).returncode


def test_the_probe_of_a_worker_that_is_not_there_fails() -> None:
    assert probe("healthz", {"DRIFTLINE_METRICS_PORT": "1"}) == 1


@pytest.mark.parametrize("kind", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_a_probe_asks_from_inside_the_container(kind: str) -> None:
    [container] = pod("Deployment")["spec"]["containers"]
    command = container[kind]["exec"]["command"]
    assert command[0] == "driftline-probe"
    assert command[1] == ("readyz" if kind == "readinessProbe" else "healthz")
    assert container[kind]["timeoutSeconds"] > 4  # the probe's own


# ------------------------------------------------------------------------------- alerts and dashboard


@pytest.mark.parametrize(
    ("who", "expression"), [pytest.param(who, expr, id=f"{who} {n}") for n, (who, expr) in enumerate(asked())]
)
def test_an_expression_asks_for_series_and_labels_that_a_worker_exposes(who: str, expression: str) -> None:
    found = selectors(expression)
    assert found or expression == "vector(0)"
    series = exported()
    for selector in found:
        if selector.name in FROM_PROMETHEUS:
            continue
        assert selector.name in series, f"{who} asks for {selector.name}"
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= series[selector.name] | {"job", "instance"}
    grouped = set(re.findall(r"\bby \(([^)]*)\)", expression))
    for name in {label.strip() for group in grouped for label in group.split(",")}:
        assert name in {"job", "instance"} | {label for labels in series.values() for label in labels}


def test_every_metric_is_on_the_dashboard_and_in_the_table_of_the_documents() -> None:
    shown = {s.name for panel in panels() for t in panel["targets"] for s in selectors(plain(t["expr"]))}
    families = {family.name: family.type for family in Measures().registry.collect()}
    told = set(re.findall(r"^\| `(driftline_\w+)`", OPERATIONS, re.M))
    assert told == {name + ("_total" if kind == "counter" else "") for name, kind in families.items()}
    missing = {name for name in families if not any(series.startswith(name) for series in shown)}
    assert not missing


def plain(expression: str) -> str:
    return expression.replace("$__rate_interval", "1m")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert (ROOT / page).is_file()
    assert anchor in {heading.lower() for heading in re.findall(r"^### (\w+)$", OPERATIONS, re.M)}


def test_every_alert_is_made_to_speak_by_a_rule_test() -> None:
    text = (DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8")
    spoken = {
        sample["labels"]
        for case in yaml.safe_load(text)["tests"]
        for check in case["promql_expr_test"]
        for sample in check["exp_samples"]
    }
    names = {re.search(r'alertname="(\w+)"', labels)[1] for labels in spoken}  # type: ignore[index]
    assert names == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_worker_as_the_overlay_patches_it_is_valid_too(version: str) -> None:
    overlay, deployment = kustomization(EXAMPLE), one("Deployment")
    [image] = overlay["images"]
    [replicas] = overlay["replicas"]
    assert deployment["metadata"]["name"] == replicas["name"]
    deployment["spec"]["replicas"] = replicas["count"]
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        assert container["image"].split(":")[0] == image["name"]
        container["image"] = f"{image['newName']}:{image['newTag']}"
    [patch] = overlay["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    for operation in yaml.safe_load(patch["patch"]):
        *way, last = operation["path"].strip("/").split("/")
        place: Any = deployment
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        assert (operation["op"], last) == ("add", "-")
        place.append(operation["value"])
    kubernetes_validate.validate(deployment, version, strict=True)
    spec = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} <= volumes


def test_the_alerts_pass_their_own_tests() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT RUN: promtool is not installed (it comes with Prometheus)")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool, *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_has_one_panel_a_place_and_says_what_each_shows() -> None:
    board = dashboard()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    assert all(panel["description"] for panel in panels())


def test_a_panel_that_a_runbook_names_is_on_the_dashboard() -> None:
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", OPERATIONS.split("## Alerts")[1]))
    assert named
    titles = [panel["title"] for panel in panels()]
    assert not [name for name in named if not any(title.startswith(name) for title in titles)]


def test_prometheus_reads_the_token_and_the_rules_that_are_there() -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    configuration = yaml.safe_load(text)
    assert all((DEPLOY / "prometheus" / name).is_file() for name in configuration["rule_files"])
    [scrape] = configuration["scrape_configs"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in scrape["dns_sd_configs"][0]["names"]:
        environment = compose[name]["environment"]
        assert environment["DRIFTLINE_METRICS_PORT"] == str(scrape["dns_sd_configs"][0]["port"])
        assert environment["DRIFTLINE_METRICS_TOKEN_FILE"] == scrape["authorization"]["credentials_file"]
    # The alerts and the dashboard know the workers by it, wherever they run.
    assert scrape["job_name"] == "driftline"
