"""One thread for many small factorisations: several BLAS threads only wait for each other there."""

from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import scipy.linalg  # noqa: F401  loads the libraries that the controller is to find
from threadpoolctl import ThreadpoolController

_P = ParamSpec("_P")
_R = TypeVar("_R")


@cache
def _libraries() -> Any:
    return ThreadpoolController().select(user_api="blas")


_first = Lock()  # held by the caller that set the limit


def on_one_blas_thread(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function`` with BLAS on one thread; what was set before returns with it.

    The limit is the process's. Of callers that overlap only the first sets it, and takes it back;
    the others may see it end early, which costs them time only. Two threads made a solve of 10 ms
    take 1.4 s while another process kept the second core busy.
    """

    @wraps(function)
    def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not _first.acquire(blocking=False):
            return function(*args, **kwargs)
        try:
            with _libraries().limit(limits=1):
                return function(*args, **kwargs)
        finally:
            _first.release()

    return limited
