"""Makes tiny random models, their tokenizer and PEFT adapters of them, all in float32."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.table import Model

TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def make_model(model: Model, folder: Path) -> Any:
    """Write the model with its tokenizer into ``folder``, and return it, ready to compute."""
    import torch
    import transformers

    torch.manual_seed(7)
    config = getattr(transformers, model.config)(**model.whole_config)
    made = getattr(transformers, model.kind).from_config(config, attn_implementation="eager")
    made = made.float().eval()
    _spread_norms(made)
    made.save_pretrained(folder)
    make_tokenizer(folder)
    return made


def _spread_norms(model: Any) -> None:
    # A new model's norms and biases are all one or all zero, which would hide a missing one.
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
            assert parameter.isfinite().all(), name


def make_tokenizer(folder: Path) -> None:
    """Write a tokenizer of bytes into ``folder``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", "<s>", "</s>", *letters]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def linear_names(made: Any) -> list[str]:
    """Return the linear layers that PEFT's ``all-linear`` changes."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = get_peft_model(made, config)
    names = sorted(wrapped.targeted_module_names)
    wrapped.unload()
    return names


def make_adapter(made: Any, folder: Path, *, seed: int, **config: Any) -> Any:
    """Write a random adapter with this PEFT config into ``folder``; return the model with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    wrapped = get_peft_model(made, LoraConfig(**config))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                spread = 1.0 / parameter.shape[1] ** 0.5
                parameter.copy_(torch.randn_like(parameter) * spread * 0.7)
    wrapped.save_pretrained(folder)
    return wrapped.eval()


def kinds_of(model: Model, linear: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return PEFT's config of each kind of adapter of ``table.KINDS``."""
    every = [name for name in linear if not any(part in name for part in model.without)]
    last = {name.rpartition(".")[2] for name in every}
    first, some = model.attention[0], [name for name in every if _ends(name, model.attention)]
    one = [name for name in every if _ends(name, model.mlp[-1:])]
    return {
        "attention": {"r": 8, "lora_alpha": 16, "target_modules": some},
        "linear": {"r": 4, "lora_alpha": 8, "target_modules": every},
        "high": {"r": 16, "lora_alpha": 16, "target_modules": every},
        "rslora": {"r": 6, "lora_alpha": 6, "use_rslora": True, "target_modules": some + one},
        "patterns": {
            "r": 4,
            "lora_alpha": 4,
            "target_modules": every,
            "rank_pattern": {first: 2, sorted(last - {first})[0]: 7},
            "alpha_pattern": {first: 6},
        },
    }


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.rpartition(".")[2] in endings


def answer(model: Any, prompt: list[int], tokens: int) -> tuple[list[int], list[float]]:
    """Return the greedy tokens after ``prompt``, and the log-probability of each."""
    import torch

    ids, said, logprobs = torch.tensor([prompt]), [], []
    with torch.no_grad():
        for _ in range(tokens):
            logits = model(input_ids=ids, use_cache=False).logits[0, -1].float()
            chances = logits.log_softmax(-1)
            best = int(chances.argmax())
            said.append(best)
            logprobs.append(float(chances[best]))
            ids = torch.cat([ids, torch.tensor([[best]])], dim=1)
    return said, logprobs


def add_expert_weights(folder: Path, module: str, shape: tuple[int, int]) -> None:
    """Add a pair of matrices for ``module`` to the adapter in ``folder``."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    rank = json.loads((folder / "adapter_config.json").read_text())["r"]
    inputs, outputs = shape
    tensors[f"base_model.model.{module}.lora_A.weight"] = torch.ones(rank, inputs)
    tensors[f"base_model.model.{module}.lora_B.weight"] = torch.ones(outputs, rank)
    save_file(tensors, path)
