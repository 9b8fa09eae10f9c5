"""A sequence classifier with one output (a reward model) as a teacher."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import transformers

from ...theory.checks import Ints
from ..config import TeacherOptions
from ..data import Message, Text, TextPool
from ..rendering import encode
from .judge import Judge, load_model, open_judge
from .judge_settings import ClassifierSettings
from .protocol import Answer, Question, uniform
from .settings import read_settings, refuse


class Classifier:
    """Prefers the response with the larger reward r.

    With temperature 0: 1 where r(a) > r(b), 0 where r(a) < r(b), 0.5 where they are equal; with
    temperature T > 0: P(a) = mu((r(a) - r(b)) / T), by a number named by (seed, teacher, pair id,
    number). ``form``: "chat" template, "pair" of texts (encoders), or one joint "text"; "auto" takes
    the first that the tokenizer is made for.
    Each text runs alone and unpadded, so that its reward cannot depend on what else is asked.
    Raises ``ValueError`` where the model's configuration cannot be had or says not one output; and,
    when first asked, where the head was never trained.
    """

    instant = False

    def __init__(self, options: TeacherOptions, pool: TextPool, *, seed: int) -> None:
        self.name, self._options, self._seed = options.name, options, int(seed)
        self._pairs = len(pool.pair_ids)
        self._settings = read_settings(options, ClassifierSettings)
        self._judge = open_judge(options, self._settings)
        if (outputs := self._judge.config.num_labels) != 1:
            found = f"a classifier with {outputs} outputs (num_labels of its configuration)"
            refuse(options, found, "one output, the reward", "Choose a reward model.")
        self._differences: dict[int, float] = {}

    def capacity(self) -> Ints:
        """One label on each pair (n,) with temperature 0, for it says the same again; else any."""
        return np.full(self._pairs, -1 if self._settings.temperature else 1, dtype=np.int64)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """The model's preference to each question, in order."""
        for q in questions:
            if q.pair not in self._differences:
                a, b = (self.reward(q.prompt, response) for response in q.responses)
                self._differences[q.pair] = a - b
            yield Answer(q.key, self._preference(q, self._differences[q.pair]))

    def _preference(self, q: Question, difference: float) -> float:
        if math.isnan(difference):
            raise ValueError(
                f"teacher {self.name!r}: found a reward that is not a number on pair {q.pair_id!r}; "
                "needed finite rewards. Try dtype: float32."
            )
        if not self._settings.temperature:
            return 0.5 + 0.5 * ((difference > 0) - (difference < 0))
        u = difference / self._settings.temperature
        e = math.exp(-abs(u))
        p = 1 / (1 + e) if u >= 0 else e / (1 + e)
        return float(uniform(self._seed, self.name, q.pair_id, q.number) < p)

    def reward(self, prompt: Text, response: Text) -> float:
        """The model's one output for one response, in float32 or wider."""
        judge = self._judge
        tokens = _tokens(judge, self._settings.form, prompt, response)
        with torch.inference_mode():
            logits = self._model(**{k: v.to(judge.device) for k, v in tokens.items()}).logits
        return float(logits.float().reshape(()))

    @cached_property
    def _model(self) -> Any:
        kind = transformers.AutoModelForSequenceClassification
        return load_model(self._options, self._settings, self._judge, kind)


def _tokens(judge: Judge, form: str, prompt: Text, response: Text) -> dict[str, torch.Tensor]:
    """One unpadded row, cut to the model's length: what is longer loses its beginning."""
    tokenizer = judge.tokenizer
    if form == "auto":
        form = "pair" if tokenizer.sep_token else "text"
        form = "chat" if getattr(tokenizer, "chat_template", None) else form
    if form == "pair":
        tokenizer.truncation_side = "left"
        texts = [_joined(text) for text in (prompt, response)]
        row: dict[str, torch.Tensor] = dict(
            tokenizer(*texts, truncation=True, max_length=judge.longest, return_tensors="pt")
        )
        return row
    rows: tuple[Any, Any] = (_joined(prompt), _joined(response))
    if form == "chat":
        rows = (_messages("user", prompt), _messages("assistant", response))
    [found] = encode(tokenizer, [rows], judge.longest)
    ids = torch.from_numpy(np.asarray(found.ids, dtype=np.int64))[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _messages(role: str, text: Text) -> tuple[Message, ...]:
    return ({"role": role, "content": text},) if isinstance(text, str) else text


def _joined(text: Text) -> str:
    return text if isinstance(text, str) else "\n\n".join(m["content"] for m in text)
