"""A configuration file says each option once, in plain values, or the line is named."""

import pytest

pytest.importorskip("yaml", reason="needs pyyaml: pip install 'activeduel[llm]'")

from activeduel.llm.yaml_file import read_yaml


def read(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    return read_yaml(path)


def test_anchors_and_lists_are_plain_yaml(tmp_path):
    text = (
        "budget: 3\nprices: &p {a: 1, b: 2}\nteachers:\n- {name: x, rationality: *p}\n- {name: y}\n"
    )
    found = read(tmp_path, text)
    assert found["budget"] == 3 and found["teachers"][0]["rationality"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget: 3\nseed: 1\nbudget: 30\n", "line 1: found 'budget' more than once"),
        ("teachers:\n- {name: a,\n   name: b}\n", "line 2: found 'name' more than once"),
        ("run: !!python/object/apply:os.getcwd []\n", "no readable YAML"),
        ("budget: " + "9" * 5000, "no readable YAML"),
        ("budget: 3\n\tseed: 3\n", "no readable YAML .line 2: found character 'tab'"),
        ("budget: 3\nname: caf\udce9\n", "line 2: bytes that are not UTF-8"),
        ("budget: 3\nseed: 010\n", "line 2: found '010', which YAML takes for a number of another"),
        ("seed: 1:30\n", "line 1: found '1:30', which YAML takes for a number of another base"),
        ("run_name: 2024-01-01\n", "found '2024-01-01', which YAML takes for a date"),
        ("- budget\n", "needed a list of options"),
        ("", "needed a list of options"),
    ],
)
def test_what_would_be_read_otherwise_than_meant_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said) as refused:
        read(tmp_path, text)
    assert "run.yaml" in str(refused.value)


def test_what_is_quoted_or_plain_decimal_is_read_as_written(tmp_path):
    found = read(tmp_path, "\ufeffrun_name: '2024-01-01'\nseed: 10\ntime: '1:30'\nlr: 1e-4\n")
    assert found == {"run_name": "2024-01-01", "seed": 10, "time": "1:30", "lr": "1e-4"}


def test_no_message_shows_what_the_file_holds(tmp_path):
    with pytest.raises(ValueError, match="no readable YAML") as refused:
        read(tmp_path, 'hub_token: "hf_SECRET unclosed\n')
    assert "SECRET" not in str(refused.value) and "\n" not in str(refused.value)
