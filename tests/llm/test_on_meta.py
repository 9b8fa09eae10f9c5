"""Architectures tried without memory for weights: what LoRA adapts, own code, what cannot be built."""

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import transformers
from sized_models import SMALL, TARGETS, small, with_own_code
from transformers import LlamaConfig

from activeduel.llm.config import ModelOptions
from activeduel.llm.model_size import count
from activeduel.llm.models import load_config
from activeduel.llm.on_meta import NotBuilt, lora_targets


def test_modules_that_are_not_there():
    with pytest.raises(
        ValueError, match=r"found \['query'\].*in a llama.*needed names of its modules"
    ):
        lora_targets(LlamaConfig(**SMALL, num_hidden_layers=1), ("query",))


def test_an_architecture_in_the_models_own_code(tmp_path):
    """With trust_remote_code it is built as any other, also a second time."""
    options = ModelOptions(str(with_own_code(tmp_path)), trust_remote_code=True)
    config, trusted = load_config(options), {"own_code": "main"}
    assert config.model_type == "own-llama"
    for _ in range(2):
        size = count(config, TARGETS, **trusted)
        assert size._replace(targets=()) == count(small()[1])._replace(targets=())
        assert size.targets == lora_targets(config, TARGETS, **trusted)
        assert size.targets == lora_targets(small()[1], TARGETS)


def test_of_a_models_own_code_the_revision_asked_for_is_run(tmp_path, monkeypatch):
    """Not the repository's newest, which nobody has looked at; code that is not trusted is not run."""
    config = load_config(ModelOptions(str(with_own_code(tmp_path)), trust_remote_code=True))
    asked = []
    real = transformers.models.auto.auto_factory.get_class_from_dynamic_module

    def fetch(name, repository, code_revision=None, **more):
        asked.append(code_revision)
        return real(name, repository, **more)

    place = "transformers.models.auto.auto_factory.get_class_from_dynamic_module"
    monkeypatch.setattr(place, fetch)
    with pytest.raises(NotBuilt, match="contains custom code"):
        lora_targets(config, TARGETS)
    assert lora_targets(config, TARGETS, own_code="v1.0") and asked == ["v1.0"]


class Strange(LlamaConfig):
    model_type = "strange"


@pytest.mark.parametrize(
    "error", [TypeError, KeyError, AttributeError, AssertionError, RuntimeError]
)
@pytest.mark.parametrize("where", ["building", "adapting"])
def test_what_cannot_be_built_without_weights_says_so(monkeypatch, error, where):
    """Whatever the architecture's code, or peft's, makes of the meta device."""

    class StrangeForCausalLM(transformers.LlamaForCausalLM):
        config_class = Strange

        def __init__(self, config):
            super().__init__(config)
            if where == "building":
                raise error("no data")

        def named_modules(self, *more, **named):
            if where == "adapting":
                raise error("no data")
            return super().named_modules(*more, **named)

    known = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    monkeypatch.setitem(known._extra_content, Strange, StrangeForCausalLM)
    config = Strange(**SMALL, num_hidden_layers=1)
    for tried in (count, lora_targets):
        with pytest.raises(NotBuilt, match=f"found a strange .*{error.__name__}: .*no data"):
            tried(config)


def test_a_package_that_the_architecture_needs_is_named(tmp_path):
    """Its import stands where the model is built, or peft adapts it."""
    missing = "\n\ndef missing(*more, **named):\n    import no_such_package_here\n"
    missing += "\n\nOwnForCausalLM.__init__ = missing\n"
    # transformers reads a file's imports before it runs it: this one stays in the text of an exec
    folder = with_own_code(tmp_path, f"\n\nexec({missing!r})\n")
    config = load_config(ModelOptions(str(folder), trust_remote_code=True))
    for tried in (count, lora_targets):
        with pytest.raises(ValueError, match="needs a package 'no_such_package_here'.*Install it"):
            tried(config, own_code="main")
