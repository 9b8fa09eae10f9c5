"""DPO on labels, by TRL's DPOTrainer as it is: the baseline that has every pair labelled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from ..theory.checks import Floats
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .reference import Progress, reference_log_probabilities
from .rendering import render
from .training import load_base, lora, max_length_of, tokenizer_of, with_adapter
from .trl_stage import stage, train, trainer_settings

if TYPE_CHECKING:
    from .data import Text, TextPool


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
    report_to: str = "none",
    progress: bool = False,
) -> Path:
    """Train DPO on ``labels`` (pair, preference for a) and publish it as ``folder``.

    The policy starts at its reference: the model with a fresh adapter, or the adapter ``reference``,
    which TRL copies and freezes. Ties are dropped, and by TRL the pairs whose prompt alone fills
    ``features.max_length``; both are counted in dpo.json beside the adapter. A folder that is there
    is returned untouched. The same labels, options and seed give the same weights on one CPU thread.
    ``ValueError`` where no label is decided, or ``reference`` is given without ``use_peft``.
    """
    if folder.exists():
        return folder
    if reference is not None and not model.use_peft:
        raise ValueError(
            "reference: found an adapter with use_peft false; needed LoRA. Set use_peft, or name the "
            "whole model in model_name_or_path."
        )
    decided = [label for label in labels if label[1] != 0.5]
    if not decided:
        raise ValueError(f"labels: found {len(labels)}, none decided; needed one. Ask for more.")
    tokenizer = tokenizer_of(model)
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
            "seed": seed,
        }
        train(trainer, tokenizer, temporary, "dpo.json", facts)
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


def _row(pool: "TextPool", tokenizer: Any, pair: int, preference: float) -> dict[str, Any]:
    """TRL's explicit-prompt form: a conversation where there is a template for it, else text."""
    prompt, (a, b) = pool.prompts[pair], pool.responses[pair]
    chosen, rejected = (a, b) if preference > 0.5 else (b, a)
    if isinstance(prompt, str) and isinstance(a, str) and isinstance(b, str):
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if tokenizer.chat_template:
        sides = {"chosen": chosen, "rejected": rejected}
        row = {side: _messages(text, "assistant") for side, text in sides.items()}
        return {"prompt": _messages(prompt, "user"), **row}
    (head, one), (_, other) = render(tokenizer, prompt, chosen), render(tokenizer, prompt, rejected)
    return {"prompt": head, "chosen": one[len(head) :], "rejected": other[len(head) :]}


def _messages(text: "Text", role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)
