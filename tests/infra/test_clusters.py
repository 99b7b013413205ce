"""The Ray launcher file, the Kubernetes manifests and the systemd units, against their schemas."""

from __future__ import annotations

import copy
import datetime
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import check_config

ROOT = Path(__file__).resolve().parents[2]
K8S, SYSTEMD = ROOT / "infra" / "k8s", ROOT / "infra" / "systemd"
KUBERNETES = "1.34"

# The fields of KubeRay 1.4's ray.io/v1 that may stand in each part, after its API reference; the resource definitions
# themselves ship in no Python package.
INTEGER, TEXT, FLAG, TREE, ROWS = int, str, bool, dict, list
RAY_FIELDS: dict[str, dict[str, type]] = {
    "RayJobSpec": {
        **dict.fromkeys(("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"), INTEGER),
        **dict.fromkeys(("entrypoint", "submissionMode", "runtimeEnvYAML", "jobId", "entrypointResources"), TEXT),
        **dict.fromkeys(("shutdownAfterJobFinishes", "suspend"), FLAG),
        **dict.fromkeys(("rayClusterSpec", "submitterPodTemplate", "submitterConfig", "metadata"), TREE),
    },
    "RayClusterSpec": {
        "rayVersion": TEXT,
        "headGroupSpec": TREE,
        "workerGroupSpecs": ROWS,
        "autoscalerOptions": TREE,
        "enableInTreeAutoscaling": FLAG,
        "gcsFaultToleranceOptions": TREE,
        "headServiceAnnotations": TREE,
    },
    "HeadGroupSpec": {"rayStartParams": TREE, "template": TREE, "serviceType": TEXT, "enableIngress": FLAG},
    "WorkerGroupSpec": {
        **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), INTEGER),
        "groupName": TEXT,
        "rayStartParams": TREE,
        "template": TREE,
        "suspend": FLAG,
    },
}
REQUIRED = {
    "HeadGroupSpec": {"rayStartParams", "template"},
    "WorkerGroupSpec": {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}


def manifests() -> list[dict[str, Any]]:
    return [
        tree
        for path in sorted(K8S.glob("*.yaml"))
        if path.name not in {"kustomization.yaml", "pipeline.yaml", "rayjob.yaml"}
        for tree in yaml.safe_load_all(path.read_text())
    ]


def rayjob(date: str = "2026-01-31") -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((K8S / "rayjob.yaml").read_text().replace("@DATE@", date))
    return tree


def kinds(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


@pytest.mark.parametrize("tree", manifests(), ids=lambda tree: tree["kind"])
def test_manifest_follows_kubernetes_schema(tree: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(tree, KUBERNETES, strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**tree, "metadatum": {}}, KUBERNETES, strict=True)


def check_fields(part: str, tree: dict[str, Any]) -> None:
    assert REQUIRED.get(part, set()) <= set(tree), f"{part} lacks {REQUIRED[part] - set(tree)}"
    for name, value in tree.items():
        assert name in RAY_FIELDS[part], f"{part} has no field {name}"
        assert type(value) is RAY_FIELDS[part][name], f"{part}.{name} is {value!r}"


def check_rayjob(tree: dict[str, Any]) -> None:
    """The fields that KubeRay knows, by name and type, and the pods by Kubernetes' schema."""
    validate = pytest.importorskip("kubernetes_validate")
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", "RayJob")
    spec = tree["spec"]
    cluster = spec["rayClusterSpec"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    check_fields("RayJobSpec", spec)
    check_fields("RayClusterSpec", cluster)
    check_fields("HeadGroupSpec", head)
    for worker in workers:
        check_fields("WorkerGroupSpec", worker)
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
    for group in (head, *workers):
        assert all(type(value) is str for value in group["rayStartParams"].values())
    for pod in (spec["submitterPodTemplate"], head["template"], *(worker["template"] for worker in workers)):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": pod}
        validate.validate(template, KUBERNETES, strict=True)
        check_pod(pod["spec"])


def check_pod(pod: dict[str, Any]) -> None:
    """Unprivileged, pinned, with Ray's token, and with the volumes that it mounts."""
    assert pod["securityContext"]["runAsNonRoot"]
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        assert re.fullmatch(r"\S+:(?!latest)\S+", container["image"])
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment["RAY_AUTH_MODE"] == "token"
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert str(Path(environment["RAY_AUTH_TOKEN_PATH"]).parent) in mounts
        assert container["resources"]["limits"]["memory"]


def test_rayjob_has_known_fields_and_sound_pods() -> None:
    check_rayjob(rayjob())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "minconv"),
        (("spec", "backoffLimit"), "2"),
        (("spec", "submissionMode"), "Sometimes"),
        (("spec", "rayClusterSpec", "headGroupSpec"), {"rayStartParams": {}}),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containerz"), []),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 1),
        (("spec", "submitterPodTemplate", "spec", "securityContext"), {"runAsNonRoot": False}),
    ],
)
def test_a_broken_rayjob_is_found(path: tuple[str, ...], value: Any) -> None:
    tree = copy.deepcopy(rayjob())
    place = tree
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(Exception, match=r".+"):
        check_rayjob(tree)


def test_a_night_has_one_name_and_one_date() -> None:
    tree = rayjob("2026-02-28")
    assert tree["metadata"]["name"] == "minconv-nightly-2026-02-28"
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", tree["metadata"]["name"])
    assert len(tree["metadata"]["name"]) <= 47  # KubeRay appends to it, and Kubernetes ends labels at 63
    assert "--date 2026-02-28" in tree["spec"]["entrypoint"]


def test_cronjob_starts_each_night_once() -> None:
    spec = kinds("CronJob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"] == "Etc/UTC"
    minute, hour, *rest = spec["schedule"].split()
    assert rest == ["*", "*", "*"]
    last_start = int(hour) * 3600 + int(minute) * 60 + spec["startingDeadlineSeconds"]
    assert last_start < 86_400  # the date that the pod reads is the one that was meant
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert (
        'kubectl create --filename /tmp/rayjob.yaml || kubectl get rayjob "minconv-nightly-$date"'
        in container["args"][0]
    )
    assert subprocess.run(["sh", "-n", "-c", container["args"][0]], timeout=10).returncode == 0


def test_cronjob_may_do_what_it_does_and_no_more() -> None:
    (rule,) = kinds("Role")["rules"]
    assert rule == {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}
    account = kinds("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"]
    assert kinds("RoleBinding")["subjects"] == [{"kind": "ServiceAccount", "name": account}]
    assert kinds("ServiceAccount")["metadata"]["name"] == account


def test_what_the_pods_mount_is_made() -> None:
    kustomization = yaml.safe_load((K8S / "kustomization.yaml").read_text())
    maps = {one["name"] for one in kustomization["configMapGenerator"]}
    claims = {one["metadata"]["name"] for one in manifests() if one["kind"] == "PersistentVolumeClaim"}
    cluster = rayjob()["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for volume in [volume for pod in pods for volume in pod["template"]["spec"]["volumes"]]:
        assert volume.get("configMap", {}).get("name", "minconv-rayjob") in maps
        assert volume.get("persistentVolumeClaim", {}).get("claimName", "minconv-work") in claims
    for name in kustomization["resources"]:
        assert (K8S / name).is_file()


def test_the_pipeline_of_the_cluster_is_valid() -> None:
    config = check_config(yaml.safe_load((K8S / "pipeline.yaml").read_text()))
    (worker,) = rayjob()["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert worker["replicas"] == config.training.workers
    assert int(worker["rayStartParams"]["num-cpus"]) >= (config.training.threads or 1)
    assert config.root.is_relative_to("/work")


def test_kustomize_builds_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    result = subprocess.run(["kubectl", "kustomize", str(K8S)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    built = list(yaml.safe_load_all(result.stdout))
    (template,) = [one for one in built if one["metadata"]["name"] == "minconv-rayjob"]
    assert "@DATE@" in template["data"]["rayjob.yaml"]
    assert {one["metadata"].get("namespace", "minconv") for one in built} == {"minconv"}


def test_rayjob_has_the_ray_that_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={rayjob()['spec']['rayClusterSpec']['rayVersion']}\n" in pins


@pytest.mark.slow
def test_ray_launcher_follows_rays_schema() -> None:
    tree = yaml.safe_load((ROOT / "infra" / "ray" / "cluster.yaml").read_text())
    trees = [tree, {**tree, "idle_timeout_minutes": "soon"}, {**tree, "worker_nodez": {}}]
    # In a process of its own: Ray, once imported, keeps the authentication it was imported with.
    script = """
import json, sys
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
for tree in json.load(sys.stdin):
    try:
        validate_config(prepare_config(tree))
        print("valid")
    except ValidationError:
        print("invalid")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=json.dumps(trees), capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["valid", "invalid", "invalid"], done.stderr
    assert "--env=RAY_AUTH_MODE=token" in tree["docker"]["run_options"]


def unit(name: str) -> dict[str, list[str]]:
    """Values of each key of a systemd unit."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_units_belong_together() -> None:
    service, timer = unit("minconv-nightly.service"), unit("minconv-nightly.timer")
    assert service["Type"] == ["oneshot"]
    assert service["User"] == ["minconv"]
    assert timer["OnCalendar"] == ["*-*-* 02:00:00 UTC"]
    assert timer["Persistent"] == ["yes"]
    (command,) = service["ExecStart"]
    shown = subprocess.run(
        command.replace("%%", "%").replace("exec /opt/minconv/.venv/bin/minconv", "echo"),
        shell=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    date = shown.stdout.split()[-1]
    assert abs((datetime.datetime.now(datetime.UTC).date() - datetime.date.fromisoformat(date)).days) <= 1


@pytest.mark.parametrize("name", ["minconv-nightly.service", "minconv-nightly.timer"])
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for path in SYSTEMD.iterdir():
        shutil.copy(path, tmp_path)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    assert "minconv" not in result.stderr, result.stderr
