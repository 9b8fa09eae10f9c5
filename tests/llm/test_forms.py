"""Every accepted form of a row is read as the same pairs; a label is never in the position."""

import numpy as np
import pytest
from pool_files import SECRET, labels, read, refused, rows

from activeduel.llm.data import TextPool


def test_pairs_with_stated_sides(tmp_path):
    pool = read(tmp_path, rows(winner=["model_a", "tie", "b", None]))
    assert pool.pair_ids == ("p0", "p1", "p2", "p3")
    assert pool.responses[2] == (f"{SECRET}, yes 2", f"{SECRET}, no 2")
    assert pool.group.tolist() == [0, 0, 1, 1]
    assert pool.context_types == ("all",) and pool.context.tolist() == [0, 0, 0, 0]
    assert labels(pool) == [("p0", "dataset", 1), ("p1", "dataset", 0.5), ("p2", "dataset", 0)]
    assert np.isnan(pool.gold).all() and np.isnan(pool.rewards).all()
    assert pool.truth()[:3].tolist() == [1, 0.5, 0] and np.isnan(pool.truth()[3])


PREFERENCE = [
    {"prompt": f"{SECRET} {i}", "chosen": f"good {i}", "rejected": f"{SECRET} bad {i}"}
    for i in range(200)
]


def chosen_is_a(pool: TextPool) -> list[bool]:
    return [str(a).startswith("good") for a, _ in pool.responses]


def test_the_side_of_the_chosen_response_is_drawn_and_says_nothing(tmp_path):
    """TRL's preference form: the label is in the column's name, so it must not be in the position."""
    pool = read(tmp_path, PREFERENCE)
    sides = chosen_is_a(pool)
    assert 70 <= sum(sides) <= 130  # 200 fair coins stay within +-30 but for 2 in 100,000
    assert (pool.preference == sides).all() and (pool.truth() == sides).all()
    # the coin sees the two texts, not which of them was chosen
    turned = [{**r, "chosen": r["rejected"], "rejected": r["chosen"]} for r in PREFERENCE]
    other = read(tmp_path, turned)
    assert other.pair_ids == pool.pair_ids and other.responses == pool.responses
    assert (other.preference == 1 - pool.preference).all()


def test_gold_and_rewards_turn_with_the_sides(tmp_path):
    known = [{**r, "score_chosen": 2, "score_rejected": 1, "gold": 1} for r in PREFERENCE]
    pool = read(tmp_path, known, reward_column="score", gold_column="gold")
    assert ((pool.rewards[:, 0] > pool.rewards[:, 1]) == chosen_is_a(pool)).all()
    assert (pool.gold == chosen_is_a(pool)).all()


def test_judgements_of_a_are_meant_of_the_chosen(tmp_path):
    """Nobody who writes a file of judgements knows the drawn sides: a is the chosen response there."""
    named = [{**row, "pair_id": f"p{i}"} for i, row in enumerate(PREFERENCE)]
    lines = [f"p{i},ann,{1 if i % 4 else 0.5}\n" for i in range(200)]
    (tmp_path / "j.csv").write_text("pair_id,annotator,preference\n" + "".join(lines))
    pool = read(tmp_path, named, judgements=str(tmp_path / "j.csv"))
    sides = np.array(chosen_is_a(pool))
    ann = pool.preference[pool.annotator == pool.annotators.index("ann")]
    assert (ann == np.where(np.arange(200) % 4, sides, 0.5)).all()
    # where each response was chosen once, a judgement of "a" says nothing
    other = {"chosen": named[0]["rejected"], "rejected": named[0]["chosen"], "annotator": "eve"}
    with pytest.raises(ValueError, match="j.csv, line 2: found pair_id 'p0', of which each"):
        read(tmp_path, [*named, {**named[0], **other}], judgements=str(tmp_path / "j.csv"))


def test_few_drawn_sides_are_not_called_one_sided(tmp_path):
    """Six coins fall alike once in 32 tries: that is no fault of the data."""
    same = [
        r for r, a in zip(PREFERENCE, chosen_is_a(read(tmp_path, PREFERENCE)), strict=True) if a
    ]
    assert read(tmp_path, same).preference.tolist() == [1] * len(same)


def test_made_ids_depend_on_the_texts_alone(tmp_path):
    pool = read(tmp_path, PREFERENCE)
    again = read(tmp_path, PREFERENCE[::-1])
    assert again.pair_ids == pool.pair_ids[::-1] and again.responses == pool.responses[::-1]
    assert again.identity != pool.identity  # pair numbers differ
    # the same pair with its sides exchanged is the same pair, its label turned
    row = rows(1, winner=["a"])[0]
    del row["pair_id"]
    turned = {**row, "response_a": row["response_b"], "response_b": row["response_a"]}
    pool = read(tmp_path, [row, turned, row])
    assert len(pool.pair_ids) == 1 and pool.preference.tolist() == [1, 0, 1]


def test_completions_are_compared_in_all_pairs(tmp_path):
    row = {"prompt_id": "q7", "prompt": SECRET, "completions": ["x", "y", "z"], "r": [1, 3, 2]}
    pool = read(tmp_path, [row], reward_column="r")
    assert pool.pair_ids == ("q7#0-1", "q7#0-2", "q7#1-2")
    assert pool.responses == (("x", "y"), ("x", "z"), ("y", "z"))
    assert pool.rewards.tolist() == [[1, 3], [1, 2], [3, 2]] and pool.group.tolist() == [0, 0, 0]


BROKEN = {
    "no response": ([{**rows(1)[0], "response_b": None}], "line 1: found no response_b;"),
    "no response column": ([{"prompt": "x", "response_a": "y"}], "line 1: .* no response_b;"),
    "no rejected": ([{"prompt": "x", "chosen": SECRET}], "line 1: .* no rejected;"),
    "empty response": (rows(2, response_a=["x", " \n"]), "line 2: found an empty response_a;"),
    "no prompt": ([{"response_a": "y", "response_b": "z"}], "line 1: .* no prompt;"),
    "other columns": ([{"question": "x", "answer": "y"}], "found columns question, answer;"),
    "texts as columns": ([{SECRET: "y"}], "found columns a text of"),
    "one completion": ([{"prompt": "x", "completions": ["y"]}], "found 1 completions;"),
    "no list": ([{"prompt": "x", "completions": SECRET}], "found a text;"),
    "two labels": (rows(1, winner=["a"], preference=[1]), "found preference and winner;"),
    "preference": (rows(1, preference=[2]), "preference = 2; needed 1 or 'a'"),
    "true": (rows(1, preference=[True]), "preference = True; needed 1 or 'a'"),
    "a text": (rows(1, winner=[SECRET]), "winner = a text of"),
    "id": (rows(1, pair_id=[1.5]), "pair_id = 1.5;"),
    "empty id": (rows(1, pair_id=[" "]), "pair_id = ' ';"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_is_named_with_its_row(tmp_path, case):
    refused(tmp_path, *BROKEN[case])


COLUMNS = {
    "context": (
        {"context_column": "topic"},
        {},
        "columns pair_id.*needed a context type in 'topic'",
    ),
    "empty context": ({"context_column": "topic"}, {"topic": ""}, "topic = ''; needed"),
    "gold": ({"gold_column": "truth"}, {}, "needed a column 'truth'"),
    "gold value": ({"gold_column": "truth"}, {"truth": 7}, "truth = 7; needed 1 or 'a'"),
    "reward": ({"reward_column": "r"}, {"r_a": 1}, "needed a column 'r_b'"),
    "reward value": ({"reward_column": "r"}, {"r_a": 1, "r_b": "nan"}, "r_b = 'nan'; needed a fin"),
    "one reward": ({"reward_column": "r"}, {"r_a": 1, "r_b": None}, "reward of one response only"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_named_column_is_there_and_well_filled(tmp_path, case):
    options, columns, message = COLUMNS[case]
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, [{**rows(1)[0], **columns}], **options)
    assert "line 1" in str(error.value) and "SECRET" not in str(error.value)
