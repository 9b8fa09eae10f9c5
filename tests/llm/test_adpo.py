"""ADPO is DPO where everything is asked, asks where it is not sure, and survives any interruption."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from safetensors.torch import load_file, save_file
from training_world import (
    FEATURES,
    PICKLES,
    answers_from,
    contents,
    model_options,
    states,
    tiny_family,
    training_options,
)

from activeduel.llm.adpo import BASE, train_adpo
from activeduel.llm.adpo_loop import adpo_loss
from activeduel.llm.dpo import implicit_rewards
from activeduel.llm.steps import pair_order
from activeduel.llm.teachers.protocol import Waiting


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def train(world, tiny_model, tmp_path):
    """Train on the first ``pairs`` pairs; everything has a default."""

    def run(name="policy", *, pairs=12, ask=None, model=None, training=None, **more):
        return train_adpo(
            world.pool,
            range(pairs),
            ask or answers_from(world)[0],
            model or model_options(tiny_model),
            FEATURES,
            training or training_options(),
            tmp_path / name,
            seed=5,
            cache=tmp_path / "reference.sqlite",
            **more,
        )

    return run


def log_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def trl_losses_and_weights(world, model, training, pairs, adapter, scratch, length):
    """What TRL's DPOTrainer makes of the same pairs in the same order."""
    from datasets import Dataset
    from peft import get_peft_model_state_dict
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from activeduel.llm.dpo import _row
    from activeduel.llm.surroundings import kept_randomness, quiet
    from activeduel.llm.training import load_base, lora, tokenizer_of, with_adapter
    from activeduel.llm.trl_stage import trainer_settings

    tokenizer, truth = tokenizer_of(model), world.pool.truth()
    order = pair_order(pairs, 5, 0)
    rows = Dataset.from_list([_row(world.pool, tokenizer, i, int(truth[i] == 0)) for i in order])
    policy = with_adapter(load_base(model, tokenizer), adapter, trainable=True)
    fresh = model.use_peft and adapter is None
    with kept_randomness(5), quiet():
        trainer = DPOTrainer(
            policy,
            args=DPOConfig(
                **trainer_settings(model, training, scratch, 5, False),
                train_sampling_strategy="sequential",
                report_to="none",
                beta=training.beta,
                max_length=length,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=lora(model, policy) if fresh else None,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    if model.use_peft:
        return losses, get_peft_model_state_dict(trainer.model)
    return losses, trainer.model.state_dict()


def decided(world):
    """The pool with every tie decided, so that DPO can take all its pairs."""
    gold = np.where(world.pool.truth() == 0.5, 1.0, world.pool.truth())
    return world._replace(pool=replace(world.pool, gold=gold))


def compared(
    world, model, training, pairs, tmp_path, adapter=None, beta=None, steps=20, length=256
):
    """Largest differences to TRL in losses and in weights, over all steps and entries."""
    pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    world, features = decided(world), replace(FEATURES, max_length=length)
    folder = train_adpo(
        world.pool, range(pairs), answers_from(world)[0], model, features, training,
        tmp_path / "ours", seed=5, cache=tmp_path / "reference.sqlite",
        start=adapter, reference=adapter,
    )  # fmt: skip
    theirs = training if beta is None else replace(training, beta=beta)
    losses, weights = trl_losses_and_weights(
        world, model, theirs, pairs, adapter, tmp_path / "trl", length
    )
    file = "adapter_model.safetensors" if model.use_peft else "model.safetensors"
    ours = load_file(folder / file)
    tied = {"lm_head.weight"} - set(ours)  # saved once, as what it is tied to
    assert set(ours) == set(weights) - tied
    log = log_of(folder)
    assert len(log) == len(losses) == steps
    return (
        max(abs(line["loss"] - loss) for line, loss in zip(log, losses, strict=True)),
        max(float((ours[name] - weights[name]).abs().max()) for name in ours),
    )


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_with_everything_asked_losses_and_weights_are_those_of_trl(
    world, tiny_model, train, tmp_path, accumulation, continued
):
    training = training_options(
        gradient_accumulation_steps=accumulation,
        per_device_train_batch_size=2 if accumulation == 1 else 1,
    )
    start = train("start", pairs=6) if continued else None
    pairs = 40 if accumulation == 1 else 80
    apart = compared(world, model_options(tiny_model), training, pairs, tmp_path, start)
    assert max(apart) < 1e-5


def test_so_are_those_of_plain_text_and_of_a_whole_model(plain_world, tiny_model, tmp_path):
    model = model_options(tiny_model, use_peft=False)
    training = training_options(learning_rate=1e-4, lr_scheduler_type="cosine")
    assert max(compared(plain_world, model, training, 40, tmp_path)) < 1e-5


@pytest.mark.parametrize(
    ("kind", "whole", "more"),
    [
        ("mistral", False, {"sliding_window": 8}),
        ("gemma", True, {"head_dim": 8}),  # embedding and head are one matrix
        ("gemma2", False, {"head_dim": 8, "final_logit_softcapping": 5.0}),
        ("gpt2", False, {"attn_pdrop": 0.5}),  # learned positions; dropout is off in both
    ],
)
def test_so_are_those_of_other_families(world, tiny_model, tmp_path, kind, whole, more):
    folder = tiny_family(tmp_path / "model", tiny_model, kind, **more)
    model = model_options(folder, use_peft=not whole, lora_target_modules=("all-linear",))
    training = training_options(learning_rate=1e-4)
    assert max(compared(world, model, training, 16, tmp_path, steps=8)) < 1e-5


@pytest.mark.parametrize(
    ("pairs", "steps", "more"),
    [
        # a decaying, warmed-up cosine; answers cut at max_length
        (20, 10, {"weight_decay": 0.3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.2}),
        # 23 pairs are 12 micro-batches, the last of one pair: steps of 5, 5 and 2 micro-batches
        (23, 3, {"gradient_accumulation_steps": 5, "max_grad_norm": 0.0}),
        # fewer pairs than one micro-batch takes
        (3, 1, {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}),
        (23, 2, {"gradient_accumulation_steps": 3, "num_train_epochs": 0.5}),
    ],
)
def test_so_are_those_of_other_options(world, tiny_model, tmp_path, pairs, steps, more):
    model, training = model_options(tiny_model), training_options(**more)
    apart = compared(world, model, training, pairs, tmp_path, steps=steps, length=40)
    assert max(apart) < 1e-5


def test_negative_control_another_beta_is_seen(world, tiny_model, tmp_path):
    model = model_options(tiny_model)
    losses, weights = compared(world, model, training_options(), 40, tmp_path, beta=0.11)
    assert losses > 1e-5 and weights > 1e-5


def test_the_loss_of_a_batch_by_hand():
    def loss(margin):
        return math.log1p(math.exp(-margin))

    difference = torch.tensor([2.0, 2.0, 2.0, -1.0])
    found = adpo_loss(difference, [1.0, 0.0, 0.5, 1.0], [1.0, 1.0, 1.0, 0.0])
    # chosen a, chosen b, a tie (the mean of both), and one without a preference: divided by all four
    expected = (loss(2) + loss(-2) + (loss(2) + loss(-2)) / 2 + 0) / 4
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_it_asks_where_it_is_not_sure_and_believes_itself_elsewhere(train, world):
    ask, asked = answers_from(world)
    guessed = []
    training = training_options(confidence_threshold=0.01, num_train_epochs=3.0, learning_rate=5e-3)
    truth = world.pool.truth()
    folder = train(
        pairs=24, ask=ask, training=training, truth=truth,
        pseudo=lambda step, pairs, signs: guessed.append((step, pairs, signs)),
    )  # fmt: skip
    log = log_of(folder)
    assert all(abs(d) <= 0.01 for _, _, differences in asked for d in differences)
    for step, line in enumerate(log):
        now = [pair for s, pairs, _ in asked if s == step for pair in pairs]
        own = [pair for s, pairs, _ in guessed if s == step for pair in pairs]
        assert (line["asked"], line["pseudo"], line["pairs"]) == (len(now), len(own), 2)
        assert not set(now) & set(own)
    assert sum(line["pseudo"] for line in log) > 5
    signs = [(p, s) for _, pairs, signs in guessed for p, s in zip(pairs, signs, strict=True)]
    known = [(s > 0) == (truth[p] == 1) for p, s in signs if truth[p] in (0.0, 1.0)]
    facts = json.loads((folder / "adpo.json").read_text())
    assert (facts["pseudo_known"], facts["pseudo_right"]) == (len(known), sum(known))


def test_the_decision_uses_the_current_weights_and_the_reference(
    train, world, tiny_model, tmp_path
):
    policy = train("policy", pairs=24)
    ask, asked = answers_from(world)
    still = training_options(learning_rate=0.0)
    train("again", ask=ask, training=still, start=policy, reference=BASE)
    rewards = implicit_rewards(
        world.pool, range(12), model_options(tiny_model), FEATURES, still, policy,
        cache=tmp_path / "reference.sqlite",
    )  # fmt: skip
    assert np.abs(rewards).max() > 1e-3
    for _, pairs, differences in asked:
        np.testing.assert_allclose(differences, rewards[pairs, 0] - rewards[pairs, 1], atol=1e-5)


@pytest.mark.parametrize(("accumulation", "unmoved"), [(4, True), (1, False)])
def test_a_whole_effective_batch_is_decided_by_the_weights_before_its_step(
    train, world, accumulation, unmoved
):
    """A fresh adapter is the reference, so all differences of the first step are 0."""
    ask, asked = answers_from(world)
    options = training_options(gradient_accumulation_steps=accumulation, learning_rate=1e-2)
    train(pairs=8, ask=ask, training=options)
    assert len(asked) == 4
    last = max(abs(d) for d in asked[-1][2])
    assert (last < 1e-5) == unmoved


@pytest.mark.parametrize("answer", ["nothing is asked", "nothing can be read"])
def test_without_a_preference_nothing_moves(train, tiny_model, answer):
    asks = answer == "nothing can be read"
    options = training_options(
        confidence_threshold=math.inf if asks else -1.0, pseudo_labels=False, learning_rate=0.1
    )
    folder = train(ask=lambda step, pairs, differences: [None] * len(pairs), training=options)
    weights = load_file(folder / "adapter_model.safetensors")
    assert all(not w.any() for name, w in weights.items() if "lora_B" in name)
    log = log_of(folder)
    assert {line["loss"] for line in log} == {0.0}
    assert sum(line["unanswered"] for line in log) == (12 if asks else 0)


def test_negative_control_with_pseudo_labels_the_weights_move(train):
    options = training_options(confidence_threshold=-1.0, learning_rate=0.1)
    folder = train(ask=None, training=options)
    weights = load_file(folder / "adapter_model.safetensors")
    assert any(w.any() for name, w in weights.items() if "lora_B" in name)


def test_an_interrupted_training_goes_on_where_it_was(train, world, tiny_model):
    model = model_options(tiny_model, lora_dropout=0.3)  # the draws of dropout are continued too
    whole = train("whole", model=model)
    ask, asked = answers_from(world)

    def failing(step, pairs, differences):
        if step == 4:
            raise OSError("the teacher hung up")
        return ask(step, pairs, differences)

    with pytest.raises(OSError, match="hung up"):
        train("broken", model=model, ask=failing)
    del asked[:]
    broken = train("broken", model=model, ask=ask)
    assert [step for step, _, _ in asked] == [4, 5]
    assert contents(broken) == contents(whole)


def test_negative_control_another_dropout_seed_is_seen(train, tiny_model, monkeypatch):
    model = model_options(tiny_model, lora_dropout=0.3)
    whole = train("whole", model=model)
    monkeypatch.setattr("activeduel.llm.adpo_loop.draw", lambda seed, *purpose: 1)
    assert contents(train("other", model=model)) != contents(whole)


def test_people_are_asked_all_questions_of_a_step_together(train):
    asked = []

    def ask(step, pairs, differences):
        asked.append((step, pairs))
        raise Waiting((Path("questions.jsonl"), len(asked)))

    with pytest.raises(Waiting):
        train(ask=ask, training=training_options(gradient_accumulation_steps=3))
    assert [step for step, _ in asked] == [0, 0, 0]
    assert len({pair for _, pairs in asked for pair in pairs}) == 6


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from training_world import FEATURES, answers_from, model_options, training_options
from activeduel.llm import adpo, checkpoints
from activeduel.llm.data import read_pool
from activeduel.llm.text_world import data_options

world, model, out = map(Path, sys.argv[1:4])
class World: pool = read_pool(data_options(world))

def die(): os.kill(os.getpid(), signal.SIGKILL)

def train(name, step=None, point=None):
    ask, _ = answers_from(World)
    count = [0]
    def killing(now, pairs, differences):
        if point == "a question" and now == step: die()
        return ask(now, pairs, differences)
    publish = checkpoints.publish_folder
    def published(temporary, final):
        count[0] += 1
        mine = count[0] == step
        if mine and point == "before a checkpoint": die()
        publish(temporary, final)
        if mine and point == "after a checkpoint": die()
    checkpoints.publish_folder = published
    def last(temporary, final):
        if point == "before the end": die()
        publish(temporary, final)
        if point == "after the end": die()
    adpo.publish_folder = last
    adpo.train_adpo(World.pool, range(16), killing, model_options(model, lora_dropout=0.2), FEATURES,
                    training_options(), out / name, seed=5, cache=out / f"{name}.sqlite",
                    truth=World.pool.truth(), held_out=range(60, 80), eval_steps=2)

for number, (step, point) in enumerate(json.loads(sys.argv[4])):
    name = f"killed-{number}"
    child = os.fork()
    if child == 0:
        train(name, step, point)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    train(name)
    print(json.dumps([point, step, killed]))
train("whole")
"""


def test_killed_at_any_moment_it_ends_with_the_same_bits(world, tiny_model, tmp_path):
    """One process, a child of it a case: killed with -9 and run again, against an unbroken run."""
    random_step = int(np.random.default_rng(11).integers(1, 8))
    cases = [
        (0, "a question"),
        (random_step, "a question"),
        (1, "before a checkpoint"),
        (2, "before a checkpoint"),
        (2, "after a checkpoint"),
        (None, "before the end"),
        (None, "after the end"),
    ]
    arguments = [str(world.folder), str(tiny_model), str(tmp_path), json.dumps(cases)]
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{KILLED}", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [p, s, True] for s, p in cases
    ]
    whole = contents(tmp_path / "whole")
    for number in range(len(cases)):
        assert contents(tmp_path / f"killed-{number}") == whole
    left = {path.name for path in tmp_path.iterdir()}
    assert not {name for name in left if name.endswith(".training")}


def test_it_leaves_nothing_behind_and_nothing_changed(train, capfd):
    before = states()
    folder = train()
    np.testing.assert_equal(states(), before)
    assert set(contents(folder)) == {
        "adapter_config.json", "adapter_model.safetensors", "adpo.json", "steps.jsonl"
    }  # fmt: skip
    assert not {path.suffix for path in folder.parent.rglob("*")} & PICKLES
    assert capfd.readouterr() == ("", "")


def test_its_own_folder_is_returned_and_anothers_refused(train):
    folder = train()
    before = contents(folder)
    assert train(ask=lambda *_: pytest.fail("asked again")) == folder
    with pytest.raises(ValueError, match=r"policy: found the result of another .*other examples"):
        train(ask=lambda *_: pytest.fail("asked"), pairs=4)
    assert contents(folder) == before


def test_checkpoints_go_on_with_the_same_weights_wherever_they_lie(train, tiny_model, tmp_path):
    """The model is known by its content: changed in place it is another, moved it is the same."""

    def stop(step, pairs, differences):
        if step == 4:
            raise OSError("stop")
        return [1.0] * len(pairs)

    def go_on(step, pairs, differences):
        assert step >= 4
        return [1.0] * len(pairs)

    first = shutil.copytree(tiny_model, tmp_path / "first")
    with pytest.raises(OSError, match="stop"):
        train(ask=stop, model=model_options(first))
    before = contents(tmp_path / "policy.training")
    weights = load_file(first / "model.safetensors")
    changed = {name: w * 1.01 for name, w in weights.items()}
    save_file(changed, first / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"checkpoints of another training \(other weights\)"):
        train(ask=go_on, model=model_options(first))
    assert contents(tmp_path / "policy.training") == before
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    assert train(ask=go_on, model=model_options(moved)).exists()


def test_checkpoints_of_other_options_are_refused_and_kept(train, tmp_path):
    def stop(step, pairs, differences):
        if step == 4:
            raise OSError("stop")
        return [1.0] * len(pairs)

    with pytest.raises(OSError, match="stop"):
        train(ask=stop)
    before = contents(tmp_path / "policy.training")
    with pytest.raises(
        ValueError, match=r"policy\.training: found the checkpoints of .*other beta"
    ):
        train(training=training_options(beta=0.2))
    assert contents(tmp_path / "policy.training") == before


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"start": Path("somewhere")}, "reference: found none, but training continues"),
        (
            {"start": Path("x"), "reference": BASE, "whole": True},
            "start: found an adapter with use",
        ),
        ({"length": 3}, "pairs: found none with a prompt shorter than 3 tokens among 12"),
        ({"dtype": "float16"}, "dtype: found float16"),
    ],
)
def test_what_does_not_fit_is_refused(world, tiny_model, tmp_path, more, text):
    more = dict(more)
    model = model_options(tiny_model, use_peft=not more.pop("whole", False))
    model = model_options(tiny_model, use_peft=model.use_peft, dtype=more.pop("dtype", "float32"))
    features = replace(FEATURES, max_length=more.pop("length", 256))
    with pytest.raises(ValueError, match=text):
        train_adpo(
            world.pool, range(12), answers_from(world)[0], model, features, training_options(),
            tmp_path / "policy", seed=1, cache=tmp_path / "c.sqlite", **more,
        )  # fmt: skip


def test_a_difference_that_is_not_a_number_stops_before_anybody_is_asked(train, monkeypatch):
    monkeypatch.setattr(
        "activeduel.llm.adpo_loop.Loop.difference",
        lambda _, batch: torch.full((len(batch),), math.nan),
    )
    with pytest.raises(
        ValueError, match="reward difference: found one that is not finite in step 0"
    ):
        train(ask=lambda *_: pytest.fail("asked, and paid"))


def test_a_gradient_that_is_not_a_number_moves_nothing(train, tmp_path, monkeypatch):
    """The weights of the step before are kept: the last step's would be published unseen."""
    loop = "activeduel.llm.adpo_loop.clip_grad_norm_"

    def broken(weights, largest):
        return torch.tensor(math.inf)

    monkeypatch.setattr(loop, broken)
    with pytest.raises(ValueError, match="gradient: found one that is not finite in step 0"):
        train(pairs=2)
    assert not (tmp_path / "policy").exists()


def test_activations_computed_twice_give_the_same_weights(train):
    once = train("once")
    twice = train("twice", training=training_options(gradient_checkpointing=True))
    ours, theirs = (load_file(f / "adapter_model.safetensors") for f in (once, twice))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6)


def test_on_the_way_held_out_pairs_are_looked_at(train, world, tiny_model, tmp_path):
    """Before the first step, every ``eval_steps`` steps and at the end, by the weights of that moment."""
    truth, held_out = world.pool.truth(), range(60, 100)
    known = [pair for pair in held_out if truth[pair] in (0.0, 1.0)]
    training = training_options(confidence_threshold=0.01, learning_rate=5e-3)
    folder = train(pairs=22, training=training, truth=truth, held_out=held_out, eval_steps=4)
    curve = json.loads((folder / "adpo.json").read_text())["curve"]
    log = log_of(folder)
    assert [point["step"] for point in curve] == [0, 4, 8, 11]
    assert [line for line in log if "loss" not in line] == curve
    for point in curve:
        steps = [line for line in log if "loss" in line and line["step"] < point["step"]]
        assert point["pairs_seen"] == sum(line["pairs"] for line in steps)
        assert point["asked"] == sum(line["asked"] for line in steps)
        assert point["pseudo"] == sum(line["pseudo"] for line in steps)
        assert (point["known"], point["too_long"]) == (len(known), 0)
    assert (curve[0]["accuracy"], curve[0]["margin"]) == (0.5, 0.0)  # it is its own reference
    rewards = implicit_rewards(
        world.pool, known, model_options(tiny_model), FEATURES, training, folder,
        cache=tmp_path / "reference.sqlite",
    )  # fmt: skip
    towards = (rewards[:, 0] - rewards[:, 1]) * (2 * truth[known] - 1)
    assert curve[-1]["margin"] == pytest.approx(towards.mean(), abs=1e-6)
    assert curve[-1]["accuracy"] == (towards > 0).mean()
    assert len({point["margin"] for point in curve}) == 4


def test_looking_changes_nothing_that_is_trained(train, world, tiny_model):
    model = model_options(tiny_model, lora_dropout=0.3)
    blind = train("blind", model=model)
    seeing = train(
        "seeing", model=model, truth=world.pool.truth(), held_out=range(60, 80), eval_steps=1
    )
    assert load_bytes(seeing) == load_bytes(blind)


def load_bytes(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def test_where_nothing_held_out_is_decided_there_is_no_accuracy(train, world):
    ties = np.full(len(world.pool.pair_ids), 0.5)
    folder = train(pairs=4, truth=ties, held_out=[70, 71])
    curve = json.loads((folder / "adpo.json").read_text())["curve"]
    assert [(p["step"], p["accuracy"], p["known"]) for p in curve] == [(0, None, 0), (2, None, 0)]
    assert json.loads((train("blind", pairs=4) / "adpo.json").read_text())["curve"] == []


def test_held_out_pairs_without_truth_are_refused(train):
    with pytest.raises(ValueError, match="held_out: found 2 pairs, but no truth; needed"):
        train(held_out=[70, 71])
