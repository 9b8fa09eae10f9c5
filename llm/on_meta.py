"""A model on torch's meta device, without memory for its weights: built, and tried with peft."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers


class NotBuilt(ValueError):
    """An architecture that could not be tried without memory: nothing is said against a run with it."""


class _Refused(ValueError):
    """What peft refuses, in our words."""


def lora_targets(
    config: Any, asked: Sequence[str] | None = None, *, own_code: str | None = None
) -> tuple[tuple[int, int], ...]:
    """(in, out) of what peft adapts in this model, tried on torch's meta device.

    ``asked``: names of modules, "all-linear", or None: peft's choice for the architecture.
    ``own_code``: the revision of the model's own code, where that is trusted. Raises
    ``ValueError`` where peft makes no choice, or finds no module of these names, ``NotBuilt`` where
    it could not be tried.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    names = "all-linear" if asked and "all-linear" in asked else asked and list(asked)
    task = "CAUSAL_LM" if _is_causal(config) else "FEATURE_EXTRACTION"
    with warnings.catch_warnings(), trying(config):
        warnings.simplefilter("ignore")  # of what training says again
        model = on_meta(config, own_code)
        lora = LoraConfig(r=1, task_type=task, target_modules=names)
        try:
            adapted = get_peft_model(model, lora, low_cpu_mem_usage=True)
        except ValueError as error:
            found = f"{sorted(asked)}" if asked else "none"
            raise _Refused(
                f"lora_target_modules: found {found}, from which peft cannot tell what to adapt in a "
                f"{config.model_type}; needed names of its modules. Say lora_target_modules: "
                "[all-linear], or name some, or say use_peft: false."
            ) from error
    layers = [layer for layer in adapted.modules() if isinstance(layer, LoraLayer)]
    ends = [(layer.lora_A["default"], layer.lora_B["default"]) for layer in layers if layer.lora_A]
    return tuple((a.weight.numel(), b.weight.numel()) for a, b in ends)


@contextmanager
def trying(config: Any) -> Iterator[None]:
    """What goes wrong in an architecture's own code, which may raise anything, is ``NotBuilt``."""
    try:
        yield
    except _Refused:
        raise
    except ImportError as error:
        package = f" {error.name!r}" if error.name else ""
        raise ValueError(
            f"model_name_or_path: found a {config.model_type} that needs a package{package} which is "
            f"not here ({str(error).strip()[:200]}); needed it to build the model. Install it."
        ) from error
    except Exception as error:
        raise NotBuilt(
            f"model_name_or_path: found a {config.model_type} that cannot be built without its weights "
            f"({type(error).__name__}: {str(error).strip()[:200]}); needed that to estimate its size."
        ) from error


def on_meta(config: Any, own_code: str | None) -> Any:
    """The model without memory for its weights; a causal one with its head."""
    causal = _is_causal(config)
    auto: Any = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    known = transformers.MODEL_FOR_CAUSAL_LM_MAPPING if causal else transformers.MODEL_MAPPING
    code = (getattr(config, "auto_map", None) or {}).get(auto.__name__, "--")
    more: dict[str, Any] = {}
    if own_code and type(config) not in known and "--" not in code:  # --: of another repository
        more["code_revision"] = own_code
    with torch.device("meta"):
        return auto.from_config(config, trust_remote_code=own_code is not None, **more)


def _is_causal(config: Any) -> bool:
    names = config.architectures or []
    if names:
        return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    return type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
