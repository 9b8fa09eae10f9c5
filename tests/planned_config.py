"""A configuration whose needs are estimated."""

from activeduel.llm.config import (
    Config,
    DataOptions,
    FeatureOptions,
    ModelOptions,
    SelectionOptions,
    TeacherOptions,
    TrainingOptions,
)


def run(training=None, **model):
    """A configuration, of full fine-tuning unless said otherwise."""
    return Config(
        DataOptions("pool.jsonl"),
        ModelOptions("somewhere", **{"use_peft": False, **model}),
        (TeacherOptions("somebody", "simulated"),),
        FeatureOptions(tokens_per_batch=512),
        SelectionOptions(replicates=1, baselines=()),
        training or TrainingOptions(),
    )
