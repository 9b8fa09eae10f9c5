"""The public sets of judged answers become pools that the language-model floor reads; skipped where absent."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from activeduel.benchmarks.text_sets import main
from activeduel.llm.data import read_pool, split

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SETS = {
    # name: pairs with two answers, of these with two different ones, judgements, context types, teachers
    "llmbar": (626, 626, 63751, 8, 6),
    "mtbench_human": (1238, 1230, 2967, 8, 6),
    "pandalm_testset": (945, 945, 4700, 1, 5),
    "qlora_vicuna": (4386, 4386, 9825, 9, 4),
}


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the recorded set {name} in ../shared/data beside the repository")
    return DATA / name


@pytest.mark.parametrize("name", SETS)
def test_a_converted_set_is_a_pool(name, tmp_path, capsys):
    pytest.importorskip("yaml", reason="needs pyyaml: pip install 'activeduel[llm]'")
    from activeduel.llm.read_config import read_config

    written, pairs, judgements, context_types, teachers = SETS[name]
    assert main([name, str(folder(name)), str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{written} pairs;" in printed and "activeduel llm run --config" in printed
    config = read_config(tmp_path / "run.yaml", {"model_name_or_path": "any"})
    pool = read_pool(config.data)
    assert (len(pool.pair_ids), len(pool.preference)) == (pairs, judgements)
    assert (len(pool.context_types), len(config.teachers)) == (context_types, teachers)
    assert {t.name for t in config.teachers} <= set(pool.annotators)
    assert np.isfinite(pool.truth()).all()
    train, test = split(pool, 0.25, 0, 0)
    assert len(train) > len(test) > 50


@pytest.mark.parametrize("name", SETS)
def test_the_side_says_nothing(name, tmp_path):
    """Share of decided judgements for a: within 0.06 of one half, as for fair sides of some hundred pairs."""
    from activeduel.llm.config import DataOptions

    main([name, str(folder(name)), str(tmp_path)])
    pool = read_pool(
        DataOptions(str(tmp_path / "pool.jsonl"), judgements=str(tmp_path / "judgements.csv"))
    )
    decided = pool.preference[pool.preference != 0.5]
    assert abs(decided.mean() - 0.5) < 0.06


def test_gold_stands_where_the_set_has_it(tmp_path):
    from activeduel.llm.config import DataOptions

    main(["llmbar", str(folder("llmbar")), str(tmp_path)])
    files = {"judgements": str(tmp_path / "judgements.csv"), "gold_column": "gold"}
    pool = read_pool(DataOptions(str(tmp_path / "pool.jsonl"), **files))
    assert sorted(set(pool.gold)) == [0, 1]
    votes = np.zeros((len(pool.pair_ids), len(pool.annotators)))
    np.add.at(votes, (pool.judged_pair, pool.annotator), pool.preference - 0.5)
    agree = (votes > 0) == (pool.gold[:, None] == 1)
    assert agree[votes != 0].mean() == pytest.approx(0.6092, abs=5e-5)  # the set's own statistics


def test_a_folder_without_the_set_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["llmbar", str(tmp_path / "nowhere"), str(tmp_path / "out")])
    assert stop.value.code == 2 and "pairs.jsonl.gz: found no such file" in capsys.readouterr().err


PAIR = {"pair_id": "p", "prompt": "q", "response_a": "x", "response_b": "y", "subset": "s"}


@pytest.mark.parametrize(
    ("pairs", "judgements", "found"),
    [
        (b"garbage", None, "pairs.jsonl.gz, line 1: found a damaged gzip stream"),
        (gzip.compress(b"[1"), None, "pairs.jsonl.gz, line 1: found no JSON"),
        (
            gzip.compress(b'{"pair_id": "p"}'),
            None,
            "line 1: found no prompt; needed pair_id, prompt",
        ),
        (PAIR, b"pair_id,annotator\np,ann\n", "judgements.csv.gz, line 2: found no preference"),
        (PAIR, b"pair_id,annotator,preference\np,ann,7\n", "line 2: found preference = '7'"),
    ],
    ids=["no gzip", "no JSON", "other columns", "no preference", "no label"],
)
def test_a_folder_that_is_not_the_set_is_named_with_its_row(
    tmp_path, capsys, pairs, judgements, found
):
    content = pairs if isinstance(pairs, bytes) else gzip.compress(json.dumps(pairs).encode())
    (tmp_path / "pairs.jsonl.gz").write_bytes(content)
    (tmp_path / "judgements.csv.gz").write_bytes(gzip.compress(judgements or b""))
    with pytest.raises(SystemExit) as stopped:
        main(["llmbar", str(tmp_path), str(tmp_path / "out")])
    assert stopped.value.code == 2 and found in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
