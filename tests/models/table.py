"""The architectures that are tried, and what of each is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "attention": "attention only, rank 8",
    "linear": "every linear layer, as PEFT's `all-linear` names them, rank 4",
    "high": "every linear layer, rank 16, beside the lower ones",
    "rslora": "attention and one layer of the MLP, scaled by `use_rslora`",
    "patterns": "ranks and alphas of their own for some modules",
}
"""The adapters of each model."""
CORE = ("phi-3", "gpt-neox", "qwen3-moe", "idefics-3", "llama")
"""What `make test` tries: each is served in another way."""

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 256,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 96, "num_experts_per_tok": 2}
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "image_size": 56,
    "patch_size": 14,
}


@dataclass(frozen=True)
class Model:
    """One architecture: a tiny model of it, and what its adapters may change."""

    config: str
    """Transformers' class of its config; the model is the one for causal language modelling."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    attention: tuple[str, ...] = QKVO
    mlp: tuple[str, ...] = GATED
    kind: str = "AutoModelForCausalLM"
    without: Mapping[str, str] = field(default_factory=dict)
    """Modules of `all-linear` that the engine cannot change, which it refuses by name, and why."""
    small: bool = True
    args: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def whole_config(self) -> dict[str, Any]:
        """Return the fields of the config."""
        return {**(SMALL if self.small else {}), **self.fields}


ABSORBED = {"kv_b_proj": "the engine folds it into other layers"}
SEES = {
    "vision_model": "it sees, and the engine has no adapters for that",
    "connector": "as `vision_model`",
}
OLD = {
    "vocab_size": 320,
    "hidden_size": 256,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CALM = {"initializer_range": 0.03}
"""For models that multiply their embeddings: else one token is certain, whatever adapters say."""
HEADED = ("query_key_value", "dense")
BY_TRANSFORMERS = "computed by Transformers' code, for vLLM's own has no LoRA or is none"
MODELS = {
    "llama": Model("LlamaConfig"),
    "mistral": Model("MistralConfig"),
    "qwen2": Model("Qwen2Config"),
    "qwen3": Model("Qwen3Config", {"head_dim": 64}),
    "gemma-2": Model("Gemma2Config", {"head_dim": 64, "query_pre_attn_scalar": 64, **CALM}),
    "gemma-3": Model("Gemma3TextConfig", {"head_dim": 64, "query_pre_attn_scalar": 64, **CALM}),
    "granite": Model("GraniteConfig"),
    "olmo-2": Model("Olmo2Config", note=BY_TRANSFORMERS),
    "phi-3": Model(
        "Phi3Config", attention=("qkv_proj", "o_proj"), mlp=("gate_up_proj", "down_proj")
    ),
    "phi": Model(
        "PhiConfig",
        attention=("q_proj", "k_proj", "v_proj", "dense"),
        mlp=("fc1", "fc2"),
        note=BY_TRANSFORMERS,
    ),
    "gpt-neox": Model(
        "GPTNeoXConfig",
        {"num_key_value_heads": 4},  # it has as many as heads, and vLLM believes its config
        attention=HEADED,
        mlp=("dense_h_to_4h", "dense_4h_to_h"),
        note=BY_TRANSFORMERS,
    ),
    "starcoder-2": Model("Starcoder2Config", mlp=("c_fc", "c_proj"), note=BY_TRANSFORMERS),
    "stablelm": Model("StableLmConfig", note=BY_TRANSFORMERS),
    "qwen3-moe": Model(
        "Qwen3MoeConfig",
        {**EXPERTS, "head_dim": 64, "num_experts": 8, "decoder_sparse_step": 1},
        mlp=(),
        note="adapters of experts need a GPU",
    ),
    "mixtral": Model(
        "MixtralConfig",
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        mlp=(),
        note="adapters of experts need a GPU",
    ),
    "deepseek-v2": Model(
        "DeepseekV2Config",
        {
            **EXPERTS,
            "num_key_value_heads": 4,
            "q_lora_rank": 32,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "topk_method": "greedy",
            "n_group": 1,
            "topk_group": 1,
        },
        attention=("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"),
        without=ABSORBED,
        args={"attention_config": {"backend": "CPU_MLA"}},
    ),
    "glm-4": Model("Glm4Config", {"head_dim": 64}, mlp=("gate_up_proj", "down_proj")),
    "cohere": Model("CohereConfig", {"logit_scale": 1.0}),
    "smollm-3": Model("SmolLM3Config", note=BY_TRANSFORMERS),
    "idefics-3": Model(
        "Idefics3Config",
        {
            "text_config": {"model_type": "llama", **SMALL},
            "vision_config": VISION,
            "image_token_id": 300,
            "scale_factor": 2,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
        },
        kind="AutoModelForImageTextToText",
        without=SEES,
        small=False,
        args={"limit_mm_per_prompt": {"image": 0}},
        note="as text",
    ),
}
DIVERGES: Mapping[str, str] = {}
"""What is known to be otherwise, and how. `make models` fails when it no longer is."""
UNSERVED = {
    "qwen2.5-vl": (
        Model(
            "Qwen2_5_VLConfig",
            {
                "text_config": {
                    **SMALL,
                    "rope_parameters": {
                        "rope_type": "default",
                        "rope_theta": 10000.0,
                        "mrope_section": [8, 12, 12],
                    },
                },
                "vision_config": {"hidden_size": 64, "num_heads": 2, "depth": 1},
                "image_token_id": 300,
                "video_token_id": 301,
            },
            kind="AutoModelForImageTextToText",
            small=False,
        ),
        "on a CPU: it needs torchvision, of which there is none for this PyTorch",
    ),
    "falcon": (
        Model(
            "FalconConfig",
            {**OLD, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False},
            small=False,
        ),
        "vLLM's code has no LoRA for it, and Transformers' code does not fit into vLLM",
    ),
    "gpt-2": (
        Model(
            "GPT2Config",
            {**OLD, "n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 512},
            small=False,
        ),
        "vLLM's code has no LoRA for it, and its layers are not linear layers in Transformers'",
    ),
    "bloom": (
        Model("BloomConfig", {**OLD, "n_layer": 2, "n_head": 4}, small=False),
        "as Falcon",
    ),
}
"""Architectures that the engine refuses in one sentence, and why."""
