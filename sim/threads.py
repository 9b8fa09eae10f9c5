"""Replicates on several cores, as threads: kernels run without the interpreter's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

Progress = Callable[[int], None]  # takes the number of replicates just finished


def in_threads(
    work: Callable[[int, int], None], replicates: int, workers: int, progress: Progress | None
) -> None:
    """Cut the replicates into small ranges and work them off; the results do not depend on the cut."""
    size = max(1, -(-replicates // (8 * workers)))
    ranges = [(low, min(low + size, replicates)) for low in range(0, replicates, size)]
    if workers == 1:
        for low, high in ranges:
            work(low, high)
            if progress:
                progress(high - low)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(work, low, high): high - low for low, high in ranges}
        try:
            for done in as_completed(waiting):
                done.result()
                if progress:
                    progress(waiting[done])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
