"""The container's files, as far as they can be read. `make check-container` runs what is in them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "backend" / "container"
COMPOSE, DOCKERFILE = ROOT / "docker-compose.yml", FOLDER / "Dockerfile"
BIN = Path(sys.executable).parent
SECRET = re.compile(r"PASSWORD|KEY|TOKEN|SECRET")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True)


def test_the_compose_file_is_of_the_specification(tmp_path: Path) -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("read_only: true", "read_only: [1]"))
    assert run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong).returncode == 1


def test_the_dockerfile_has_no_lint() -> None:
    done = run("hadolint", "--failure-threshold", "style", DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    copied = {
        name for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ") for name in line.split()[1:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_services_are_what_they_are_said_to_be() -> None:
    assert SERVICES.keys() == {"server", "database", "volume", "demo", "pipeline"}
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"server", "database", "volume"}
    assert list(yaml.safe_load(COMPOSE.read_text())["volumes"]) == ["monosema"]
    reserved = [name for name, service in SERVICES.items() if "deploy" in service]
    assert reserved == ["pipeline"]
    devices = SERVICES["pipeline"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "not root"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert service.get("ports", ["127.0.0.1:x:8000"])[0].startswith("127.0.0.1:")


def test_the_server_cannot_write_what_the_pipeline_made() -> None:
    assert SERVICES["server"]["volumes"] == ["monosema:/data:ro"]
    assert SERVICES["pipeline"]["volumes"] == SERVICES["demo"]["volumes"] == ["monosema:/data"]


def test_the_server_and_the_database_have_health_checks_and_wait_for_each_other() -> None:
    assert "pg_isready" in SERVICES["database"]["healthcheck"]["test"]
    assert "HEALTHCHECK" in DOCKERFILE.read_text()
    assert "healthcheck" not in SERVICES["server"], "it has the image's"
    for name in ("server", "demo", "pipeline"):
        assert SERVICES[name]["depends_on"]["database"]["condition"] == "service_healthy"


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_the_environment_and_have_no_default(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(variable):
            assert re.fullmatch(r"\$\{\w+(:\?[^}]+|:-)\}", value), f"{variable} of {name} is {value}"
    assert not re.search(r"postgresql://[^@\s]*:[^@\s]*@", COMPOSE.read_text()), "a password in an address"


def test_variables_are_those_of_the_server() -> None:
    known = {f"MONOSEMA_{name.upper()}" for name in Settings.model_fields}
    named = {variable for service in SERVICES.values() for variable in service.get("environment", {})}
    assert {name for name in named if name.startswith("MONOSEMA_")} <= known


def test_the_documentation_names_what_must_be_set() -> None:
    documentation = (ROOT / "docs" / "running.md").read_text()
    for variable in re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()):
        assert variable in documentation


def test_the_script_of_the_image_is_what_the_dockerfile_runs() -> None:
    assert '["sh", "/source/backend/container/install.sh"]' in DOCKERFILE.read_text()
    checked = subprocess.run(["sh", "-n", FOLDER / "install.sh"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
