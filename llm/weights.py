"""Which weights these are: hashes of the files that a model and an adapter are made of.

Only safetensors are read, never a pickle. A file's hash is remembered by (path, size, time of last
change), so that 14 GB are read once.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .._durable import write_atomically
from .config import ModelOptions

_SINGLE = "model.safetensors"
MEMORY = "hashes.json"  # remembered hashes, in the folder that the caller names


def weights_identity(
    options: ModelOptions, adapter: Path | None = None, *, memory: Path | None = None
) -> str:
    """sha256 (hexadecimal) over the contents of the model's config and weight files, and the adapter's.

    With ``trust_remote_code`` also the Python files that the model's and tokenizer's configurations
    name, and those that these import.
    ``memory`` is a folder in which hashes of files are remembered. Raises ``ValueError`` where the
    weights cannot be had, or are not safetensors.
    """
    files = [*_model_files(options), *(_adapter_files(adapter) if adapter else [])]
    if options.trust_remote_code:
        files += _code_files(options)
    return _identity(files, memory)


def adapter_identity(adapter: Path, *, memory: Path | None = None) -> str:
    """sha256 (hexadecimal) over the adapter's configuration and weights; errors as above."""
    return _identity(list(_adapter_files(adapter)), memory)


def adapter_task(adapter: Path) -> str | None:
    """peft's task type of a saved adapter ("CAUSAL_LM", "SEQ_CLS", ...; None: not stated)."""
    configuration, _ = _adapter_files(adapter)
    try:
        task = json.loads(configuration.read_bytes()).get("task_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{configuration}: found no JSON object; needed the configuration that peft saves "
            "beside an adapter. Save the adapter again."
        ) from error
    return None if task is None else str(task)


def file_hash(path: Path, memory: Path | None = None) -> str:
    """sha256 (hexadecimal) of a file, remembered in ``memory`` until the file changes."""
    about = path.stat()
    key = f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}"
    known = _remembered(memory)
    if key in known:
        return known[key]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if memory is not None:
        memory.mkdir(parents=True, exist_ok=True)
        known = {**_remembered(memory), key: found}
        write_atomically(memory / MEMORY, json.dumps(known, indent=0).encode())
    return found


def _remembered(memory: Path | None) -> dict[str, str]:
    """What is remembered; nothing where the file is missing or damaged: hashes are then taken anew."""
    if memory is None:
        return {}
    try:
        known = json.loads((memory / MEMORY).read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _identity(files: list[Path], memory: Path | None) -> str:
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name} {file_hash(path, memory)}\n".encode())
    return whole.hexdigest()


def _adapter_files(adapter: Path) -> tuple[Path, Path]:
    files = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    for path in files:
        if not path.is_file():
            raise ValueError(
                f"{adapter}: found no {path.name}; needed an adapter as peft saves it, with weights "
                "as safetensors. Save it again with safe_serialization, or name its folder."
            )
    return files


def _model_files(options: ModelOptions) -> Iterator[Path]:
    """config.json and what transformers reads: the single weight file, else those its index names."""
    yield _file(options, "config.json") or _no_weights(options, "config.json")
    single, index = _file(options, _SINGLE), None
    if single is None:
        index = _file(options, f"{_SINGLE}.index.json")
    if index is None:
        yield single or _no_weights(options, _SINGLE)
        return
    for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values())):
        yield _file(options, name) or _no_weights(options, name)


def _code_files(options: ModelOptions) -> list[Path]:
    """Python files that transformers runs for this model, sorted; a missing one is found at loading."""
    from transformers.dynamic_module_utils import get_relative_imports

    open_, found = [], {}
    for name in ("config.json", "tokenizer_config.json"):
        path = _file(options, name)
        classes = json.loads(path.read_bytes()).get("auto_map", {}) if path else {}
        named = classes.values() if isinstance(classes, dict) else [classes]
        for value in named:
            open_ += value if isinstance(value, list) else [value]
    # "module.Class", or "owner/name--module.Class" where the code is another repository's
    todo = [c.rpartition("--")[::2] for c in open_ if c]
    queue = [(repo, module.rpartition(".")[0]) for repo, module in todo]
    while queue:
        repo, module = queue.pop()
        where = (
            replace(options, model_name_or_path=repo, model_revision="main") if repo else options
        )
        path = _file(where, module.replace(".", "/") + ".py")
        if path is not None and (repo, module) not in found:
            found[repo, module] = path
            queue += [(repo, name) for name in get_relative_imports(path)]
    return [found[key] for key in sorted(found)]


def _file(options: ModelOptions, name: str) -> Path | None:
    """The file in the model's folder, or in the hub's local cache (fetched where that is allowed)."""
    from transformers.utils.hub import cached_file

    folder = Path(options.model_name_or_path)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        found = cached_file(
            options.model_name_or_path,
            name,
            revision=options.model_revision,
            _raise_exceptions_for_missing_entries=False,
        )
    except OSError as error:
        raise ValueError(
            f"model_name_or_path: found neither a folder {options.model_name_or_path!r} nor such a "
            f"model on the hub ({type(error).__name__}); needed one. Check the name, the access, and "
            "whether HF_HUB_OFFLINE is meant."
        ) from error
    return None if found is None else Path(found)


def _no_weights(options: ModelOptions, name: str) -> NoReturn:
    hub = (
        ""
        if Path(options.model_name_or_path).is_dir()
        else (
            " It is no folder here, so it was looked for on the hub: check the name, the access, and "
            "whether HF_HUB_OFFLINE is meant."
        )
    )
    raise ValueError(
        f"model_name_or_path: found no {name} in {options.model_name_or_path!r}; needed a model saved "
        "as safetensors (pickled .bin weights are never read). Save it again with save_pretrained, or "
        f"name a revision that has safetensors.{hub}"
    )
