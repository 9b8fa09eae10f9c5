"""ADPO: DPO that asks only where the policy itself is not sure, and believes itself elsewhere.

Source: RLHF with Active Queries (arXiv 2402.09401), Algorithm 2. A short loop of its own, in plain
torch: with every answer asked it is DPO, and its losses and weights are those of TRL's DPOTrainer.
"""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._durable import TEMPORARY, publish_folder
from ..theory.checks import Floats
from .adpo_loop import KINDS, Ask, Loop, Pseudo
from .checkpoints import Checkpoints
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .held_out import HeldOut, decided
from .identity import published, training_identity
from .reference import Progress, read_pairs
from .surroundings import kept_randomness, quiet
from .training import checkpoint_activations, save_model, start_policy, tokenizer_of
from .weights import adapter_identity

if TYPE_CHECKING:
    from .data import TextPool

BASE = "base"  # the model without adapters
FACTS = "adpo.json"


def train_adpo(
    pool: "TextPool",
    pairs: Sequence[int],
    ask: Ask,
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    folder: Path,
    *,
    seed: int,
    cache: Path,
    start: Path | None = None,
    reference: Path | str | None = None,
    pseudo: Pseudo | None = None,
    truth: Sequence[float] | Floats | None = None,
    held_out: Sequence[int] = (),
    eval_steps: int = 0,
    progress: Progress | None = None,
    reference_progress: Progress | None = None,
) -> Path:
    """Train a policy on ``pairs`` and publish it as ``folder``; a folder that is there is returned.

    With the current weights r = beta (log pi - log pi_ref) and D = r(a) - r(b). Where |D| <=
    ``confidence_threshold`` the preference o is asked, elsewhere it is the pseudo-label sign(D), or
    nothing without ``pseudo_labels``. Loss of a micro-batch: the mean of -log sigmoid(o D) over ALL
    its pairs: one without a preference (not asked, or None for an answer that could not be read)
    counts as 0 and is still divided by; a tie is the mean of both losses. One AdamW step takes the
    mean of ``gradient_accumulation_steps`` such losses, at the end of an epoch of the fewer that are
    left, the last from fewer pairs: as TRL. So all its questions are decided by the weights before it.

    ``ask(step, pairs, differences)`` is called once a micro-batch that has questions and returns the
    preference for a (1, 0.5, 0 or None) of each; ``pseudo(step, pairs, signs)`` is told the
    pseudo-labels (1 a, -1 b). After a kill the steps since the last checkpoint are done again, with
    the same questions. If ``ask`` raises, the steps before are kept; ``Waiting`` is raised after the
    step's other questions were asked too. ``truth`` (one value a pair of the pool) is only counted
    against the pseudo-labels, and on ``held_out`` pairs against sign(D): before the first step, after
    every ``eval_steps`` and after the last. These points are lines of the log, and "curve" in adpo.json.

    ``start``: adapter to continue from, then ``reference`` must be named: ``BASE`` (the model without
    adapters) or an adapter. ``cache`` keeps the reference's log-probabilities. Every epoch has its own
    order of the pairs, a function of (seed, epoch); dropout is one of (seed, step, micro-batch).
    ``ValueError`` where no pair is left, options do not fit, or ``folder`` or its checkpoints belong to
    another training: other pairs, tokens, weights or options.
    """
    anchor, memory = _anchor(model, start, reference), cache.parent
    identity = training_identity(
        pool, list(map(int, pairs)), model, features, training, seed, memory=memory,
        held_out=decided(held_out, truth), eval_steps=eval_steps,
        start=start and adapter_identity(start, memory=memory),
        reference=anchor and adapter_identity(anchor, memory=memory),
    )  # fmt: skip
    working = folder.with_name(f"{folder.name}.training")
    if published(folder, FACTS, identity):
        shutil.rmtree(working, ignore_errors=True)
        return folder
    checkpoints = Checkpoints(working, identity)
    with kept_randomness(seed), quiet():
        tokenizer = tokenizer_of(model)
        read = partial(
            read_pairs, pool, model=model, tokenizer=tokenizer, features=features, cache=cache,
            adapter=anchor, max_prompt_length=training.max_prompt_length,
            progress=reference_progress,
        )  # fmt: skip
        found, values = read(pairs)
        if not found.pairs:
            raise ValueError(
                f"pairs: found none with a prompt shorter than {features.max_length} tokens "
                f"among {len(pairs)}; needed one. Raise max_length, or set max_prompt_length."
            )
        judged, their_values = read(decided(held_out, truth))
        true = np.array([truth[pair] for pair in judged.pairs] if truth is not None else [])
        pad = tokenizer.pad_token_id
        kept = HeldOut(
            judged, their_values, true, model, pad, training.beta, features.tokens_per_batch
        )
        policy = start_policy(model, tokenizer, start, seed)
        if training.gradient_checkpointing:
            checkpoint_activations(policy)
        loop = Loop(
            policy, found, values, pad, model, training, seed, ask, pseudo, truth,
            kept if len(held_out) else None, eval_steps, at_reference=start == anchor,
        )  # fmt: skip
        loop.run(checkpoints, progress)
        facts = {
            "pairs": len(found.pairs),
            "left_out_prompt_too_long": found.prompt_too_long,
            "identity": identity,
        }
        _publish(policy, tokenizer, checkpoints, folder, facts)
    return folder


def _anchor(model: ModelOptions, start: Path | None, reference: Path | str | None) -> Path | None:
    """The reference's adapter, None for the model without."""
    if start is not None and reference is None:
        raise ValueError(
            f"reference: found none, but training continues from the adapter {start}; needed one by "
            f"name. Say {BASE!r} for the model without adapters, or the adapter's folder."
        )
    if start is not None and not model.use_peft:
        raise ValueError(
            "start: found an adapter with use_peft false; needed LoRA. Set use_peft, or name the "
            "whole model in model_name_or_path."
        )
    return None if reference is None or reference == BASE else Path(reference)


def _publish(
    policy: Any, tokenizer: Any, checkpoints: Checkpoints, folder: Path, facts: dict[str, Any]
) -> None:
    """Adapter (or model), log and totals as one folder; then the checkpoints go."""
    temporary = checkpoints.folder / f"{TEMPORARY}final"
    shutil.rmtree(temporary, ignore_errors=True)
    save_model(policy, temporary)
    if not hasattr(policy, "peft_config"):
        tokenizer.save_pretrained(temporary)
    shutil.copy(checkpoints.log, temporary)
    lines = checkpoints.lines()
    steps = [line for line in lines if "loss" in line]
    totals = {kind: sum(line[kind] for line in steps) for kind in KINDS}
    curve = [line for line in lines if "loss" not in line]
    facts = {"steps": len(steps), **totals, **facts, "curve": curve}
    (temporary / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
    publish_folder(temporary, folder)
    checkpoints.close()
