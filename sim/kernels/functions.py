"""Scalar mathematics shared by every kernel: the exponential, Fisher weights, answer probabilities.

``exp_negative`` is plain arithmetic and fused multiply-adds, so that loops over it become vector
instructions and every target computes the same bits (kernels use error_model="numpy": a
zero-division check would stop that); it is within 2 units in the last place of the library's exponential.
"""

import math

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

_LOG2E = 1.4426950408889634
_LN2_HIGH = (
    6.93147180369123816490e-01  # leading bits of ln 2: k * _LN2_HIGH is exact for |k| < 2^11
)
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number in the low bits
_52 = np.int64(52)


@intrinsic
def _as_bits(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _as_float(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def _fused(typingctx, a, b, c):
    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@njit(inline="always", error_model="numpy")
def exp_negative(x):
    """exp(x) for x <= 0; below -700 it is exp(-700), about 1e-304."""
    x = max(x, -700.0)
    shifted = _fused(x, _LOG2E, _ROUND)
    k = shifted - _ROUND
    r = _fused(k, -_LN2_LOW, _fused(k, -_LN2_HIGH, x))
    p = 1.0 / 6227020800.0
    p = _fused(p, r, 1.0 / 479001600.0)
    p = _fused(p, r, 1.0 / 39916800.0)
    p = _fused(p, r, 1.0 / 3628800.0)
    p = _fused(p, r, 1.0 / 362880.0)
    p = _fused(p, r, 1.0 / 40320.0)
    p = _fused(p, r, 1.0 / 5040.0)
    p = _fused(p, r, 1.0 / 720.0)
    p = _fused(p, r, 1.0 / 120.0)
    p = _fused(p, r, 1.0 / 24.0)
    p = _fused(p, r, 1.0 / 6.0)
    p = _fused(p, r, 0.5)
    p = _fused(p, r, 1.0)
    p = _fused(p, r, 1.0)
    bits = _as_bits(p) + (_as_bits(shifted) << _52)
    return _as_float(bits)


@njit(inline="always", error_model="numpy")
def fisher_weight(margin, rationality):
    """b^2 mu'(b m), as ``theory.preference.fisher_weight``."""
    e = exp_negative(-abs(rationality * margin))
    return rationality * rationality * e / ((1.0 + e) * (1.0 + e))


@njit(inline="always", error_model="numpy")
def sigmoid(u):
    """1 / (1 + exp(-u)) without overflow."""
    e = exp_negative(-abs(u))
    return (1.0 if u >= 0.0 else e) / (1.0 + e)


@njit(inline="always", error_model="numpy")
def answer_residual(u, trials, wins):
    """wins - trials mu(u) and trials mu'(u) of a cell with margin u."""
    e = exp_negative(-abs(u))
    share = 1.0 / (1.0 + e)
    p = share if u >= 0.0 else e * share
    q = e * share if u >= 0.0 else share
    # never wins - trials p: where p rounds to 1 the residual must not become 0
    return wins * q - (trials - wins) * p, trials * e * share * share


@njit(error_model="numpy")
def answer_probability(margin, rationality, lapse, bias, drift, labels_so_far):
    """P(Y = 1) of ``sim.teachers.Teachers`` after ``labels_so_far`` labels."""
    sharpness = rationality * math.exp(drift * labels_so_far) if drift != 0.0 else rationality
    return 0.5 * lapse + (1.0 - lapse) * sigmoid(sharpness * margin + bias)
