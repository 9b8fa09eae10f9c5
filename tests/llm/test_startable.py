"""What is refused before anything is bought: several processes, several GPUs, LoRA on nothing."""

import pytest
import tiny_runs

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

import torch
import transformers
from sized_models import with_own_code

from activeduel.llm.models import require_startable

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2}  # fmt: skip


HEAD, REWARD, ADPO = {"method": "head"}, {"method": "reward"}, {"method": "adpo", "baselines": []}
WITH_DPO, WITH_RANDOM = {**ADPO, "dpo_baseline": True}, {**ADPO, "baselines": ["random"]}


def config(path, method, **more):
    return tiny_runs.config(path, path, path, **{**method, **more})


@pytest.mark.parametrize("training", [HEAD, REWARD])
def test_several_processes_are_refused(tiny_model, training):
    """accelerate launch and torchrun say so in the environment; each process would buy labels."""
    with pytest.raises(ValueError, match="WORLD_SIZE: found 2 processes; needed one"):
        require_startable(config(tiny_model, training), {"WORLD_SIZE": "2"})
    for one in ({}, {"WORLD_SIZE": "1"}):
        require_startable(config(tiny_model, training), one)


def test_several_visible_gpus_are_refused_where_trl_trains(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    there = {"device": "auto"}
    for training in (REWARD, WITH_DPO, WITH_RANDOM):
        with pytest.raises(ValueError, match="found 3 visible GPUs.*CUDA_VISIBLE_DEVICES=0"):
            require_startable(config(tiny_model, training, **there), {})
        require_startable(config(tiny_model, training), {})  # device: cpu
    for training in (HEAD, ADPO):  # our own loops use the first
        require_startable(config(tiny_model, training, **there), {})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    require_startable(config(tiny_model, REWARD, **there), {})


def test_modules_that_peft_does_not_know_have_to_be_named(tmp_path):
    """Of OLMo, Phi-3, Cohere and others; TRL's trainers would say it after the labels are paid."""
    transformers.Olmo2Config(**SMALL, eos_token_id=2, pad_token_id=0).save_pretrained(tmp_path)
    for training in (REWARD, WITH_DPO):
        with pytest.raises(
            ValueError, match=r"lora_target_modules: found none.*in a olmo2.*all-linear"
        ):
            require_startable(config(tmp_path, training), {})
        with pytest.raises(ValueError, match=r"lora_target_modules: found \['query'\]"):
            require_startable(config(tmp_path, training, lora_target_modules=["query"]), {})
        for named in (["all-linear"], ["q_proj"]):
            require_startable(config(tmp_path, training, lora_target_modules=named), {})
    require_startable(config(tmp_path, WITH_DPO, use_peft=False), {})
    require_startable(config(tmp_path, HEAD), {})


def test_verbs_that_train_nothing_need_nothing_to_train_with(tmp_path, tiny_model, monkeypatch):
    """Features and a selection: several GPUs and an architecture unknown to peft do not matter."""
    transformers.Olmo2Config(**SMALL, eos_token_id=2, pad_token_id=0).save_pretrained(tmp_path)
    require_startable(config(tmp_path, REWARD), {}, trains=False)
    with pytest.raises(ValueError, match="WORLD_SIZE: found 2 processes"):
        require_startable(config(tmp_path, REWARD), {"WORLD_SIZE": "2"}, trains=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_startable(config(tiny_model, REWARD, device="auto"), {}, trains=False)


def test_lora_on_a_model_with_its_own_code(tmp_path):
    own = config(with_own_code(tmp_path), REWARD, trust_remote_code=True)
    with pytest.raises(ValueError, match="lora_target_modules: found none.*in a own-llama"):
        require_startable(own, {})
    named = {"trust_remote_code": True, "lora_target_modules": ["q_proj"]}
    require_startable(config(tmp_path, REWARD, **named), {})


def test_an_architecture_that_cannot_be_tried_does_not_stop_a_run(tmp_path):
    """Its code may want weights in memory: then it can still be loaded and trained."""
    broken = "\n\ndef broken(*more):\n    raise KeyError(0)\n\n\nOwnForCausalLM.__init__ = broken\n"
    folder = with_own_code(tmp_path, broken)
    require_startable(config(folder, REWARD, trust_remote_code=True), {})
