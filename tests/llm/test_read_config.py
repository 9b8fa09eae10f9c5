"""A configuration is what the user wrote, or an error that names the option."""

import dataclasses
import json
import math

import pytest

from activeduel.llm.config import Config
from activeduel.llm.presets import PRESETS
from activeduel.llm.read_config import build, flatten, options, read_config

LEAST = {
    "dataset_name": "pool.jsonl",
    "model_name_or_path": "model",
    "teachers": [{"name": "ann", "kind": "recorded"}],
}

PEOPLE = {"name": "ann", "kind": "people", "folder": "team"}


def test_a_file_and_what_is_laid_over_it(tmp_path):
    pytest.importorskip("yaml", reason="needs the extra 'llm'")
    path = tmp_path / "run.yaml"
    path.write_text(
        "dataset_name: pool.jsonl\nmodel_name_or_path: model\nlearning_rate: 1e-5\n"
        "baselines: [random, apo]\nload_in_4bit: true\n"
        "teachers:\n- {name: ann, kind: recorded, rationality: {code: 2, prose: 0.5}}\n"
    )
    config = read_config(path, {"budget": "120", "label_batch": 10, "baselines": "random, dual"})
    assert config.training.learning_rate == 1e-5  # YAML itself reads 1e-5 as text
    assert config.model.load_in_4bit is True
    assert config.selection.budget == 120 and config.selection.baselines == ("random", "dual")
    assert config.teachers[0].rationality_in(["prose", "code"]) == [0.5, 2.0]


def test_flat_options_are_read_back_as_they_were():
    changes = {"lora_target_modules": ["q_proj"], "warm_up": 12, "confidence_threshold": "inf"}
    config = build({**LEAST, **changes})
    assert config.training.confidence_threshold == math.inf
    assert build(json.loads(json.dumps(flatten(config), allow_nan=False))) == config


def test_every_option_has_one_home():
    names = [f.name for g in dataclasses.fields(Config) if g.name != "teachers"
             for f in dataclasses.fields(type(getattr(build(LEAST), g.name)))]  # fmt: skip
    assert len(names) == len(set(names)) == len(options())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"confidence_treshold": 1.3}, "Did you mean 'confidence_threshold'"),
        ({"Gamma": 1.3}, "no such option"),
        ({"budget": "many"}, "'budget': found 'many', needed a number"),
        ({"budget": 0}, "more than 0"),
        ({"budget": float("nan")}, "needed a number"),
        ({"budget": float("inf")}, "finite"),
        ({"replicates": 2.5}, "needed a whole number"),
        ({"load_in_4bit": 1}, "needed true or false"),
        ({"seed": True}, "needed a whole number"),
        ({"pooling": "first"}, "one of last, mean"),
        ({"selector": "daul"}, "Did you mean 'dual'"),
        ({"baselines": ["rand"]}, "Did you mean 'random'"),
        ({"run_name": "../elsewhere"}, "folder inside output_dir"),
        ({"run_name": ".."}, "folder inside output_dir"),
        ({"load_in_4bit": True, "load_in_8bit": True}, "at most one"),
        ({"budget": 10, "label_batch": 20}, "at most the budget"),
        ({"test_fraction": 1}, "below 1"),
        ({"lora_dropout": 1.0}, r"share in \[0, 1\)"),
        ({"teachers": []}, "at least one"),
        ({"teachers": "ann"}, "needed a list"),
        ({"teachers": [{"name": "ann"}]}, "no 'kind'"),
        ({"teachers": [{"name": "ann", "kind": "oracle"}]}, "one of recorded"),
        ({"teachers": LEAST["teachers"] * 2}, "twice"),
        ({"teachers": [PEOPLE, {**PEOPLE, "name": "bob"}]}, "a folder each"),
        ({"teachers": [{"name": "ann", "kind": "people"}]}, r"'ann' .people.: found no 'folder'"),
        ({"teachers": [{**PEOPLE, "folder": ""}]}, "'folder': found '', needed text"),
        ({"teachers": [{**LEAST["teachers"][0], "costs": 2}]}, "Did you mean 'cost'"),
        ({"teachers": [{**LEAST["teachers"][0], "cost": 0}]}, "teachers: 'ann', option 'cost'"),
        ({"teachers": [{**LEAST["teachers"][0], "rationality": -1e300}]}, "at most 1e.06 in size"),
        ({"teachers": [{"name": "a\nb", "kind": "recorded"}]}, "text in one line"),
        ({"dataset_name": ""}, "'dataset_name': found '', needed text in one line, not empty"),
        ({"dataset_name": "a\0b"}, "text in one line"),
        ({"run_name": "x" * 101}, "100 at most"),
        ({"selector": "x" * 5000}, r"^selector 'x+\.\.\.x+': found no such"),
        ({"adpo_teacher": "bob"}, "best, random or a name"),
        ({"push_to_hub": True}, "hub_model_id"),
        ({"push_to_hub": True, "hub_model_id": "../../etc"}, "OWNER/NAME"),
        ({"teachers": [{"name": "best", "kind": "recorded"}]}, "means something else"),
        ({"teachers": [{"name": " ", "kind": "recorded"}]}, "text in one line, not empty"),
        ({"preset": "zephyr-7b-lora"}, "zephyr-7b-lora-adpo"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(change, said):
    with pytest.raises(ValueError, match=said):
        read_config(None, {**LEAST, **change})


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="'dataset_name': found none"):
        build({k: v for k, v in LEAST.items() if k != "dataset_name"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "\x00"])
def test_a_file_that_is_not_a_configuration(tmp_path, text):
    pytest.importorskip("yaml", reason="needs the extra 'llm'")
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.yaml"):
        read_config(path)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_a_whole_configuration(name):
    config = read_config(None, {"preset": name})
    training = config.training
    assert training.method == "adpo" and training.beta == 0.1
    effective = training.per_device_train_batch_size * training.gradient_accumulation_steps
    assert effective == 64
    assert training.pseudo_labels is not name.endswith("without-pseudo-labels")
    assert (config.model.use_peft, training.learning_rate) in ((True, 1e-5), (False, 5e-7))


def test_the_users_own_options_win_over_a_preset():
    config = read_config(None, {**LEAST, "preset": "zephyr-7b-lora-adpo", "lora_r": 8})
    assert config.model.lora_r == 8 and config.model.model_name_or_path == "model"


def test_a_presets_split_goes_with_its_data_set():
    data = read_config(None, {"preset": "zephyr-7b-lora-adpo", "dataset_name": "p.jsonl"}).data
    assert (data.dataset_name, data.dataset_split) == ("p.jsonl", "train")
    own = {"preset": "zephyr-7b-lora-adpo", "dataset_name": "p", "dataset_split": "test"}
    assert read_config(None, own).data.dataset_split == "test"
    same = {**own, "dataset_name": PRESETS["zephyr-7b-lora-adpo"]["dataset_name"]}
    del same["dataset_split"]
    assert read_config(None, same).data.dataset_split == "train_prefs"


def test_without_a_file_it_says_how_to_name_one():
    for flat in ({}, {"budget": "20"}):
        with pytest.raises(ValueError, match="configuration: found none.*--config FILE"):
            read_config(None, flat)


def test_a_batch_that_nobody_chose_is_at_most_the_budget():
    assert build({**LEAST, "budget": "20"}).selection.label_batch == 20
    assert build({**LEAST, "budget": 90}).selection.label_batch == 50
    with pytest.raises(ValueError, match="'label_batch': found 50, needed at most the budget"):
        build({**LEAST, "budget": 20, "label_batch": 50})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": 10**400}, "'budget': found 1000"),  # too large for a float
        ({"run_name": "cache"}, "the folder of features that all runs share"),
        ({"teachers": [{1: "x", "kind": "recorded"}]}, "number 0 has no 'name'; found"),
    ],
)
def test_what_python_would_stumble_over_is_a_message(change, said):
    with pytest.raises(ValueError, match=said):
        build({**LEAST, **change})


def test_a_preset_that_is_no_name_is_a_message():
    with pytest.raises(ValueError, match=r"preset: found no \['zephyr'\]"):
        read_config(None, {"preset": ["zephyr"]})


def test_a_seed_keeps_all_its_digits():
    assert build({**LEAST, "seed": 2**53 + 1}).selection.seed == 2**53 + 1


def test_people_are_asked_once_unless_more_is_said():
    """By default nothing is compared: each baseline and replicate would take their time again."""
    options = build({**LEAST, "teachers": [PEOPLE]}).selection
    assert (options.baselines, options.replicates) == ((), 1)
    assert build(LEAST).selection.replicates > 1  # negative control


def test_a_home_folder_is_found_and_an_empty_flag_takes_an_option_back(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    flat = {**LEAST, "dataset_name": "~/pool.jsonl", "gold_column": "", "output_dir": "~/out"}
    config = build(flat)
    assert config.data.dataset_name == "/home/ann/pool.jsonl"
    assert config.output.output_dir == "/home/ann/out"
    team = build({**LEAST, "teachers": [{**PEOPLE, "folder": "~/team"}]}).teachers[0]
    assert team.settings["folder"] == "/home/ann/team"
    assert config.data.gold_column is None


def test_a_teacher_may_be_below_chance():
    """It prefers the worse response; read the other way round, that informs as well."""
    row = {**LEAST["teachers"][0], "rationality": {"code": -1.5, "prose": 0}}
    assert build({**LEAST, "teachers": [row]}).teachers[0].rationality_in(["code", "prose"]) == [
        -1.5,
        0,
    ]
