"""vLLM's CPU platform with an exact LoRA op. Only vLLM imports this file, never our own code."""

from vllm.platforms.cpu import CpuPlatform


class VeneerCpuPlatform(CpuPlatform):
    """vLLM's CPU platform (``is_cpu()`` stays true), on which Veneer computes LoRA."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the dotted path of the class that applies adapters to a batch."""
        return "veneer_server.engine.vllm.lora.op.PunicaWrapperVeneer"
