"""Writes docs/models.md from the table of architectures and the outcomes of a real run.

``python -m models.matrix --check`` (in tests/) says whether the page fits both; it needs nothing
installed. ``make models MODELS=--record`` tries all models and writes both.
"""

import json
import sys
from pathlib import Path
from typing import Any

from models.table import DIVERGES, KINDS, MODELS, UNSERVED
from veneer_server.engine.vllm.bases.families import FAMILIES

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
STARTS = HERE / "starts.md"
"""What ``transcript.py --record`` saw."""
PAGE = HERE.parents[1] / "docs" / "models.md"
Results = dict[str, dict[str, Any]]
CLOSE = 2e-3
HEAD = """# Base models

Any base model can be served for which vLLM, or Transformers' code in vLLM, has LoRA. An adapter may
change any linear layer of the language model, by the names that PEFT writes. It may not change the
head and the embeddings, and on a CPU not the experts of a mixture. What an adapter changes beyond
that is refused by name; it is never left out silently.

`make models` makes a tiny random model of each kind below, and five PEFT adapters of each: {kinds}.
It compares greedy answers of the base and of each adapter with those of Transformers and PEFT in
float32, asked alone and in a batch of three adapters and the base. This page is made from what was
recorded last, on a CPU. `make models MODELS=--record` records again.

- *alone*, *together*: the same tokens; the number is the largest difference of a log-probability
- *doctor*: `veneer adapters check` reads the same modules from the files, without an engine
- *modules*: how many linear layers of this tiny model an adapter may change

"""
QUANTISED = """
## Quantised bases

Adapters stay in half or single precision, whatever the base is stored in. `make models` writes a
tiny Llama in each of these ways and compares the base and an adapter on all linear layers with
Transformers and PEFT on the weights that the quantised ones stand for.

| how the base is quantised | on a CPU |
|---|---|
| AWQ, 4 bits | served, in bfloat16 or float16; without AVX512 refused: vLLM has no kernel |
| GPTQ, 4 bits, symmetric | as AWQ |
| W8A8 (compressed-tensors) | served; without VNNI or AMX refused: its products overflow |
| FP8, one scale for a layer | refused: vLLM's build for CPUs has no kernel |
| bitsandbytes, HQQ | refused: vLLM 0.32 does not know them |

No quantised base was run on a GPU.
"""


def page() -> str:
    """Return the page for the table and the recorded outcomes."""
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    columns = ("model", "config", "alone", "together", "doctor", "modules", "note")
    lines = [_row(*columns), "|---" * len(columns) + "|"]
    for name, model in MODELS.items():
        of = results.get(name, {})
        shown = (_close(of.get("alone")), _close(of.get("mixed")), of.get("doctor", "not run"))
        if name in DIVERGES:
            shown = ("no", "no", "-")
        modules = str(of.get("modules", "-"))
        refused = [f"`{part}` is refused: {why}" for part, why in model.without.items()]
        note = "; ".join([*filter(None, [DIVERGES.get(name), model.note]), *refused])
        lines.append(_row(name, f"`{model.config}`", *shown, modules, note))
    head = HEAD.format(kinds=", ".join(f"{said} (`{kind}`)" for kind, said in KINDS.items()))
    return head + "\n".join(lines) + "\n" + _unserved(results) + QUANTISED + _starts() + _families()


def record(seen: Results) -> None:
    """Write what a run has seen over what is recorded, and the page."""
    old: Results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept = {name: of for name, of in (old | seen).items() if name in MODELS or name in UNSERVED}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page())


def _close(difference: float | None) -> str:
    if difference is None:
        return "not run"
    return f"yes, {difference:.0e}" if difference < CLOSE else f"no, {difference:.2g}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _unserved(results: Results) -> str:
    lines = [
        "\n## What is not served\n",
        _row("model", "why", "what the server says"),
        "|---|---|---|",
    ]
    for name, (_, why) in UNSERVED.items():
        lines.append(_row(name, why, results.get(name, {}).get("refused", "not run")))
    return "\n".join(lines) + "\n"


def _starts() -> str:
    return "\n" + STARTS.read_text() if STARTS.is_file() else ""


def _families() -> str:
    head = (
        "\n## Parsers of tool calls and of reasoning\n\n"
        "Where `engine.args.tool_call_parser` or `engine.args.reasoning_parser` is not set, the"
        " family decides, and the log says so. The model's chat template must show the form that"
        " the parser reads; without a template there are no chats, only completions, unless"
        " `engine.args.chat_template` names one. Set either to `null` for none.\n"
    )
    columns = ("family", "`model_type` begins with", "tool calls", "the template has", "reasoning")
    lines = [head, _row(*columns), "|---" * len(columns) + "|"]
    for family in FAMILIES:
        kinds = ", ".join(f"`{kind}`" for kind in family.kinds)
        marks = " or ".join(f"`{_plain(mark)}`" for mark in family.tool_marks)
        thought = (
            f"`{family.reasoning}`, with `{family.reasoning_marks[0]}`" if family.reasoning else "-"
        )
        lines.append(_row(family.name, kinds, f"`{family.tools}`", marks, _plain(thought)))
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("```", "'''")


if __name__ == "__main__":
    if "--check" in sys.argv and PAGE.read_text() != page():
        sys.exit("docs/models.md does not fit tests/models; write it again: see its first lines")
    if "--check" not in sys.argv:
        PAGE.write_text(page())
