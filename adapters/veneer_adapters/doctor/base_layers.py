"""Which modules of a base model an adapter may change, from config.json and the weights' headers.

The engine asks the model that it built; this file reads the same from the files. The names are
those that PEFT writes, which are the names of the Transformers model. Where a checkpoint is stored
under other names, the rules below say so. tests/models compares both for each kind of model.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from veneer_adapters.artifact.tensors import Tensor
from veneer_adapters.errors import BaseUnreadable

Shape = tuple[int, int]
ReadBytes = Callable[[str], bytes]
"""Returns the bytes of a tensor; only a few small ones are asked for."""

_NOT_LINEAR = frozenset(
    {"embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out", "word_embeddings"}
)
_ROUTERS = frozenset({"gate", "router"})
_ABSORBED = "kv_b_proj"
"""With multi-head latent attention the engine folds this layer into others."""
_TRANSPOSED = frozenset({"gpt2", "openai-gpt", "imagegpt"})
"""The model types that store the weights of linear layers as (in, out); the engine has no LoRA
for them."""
_PREFIXES = {"bloom": "transformer.", "gpt_neox": "gpt_neox.", "falcon": "transformer."}
"""Names without this prefix are stored for the model without its head; PEFT's have it."""
_TEXT = "model.language_model."
_STORED_TEXT = (
    ("language_model.model.", _TEXT),
    ("model.layers.", f"{_TEXT}layers."),
    ("model.text_model.", "model.text_model."),
)
"""Where models that also see or hear store their language model, and PEFT's name for it."""
_FLOAT_WEIGHT, _INT8 = frozenset({"F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}), "I8"
_STATES = ("quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4")


def adaptable_modules(
    config: Mapping[str, object], tensors: Mapping[str, Tensor], read: ReadBytes
) -> dict[str, Shape]:
    """Return ``(in_features, out_features)`` of each module that an adapter may change.

    Raises:
        BaseUnreadable: the engine cannot serve adapters of this kind of model, or the weights are
            quantised in a way that is not known here.
    """
    if config.get("model_type") in _TRANSPOSED:
        raise BaseUnreadable("The engine has no LoRA for this kind of base model.")
    rules = _Rules.of(config)
    found = {}
    for stored, shape in _stored_modules(config, tensors, read):
        name = rules.peft_name(stored)
        if name is not None:
            found[name] = shape
    return found


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the config says about names."""

    prefix: str
    is_text_part: bool
    has_experts: bool
    has_latent_attention: bool
    layers: int | None

    @classmethod
    def of(cls, config: Mapping[str, object]) -> "_Rules":
        part = config.get("text_config")
        text = part if isinstance(part, Mapping) else config
        experts = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
        layers = text.get("num_hidden_layers")
        return cls(
            prefix=_PREFIXES.get(str(config.get("model_type")), ""),
            is_text_part=isinstance(part, Mapping),
            has_experts=any(text.get(name) for name in experts),
            has_latent_attention=bool(text.get("kv_lora_rank")),
            layers=layers if isinstance(layers, int) else None,
        )

    def peft_name(self, stored: str) -> str | None:
        """Return PEFT's name of a module, or None when no adapter may change it."""
        name = stored if stored.startswith(self.prefix) else self.prefix + stored
        if self.is_text_part:
            name = _text_name(stored) or ""
        last = name.rpartition(".")[2]
        if not name or last in _NOT_LINEAR or last.startswith("conv"):
            return None
        if self.has_experts and (last in _ROUTERS or ".experts" in name):
            return None
        if self.has_latent_attention and last == _ABSORBED:
            return None
        return None if self._is_beyond(name) else name

    def _is_beyond(self, name: str) -> bool:
        # Layers after the last one predict several tokens at once; the engine leaves them out.
        _, found, rest = name.partition("model.layers.")
        number = rest.partition(".")[0]
        return (
            bool(found)
            and number.isdigit()
            and self.layers is not None
            and (int(number) >= self.layers)
        )


def _text_name(stored: str) -> str | None:
    if stored.startswith(_TEXT):
        return stored
    for there, ours in _STORED_TEXT:
        if stored.startswith(there):
            return ours + stored.removeprefix(there)
    return None


def _stored_modules(
    config: Mapping[str, object], tensors: Mapping[str, Tensor], read: ReadBytes
) -> Iterator[tuple[str, Shape]]:
    """Return each matrix by its module, as it is stored, with its shape before quantisation."""
    bits = _bits(config)
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        if kind == "qweight":
            yield module, _packed_by(config, tensor, bits)
        elif kind == "weight_packed" and bits:
            yield module, (tensor.shape[1] * 32 // bits, tensor.shape[0])
        elif kind == "weight" and tensor.dtype == "U8":
            yield module, _shape_in_state(name, tensors, read)
        elif kind == "weight" and len(tensor.shape) == 2:
            if tensor.dtype not in _FLOAT_WEIGHT and tensor.dtype != _INT8:
                raise BaseUnreadable("The base model is quantised in a way that is not known here.")
            yield module, (tensor.shape[1], tensor.shape[0])


def _bits(config: Mapping[str, object]) -> int:
    """Return how many bits a quantised weight has, 0 if the config does not say."""
    quantisation = config.get("quantization_config")
    if not isinstance(quantisation, Mapping):
        return 0
    found = [quantisation.get("bits"), quantisation.get("w_bit")]
    groups = quantisation.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        found.append(weights.get("num_bits") if isinstance(weights, Mapping) else None)
    return next((n for n in found if isinstance(n, int) and n in (2, 3, 4, 8)), 0)


def _packed_by(config: Mapping[str, object], tensor: Tensor, bits: int) -> Shape:
    quantisation = config.get("quantization_config")
    method = quantisation.get("quant_method") if isinstance(quantisation, Mapping) else None
    if method not in ("gptq", "awq") or not bits or len(tensor.shape) != 2:
        raise BaseUnreadable("The base model is quantised in a way that is not known here.")
    rows, columns = tensor.shape
    # GPTQ packs the inputs of a weight into one word, AWQ its outputs.
    return (rows * 32 // bits, columns) if method == "gptq" else (rows, columns * 32 // bits)


def _shape_in_state(name: str, tensors: Mapping[str, Tensor], read: ReadBytes) -> Shape:
    """Return the shape that bitsandbytes writes beside a weight of four bits."""
    for state in (f"{name}.{kind}" for kind in _STATES):
        if state in tensors and math.prod(tensors[state].shape) < 1 << 16:
            try:
                out, inputs = json.loads(read(state))["shape"]
            except (ValueError, KeyError, TypeError):
                break
            return int(inputs), int(out)
    raise BaseUnreadable("The base model is quantised in a way that is not known here.")
