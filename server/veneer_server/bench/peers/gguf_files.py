"""The files that llama.cpp needs: the packaged model in bfloat16 too, and adapters as GGUF."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from veneer_server.bench.peers.adapters import FAINT, Shape, random_tensors

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""llama.cpp's names for modules, by our names."""


def link_model(source: Path, folder: Path) -> Path:
    """Link ``source`` into the new ``folder`` and return the link; adapters can lie beside it."""
    folder.mkdir(parents=True)
    made = folder / "model.gguf"
    os.symlink(source, made)
    return made


def write_bfloat16(source: Path, folder: Path) -> Path:
    """Write the model in ``source`` with the same values in bfloat16; return the new file."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize, quantize

    folder.mkdir(parents=True)
    made = folder / "model.gguf"
    reader = GGUFReader(source)
    writer = GGUFWriter(made, str(reader.fields["general.architecture"].contents()))
    for name, found in reader.fields.items():
        if not name.startswith("GGUF.") and name not in (
            "general.architecture",
            "general.file_type",
        ):
            _copy_field(writer, name, found)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        kind = GGMLQuantizationType.BF16 if values.ndim > 1 else GGMLQuantizationType.F32
        stored = quantize(values, kind)
        writer.add_tensor(tensor.name, stored, raw_dtype=kind)
    _finish(writer)
    return made


def write_adapters(folder: Path, shape: Shape, rank: int, count: int) -> None:
    """Write ``count`` random adapters as ``adapters/<index>.gguf``."""
    from gguf import GGUFWriter

    (folder / "adapters").mkdir(parents=True)
    for index in range(count):
        writer = GGUFWriter(folder / "adapters" / f"{index}.gguf", "llama")
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(rank))
        for name, bits in random_tensors(shape, rank, FAINT, index):
            values = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float16)
            writer.add_tensor(_tensor_name(name), values)
        _finish(writer)


def _tensor_name(name: str) -> str:
    # base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight
    parts = name.split(".")
    module = _NAMES[f"{parts[5]}.{parts[6]}"]
    return f"blk.{parts[4]}.{module}.weight.{parts[7].lower()}"


def _copy_field(writer: Any, name: str, field: Any) -> None:
    inner = field.types[1] if len(field.types) > 1 else None
    writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
