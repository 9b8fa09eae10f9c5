"""A checkpoint is whole or not there; damaged or foreign ones are named and kept."""

import json

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")

import torch
from training_world import contents

from activeduel.llm.checkpoints import Checkpoints


def problem():
    """Two weights, their optimizer, and a step of it."""
    torch.default_generator.manual_seed(0)
    weights = {"a": torch.nn.Parameter(torch.zeros(3, 2)), "b": torch.nn.Parameter(torch.ones(2))}
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1, fused=True)

    def step(number):
        loss = ((weights["a"] @ weights["b"] - number) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return weights, optimizer, step


def test_weights_optimizer_and_log_come_back(tmp_path):
    weights, optimizer, step = problem()
    kept = Checkpoints(tmp_path / "work", {"seed": 1})
    for number in range(6):
        step(number)
        kept.note({"step": number})
        if number == 2:
            kept.save(3, weights, optimizer)
    others, optimizer, step = problem()
    again = Checkpoints(tmp_path / "work", {"seed": 1})
    assert again.restore(others, optimizer) == 3
    assert [json.loads(line)["step"] for line in again.log.read_text().splitlines()] == [0, 1, 2]
    for number in range(3, 6):
        step(number)
    for name in weights:
        assert torch.equal(weights[name], others[name])


def test_a_weight_that_no_step_has_moved_has_no_moments(tmp_path):
    """Full training of a model with a part that the loss never reaches."""
    weights, optimizer, step = problem()
    idle = torch.nn.Parameter(torch.ones(4))
    optimizer.add_param_group({"params": [idle]})
    step(1)
    kept = Checkpoints(tmp_path / "work", {})
    kept.save(1, {**weights, "idle": idle}, optimizer)
    others, optimizer, step = problem()
    assert kept.restore({**others, "idle": idle}, optimizer) == 1
    assert len(optimizer.state) == 2 and idle not in optimizer.state


def test_only_the_newest_stays(tmp_path):
    weights, optimizer, step = problem()
    kept = Checkpoints(tmp_path / "work", {})
    for number in range(1, 4):
        step(number)
        kept.save(number, weights, optimizer)
    assert [p.name for p in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-00000003"]
    assert not [p for p in (tmp_path / "work").rglob("*") if p.suffix in {".pt", ".bin", ".pkl"}]


def test_what_another_training_left_is_refused(tmp_path):
    Checkpoints(tmp_path / "work", {"seed": 1})
    with pytest.raises(
        ValueError, match="work: found the checkpoints of a training with other data"
    ):
        Checkpoints(tmp_path / "work", {"seed": 2})


@pytest.mark.parametrize(
    "damage", ["weights.safetensors", "optimizer.safetensors", "state.json", "steps.jsonl"]
)
def test_a_damaged_checkpoint_is_named_and_kept(tmp_path, damage):
    weights, optimizer, step = problem()
    kept = Checkpoints(tmp_path / "work", {})
    step(1)
    kept.note({"step": 0})
    kept.save(1, weights, optimizer)
    newest = tmp_path / "work" / "checkpoint-00000001"
    path = newest / damage if (newest / damage).exists() else tmp_path / "work" / damage
    path.write_bytes(path.read_bytes()[:5])
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match="checkpoint-00000001: found a checkpoint that cannot be read"
    ):
        kept.restore(weights, optimizer)
    assert contents(tmp_path) == before
