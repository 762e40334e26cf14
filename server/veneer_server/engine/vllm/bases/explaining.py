"""Why vLLM did not start, and what to do about it, in a sentence or two; pure."""

import re

from veneer_server.engine.vllm.bases.causes import Cause

_NO_LORA = re.compile(r"does not support LoRA|not supported for LoRA")
_LONG = 160
"""Characters that an error may say before it is cut at the end of a sentence."""
_SAYS_NOTHING = ("See root cause above", "See stack trace for root cause", "stack trace above")

_NOT_LINEAR = (
    "vLLM finds no layer in the base model that adapters can change ({detail}); serve a base model"
    " whose layers are plain linear layers."
)
_NOT_LORA = (
    "vLLM cannot serve this kind of base model with adapters, neither with its own code nor with"
    " that of Transformers ({detail}); serve another base model."
)
_WRITES_NOTHING = (
    "The base model writes no text: it embeds, classifies or ranks; serve one that generates."
)
_NO_LENGTH = "The base model does not say how long its context is; set `model.max_len`, in tokens."
_UNKNOWN = (
    "The base model is of a kind that neither vLLM nor Transformers knows ({detail}); check"
    " `architectures` and `model_type` in its config.json, or serve another base model."
)
_MISFIT = (
    "The weights of the base model do not fit its config.json ({detail}); copy or download both"
    " again, from the same place."
)
_BROKEN = "The weights of the base model are damaged ({detail}); copy or download them again."
_NO_WEIGHTS = "The folder of the base model has no weights ({detail}); copy or download it whole."
_TOKENIZER = (
    "The tokenizer of the base model cannot be loaded ({detail}); copy or download tokenizer.json"
    " and tokenizer_config.json into its folder."
)
_CODE = (
    "The base model brings code of its own, which is not run unless you allow it: read it, and set"
    " `engine.args.trust_remote_code: true`."
)
_NOT_FOUND = (
    "There is no base model by this name, neither a folder nor one of the Hugging Face Hub that can"
    " be reached ({detail}); check model.path."
)
_PACKAGE = (
    "The base model needs the Python package {detail}, which this installation does not have;"
    " install it, made for the same PyTorch, or serve another base model."
)
_QUANTISED = (
    "The base model is quantised in a way that vLLM does not compute here ({detail}); serve the"
    " same model unquantised, or quantised in another way."
)
_DTYPE = (
    "The base model is quantised, and vLLM computes it in another dtype than that of `model.dtype`"
    " ({detail}); set one of those, or `auto`."
)
_CONFIG = (
    "A file that describes the base model, config.json or one beside it, says what cannot be"
    " ({detail}); copy or download it again, from the same place as the weights."
)
_ENDED = (
    "A process of the engine ended by itself while it started: the machine may be out of memory, or"
    " a kernel does not suit this base model; the system's log may say more."
)
_KERNEL = (
    "The engine has no kernel for this base model on this machine ({detail}); serve another base"
    " model, or use a machine with a GPU."
)
_NO_CACHE = (
    "The memory that is left cannot hold the KV cache of a single token. Free some, raise the"
    " memory limit of the container or service, or lower adapters.device_slots;"
    " engine.kv_cache_gib sets the size of the cache."
)
_INT8 = (
    "The base model is quantised to int8 with its inputs, and this processor has no instructions"
    " that multiply int8 exactly (avx512_vnni, avx_vnni or amx_int8), so its answers would be"
    " wrong; serve the same model unquantised, or use another processor."
)
_OTHER = (
    "vLLM could not start the base model: {detail} Start again with VLLM_LOGGING_LEVEL=INFO to see"
    " all that it says."
)
_BLUNDERS = ("AttributeError", "TypeError", "ZeroDivisionError", "IndexError", "UnboundLocalError")
"""What code raises that takes a value for what it is not."""
_RULES: tuple[tuple[str, str], ...] = (
    (r"Cannot auto-fit max_model_len", _NO_CACHE),
    (r"no instructions that multiply int8 exactly", _INT8),
    (r"RuntimeError: cancelled$|EngineDeadError|WorkerProc initialization failed", _ENDED),
    (r"Unknown quantization|quantization is currently not supported", _QUANTISED),
    (r"quantization method \S+ is deprecated|Unsupported quantization config", _QUANTISED),
    (r"is not supported for quantization method", _DTYPE),
    (r"Validation error for field|StrictDataclass|Error parsing config", _CONFIG),
    (r"No supported LoRA modules found", _NOT_LINEAR),
    (r"not support `--runner generate`", _WRITES_NOTHING),
    (r"max_model_len must be a positive", _NO_LENGTH),
    (_NO_LORA.pattern, _NOT_LORA),
    (r"trust_remote_code|requires you to execute", _CODE),
    (r"Cannot find any model weights|no file named .*(safetensors|\.bin)", _NO_WEIGHTS),
    (r"[Tt]okenizer|KeyError: 'added_tokens'|SentencePiece|vocab_file|merges\.txt", _TOKENIZER),
    (r"architectures .* (are|is) not supported|does not recognize this architecture", _UNKNOWN),
    (r"failed to be inspected|No model architectures|[Uu]nrecognized model|model_type", _UNKNOWN),
    (r"dispatch through the Transformers|no way to handle|has no .* implementation", _NOT_LORA),
    (r"SafetensorError|deserializing header|InvalidHeader|IncompleteMetadata", _BROKEN),
    (r"PytorchStreamReader|UnpicklingError|invalid load key", _BROKEN),
    (r"Attempted to load weight|size of tensor|shape mismatch|size mismatch", _MISFIT),
    (r"exceeds dimension size", _MISFIT),
    (r"no module or parameter named|weights were not initialized|KeyError", _MISFIT),
    (r"Repo id must|[Ii]nvalid repository ID|is not a local folder|couldn't connect", _NOT_FOUND),
    (r"LocalEntryNotFound|RepositoryNotFound|OfflineMode|Cannot reach", _NOT_FOUND),
    (r"_C::\w+\(\) expected at most 0 argument", _KERNEL),
    (r"'_OpNamespace' \S+ object has no attribute", _KERNEL),
    (r"[Tt]riton|no kernel|[Nn]o .* backend|not compiled|NotImplementedError", _KERNEL),
)


def lacks_lora(cause: Cause) -> bool:
    """Return whether vLLM's own code for the base model has no LoRA."""
    return _NO_LORA.search(cause.message) is not None


def explain_without_lora(own: Cause, other: Cause) -> str:
    """Return what to say of a base that neither vLLM's ``own`` code nor the other serves."""
    details = (_detail(cause).rstrip(".") for cause in (own, other))
    return _NOT_LORA.format(detail="; ".join(details))


def explain(cause: Cause) -> str:
    """Return what is wrong and what to do, on one line, without a traceback."""
    text = f"{cause.kind}: {cause.message}"
    if package := re.search(r"No module named '([\w.]+)'", text):
        return _PACKAGE.format(detail=f"`{package[1]}`")
    for pattern, sentence in _RULES:
        if re.search(pattern, text):
            return sentence.format(detail=_detail(cause).rstrip("."))
    if cause.reading and cause.kind in _BLUNDERS:
        return _CONFIG.format(detail=_detail(cause).rstrip("."))
    return _OTHER.format(detail=_end(_detail(cause)))


def _detail(cause: Cause) -> str:
    """Return what the error says first, as part of a line; its kind where it says nothing."""
    says = _without_pydantic(cause.message)
    first = " ".join(says.split())
    for cut in (r"(?<=[.!?])\s", r"; "):
        first = re.split(cut, first, maxsplit=1)[0] if len(first) > _LONG else first
    if not first or any(nothing in says for nothing in _SAYS_NOTHING):
        return cause.kind
    shown = first if len(first) <= 2 * _LONG else f"{first[: 2 * _LONG]}..."
    return shown if " " in shown else f"{cause.kind} {shown}"


def _without_pydantic(message: str) -> str:
    """Return a message without the lines with which pydantic surrounds it."""
    found = re.search(r"Value error, (.*?)(?: \[type=|\n|$)", message, re.DOTALL)
    return found[1] if found else message


def _end(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "...")) else f"{sentence}."
