"""What a run is: one frozen record; options have TRL's names where it has one.

Users write a flat list of options (``budget: 600``, see ``read_config``); here they stand in groups,
so that each room of this floor takes only what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class DataOptions:
    """Which pairs there are."""

    dataset_name: (
        str  # a file or folder (.jsonl, .jsonl.gz, .parquet, .csv), else a name on the hub
    )
    dataset_config: str | None = None
    dataset_split: str = "train"
    judgements: str | None = None  # recorded answers in a file of their own
    context_column: str | None = None  # column that names each pair's context type
    gold_column: str | None = None  # column with the true preference, never shown to a selector
    reward_column: str | None = None  # hidden rewards, in the columns NAME_a and NAME_b
    test_fraction: float = 0.25  # of the prompts, held out with all their pairs
    max_pairs: int | None = None


@dataclass(frozen=True)
class ModelOptions:
    """Which language model, and how it is loaded and adapted (TRL's names)."""

    model_name_or_path: str
    model_revision: str = "main"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    use_peft: bool = True
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_target_modules: tuple[str, ...] | None = None  # None: peft's choice for the architecture
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    use_bnb_nested_quant: bool = False


@dataclass(frozen=True)
class FeatureOptions:
    """What of the model is phi(prompt, response)."""

    max_length: int = 1024  # tokens; what is longer loses its beginning
    pooling: Literal["last", "mean"] = "last"
    layer: int = -1  # hidden state after this layer; -1: the last, after the final norm
    tokens_per_batch: int = 8192  # speed and memory only: the picks do not depend on it


@dataclass(frozen=True)
class SelectionOptions:
    """What is bought, and beside what it is judged."""

    selector: str = "dual"
    baselines: tuple[str, ...] = ("random",)  # adpo: random is DPO on labels for as much money
    budget: float = 600.0  # money; labels where every price is 1
    label_batch: float = 50.0  # money spent between refits; at most the budget
    warm_up: float | None = None  # money spent at random first; None: a sixth of the budget
    estimate_rationality: bool = False  # else each teacher's stated rationality is believed
    shared_pairs: int = 0  # warm-up pairs that every teacher answers, to compare teachers
    max_dimensions: int = 64  # the head has at most this many, and at most labels / 10
    replicates: int = 5  # seeds, each with its own split, for the intervals
    seed: int = 0


@dataclass(frozen=True)
class TrainingOptions:
    """What is trained on the labels."""

    method: Literal["head", "reward", "adpo"] = "head"
    train_every: int = 0  # method reward: rounds between LoRA trainings; 0: only at the end
    learning_rate: float = 1e-4
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = 0.1
    num_train_epochs: float = 1.0
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 4
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    max_prompt_length: int | None = None  # adpo: longer prompts lose their beginning
    beta: float = 0.1  # KL strength of DPO and ADPO
    confidence_threshold: float = 1.5  # adpo asks where |reward difference| is at most this
    pseudo_labels: bool = True  # adpo trains on its own sign where it does not ask
    adpo_teacher: str = "best"  # "best" (largest rationality in the context), "random", or a name
    dpo_baseline: bool = False  # also DPO with every training pair labelled
    save_steps: int = 20  # adpo: optimizer steps between checkpoints
    eval_steps: float = 0.1  # adpo: steps between looks at held-out pairs; below 1: their share
    max_eval_pairs: int = 500  # adpo: held-out pairs of such a look, and of no other figure


@dataclass(frozen=True)
class OutputOptions:
    """Where things go."""

    output_dir: str = "results/llm"
    run_name: str = "run"
    report_to: Literal["none", "trackio", "wandb", "tensorboard"] = "none"
    push_to_hub: bool = False
    hub_model_id: str | None = None


@dataclass(frozen=True)
class TeacherOptions:
    """One teacher: how it answers is its ``kind``; every other key is checked by that kind."""

    name: str
    kind: Literal["recorded", "simulated", "classifier", "generative", "people"]
    cost: float = 1.0
    rationality: float | Mapping[str, float] = 1.0  # per context type; negative: below chance
    settings: Mapping[str, Any] = field(default_factory=dict)  # the keys of its kind

    def rationality_in(self, context_types: Sequence[str]) -> list[float]:
        """The stated rationality in each context type; ValueError where one is missing."""
        if not isinstance(self.rationality, Mapping):
            return [float(self.rationality)] * len(context_types)
        if missing := [c for c in context_types if c not in self.rationality]:
            raise ValueError(
                f"teachers: {self.name!r} states no rationality for the context types {missing}; "
                f"found {sorted(self.rationality)}. Add them."
            )
        return [float(self.rationality[c]) for c in context_types]


@dataclass(frozen=True)
class Config:
    """Everything that ``activeduel llm`` needs to know."""

    data: DataOptions
    model: ModelOptions
    teachers: tuple[TeacherOptions, ...]
    features: FeatureOptions = FeatureOptions()
    selection: SelectionOptions = SelectionOptions()
    training: TrainingOptions = TrainingOptions()
    output: OutputOptions = OutputOptions()
