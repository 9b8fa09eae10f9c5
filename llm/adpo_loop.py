"""The steps of ADPO: what each asks, believes and learns; the same after any interruption."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_

from ..theory.checks import Floats
from .checkpoints import Checkpoints
from .config import ModelOptions, TrainingOptions
from .held_out import HeldOut
from .reference import Progress
from .steps import draw, micro_batches, rate, step_count
from .teachers.protocol import Waiting
from .tokens import TokenisedPairs, rows_of
from .training import adamw, collate, log_probabilities, mixed_precision

Ask = Callable[[int, list[int], list[float]], Sequence[float | None]]
Pseudo = Callable[[int, list[int], list[int]], None]
# counts of a step: questions, pseudo-labels, questions without an answer (it could not be read, or nobody
# could be asked), pseudo-labels whose truth is known and decided, those of them that agree with it
KINDS = dict.fromkeys(("asked", "pseudo", "unanswered", "pseudo_known", "pseudo_right"), 0)
_COUNTED = ("pairs", "asked", "pseudo")  # what the curve stands against


class _Judged(NamedTuple):
    """What a micro-batch learns from, and what the log says of it."""

    preference: list[float]  # for a
    weight: list[float]  # 1, or 0 where there is no preference
    counts: dict[str, int]


@dataclass
class Loop:
    """The loop over steps; everything it draws is a function of (seed, epoch) or (seed, step)."""

    policy: Any
    found: TokenisedPairs
    reference: Floats  # (len, 2) log-probabilities
    pad: int
    model: ModelOptions
    training: TrainingOptions
    seed: int
    ask: Ask
    pseudo: Pseudo | None
    truth: Sequence[float] | Floats | None
    held_out: HeldOut | None
    eval_steps: int  # between looks at them; 0: only before the first step and after the last
    at_reference: bool  # before the first step

    def run(self, checkpoints: Checkpoints, progress: Progress | None) -> None:
        """Take every step that is not in the checkpoints yet, and log it."""
        weights = {n: w for n, w in self.policy.named_parameters() if w.requires_grad}
        optimizer = adamw(weights, self.training.learning_rate, self.training.weight_decay)
        done = checkpoints.restore(weights, optimizer)
        steps = step_count(len(self.found.pairs), self.training)
        so_far = Counter[str]()
        for line in checkpoints.lines():
            so_far.update({kind: line[kind] for kind in _COUNTED if "loss" in line})
        if not done:
            self.look(0, so_far, checkpoints)
        for step in range(done, steps):
            try:
                line = self.step(step, steps, optimizer, list(weights.values()))
            except Exception:  # whatever ask raises: the weights are still those of the step before
                if step:
                    checkpoints.save(step, weights, optimizer)
                raise
            checkpoints.note(line)
            so_far.update({kind: line[kind] for kind in _COUNTED})
            if step + 1 == steps or (self.eval_steps and (step + 1) % self.eval_steps == 0):
                self.look(step + 1, so_far, checkpoints)
            if (step + 1) % self.training.save_steps == 0:
                checkpoints.save(step + 1, weights, optimizer)
            if progress:
                progress(step + 1, steps)

    def look(self, step: int, so_far: Counter[str], checkpoints: Checkpoints) -> None:
        """Log how the weights after ``step`` steps order the held-out pairs."""
        if self.held_out is None:
            return
        # a policy that is its reference has D = 0, and not the sign of a rounding error
        found = self.held_out.look(None if step == 0 and self.at_reference else self.policy)
        seen, asked, guessed = (so_far[kind] for kind in _COUNTED)
        counts = {"pairs_seen": seen, "asked": asked, "pseudo": guessed}
        checkpoints.note({"step": step, **counts, **found})

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
        norm = clip_grad_norm_(weights, self.training.max_grad_norm or math.inf).item()
        _finite("gradient", step, norm)
        share = rate(step, steps, self.training.warmup_ratio, self.training.lr_scheduler_type)
        for group in optimizer.param_groups:
            group["lr"] = self.training.learning_rate * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        size = sum(len(batch) for batch in batches)
        return {
            "step": step, "loss": total, "learning_rate": self.training.learning_rate * share,
            "grad_norm": norm, "pairs": size, "mean_abs_difference": moved / size, **KINDS, **counts,
        }  # fmt: skip

    def difference(self, batch: list[int]) -> torch.Tensor:
        """r(a) - r(b) of each pair, r = beta (log pi - log pi_ref), with the current weights: (b,)."""
        rows = rows_of([self.found.rows[i] for i in batch])
        with mixed_precision(self.model):
            device = next(self.policy.parameters()).device
            found = log_probabilities(self.policy, collate(rows, self.pad, device))
        reference = torch.tensor(self.reference[batch].T, dtype=torch.float32, device=device)
        a, b = found.view(2, -1) - reference
        return self.training.beta * (a - b)

    def judge(self, step: int, batch: list[int], difference: list[float]) -> _Judged:
        """Query, pseudo-label or nothing, for each pair of a micro-batch."""
        pairs = [self.found.pairs[i] for i in batch]
        _finite("reward difference", step, *difference)  # before anybody is asked, and paid
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
        unanswered = sum(answer is None for answer in answers)
        truth: list[tuple[float, float]] = []
        if self.truth is not None:
            truth = [(preference[i], float(self.truth[pairs[i]])) for i in guessed]
        known = [said == true for said, true in truth if true in (0.0, 1.0)]
        counts = (len(asked), len(guessed), unanswered, len(known), sum(known))
        return _Judged(preference, weight, dict(zip(KINDS, counts, strict=True)))


def _finite(what: str, step: int, *values: float) -> None:
    if not all(map(math.isfinite, values)):
        raise ValueError(
            f"{what}: found one that is not finite in step {step}; needed numbers. Lower "
            "learning_rate, or look at the weights that training starts from."
        )


def adpo_loss(
    difference: torch.Tensor, preference: Sequence[float], weight: Sequence[float]
) -> torch.Tensor:
    """Mean over all pairs of -w [p log sigmoid(D) + (1 - p) log sigmoid(-D)]; w = 0 has no gradient."""
    p, w = difference.new_tensor(preference), difference.new_tensor(weight)
    losses = -(p * F.logsigmoid(difference) + (1 - p) * F.logsigmoid(-difference))
    return (w * losses).mean()
