"""Makes the wrapper that vLLM's LoRA layers call: ours where it fits, vLLM's own everywhere else.

A failure in our code is a line in the log and never a failed start, so what may fail is imported
inside the function.
"""

from typing import Any

from vllm.lora.punica_wrapper.punica_gpu import PunicaWrapperGPU


def make_wrapper(*args: Any, **kwargs: Any) -> Any:
    """Return the object that applies adapters to a batch; the arguments are vLLM's.

    If it is vLLM's, its ``veneer_reason`` says why.
    """
    try:
        from veneer_server.engine.vllm.cuda.guards import why_unknown
        from veneer_server.engine.vllm.cuda.op import PunicaWrapperVeneerGPU
        from veneer_server.engine.vllm.cuda.surroundings import sources, version

        reason = why_unknown(version(), sources())
        if reason is None:
            return PunicaWrapperVeneerGPU(*args, **kwargs)
    except Exception as error:
        reason = f"ours failed: {type(error).__name__}: {error}"
    wrapper = PunicaWrapperGPU(*args, **kwargs)
    wrapper.veneer_reason = reason
    return wrapper
