"""What the language-model rows run on: a random model, its tokenizer and a pool of texts of one length."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..llm.config import FeatureOptions, ModelOptions, TrainingOptions
from ..llm.data import TextPool


class Subject(NamedTuple):
    """A size: the model's widths and how much is measured."""

    widths: dict[str, int]  # of a MistralConfig
    pairs: int  # of the features' row
    length: int  # tokens of a text
    batch: int  # pairs of a training step
    steps: int  # of a training; the first two are not timed
    turns: int  # trainings of each
    long: int  # tokens of a text in the 4-bit row
    tokens_per_batch: int
    dtype: str


SUBJECTS = {
    "7b": Subject(
        {
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        },
        pairs=2000, length=512, batch=4, steps=14, turns=2, long=1024, tokens_per_batch=32768,
        dtype="bfloat16",
    ),
    "tiny": Subject(
        {
            "vocab_size": 2000, "hidden_size": 256, "intermediate_size": 896,
            "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
        },
        pairs=100, length=128, batch=2, steps=10, turns=3, long=256, tokens_per_batch=2048,
        dtype="float32",
    ),
}  # fmt: skip


def written(subject: Subject, folder: Path, device: str) -> Path:
    """The random model and its tokenizer as a model folder; one that is there is taken as it is.

    The weights are drawn on ``device`` in the subject's type; a mark is written last.
    """
    mark = folder / "subject.json"
    wanted = json.dumps([subject.widths, subject.dtype])
    if mark.exists() and mark.read_text() == wanted:
        return folder
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        **subject.widths, bos_token_id=1, eos_token_id=2, pad_token_id=0, sliding_window=None
    )
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(getattr(torch, subject.dtype))
        with torch.device(device):
            model = MistralForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    tokenizer(subject.widths["vocab_size"]).save_pretrained(folder)
    mark.write_text(wanted)
    return folder


def tokenizer(words: int) -> Any:
    """One token a word: w0, w1, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    names = [*special, *(f"w{i}" for i in range(words - len(special)))]
    bare = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<pad>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def text_pool(pairs: int, length: int, words: int) -> TextPool:
    """Pairs of random words: prompt (a quarter) and answer have ``length`` tokens with the last one."""
    rng = np.random.default_rng(0)
    start = length // 4

    def text(count: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(words - 3, size=count))

    none = np.zeros(0, dtype=np.int64)
    return TextPool(
        pair_ids=tuple(f"pair-{i}" for i in range(pairs)),
        prompts=tuple(text(start) + " " for _ in range(pairs)),
        responses=tuple((text(length - start - 1), text(length - start - 1)) for _ in range(pairs)),
        context=np.zeros(pairs, dtype=np.int64),
        context_types=("all",),
        group=np.arange(pairs),
        gold=(np.arange(pairs) % 2).astype(float),
        rewards=np.full((pairs, 2), np.nan),
        annotators=(),
        judged_pair=none,
        annotator=none,
        preference=np.zeros(0),
    )


def options(
    subject: Subject, folder: Path, device: str, *, four_bits: bool = False
) -> tuple[ModelOptions, FeatureOptions, TrainingOptions]:
    """How the subject is loaded, read and trained: LoRA on every matrix of attention."""
    model = ModelOptions(
        str(folder),
        dtype="bfloat16" if subject.dtype == "bfloat16" else "float32",
        device="cuda" if device == "cuda" else "cpu",
        lora_dropout=0.0,
        lora_target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
        load_in_4bit=four_bits,
    )
    features = FeatureOptions(
        max_length=subject.long if four_bits else subject.length,
        tokens_per_batch=subject.tokens_per_batch,
    )
    training = TrainingOptions(
        method="adpo",
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        per_device_train_batch_size=1 if four_bits else subject.batch,
        gradient_accumulation_steps=1,
        gradient_checkpointing=True,
        confidence_threshold=float("inf"),  # every pair is asked: this is DPO
        save_steps=10**6,
    )
    return model, features, training
