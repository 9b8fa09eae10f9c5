"""Publishing what a run trained on the model hub, with a card that says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._durable import write_atomically
from .._version import __version__
from .config import Config

CARD = "README.md"


def card(config: Config, kind: str, evaluation: dict[str, Any] | None) -> str:
    """The model card: what it is, what it was trained on and with, how well it does."""
    chosen, by = config.selection, config.selection.selector
    if config.training.method == "adpo":
        by = "adpo"
    head = {"base_model": config.model.model_name_or_path, "library_name": "activeduel"}
    tags = ["preference-learning", "active-learning"]
    text = (
        f"A {kind} trained by activeduel {__version__} on preference labels chosen by `{by}`, "
        f"budget {chosen.budget:g}, seed {chosen.seed}."
    )
    teachers = ", ".join(f"{t.name} ({t.kind})" for t in config.teachers)
    lines = ["---", *(f"{k}: {json.dumps(v)}" for k, v in {**head, "tags": tags}.items()), "---"]
    lines += [f"# {config.output.hub_model_id}", text, f"Teachers: {teachers}."]
    if (
        evaluation is not None and evaluation["accuracy"] is not None
    ):  # None: nobody knows the truth
        lines.append(f"Accuracy on held-out prompts: {evaluation['accuracy']:.4f}.")
    front = len(head) + 3
    return "\n".join(lines[:front]) + "\n\n" + "\n\n".join(lines[front:]) + "\n"


def push(folder: Path, config: Config, kind: str, evaluation: dict[str, Any] | None) -> str:
    """Upload ``folder`` to ``hub_model_id``; its address on the hub.

    Raises ``ValueError`` where the hub cannot be reached or refuses, or the environment says offline.
    """
    from huggingface_hub import HfApi, constants

    name = str(config.output.hub_model_id)
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            "push_to_hub: found HF_HUB_OFFLINE set; needed the hub. Unset it, or say push_to_hub: false."
        )
    write_atomically(folder / CARD, card(config, kind, evaluation).encode())
    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder))
    except Exception as error:  # whatever the hub or the way to it answers
        raise ValueError(
            f"push_to_hub: found that {name!r} cannot be written ({type(error).__name__}); needed a "
            "repository that is yours and a token (hf auth login). The run itself is complete."
        ) from error
