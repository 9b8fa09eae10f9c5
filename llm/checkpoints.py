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
from .identity import differing
from .surroundings import written_to

_IDENTITY, _LOG, _STATE = "training.json", "steps.jsonl", "state.json"
_WEIGHTS, _OPTIMIZER = "weights", "optimizer"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight
_PART = 2**31  # bytes in a file: from a GPU, a file passes through the machine's memory as a whole


class Checkpoints:
    """The working folder of one training: its newest checkpoint, and its log up to there.

    A checkpoint takes the trained weights three times (AdamW keeps two moments of each); the disk holds
    two while a new one is written, one otherwise. Beside what is trained, memory holds one part of it.

    ``ValueError`` where the folder belongs to another training or a checkpoint is damaged; either
    is named and kept.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(f"{TEMPORARY}*"):  # of a training that was killed
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
        owner = folder / _IDENTITY
        if not owner.exists():
            write_atomically(owner, canonical(identity).encode())
        elif other := differing(_owner(owner), identity):
            raise ValueError(
                f"{folder}: found the checkpoints of another training ({other}); needed its own. They "
                "were kept as they are: move the folder away, or name another output."
            )

    @property
    def log(self) -> Path:
        """The log: one JSON object a line."""
        return self.folder / _LOG

    def lines(self) -> list[dict[str, Any]]:
        """What the log says so far."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def note(self, line: Mapping[str, Any]) -> None:
        """Add a line to the log."""
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
        temporary.mkdir()
        moments = {
            f"{key}.{name}": optimizer.state[weight][key]
            for name, weight in weights.items()
            for key in _MOMENTS
            if weight in optimizer.state
        }
        _write({name: w.detach() for name, w in weights.items()}, temporary, _WEIGHTS)
        _write(moments, temporary, _OPTIMIZER)
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
            saved, moments = (_read(found[-1], name) for name in (_WEIGHTS, _OPTIMIZER))
            for name, weight in weights.items():
                weight.data.copy_(saved[name])
                if f"{_MOMENTS[0]}.{name}" in moments:  # not: no step has moved it yet
                    optimizer.state[weight] = {  # copies, or they would keep the file on the disk
                        key: moments[f"{key}.{name}"].to(weight.device, copy=True)
                        for key in _MOMENTS
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


def _owner(path: Path) -> dict[str, Any]:
    """Whose folder it is; nobody's where that cannot be read."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        return {}


def _write(tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
    """Files ``name``-00000.safetensors and on, of at most ``_PART`` bytes or one tensor."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    for key, tensor in tensors.items():
        size = sum(t.nbytes for t in parts[-1].values())
        if parts[-1] and size + tensor.nbytes > _PART:
            parts.append({})
        parts[-1][key] = tensor
    for number, part in enumerate(parts):
        file = folder / f"{name}-{number:05d}.safetensors"
        with written_to(folder):
            save_file({key: tensor.contiguous() for key, tensor in part.items()}, file)


def _read(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """What ``_write`` wrote; the tensors are still on the disk."""
    paths = sorted(folder.glob(f"{name}-*.safetensors"))
    return {key: tensor for path in paths for key, tensor in load_file(path).items()}
