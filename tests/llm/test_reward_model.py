"""A saved reward model gives the rewards that the run judged by, and says what it is not."""

import json
import shutil

import numpy as np
import pytest
import tiny_runs

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from activeduel.llm import pipeline
from activeduel.llm.arm import BASE, states_folder
from activeduel.llm.read_config import build
from activeduel.llm.reward_model import load_reward_model, save_reward_model


@pytest.fixture(scope="module", params=["head", "reward"])
def made(request, world, tiny_model, tmp_path_factory):
    """A finished run of either method, and the held-out rewards by its own last state."""
    out = tmp_path_factory.mktemp(request.param)
    changes = {"method": request.param, "baselines": [], "lora_target_modules": ["q_proj"]}
    flat = tiny_runs.options(world.folder, out, tiny_model, **changes)
    folder = pipeline.run(build(flat))
    with pipeline.open_run(build(flat)) as opened:
        arm = opened.arm(opened.arms[0])
        state = arm.state(BASE, pipeline.compute_features(opened))
        for name, number, _, facts in arm.ledger.records("dual/0", "trained"):
            adapter = states_folder(folder, arm.name) / facts["state"]
            phi = pipeline.compute_features(opened, adapter, name, number)
            state = arm.state(facts["state"], phi)
        fit = arm.fit(state, arm.labels(arm.ledger.rows("dual/0")))
        rewards = state.projection.rewards(state.phi, fit.theta)
        again = save_reward_model(out / "again", opened.config, state, fit, None)
    assert (state.id == BASE) == (request.param == "head")
    return folder / "reward", rewards, out / "cache", again


def test_it_gives_the_rewards_of_the_run(made, world):
    folder, rewards, cache, _ = made
    model = load_reward_model(folder)
    np.testing.assert_array_equal(model.rewards(world.pool, cache), rewards)
    assert (model.adapter is None) == (rewards is None or not (folder / "adapter").is_dir())


def test_without_its_adapter_it_gives_others(made, world):
    """Negative control: the same head on the base model's features."""
    folder, rewards, cache, again = made
    same = np.array_equal(load_reward_model(again).rewards(world.pool, cache), rewards)
    assert same == (not (folder / "adapter").is_dir())


def test_single_responses_are_scored_as_in_their_pairs(made, world, tmp_path):
    folder, rewards, _, _ = made
    prompts = [world.pool.prompts[i] for i in (3, 4, 5)]
    responses = [world.pool.responses[i][1] for i in (3, 4, 5)]
    scores = load_reward_model(folder).score(prompts, responses, tmp_path)
    np.testing.assert_allclose(scores, rewards[3:6, 1], atol=1e-4)


def test_it_goes_where_it_is_copied(made, world, tmp_path):
    folder, rewards, cache, _ = made
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    np.testing.assert_array_equal(load_reward_model(copy).rewards(world.pool, cache), rewards)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (lambda f: shutil.rmtree(f), "reward.json"),
        (lambda f: (f / "head.safetensors").unlink(), "head.safetensors"),
        (lambda f: (f / "head.safetensors").write_bytes(b"no tensors"), "no reward model"),
        (lambda f: (f / "reward.json").write_text("{"), "no reward model"),
        (lambda f: (f / "reward.json").write_text("{}"), "format"),
        (lambda f: write(f, format="activeduel-reward/0"), "activeduel-reward/0"),
        (lambda f: write(f, model=3), "no reward model"),
    ],
)
def test_what_is_no_reward_model_is_named(made, tmp_path, broken, found):
    folder = shutil.copytree(made[0], tmp_path / "copy")
    broken(folder)
    with pytest.raises(ValueError, match=rf"copy: found no reward model.*{found}|copy.*{found}"):
        load_reward_model(folder)


def write(folder, **changes):
    facts = json.loads((folder / "reward.json").read_text())
    (folder / "reward.json").write_text(json.dumps({**facts, **changes}))
