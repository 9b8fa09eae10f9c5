"""A configuration file says each option once, in plain values, or the line is named."""

import pytest

pytest.importorskip("yaml", reason="needs pyyaml: pip install 'activeduel[llm]'")

from activeduel.llm.yaml_file import read_yaml


def read(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
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
        ("budget: \t3\n\tseed: 3\n", "no readable YAML"),
        ("- budget\n", "needed a list of options"),
        ("", "needed a list of options"),
    ],
)
def test_what_would_be_read_otherwise_than_meant_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said) as refused:
        read(tmp_path, text)
    assert "run.yaml" in str(refused.value)
