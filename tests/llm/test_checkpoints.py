"""A checkpoint is whole or not there; damaged or foreign ones are named and kept."""

import json
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")

import torch
from training_world import contents

from activeduel.llm import checkpoints
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


def test_the_disk_holds_two_checkpoints_at_most(tmp_path, monkeypatch):
    """Also where a killed training left half of one, and where the weights came from an older one."""
    weights, optimizer, step = problem()
    kept = Checkpoints(tmp_path / "work", {})
    step(1)
    kept.save(1, weights, optimizer)
    (tmp_path / "work" / ".tmp-checkpoint-00000009").mkdir()
    kept = Checkpoints(tmp_path / "work", {})
    kept.restore(weights, optimizer)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or "checkpoint-00000001" not in maps.read_text()
    seen = []
    write = checkpoints._write

    def watched(*more):
        write(*more)
        seen.append(sorted(path.name for path in (tmp_path / "work").glob("*checkpoint*")))

    monkeypatch.setattr(checkpoints, "_write", watched)
    kept.save(2, weights, optimizer)
    assert seen == [[".tmp-checkpoint-00000002", "checkpoint-00000001"]] * 2


def test_large_ones_are_written_part_by_part(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PART", 30)
    weights, optimizer, step = problem()  # 24 and 8 bytes; each with two moments and a count of 4
    step(1)
    kept = Checkpoints(tmp_path / "work", {})
    kept.save(1, weights, optimizer)
    files = sorted(
        p.name for p in (tmp_path / "work" / "checkpoint-00000001").glob("*.safetensors")
    )
    assert [name[:-12] for name in files] == [
        "optimizer-00000", "optimizer-00001", "optimizer-00002", "weights-00000", "weights-00001"
    ]  # fmt: skip
    others, again, _ = problem()
    assert kept.restore(others, again) == 1
    for name in weights:
        assert torch.equal(weights[name], others[name])
        mine, theirs = optimizer.state[weights[name]], again.state[others[name]]
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_full_disk_is_named_and_the_older_checkpoint_kept(tmp_path):
    """A limit on the size of files stands for the disk."""
    resource = pytest.importorskip("resource", reason="needs a system with limits")
    weights, optimizer, step = problem()
    step(1)
    kept = Checkpoints(tmp_path / "work", {})
    kept.save(1, weights, optimizer)
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), contents(tmp_path)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
        with pytest.raises(
            OSError, match="checkpoint-00000002: could not be written .* needed a disk"
        ):
            kept.save(2, weights, optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {name: c for name, c in contents(tmp_path).items() if ".tmp-" not in name} == before
    Checkpoints(tmp_path / "work", {}).save(2, weights, optimizer)
    assert [p.name for p in (tmp_path / "work").glob("*check*")] == ["checkpoint-00000002"]


def test_what_another_training_left_is_refused(tmp_path):
    Checkpoints(tmp_path / "work", {"seed": 1})
    with pytest.raises(
        ValueError, match=r"work: found the checkpoints of another .*\(other seed\)"
    ):
        Checkpoints(tmp_path / "work", {"seed": 2})
    (tmp_path / "work" / "training.json").write_text("half a fi")
    with pytest.raises(ValueError, match="work: found the checkpoints of another training"):
        Checkpoints(tmp_path / "work", {"seed": 1})


@pytest.mark.parametrize(
    "damage",
    ["weights-00000.safetensors", "optimizer-00000.safetensors", "state.json", "steps.jsonl"],
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
