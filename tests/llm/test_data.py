"""Pools of text: every accepted form read the same, every broken row named, splits by prompt."""

import gzip
import itertools
import json
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activeduel.llm.config import DataOptions
from activeduel.llm.data import TextPool, read_pool, split

SECRET = "SECRET words of somebody"  # stands in every text here: no message may hold it


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rows(count: int = 4, **columns):
    """Different pairs, two a prompt, with stated sides."""
    return [
        {
            "pair_id": f"p{i}",
            "prompt": f"{SECRET}? {i // 2}",
            "response_a": f"{SECRET}, yes {i}",
            "response_b": f"{SECRET}, no {i}",
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(count)
    ]


def put(folder: Path, content, name: str = "pool.jsonl") -> DataOptions:
    """Write rows (or bytes) and give the options that read them."""
    if not isinstance(content, bytes):
        content = "".join(json.dumps(row) + "\n" for row in content).encode()
    (folder / name).write_bytes(content)
    return DataOptions(str(folder / name))


def read(folder: Path, content, **options) -> TextPool:
    return read_pool(replace(put(folder, content), **options))


def labels(pool: TextPool) -> list[tuple[str, str, float]]:
    """(pair id, annotator, preference) of every recorded judgement."""
    return [
        (pool.pair_ids[i], pool.annotators[j], x)
        for i, j, x in zip(pool.judged_pair, pool.annotator, pool.preference, strict=True)
    ]


def test_pairs_with_stated_sides(tmp_path):
    pool = read(tmp_path, rows(winner=["model_a", "tie", "b", None]))
    assert pool.pair_ids == ("p0", "p1", "p2", "p3")
    assert pool.responses[2] == (f"{SECRET}, yes 2", f"{SECRET}, no 2")
    assert pool.group.tolist() == [0, 0, 1, 1]
    assert pool.context_types == ("all",) and pool.context.tolist() == [0, 0, 0, 0]
    assert labels(pool) == [("p0", "dataset", 1), ("p1", "dataset", 0.5), ("p2", "dataset", 0)]
    assert np.isnan(pool.gold).all() and np.isnan(pool.rewards).all()
    assert pool.truth()[:3].tolist() == [1, 0.5, 0] and np.isnan(pool.truth()[3])


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


ASKED = [said("system", SECRET), said("user", "why?")]
YES, NO = said("assistant", "good"), said("assistant", "not so")
CONVERSATIONS = {
    "explicit prompt": {"prompt": ASKED, "chosen": [YES], "rejected": [NO]},
    "implicit prompt": {"chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "prompt repeated": {"prompt": ASKED, "chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "prompt as text too": {"prompt": "why?", "chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "plain responses": {"prompt": ASKED, "chosen": "good", "rejected": "not so"},
    "no system prompt": {
        "chosen": [said("system", ""), *ASKED[1:], YES],
        "rejected": [said("system", ""), *ASKED[1:], NO],
    },
    "other keys": {"prompt": ASKED, "chosen": [{**YES, "name": None}], "rejected": [NO]},
}


@pytest.mark.parametrize("form", CONVERSATIONS)
def test_conversations_in_every_form(tmp_path, form):
    pool = read(tmp_path, [CONVERSATIONS[form]])
    turns = [said("system", ""), ASKED[1]] if form == "no system prompt" else ASKED
    assert pool.prompts == (tuple(turns),)
    assert sorted(pool.responses[0], key=str) == sorted([(YES,), (NO,)], key=str)


def test_a_plain_prompt_of_conversations_is_the_users_turn(tmp_path):
    pool = read(tmp_path, [{"prompt": "why?", "chosen": [YES], "rejected": [NO]}])
    assert pool.prompts == ((said("user", "why?"),),)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("\n\nHuman: why?\n\nAssistant:", " the sky is", " the sea"),  # up to the last turn
        ("why is it so? ", "because", "beer"),  # up to the last whole word
    ],
)
def test_plain_strings_share_the_prompt(tmp_path, prompt, chosen, rejected):
    pool = read(tmp_path, [{"chosen": prompt + chosen, "rejected": prompt + rejected}])
    assert pool.prompts == (prompt,) and set(pool.responses[0]) == {chosen, rejected}


def test_completions_are_compared_in_all_pairs(tmp_path):
    row = {"prompt_id": "q7", "prompt": SECRET, "completions": ["x", "y", "z"], "r": [1, 3, 2]}
    pool = read(tmp_path, [row], reward_column="r")
    assert pool.pair_ids == ("q7#0-1", "q7#0-2", "q7#1-2")
    assert pool.responses == (("x", "y"), ("x", "z"), ("y", "z"))
    assert pool.rewards.tolist() == [[1, 3], [1, 2], [3, 2]] and pool.group.tolist() == [0, 0, 0]


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


def test_every_file_form_gives_the_same_pool(tmp_path):
    known = rows(winner=["a", "b", "tie", "a"])
    header = list(known[0])
    lines = [header, *(row.values() for row in known)]
    text = "\r\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    pool = read(tmp_path, known)
    forms = {
        "pool.csv": ("\ufeff" + text).encode(),
        "pool.csv.gz": gzip.compress(text.encode()),
        "pool.jsonl.gz": gzip.compress((tmp_path / "pool.jsonl").read_bytes()),
        "pool.ndjson": (tmp_path / "pool.jsonl").read_bytes() + b"\n\n",
    }
    for name, content in forms.items():
        other = read_pool(put(tmp_path, content, name))
        assert other.identity == pool.identity and other.responses == pool.responses


def test_parquet_and_folders(tmp_path):
    reason = "needs pyarrow: pip install 'activeduel[llm]'"
    pyarrow = pytest.importorskip("pyarrow", reason=reason)
    parquet = pytest.importorskip("pyarrow.parquet", reason=reason)
    for name, part in {"train-0": rows(4)[:2], "train-1": rows(4)[2:], "test-0": rows(1)}.items():
        parquet.write_table(pyarrow.Table.from_pylist(part), tmp_path / f"{name}.parquet")
    pool = read_pool(DataOptions(str(tmp_path)))  # the files of the split "train"
    assert pool.identity == read(tmp_path, rows(4)).identity
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(ValueError, match="train-1.parquet, after row 0: found no readable Parquet"):
        read_pool(DataOptions(str(tmp_path)))


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
    "no response": ([{**rows(1)[0], "response_b": None}], "line 1: found no response_b;"),
    "no response column": ([{"prompt": "x", "response_a": "y"}], "line 1: .* no response_b;"),
    "no rejected": ([{"prompt": "x", "chosen": SECRET}], "line 1: .* no rejected;"),
    "empty response": (rows(2, response_a=["x", " \n"]), "line 2: found an empty response_a;"),
    "empty message": (
        [{"prompt": ASKED, "chosen": [YES], "rejected": [said("assistant", " ")]}],
        r"an empty rejected\[0\].content;",
    ),
    "no messages": ([{"prompt": "x", "chosen": [YES], "rejected": []}], "an empty rejected;"),
    "no prompt": ([{"response_a": "y", "response_b": "z"}], "line 1: .* no prompt;"),
    "nothing shared": ([{"chosen": "yes", "rejected": "no"}], "without a shared beginning"),
    "only the prompt": (
        [{"chosen": [*ASKED, YES], "rejected": ASKED}],
        "a response that only repeats the prompt",
    ),
    "two forms": ([{"prompt": "x", "chosen": [YES], "rejected": SECRET}], "both in one form"),
    "other columns": ([{"question": "x", "answer": "y"}], "found columns question, answer;"),
    "texts as columns": ([{SECRET: "y"}], "found columns a text of"),
    "one completion": ([{"prompt": "x", "completions": ["y"]}], "found 1 completions;"),
    "no list": ([{"prompt": "x", "completions": SECRET}], "found a text;"),
    "number": ([{**rows(1)[0], "response_a": 5}], "response_a = a number;"),
    "no role": (
        [{"prompt": "x", "chosen": [{"content": SECRET}], "rejected": [NO]}],
        r"chosen\[0\] with keys content; needed a message with role and content",
    ),
    "no message": (
        [{"prompt": "x", "chosen": [SECRET], "rejected": [NO]}],
        r"chosen\[0\] with a text",
    ),
    "pictures": (
        [{"prompt": [said("user", [SECRET])], "chosen": [YES], "rejected": [NO]}],  # type: ignore[arg-type]
        r"prompt\[0\].content = a list;",
    ),
    "surrogate": (rows(1, response_a=["\ud800"]), "half a surrogate pair in response_a;"),
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
    "two labels": (rows(1, winner=["a"], preference=[1]), "found preference and winner;"),
    "preference": (rows(1, preference=[2]), "preference = 2; needed 1 or 'a'"),
    "true": (rows(1, preference=[True]), "preference = True; needed 1 or 'a'"),
    "a text": (rows(1, winner=[SECRET]), "winner = a text of"),
    "id": (rows(1, pair_id=[1.5]), "pair_id = 1.5;"),
    "empty id": (rows(1, pair_id=[" "]), "pair_id = ' ';"),
    "one-sided": (
        rows(8, winner=["a", "tie", "a", "a", "a", "a", "a", None]),
        "(?s)line 1 to .*line 7: found one-sided labels: all 6 .*'preference' are for 'a'.*chosen",
    ),
    "no pair": ([], "found no pair"),
    "list": (b"[1]\n", "line 1: found a list;"),
    "no JSON": (f'{{"prompt": "{SECRET}"\n'.encode(), "line 1: found no JSON"),
    "not UTF-8": (json.dumps(rows(1)[0]).encode() + b"\n\xff\n", "line 2: .*not UTF-8;"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pool_is_named_with_its_row(tmp_path, case):
    content, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content)
    assert str(error.value).startswith(str(tmp_path / "pool.jsonl"))
    assert "; needed " in str(error.value) and "SECRET" not in str(error.value)


def test_labels_for_both_sides_pass(tmp_path):
    assert len(read(tmp_path, rows(8, winner=["a"] * 7 + ["b"])).preference) == 8
    assert len(read(tmp_path, rows(5, winner=["a"] * 5)).preference) == 5  # may be an accident


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


def test_one_sided_gold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="all 8 decided ones of 'truth' are for 'b'"):
        read(tmp_path, rows(8, truth=[0] * 8), gold_column="truth")


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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("j.csv", b"a,a\n1,2\n", "line 1: found columns a, a;"),
        ("j.csv", b"pair,who\n1,2\n", "line 2: found columns pair, who; needed a column 'pair_id'"),
        (
            "j.csv.gz",
            gzip.compress(b"pair_id,annotator,preference\np1,a,1\n")[:-9],
            "a damaged gzip stream",
        ),
        ("j.csv.gz", b"pair_id\n", "line 1: found a damaged gzip stream"),
        ("j.txt", b"x", "a file ending in '.txt'"),
        ("elsewhere.csv", b"x", "j.csv: found no such file;"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, rows(), judgements=str(tmp_path / name.replace("elsewhere", "j")))


def test_what_is_no_file_is_looked_for_on_the_hub(tmp_path, monkeypatch):
    for missing in (str(tmp_path / "pool.jsonl"), "./nowhere", "pool.parquet"):
        with pytest.raises(ValueError, match="found no such file|a file ending"):
            read_pool(DataOptions(missing))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needed the package datasets.*activeduel\[llm\]"):
        read_pool(DataOptions("somebody/preferences"))
    with pytest.raises(ValueError, match="found no file to read"):
        read_pool(DataOptions(str(tmp_path)))


class Hub:
    """Stands in for the package datasets."""

    @staticmethod
    def load_dataset(name, config, split):
        if name != "somebody/preferences":
            raise ConnectionError("https://token@somewhere")
        assert (config, split) == ("clean", "test")
        return rows(3)


def test_a_set_on_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", Hub)
    options = DataOptions("somebody/preferences", dataset_config="clean", dataset_split="test")
    assert read_pool(options).pair_ids == ("p0", "p1", "p2")
    with pytest.raises(ValueError, match="no data set on the hub .ConnectionError.") as error:
        read_pool(DataOptions("somebody/else"))
    assert "token" not in str(error.value)


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
