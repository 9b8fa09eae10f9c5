"""Which pairs a training's steps take, and how large the steps are."""

from collections import Counter

import pytest

from activeduel.llm.config import TrainingOptions
from activeduel.llm.steps import micro_batches, pair_order, rate, step_count


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.34])
def test_rates_are_those_of_transformers(kind, warm_up):
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")
    optimization = pytest.importorskip("transformers.optimization", reason="needs transformers")
    import math

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = optimization.get_scheduler(
        kind, optimizer, num_warmup_steps=math.ceil(13 * warm_up), num_training_steps=13
    )
    for step in range(13):
        assert rate(step, 13, warm_up, kind) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_the_order_is_a_function_of_seed_and_epoch():
    assert pair_order(50, 1, 0) == pair_order(50, 1, 0)
    assert len({tuple(pair_order(50, *key)) for key in [(1, 0), (1, 1), (2, 0)]}) == 3


def test_an_epoch_takes_every_pair_once_and_the_last_step_is_smaller():
    options = TrainingOptions(
        per_device_train_batch_size=3, gradient_accumulation_steps=2, num_train_epochs=1.5
    )
    # 14 pairs: 5 micro-batches an epoch, the last of 2 pairs, so 3 steps; 1.5 epochs are 5 steps
    assert step_count(14, options) == 5
    steps = [micro_batches(step, 14, options, seed=0) for step in range(5)]
    assert [[len(batch) for batch in step] for step in steps[:3]] == [[3, 3], [3, 3], [2]]
    taken = Counter(pair for step in steps[:3] for batch in step for pair in batch)
    assert taken == Counter(range(14))
    assert steps[3] != steps[0]
