"""The list of promises and the tests cannot drift apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.probes import PROBES
from conformance.requirements import REQUIREMENTS


def _kept() -> Iterator[str]:
    yield from PROBES  # test_probes.py tries every one of them
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.requirement"):
                yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


@pytest.mark.requirement("requirements:kept")
def test_every_requirement_has_a_test() -> None:
    assert set(REQUIREMENTS) - set(_kept()) == set()


@pytest.mark.requirement("requirements:kept")
def test_there_are_as_many_requirements_as_were_promised() -> None:
    assert len(REQUIREMENTS) >= 160


@pytest.mark.requirement("requirements:kept")
def test_every_requirement_has_a_source() -> None:
    for id_, requirement in REQUIREMENTS.items():
        assert requirement.source == "veneer" or requirement.source.startswith("https://"), id_
