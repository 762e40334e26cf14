"""The embedded model cut down to two layers: a real engine on it starts and answers quickly."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support import builders
from veneer_server.engine.stages import Stages
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.options import EngineOptions, environment

LAYERS = 2
MODULES = {
    f"model.layers.{layer}.self_attn.{name}": shape
    for layer in range(LAYERS)
    for name, shape in (("q_proj", (576, 576)), ("v_proj", (576, 192)))
}


def model(folder: Path) -> Path:
    """Write the model into the new ``folder`` and return it."""
    whole = embedded.ensure_checkpoint()
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = LAYERS
    (folder / "config.json").write_text(json.dumps(config))
    _copy_weights(whole / "model.safetensors", folder / "model.safetensors")
    return folder


def _copy_weights(whole: Path, part: Path) -> None:
    """Copy the tensors of the first layers, as bytes: numpy has no bfloat16."""
    with whole.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        kept, blobs, at = {}, [], 0
        for name, entry in header.items():
            if name == "__metadata__" or not _is_kept(name):
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            blobs.append(file.read(end - begin))
            kept[name] = entry | {"data_offsets": [at, at + end - begin]}
            at += end - begin
    text = json.dumps({"__metadata__": header.get("__metadata__", {}), **kept}).encode()
    part.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def _is_kept(name: str) -> bool:
    parts = name.split(".")
    return parts[1] != "layers" or int(parts[2]) < LAYERS


def adapter(folder: Path, *, seed: int = 0) -> Path:
    """Write an adapter of random values for the model into ``folder``."""
    tensors = builders.tensors(MODULES, seed=seed)
    config = json.dumps(builders.config(base_model_name_or_path="tiny")).encode()
    return builders.write(folder, config_json=config, weights=builders.safetensors(tensors))


@asynccontextmanager
async def engine(folder: Path, stages: Stages | None = None, **options: Any) -> AsyncIterator[Any]:
    """Run the real engine on the model in this process, in fp32 so that answers can be compared."""
    os.environ.update(environment(os.environ, os.sched_getaffinity(0), os.getpid(), 600.0))
    from veneer_server.engine.vllm.engine import VllmEngine

    path = str(model(folder / "tiny"))
    wanted = {"dtype": "float32", "max_len": 2048, "kv_cache_bytes": 2**28, **options}
    given = EngineOptions(model=path, name="tiny", root=path, **wanted)
    engine = await VllmEngine.start(given, stages)
    try:
        yield engine
    finally:
        engine.stop()
