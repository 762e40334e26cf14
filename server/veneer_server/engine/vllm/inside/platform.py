"""vLLM's CPU platform with an exact LoRA op; imported by vLLM, never by the gateway's own code."""

from vllm.platforms.cpu import CpuPlatform


class VeneerCpuPlatform(CpuPlatform):
    """The CPU as vLLM knows it (``is_cpu()`` stays true); only LoRA is computed by us."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the dotted path of the class that applies adapters to a batch."""
        return "veneer_server.engine.vllm.lora.op.PunicaWrapperVeneer"
