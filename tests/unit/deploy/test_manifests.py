"""What deploys the server is valid, and agrees with what the server does."""

import configparser
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import pytest
import yaml

from support.places import REPOSITORY
from veneer_server.commands.main import EXIT_CONFIG, EXIT_PORT
from veneer_server.settings import Settings

DEPLOY = REPOSITORY / "deploy"
BASE, GPU = DEPLOY / "kubernetes" / "base", DEPLOY / "kubernetes" / "gpu"
NAME = {"app.kubernetes.io/name": "veneer"}
DRAIN_S = Settings().server.drain_timeout_s
ENGINE_STOP_S = 10
"""What the engine may take after the last request; see `_STOP_S` in engine/vllm/engine.py."""


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def kustomization(folder: Path) -> dict[str, Any]:
    [found] = documents(folder / "kustomization.yaml")
    return found


RESOURCES = [
    pytest.param(document, id=f"{document['kind']} {document['metadata']['name']}")
    for file in sorted(BASE.glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for document in documents(file)
]


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_resource_is_what_kubernetes_knows(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, "1.37", strict=True)


def test_the_kustomization_names_every_file() -> None:
    files = {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization(BASE)["resources"]) == files


def server() -> dict[str, Any]:
    [found] = documents(BASE / "statefulset.yaml")
    return found


def test_the_gpu_overlay_fits_the_base_and_stays_valid() -> None:
    [patch] = kustomization(GPU)["patches"]
    operations = yaml.safe_load(patch["patch"])
    patched = jsonpatch.apply_patch(server(), operations)
    kubernetes_validate.validate(patched, "1.37", strict=True)
    [container] = patched["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert patched["spec"]["template"]["spec"]["volumes"][0]["name"] == "shm"


def test_whatever_selects_the_server_selects_its_pods() -> None:
    labels = server()["spec"]["template"]["metadata"]["labels"]
    [budget] = documents(BASE / "poddisruptionbudget.yaml")
    [policy] = documents(BASE / "networkpolicy.yaml")
    assert server()["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels


def test_the_monitor_scrapes_each_replica_once() -> None:
    [monitor] = documents(DEPLOY / "kubernetes" / "monitoring" / "servicemonitor.yaml")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = documents(BASE / "service.yaml")
    found = [s for s in services if wanted <= (s["metadata"].get("labels", {}) | NAME).items()]
    assert [service["spec"].get("clusterIP") for service in found] == ["None"]


@pytest.mark.slow
def test_the_compose_file_is_what_compose_knows() -> None:
    command = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(
        [*command, *schema], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def compose() -> dict[str, Any]:
    [found] = documents(DEPLOY / "compose.yaml")
    return found


def test_nothing_is_published_beyond_this_machine_and_no_secret_is_written_down() -> None:
    for service in compose()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    secrets = [
        value
        for service in compose()["services"].values()
        for name, value in service.get("environment", {}).items()
        if "KEY" in name or "PASSWORD" in name
    ]
    assert len(secrets) == 2
    assert all(value.startswith("${") and ":?" in value for value in secrets)


def test_every_folder_compose_mounts_exists() -> None:
    for service in compose()["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_dir(), source


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "veneer.service")
    return parser["Service"]


def test_the_unit_lets_requests_finish_and_gives_up_where_trying_again_is_no_use() -> None:
    assert unit()["KillMode"] == "mixed"
    codes = {int(code) for code in unit()["RestartPreventExitStatus"].split()}
    assert codes == {EXIT_CONFIG, EXIT_PORT}


def test_everybody_waits_long_enough_for_a_graceful_stop() -> None:
    graces = {
        "systemd": float(unit()["TimeoutStopSec"].removesuffix("s")),
        "compose": float(compose()["services"]["veneer"]["stop_grace_period"].removesuffix("s")),
        "kubernetes": server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    }
    assert all(grace >= DRAIN_S + ENGINE_STOP_S for grace in graces.values()), graces
