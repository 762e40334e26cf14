"""What people name as a base model that is none, and what to do instead; it only looks at files."""

import json
from pathlib import Path

_POINTER = b"version https://git-lfs"
_POINTER_BYTES = 1024
"""More than such a file has."""
_INDEX = "model.safetensors.index.json"


def mistaken(path: Path) -> str | None:
    """Return what is wrong and what to do, or None when ``path`` looks like a base model."""
    if path.is_file():
        return _gguf(path) if path.suffix == ".gguf" else _file(path)
    files = sorted(path.iterdir())
    names = {file.name for file in files}
    if "adapter_config.json" in names and "config.json" not in names:
        return _adapter(path)
    other = [file for file in files if file.suffix in (".safetensors", ".bin", ".pt", ".pth")]
    if not other and (found := next((file for file in files if file.suffix == ".gguf"), None)):
        return _gguf(found)
    if pointer := next(filter(_is_pointer, files), None):
        return (
            f"{pointer} only points to a file that Git LFS did not fetch; run `git lfs pull` in its"
            " repository, or download the model again."
        )
    return _missing(path) if _INDEX in names else None


def _file(path: Path) -> str:
    return (
        f"{path} is a file; set model.path to its folder, which must also have config.json and the"
        " tokenizer."
    )


def _gguf(path: Path) -> str:
    return (
        f"{path} is a GGUF, which vLLM 0.32 cannot read; serve the same model as safetensors, or"
        f" write them with Transformers: from_pretrained(FOLDER, gguf_file={path.name!r}), then"
        " save_pretrained."
    )


def _adapter(path: Path) -> str:
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    named = f", {base!r}," if isinstance(base, str) else ""
    return (
        f"{path} is the folder of an adapter; set model.path to the base model that it was trained"
        f" on{named} and put the folder into one of the adapter folders."
    )


def _is_pointer(file: Path) -> bool:
    try:
        if not file.is_file() or file.stat().st_size > _POINTER_BYTES:
            return False
        return file.read_bytes().startswith(_POINTER)
    except OSError:
        return False


def _missing(folder: Path) -> str | None:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        named = {Path(str(name)).name for name in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # said by those who read it
    lacking = sorted(name for name in named if not (folder / name).is_file())
    if not lacking:
        return None
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return (
        f"{folder} lacks {lacking[0]}{more} of the weights that {_INDEX} names; copy or download"
        " the model whole."
    )
