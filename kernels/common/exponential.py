"""e^x that the compiler turns into vectors: no table, no call, no branch.

x = n·ln 2 + r with |r| <= ln 2 / 2, so e^x = 2ⁿ · e^r. e^r is its Taylor polynomial; 2ⁿ is put together from bits; ln 2 is
split in two, of which the first has so few bits that n times it is exact. For x <= 0, all that softmax needs: within 1 ulp of
the truth in float32 and 2 in float64; what is no normal number any more (x below -87, -708) becomes 0, and nan stays nan.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from numpy import float32, float64, floor, int32, int64

LOG2_E = 1.4426950408889634


@intrinsic
def from_bits(typingctx: Any, bits: Any, like: Any) -> Any:
    """The floating number of ``like``'s type that these bits are."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType() if signature.args[1] == types.float32 else ir.DoubleType())

    return like(bits, like), codegen


def exp(x):
    """e^x for x <= 0, in compiled code only."""
    raise NotImplementedError("compiled code only")


@overload(exp, jit_options={"fastmath": {"contract", "nsz"}, "error_model": "numpy"}, inline="always")
def _exp(x):
    if x == types.float32:
        lowest, first, second, half, log2_e = float32(-87.0), float32(0.693359375), float32(-2.12194440e-4), float32(0.5), float32(LOG2_E)
        c7, c6, c5, c4, c3, one = float32(1 / 5040), float32(1 / 720), float32(1 / 120), float32(1 / 24), float32(1 / 6), float32(1)
        zero = float32(0)

        def exp32(x):
            n = floor(x * log2_e + half)
            n = n if n > float32(-126) else float32(-126)
            r = (x - n * first) - n * second
            p = ((((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + half) * r + one) * r + one
            return zero if x < lowest else p * from_bits(int32((int32(n) + int32(127)) << int32(23)), x)

        return exp32

    def exp64(x):
        n = floor(x * LOG2_E + 0.5)
        n = n if n > -1022.0 else -1022.0
        r = (x - n * 0.693145751953125) - n * 1.42860682030941723212e-6
        p = 1 / 6227020800
        p = p * r + 1 / 479001600
        p = p * r + 1 / 39916800
        p = p * r + 1 / 3628800
        p = p * r + 1 / 362880
        p = p * r + 1 / 40320
        p = p * r + 1 / 5040
        p = p * r + 1 / 720
        p = p * r + 1 / 120
        p = p * r + 1 / 24
        p = p * r + 1 / 6
        p = ((p * r + 0.5) * r + 1.0) * r + 1.0
        return 0.0 if x < -708.0 else p * from_bits((int64(n) + 1023) << 52, float64(x))

    return exp64
