"""Every field that PEFT writes into ``adapter_config.json``, by what Veneer does with it."""

from collections.abc import Mapping

UNSUPPORTED_WHEN_SET = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "alora_invocation_tokens",
    "layer_replication",
    "megatron_config",
    "fan_in_fan_out",
    "trainable_token_indices",
    "monteclora_config",
    "velora_config",
    "arrow_config",
    "kasa_config",
)
PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica"})
"""Any other named initialisation changes the base model's weights while PEFT loads the adapter."""

_READ = frozenset(
    {
        "peft_type",
        "bias",
        "init_lora_weights",
        "target_modules",
        "target_parameters",
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "base_model_name_or_path",
    }
)
_FOR_TRAINING = frozenset(
    {
        "alora_invocation_string",
        "auto_mapping",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    }
)
"""Fields that change nothing once the weights exist."""


def unknown_fields(fields: Mapping[str, object]) -> list[str]:
    """Return the fields that Veneer does not know, sorted; a newer PEFT may write them."""
    return sorted(fields.keys() - _READ - _FOR_TRAINING - set(UNSUPPORTED_WHEN_SET))
