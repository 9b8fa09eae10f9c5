"""Estimates of whole runs: their stages, whether they fit, and their table."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from planned_config import run
from sized_models import GEMMA_7B, MISTRAL_7B, TARGETS, small

from activeduel.llm.config import (
    FeatureOptions,
    ModelOptions,
    OutputOptions,
    TeacherOptions,
    TrainingOptions,
)
from activeduel.llm.footprint import (
    disk_for,
    estimate,
    fits,
    free_bytes,
    matrix_rate,
    require_fit,
    table,
)
from activeduel.llm.planned_run import PlannedRun, model_size
from activeduel.llm.training import computes_in_bfloat16, load_base, tokenizer_of

# peft asks transformers for a property that transformers renames in its next major version
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")


@pytest.mark.parametrize(
    ("config", "least", "most"), [(MISTRAL_7B, 115e9, 117e9), (GEMMA_7B, 136e9, 138e9)]
)
def test_full_fine_tunes_of_seven_billion_parameters(config, least, most):
    """float32 weights, gradients and two moments: 16 bytes a parameter before any activation."""
    training = TrainingOptions(method="adpo", gradient_checkpointing=True)
    found = estimate(
        run(training, dtype="bfloat16"), 100, [512], device="cuda", model_config=config
    )
    whats = {"weights", "gradients", "AdamW's moments"}
    held = sum(x.bytes for x in found.lines if x.stage == "adpo" and x.what in whats)
    assert least < held < most
    assert held < found.peak < 1.4 * held
    assert fits(found, 80e9) is False
    with pytest.raises(
        ValueError, match="(?s)80 GB free.*needed 1.. GB.*use_peft.*adpo  .*weights"
    ):
        require_fit(found, 80e9, 1e15)
    with pytest.raises(ValueError, match=r"(?s)disk: found 100 GB .*needed 2.. GB.*output_dir"):
        require_fit(found, 1e12, 100e9)  # two checkpoints of weights and moments
    require_fit(found, 80e9, 0.0, anyway=True)


def test_what_a_run_wrote_already_needs_no_free_space(tmp_path):
    """Its own folder and the cache; not what other runs wrote. A folder may not be there yet."""
    there = disk_for(OutputOptions(str(tmp_path / "not" / "yet")))
    for place in ("mine/models", "cache", "another"):
        (tmp_path / place).mkdir(parents=True)
        with open(tmp_path / place / "file", "wb") as file:
            file.truncate(10**12)  # sparse: it takes no room
    for name, held in (("mine", 2e12), ("another", 2e12), ("new", 1e12)):
        found = disk_for(OutputOptions(str(tmp_path), name))
        assert found - held == pytest.approx(there, abs=0.2e12)


def test_a_file_that_goes_while_the_disk_is_counted_is_no_error(tmp_path, monkeypatch):
    """Another run may publish or sweep what it wrote in the cache."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "gone").write_bytes(b"x")
    real = os.walk

    def walk(folder):
        for place, folders, files in real(folder):
            for name in files:
                (Path(place) / name).unlink()
            yield place, folders, files

    monkeypatch.setattr(os, "walk", walk)
    assert disk_for(OutputOptions(str(tmp_path))) > 0
    assert not list((tmp_path / "cache").iterdir())


def test_lora_on_a_large_gpu_and_in_four_bits_on_a_small_one():
    training = TrainingOptions(
        method="adpo", per_device_train_batch_size=1, gradient_checkpointing=True
    )
    lora = run(training, dtype="bfloat16", use_peft=True, lora_target_modules=TARGETS)
    found = estimate(lora, 100, [1024], device="cuda", model_config=MISTRAL_7B)
    assert fits(found, 80e9) is True and fits(found, 12e9) is False
    four = replace(lora, model=replace(lora.model, load_in_4bit=True))
    assert fits(estimate(four, 100, [1024], device="cuda", model_config=MISTRAL_7B), 16e9) is True


def test_the_types_of_a_training_are_those_of_the_loop(tiny_model):
    for choice in ({"use_peft": False}, {"dtype": "bfloat16"}, {}):
        options = ModelOptions(str(tiny_model), device="cpu", **choice)
        size, reason = model_size(options)
        assert not reason
        planned = PlannedRun(replace(run(), model=options), size, "", 1, [1.0], "cpu")
        assert planned.mixed == computes_in_bfloat16(options)
        base = load_base(options, tokenizer_of(options))
        assert str(base.dtype) == f"torch.{planned.trained_dtype}"
        assert sum(p.numel() for p in base.parameters()) == size.parameters


def test_every_stage_has_its_lines(tiny_model):
    """Reward training after every second round: 600 labels, 100 of them first, 50 a round."""
    training = TrainingOptions(method="reward", train_every=2)
    config = replace(run(training), model=ModelOptions(str(tiny_model)))
    found = estimate(config, 1000, [20, 40])
    assert found.stages() == ("features", "head", "reward")
    assert found.known and fits(found, free_bytes("cpu")) is True
    hidden = 64
    cache = next(x for x in found.lines if x.what == "cache")
    assert cache.bytes == 2 * 1000 * hidden * 4 * (1 + 5)
    text = table(found)
    for word in ("features", "= together", "5 trainings", "at the peak", "AdamW's moments"):
        assert word in text
    assert found.rate is not None and 0 < found.seconds < 3600
    policies = replace(config, training=TrainingOptions(method="adpo", dpo_baseline=True))
    found = estimate(policies, 1000, [20, 40], rate=1e9)
    assert found.stages() == ("reference", "adpo", "dpo")


def test_a_model_that_cannot_be_had_is_unknown_not_a_crash(tmp_path):
    missing = replace(run(), model=ModelOptions(str(tmp_path / "nothing-here")))
    found = estimate(missing, 100, [10], rate=1e9)
    assert not found.known and fits(found, 1e12) is None and fits(found, 1.0) is False
    require_fit(found, 1e12, 1e15)
    assert "unknown: model_name_or_path" in table(found) and "at least" in table(found)


def test_judges_are_counted(tiny_model):
    settings = {"model_name_or_path": str(tiny_model), "template": "{prompt}"}
    judge = TeacherOptions("judge", "generative", settings=settings)
    config = replace(run(), teachers=(judge,), model=ModelOptions(str(tiny_model)))
    line = next(x for x in estimate(config, 100, [10], rate=1e9).lines if x.stage == "asking")
    assert line.bytes and line.seconds and "600 questions" in line.how


def test_texts_are_counted_up_to_the_maximal_length_and_must_be_there():
    config = replace(run(), features=FeatureOptions(max_length=16))
    long, cut = (estimate(config, 10, [n], rate=1e9, model_config=small()[1]) for n in (500, 16))
    assert long == cut
    with pytest.raises(ValueError, match="token_counts: found none"):
        estimate(config, 10, [], model_config=small()[1])


def test_a_rate_is_measured_here():
    assert 1e8 < matrix_rate("cpu", torch.float32, seconds=0.05) < 1e14


def test_the_last_line_says_what_is_not_in_it_and_reads_well():
    """The libraries' own memory; a run of less than a second is not "about under" it."""
    config = small()[1]
    short, long = (
        table(estimate(run(), pairs, [10], device="cpu", rate=1e12, model_config=config))
        for pairs in (10, 10**8)
    )
    assert " in memory at the peak (Python and the libraries take about 600 MB more), " in short
    assert " on disk, under 1 s (" in short and " on disk, about " in long
    gpu = estimate(run(), 10, [10], device="cuda", rate=1e12, model_config=config)
    assert " on the GPU at the peak, " in table(gpu)


BLOCKED = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("trl", "datasets", "bitsandbytes"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(f"activeduel.llm.{name}")
"""


@pytest.mark.parametrize(
    "modules", [("models", "features", "head"), ("adpo", "reference", "footprint")]
)
def test_these_need_neither_trl_nor_datasets_nor_bitsandbytes(modules):
    """A GPU host without them runs features, the head, ADPO and the estimates."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
