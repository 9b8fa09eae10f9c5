"""numba's CUDA simulator with threads that take turns: quick, and able to show a missing barrier.

numba's own polls its threads, at a cost of tens of milliseconds a barrier. Here one thread of a block
runs at a time, from barrier to barrier, in an order of our choosing. Where every barrier is in its
place the order changes nothing; where one is missing, "forward" and "backward" differ.

Import it, in a process with NUMBA_ENABLE_CUDASIM=1, before the kernels run.
"""

import random
import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel

ORDER = "forward"  # "backward", "random"
PATIENCE = 60.0  # seconds that a thread waits for its turn


class Turns:
    """Who runs now. A thread that has ended is passed over."""

    def __init__(self, count: int):
        self.alive = list(range(count))
        self.gates = [threading.Semaphore(0) for _ in range(count)]
        self.random = random.Random(0)
        self.failed = False
        self._new_phase()

    def _new_phase(self) -> None:
        self.queue = list(self.alive)
        if ORDER == "backward":
            self.queue.reverse()
        elif ORDER == "random":
            self.random.shuffle(self.queue)

    def pass_on(self) -> None:
        if not self.queue:
            self._new_phase()
        if self.queue:
            self.gates[self.queue.pop(0)].release()

    def wait(self, index: int) -> None:
        if not self.gates[index].acquire(timeout=PATIENCE) or self.failed:
            raise RuntimeError("another thread of the block failed or hangs")

    def end(self, index: int, failed: bool) -> None:
        self.alive.remove(index)
        if failed and not self.failed:
            self.failed = True
            for gate in self.gates:
                gate.release()
        self.pass_on()


def _run_block(self: Any, grid_point: Any, *arguments: Any) -> None:
    points = list(np.ndindex(*self._block_dim))
    self.turns = Turns(len(points))
    threads = []
    for place in points:
        thread = kernel.BlockThread(
            lambda: self._f(*arguments), self, grid_point, place, self._debug
        )
        threads.append(thread)
        thread.start()
    self.turns.pass_on()
    for thread in threads:
        thread.join()
    failures = [t.exception for t in threads if t.exception]
    for error, trace in sorted(failures, key=lambda e: "another thread" in str(e[0])):
        raise error.with_traceback(trace)


_plain_run = kernel.BlockThread.run


def _run_thread(self: Any) -> None:
    turns = self._manager.turns
    turns.wait(self.thread_id)
    try:
        _plain_run(self)
    finally:
        turns.end(self.thread_id, bool(self.exception))


def _barrier(self: Any) -> None:
    turns = self._manager.turns
    turns.pass_on()
    turns.wait(self.thread_id)


kernel.BlockManager.run = _run_block
kernel.BlockThread.run = _run_thread
kernel.BlockThread.syncthreads = _barrier
