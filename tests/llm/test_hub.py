"""What is published says where it comes from; without a hub it says so."""

import pytest

from activeduel.llm.hub import card, push
from activeduel.llm.read_config import build

CONFIG = build(
    {
        "dataset_name": "pool.jsonl",
        "model_name_or_path": "some/model",
        "teachers": [{"name": "ann", "kind": "recorded"}],
        "push_to_hub": True,
        "hub_model_id": "me/reward",
    }
)


def test_the_card_names_model_rule_and_teachers():
    text = card(CONFIG, "reward model", {"accuracy": 0.75})
    yaml = pytest.importorskip("yaml", reason="needs the extra 'llm'")
    _, head, body = text.split("---\n")
    assert yaml.safe_load(head)["base_model"] == "some/model"
    assert "`dual`" in body and "ann (recorded)" in body and "0.7500" in body


def hub(monkeypatch, uploaded, fails=False):
    import huggingface_hub

    class Api:
        def create_repo(self, name, exist_ok):
            uploaded.append(("repository", name, exist_ok))

        def upload_folder(self, repo_id, folder_path):
            if fails:
                raise OSError("no route to somewhere with a token in it")
            names = sorted(path.name for path in folder_path.iterdir())
            uploaded.append((repo_id, names))
            return f"address of {repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def test_the_folder_goes_up_with_its_card(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="needs the extra 'llm'")
    (tmp_path / "reward.json").write_text("{}")
    uploaded = []
    hub(monkeypatch, uploaded)
    assert push(tmp_path, CONFIG, "reward model", None) == "address of me/reward"
    assert uploaded == [
        ("repository", "me/reward", True),
        ("me/reward", ["README.md", "reward.json"]),
    ]


def test_a_refusal_is_said_without_its_details(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="needs the extra 'llm'")
    hub(monkeypatch, [], fails=True)
    with pytest.raises(ValueError, match="'me/reward' cannot be written") as refused:
        push(tmp_path, CONFIG, "reward model", None)
    assert "token in it" not in str(refused.value)


def test_offline_means_offline(tmp_path, monkeypatch):
    hub_module = pytest.importorskip("huggingface_hub", reason="needs the extra 'llm'")
    monkeypatch.setattr(hub_module.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE"):
        push(tmp_path, CONFIG, "reward model", None)


@pytest.mark.parametrize(
    "failure", [RuntimeError("no route, token hf_x"), ValueError("no such name")]
)
def test_whatever_the_way_to_the_hub_raises_is_one_message(tmp_path, monkeypatch, failure):
    """The libraries of the network have errors of their own, which are no OSError."""
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra 'llm'")
    hub(monkeypatch, [])

    class Api:
        def create_repo(self, name, exist_ok):
            raise failure

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ValueError, match="push_to_hub: found that 'me/reward' cannot") as refused:
        push(tmp_path, CONFIG, "reward model", None)
    assert "hf_x" not in str(refused.value) and type(failure).__name__ in str(refused.value)
