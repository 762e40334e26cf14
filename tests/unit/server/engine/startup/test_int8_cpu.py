"""Layers with int8 inputs, by what the processor can; vLLM chooses the kernel, no engine runs."""

from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

linear: Any = need("vllm.model_executor.kernels.linear")
int8_cpu: Any = need("veneer_server.engine.vllm.startup.int8_cpu")

OLD = frozenset({"avx2", "fma"})


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's kernel, which gets back what it says of itself."""
    own = linear.CPUInt8ScaledMMLinearKernel
    monkeypatch.setattr(own, "is_supported", own.__dict__["is_supported"])
    return own


@pytest.mark.parametrize("channelwise", [True, False])
@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_without_instructions_for_int8_vllm_finds_no_kernel_and_says_why(
    kernel: Any, channelwise: bool, static: bool, symmetric: bool
) -> None:
    del kernel
    int8_cpu.refuse_where_it_overflows(OLD)
    with pytest.raises(ValueError, match="no instructions that multiply int8 exactly"):
        linear.init_int8_linear_kernel(channelwise, static, symmetric, "a layer")


@pytest.mark.parametrize("instruction", ["avx512_vnni", "avx_vnni", "amx_int8", None])
def test_with_them_or_where_nothing_is_known_the_kernel_stays(
    kernel: Any, instruction: str | None
) -> None:
    int8_cpu.refuse_where_it_overflows(OLD | {instruction} if instruction else frozenset())
    assert type(linear.init_int8_linear_kernel(True, False, True, "a layer")) is kernel
