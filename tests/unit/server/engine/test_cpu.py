"""What the processor can do, from files as kernels write them."""

import platform
from pathlib import Path

import pytest

from veneer_server.engine import cpu

AMD = """\
processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse avx512f avx512_bf16

power management:
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AMD, False),
        (AMD.replace("avx512_bf16", "amx_bf16 amx_tile"), False),
        (AMD.replace(" avx512_bf16", " avx512_vnni"), True),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_a_cpu_that_says_what_it_can_may_lack_bfloat16(
    text: str, expected: bool, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert cpu.lacks("bfloat16", cpu.instructions(file)) == expected


def test_nothing_is_lacking_for_float32() -> None:
    assert not cpu.lacks("float32", frozenset({"avx2"}))


def test_the_facts_have_the_name_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(AMD)
    assert cpu.facts(file)["model name"] == "AMD EPYC 9R14"


def test_nothing_is_known_of_a_machine_that_does_not_describe_its_cpu(tmp_path: Path) -> None:
    assert cpu.instructions(tmp_path / "none") == frozenset()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="others name nothing that is read")
def test_an_x86_cpu_names_what_it_can() -> None:
    assert {"fpu", "sse2"} <= cpu.instructions()
