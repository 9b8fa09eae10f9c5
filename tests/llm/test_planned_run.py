"""What a run will do, counted from its configuration: arms, labels, trainings."""

import math
from dataclasses import replace

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from planned_config import run
from sized_models import MISTRAL_7B, small, with_own_code

from activeduel.llm.config import (
    ModelOptions,
    SelectionOptions,
    TeacherOptions,
    TrainingOptions,
)
from activeduel.llm.footprint import estimate
from activeduel.llm.model_size import count
from activeduel.llm.pipeline import Run
from activeduel.llm.planned_run import PlannedRun, model_size
from activeduel.llm.steps import step_count


def planned(config, pairs=1000):
    return PlannedRun(config, None, "", pairs, [10.0], "cpu")


@pytest.mark.parametrize(
    ("baselines", "arms"), [((), 3), (("random",), 6), (("random", "random"), 6), (("dual",), 3)]
)
def test_an_arm_is_counted_once_however_often_it_is_named(baselines, arms):
    """As the run walks them."""
    chosen = SelectionOptions(selector="dual", baselines=baselines, replicates=3)
    config = replace(run(), selection=chosen)
    assert planned(config).arms == arms == len(Run(config, *[None] * 6).arms)


def test_labels_of_all_arms():
    """ADPO asks at most its budget, and each pair once; DPO for as much money, and of every pair."""
    chosen = SelectionOptions(baselines=("random",), replicates=3, budget=600)
    config = replace(run(), selection=chosen)
    assert planned(config).questions == 6 * 600
    alone = replace(config, selection=replace(chosen, baselines=()))
    twice = replace(config, selection=replace(chosen, baselines=("random", "random")))
    for dpo, pairs, asked, every in (
        (False, 1000, 600, 0),
        (False, 400, 300, 0),
        (True, 1000, 600, 750),
    ):
        training = TrainingOptions(method="adpo", dpo_baseline=dpo)
        for arms, one in ((1, alone), (2, config), (2, twice)):
            said = planned(replace(one, training=training), pairs)
            assert said.questions == 3 * (arms * asked + every)
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


def stage(config, name, pairs=1000):
    found = estimate(config, pairs, [10], device="cpu", rate=1e9, model_config=small()[1])
    return {line.what: line for line in found.lines if line.stage == name}


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("random", [False, True])
def test_dpo_trainings_beside_adpo(random, every):
    """On random pairs for as much money (here 100 labels), and on all 750 training pairs."""
    training = TrainingOptions(method="adpo", dpo_baseline=every)
    chosen = SelectionOptions(budget=100, replicates=2, baselines=("random",) * random)
    config = replace(run(training), selection=chosen)
    trainings, texts = 2 * (random + every), 4 * (100 * random + 750 * every)
    found = stage(config, "dpo")
    assert bool(found) == bool(trainings)
    if found:
        assert f"over {texts:,} texts, {trainings} trainings" in found["steps"].how
        alone = stage(replace(config, training=replace(training, dpo_baseline=True)), "dpo")
        assert 0 < found["steps"].seconds <= alone["steps"].seconds


@pytest.mark.parametrize("eval_steps", [0, 0.1, 0.3, 1, 5, 7, 1000])
def test_looks_at_held_out_pairs_are_those_of_the_loop(eval_steps):
    """After every eval_steps and the last; the look before the first step reads nothing."""
    training = TrainingOptions(method="adpo", eval_steps=eval_steps)
    steps = step_count(750, training)
    between = int(eval_steps) if eval_steps >= 1 else math.ceil(eval_steps * steps)
    looks = [s for s in range(1, steps + 1) if s == steps or (between and s % between == 0)]
    assert steps == 47 and planned(run(training)).passes_over_held_out == len(looks)


def test_time_to_look_at_held_out_pairs():
    """One forward pass over each text: as the reference takes over all 2 x 1000 of them."""
    training = TrainingOptions(method="adpo", eval_steps=0.25, max_eval_pairs=100)
    one = stage(run(training), "reference")["log-probabilities"].seconds / 1000
    for most, pairs in ((100, 100), (500, 250)):  # a quarter is held out
        config = run(replace(training, max_eval_pairs=most))
        assert stage(config, "adpo")["held-out pairs"].seconds == pytest.approx(4 * pairs * one)
    assert "held-out pairs" not in stage(run(replace(training, max_eval_pairs=0)), "adpo")


def test_a_model_with_its_own_code_is_counted(tmp_path):
    options = ModelOptions(str(with_own_code(tmp_path)), trust_remote_code=True)
    size, reason = model_size(options)
    assert not reason and size.parameters == count(small()[1]).parameters
