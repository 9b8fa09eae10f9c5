"""What trainings share: log-probabilities, loading, precision, and generators left as they were."""

import json

import numpy as np
import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from training_world import model_options, tiny_family

from activeduel.llm.config import ModelOptions
from activeduel.llm.surroundings import quiet
from activeduel.llm.tokens import TokenRow
from activeduel.llm.training import (
    adamw,
    collate,
    computes_in_bfloat16,
    load_base,
    log_probabilities,
    lora,
    mixed_precision,
    save_model,
    tokenizer_of,
    with_adapter,
)

CPU = torch.device("cpu")
ROWS = [
    TokenRow(np.array(tokens, dtype=np.int32), start)
    for tokens, start in [([5, 6, 7, 8, 9], 2), ([5, 6, 11], 2), ([9, 9, 9, 9], 1)]
]


@pytest.fixture
def model(tiny_model):
    options = model_options(tiny_model)
    return load_base(options, tokenizer_of(options)).eval()


def test_rows_are_padded_on_the_right():
    batch = collate(ROWS, 0, CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [5, 6, 11, 0, 0], [9, 9, 9, 9, 0]]
    assert batch.attention_mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    response = [[False, False, True, True, True], [False, False, True, False, False]]
    assert batch.response.tolist() == [*response, [False, True, True, True, False]]


def test_log_probabilities_and_their_gradients_are_those_of_all_logits(model):
    """Only the response's positions reach the head; the twin computes every logit."""
    batch = collate(ROWS, 0, CPU)
    ours = log_probabilities(model, batch)
    logs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    picked = logs[:, :-1].log_softmax(-1).gather(2, batch.input_ids[:, 1:, None])[..., 0]
    twin = (picked * batch.response[:, 1:]).sum(1)
    torch.testing.assert_close(ours, twin, rtol=1e-6, atol=1e-5)
    weight = model.get_input_embeddings().weight
    grads = [torch.autograd.grad((x * torch.arange(1.0, 4)).sum(), weight)[0] for x in (ours, twin)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_bfloat16_in_parts_is_close_to_float32(tiny_model, model, monkeypatch):
    monkeypatch.setattr("activeduel.llm.training._CHUNK", 2)
    batch, exact = collate(ROWS, 0, CPU), log_probabilities(model, collate(ROWS, 0, CPU))
    with mixed_precision(model_options(tiny_model, dtype="bfloat16")):
        found = log_probabilities(model, batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=0.1)
    found.sum().backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_precision_by_options(tiny_model):
    def says(**more):
        return computes_in_bfloat16(model_options(tiny_model, **more))

    assert [says(), says(dtype="auto"), says(dtype="bfloat16")] == [False, False, True]
    assert says(dtype="auto", load_in_4bit=True)
    with pytest.raises(ValueError, match="dtype: found float16, whose gradients vanish"):
        says(dtype="float16")


@pytest.mark.parametrize(
    ("more", "dtype"),
    [
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"dtype": "auto"}, torch.float32),
        ({"dtype": "bfloat16", "use_peft": False}, torch.float32),
    ],
)
def test_weights_that_are_trained_whole_are_float32(tiny_model, more, dtype):
    options = model_options(tiny_model, **more)
    assert load_base(options, tokenizer_of(options)).dtype == dtype


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_model, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    options = model_options(folder)
    with pytest.raises(
        ValueError, match=r"model_name_or_path: found no weights for 'lm_head\.weight'"
    ):
        load_base(options, tokenizer_of(options))


FAMILIES = {
    "llama": {"attention_dropout": 0.5},
    "mistral": {"attention_dropout": 0.5},
    "gemma2": {"attention_dropout": 0.5, "head_dim": 8},
    "gpt2": {"attn_pdrop": 0.5, "resid_pdrop": 0.3, "embd_pdrop": 0.3},
    "falcon": {"attention_dropout": 0.5, "hidden_dropout": 0.5},
    "phimoe": {"attention_dropout": 0.5, "router_jitter_noise": 0.5},
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_only_lora_drops_anything(tiny_model, tmp_path, kind):
    """Dropout is a module in some families, a number that attention reads in others."""
    from transformers import AutoModelForCausalLM

    folder = tiny_family(tmp_path, tiny_model, kind, **FAMILIES[kind])
    options, batch = model_options(folder), collate(ROWS, 0, CPU)
    with quiet():
        as_saved = AutoModelForCausalLM.from_pretrained(folder)  # negative control
    same = []
    for model in (load_base(options, tokenizer_of(options)), as_saved):
        once, twice = (log_probabilities(model.train(), batch) for _ in range(2))
        same.append(torch.equal(once, twice))
    assert same == [True, False]


def test_norms_and_biases_do_not_decay():
    weights = {"w": torch.nn.Parameter(torch.ones(2, 2)), "b": torch.nn.Parameter(torch.ones(2))}
    optimizer = adamw(weights, 0.1, 0.5)
    sum(w.sum() * 0 for w in weights.values()).backward()
    optimizer.step()
    assert torch.equal(weights["w"].data, torch.full((2, 2), 0.95))
    assert torch.equal(weights["b"].data, torch.ones(2))


def test_the_word_all_linear_is_pefts_and_names_stay_names(model):
    pytest.importorskip("peft", reason="needs peft: pip install 'activeduel[llm]'")
    options = ModelOptions("m", lora_target_modules=("all-linear",))
    assert lora(options, model).target_modules == "all-linear"
    assert set(lora(ModelOptions("m", lora_target_modules=("q_proj",)), model).target_modules) == {
        "q_proj"
    }
    assert lora(ModelOptions("m"), model).target_modules is None


def test_a_target_that_the_model_has_not_is_refused(model):
    """peft overlooks it where another one is there."""
    pytest.importorskip("peft", reason="needs peft: pip install 'activeduel[llm]'")
    options = ModelOptions("m", lora_target_modules=("q_proj", "w_proj"))
    with pytest.raises(ValueError, match="lora_target_modules: found w_proj, .*q_proj, up_proj, v"):
        lora(options, model)


def test_an_adapter_is_written_the_same_in_every_process(tiny_model, tmp_path):
    """Its identity is a hash of its files; peft writes its modules in the order of a set of texts."""
    peft = pytest.importorskip("peft", reason="needs peft: pip install 'activeduel[llm]'")
    options = ModelOptions(str(tiny_model), dtype="float32", lora_target_modules=("all-linear",))
    base = load_base(options, tokenizer_of(options))
    with quiet():
        save_model(peft.get_peft_model(base, lora(options, base)), tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_bytes())["target_modules"]
    assert len(written) > 3 and written == sorted(written)
    assert with_adapter(load_base(options, tokenizer_of(options)), tmp_path) is not None
