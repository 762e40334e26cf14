"""Our kernels compiled for GPUs that are not here: what they take of one, and how they read it."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.asked import need
from support.interpreting import compilable_kernels
from veneer_server.engine.vllm.cuda.plans import Layer, Plan, plan_for

pytestmark = [pytest.mark.engine, pytest.mark.slow]

triton = need("triton")
kernels = compilable_kernels()

SHARED = {80: 163, 89: 99, 90: 227, 100: 227}
"""KiB of shared memory that one program may take. Source: CUDA C++ programming guide, table of
compute capabilities."""
MOST_REGISTERS = 200
MOST_SPILLED = 8
"""Bytes: what Triton 3.7 spills in ``expand`` for capability 10.0; elsewhere it is nothing."""
QKV, GATE_UP, DOWN = (4096, (4096, 1024, 1024)), (4096, (14336, 14336)), (14336, (4096,))
LAYERS = {
    "qkv, rank 16, decode": (Layer(*QKV, 16), 64),
    "gate_up, rank 16, decode": (Layer(*GATE_UP, 16), 64),
    "down, rank 16, decode": (Layer(*DOWN, 16), 64),
    "qkv, rank 64, decode": (Layer(*QKV, 64), 64),
    "gate_up, rank 16, prompt": (Layer(*GATE_UP, 16), 2048),
}
STRIDES = {"x_row": "i32", "y_row": "i32", "part_split": "i32", "part_row": "i32"}


class Compiled(NamedTuple):
    registers: int
    spilled: int
    shared: int
    accesses: set[str]


def constants(layer: Layer, plan: Plan, capability: int) -> dict[str, dict[str, Any]]:
    outs = (*layer.outs, 0, 0)
    both: dict[str, Any] = {"R": layer.rank, "RP": layer.padded_rank, "S": len(layer.outs)}
    both |= {"PARTS": plan.parts, "BM": plan.height, "PDL": capability >= 90, "UP": False}
    return {
        "shrink": both | {"K": layer.width, "KP": plan.part, "BK": plan.block_k},
        "expand": both | {"N0": outs[0], "N1": outs[1], "N2": outs[2], "BN": plan.columns},
    }


def compile_for(name: str, layer: Layer, rows: int, capability: int, folder: Path) -> Compiled:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    plan = plan_for(layer, rows)
    kernel = getattr(kernels, name)
    fixed = constants(layer, plan, capability)[name]
    signature = {one: _type_of(one) for one in kernel.arg_names if one not in fixed}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, one in enumerate(kernel.arg_names)
        if one in signature
    }
    source = ASTSource(
        fn=kernel,
        signature=signature | dict.fromkeys(fixed, "constexpr"),
        constexprs=fixed,
        attrs=aligned,
    )
    warps = plan.shrink_warps if name == "shrink" else plan.expand_warps
    stages = plan.shrink_stages if name == "shrink" else 1
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return inspect_code(made, folder / "kernel.cubin")


def inspect_code(made: Any, file: Path) -> Compiled:
    file.write_bytes(made.asm["cubin"])
    usage = run_tool("cuobjdump", "-res-usage", str(file))
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    assert found is not None
    registers, stack, local = map(int, found.groups())
    code = run_tool("nvdisasm", "-c", str(file))
    accesses = set(re.findall(r"\b(?:LDG|STG|ATOM|ATOMG|RED|REDG)\b[.\w]*", code))
    return Compiled(registers, stack + local, made.metadata.shared, accesses)


def run_tool(name: str, *args: str) -> str:
    from triton.backends import nvidia

    tool = Path(nvidia.__file__).parent / "bin" / name
    return subprocess.run([tool, *args], capture_output=True, text=True, check=True).stdout


def _type_of(argument: str) -> str:
    if argument in STRIDES:
        return STRIDES[argument]
    return {"part": "*fp32", "rows": "*i32", "tiles": "*i32"}.get(argument, "*bf16")


@pytest.mark.parametrize("capability", sorted(SHARED))
@pytest.mark.parametrize("name", ["shrink", "expand"])
def test_a_kernel_spills_next_to_nothing_fits_the_card_and_reads_sixteen_bytes_at_once(
    name: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    for title, (layer, rows) in LAYERS.items():
        made = compile_for(name, layer, rows, capability, tmp_path)
        assert made.spilled <= MOST_SPILLED, title
        assert made.registers <= MOST_REGISTERS, title
        assert made.shared <= SHARED[capability] * 1024, title
        narrow = {one for one in made.accesses if "U16" in one or "S16" in one or "U8" in one}
        assert not narrow, title
        assert not {one for one in made.accesses if one.startswith(("ATOM", "RED"))}, title
