"""ADPO: DPO that asks only where the policy itself is not sure, and believes itself elsewhere.

Source: RLHF with Active Queries (arXiv 2402.09401), Algorithm 2. A short loop of its own, in plain
torch: with every answer asked it is DPO, and its losses and weights are those of TRL's DPOTrainer.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from .._durable import TEMPORARY, publish_folder
from ..theory.checks import Floats
from .checkpoints import Checkpoints
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .reference import Progress, cached_log_probabilities
from .steps import draw, micro_batches, rate, step_count
from .teachers.protocol import Waiting
from .tokens import TokenisedPairs, rows_of, tokenise
from .training import (
    adamw,
    checkpoint_activations,
    collate,
    kept_randomness,
    load_base,
    log_probabilities,
    lora,
    max_length_of,
    mixed_precision,
    quiet,
    save_model,
    tokenizer_of,
    with_adapter,
)

if TYPE_CHECKING:
    from .data import TextPool

Ask = Callable[[int, list[int], list[float]], Sequence[float | None]]
Pseudo = Callable[[int, list[int], list[int]], None]
BASE = "base"  # the model without adapters
# counts of a step: questions, pseudo-labels, answers that could not be read, pseudo-labels whose truth
# is known and decided, those of them that agree with it
_KINDS = dict.fromkeys(("asked", "pseudo", "unparsable", "pseudo_known", "pseudo_right"), 0)


class _Judged(NamedTuple):
    """What a micro-batch learns from, and what the log says of it."""

    preference: list[float]  # for a
    weight: list[float]  # 1, or 0 where there is no preference
    counts: dict[str, int]


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
    progress: Progress | None = None,
) -> Path:
    """Train a policy on ``pairs`` and publish it as ``folder``; a folder that is there is returned.

    With the current weights r = beta (log pi - log pi_ref) and D = r(a) - r(b). Where |D| <=
    ``confidence_threshold`` the preference o is asked, elsewhere it is the pseudo-label sign(D), or
    nothing without ``pseudo_labels``. Loss of a batch: -log sigmoid(o D), averaged over ALL its pairs:
    one without a preference (not asked, or None for an answer that could not be read) counts as 0
    and is still divided by; a tie is the mean of both losses. One AdamW step an effective batch
    (micro-batch x accumulation), so all its questions are decided by the weights before the step.

    ``ask(step, pairs, differences)`` is called once a micro-batch that has questions and returns the
    preference for a (1, 0.5, 0 or None) of each; ``pseudo(step, pairs, signs)`` is told the
    pseudo-labels (1 a, -1 b). After a kill the steps since the last checkpoint are done again, with
    the same questions. If ``ask`` raises, the steps before are kept; ``Waiting`` is raised after the
    step's other questions were asked too. ``truth`` (one value a pair of the pool) is only counted
    against the pseudo-labels.

    ``start``: adapter to continue from, then ``reference`` must be named: ``BASE`` (the model without
    adapters) or an adapter. ``cache`` keeps the reference's log-probabilities. Every epoch has its own
    order of the pairs, a function of (seed, epoch); dropout is one of (seed, step, micro-batch).
    ``ValueError`` where no pair is left, options do not fit, or checkpoints belong to another run.
    """
    working = folder.with_name(f"{folder.name}.training")
    if folder.exists():
        shutil.rmtree(working, ignore_errors=True)
        return folder
    anchor = _anchor(model, start, reference)
    options = [asdict(model), asdict(features), asdict(replace(training, save_steps=0))]
    options[2]["confidence_threshold"] = repr(training.confidence_threshold)  # inf is not JSON
    identity = {
        "pool": pool.identity, "pairs": [int(pair) for pair in pairs], "seed": seed,
        "options": options, "start": start and str(start), "reference": str(anchor or BASE),
    }  # fmt: skip
    checkpoints = Checkpoints(working, identity)
    with kept_randomness(seed), quiet():
        tokenizer = tokenizer_of(model)
        length = max_length_of(model, tokenizer, features.max_length)
        found = tokenise(pool, pairs, tokenizer, length, training.max_prompt_length)
        if not found.pairs:
            raise ValueError(
                f"pairs: found none with a prompt shorter than {length} tokens "
                f"among {len(pairs)}; needed one. Raise max_length, or set max_prompt_length."
            )
        rows = rows_of(found.tokens, length)
        values = cached_log_probabilities(rows, model, tokenizer, features, cache, adapter=anchor)
        policy = _policy(model, training, tokenizer, start, seed)
        loop = _Loop(
            policy, found, values.reshape(2, -1).T, tokenizer.pad_token_id, length,
            model, training, seed, ask, pseudo, truth,
        )  # fmt: skip
        loop.run(checkpoints, progress)
        facts = {**identity, "left_out_prompt_too_long": found.prompt_too_long}
        _publish(policy, tokenizer, checkpoints, folder, facts)
    return folder


@dataclass
class _Loop:
    """The loop over steps; everything it draws is a function of (seed, epoch) or (seed, step)."""

    policy: Any
    found: TokenisedPairs
    reference: Floats  # (len, 2) log-probabilities
    pad: int
    max_length: int
    model: ModelOptions
    training: TrainingOptions
    seed: int
    ask: Ask
    pseudo: Pseudo | None
    truth: Sequence[float] | Floats | None

    def run(self, checkpoints: Checkpoints, progress: Progress | None) -> None:
        weights = {n: w for n, w in self.policy.named_parameters() if w.requires_grad}
        optimizer = adamw(weights, self.training.learning_rate, self.training.weight_decay)
        done = checkpoints.restore(weights, optimizer)
        steps = step_count(len(self.found.pairs), self.training)
        for step in range(done, steps):
            try:
                line = self.step(step, steps, optimizer, list(weights.values()))
            except Exception:  # whatever ask raises: the weights are still those of the step before
                if step:
                    checkpoints.save(step, weights, optimizer)
                raise
            checkpoints.note(line)
            if (step + 1) % self.training.save_steps == 0:
                checkpoints.save(step + 1, weights, optimizer)
            if progress:
                progress(step + 1, steps)

    def step(
        self, step: int, steps: int, optimizer: torch.optim.Optimizer, weights: list[Any]
    ) -> dict[str, Any]:
        """One gradient step over the micro-batches of an effective batch; its line of the log."""
        batches = micro_batches(step, len(self.found.pairs), self.training, self.seed)
        total, moved, counts, waiting = 0.0, 0.0, Counter[str](), None
        for number, batch in enumerate(batches):
            torch.manual_seed(draw(self.seed, "dropout", step, number))
            difference = self.difference(batch)
            try:
                judged = self.judge(step, batch, difference.tolist())
            except Waiting as error:  # people answer all questions of a step together
                waiting = error
                continue
            loss = adpo_loss(difference, judged.preference, judged.weight)
            (loss / len(batches)).backward()
            counts.update(judged.counts)
            total += loss.item() / len(batches)
            moved += difference.detach().abs().sum().item()
        if waiting is not None:
            raise waiting
        if self.training.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(weights, self.training.max_grad_norm)
        share = rate(step, steps, self.training.warmup_ratio, self.training.lr_scheduler_type)
        for group in optimizer.param_groups:
            group["lr"] = self.training.learning_rate * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        size = sum(len(batch) for batch in batches)
        return {
            "step": step, "loss": total, "learning_rate": self.training.learning_rate * share,
            "pairs": size, "mean_abs_difference": moved / size, **_KINDS, **counts,
        }  # fmt: skip

    def difference(self, batch: list[int]) -> torch.Tensor:
        """r(a) - r(b) of each pair, r = beta (log pi - log pi_ref), with the current weights: (b,)."""
        rows = rows_of([self.found.tokens[i] for i in batch], self.max_length)
        with mixed_precision(self.model):
            device = next(self.policy.parameters()).device
            found = log_probabilities(self.policy, collate(rows, self.pad, device))
        reference = torch.tensor(self.reference[batch].T, dtype=torch.float32, device=device)
        a, b = found.view(2, -1) - reference
        return self.training.beta * (a - b)

    def judge(self, step: int, batch: list[int], difference: list[float]) -> _Judged:
        """Query, pseudo-label or nothing, for each pair of a micro-batch."""
        pairs = [self.found.pairs[i] for i in batch]
        if not all(map(math.isfinite, difference)):  # before anybody is asked, and paid
            raise ValueError(
                f"reward difference: found one that is not finite in step {step}; needed numbers. Lower "
                "learning_rate, or look at the weights that training starts from."
            )
        preference, weight = [0.5] * len(batch), [0.0] * len(batch)
        sure = [abs(d) > self.training.confidence_threshold for d in difference]
        asked = [i for i, is_sure in enumerate(sure) if not is_sure]
        guessed = [i for i, is_sure in enumerate(sure) if is_sure and self.training.pseudo_labels]
        for i in guessed:
            preference[i], weight[i] = float(difference[i] > 0), 1.0
        if guessed and self.pseudo:
            signs = [1 if difference[i] > 0 else -1 for i in guessed]
            self.pseudo(step, [pairs[i] for i in guessed], signs)
        answers: Sequence[float | None] = []
        if asked:
            answers = self.ask(step, [pairs[i] for i in asked], [difference[i] for i in asked])
        for i, answer in zip(asked, answers, strict=True):
            if answer is not None:
                preference[i], weight[i] = float(answer), 1.0
        unparsable = sum(answer is None for answer in answers)
        truth: list[tuple[float, float]] = []
        if self.truth is not None:
            truth = [(preference[i], float(self.truth[pairs[i]])) for i in guessed]
        known = [said == true for said, true in truth if true in (0.0, 1.0)]
        counts = (len(asked), len(guessed), unparsable, len(known), sum(known))
        return _Judged(preference, weight, dict(zip(_KINDS, counts, strict=True)))


def adpo_loss(
    difference: torch.Tensor, preference: Sequence[float], weight: Sequence[float]
) -> torch.Tensor:
    """Mean over all pairs of -w [p log sigmoid(D) + (1 - p) log sigmoid(-D)]; w = 0 has no gradient."""
    p, w = difference.new_tensor(preference), difference.new_tensor(weight)
    losses = -(p * F.logsigmoid(difference) + (1 - p) * F.logsigmoid(-difference))
    return (w * losses).mean()


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


def _policy(
    model: ModelOptions, training: TrainingOptions, tokenizer: Any, start: Path | None, seed: int
) -> Any:
    """The model to train: with a fresh adapter, a saved one, or as a whole."""
    policy = with_adapter(load_base(model, tokenizer), start, trainable=True)
    if start is None and model.use_peft:
        from peft import get_peft_model

        torch.manual_seed(seed)
        policy = get_peft_model(policy, lora(model, policy))
    if training.gradient_checkpointing:
        checkpoint_activations(policy)
    return policy.train()


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
    lines = [json.loads(line) for line in checkpoints.log.read_text().splitlines()]
    totals = {kind: sum(line[kind] for line in lines) for kind in _KINDS}
    facts = {**facts, "steps": len(lines), **totals}
    (temporary / "adpo.json").write_text(json.dumps(facts, indent=1) + "\n")
    publish_folder(temporary, folder)
    checkpoints.close()
