"""Leverages z'A^-1 z of all rows of z, while vectors are added to A one by one."""

import math
from typing import Any

from array_api_compat import array_namespace, device

from ..pool import Array
from .lazy import TIE, Rows, Shrinking, at, blocks, largest_block

STRIPE = 512
"""Rows of a triangular factor that are multiplied at a time."""


class Leverages(Shrinking):
    """v_i = z_i' A^-1 z_i, brought up to date on demand; ``add`` adds weight * z z' to A.

    With A_0 = L L' and W = L^-1: v_i = |W z_i|^2 - sum_s (z_i'u_s)^2 by Sherman and Morrison, where
    u_s = A_(s-1)^-1 z c_s. W is computed in float64 whatever the type of z. Rounding in |W z_i|^2
    does not shrink with v_i: bounds have room for it, and where a row's v fell so far that it could
    matter, A is factorised anew.

    Promise: whatever the weights, the row that ranks first has in exact arithmetic at least
    1 - tolerance of the best weighted leverage: 1e-9 in float64, 1e-3 in float32; as long as W z
    does not cancel (|W||z| at most some 1e3 |W z|: centre features with a large common offset).
    Memory beside z and A: two matrices like A (three for float32 while A is factorised), blocks of
    a 64th of z.
    Raises ``ValueError`` where the matrix is not positive definite.

    >>> import numpy as np
    >>> leverages = Leverages(np.eye(2), np.diag([1.0, 4.0]))
    >>> leverages.values.round(9).tolist()
    [1.0, 0.25]
    >>> leverages.add(0, 3.0)
    >>> leverages.bounds.round(9).tolist(), leverages.values.round(9).tolist()
    ([1.0, 0.25], [0.25, 0.25])
    """

    def __init__(self, z: Array, matrix: Array):
        xp = array_namespace(z)
        eps = float(xp.finfo(z.dtype).eps)
        rounding, tolerance = 32 * eps, TIE if eps < 1e-12 else 1e-3
        self._room_for_rounding = 1 + rounding
        self._least = 2 * rounding / tolerance  # of v when last computed from scratch
        self._matrix, self._pairs, self._weights = matrix, list[int](), list[float]()
        self._root = inverse_cholesky(xp, matrix, z.dtype)
        self._scratch = xp.concat([self._from_scratch(z, rows) for rows in blocks(z)])
        if not bool(xp.all(xp.isfinite(self._scratch))):
            raise ValueError(
                f"pool.z: found leverages that overflow {z.dtype}; scale the features, or pass float64."
            )
        super().__init__(z, xp.asarray(self._scratch, copy=True))

    def add(self, pair: int, weight: float) -> None:
        """Add weight * z_pair z_pair' to the matrix."""
        row = self.z[pair, :]
        direction = self.solve(row)
        self._add(direction * (weight / (1 + weight * (row @ direction))) ** 0.5)
        self._pairs.append(pair)
        self._weights.append(weight)
        if self._added - self._first >= max(64, row.shape[0]):
            self._renew()

    def solve(self, x: Array) -> Array:
        """A^-1 x (d,)."""
        held = self._vectors[: self._added - self._first, :]
        return (self._root @ x) @ self._root - (held @ x) @ held

    def refresh(self, rows: Rows) -> Array:
        """The values of these rows, up to date."""
        if self._first:
            self._look_again(rows)
        return super().refresh(rows)

    def reliable(self, row: int) -> bool:
        """Whether rounding is negligible in the row's value; where not, A is factorised anew."""
        bad = bool(self.bounds[row] < self._least * self._scratch[row])
        if bad:
            self._renew()
        return not bad

    def _shrunk(self, rows: Rows, values: Array, low: int, seen: Array | None) -> Array:
        xp, products = self.xp, self._products(rows, low)
        if seen is not None:
            step = xp.arange(low, self._added, device=device(self.z))
            products = xp.where(step[None, :] >= seen[:, None], products, 0.0)
        return xp.clip(values - xp.vecdot(products, products), min=0.0)

    def _from_scratch(self, z: Array, rows: Rows) -> Array:
        """|W z|^2 of these rows, W lower triangular."""
        xp, some, total = array_namespace(z), at(z, rows), 0.0
        for low in range(0, z.shape[1], STRIPE):
            high = low + STRIPE
            part = some[:, :high] @ self._root[low:high, :high].T
            total = total + xp.vecdot(part, part)
        return total * self._room_for_rounding

    def _look_again(self, rows: Rows) -> None:
        """Compute from scratch what was last seen before A was factorised anew."""
        xp = self.xp
        old = xp.nonzero(at(self._seen, rows) < self._first)[0]
        if old.shape[0]:
            rows = old + rows.start if isinstance(rows, slice) else xp.take(rows, old)
            self.bounds[rows] = self._scratch[rows] = self._from_scratch(self.z, rows)
            self._seen[rows] = self._first

    def _renew(self) -> None:
        """Factorise A with all that was added."""
        xp, z = self.xp, self.z
        self._lay_open()
        self._seen[:] = -1
        self._first, self._root = self._added, None
        matrix, size = xp.astype(self._matrix, xp.float64), largest_block(z)
        for start in range(0, self._added, size):
            some = slice(start, start + size)
            pairs = xp.asarray(self._pairs[some], device=device(z))
            weights = xp.asarray(self._weights[some], dtype=xp.float64, device=device(z))
            rows = xp.astype(xp.take(z, pairs, axis=0), xp.float64) * xp.sqrt(weights)[:, None]
            for low in range(0, z.shape[1], STRIPE):
                high = low + STRIPE
                matrix[low:high, :high] += rows[:, low:high].T @ rows[:, :high]
        self._root = inverse_cholesky(xp, matrix, z.dtype, copy=False)


def inverse_cholesky(xp: Any, matrix: Array, dtype: Any, copy: bool = True) -> Array:
    """W (d, d) of type ``dtype``, lower triangular, with W matrix W' = I; in float64 until then.

    Without ``copy`` a float64 matrix is overwritten.
    Raises ``ValueError`` where the matrix is not positive definite.
    """
    matrix = xp.astype(matrix, xp.float64, copy=copy)
    try:
        _invert(xp, matrix)
        if not math.isfinite(float(matrix[-1, -1])):  # a pivot below 0 spreads to the last one
            raise ArithmeticError
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ValueError(
            "the information (or Gram) matrix is not positive definite: the labels so far do not "
            "span all directions; pass a ridge > 0 or buy warm-up labels first."
        ) from error
    return xp.astype(matrix, dtype, copy=False)


def _invert(xp: Any, a: Array) -> None:
    """a (its lower half is read) becomes its inverse Cholesky factor, by halves.

    L = [[L11, 0], [L21, L22]] has the inverse [[W11, 0], [-W22 L21 W11, W22]].
    """
    d = a.shape[0]
    if d <= STRIPE // 2:
        a[:, :] = xp.linalg.inv(xp.linalg.cholesky(a))
        return
    half = d // 2
    top, corner, rest = a[:half, :half], a[half:, :half], a[half:, half:]
    _invert(xp, top)
    corner[:, :] = corner @ top.T  # L21
    rest -= corner @ corner.T
    _invert(xp, rest)
    corner[:, :] = rest @ corner
    corner[:, :] = corner @ top
    corner *= -1.0
    a[:half, half:] = 0.0
