"""What the processor can do, from files as kernels write them."""

from pathlib import Path

import pytest

from veneer_server.engine import processor

AMD = """\
processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse avx512f avx512_bf16

power management:
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AMD, True),
        (AMD.replace("avx512_bf16", "amx_bf16 amx_tile"), True),
        (AMD.replace(" avx512_bf16", " avx512_vnni"), False),
        (ARM, True),
        (ARM.replace(" bf16", ""), False),
        ("", False),
    ],
)
def test_the_flags_tell_whether_there_are_instructions_for_bf16(
    text: str, expected: bool, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert processor.has_bf16(processor.flags(file)) == expected


def test_the_facts_have_the_name_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(AMD)
    assert processor.facts(file)["model name"] == "AMD EPYC 9R14"


def test_a_machine_that_does_not_describe_its_processor_has_no_flags(tmp_path: Path) -> None:
    assert processor.flags(tmp_path / "none") == frozenset()
