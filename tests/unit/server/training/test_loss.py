"""The loss is that of the tokens that count, whoever shares the batch and whatever the model."""

from typing import Any

import pytest

from support.asked import need
from support.training_jobs import VOCABULARY, examples
from veneer_server.training.rows.examples import Example

torch = need("torch")
need("peft")
pytestmark = [pytest.mark.engine]

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def peft_model(kind: str, **more: Any) -> Any:
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    config = getattr(transformers, f"{kind}Config")(**SHAPE, **more)
    base = getattr(transformers, f"{kind}ForCausalLM")(config)
    lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    return get_peft_model(base, lora).eval()


def reference(model: Any, example: Example) -> list[float]:
    """Return the loss of each token that counts, from all logits of the example alone."""
    ids = torch.tensor([list(example.ids)])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    spots = [at for start, end in example.spans for at in range(start, end)]
    return [-logits[at - 1, example.ids[at]].item() for at in spots]


@pytest.mark.parametrize(
    ("kind", "more", "direct"),
    [
        ("Llama", {}, True),
        ("Granite", {"logits_scaling": 8.0}, False),
        ("Gemma2", {"final_logit_softcapping": 0.5, "head_dim": 8}, False),
    ],
)
def test_the_loss_is_the_models_own_over_the_tokens_that_count(
    kind: str, more: dict[str, Any], direct: bool
) -> None:
    from veneer_server.training.child.loss import Losses, to_batch

    model = peft_model(kind, **more)
    losses = Losses(model)
    assert losses._direct is direct
    batch = [*examples(3), Example(tuple(range(12)), ((2, 4), (7, 12)))]
    scored = losses.score(to_batch(batch))
    expected = [loss for example in batch for loss in reference(model, example)]
    right = scored.sums["mean_token_accuracy"]
    assert 0 <= right <= scored.counted == len(expected)
    assert scored.loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_a_mean_over_batches_weighs_tokens_and_not_batches() -> None:
    from veneer_server.training.child.loss import Losses, means, to_batch

    model = peft_model("Llama")
    made = examples(5)
    expected = [loss for example in made for loss in reference(model, example)]
    parts = [to_batch(made[:4]), to_batch(made[4:])]
    losses = Losses(model)
    found = means([losses.score(part) for part in parts], "valid")
    assert found["valid_loss"] == pytest.approx(sum(expected) / len(expected), rel=1e-5)
