"""The dtype of a base model, by CPU, model and memory: no engine."""

from dataclasses import replace

import pytest

from support.places import REPOSITORY
from support.tables import rows
from unit.server.engine.sizing.test_sizes import DEVICES, EIGHT_B, EMBEDDED
from veneer_server.engine.sizing.precision import choose_dtype
from veneer_server.engine.sizing.shapes import Base
from veneer_server.engine.sizing.sizes import GIB, Asked, Device, Needs, choose_sizes
from veneer_server.engine.sizing.wording import to_lines

CPUS = {
    "AMX, or AVX512 with bfloat16": frozenset({"avx512f", "avx512_bf16"}),
    "x86 without instructions for bfloat16": frozenset({"avx2", "avx512f", "avx512_vnni"}),
    "another, such as ARM": frozenset[str](),
}
MODELS = {"embedded": EMBEDDED, "8B": EIGHT_B}
OLD = Device("cpu", "this machine", 20 * GIB, CPUS["x86 without instructions for bfloat16"])


def chosen(device: Device, base: Base, asked: str = "auto") -> str:
    return choose_dtype(device, base, Asked(dtype=asked))[1].dtype


@pytest.mark.parametrize(
    "cells", rows("docs/configuration.md", "CPU and model"), ids=lambda cells: cells[0]
)
def test_the_table_of_the_documents_is_what_is_chosen(cells: list[str]) -> None:
    cpu, _, model = cells[0].partition(": ")
    memory = int(cells[1].removesuffix(" GiB")) * GIB
    found = chosen(Device("cpu", "this machine", memory, CPUS[cpu]), MODELS[model])
    assert found == {"float32": "float32", "the model's own": "auto"}[cells[2]]


@pytest.mark.parametrize(
    ("name", "device", "base"),
    [
        ("embedded on a machine with 20 GiB free", DEVICES["a machine with 20 GiB free"], EMBEDDED),
        (
            "embedded on a machine with 20 GiB free, without instructions for bfloat16",
            OLD,
            EMBEDDED,
        ),
        *((f"8B on {name}", DEVICES[name], EIGHT_B) for name in list(DEVICES)[1:]),
    ],
)
def test_the_lines_of_the_documents_are_what_a_start_says(
    name: str, device: Device, base: Base
) -> None:
    base, asked = choose_dtype(device, base, Asked())
    said = to_lines(device, base, asked, choose_sizes(device, base, Needs(), asked))
    documents = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert "\n".join(["", name, *said, ""]) in documents


def test_what_was_set_stays() -> None:
    assert chosen(OLD, EMBEDDED, "bfloat16") == "bfloat16"


def test_a_gpu_keeps_the_models_own() -> None:
    assert chosen(Device("cuda", "NVIDIA H100", 80 * GIB), EMBEDDED) == "auto"


@pytest.mark.parametrize(
    ("device", "base", "asked", "kept"),
    [
        (OLD, EMBEDDED, Asked(), "bfloat16"),
        (OLD, EMBEDDED, Asked(dtype="float32"), "auto"),
        (OLD, EMBEDDED, Asked(lora_dtype="float16"), "float16"),
        (OLD, replace(EMBEDDED, dtype="float16"), Asked(), "auto"),
        (DEVICES["a machine with 20 GiB free"], EMBEDDED, Asked(), "auto"),
    ],
)
def test_adapters_stay_in_bfloat16_where_nobody_asked_for_the_bases_float32(
    device: Device, base: Base, asked: Asked, kept: str
) -> None:
    chosen = choose_dtype(device, base, asked)
    assert chosen[1].lora_dtype == kept
    assert choose_sizes(device, chosen[0], Needs(), chosen[1]).lora_dtype == kept


def test_float16_without_its_instructions_is_computed_in_float32_too() -> None:
    half = replace(EMBEDDED, dtype="float16")
    assert chosen(replace(OLD, instructions=CPUS["AMX, or AVX512 with bfloat16"]), half) == (
        "float32"
    )


@pytest.mark.parametrize(
    "base",
    [
        replace(EMBEDDED, is_quantized=True),
        replace(EMBEDDED, dtype="float32"),
        replace(EMBEDDED, dtype=None),
        replace(EMBEDDED, weight_bytes=None),
    ],
)
def test_a_model_that_gains_nothing_or_is_not_known_keeps_its_own(base: Base) -> None:
    assert chosen(OLD, base) == "auto"


def test_in_float32_the_base_is_counted_with_four_bytes_and_the_start_says_so() -> None:
    base, asked = choose_dtype(OLD, EMBEDDED, Asked())
    memory, at_once, _ = to_lines(OLD, base, asked, choose_sizes(OLD, base, Needs(), asked))
    assert memory.startswith("Memory: 0.5 GiB for the weights, 1.2 GiB for 32 adapter slots")
    assert "computed in float32, with adapters kept in bfloat16" in at_once
