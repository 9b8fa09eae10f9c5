"""Reading recorded judgements: what comes back, and every broken file named with its line."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from recorded_world import write_world

from activeduel.sim.kernels.random import CounterRng
from activeduel.sim.recorded import read_recorded
from activeduel.sim.recorded_pool import hold_out, make_cells, offer, pool_of, sell

JUDGEMENTS = "pair_id,annotator,preference,scene\np,ann,1,s\np,bob,0,s\nq,ann,0.5,t\n"
PAIRS = "pair_id,x,y\np,1,2\nq,3,4\n"
ITEMS = "item,x,y\na,1,2\nb,3,5\nc,0,0\n"
BY_ITEM = "pair_id,annotator,preference,item_a,item_b\np,ann,1,a,b\np,bob,0,a,b\nq,ann,1,c,a\n"


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    folder: Path, judgements: str = JUDGEMENTS, features: str = PAIRS, group: str | None = None
):
    return read_recorded(put(folder, "j.csv", judgements), put(folder, "f.csv", features), group)


def test_pairs_with_their_differences(tmp_path):
    found = read(tmp_path, group="scene")
    assert found.pair_ids == ("p", "q") and found.annotators == ("ann", "bob")
    assert found.preference.tolist() == [1, 0, 0.5]
    assert found.pair.tolist() == [0, 0, 1] and found.annotator.tolist() == [0, 1, 0]
    assert [found.groups[g] for g in found.group] == ["s", "t"]
    assert found.differences(np.array([1, 0])).tolist() == [[3, 4], [1, 2]]
    assert found.differences(np.array([1, 0]), 1).tolist() == [4, 2]


def test_items_are_subtracted(tmp_path):
    found = read(tmp_path, BY_ITEM, ITEMS, "item")
    assert found.differences(np.array([0, 1])).tolist() == [[-2, -3], [-1, -2]]
    assert found.items.tolist() == [[0, 1], [2, 0]]


def test_every_form_reads_the_same(tmp_path):
    plain = read(tmp_path, group="scene")
    lines = [
        '{"pair_id": "p", "annotator": "ann", "preference": 1, "scene": "s", "more": null}',
        '{"pair_id": "p", "annotator": "bob", "preference": "0", "scene": "s"}',
        '{"pair_id": "q", "annotator": "ann", "preference": 0.5, "scene": "t"}',
    ]
    jsonl = gzip.compress("\n".join(lines).encode())
    np.save(tmp_path / "f.npy", np.array([[3, 4], [1, 2]], dtype=np.float32))
    put(tmp_path, "f.npy.ids", "pair_id\nq\np\n")
    other = read_recorded(put(tmp_path, "j.jsonl.gz", jsonl), tmp_path / "f.npy", "scene")
    marked = read_recorded(
        put(tmp_path, "k.csv", "\ufeff" + JUDGEMENTS.replace("\n", "\r\n")),
        put(tmp_path, "f.csv.gz", gzip.compress(PAIRS.encode())),
        "scene",
    )
    for found in (other, marked):
        for name in ("pair", "annotator", "preference", "group"):
            assert (getattr(found, name) == getattr(plain, name)).all()
        assert (found.differences(np.arange(2)) == plain.differences(np.arange(2))).all()


BROKEN = {
    "missing column": (
        JUDGEMENTS.replace("annotator", "who"),
        PAIRS,
        "scene",
        "line 1.*'annotator'",
    ),
    "missing group": (JUDGEMENTS, PAIRS, "prompt", "line 1.*'prompt'"),
    "unknown pair": (
        JUDGEMENTS + "r,ann,1,s\n",
        PAIRS,
        None,
        "j.csv, line 5.*pair_id 'r'.*unknown",
    ),
    "unknown item": (BY_ITEM + "r,bob,1,a,d\n", ITEMS, None, "line 5.*item_b 'd'"),
    "itself": (BY_ITEM + "r,bob,1,a,a\n", ITEMS, None, "line 5.*against itself"),
    "no items": (JUDGEMENTS, ITEMS, None, "line 1.*'item_a'"),
    "preference": (JUDGEMENTS + "q,bob,2,t\n", PAIRS, None, "line 5.*preference '2'"),
    "preference nan": (JUDGEMENTS + "q,bob,nan,t\n", PAIRS, None, "line 5.*preference 'nan'"),
    "preference digits": (JUDGEMENTS + "q,bob,0_1,t\n", PAIRS, None, "line 5.*preference '0_1'"),
    "control characters": ("\x07\x1b,b\n1,2\n", PAIRS, None, r"columns '\\x07\\x1b', b;"),
    "many columns": (
        ",".join(map(str, range(999))),
        PAIRS,
        None,
        r"line 1: found columns .{,300}\.\.\.;",
    ),
    "preference text": (JUDGEMENTS + "q,bob,a,t\n", PAIRS, None, "line 5.*preference 'a'"),
    "one annotator": (JUDGEMENTS.replace("bob", "ann"), PAIRS, None, "line 4.*one annotator only"),
    "empty cell": (JUDGEMENTS + "q,,1,t\n", PAIRS, None, "line 5.*empty annotator"),
    "ragged": (JUDGEMENTS + "q,bob,1\n", PAIRS, None, "line 5.*3 cells.*4"),
    "quote": (JUDGEMENTS + 'q,"bob,1,t\n', PAIRS, None, "line 5.*broken CSV"),
    "two groups": (JUDGEMENTS + "p,bob,1,t\n", PAIRS, "scene", "line 5.*otherwise than on line 2"),
    "turned": (BY_ITEM + "p,bob,1,b,a\n", ITEMS, None, "line 5.*otherwise than on line 2"),
    "no rows": ("pair_id,annotator,preference\n", PAIRS, None, "no judgement"),
    "empty": ("", PAIRS, None, "empty file"),
    "column twice": ("pair_id,annotator,annotator\n", PAIRS, None, "line 1.*twice"),
    "feature nan": (JUDGEMENTS, PAIRS + "r,nan,1\n", None, "f.csv, line 4.*x = 'nan'"),
    "feature inf": (JUDGEMENTS, PAIRS + "r,1,-inf\n", None, "f.csv, line 4.*y = '-inf'"),
    "feature text": (JUDGEMENTS, PAIRS + "r,1,red\n", None, "f.csv, line 4.*y = 'red'"),
    "feature empty": (JUDGEMENTS, PAIRS + "r,,1\n", None, "f.csv, line 4.*x = ''"),
    "id twice": (JUDGEMENTS, PAIRS + "p,1,1\n", None, "f.csv, line 4.*'p' a second time"),
    "no id": (JUDGEMENTS, PAIRS + ",1,1\n", None, "f.csv, line 4.*empty id"),
    "first column": (JUDGEMENTS, PAIRS.replace("pair_id", "name"), None, "f.csv, line 1.*'name'"),
    "no feature": (JUDGEMENTS, "pair_id\np\nq\n", None, "f.csv, line 1.*no feature column"),
    "only header": (JUDGEMENTS, "pair_id,x\n", None, "f.csv.*without rows"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_its_line(tmp_path, case):
    judgements, features, group, message = BROKEN[case]
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        read(tmp_path, judgements, features, group)
    assert "; needed " in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("j.csv", b"pair_id,annotator,preference\np,\xff,1\n", "line 2.*not UTF-8"),
        ("j.csv.gz", gzip.compress(JUDGEMENTS.encode())[:-9], "damaged gzip"),
        ("j.csv.gz", JUDGEMENTS.encode(), "line 1.*damaged gzip"),
        ("j.txt", b"x", "ending in '.txt'"),
        ("j.jsonl", b'{"pair_id": "p"}\n', "line 1.*'annotator'"),
        ("j.jsonl", b"[1]\n", "line 1.*JSON list"),
        ("j.jsonl", b"{\n", "line 1.*no JSON"),
        ("j.jsonl", b'{"pair_id": "p", "annotator": null, "preference": 1}\n', "line 1.*None"),
        ("j.jsonl", b'{"pair_id": "p", "annotator": "a", "preference": true}\n', "line 1.*True"),
        ("j.jsonl", b"", "no judgement"),
    ],
)
def test_unreadable_judgements(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_recorded(put(tmp_path, name, content), put(tmp_path, "f.csv", PAIRS))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="j.csv: found No such file"):
        read_recorded(tmp_path / "j.csv", put(tmp_path, "f.csv", PAIRS))
    with pytest.raises(ValueError, match="f.npy: found no readable NPY"):
        read_recorded(put(tmp_path, "j.csv", JUDGEMENTS), tmp_path / "f.npy")


@pytest.mark.parametrize(
    ("table", "ids", "message"),
    [
        (np.array([[1.0, np.nan], [1, 1]]), "pair_id\np\nq\n", "line 2.*nan in column 1"),
        (np.ones((3, 2)), "pair_id\np\nq\n", "2 ids.*needed 3"),
        (np.ones((2, 2)), "name\np\nq\n", "line 1.*'name'"),
        (np.ones((2, 2)), "pair_id\np\np\n", "line 3.*second time"),
        (np.ones(2), "pair_id\np\nq\n", "shape"),
        (np.array([["a"], ["b"]]), "pair_id\np\nq\n", "dtype"),
    ],
)
def test_a_broken_npy_is_named(tmp_path, table, ids, message):
    np.save(tmp_path / "f.npy", table)
    put(tmp_path, "f.npy.ids", ids)
    with pytest.raises(ValueError, match=message):
        read_recorded(put(tmp_path, "j.csv", JUDGEMENTS), tmp_path / "f.npy")


def test_ties_count_half_a_win_and_an_undecided_margin_half_an_agreement(tmp_path):
    rows = "p,ann,1\np,ann,0.5\np,bob,0.5\nq,ann,1\nq,bob,0\nq,bob,0\n"
    found = read(tmp_path, "pair_id,annotator,preference\n" + rows)
    z = found.differences(np.arange(2))
    cells = make_cells(found, np.arange(2), z, CounterRng(7))
    assert cells.wins(cells.size).tolist() == [1.5, 0.5, 1, 0]  # p: ann, bob; q: ann, bob
    held = hold_out(found, np.arange(2), z)
    assert held.first.tolist() == [1, 1] and held.second.tolist() == [0, 2]  # ties are left out
    for margin, share in (
        ((1, -1), 3 / 4),
        ((0, -1), 2.5 / 4),
        ((-1, 0), 1.5 / 4),
        ((0, 0), 1 / 2),
    ):
        assert held.agreement(np.array(margin, float)) == share
    assert held.majority() == 3 / 4


def test_every_answer_is_sold_once(tmp_path):
    z = np.random.default_rng(0).standard_normal((6, 2))
    files = write_world(tmp_path, z, np.ones(2), np.ones(3), repeats=4)
    recorded = read_recorded(*files)
    pairs = np.array([1, 4])
    cells = make_cells(recorded, pairs, z[pairs], CounterRng(7))
    assert cells.size.tolist() == [4] * 6
    bought = np.zeros_like(cells.size)
    for k in range(1, 5):
        bought = sell(cells, bought, np.array([1, 0]), np.array([2, 0]))
        pool, counts = pool_of(cells, bought, np.ones(3), *offer(cells, bought, 1, CounterRng(7)))
        assert pool.available[1, 2] == 4 - k and counts[1, 2] == k and pool.available[0, 1] == 4
    rows = (recorded.pair == 4) & (recorded.annotator == 2)
    assert cells.wins(bought)[5] == recorded.preference[rows].sum()


def test_a_large_pool_is_offered_in_part(tmp_path, monkeypatch):
    z = np.random.default_rng(0).standard_normal((300, 2))
    recorded = read_recorded(*write_world(tmp_path, z, np.ones(2), np.ones(2)))
    cells = make_cells(recorded, np.arange(300), z, CounterRng(7))
    monkeypatch.setattr("activeduel.sim.recorded_pool.LARGEST_OFFER", 100)
    bought = np.where(cells.pair < 280, cells.size, 0)  # only the last twenty pairs are open
    pairs, teachers = offer(cells, np.zeros_like(bought), 5, CounterRng(1))
    assert len(pairs) == 50 and teachers.tolist() == [0, 1]
    assert offer(cells, bought, 5, CounterRng(1))[0].tolist() == list(range(280, 300))
