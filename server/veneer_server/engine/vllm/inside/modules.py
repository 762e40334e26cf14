"""Which layers of the base model vLLM prepares for adapters, and what PEFT calls them.

vLLM prepares every layer that it can. Three kinds are left out here: the head and the embeddings,
whose LoRA would run for every sampled token; convolutions; and on a CPU the experts of a mixture,
because vLLM computes experts with adapters only on a GPU. docs/adr/0025 has the reasons.
"""

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from vllm.lora import model_manager
from vllm.lora.layers import base_linear
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.model_executor.layers.fused_moe import MoERunner
from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, QKVParallelLinear
from vllm.model_executor.model_loader import base_loader
from vllm.model_executor.model_loader.utils import get_model_cls
from vllm.model_executor.models import supports_lora

from veneer_server.engine.vllm.lora.spans import Shape, Span, name_spans, split_layer

logger = logging.getLogger("vllm.veneer.modules")  # a worker shows only the loggers under "vllm"

_TRAINED = "veneer_linear_modules"
"""The attribute of vLLM's model that has the linear modules of the Transformers model."""
_ABSORBED = "kv_b_proj"
"""With multi-head latent attention, vLLM folds this layer into others and computes it only for
prompts."""


def prepare_any_base(*, on_cpu: bool) -> None:
    """Make vLLM prepare the right layers of any base model; call it once, before the model."""
    stock_supported = model_manager.get_supported_lora_modules
    stock_packed = model_manager.process_packed_modules_mapping

    def supported(model: Any) -> list[str]:
        names = stock_supported(model)
        heads, experts = set(model.embedding_modules), _names_of(model, MoERunner)
        return choose_modules(names, heads=heads, experts=experts if on_cpu else ())

    def packed(model: Any, **more: Any) -> dict[str, list[str]]:
        mapping = stock_packed(model, **more)
        together = _names_of(model, (QKVParallelLinear, MergedColumnParallelLinear))
        # A layer that is one module also in the checkpoint, which the mapping may leave out.
        named = {name: [name] for name in together} | mapping
        return keep_fused(named, getattr(model, _TRAINED, None) or ())

    model_manager.get_supported_lora_modules = supported
    model_manager.process_packed_modules_mapping = packed
    _look_before_building()
    if on_cpu:
        _compute_experts_without_adapters()
        _find_weights_that_were_taken_away()


def choose_modules(
    names: Iterable[str], *, heads: Iterable[str], experts: Iterable[str]
) -> list[str]:
    """Return the ``names`` of layers that adapters may change, sorted."""
    left_out = {*heads, *experts, "lm_head", "embed_tokens"}
    return sorted(n for n in set(names) - left_out if not n.startswith("conv"))


def keep_fused(mapping: Mapping[str, list[str]], trained: Iterable[str]) -> dict[str, list[str]]:
    """Return ``mapping`` with a layer as one module where it is one in the Transformers model.

    GLM-4's mapping splits ``gate_up_proj``, as other models' do, but it was trained as one.
    ``trained`` are the linear modules of the Transformers model.
    """
    known = {name.rpartition(".")[2] for name in trained}
    return {
        name: [name] if name in known and known.isdisjoint(parts) else parts
        for name, parts in mapping.items()
    }


def adaptable_spans(manager: Any, model_config: Any) -> dict[str, Span]:
    """Return where the weights of each module go that an adapter may change.

    The names are PEFT's, as they follow ``base_model.model.``. ``manager`` is vLLM's
    ``LoRAModelManager``, with the model that vLLM built.
    """
    rename = _renaming(manager.model)
    trained = getattr(manager.model, _TRAINED)
    known = {rename(name): shape[1] for name, shape in (trained or {}).items()}
    spans: dict[str, Span] = {}
    for name, layer in manager.modules.items():
        if isinstance(layer, BaseLinearLayerWithLoRA) and not _is_absorbed(name, model_config):
            parts = manager.packed_modules.get(name, [name])
            columns = {part: known[part] for part in parts if part in known}
            spans |= split_layer(name, parts, layer.base_layer.input_size, _widths(layer), columns)
    return name_spans(spans, trained, rename)


def linear_modules(model_config: Any) -> dict[str, Shape] | None:
    """Return the linear modules of the Transformers model, built without memory for its weights.

    None if Transformers alone cannot build it, as with a model that brings its own code.
    """
    import transformers

    try:
        config = copy.deepcopy(model_config.hf_config)
        kind = getattr(transformers, config.architectures[0])
        with torch.device("meta"):
            model = kind._from_config(config, attn_implementation="eager")
    except Exception as error:  # any of any model's code: then the names are vLLM's
        logger.warning("the base model's modules are known by vLLM's names only: %s", error)
        return None
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def _is_absorbed(name: str, model_config: Any) -> bool:
    return bool(model_config.use_mla) and name.endswith(f".{_ABSORBED}")


def _widths(layer: Any) -> list[int]:
    widths = getattr(layer.base_layer, "output_sizes", None) or ()
    return list(widths) if len(widths) == layer.n_slices else [layer.base_layer.output_size]


def _renaming(model: Any) -> Callable[[str], str | None]:
    """Return what gives vLLM's name of a module from PEFT's, just as vLLM's own loader does."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    renames = None if mapper is None else mapper.get_rename_mapper()

    def rename(name: str) -> str | None:
        try:
            return parse_fine_tuned_lora_name(f"base_model.model.{name}.lora_A.weight", renames)[0]
        except ValueError:
            return None

    return rename


def _names_of(model: Any, kinds: Any) -> set[str]:
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    }


def _look_before_building() -> None:
    """Let a model without LoRA fail before its weights are read, and note PEFT's names of the rest.

    Afterwards it is too late for the names: vLLM changes Transformers' classes while it builds.
    """
    stock = base_loader.initialize_model

    def initialize(vllm_config: Any, *args: Any, **more: Any) -> Any:
        # Another model beside the base, which drafts for it, needs no LoRA.
        own = more.get("model_config") in (None, vllm_config.model_config)
        if not own or vllm_config.lora_config is None:
            return stock(vllm_config, *args, **more)
        kind = get_model_cls(vllm_config.model_config)
        if not supports_lora(kind):
            raise ValueError(f"{kind.__name__} does not support LoRA.")
        trained = linear_modules(vllm_config.model_config)
        model = stock(vllm_config, *args, **more)
        setattr(model, _TRAINED, trained)
        return model

    base_loader.initialize_model = initialize


def _compute_experts_without_adapters() -> None:
    """Let experts take vLLM's kernel for CPUs: with LoRA on, vLLM asks for one of Triton's."""
    stock = FusedMoEConfig.__post_init__

    def plain(self: Any) -> None:
        self.is_lora_enabled = False
        stock(self)

    FusedMoEConfig.__post_init__ = plain


def _find_weights_that_were_taken_away() -> None:
    """Let vLLM prepare layers in int8: their kernel keeps the weight and leaves None behind.

    vLLM asks the weight where a layer is; on a CPU there is one answer.
    """
    base_linear._get_lora_device = lambda _layer: torch.device("cpu")


class Watch:
    """Counts how often each layer runs in the steps between ``__init__`` and ``stop``.

    A layer that some step leaves out would not give that step its adapter. It needs a model
    without compilation, whose layers are called one by one.
    """

    def __init__(self, layers: Mapping[str, Any]) -> None:
        self._counts = dict.fromkeys(layers, 0)
        self._hooks = [
            layer.register_forward_hook(self._counter(name)) for name, layer in layers.items()
        ]

    def stop(self, steps: int) -> set[str]:
        """Return the layers that ran less often than in each of the ``steps``."""
        for hook in self._hooks:
            hook.remove()
        return {name for name, count in self._counts.items() if count < steps}

    def _counter(self, name: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            self._counts[name] += 1

        return count
