"""The language-model rows at the smallest size, through the same code; what is missing is named."""

import json
import math

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch

from activeduel.benchmarks import llm, llm_rows, llm_subject
from activeduel.benchmarks.llm_subject import SUBJECTS, text_pool, tokenizer
from activeduel.llm.rendering import encode

pytestmark = [
    # peft asks transformers for a property that transformers renames in its next major version
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.skipif(
        torch.cuda.is_available(), reason="small sizes are for machines without a GPU"
    ),
]

SMALLEST = SUBJECTS["tiny"]._replace(
    widths={
        "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4,
    },
    pairs=24, length=16, steps=4, turns=2, long=24, tokens_per_batch=128,
)  # fmt: skip


@pytest.fixture
def smallest(monkeypatch):
    monkeypatch.setitem(llm_subject.SUBJECTS, "tiny", SMALLEST)
    monkeypatch.setattr(llm_rows, "ROUNDS", 2)


def measured(tmp_path, *rows):
    """The rows' JSON files after a run of the command."""
    assert llm.main(["--size", "tiny", "--out", str(tmp_path), "--only", *rows]) == 0
    return {row: json.loads((tmp_path / f"tiny-{row}.json").read_text()) for row in rows}


def test_features_and_selection_are_measured_and_saved(smallest, tmp_path):
    found = measured(tmp_path, "features", "selection")
    for row in found.values():
        assert row["status"] == "measured", row.get("reason")
        assert row["machine"]["device"] == "cpu" and "torch" in row["machine"]["packages"]
    reading, selecting = (found[row]["numbers"] for row in ("features", "selection"))
    assert reading["tokens"] == reading["tokens_with_padding"] == 2 * 24 * 16
    assert 0 < reading["share_of_matrix_rate"] < 1.5
    assert reading["share_of_board"] is None and reading["met"] is None  # there is no board here
    body = reading["parameters_without_embedding_and_head"]
    attention = 2 * 2 * 64 * 16**2 * 48
    assert reading["flops"] == 2 * body * 48 * 16 + attention
    assert 0 < selecting["share"] < selecting["share_with_projection_and_refits"] < 1
    assert selecting["labels"] == 2 * llm_rows.LABEL_BATCH


def test_training_beside_trl(smallest, tmp_path):
    pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    row = measured(tmp_path, "training")["training"]
    assert row["status"] == "measured", row.get("reason")
    numbers = row["numbers"]
    assert numbers["ratio"]["repeats"] == 2 and numbers["tokens_a_step"] == 2 * 2 * 16
    assert math.isfinite(numbers["ratio"]["median"]) and numbers["ratio"]["low"] > 0


def test_both_trainings_start_from_the_same_loss(smallest, tmp_path):
    """The race is between equals: the same rows, the same reference, so log 2 at the first step."""
    pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    folder = llm_subject.written(SMALLEST, tmp_path / "model", "cpu")
    setting = llm_rows.Setting(SMALLEST, folder, tmp_path, "cpu", {})
    assert len(llm_rows.adpo_times(setting, 0)) == len(llm_rows.trl_times(setting, 0)) == 4
    first = json.loads((tmp_path / "adpo-0" / "steps.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_four_bits(smallest, tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'activeduel[llm]'")
    row = measured(tmp_path, "four-bits")["four-bits"]
    assert row["status"] == "measured", row.get("reason")
    assert row["numbers"]["finite"] and row["numbers"]["estimated_bytes"] > 0
    assert row["numbers"]["peak_bytes"] is None  # counted on GPUs only


def test_what_is_missing_is_named_not_a_crash(smallest, tmp_path, monkeypatch):
    known = llm_rows.absent

    def bare(names):
        return [n for n in names if n in ("trl", "datasets", "bitsandbytes")] + known(names)

    monkeypatch.setattr(llm_rows, "absent", bare)
    monkeypatch.setattr(llm, "absent", bare)
    found = measured(tmp_path, "training", "four-bits")
    assert found["four-bits"]["status"] == "not measured"
    assert "bitsandbytes" in found["four-bits"]["reason"]
    numbers = found["training"]["numbers"]
    assert numbers["tokens_per_second"]["median"] > 0 and "ratio" not in numbers
    assert "trl, datasets" in numbers["not_measured"]


def test_a_row_that_fails_says_why_and_leaves_the_others(smallest, tmp_path, monkeypatch):
    def broken(setting):
        raise RuntimeError("no such luck")

    rows = llm_rows.ROWS | {"features": llm_rows.ROWS["features"]._replace(measure=broken)}
    monkeypatch.setattr(llm, "ROWS", rows)
    found = measured(tmp_path, "features", "selection")
    assert found["features"]["status"] == "failed" and "no such luck" in found["features"]["reason"]
    assert found["selection"]["numbers"]["share"] is None


def test_seven_billion_parameters_need_a_gpu(tmp_path, capsys):
    assert llm.main(["--out", str(tmp_path / "nothing")]) == 2
    assert "torch sees no GPU" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_texts_have_the_length_that_is_said():
    pool = text_pool(3, 32, 100)
    rows = [(p, r) for p, both in zip(pool.prompts, pool.responses, strict=True) for r in both]
    assert [len(t.ids) for t in encode(tokenizer(100), rows, 1000)] == [32] * 6
