"""The images and the compose file, checked without a daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
COMPOSE = ROOT / "infra" / "compose"


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed")
    command = [program, "--no-color", "--failure-threshold", "info", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def test_dockerfile_passes_its_linter() -> None:
    result = hadolint(DOCKERFILE.read_text())
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "bad", ["FROM python:latest\n", "FROM python:3.11.14\nRUN cd /tmp\n", "FROM x:1\nRUN sudo ls\n"]
)
def test_the_linter_finds_what_is_wrong(bad: str) -> None:
    assert hadolint(bad).returncode != 0


def stages() -> dict[str, list[str]]:
    """Instructions of each stage of the Dockerfile, by its name."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.read_text().splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = [line]
        elif found and line and not line.startswith("#"):
            found[next(reversed(found))].append(line)
    return found


def test_images_are_built_in_stages_and_run_unprivileged() -> None:
    found = stages()
    assert {"cpu", "gpu", "runtime"} <= set(found)
    for target in ("cpu", "gpu"):
        assert found[target][0] == f"FROM runtime AS {target}"
        assert all(line.startswith("COPY --from=packages-") for line in found[target][1:])
    (user,) = [line.split()[1] for line in found["runtime"] if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert 'ENTRYPOINT ["minconv"]' in found["runtime"]
    installs = [line for lines in found.values() for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)


def test_what_is_copied_is_there() -> None:
    for line in stages()["packages"]:
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists()


def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return tree


def test_compose_file_follows_the_specification() -> None:
    specification = pytest.importorskip("compose_spec")
    checked = specification.PyCompose.from_json(json.dumps(compose()))
    assert set(checked.service_names()) == {"postgres", "store", "mlflow", "bucket", "ray-head", "ray-worker"}
    broken = compose()
    broken["services"]["mlflow"]["prots"] = []
    with pytest.raises(ValueError, match="prots"):
        specification.PyCompose.from_json(json.dumps(broken))


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_service_is_pinned_private_and_complete(name: str) -> None:
    tree = compose()
    service = tree["services"][name]
    image, _, tag = service["image"].partition(":")
    assert image
    assert tag not in ("", "latest")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert set(service.get("secrets", [])) <= set(tree["secrets"])
    assert set(service["networks"]) <= set(tree["networks"])
    assert set(service.get("depends_on", [])) <= set(tree["services"])
    assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(tree["volumes"])
    words = json.dumps([service.get(key) for key in ("environment", "command", "entrypoint")])
    for secret in re.findall(r"/run/secrets/(\w+)", words):
        assert secret in service["secrets"]
    for key, value in service.get("environment", {}).items():  # files and modes only, no secrets
        if re.search("PASSWORD|TOKEN|SECRET|CREDENTIALS", key):
            assert value.startswith("/run/secrets/")


def test_secrets_are_made_once_and_are_not_in_git(tmp_path: Path) -> None:
    shutil.copytree(COMPOSE, tmp_path / "compose")
    script, folder = tmp_path / "compose" / "make-secrets", tmp_path / "compose" / "secrets"
    subprocess.run([str(script)], check=True, timeout=60)
    made = {path.name: path.read_text() for path in folder.iterdir() if path.name != ".gitignore"}
    assert {Path(one["file"]).name for one in compose()["secrets"].values()} == set(made)
    assert len(made["postgres_password"]) == len(made["ray_token"]) == 48
    (identity,) = json.loads(made["store_identities.json"])["identities"]
    assert identity["credentials"][0]["secretKey"] in made["store_credentials"]
    assert folder.stat().st_mode & 0o077 == 0
    subprocess.run([str(script)], check=True, timeout=60)
    assert made == {path.name: path.read_text() for path in folder.iterdir() if path.name != ".gitignore"}
    assert (COMPOSE / "secrets" / ".gitignore").read_text().splitlines()[-2:] == ["*", "!.gitignore"]
