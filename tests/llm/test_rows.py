"""Files of every form give the same rows; what cannot be read is named with its line."""

import gzip
import json
import sys

import pytest
from pool_files import SECRET, put, read, refused, rows

from activeduel.llm.config import DataOptions
from activeduel.llm.data import read_pool
from activeduel.llm.rows import names, shown


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
        ("j.csv", b"", "j.csv: found no judgement;"),
        ("j.csv", b"pair_id,annotator,preference\n", "j.csv: found no judgement;"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, rows(), judgements=str(tmp_path / name.replace("elsewhere", "j")))


def test_what_is_no_file_is_looked_for_on_the_hub(tmp_path, monkeypatch):
    for missing in (str(tmp_path / "pool.jsonl"), "./nowhere", "pool.parquet"):
        with pytest.raises(ValueError, match="found no such file"):
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


@pytest.mark.parametrize("divider", [";", "\t"])
def test_a_spreadsheet_may_divide_cells_by_semicolons_or_tabs(tmp_path, divider):
    """As it does where the comma is the decimal sign."""
    known = rows(winner=["a", "b", "tie", "a"])
    lines = [[f" {name}" for name in known[0]], *(row.values() for row in known)]
    text = "\n".join(divider.join(line) for line in lines)
    assert (
        read_pool(put(tmp_path, text.encode(), "pool.csv")).identity
        == read(tmp_path, known).identity
    )


def test_what_csv_cannot_hold_is_said(tmp_path):
    header, messages = (
        "prompt,response_a,response_b\n",
        json.dumps([{"role": "user", "content": "x"}]),
    )
    for content, match in {
        f'{header}"{messages.replace(chr(34), chr(34) * 2)}",y,z\n': "line 2: found messages written as",
        f'{header}x,"{"y " * 70_000}",z\n': "field limit.*or write JSON lines",
        f"{header}x,y\rz,z\n": "new-line character seen in unquoted field.;",
    }.items():
        with pytest.raises(ValueError, match=match):
            read_pool(put(tmp_path, content.encode(), "pool.csv"))


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path):
    reason = "needs pyarrow: pip install 'activeduel[llm]'"
    pyarrow = pytest.importorskip("pyarrow", reason=reason)
    parquet = pytest.importorskip("pyarrow.parquet", reason=reason)
    table = pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 2, names=["prompt", "prompt"])
    parquet.write_table(table, tmp_path / "pool.parquet")
    with pytest.raises(ValueError, match="pool.parquet: found columns prompt, prompt; needed diff"):
        read_pool(DataOptions(str(tmp_path / "pool.parquet")))


def test_a_parquet_page_that_changed_on_the_disk_is_noticed(tmp_path):
    """Where its writer left checksums."""
    reason = "needs pyarrow: pip install 'activeduel[llm]'"
    pyarrow = pytest.importorskip("pyarrow", reason=reason)
    parquet = pytest.importorskip("pyarrow.parquet", reason=reason)
    path = tmp_path / "pool.parquet"
    table = pyarrow.Table.from_pylist(rows(20))
    parquet.write_table(
        table, path, write_page_checksum=True, compression="none", use_dictionary=False
    )
    whole = path.read_bytes()
    at = whole.index(b"yes 7")
    path.write_bytes(whole[:at] + b"YES 7" + whole[at + 5 :])
    with pytest.raises(ValueError, match="after row 0: found no readable Parquet"):
        read_pool(DataOptions(str(path)))


@pytest.mark.parametrize(
    ("files", "split", "read_ones"),
    [
        (["train.jsonl", "test.jsonl"], "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "test", ["test.jsonl"]),
        (
            ["train-0.jsonl", "train-1.jsonl", "train_sft-0.jsonl"],
            "train",
            ["train-0.jsonl", "train-1.jsonl"],
        ),
        (
            ["train_a.jsonl", "train_b.jsonl", "test.jsonl"],
            "train",
            ["train_a.jsonl", "train_b.jsonl"],
        ),
        (["one.jsonl", "two.jsonl"], "train", ["one.jsonl", "two.jsonl"]),
    ],
)
def test_of_a_folder_the_files_of_the_split_are_read(tmp_path, files, split, read_ones):
    for name in files:
        put(tmp_path, [{**rows(1)[0], "pair_id": name, "prompt": name}], name)
    assert read_pool(DataOptions(str(tmp_path), dataset_split=split)).pair_ids == tuple(read_ones)


def test_a_split_that_is_not_there_is_no_other_one(tmp_path):
    """Else somebody would judge by the training pairs."""
    path = put(tmp_path, rows(2), "train.jsonl").dataset_name
    with pytest.raises(ValueError, match="found no split 'test'; needed files whose names begin"):
        read_pool(DataOptions(str(tmp_path), dataset_split="test"))
    with pytest.raises(
        ValueError, match="train.jsonl: found dataset_split 'test'; needed a folder"
    ):
        read_pool(DataOptions(path, dataset_split="test"))


def test_an_address_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="found an address; needed a file"):
        read_pool(DataOptions("https://somewhere/pool.jsonl"))


def test_a_message_shows_names_and_no_texts():
    assert shown("model_a") == "'model_a'" and shown(" ") == "' '" and shown(None) == "None"
    assert shown("is it?") == shown("so so.") == "a text of 6 characters"
    assert shown("pair 7", named=True) == "'pair 7'"
    assert shown("pair 7 of the second day", named=True) == "a text of 24 characters"
    assert names(["prompt", SECRET]) == "prompt, a text of 24 characters"


BROKEN = {
    "list": (b"[1]\n", "line 1: found a list;"),
    "no JSON": (f'{{"prompt": "{SECRET}"\n'.encode(), "line 1: found no JSON"),
    "not UTF-8": (json.dumps(rows(1)[0]).encode() + b"\n\xff\n", "line 2: .*not UTF-8;"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_its_row(tmp_path, case):
    refused(tmp_path, *BROKEN[case])
