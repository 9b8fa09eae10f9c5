"""What a run will do, counted from its configuration: arms, labels, trainings."""

from dataclasses import replace

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from planned_config import run
from sized_models import MISTRAL_7B, small

from activeduel.llm.config import SelectionOptions, TeacherOptions, TrainingOptions
from activeduel.llm.footprint import estimate
from activeduel.llm.pipeline import Run
from activeduel.llm.planned_run import PlannedRun


def planned(config, pairs=1000):
    return PlannedRun(config, None, "", pairs, [10.0], "cpu")


@pytest.mark.parametrize(
    ("baselines", "arms"), [((), 3), (("random",), 6), (("random", "random"), 6), (("dual",), 3)]
)
def test_an_arm_is_counted_once_however_often_it_is_named(baselines, arms):
    """As the run walks them."""
    chosen = SelectionOptions(selector="dual", baselines=baselines, replicates=3)
    config = replace(run(), selection=chosen)
    assert planned(config).arms == arms == len(Run(config, *[None] * 5).arms)


def test_labels_of_all_arms():
    """ADPO asks at most its budget, and each pair once; its DPO baseline every training pair."""
    chosen = SelectionOptions(baselines=("random",), replicates=3, budget=600)
    config = replace(run(), selection=chosen)
    assert planned(config).questions == 6 * 600
    for dpo, pairs, asked in ((False, 1000, 600), (False, 400, 300), (True, 1000, 600 + 750)):
        training = TrainingOptions(method="adpo", dpo_baseline=dpo)
        assert planned(replace(config, training=training), pairs).questions == 3 * asked
    dear = replace(config, teachers=(TeacherOptions("expert", "simulated", cost=4.0),))
    assert planned(dear).questions == 6 * 150


def test_repeated_baselines_cost_nothing_more():
    training = TrainingOptions(method="reward", train_every=2)
    once, twice = (
        replace(run(training), selection=SelectionOptions(baselines=baselines))
        for baselines in (("random",), ("random", "dual", "random"))
    )
    said = [estimate(c, 100, [10], rate=1e9, model_config=small()[1]) for c in (once, twice)]
    assert said[0] == said[1]


def test_lora_on_modules_that_nobody_named_is_unknown():
    """peft makes no choice for them: its memory is not known, and is not 0."""
    from transformers import Olmo2Config

    training = TrainingOptions(method="reward")
    config = Olmo2Config(num_hidden_layers=1, hidden_size=64, intermediate_size=64, vocab_size=99,
                         num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    found = estimate(run(training, use_peft=True), 100, [10], rate=1e9, model_config=config)
    assert not found.known
    assert any("name lora_target_modules" in line.how for line in found.lines if line.unknown)
    known = run(training, use_peft=True, lora_target_modules=("all-linear",))
    assert estimate(known, 100, [10], rate=1e9, model_config=config).known
    assert estimate(
        run(training, use_peft=True), 100, [10], rate=1e9, model_config=MISTRAL_7B
    ).known


def test_held_out_pairs_are_looked_at_with_everything_else_in_memory():
    """Their batch is of tokens_per_batch tokens: more than a step's where the steps are small."""
    training = TrainingOptions(method="adpo", per_device_train_batch_size=1)
    more = []
    for tokens in (16, 4096):
        config = run(training)
        config = replace(config, features=replace(config.features, tokens_per_batch=tokens))
        found = estimate(config, 100, [10], device="cpu", rate=1e9, model_config=small()[1])
        held = {x.what: x.bytes for x in found.lines if x.stage in ("reference", "adpo")}
        more.append((held["held-out pairs"], held["one batch"]))
    assert more[0][0] == 0 < more[1][0] < more[1][1]
