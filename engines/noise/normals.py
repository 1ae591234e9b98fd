"""Standard normal draws fast enough to refill a whole noise field on every frame.

A counter-based generator: block b of a stream is a pure function of (seed, b), so nothing but a counter is kept. Each
lane hashes its index with two 32-bit keys of the block (integer finaliser with the second key in its middle), and
Box-Muller (1958) turns two hashes into two normals. Logarithm, sine and cosine are polynomials without branches, so
that the loop compiles to SIMD.
"""

from __future__ import annotations

import numpy as np

from driftcam.engines.kernels import njit

_U32 = np.uint32
_U64 = np.uint64
_MASK = _U64(0xFFFFFFFF)


@njit(nogil=True, inline="always")
def mix64(x: np.uint64) -> np.uint64:
    """SplitMix64's finaliser: a bijection of 64-bit integers."""
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


@njit(nogil=True, inline="always")
def mix32(x: np.uint32, key: np.uint32) -> np.uint32:
    """A keyed finaliser of 32-bit integers."""
    x = _U32(x ^ (x >> _U32(16)))
    x = _U32(x * _U32(0x7FEB352D))
    x = _U32(x ^ key)
    x = _U32(x ^ (x >> _U32(15)))
    x = _U32(x * _U32(0x846CA68B))
    return _U32(x ^ (x >> _U32(16)))


@njit(nogil=True, fastmath={"contract", "nsz"})
def _normal_block(out: np.ndarray, seed: int, block: int) -> None:
    """Write N(0, 1) draws to `out` (even length, float32): block `block` of the stream `seed`."""
    word = mix64(mix64(_U64(seed)) + _U64(block) * _U64(0x9E3779B97F4A7C15))
    low, high = _U32(word & _MASK), _U32(word >> _U64(32))
    half = out.size // 2
    cosines, sines = out[:half], out[half : 2 * half]
    for i in range(half):
        lane = _U32(_U32(i) * _U32(0x9E3779B9))
        a = mix32(_U32(lane + low), high)
        b = mix32(_U32(lane ^ high), low)
        # u in (0, 1): 23 bits and a half step, so that the logarithm is finite and below zero
        u = (np.float32(np.int32(a >> _U32(9))) + np.float32(0.5)) * np.float32(2.0**-23)
        bits = np.float32(u).view(np.int32)
        exponent = np.float32((bits >> np.int32(23)) - np.int32(127))
        m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
        # log2(1 + x) / x on [0, 1], Chebyshev fit of degree 7, error 2e-7
        x = m - np.float32(1.0)
        log2 = np.float32(-0.01237064)
        log2 = log2 * x + np.float32(0.06378760)
        log2 = log2 * x + np.float32(-0.15559997)
        log2 = log2 * x + np.float32(0.25617970)
        log2 = log2 * x + np.float32(-0.35345468)
        log2 = log2 * x + np.float32(0.48007375)
        log2 = log2 * x + np.float32(-0.72131072)
        log2 = log2 * x + np.float32(1.44269477)
        radius = np.sqrt(max(np.float32(-1.3862944) * (exponent + log2 * x), np.float32(0.0)))
        # angle in [-π/2, π/2) and a random antipode: the whole circle
        t = np.float32(np.int32(b)) * np.float32(2.0**-32) * np.float32(np.pi)
        s = t * t
        sine = np.float32(2.7525562e-06)
        sine = sine * s + np.float32(-1.9840874e-04)
        sine = sine * s + np.float32(8.3333310e-03)
        sine = sine * s + np.float32(-1.6666667e-01)
        sine = (sine * s + np.float32(1.0)) * t
        cosine = np.float32(-2.6051615e-07)
        cosine = cosine * s + np.float32(2.4760495e-05)
        cosine = cosine * s + np.float32(-1.3888378e-03)
        cosine = cosine * s + np.float32(4.1666638e-02)
        cosine = cosine * s + np.float32(-0.5)
        cosine = cosine * s + np.float32(1.0)
        side = np.float32(1.0) - np.float32(2.0) * np.float32(np.int32(a & _U32(1)))
        cosines[i] = side * radius * cosine
        sines[i] = side * radius * sine


_BLOCK = 4096


@njit(nogil=True)
def fill_normals(out: np.ndarray, seed: int, counter: np.ndarray) -> None:
    """Fill the flat float32 array `out` with N(0, 1); `counter` (uint64, length 1) moves on by the blocks drawn."""
    spare = np.empty(2, np.float32)
    for start in range(0, out.size, _BLOCK):
        part = out[start : start + _BLOCK]
        _normal_block(part, seed, counter[0])
        if part.size % 2:
            _normal_block(spare, seed, ~counter[0])
            part[-1] = spare[0]
        counter[0] += _U64(1)
