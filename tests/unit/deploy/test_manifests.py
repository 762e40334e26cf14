"""What deploys the server is valid, and agrees with what the server does."""

import configparser
import re
import shutil
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


def test_running_out_of_memory_ends_the_engine_and_not_the_unit() -> None:
    assert unit()["OOMPolicy"] == "continue"
    assert unit()["MemoryMax"].endswith("%")
    assert "OOMScoreAdjust" not in unit()


def test_the_unit_keeps_secrets_from_other_users() -> None:
    assert unit()["UMask"] == "0077"
    assert unit()["StateDirectoryMode"] == unit()["CacheDirectoryMode"] == "0700"


def test_the_sandbox_may_leave_the_network_under_the_unit() -> None:
    assert set(unit()["RestrictNamespaces"].split()) == {"user", "net"}
    assert unit()["SystemCallFilter"] == "@system-service"
    assert unit()["SystemCallErrorNumber"] == "EPERM"


NEEDED = (
    "unshare prctl setrlimit pidfd_open mbind set_mempolicy sched_setaffinity clone3 memfd_create"
)


@pytest.mark.slow
def test_the_calls_that_the_server_cannot_do_without_are_in_the_units_filter() -> None:
    allowed = known_calls("@system-service")
    assert set(NEEDED.split()) <= allowed
    assert allowed.isdisjoint({"mount", "ptrace", "kexec_load", "reboot", "init_module", "bpf"})


def known_calls(group: str) -> set[str]:
    """Return the calls that systemd means by ``group``, and by the groups in it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    done = subprocess.run(
        [analyze, "syscall-filter", "--no-pager", group],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    calls: set[str] = set()
    for name in done.stdout.split()[1:]:
        calls |= known_calls(name) if name.startswith("@") else {name}
    return calls


@pytest.mark.slow
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    text = (DEPLOY / "systemd" / "veneer.service").read_text()
    copy = tmp_path / "veneer.service"
    copy.write_text(text.replace("/opt/veneer/bin/veneer", "/bin/true"))
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = [line for line in verified.stderr.splitlines() if "veneer.service" in line]
    assert told == []
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", str(copy)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:]


def images() -> list[str]:
    """Return every image that compose and Kubernetes run, as they name it."""
    named = [s["image"] for s in compose()["services"].values() if "build" not in s]
    for folder in (BASE, GPU):
        for image in kustomization(folder)["images"]:
            assert "newTag" not in image
            named.append(f"{image['name']}@{image['digest']}")
    return named


@pytest.mark.parametrize("image", images())
def test_images_of_others_are_named_by_digest(image: str) -> None:
    assert re.fullmatch(r"[a-z/]+(:v?[0-9.]+)?@sha256:[0-9a-f]{64}", image)


def written_by_the_container() -> set[str]:
    """Return the folders that the image makes for what changes while it runs."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    return set(re.findall(r"=(/\S+/cache/\S+)", dockerfile)) | {"/tmp"}  # noqa: S108


def kernels() -> str:
    """Return where compiled kernels are kept; the module itself needs numba."""
    source = REPOSITORY / "server/veneer_server/engine/vllm/lora/kernel.py"
    [found] = re.findall(r'CACHE_FOLDER = Path\("~(\S+)"\)', source.read_text())
    return f"/home/veneer{found}"


def test_nothing_but_volumes_can_be_written_and_all_that_is_written_lies_in_one() -> None:
    service = compose()["services"]["veneer"]
    [container] = server()["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    tmpfs = {path.partition(":")[0] for path in service["tmpfs"]}
    by_image = {"/var/lib/veneer"}
    for folder in (*written_by_the_container(), kernels()):
        assert any(Path(folder).is_relative_to(place) for place in mounted), folder
        assert any(Path(folder).is_relative_to(place) for place in tmpfs | by_image), folder


def test_every_service_of_compose_is_read_only_and_bounded() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["pids_limit"] > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_kubernetes_restarts_a_server_that_hangs_and_none_whose_engine_is_restarted() -> None:
    [container] = server()["spec"]["template"]["spec"]["containers"]
    alive, ready = container["livenessProbe"], container["readinessProbe"]
    assert alive["httpGet"]["path"] == "/livez"  # 200 while the engine is started again
    assert ready["httpGet"]["path"] == "/readyz"
    noticed_s = alive["periodSeconds"] * alive["failureThreshold"] + alive["timeoutSeconds"]
    assert 30 <= noticed_s <= 90


def test_everybody_waits_long_enough_for_a_graceful_stop() -> None:
    graces = {
        "systemd": float(unit()["TimeoutStopSec"].removesuffix("s")),
        "compose": float(compose()["services"]["veneer"]["stop_grace_period"].removesuffix("s")),
        "kubernetes": server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    }
    assert all(grace >= DRAIN_S + ENGINE_STOP_S for grace in graces.values()), graces
