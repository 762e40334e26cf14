"""What our kernels would run in, read from vLLM, torch and the card. Thin: ``guards`` decides."""

import inspect
from pathlib import Path
from typing import Any

import torch
import triton
import vllm
from vllm import envs
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.ops.triton_ops.lora_kernel_metadata import LoRAKernelMeta
from vllm.lora.punica_wrapper.punica_base import PunicaWrapperBase
from vllm.lora.punica_wrapper.punica_gpu import PunicaWrapperGPU

from veneer_server.engine.vllm.cuda import kernels, launch, plans
from veneer_server.engine.vllm.cuda.guards import Surroundings, digest

RELIED_ON = (
    PunicaWrapperGPU.__init__,
    PunicaWrapperGPU.update_metadata,
    PunicaWrapperGPU.add_lora_linear,
    PunicaWrapperBase._update_base_metadata,
    LoRAKernelMeta.prepare_tensors,
    LoRAKernelMeta.meta_args,
    BaseLinearLayerWithLoRA._apply_lora_to_output,
    BaseLinearLayerWithLoRA.create_lora_weights,
)
"""What of vLLM's we replace, imitate or build on."""


def version() -> str:
    """Return the version of vLLM."""
    return str(vllm.__version__)


def sources() -> dict[str, str]:
    """Return the source text of all of ``RELIED_ON`` by name."""
    return {method.__qualname__: inspect.getsource(method) for method in RELIED_ON}


def describe(slots: Any) -> Surroundings:
    """Return the surroundings of a worker; ``slots`` is vLLM's ``LoRAModelManager``."""
    config = slots.lora_config
    linear = [one for one in slots.modules.values() if isinstance(one, BaseLinearLayerWithLoRA)]
    return Surroundings(
        capability=torch.cuda.get_device_capability(),
        rank=config.max_lora_rank,
        dtype=str(config.lora_dtype).removeprefix("torch."),
        workers=max((one.tp_size for one in linear), default=0),
        fully_sharded=config.fully_sharded_loras,
        batch_invariant=bool(envs.VLLM_BATCH_INVARIANT),
    )


def facts_of(slots: Any, most_rows: int) -> dict[str, Any]:
    """Return what a kept choice depends on, besides the layers."""
    own = [Path(str(module.__file__)).read_text() for module in (kernels, launch, plans)]
    return {
        "card": torch.cuda.get_device_name(),
        "driver": getattr(torch._C, "_cuda_getDriverVersion", int)(),
        "versions": [version(), str(torch.__version__), triton.__version__],
        "kernels": digest("\n".join(own)),
        "layers": len(slots.modules),
        "slots": slots.lora_slots,
        "dtype": str(slots.lora_config.lora_dtype),
        "rows": most_rows,
    }
