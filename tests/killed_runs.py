"""``activeduel`` in processes that are killed: at a named point, or after some seconds.

    with Runs(log) as runs:
        runs(["llm", "run", "--config", "run.yaml"], point="asked")     # -> -9
        runs(["llm", "run", "--config", "run.yaml"])                    # -> 0

The libraries are imported once, in a server; every run is a process forked from it, which begins
where a fresh one would stand after its imports. The kills stand here, not in the library.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path


class Runs:
    """Starts runs one after another; called with a command line, returns its exit status."""

    def __init__(self, log: Path):
        self.log = log

    def __enter__(self):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.server = subprocess.Popen(
            [sys.executable, __file__, self.log], text=True, env={**os.environ, **threads, **offline},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def __call__(self, words, *, point=None, after=None):
        """-9: killed at ``point`` (asked, answered, trl, adpo) or ``after`` that many seconds."""
        request = {"words": [str(word) for word in words], "point": point, "after": after}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_asked():
    """The questions of the second round are on the disk, no teacher has seen them."""
    from activeduel.llm.ledger import Ledger

    ask = Ledger.ask

    def broken(self, questions):
        ask(self, questions)
        if questions[0].round == 1:
            kill()

    Ledger.ask = broken


def kill_at_answered():
    """The first answers of the second round are on the disk, nobody has used them."""
    from activeduel.llm.ledger import Ledger

    answer_all = Ledger.answer_all

    def broken(self, answers):
        answer_all(self, answers)
        if any(row.round == 1 for arm in self.arms() for row in self.rows(arm)):
            kill()

    Ledger.answer_all = broken


def kill_at_trl():
    """In the second stage of TRL's trainer, after its first step."""
    from transformers import Trainer

    train, step, stages = Trainer.train, Trainer.training_step, []

    def counted(self, *more, **named):
        stages.append(0)
        return train(self, *more, **named)

    def broken(self, *more, **named):
        if len(stages) == 2 and stages[-1]:
            kill()
        stages[-1] += 1
        return step(self, *more, **named)

    Trainer.train, Trainer.training_step = counted, broken


def kill_at_adpo():
    """Two steps after the first checkpoint."""
    from activeduel.llm.checkpoints import Checkpoints

    note = Checkpoints.note

    def broken(self, line):
        note(self, line)
        if line["step"] == 4:
            kill()

    Checkpoints.note = broken


def preload():
    """What a run imports, without using it: no thread may exist before a fork."""
    import matplotlib.pyplot
    import transformers
    from trl import DPOTrainer, RewardTrainer

    import activeduel._llm
    import activeduel.llm.adpo
    import activeduel.llm.dpo
    import activeduel.llm.reward
    import activeduel.validate.llm_report

    assert DPOTrainer and RewardTrainer and activeduel and matplotlib
    assert transformers.LlamaForCausalLM and transformers.LlamaForSequenceClassification


def serve(log):
    preload()
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            become(log, request)
        replies.write(f"{wait(child, request['after'])}\n")
        replies.flush()


def become(log, request):
    """The run itself, in the forked process."""
    from activeduel.cli import main

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    status = 70
    try:
        if request["point"]:
            globals()[f"kill_at_{request['point']}"]()
        status = main(request["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child, seconds):
    """Its exit status; killed after ``seconds`` where it still runs."""
    if seconds is not None:
        handle = os.pidfd_open(child)
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def timed(runs, words):
    """Seconds that a run takes, and its exit status."""
    start = time.perf_counter()
    status = runs(words)
    return time.perf_counter() - start, status


if __name__ == "__main__":
    serve(sys.argv[1])
