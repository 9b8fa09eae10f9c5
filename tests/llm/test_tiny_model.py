"""The model made on the spot: an ordinary folder, the same from the same seed, with no global trace."""

import numpy as np
import pytest

from activeduel.llm.tiny_model import SIZES, write_model

torch = pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")
transformers = pytest.importorskip(
    "transformers", reason="needs transformers: pip install 'activeduel[llm]'"
)

TURNS = [{"role": "user", "content": "what about rice ?"}, {"role": "assistant", "content": "no"}]


def test_the_folder_loads_as_any_model(tiny_model):
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    assert model.config.hidden_size == SIZES["test"].hidden == 64
    assert not list(tiny_model.glob("*.bin")) and (tiny_model / "model.safetensors").is_file()
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert len(tokenizer) == model.config.vocab_size
    tokens = tokenizer("never seen: ünïcödé 漢字", return_tensors="pt")
    assert tokenizer.decode(tokens["input_ids"][0, 1:]) == "never seen: ünïcödé 漢字"
    assert tokens["input_ids"][0, 0] == tokenizer.bos_token_id
    assert torch.isfinite(model(**tokens).logits).all()


def test_the_prompts_template_begins_the_whole_conversations(tiny_model):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    prompt = tokenizer.apply_chat_template(TURNS[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert whole.startswith(prompt) and whole == f"{prompt}no</s>"
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


def test_words_of_the_world_are_single_tokens(tiny_model, plain_world):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    text = " ".join(str(a) for a, _ in plain_world.pool.responses)
    assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) < 1.1 * len(text.split())


def test_weights_depend_on_the_seed_alone(tmp_path, tiny_model):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    same = write_model(tmp_path / "same", seed=0)
    other = write_model(tmp_path / "other", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [(f / "model.safetensors").read_bytes() for f in (tiny_model, same, other)]
    assert weights[0] == weights[1] != weights[2]


def test_training_lowers_the_loss(tmp_path, tiny_model, plain_world):
    """Forty steps of next-token training are seen in the loss on texts of another seed."""
    trained = write_model(tmp_path / "trained", steps=40)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    tokens = tokenizer([str(a) for a, _ in plain_world.pool.responses[:1]], return_tensors="pt")
    losses = [
        transformers.AutoModelForCausalLM.from_pretrained(folder)(
            **tokens, labels=tokens["input_ids"]
        ).loss.item()
        for folder in (tiny_model, trained)
    ]
    assert losses[1] < losses[0] - 0.5 and np.isfinite(losses).all()


def test_an_unknown_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size: found '7B'; needed one of"):
        write_model(tmp_path, size="7B")
