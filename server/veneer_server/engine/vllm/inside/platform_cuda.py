"""vLLM's CUDA platform with our LoRA op. Only vLLM imports this file, never our own code."""

from vllm.platforms.cuda import CudaPlatform


class VeneerCudaPlatform(CudaPlatform):
    """vLLM's CUDA platform (``is_cuda()`` stays true), on which Veneer may compute LoRA."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Return the dotted path of the class that applies adapters to a batch."""
        return "veneer_server.engine.vllm.cuda.making.make_wrapper"
