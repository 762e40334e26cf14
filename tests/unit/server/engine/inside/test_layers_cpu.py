"""The fused layers against vLLM's own, with fresh random inputs."""

from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
layers_cpu = need("veneer_server.engine.vllm.inside.layers_cpu")

# Relative to the largest value: one rounding of the result, and one of the sum before it.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1.6e-2}
SHAPES = [(1, 576), (3, 64), (33, 1536)]


@pytest.fixture(autouse=True)
def vllm_config() -> Any:
    from vllm.config import VllmConfig, set_current_vllm_config

    with set_current_vllm_config(VllmConfig()):
        yield


def close(found: Any, wanted: Any, dtype: Any) -> bool:
    bound = TOLERANCE[dtype] * wanted.abs().max()
    return bool((found.double() - wanted).abs().max() <= bound)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_fused_norm_is_the_reference_in_float64(dtype: Any, shape: tuple[int, int]) -> None:
    norm = layers_cpu.FusedRMSNorm(shape[1], eps=1e-5).to(dtype)
    norm.weight.data = torch.randn(shape[1]).to(dtype)
    x = torch.randn(shape).to(dtype)
    wide = x.double()
    wanted = wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight.double()
    kept = x.clone()
    assert close(norm.forward_cpu(x), wanted, dtype)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_fused_norm_adds_the_residual_first(dtype: Any, shape: tuple[int, int]) -> None:
    norm = layers_cpu.FusedRMSNorm(shape[1], eps=1e-5).to(dtype)
    x, residual = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    total = x.double() + residual.double()
    wanted = total / (total.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    found, summed = norm.forward_cpu(x, residual)
    assert close(summed, total, dtype)
    assert close(found, wanted, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_fused_activation_is_the_reference_in_float64(dtype: Any, shape: tuple[int, int]) -> None:
    act = layers_cpu.FusedSiluAndMul()
    x = torch.randn(shape).to(dtype)
    left, right = x.double().chunk(2, dim=-1)
    assert close(act.forward_cpu(x), torch.nn.functional.silu(left) * right, dtype)


def test_what_the_fused_norm_cannot_take_goes_vllms_way() -> None:
    norm = layers_cpu.FusedRMSNorm(8, eps=1e-5)
    wide = torch.randn(4, 16)
    wanted = norm.forward_native(wide[:, :8].contiguous())
    assert torch.allclose(norm.forward_cpu(wide[:, :8]), wanted, atol=1e-6)


def test_registering_twice_is_a_no_op() -> None:
    layers_cpu.register()
    layers_cpu.register()
    from vllm.model_executor.layers.layernorm import RMSNorm

    assert isinstance(RMSNorm(8), layers_cpu.FusedRMSNorm)
