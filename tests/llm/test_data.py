"""A pool: judgements, context, gold and rewards of its pairs; what contradicts; splits by prompt."""

import gzip
import itertools
import json
import time
import tracemalloc

import numpy as np
import pytest
from pool_files import SECRET, labels, put, read, refused, rows, said

from activeduel.llm.config import DataOptions
from activeduel.llm.data import read_pool, split


def test_several_rows_of_one_pair_are_several_judgements(tmp_path):
    twice = [
        {**row, "annotator": who, "preference": value}
        for row, (who, value) in itertools.product(
            rows(2), [("eve", 1), ("bob", "0"), ("eve", "a")]
        )
    ]
    pool = read(tmp_path, twice)
    assert pool.pair_ids == ("p0", "p1") and pool.annotators == ("bob", "eve")
    assert labels(pool)[:3] == [("p0", "eve", 1), ("p0", "bob", 0), ("p0", "eve", 1)]
    assert pool.truth().tolist() == [1, 1]


def test_context_gold_and_rewards(tmp_path):
    known = rows(4, topic=["z", "b", "b", 3], truth=[1, 0.5, None, "b"], r_a=[2, 0, 1.5, None])
    known = [{**row, "r_b": None if i == 3 else 0} for i, row in enumerate(known)]
    pool = read(tmp_path, known, context_column="topic", gold_column="truth", reward_column="r")
    assert pool.context_types == ("3", "b", "z") and pool.context.tolist() == [2, 1, 1, 0]
    assert np.array_equal(pool.gold, [1, 0.5, np.nan, 0], equal_nan=True)
    assert (
        pool.rewards[:3].tolist() == [[2, 0], [0, 0], [1.5, 0]] and np.isnan(pool.rewards[3]).all()
    )
    assert np.array_equal(pool.truth(), pool.gold, equal_nan=True)


def test_judgements_in_a_file_of_their_own(tmp_path):
    csv = "pair_id,annotator,preference,more\np3,ann,1,x\np0,bob,0.5,\np3,bob,tie,\n"
    for name, content in {
        "j.csv": csv.encode(),
        "j.csv.gz": gzip.compress(csv.encode()),
        "j.jsonl": b'{"pair_id": "p3", "annotator": "ann", "preference": 1}\n'
        b'{"pair_id": "p0", "annotator": "bob", "preference": "0.5"}\n'
        b'{"pair_id": "p3", "annotator": "bob", "preference": 0.5}\n',
    }.items():
        (tmp_path / name).write_bytes(content)
        pool = read(tmp_path, rows(), judgements=str(tmp_path / name))
        assert labels(pool) == [("p3", "ann", 1), ("p0", "bob", 0.5), ("p3", "bob", 0.5)]
    # a pool given as a folder leaves the judgements that lie in it
    folder = tmp_path / "both"
    folder.mkdir()
    put(folder, rows())
    (folder / "judgements.csv").write_text(csv)
    options = DataOptions(str(folder), judgements=str(folder / "judgements.csv"))
    assert len(read_pool(options).preference) == 3


def test_equal_responses_are_left_out_and_counted(tmp_path):
    pool = read(tmp_path, [{"prompt": SECRET, "completions": ["x", "y", "x"]}, *rows(2)])
    assert pool.left_out == 1 and len(pool.pair_ids) == 4
    same = {**rows(1)[0], "response_b": f"{SECRET}, yes 0"}
    (tmp_path / "j.csv").write_text("pair_id,annotator,preference\np0,ann,1\np1,ann,1\n")
    pool = read(tmp_path, [same, rows(2)[1]], judgements=str(tmp_path / "j.csv"))
    assert pool.pair_ids == ("p1",) and labels(pool) == [("p1", "ann", 1)]
    with pytest.raises(ValueError, match="no pair .1 of two equal responses"):
        read(tmp_path, [same])


def test_max_pairs_keeps_the_first_pairs_with_all_their_judgements(tmp_path):
    (tmp_path / "j.csv").write_text("pair_id,annotator,preference\np3,ann,1\np1,ann,1\n")
    pool = read(tmp_path, rows(), max_pairs=2, judgements=str(tmp_path / "j.csv"))
    assert pool.pair_ids == ("p0", "p1") and labels(pool) == [("p1", "ann", 1)]


def test_identity_tells_pools_apart(tmp_path):
    before = read(tmp_path, rows(winner=["a", "b", "b", "a"]))
    assert before.identity == read(tmp_path, rows(winner=["a", "b", "b", "a"])).identity
    changes = [
        rows(winner=["a", "b", "b", "tie"]),
        rows(winner=["a", "b", "b", "a"], response_a=["1", "2", "3", "4"]),
        rows(winner=["a", "b", "b", "a"], annotator=["ann"] * 4),
        rows(winner=["a", "b", "b", "a"], pair_id=[4, 5, 6, 7]),
        rows(winner=["a", "b", "b", "a"], prompt=["1", "2", "3", "4"]),
    ]
    found = {read(tmp_path, changed).identity for changed in changes}
    assert len(found) == len(changes) and before.identity not in found


BROKEN = {
    "twice": ([*rows(2), rows(2)[1]], "line 3: found pair_id 'p1' again, first in .*line 2;"),
    "other texts": (
        [*rows(2), {**rows(1)[0], "response_a": "other", "annotator": "ann"}],
        "line 3: found pair_id 'p0' with other texts, otherwise than in .*line 1;",
    ),
    "sides exchanged": (
        [
            *rows(1),
            {**rows(1)[0], "response_a": f"{SECRET}, no 0", "response_b": f"{SECRET}, yes 0"},
        ],
        "line 2: found pair_id 'p0' with other texts",
    ),
    "one-sided": (
        rows(8, winner=["a", "tie", "a", "a", "a", "a", "a", None]),
        "(?s)line 1 to .*line 7: found one-sided labels: all 6 .*'preference' are for 'a'.*chosen",
    ),
    "no pair": ([], "found no pair"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pool_is_named_with_its_row(tmp_path, case):
    refused(tmp_path, *BROKEN[case])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p9,ann,1", "line 3: found unknown pair_id 'p9'; needed one of the pool's 4 pair ids"),
        ("p1,,1", "line 3: found no annotator;"),
        (" ,ann,1", "line 3: found pair_id = ' ';"),
        ("p1,ann,", "line 3: found no preference;"),
        ("p1,ann,3", "line 3: found preference = '3';"),
        ("p1,ann", "line 3: found 2 cells;"),
        ('p1,"ann,1', "line 3: found broken CSV"),
    ],
)
def test_a_broken_judgement_is_named_with_its_line(tmp_path, line, message):
    (tmp_path / "j.csv").write_text(f"pair_id,annotator,preference\np0,ann,1\n{line}\n")
    with pytest.raises(ValueError, match=f"j.csv, {message}"):
        read(tmp_path, rows(), judgements=str(tmp_path / "j.csv"))


def test_a_split_is_by_prompt_and_depends_on_seed_and_replicate(world):
    train, test = split(world.pool, 0.25, 0, 0)
    group = world.pool.group
    assert len(np.unique(group[test])) == 10  # a quarter of 40 prompts
    assert not set(group[train]) & set(group[test])
    assert sorted([*train, *test]) == list(range(120))
    again = split(world.pool, 0.25, 0, 0)
    assert (again[0] == train).all() and (again[1] == test).all()
    others = {tuple(split(world.pool, 0.25, s, r)[1]) for s in range(3) for r in range(3)}
    assert len(others) == 9


def test_a_split_follows_the_prompts_not_the_rows(tmp_path):
    some = rows(20)
    first, second = read(tmp_path, some), read(tmp_path, some[::-1])
    held = [{p.prompts[i] for i in split(p, 0.3, 5, 1)[1]} for p in (first, second)]
    assert held[0] == held[1] and len(held[0]) == 3


def test_a_prompt_in_two_forms_is_one_prompt(tmp_path):
    """As text, and as the one message of a user: else it could stand in training and in test."""
    plain = rows(2)
    talk = {"prompt": [said("user", plain[0]["prompt"])], "pair_id": "talk"}
    system = {"prompt": [said("system", "be brief"), *talk["prompt"]], "pair_id": "system"}
    sides = {side: [said("assistant", side)] for side in ("response_a", "response_b")}
    pool = read(tmp_path, [*plain, {**talk, **sides}, {**system, **sides}])
    assert pool.group.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("fraction", [0.0, 0.04, 0.96, 1.0])
def test_a_split_with_an_empty_side_is_refused(tmp_path, fraction):
    pool = read(tmp_path, rows(20))
    with pytest.raises(ValueError, match="of 10 prompts, which holds out"):
        split(pool, fraction, 0, 0)


def test_every_prompt_is_held_out_equally_often(tmp_path):
    """Over 400 replicates each of 10 prompts is held out 120 times on average (sd 9.2)."""
    pool = read(tmp_path, rows(20))
    held = np.zeros(10)
    for replicate in range(400):
        held[np.unique(pool.group[split(pool, 0.3, 1, replicate)[1]])] += 1
    assert np.abs(held - 120).max() < 5 * 9.2


def test_a_large_pool_reads_in_seconds_and_in_little_memory(tmp_path):
    """8,000 conversations of about 1 kB a pair: under four times the file, under two seconds."""
    with open(tmp_path / "pool.jsonl", "w") as file:
        for i in range(8000):
            prompt = [said("user", f"{i // 4} " + "why " * 50)]
            answers = [[said("assistant", f"{x} {i} " + "word " * 80)] for x in "ab"]
            row = {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}
            file.write(json.dumps(row) + "\n")
    options, size = (
        DataOptions(str(tmp_path / "pool.jsonl")),
        (tmp_path / "pool.jsonl").stat().st_size,
    )
    start = time.process_time()
    pool = read_pool(options)
    assert len(pool.pair_ids) == 8000 and time.process_time() - start < 2
    tracemalloc.start()
    try:
        pool = read_pool(options)
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()
