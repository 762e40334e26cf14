"""What is promised of programs, models, answers, and responses with state."""

from conformance.promise import Requirement
from conformance.sources import ANTHROPIC, API, GUIDES, OPENAPI, OWN

ANSWERS: dict[str, Requirement] = {
    # -- programs
    "programs:answered": Requirement(
        "What Open WebUI, LibreChat, n8n, Continue, Codex CLI and Claude Code send is answered.",
        OWN,
    ),
    # -- models
    "models:list": Requirement("The list of models has OpenAI's shape.", f"{API}/models/list"),
    "models:retrieve": Requirement(
        "A model is found under its id, in OpenAI's shape.", f"{API}/models/retrieve"
    ),
    "models:anthropic": Requirement(
        "Anthropic's client lists and retrieves models in its own shape.",
        f"{ANTHROPIC}/models-list",
    ),
    "models:anthropic-pages": Requirement(
        "Anthropic's client gets the list of models in pages: limit, after_id and before_id.",
        f"{ANTHROPIC}/models-list",
        divergence="Without limit a page has 1000 models, not 20, so that a client that reads only"
        " one page finds every adapter.",
    ),
    "models:other-names": Requirement(
        "The base answers to its Hub id and to the name of its folder too.", OWN
    ),
    "models:delete": Requirement(
        "Deleting a model that was added answers in OpenAI's shape, and the model is gone.",
        f"{API}/models/delete",
    ),
    "models:unknown": Requirement(
        "An unknown model is 404 model_not_found.", f"{GUIDES}/error-codes"
    ),
    "vllm:load-route": Requirement(
        "vLLM's route refuses a name that is taken, unless in place, and a path that is not there.",
        "https://docs.vllm.ai/en/latest/features/lora.html",
    ),
    # -- answers
    "answers:vllm-shapes": Requirement(
        "Whatever vLLM answers, on any endpoint, leaves the server in the official shape.", OPENAPI
    ),
    "answers:public-model": Requirement(
        "An answer names the model as the client did, in documents and in every event.", OWN
    ),
    "answers:engine-shapes": Requirement(
        "What the real engine answers, in every variant, is in the official shape.", OPENAPI
    ),
    "chat:answer": Requirement(
        "A chat completion has content, refusal and logprobs, null or not, and its usage.",
        f"{API}/chat/object",
    ),
    "chat:n": Requirement("n answers come back under indices 0 to n-1.", f"{API}/chat/create"),
    "chat:stream": Requirement(
        "A chat stream is chunks, then [DONE]; their contents add up to the answer.",
        f"{API}/chat-streaming",
    ),
    "chat:stream:usage": Requirement(
        "With include_usage each chunk has a null usage and a last one, without choices, the sum.",
        f"{API}/chat/create#chat-create-stream_options",
    ),
    "chat:stream:no-usage": Requirement(
        "Without include_usage no chunk has a usage.", f"{API}/chat/create"
    ),
    "chat:stream:fault": Requirement(
        "A fault inside a stream reaches the client as APIError, and no [DONE] follows.", OWN
    ),
    "chat:content-of-a-call": Requirement(
        "The content of a message that only calls tools is null.", f"{API}/chat/object"
    ),
    "chat:logprobs": Requirement(
        "logprobs and top_logprobs come with every token, whole and streamed.",
        f"{API}/chat/object",
    ),
    "chat:stop": Requirement(
        "An answer ends before a stop string, with finish_reason stop.", f"{API}/chat/create"
    ),
    "chat:json-schema": Requirement(
        "An answer to response_format json_schema holds the schema, whole and streamed.",
        f"{GUIDES}/structured-outputs",
    ),
    "chat:json-object": Requirement(
        "An answer to response_format json_object is a JSON object.",
        f"{GUIDES}/structured-outputs",
    ),
    "chat:stream:continuous-usage": Requirement(
        "With continuous_usage_stats every chunk has the usage so far, as at vLLM.",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    "usage:cached": Requirement(
        "Usage tells how many tokens of the prompt came from the cache.",
        f"{GUIDES}/prompt-caching",
    ),
    "chat:unreadable-parts": Requirement(
        "A part of a message that is not read, or lacks what its type says, is named with its"
        " place and type.",
        f"{API}/chat/create",
    ),
    "completions:answer": Requirement(
        "A completion has OpenAI's shape.", f"{API}/completions/object"
    ),
    "completions:stream": Requirement(
        "The chunks of a completion have OpenAI's shape.",
        f"{API}/completions/create",
        divergence="finish_reason is null until the last chunk, as in OpenAI's own example and "
        "service; the schema, and with it the client's strict validation, knows no null there.",
    ),
    "completions:echo-logprobs": Requirement(
        "echo with logprobs gives the logprob of every token.",
        f"{API}/completions/create",
        divergence="The first token of a prompt has no logprob: it is null, as at OpenAI, though "
        "the schema wants numbers.",
    ),
    "responses:incomplete": Requirement(
        "A response cut off at max_output_tokens ends its stream with response.incomplete.",
        f"{API}/responses-streaming/response/incomplete",
    ),
    "responses:members": Requirement(
        "A response has every member that OpenAI's schema or Open Responses requires, and repeats "
        "what the request asked for.",
        "https://www.openresponses.org/specification",
        "As long as a response is generated its usage has zeros: Open Responses wants null, which "
        "OpenAI's schema forbids.",
    ),
    "responses:unreadable-parts": Requirement(
        "A file or another part of an item that is not read is named with its place and type.",
        f"{API}/responses/create",
    ),
    "responses:usage": Requirement(
        "Usage tells cached tokens, tokens written to the cache and reasoning tokens.",
        f"{API}/responses/object",
    ),
    "responses:stream": Requirement(
        "The events of a response are numbered without a gap and add up to its text.",
        f"{API}/responses-streaming",
    ),
    # -- responses with state
    "batches:object": Requirement(
        "A batch is made, followed to its end, listed and cancelled in OpenAI's shapes.",
        f"{API}/batch/object",
    ),
    "batches:lines": Requirement(
        "Answers and errors of lines have OpenAI's shapes.", f"{API}/batch/request-output"
    ),
    "batches:errors": Requirement(
        "A batch whose lines are wrong fails, and says of each what is wrong with it.",
        f"{GUIDES}/batch",
    ),
    "batches:models": Requirement(
        "The lines of a batch may ask different models.",
        f"{GUIDES}/batch",
        divergence="OpenAI takes one model for all lines; here a batch may ask many adapters.",
    ),
    "fine_tuning:object": Requirement(
        "A fine-tuning job is made, followed to its end, listed, paused, resumed and cancelled in "
        "OpenAI's shapes; so are its events and checkpoints.",
        f"{API}/fine-tuning/object",
    ),
    "fine_tuning:results": Requirement(
        "A job that succeeded names its model, which answers, and a file of figures.",
        f"{API}/fine-tuning/object",
    ),
    "fine_tuning:files": Requirement(
        "A training file with wrong rows is refused; the message names their lines.",
        f"{GUIDES}/supervised-fine-tuning",
        divergence="OpenAI makes the job and lets it fail later; here the whole file is looked at"
        " before there is a job.",
    ),
    "fine_tuning:hyperparameters": Requirement(
        "Hyperparameters may stand in the method or, as in earlier versions, beside it; the answer"
        " has numbers for what was left out.",
        f"{API}/fine-tuning/create",
    ),
    "fine_tuning:preferences": Requirement(
        "Preferences are learned by the method dpo; the answer has a number for its beta.",
        f"{GUIDES}/direct-preference-optimization",
    ),
    "files:object": Requirement(
        "A file that was uploaded is retrieved, read and deleted in OpenAI's shapes.",
        f"{API}/files/object",
    ),
    "files:pages": Requirement(
        "The list of files comes in pages, in either order, of one purpose or of all.",
        f"{API}/files/list",
    ),
    "files:evals": Requirement(
        "A file may be for evals, as the request's schema says.",
        f"{API}/files/create",
        divergence="The answer says `evals`, as OpenAI's own does; the schema of answers does not"
        " know this value.",
    ),
    "state:answers": Requirement(
        "Every answer about what is stored has the official shape, and the strict client reads it.",
        OPENAPI,
    ),
    "state:previous": Requirement(
        "previous_response_id puts all items of that response, and none of its instructions, into "
        "the prompt; deleting an early turn breaks no later one.",
        f"{GUIDES}/conversation-state",
    ),
    "state:references": Requirement(
        "An item_reference, or an item with only an id, stands for the stored item.",
        f"{API}/responses/create",
    ),
    "state:retrieve": Requirement(
        "A stored response is found as soon as the client has its answer, as it was answered.",
        f"{API}/responses/get",
    ),
    "state:input-items": Requirement(
        "The items that a response answers are listed in pages.", f"{API}/responses/input-items"
    ),
    "state:input-tokens": Requirement(
        "The tokens of a prompt are counted as the engine counts them.",
        f"{API}/responses/input-tokens",
    ),
    "state:background": Requirement(
        "A response in the background is queued, polled and cancelled.", f"{GUIDES}/background"
    ),
    "state:resume": Requirement(
        "A stream in the background is read on after any of its events.", f"{GUIDES}/background"
    ),
    "conversations:life": Requirement(
        "A conversation is made, retrieved, changed and deleted.", f"{API}/conversations"
    ),
    "conversations:items": Requirement(
        "Items are added, listed, retrieved and deleted.", f"{API}/conversations/items"
    ),
    "conversations:turns": Requirement(
        "A turn has the conversation in its prompt and is added to it; turns at once are not lost "
        "and do not mix.",
        f"{API}/responses/create",
    ),
    "messages:answer": Requirement(
        "Anthropic's client reads messages, streams and token counts.", f"{ANTHROPIC}/messages"
    ),
    "messages:citations": Requirement(
        "The citations of a text are a list, which both majors of @ai-sdk/anthropic read.",
        "https://www.npmjs.com/package/@ai-sdk/anthropic",
    ),
    "messages:prefill": Requirement(
        "A last message of the assistant is continued.",
        "https://docs.anthropic.com/en/docs/build-with-claude/prompt-engineering"
        "/prefill-claudes-response",
    ),
    "messages:unreadable-blocks": Requirement(
        "A block that the server cannot read is refused with its place and what to write instead.",
        f"{ANTHROPIC}/messages",
    ),
    "tokenize:round-trip": Requirement("Tokens of a text detokenize to the text.", OWN),
}
