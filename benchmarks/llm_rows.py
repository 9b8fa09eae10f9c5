"""The language-model rows: each calls what a run calls, on a random model, and returns its numbers."""

import gc
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .llm_subject import Subject, options, text_pool
from .measure import spread

BOARDS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 flop a second by the makers' data sheets (SXM boards)."""
UNTIMED = 2  # first steps of a training
ROUNDS, LABEL_BATCH, DIMENSIONS, TEACHERS = 12, 50, 60, 3  # of the selection row

Numbers = dict[str, Any]


class Setting(NamedTuple):
    """What every row is given."""

    subject: Subject
    folder: Path  # the model
    scratch: Path
    device: str
    done: dict[str, Numbers]  # rows measured before


class Row(NamedTuple):
    """A row: what it needs besides the extra's core, its target in words, how it is measured."""

    needs: tuple[str, ...]
    problem: str
    target: str
    measure: Callable[[Setting], Numbers]


def features(setting: Setting) -> Numbers:
    """Both responses of every pair through the model, into the cache: flops over seconds."""
    import torch

    from ..llm.features import features as make
    from ..llm.footprint import matrix_rate
    from ..llm.model_size import count, forward_flops
    from ..llm.models import load_config

    subject = setting.subject
    model, reading, _ = options(subject, setting.folder, setting.device)
    pool = text_pool(subject.pairs, subject.length, subject.widths["vocab_size"])
    rate = matrix_rate(setting.device, getattr(torch, subject.dtype), 1.0)
    cache = setting.scratch / "features"
    shutil.rmtree(cache, ignore_errors=True)
    _forget(setting.device)
    start = time.perf_counter()
    make(pool, model, reading, cache)
    in_all = time.perf_counter() - start
    (manifest,) = cache.glob("*/manifest.json")
    facts = json.loads(manifest.read_text())["facts"]
    size, run = count(load_config(model)), facts["last_run"]
    texts, tokens = facts["texts"], facts["tokens"]
    flops = forward_flops(size, [tokens / texts] * texts)
    reached = flops / run["seconds"]
    board = _board(setting.device)
    return {
        "parameters_without_embedding_and_head": size.body,
        "tokens": tokens,
        "tokens_with_padding": run["tokens_with_padding"],
        "seconds": run["seconds"],
        "seconds_with_loading": in_all,
        "tokens_per_second": tokens / run["seconds"],
        "flops": flops,
        "flop_per_second": reached,
        "matrix_flop_per_second": rate,
        "share_of_matrix_rate": reached / rate,
        "board_flop_per_second": board,
        "share_of_board": None if board is None else reached / board,
        "met": None if board is None else reached / board >= 0.45,
        **_memory(setting, _estimated(setting, "features", subject.pairs, subject.length)),
    }


def training(setting: Setting) -> Numbers:
    """LoRA DPO as ADPO's loop with every pair asked, and TRL's DPOTrainer on the same rows, in turns."""
    ours: list[float] = []
    peer: list[float] = []
    out: Numbers = {"peer": "TRL DPOTrainer, reference log-probabilities precomputed as ours are"}
    missing = absent(("trl", "datasets"))
    for turn in range(setting.subject.turns):
        _forget(setting.device)
        ours.append(_tokens_a_second(setting, adpo_times(setting, turn)))
        if not turn:
            subject = setting.subject
            pairs = subject.batch * subject.steps
            out |= _memory(setting, _estimated(setting, "adpo", pairs, subject.length))
        if not missing:
            _forget(setting.device)
            peer.append(_tokens_a_second(setting, trl_times(setting, turn)))
    out |= {"tokens_per_second": spread(ours)._asdict(), "tokens_a_step": _tokens(setting)}
    if missing:
        return out | {"not_measured": f"the peer: {lacks(missing)}", "met": None}
    ratio = spread([a / b for a, b in zip(ours, peer, strict=True)])
    out |= {"peer_tokens_per_second": spread(peer)._asdict(), "ratio": ratio._asdict()}
    return out | {"met": ratio.median >= 0.95 if setting.device == "cuda" else None}


def adpo_times(setting: Setting, turn: int) -> list[float]:
    """The moments at which our steps were done."""
    from ..llm.adpo import train_adpo

    subject, times = setting.subject, list[float]()
    model, reading, how = options(subject, setting.folder, setting.device)
    pairs = subject.batch * subject.steps
    pool = text_pool(pairs, subject.length, subject.widths["vocab_size"])
    train_adpo(
        pool, range(pairs), lambda step, asked, differences: [1.0] * len(asked),
        model, reading, how, _fresh(setting.scratch / f"adpo-{turn}"), seed=0,
        cache=setting.scratch / "reference.sqlite",
        progress=lambda done, total: times.append(time.perf_counter()),
    )  # fmt: skip
    return times


def trl_times(setting: Setting, turn: int) -> list[float]:
    """The same of TRL's trainer, with the arguments that ``train_dpo`` gives it."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from ..llm.training import load_base, lora, tokenizer_of
    from ..llm.trl_stage import stage, trainer_settings

    subject, times = setting.subject, list[float]()
    model, _, how = options(subject, setting.folder, setting.device)
    pairs = subject.batch * subject.steps
    pool = text_pool(pairs, subject.length, subject.widths["vocab_size"])

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *words: Any, **more: Any) -> None:
            times.append(time.perf_counter())

    rows = [
        {"prompt": pool.prompts[i], "chosen": a, "rejected": b}
        for i, (a, b) in enumerate(pool.responses)
    ]
    with stage(_fresh(setting.scratch / f"trl-{turn}"), 0) as temporary:
        tokenizer = tokenizer_of(model)
        policy = load_base(model, tokenizer)
        trainer = DPOTrainer(
            policy,
            args=DPOConfig(
                **trainer_settings(model, how, temporary, 0, False),
                report_to="none",
                beta=how.beta,
                max_length=subject.length,
                precompute_ref_log_probs=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora(model, policy),
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return times


def selection(setting: Setting) -> Numbers:
    """What a head-only run does besides reading: projection from d_model, refits, dual batches."""
    from ..llm.head import belief, project, refit
    from ..theory import SELECTORS

    subject, rng = setting.subject, np.random.default_rng(0)
    pairs = subject.pairs * 3 // 4
    phi = rng.standard_normal((pairs, 2, subject.widths["hidden_size"]), dtype=np.float32)
    start = time.perf_counter()
    projection = project(phi, np.arange(pairs), ROUNDS * LABEL_BATCH, DIMENSIONS)
    z = projection.differences(phi)
    projected = time.perf_counter() - start
    context, rationality = np.zeros(pairs, dtype=np.int64), rng.uniform(0.5, 2, (TEACHERS, 1))
    cost, capacity = np.ones(TEACHERS), np.full((pairs, TEACHERS), -1)
    counts, bought = np.zeros_like(capacity), np.zeros((0, 2), dtype=np.int64)
    fitted = chosen = 0.0
    for number in range(ROUNDS):
        start = time.perf_counter()
        said = (rng.random(len(bought)) < 0.5).astype(float)
        fit = refit(z, context, bought[:, 0], bought[:, 1], said, rationality)
        pool, known = belief(z, context, fit, cost, capacity, counts)
        fitted += time.perf_counter() - start
        start = time.perf_counter()
        picks = SELECTORS["dual"](pool, known, float(LABEL_BATCH), np.random.default_rng(number))
        chosen += time.perf_counter() - start
        new = np.stack([picks.pair, picks.teacher], axis=1)
        np.add.at(counts, (new[:, 0], new[:, 1]), 1)
        bought = np.concatenate([bought, new])
    read = setting.done.get("features", {}).get("seconds")
    rest = projected + fitted
    out = {
        "pairs": pairs, "dimensions": z.shape[1], "labels": len(bought), "rounds": ROUNDS,
        "seconds_projecting": projected, "seconds_refitting": fitted, "seconds_selecting": chosen,
        "seconds_reading": read,
    }  # fmt: skip
    if read is None:
        return out | {"share": None, "met": None, "not_measured": "the share: row features was not"}
    share = chosen / (read + rest + chosen)
    return out | {
        "share": share,
        "share_with_projection_and_refits": (chosen + rest) / (read + rest + chosen),
        "met": share < 0.02 if setting.device == "cuda" else None,
    }


def four_bits(setting: Setting) -> Numbers:
    """Peak memory of ADPO steps in NF4, one pair at a time, with checkpointing."""
    from ..llm.adpo import train_adpo

    subject = setting.subject
    model, reading, how = options(subject, setting.folder, setting.device, four_bits=True)
    pool = text_pool(3, subject.long, subject.widths["vocab_size"])
    _forget(setting.device)
    seen: list[float] = []

    def ask(step: int, asked: list[int], differences: list[float]) -> list[float | None]:
        seen.extend(differences)
        return [1.0] * len(asked)

    start = time.perf_counter()
    train_adpo(
        pool, range(3), ask, model, reading, how, _fresh(setting.scratch / "four-bits"), seed=0,
        cache=setting.scratch / "reference-four-bits.sqlite",
    )  # fmt: skip
    found = _memory(setting, _estimated(setting, "adpo", 3, subject.long, four_bits=True))
    peak = found["peak_bytes"]
    return {
        "tokens_a_text": subject.long,
        "seconds_with_loading": time.perf_counter() - start,
        "finite": bool(np.isfinite(seen).all()),
        **found,
        "met": None if peak is None else peak <= 16e9,
    }


# -------------------------------------------------------------------------------------------------


def absent(names: Sequence[str]) -> list[str]:
    """Those of these packages that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def lacks(names: Sequence[str]) -> str:
    return f"{', '.join(names)} not installed here"


def _board(device: str) -> float | None:
    import torch

    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((flops for board, flops in BOARDS.items() if board in name), None)


def _forget(device: str) -> None:
    """Free what is not held any more, and start the peak from here."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(setting: Setting, estimated: float) -> Numbers:
    import torch

    gpu = setting.device == "cuda"
    peak = torch.cuda.max_memory_allocated() if gpu else None
    return {"peak_bytes": peak, "estimated_bytes": estimated}


def _estimated(
    setting: Setting, stage: str, pairs: int, length: int, *, four_bits: bool = False
) -> float:
    from ..llm.config import Config, DataOptions, TrainingOptions
    from ..llm.footprint import estimate

    model, reading, how = options(
        setting.subject, setting.folder, setting.device, four_bits=four_bits
    )
    how = TrainingOptions() if stage == "features" else how
    config = Config(DataOptions("pool"), model, (), reading, training=how)
    found = estimate(config, pairs, [length], device=setting.device, rate=1.0)
    return found.held(stage, "device")


def _tokens(setting: Setting) -> int:
    return 2 * setting.subject.batch * setting.subject.length


def _tokens_a_second(setting: Setting, times: list[float]) -> float:
    timed = times[UNTIMED - 1 :]
    return (len(timed) - 1) * _tokens(setting) / (timed[-1] - timed[0])


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


ROWS = {
    "features": Row(
        (), "features of every pair, both responses", ">= 45 % of the board's bfloat16", features
    ),
    "training": Row(
        (), "LoRA DPO steps beside TRL's", ">= 95 % of TRL's tokens a second", training
    ),
    "selection": Row((), "dual batches, d_model 4096 projected", "< 2 % of the run", selection),
    "four-bits": Row(
        ("bitsandbytes",), "QLoRA step, one pair, checkpointing", "<= 16 GB at the peak", four_bits
    ),
}
