"""DPO on labels, by TRL's DPOTrainer as it is: the baseline that has every pair labelled."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from ..theory.checks import Floats
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .identity import published, training_identity
from .reference import Progress, reference_log_probabilities
from .rendering import render
from .training import load_base, lora, max_length_of, tokenizer_of, with_adapter
from .trl_stage import chosen_first, stage, train, trainer_settings
from .weights import adapter_identity

if TYPE_CHECKING:
    from .data import Text, TextPool

FACTS = "dpo.json"


def train_dpo(
    pool: "TextPool",
    labels: Sequence[tuple[int, float]],
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    folder: Path,
    *,
    seed: int,
    reference: Path | None = None,
    memory: Path | None = None,
    report_to: str = "none",
    progress: bool = False,
) -> Path:
    """Train DPO on ``labels`` (pair, preference for a) and publish it as ``folder``.

    The policy starts at its reference: the model with a fresh adapter, or the adapter ``reference``,
    which TRL copies and freezes. Ties are dropped, and by TRL the pairs whose prompt alone fills
    ``features.max_length``; both are counted in dpo.json beside the adapter. This training's own
    result is returned untouched; ``memory``: where hashes of files are remembered. The same labels,
    options and seed give the same weights on one CPU thread. ``ValueError`` where no label is decided,
    ``reference`` is given without ``use_peft``, ``folder`` is another training's, or the weights do not
    stay finite.
    """
    if reference is not None and not model.use_peft:
        raise ValueError(
            "reference: found an adapter with use_peft false; needed LoRA. Set use_peft, or name the "
            "whole model in model_name_or_path."
        )
    identity = training_identity(
        pool, labels, model, features, training, seed, memory=memory, method="dpo",
        reference=reference and adapter_identity(reference, memory=memory),
    )  # fmt: skip
    if published(folder, FACTS, identity):
        return folder
    decided, tokenizer = chosen_first(labels), tokenizer_of(model)
    with stage(folder, seed) as temporary:
        policy = with_adapter(load_base(model, tokenizer), reference, trainable=True)
        settings = trainer_settings(model, training, temporary, seed, progress)
        trainer = DPOTrainer(
            policy,
            args=DPOConfig(
                **settings,
                report_to=report_to,
                beta=training.beta,
                max_length=max_length_of(model, tokenizer, features.max_length),
                precompute_ref_log_probs=not model.use_peft,  # no second model in memory
            ),
            train_dataset=Dataset.from_list([_row(pool, tokenizer, *label) for label in decided]),
            processing_class=tokenizer,
            peft_config=lora(model, policy) if model.use_peft and reference is None else None,
        )
        facts = {
            "labels": len(labels),
            "ties": len(labels) - len(decided),
            "left_out_prompt_too_long": len(decided) - len(trainer.train_dataset),
            "identity": identity,
        }
        train(trainer, tokenizer, temporary, FACTS, facts)
        del trainer, policy  # they hold each other in circles, and two models may not fit a GPU
        gc.collect()
    return folder


def implicit_rewards(
    pool: "TextPool",
    pairs: Sequence[int],
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    policy: Path,
    *,
    cache: Path,
    reference: Path | None = None,
    progress: Progress | None = None,
) -> Floats:
    """r = beta (log pi - log pi_ref) of both sides of each pair: (len, 2); NaN where a prompt is too long.

    ``policy`` is a folder that ``train_adpo`` or ``train_dpo`` published; ``reference`` an adapter, or
    None for the model without. Both sets of log-probabilities are kept in ``cache``.
    Source: DPO (arXiv 2305.18290), Equation 5 up to the prompt's constant.
    """

    def log_probabilities(options: ModelOptions, adapter: Path | None) -> Floats:
        return reference_log_probabilities(
            pool, pairs, options, features, cache,
            adapter=adapter, max_prompt_length=training.max_prompt_length, progress=progress,
        )  # fmt: skip

    is_adapter = (policy / "adapter_config.json").exists()
    whole = replace(model, model_name_or_path=str(policy), model_revision="main")
    found = log_probabilities(model, policy) if is_adapter else log_probabilities(whole, None)
    return training.beta * (found - log_probabilities(model, reference))


def _row(pool: "TextPool", tokenizer: Any, pair: int, side: int) -> dict[str, Any]:
    """TRL's explicit-prompt form, ``side`` chosen: a conversation where a template is for it, else text."""
    prompt, chosen, rejected = (
        pool.prompts[pair],
        pool.responses[pair][side],
        pool.responses[pair][1 - side],
    )
    if all(isinstance(text, str) for text in (prompt, chosen, rejected)):
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if tokenizer.chat_template:
        sides = {"chosen": chosen, "rejected": rejected}
        row = {side: _messages(text, "assistant") for side, text in sides.items()}
        return {"prompt": _messages(prompt, "user"), **row}
    (head, one), (_, other) = render(tokenizer, prompt, chosen), render(tokenizer, prompt, rejected)
    return {"prompt": head, "chosen": one[len(head) :], "rejected": other[len(head) :]}


def _messages(text: "Text", role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)
