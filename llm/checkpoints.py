"""A training's checkpoints: weights and optimizer as safetensors, the rest as JSON, published whole."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .._durable import TEMPORARY, publish_folder, sync_folder, write_atomically
from .._provenance import canonical

_IDENTITY, _LOG, _STATE = "training.json", "steps.jsonl", "state.json"
_WEIGHTS, _OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight


class Checkpoints:
    """The working folder of one training: its newest checkpoint, and its log up to there.

    ``ValueError`` where the folder belongs to another training or a checkpoint is damaged; either
    is named and kept.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = canonical(identity).encode()
        owner = folder / _IDENTITY
        if not owner.exists():
            write_atomically(owner, wanted)
        elif owner.read_bytes() != wanted:
            raise ValueError(
                f"{folder}: found the checkpoints of a training with other data or options; needed "
                "its own. They were kept as they are: move the folder away, or name another output."
            )

    @property
    def log(self) -> Path:
        """The log: one JSON object a line and step."""
        return self.folder / _LOG

    def note(self, line: Mapping[str, Any]) -> None:
        """Add a step to the log."""
        with self.log.open("a") as stream:
            stream.write(json.dumps(line, allow_nan=False) + "\n")

    def save(
        self, step: int, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        """Publish a checkpoint after ``step`` steps, then drop the older ones."""
        final = self.folder / f"checkpoint-{step:08d}"
        if final.exists():
            return
        temporary = self.folder / f"{TEMPORARY}{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        moments = {
            f"{key}.{name}": optimizer.state[weight][key].contiguous()
            for name, weight in weights.items()
            for key in _MOMENTS
            if weight in optimizer.state
        }
        save_file({k: w.detach().contiguous() for k, w in weights.items()}, temporary / _WEIGHTS)
        save_file(moments, temporary / _OPTIMIZER)
        length = self.log.stat().st_size if self.log.exists() else 0
        state = {"step": step, "log_bytes": length}
        (temporary / _STATE).write_text(json.dumps(state))
        if length:
            with self.log.open("rb") as stream:
                os.fsync(stream.fileno())
        publish_folder(temporary, final)
        for older in self._all()[:-1]:
            shutil.rmtree(older)

    def restore(self, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> int:
        """Put the newest checkpoint into weights and optimizer, cut the log there; its step, else 0."""
        found = self._all()
        if not found:
            self._cut(0)
            return 0
        try:
            state = json.loads((found[-1] / _STATE).read_bytes())
            saved = load_file(found[-1] / _WEIGHTS)
            moments = load_file(found[-1] / _OPTIMIZER)
            for name, weight in weights.items():
                weight.data.copy_(saved[name])
                if f"{_MOMENTS[0]}.{name}" in moments:  # not: no step has moved it yet
                    optimizer.state[weight] = {
                        key: moments[f"{key}.{name}"].to(weight.device) for key in _MOMENTS
                    }
            self._cut(state["log_bytes"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{found[-1]}: found a checkpoint that cannot be read ({type(error).__name__}); "
                "needed a whole one. It was kept: move it away to start from the one before, or anew."
            ) from error
        return int(state["step"])

    def close(self) -> None:
        """Remove the working folder: what was trained is published elsewhere."""
        shutil.rmtree(self.folder)
        sync_folder(self.folder.parent)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))

    def _cut(self, length: int) -> None:
        if length and (not self.log.exists() or self.log.stat().st_size < length):
            raise ValueError("the log is shorter than the checkpoint says")
        if self.log.exists():
            os.truncate(self.log, length)
