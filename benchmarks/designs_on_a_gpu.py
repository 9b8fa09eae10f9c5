"""The row of ten million points on a GPU: runs only when named, and where there is one."""

from typing import Any

from ..theory import d_optimal
from .certificate import TOL, check_design
from .designs import PASSES
from .measure import race, spread, timed
from .row import Outcome, Row, Target

_CHUNK = 1 << 20  # rows


def on_a_device(n: int, d: int, device: str = "cuda") -> Outcome:
    """Ours on a torch tensor against ``PASSES`` plain passes over it, on the same device."""
    try:
        import torch
    except ImportError as error:
        raise RuntimeError(
            "found no torch, needed the extra: pip install 'activeduel[torch]'"
        ) from error
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            "found no CUDA GPU that torch can use; this row runs only where there is one"
        )
    generator = torch.Generator(device).manual_seed(0)
    points = torch.randn((n, d), generator=generator, dtype=torch.float64, device=device)
    inverse = torch.linalg.inv(points[:100_000].T @ points[:100_000] / min(n, 100_000))
    d_optimal(points[: 200 * d], tol=TOL)
    found = race(
        lambda: d_optimal(points, tol=TOL), lambda: _pass(points, inverse), peer_times=PASSES
    )
    design: Any = found.answer
    answer = check_design(points.cpu().numpy(), design.weights.cpu().numpy(), design.log_det, None)
    floor = 2 * n * d * d / _gemm_rate(device)
    note = f"one plain torch pass is measured, times {PASSES}; device: {_name(device)}"
    return Outcome(found.ours, found.peer, found.ratio, floor, answer, notes=(note,))


def _pass(points: Any, inverse: Any) -> float:
    """The largest x'M^-1 x, as anyone would write it; reading it waits for the device."""
    parts = (points[low : low + _CHUNK] for low in range(0, len(points), _CHUNK))
    return max(float(((x @ inverse) * x).sum(dim=1).max()) for x in parts)


def _gemm_rate(device: str) -> float:
    import torch

    a = torch.ones((2048, 2048), dtype=torch.float64, device=device)
    return 2.0 * 2048**3 / spread([timed(lambda: float((a @ a)[0, 0]))[0] for _ in range(5)]).low


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else device


ROWS = (
    Row(
        "gpu/gaussian-1e7-64",
        "10,000,000 Gaussian points, d = 64, a torch tensor on the GPU",
        f"{PASSES} plain passes",
        "one pass over all variances, 2 n d^2 flop at the GPU's float64 rate measured beside it",
        lambda: on_a_device(10**7, 64),
        (Target("seconds", 0.5), Target("ratio", 1)),
        slow=True,
    ),
)
