"""What becomes of the members of a request for tokens, or for the text of tokens.

Source: vLLM's ``/tokenize`` and ``/detokenize``.
"""

from veneer_server.api.official.members.base import honoured
from veneer_server.api.official.members.shared import ECHOED, ENGINE_ONLY, PLATFORM

_ALIKE = PLATFORM | ECHOED | ENGINE_ONLY
TOKENIZE = _ALIKE | honoured(
    "add_generation_prompt",
    "add_special_tokens",
    "chat_template_kwargs",
    "continue_final_message",
    "messages",
    "model",
    "prompt",
    "return_token_strs",
    "tools",
)
DETOKENIZE = _ALIKE | honoured("model", "tokens")
