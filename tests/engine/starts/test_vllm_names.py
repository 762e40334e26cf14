"""Every name of vLLM's that we rely on, imported; a failure says in one sentence what moved."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import veneer_server.engine.vllm as package
from veneer_server.engine.sizing.here import device_here
from veneer_server.engine.sizing.shapes import OWN_DTYPE
from veneer_server.engine.vllm import options
from veneer_server.engine.vllm.rendering.lanes import give_lanes
from veneer_server.engine.vllm.startup.device import this_device

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

FOLDER = Path(package.__file__).parent
MANAGER = "vllm.lora.model_manager.LRUCacheLoRAModelManager"
WORKER = "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager"
LAYER = "vllm.lora.layers.base_linear.BaseLinearLayerWithLoRA"
PUNICA = "vllm.lora.punica_wrapper.PunicaWrapperBase"

ATTRIBUTES = {
    MANAGER: (
        *("modules", "packed_modules", "punica_wrapper_mapping", "lora_index_to_id", "capacity"),
        *("_registered_adapters", "_active_adapters", "_get_lora_layer_weights"),
        *("_create_merged_loras_inplace", "add_adapter", "activate_adapter"),
        *("deactivate_adapter", "remove_adapter", "model", "supported_lora_modules"),
        *("lora_slots", "vocab_size", "lora_config", "_last_mapping"),
    ),
    WORKER: ("_adapter_manager", "_load_adapter"),
    LAYER: (
        *("base_layer", "punica_wrapper", "lora_a_stacked", "lora_b_stacked", "n_slices"),
        *("tp_size", "output_slices"),
    ),
    "vllm.model_executor.layers.fused_moe.config.FusedMoEConfig": ("is_lora_enabled",),
    "vllm.model_executor.models.utils.WeightsMapper": ("get_rename_mapper",),
    "vllm.config.ModelConfig": ("use_mla", "hf_config"),
    "vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU": (
        *("max_loras", "lora_config", "token_mapping_meta", "prompt_mapping_meta"),
    ),
    "vllm.lora.lora_model.LoRAModel": ("loras",),
    PUNICA: (
        *("token_lora_indices", "sampler_indices", "_update_base_metadata", "no_lora"),
        *("is_prefill", "_select_full_linear_output", "_token_lora_indices"),
    ),
    "vllm.model_executor.layers.layernorm.RMSNorm": (
        *("has_weight", "variance_size_override", "variance_epsilon", "weight", "register_oot"),
    ),
    "vllm.v1.engine.async_llm.AsyncLLM": (
        *("collective_rpc", "generate", "errored", "shutdown", "vllm_config", "model_config"),
        *("get_num_unfinished_requests", "engine_core", "output_processor"),
    ),
    "vllm.v1.core.sched.scheduler.Scheduler": (
        *("schedule", "running", "waiting", "max_num_running_reqs", "max_num_scheduled_tokens"),
        *("scheduler_config", "vllm_config"),
    ),
    "vllm.v1.request.Request": ("num_computed_tokens", "num_tokens"),
    "vllm.v1.engine.core_client.AsyncMPClient": ("get_output_async", "resources"),
    "vllm.v1.engine.core_client.BackgroundResources": ("engine_manager",),
    "vllm.v1.engine.utils.CoreEngineProcManager": ("processes",),
    "vllm.v1.engine.output_processor.OutputProcessor": ("propagate_error",),
    "vllm.v1.executor.multiproc_executor.MultiprocExecutor": ("_init_executor", "response_mqs"),
    "vllm.distributed.device_communicators.shm_broadcast.MessageQueue": ("_spin_condition",),
    "vllm.distributed.device_communicators.shm_broadcast.SpinCondition": ("busy_loop_s",),
    "vllm.renderers.base.BaseRenderer": ("_tokenize_prompt", "get_tokenizer"),
    "vllm.renderers.base._SwappableExecutor": ("submit", "shutdown", "replace_inner"),
    "vllm.entrypoints.openai.models.serving.OpenAIServingModels": ("lora_requests",),
    "vllm.v1.worker.lora_model_runner_mixin.LoRAModelRunnerMixin": ("lora_manager",),
    "vllm.lora.lora_weights.LoRALayerWeights": ("is_packed", "lora_a"),
    "vllm.v1.kv_cache_interface.KVCacheConfig": ("needs_kv_cache_zeroing",),
    "vllm.v1.structured_output.backend_guidance.GuidanceBackend": (
        *("compile_grammar", "_build_ll_tokenizer"),
    ),
    "vllm.v1.structured_output.backend_guidance.GuidanceGrammar": ("accept_tokens",),
    "vllm.v1.worker.cpu_model_runner.CPUModelRunner": ("_zero_block_ids", "sample_tokens"),
    "vllm.v1.worker.worker_base.WorkerWrapperBase": ("init_device", "worker"),
    "vllm.v1.worker.gpu_worker.Worker": (
        *("load_model", "determine_available_memory", "compile_or_warm_up_model"),
    ),
    "vllm.model_executor.layers.linear.ColumnParallelLinear": (
        *("input_size_per_partition", "output_size_per_partition"),
    ),
    "vllm.model_executor.layers.vocab_parallel_embedding.VocabParallelEmbedding": (
        *("embedding_dim", "num_embeddings_per_partition"),
    ),
}
"""What we read or call beyond what is imported, by the class that has it."""

OVERRIDDEN = (
    *("update_metadata", "add_shrink", "add_expand", "add_lora_embedding", "add_lora_linear"),
    *("add_lora_logits",),
)
"""Methods of ``PunicaWrapperVeneer`` that vLLM calls by the names of its own parameters."""

CUDA_ONLY = "vllm.platforms.cuda"
"""It imports an extension that vLLM's packages for a CPU do not have."""

OPS = ("rms_norm", "fused_add_rms_norm", "silu_and_mul")


def has_cuda_extension() -> bool:
    return importlib.util.find_spec("vllm._C_stable_libtorch") is not None


def imports() -> Iterator[tuple[str, str, str]]:
    """Return (our file, vLLM's module, name) of every import in the package, also in functions."""
    for file in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm"):
                yield from ((file.name, node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize(("file", "module", "name"), sorted(set(imports())))
def test_vllm_has_what_we_import(file: str, module: str, name: str) -> None:
    if module == CUDA_ONLY and not has_cuda_extension():
        found = importlib.util.find_spec(module)
        assert found is not None
        assert re.search(rf"^{name} = ", Path(str(found.origin)).read_text(), re.MULTILINE)
        return
    try:
        found = getattr(importlib.import_module(module), name, None)
        if found is None:
            found = importlib.util.find_spec(f"{module}.{name}")  # a module of its own
    except ImportError as error:
        pytest.fail(f"vLLM moved `{module}`, which {file} imports `{name}` from: {error}.")
    assert found is not None, f"vLLM's `{module}` has no `{name}` any more; {file} imports it."


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in ATTRIBUTES.items() for name in names]
)
def test_vllm_has_the_attribute_we_use(owner: str, name: str) -> None:
    cls = find(owner)
    source = "".join(inspect.getsource(base) for base in cls.__mro__ if is_vllms(base))
    assigned = re.search(rf"self\.{name}\b|^    {name}:", source, re.MULTILINE)
    assert hasattr(cls, name) or assigned, f"vLLM's `{owner}` has no `{name}` any more; we use it."


@pytest.mark.parametrize("method", OVERRIDDEN)
def test_vllm_passes_our_lora_op_the_parameters_it_knows(method: str) -> None:
    from veneer_server.engine.vllm.lora.op import PunicaWrapperVeneer

    theirs = inspect.signature(getattr(find(PUNICA), method)).parameters
    ours = inspect.signature(getattr(PunicaWrapperVeneer, method)).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in ours.values())
    named = [name for name, p in theirs.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    missing = [name for name in named if name not in ours and not takes_any]
    assert not missing, f"vLLM's `{method}` takes {missing} now; `PunicaWrapperVeneer` does not."
    order = [name for name in named if name in ours]
    assert order == named[: len(order)], f"vLLM's `{method}` takes {named} in another order now."


def test_vllm_keeps_what_computes_a_linear_layer_on_a_cpu_where_we_wrap_it() -> None:
    from vllm.model_executor.layers import utils

    source = inspect.getsource(utils.dispatch_cpu_unquantized_gemm)
    assert "layer.cpu_linear = lambda x, weight, bias:" in source


def test_vllm_takes_the_arguments_we_start_it_with() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for on_cpu in (True, False):
        given = options.EngineOptions(model="m", name="n", root="r", kv_cache_bytes=1)
        fields = options.engine_fields(given, on_cpu=on_cpu)
        unknown = fields.keys() - known
        assert not unknown, f"vLLM's `AsyncEngineArgs` does not take {unknown} any more."


@pytest.mark.parametrize("op", OPS)
def test_vllms_cpu_extension_has_the_fused_op_we_call(op: str) -> None:
    import torch
    import vllm._custom_ops  # noqa: F401

    assert hasattr(torch.ops._C, op), f"vLLM's CPU extension has no `{op}` any more."


def test_a_lora_request_still_takes_a_name_an_id_and_a_path() -> None:
    from vllm.lora.request import LoRARequest

    request = LoRARequest(lora_name="a", lora_int_id=1, lora_path="/p")
    assert (request.lora_name, request.lora_int_id, request.lora_path) == ("a", 1, "/p")


@pytest.mark.parametrize(
    ("module", "name", "caller"),
    [
        ("vllm.lora.model_manager", "get_supported_lora_modules", "LoRAModelManager"),
        ("vllm.lora.model_manager", "process_packed_modules_mapping", "LoRAModelManager"),
        ("vllm.model_executor.model_loader.base_loader", "initialize_model", "BaseModelLoader"),
    ],
)
def test_vllm_calls_the_function_we_replace_by_its_name(
    module: str, name: str, caller: str
) -> None:
    source = inspect.getsource(find(f"{module}.{caller}"))
    assert f" {name}(" in source, f"vLLM's `{caller}` no longer calls `{name}`."


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("vllm.v1.engine.core", "EngineCore failed to start."),
        ("vllm.v1.executor.multiproc_executor", "WorkerProc failed to start."),
    ],
)
def test_vllm_logs_a_failed_start_where_we_look_for_it(module: str, said: str) -> None:
    source = inspect.getsource(importlib.import_module(module))
    assert f'logger.exception("{said}")' in source
    assert "logger = init_logger(__name__)" in source


def find(dotted: str) -> Any:
    """Return the class, or fail with a sentence."""
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        pytest.fail(f"vLLM moved `{dotted}`.")


def is_vllms(cls: type) -> bool:
    """Return whether a class is defined by vLLM."""
    return cls.__module__.startswith("vllm")


def test_vllm_counts_ranks_by_the_name_we_replace() -> None:
    sampler = importlib.import_module("vllm.v1.sample.sampler")
    name = "batched_count_greater_than"
    assert hasattr(sampler, name), f"{name} moved away from vllm.v1.sample.sampler"
    assert f" {name}(" in inspect.getsource(sampler.Sampler), f"the sampler no longer calls {name}"


def test_a_renderer_works_in_lanes_also_after_it_gave_a_stuck_thread_up() -> None:
    from vllm.renderers.base import _SwappableExecutor

    executor = _SwappableExecutor(max_workers=1)
    give_lanes(SimpleNamespace(_executor=executor))
    for _ in range(2):
        for text, lane in (("x", "little"), ("x" * 100_000, "much")):
            name = executor.submit(partial(lambda _: threading.current_thread().name, text))
            assert name.result(10).startswith(lane)
        executor.replace_inner()
    executor.shutdown()


def test_a_renderer_tokenizes_by_the_name_we_replace() -> None:
    from vllm.renderers.base import BaseRenderer
    from vllm.renderers.params import TokenizeParams

    calls = inspect.getsource(BaseRenderer._tokenize_singleton_prompt_async)
    assert "await self._tokenize_prompt_async(prompt, params)" in calls
    params = TokenizeParams(max_total_tokens=100)
    assert (params.max_input_tokens, params.truncate_prompt_tokens) == (100, None)


def test_vllm_computes_on_the_device_and_takes_the_dtype_that_we_believe() -> None:
    import torch
    from vllm.config.model import _resolve_auto_dtype

    told, believed = this_device(), device_here()
    assert (told.kind, told.instructions) == (believed.kind, believed.instructions)
    taken = _resolve_auto_dtype("llama", torch.float32, is_pooling_model=False)
    assert str(taken) == f"torch.{OWN_DTYPE}"
