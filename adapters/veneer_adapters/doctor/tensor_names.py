"""Names of tensors as trainers leave them behind, and what they should be. Pure functions."""

import re

_WRAPPERS = re.compile(
    r"^module\.(?=base_model\.)|\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
)
"""What DataParallel, torch.compile, activation checkpointing and FSDP put into names."""
_NAMED = re.compile(r"(.+\.lora_[AB])\.[^.]+(\.weight)")


def unwrapped(name: str) -> str:
    """Return ``name`` without the names of what wrapped the model while it was trained."""
    return _WRAPPERS.sub("", name)


def unnamed(name: str) -> str:
    """Return ``name`` without the name of its adapter, which PEFT leaves out of files."""
    return _NAMED.sub(r"\1\2", name) if _NAMED.fullmatch(name) else name
