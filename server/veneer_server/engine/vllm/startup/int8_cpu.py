"""Keeps vLLM from computing layers with int8 inputs on a CPU that multiplies int8 wrongly.

x86 processors without VNNI add two products of int8 in 16 bits, which overflow with large weights:
oneDNN's product of weights up to 127 was wrong by 22 % of its largest value, and that of weights up
to 60 right (tests/bench/LOG.md, 2026-11-29). Nothing says so, and answers are words all the same.
"""

from collections.abc import Set

from veneer_server.engine.cpu import instructions, lacks

LACK = (
    "this processor has no instructions that multiply int8 exactly (avx512_vnni, avx_vnni or"
    " amx_int8)"
)


def refuse_where_it_overflows(found: Set[str] | None = None) -> None:
    """Make vLLM refuse such layers in this process, whatever format they are stored in.

    ``found`` is what the processor can, by default this machine's. Where it multiplies int8
    exactly, or says nothing of itself, nothing changes.
    """
    if not lacks("int8", instructions() if found is None else found):
        return
    # All formats ask this class: compressed-tensors and Quark, in vLLM 0.32.
    from vllm.model_executor.kernels.linear import CPUInt8ScaledMMLinearKernel

    CPUInt8ScaledMMLinearKernel.is_supported = classmethod(lambda _cls, *_args: (False, LACK))
