"""A causal language model that is asked in words, in both orders, which response is better."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import transformers

from ...theory.checks import Ints
from ..config import TeacherOptions
from ..data import Text, TextPool
from .judge import load_model, open_judge
from .judge_settings import GenerativeSettings
from .protocol import Answer, Question
from .settings import read_settings, refuse
from .verdicts import Verdict, combine, fill


class Generative:
    """Answers by greedy decoding of one template, with the responses in both orders.

    The same response twice is the answer; different verdicts are a tie (0.5); a reply in which not
    exactly one verdict occurs, or a question longer than the model reads, is None: charged, not
    used. The note of each answer holds the verdicts by place, from which ``order_bias`` counts.
    Each question runs alone and unpadded, so no batch changes it.
    Raises ``ValueError`` on a template without its places, broken verdicts, and a model whose
    configuration cannot be had, is a classifier's, or leaves no room for a question.
    """

    instant = False

    def __init__(self, options: TeacherOptions, pool: TextPool, *, seed: int) -> None:
        del seed  # greedy: nothing is drawn
        self.name, self._options = options.name, options
        self._pairs = len(pool.pair_ids)
        self._settings = read_settings(options, GenerativeSettings)
        self._patterns = self._settings.patterns()
        self._judge = open_judge(options, self._settings)
        if self._judge.longest <= self._settings.max_new_tokens:
            found = f"a model of {self._judge.longest} tokens"
            refuse(options, found, "room beside max_new_tokens", "Choose another.")
        heads = self._judge.config.architectures or ()
        if heads and all(name.endswith("ForSequenceClassification") for name in heads):
            needed = "a causal language model"
            refuse(options, f"a classifier ({heads[0]})", needed, "Say kind: classifier.")

    def capacity(self) -> Ints:
        """One label on each pair (n,): asked again, it says the same."""
        return np.ones(self._pairs, dtype=np.int64)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """The combined verdict to each question, in order."""
        for q in questions:
            verdict = self.verdict(q.prompt, q.responses)
            yield Answer(q.key, verdict.preference, verdict.note)

    def verdict(self, prompt: Text, responses: tuple[Text, Text]) -> Verdict:
        """Both orders asked and combined."""
        a, b = responses
        rows = [
            self._tokens(fill(self._settings.template, prompt, order)) for order in ((a, b), (b, a))
        ]
        room = self._judge.longest - self._settings.max_new_tokens
        if (tokens := max(row["input_ids"].shape[1] for row in rows)) > room:
            return Verdict(None, f"? ?: {tokens} tokens, of {room} that can be read")
        return combine((self.reply(rows[0]), self.reply(rows[1])), self._patterns)

    def reply(self, row: Mapping[str, torch.Tensor]) -> str:
        """What the model writes after one row of tokens."""
        judge = self._judge
        with torch.inference_mode():
            out = self._model.generate(**{k: v.to(judge.device) for k, v in row.items()})
        written = out[0, row["input_ids"].shape[1] :]
        return str(judge.tokenizer.decode(written, skip_special_tokens=True)).strip()

    def _tokens(self, text: str) -> dict[str, torch.Tensor]:
        tokenizer = self._judge.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            found = tokenizer(text, return_tensors="pt")
        else:
            found = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                add_generation_prompt=True, return_tensors="pt", return_dict=True,
            )  # fmt: skip
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    @cached_property
    def _model(self) -> Any:
        kind = transformers.AutoModelForCausalLM
        model = load_model(self._options, self._settings, self._judge, kind)
        ends = model.generation_config.eos_token_id
        ends = self._judge.tokenizer.eos_token_id if ends is None else ends
        first = ends[0] if isinstance(ends, list) else ends
        # greedy whatever the checkpoint's own settings (temperature, penalties, beams) are
        model.generation_config = transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=self._settings.max_new_tokens,
            eos_token_id=ends,
            pad_token_id=first,
        )
        return model
