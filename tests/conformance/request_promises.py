"""What is promised of tools, requests, errors, keys and members, and of this list itself."""

from conformance.promise import Requirement
from conformance.sources import ANTHROPIC, API, GUIDES, OPENAPI, OWN

REQUESTS: dict[str, Requirement] = {
    # -- tools
    "tools:forced": Requirement(
        "A required or named call always holds the schema of its parameters, on every endpoint.",
        f"{GUIDES}/function-calling#tool-choice",
    ),
    "tools:finish-reason": Requirement(
        "finish_reason is tool_calls for required and stop for a named function.",
        f"{API}/chat/object",
    ),
    "tools:free-calls-untouched": Requirement(
        "Calls the model chooses freely keep the strictness the client gave them.", OWN
    ),
    "tools:no-arguments": Requirement(
        "A forced call of a function without parameters has the arguments {}.",
        f"{API}/chat/create#chat-create-tools",
    ),
    "tools:empty-list": Requirement(
        "An empty list of tools means none.", f"{API}/chat/create#chat-create-tools"
    ),
    "tools:allowed": Requirement(
        "With allowed_tools only those can be called, on chat and Responses.",
        f"{API}/chat/create#chat-create-tool_choice",
    ),
    "tools:hosted": Requirement(
        "A hosted tool in a response is refused, never silently left out.",
        f"{API}/responses/create#responses-create-tools",
        divergence="OpenAI runs web search, file search and the like; this server has functions.",
    ),
    # -- requests
    "requests:platform-fields": Requirement(
        "Fields that concern OpenAI's platform are accepted and ignored.", f"{API}/chat/create"
    ),
    "requests:nulls": Requirement(
        "A field that is null is as good as absent.", f"{API}/chat/create"
    ),
    "requests:engine-fields": Requirement(
        "Fields that steer the engine instead of the answer are refused with their name.", OWN
    ),
    "requests:no-silent-loss": Requirement(
        "Official fields the engine would ignore are refused when that changes the answer.", OWN
    ),
    "requests:every-member": Requirement(
        "A table says of every member of OpenAI's, Anthropic's and vLLM's requests what becomes of"
        " it.",
        OPENAPI,
    ),
    "requests:other-spellings": Requirement(
        "What other servers call it is taken or refused by name, never dropped.",
        "https://github.com/vllm-project/vllm/issues/53975",
    ),
    "requests:unknown-members": Requirement(
        "A member that nobody knows is 400 in OpenAI's sentence, unless it asks for nothing.",
        f"{GUIDES}/error-codes",
    ),
    "requests:openais-bounds": Requirement(
        "What OpenAI takes is taken: top_p 0, n with temperature 0, an empty suffix.", OPENAPI
    ),
    "requests:text-parts": Requirement(
        "The model reads the text parts of a message with a newline between them.", OWN
    ),
    "requests:bounds": Requirement(
        "Numbers, lists and texts beyond their bounds are 400 with the field's name.",
        f"{API}/chat/create",
    ),
    "requests:developer": Requirement(
        "The roles developer and system both instruct the model.", f"{API}/chat/create"
    ),
    # -- errors
    "errors:unknown-model": Requirement(
        "An unknown model is 404 model_not_found and names close matches.",
        f"{GUIDES}/error-codes",
    ),
    "errors:missing-schema": Requirement(
        "A format json_schema without a schema is 400 and says where the schema should be.",
        f"{GUIDES}/structured-outputs",
    ),
    "errors:missing-model": Requirement(
        "A request without a model is the base's, or 400 with param model where that is set.",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    "errors:context-length": Requirement(
        "A prompt that does not fit is 400 context_length_exceeded in OpenAI's sentence.",
        f"{GUIDES}/error-codes",
    ),
    "errors:bad-json": Requirement(
        "A body that is not a JSON object is 400.", f"{GUIDES}/error-codes"
    ),
    "errors:wrong-type": Requirement(
        "A value of the wrong type is 400 with its field, never 422 or 500.",
        f"{GUIDES}/error-codes",
    ),
    "errors:body-too-large": Requirement("A body over the limit is 413.", OWN),
    "errors:unknown-route": Requirement(
        "An unknown route is 404 in the shape of every error.", OWN
    ),
    "errors:wrong-method": Requirement("A wrong method is 405 in the shape of every error.", OWN),
    "errors:client-classes": Requirement(
        "OpenAI's client raises the exception its users catch.", f"{GUIDES}/error-codes"
    ),
    "errors:anthropic": Requirement(
        "Errors of messages have Anthropic's shape, and its client raises its classes.",
        f"{ANTHROPIC}/errors",
    ),
    "headers:request-id": Requirement(
        "Every answer has x-request-id; a well-formed one of the client's is kept.",
        f"{API}/debugging-requests",
    ),
    # -- keys
    "keys:bearer": Requirement(
        "A key may come as `Authorization: Bearer`.", f"{API}/authentication"
    ),
    "keys:x-api-key": Requirement("A key may come as `x-api-key`.", f"{ANTHROPIC}/overview"),
    "keys:missing": Requirement(
        "Without a key it is 401 invalid_api_key, and says how to send one.",
        f"{GUIDES}/error-codes",
    ),
    "keys:wrong": Requirement("A wrong key is 401 invalid_api_key.", f"{GUIDES}/error-codes"),
    "keys:anthropic-shape": Requirement(
        "A missing key of messages is an authentication_error.", f"{ANTHROPIC}/errors"
    ),
    "keys:probes": Requirement("Probes and scrapes need no key.", OWN),
    # -- members
    "chat:id": Requirement(
        "Each chat completion has an id of its own, which begins with chatcmpl-.",
        f"{API}/chat/object",
    ),
    "completions:id": Requirement(
        "The id of a completion begins with cmpl-.", f"{API}/completions/object"
    ),
    "chat:usage:sum": Requirement(
        "total_tokens is prompt_tokens and completion_tokens together.", f"{API}/chat/object"
    ),
    "chat:finish:stop": Requirement(
        "An answer that ended by itself has the finish_reason stop.", f"{API}/chat/object"
    ),
    "chat:finish:length": Requirement(
        "An answer cut off at max_tokens has the finish_reason length.", f"{API}/chat/object"
    ),
    "chat:stream:done": Requirement(
        "[DONE] comes once, as the last event.", f"{API}/chat-streaming"
    ),
    "chat:stream:role": Requirement("The first chunk has the role.", f"{API}/chat-streaming"),
    "chat:stream:finish": Requirement(
        "Only the last chunk with a choice has a finish_reason.", f"{API}/chat-streaming"
    ),
    "chat:stream:one-id": Requirement(
        "All chunks of a stream have one id, one time and one model.", f"{API}/chat-streaming"
    ),
    # -- this list
    "headers:anthropic-request-id": Requirement(
        "Anthropic's clients find the id of a request in request-id.", f"{ANTHROPIC}/errors"
    ),
    "errors:other-kinds": Requirement(
        "Embeddings, images, audio and moderations are 400 with a sentence that helps.",
        f"{GUIDES}/error-codes",
    ),
    "errors:no-flags": Requirement("No message tells a client to set a flag of the server.", OWN),
    "errors:keys": Requirement(
        "A missing key and a wrong key get different sentences.", f"{GUIDES}/error-codes"
    ),
    "requirements:kept": Requirement("Every promise listed here has a test.", OWN),
    # -- clients
    "client:strict": Requirement(
        "openai-python with strict response validation accepts every answer.", OWN
    ),
}
