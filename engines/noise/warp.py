"""Noise that moves with the picture (Go-with-the-Flow, arXiv 2501.08331), exactly white and Gaussian on every frame.

A field holds C independent channels of N(0, 1) on an H×W grid. Its geometry is shared by all channels: the density ω
and the residual Δ of every pixel. A frame is carried over in two passes. `route` decides from the flow alone which
items move where; `carry` splits and merges the values. Because no decision looks at the noise, every split yields
independent N(0, 1) draws and every merge has weights independent of them: the field stays white.

Beyond the paper: items are grouped by the index of their source pixel instead of by equal values; Δ is rounded relative
to the `phase`, the residual of the picture's dominant motion, so that a pan moves all pixels on the same frame and
nothing is torn by jitter in the flow; pulls and overlaps that contradict the flow are not followed; ω leaks towards 1.
"""

from __future__ import annotations

import numpy as np

from driftcam.engines.kernels import njit
from driftcam.engines.noise.normals import fill_normals, mix32, mix64

OUTSIDE = -1
NONE = -1

_F32 = np.float32
_LEAST_DENSITY, _MOST_DENSITY = np.float32(1e-3), np.float32(1e3)
_OCCLUDED = np.float32(1e-3)
_WRAP = np.float32(0.4)
_LEAK_BLOCK = 256


@njit(nogil=True, inline="always")
def _agree(fx: float, fy: float, bx: float, by: float) -> bool:
    """Whether a forward and a backward vector cancel (Sundaram et al. 2010, eq. 5)."""
    ex, ey = fx + bx, fy + by
    return bool(ex * ex + ey * ey <= _F32(0.01) * (fx * fx + fy * fy + bx * bx + by * by) + _F32(0.5))


@njit(nogil=True)
def route(
    forward: np.ndarray,
    backward: np.ndarray,
    paired: bool,
    rest: np.ndarray,
    density: np.ndarray,
    old_phase: np.ndarray,
    phase: np.ndarray,
    target: np.ndarray,
    first_pull: np.ndarray,
    next_pull: np.ndarray,
    hits: np.ndarray,
) -> bool:
    """Where every pixel's particle goes and which pixel every hole pulls from.

    Args:
        forward: (H, W, 2) flow previous → current (dx right, dy down), in grid pixels.
        backward: (H, W, 2) flow current → previous.
        paired: `backward` was estimated, so that it also tells which particles were covered; False if it is −forward.
        rest: (H, W, 2) Δ; on return the Δ of each particle, measured from its target.
        density: (H, W) ω; on return lowered where a particle is covered by something in front of it.
        old_phase, phase: (2,) x and y of the dominant residual before and after this frame.
        target: (H·W,) out, index each particle moves to, or OUTSIDE.
        first_pull, next_pull: (H·W,) out, for each source the linked list of the holes that pull from it, ends in NONE;
            a hole that pulls from nowhere points at itself in `next_pull`.
        hits: (H·W,) out, particles that arrive at each pixel.

    Returns: True if no particle leaves its pixel.
    """
    height, width = density.shape
    half_x, half_y = _F32(0.5) - phase[0], _F32(0.5) - phase[1]
    hits[:] = 0
    still = True
    for y in range(height):
        for x in range(width):
            p = y * width + x
            first_pull[p] = NONE
            fx, fy = forward[y, x, 0], forward[y, x, 1]
            dx, dy = rest[y, x, 0] + fx, rest[y, x, 1] + fy
            sx, sy = np.floor(dx + half_x), np.floor(dy + half_y)
            rest[y, x, 0], rest[y, x, 1] = dx - sx, dy - sy
            tx, ty = x + int(sx), y + int(sy)
            if tx < 0 or ty < 0 or tx >= width or ty >= height:
                target[p] = OUTSIDE
                still = False
                continue
            t = ty * width + tx
            target[p] = t
            hits[t] += 1
            if t != p:
                still = False
            if paired and not _agree(fx, fy, backward[ty, tx, 0], backward[ty, tx, 1]):
                density[y, x] *= _OCCLUDED
    if still:
        return True
    pull_x, pull_y = half_x + phase[0] + phase[0] - old_phase[0], half_y + phase[1] + phase[1] - old_phase[1]
    for y in range(height):
        for x in range(width):
            q = y * width + x
            if hits[q] > 0:
                continue
            next_pull[q] = q
            bx, by = backward[y, x, 0], backward[y, x, 1]
            qx, qy = x + int(np.floor(bx + pull_x)), y + int(np.floor(by + pull_y))
            if qx < 0 or qy < 0 or qx >= width or qy >= height:
                continue
            if _agree(forward[qy, qx, 0], forward[qy, qx, 1], bx, by):
                source = qy * width + qx
                next_pull[q] = first_pull[source]
                first_pull[source] = q
    return False


@njit(nogil=True, inline="always")
def _draw(pool: np.ndarray, used: int, count: int, seed: int, counter: np.ndarray) -> int:
    """Where in `pool` the next `count` normals start; refills it when they have run out."""
    if used + count > pool.size:
        fill_normals(pool, seed, counter)
        return 0
    return used


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _leak(density: np.ndarray) -> None:
    """ω ← ω^(15/16), within bounds: a sixteenth root is four square roots, far cheaper than a power."""
    for start in range(0, density.size, _LEAK_BLOCK):
        part = density[start : start + _LEAK_BLOCK]
        uneven = _F32(0)
        for i in range(part.size):
            uneven += abs(part[i] - _F32(1))
        if uneven == 0:  # most of most fields
            continue
        for i in range(part.size):
            omega = part[i]
            omega /= np.sqrt(np.sqrt(np.sqrt(np.sqrt(omega))))
            part[i] = min(max(omega, _LEAST_DENSITY), _MOST_DENSITY)


@njit(nogil=True, error_model="numpy")
def carry(
    values: np.ndarray,
    density: np.ndarray,
    rest: np.ndarray,
    phase: np.ndarray,
    target: np.ndarray,
    first_pull: np.ndarray,
    next_pull: np.ndarray,
    hits: np.ndarray,
    new_values: np.ndarray,
    new_density: np.ndarray,
    new_rest: np.ndarray,
    norm: np.ndarray,
    pool: np.ndarray,
    seed: int,
    counter: np.ndarray,
) -> None:
    """Split every source among its k items and merge the items into their targets.

    Split:  v ← v/√k + z − mean(z), ω ← ω/k.   Merge:  n′ = Σωn/√Σω², ω′ = (Σω)^(15/16), Δ′ = ΣωΔ/Σω.

    Args:
        values, new_values: (H·W, C) noise before and after.
        density, new_density: (H·W,) ω.
        rest, new_rest: (H·W, 2) Δ, as `route` left it, and after.
        norm: (H·W,) scratch, Σω² of each target. `hits` is negative afterwards where several met.
        pool, seed, counter: the stream of normals; `pool` holds at least 2·C.
    """
    pixels, channels = values.shape
    used = pool.size
    total = np.empty(channels, np.float32)
    own = np.empty(channels, np.float32)
    for p in range(pixels):
        # unsigned, so that no index is taken for one from the end; only used where the target is inside
        t, q, inside = np.uint32(target[p]), first_pull[p], target[p] != OUTSIDE
        if q == NONE and not inside:
            continue
        omega = density[p]
        if q == NONE and hits[t] == 1:
            # most pixels of most frames: one particle, alone at its source and at its target
            for c in range(channels):
                new_values[t, c] = values[p, c]
            new_density[t] = omega
            new_rest[t, 0], new_rest[t, 1] = rest[p, 0], rest[p, 1]
            continue
        if q == NONE:
            for c in range(channels):
                own[c] = values[p, c]
        else:
            k = 0
            total[:] = 0.0
            while q != NONE:
                k += 1
                used = _draw(pool, used, channels, seed, counter)
                for c in range(channels):
                    z = pool[used + c]
                    new_values[q, c] = z
                    total[c] += z
                used += channels
                q = next_pull[q]
            if inside:
                k += 1
                used = _draw(pool, used, channels, seed, counter)
                for c in range(channels):
                    own[c] = pool[used + c]
                    total[c] += own[c]
                used += channels
            share, part = _F32(1.0 / np.sqrt(k)), _F32(1.0 / k)
            omega *= part
            for c in range(channels):
                total[c] = values[p, c] * share - total[c] * part
                own[c] += total[c]
            q = first_pull[p]
            while q != NONE:
                for c in range(channels):
                    new_values[q, c] += total[c]
                new_density[q] = omega
                new_rest[q, 0], new_rest[q, 1] = phase[0], phase[1]
                q = next_pull[q]
        if not inside:
            continue
        if hits[t] == 1:
            for c in range(channels):
                new_values[t, c] = own[c]
            new_density[t] = omega
            new_rest[t, 0], new_rest[t, 1] = rest[p, 0], rest[p, 1]
            continue
        if hits[t] > 0:  # the first of several
            hits[t] = -hits[t]
            norm[t], new_density[t] = _F32(0), _F32(0)
            new_rest[t, 0], new_rest[t, 1] = _F32(0), _F32(0)
            for c in range(channels):
                new_values[t, c] = omega * own[c]
        else:
            for c in range(channels):
                new_values[t, c] += omega * own[c]
        norm[t] += omega * omega
        new_density[t] += omega
        new_rest[t, 0] += omega * rest[p, 0]
        new_rest[t, 1] += omega * rest[p, 1]
    for q in range(pixels):
        if hits[q] < 0:
            scale = _F32(1.0 / np.sqrt(norm[q]))
            for c in range(channels):
                new_values[q, c] *= scale
            new_rest[q, 0] /= new_density[q]
            new_rest[q, 1] /= new_density[q]
        elif hits[q] == 0 and next_pull[q] == q:
            used = _draw(pool, used, channels, seed, counter)
            for c in range(channels):
                new_values[q, c] = pool[used + c]
            used += channels
            new_density[q] = 1.0
            new_rest[q, 0], new_rest[q, 1] = phase[0], phase[1]
    _leak(new_density)


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def relax(rest: np.ndarray, out: np.ndarray) -> None:
    """Draw each Δ to the mean of its neighbours, except across the lines where Δ wraps around.

    Neighbours that share a motion then cross to the next pixel on the same frame. Without it, splits and merges leave
    every pixel with a Δ of its own, and a zoom of 1 % a frame tears a fifth of all pixels on each frame.

    Args: rest, out: (H, W, 2), before and after.
    """
    height, width = rest.shape[0], rest.shape[1]
    flat, result = rest.reshape(height, 2 * width), out.reshape(height, 2 * width)
    last = 2 * width
    for y in range(height):
        above, row, below = flat[max(y - 1, 0)], flat[y], flat[min(y + 1, height - 1)]
        target = result[y]
        target[:2], target[last - 2 :] = row[:2], row[last - 2 :]
        for i in range(2, last - 2):
            own = row[i]
            a, b, c, d = above[i] - own, below[i] - own, row[i - 2] - own, row[i + 2] - own
            near_a, near_b = _F32(abs(a) < _WRAP), _F32(abs(b) < _WRAP)
            near_c, near_d = _F32(abs(c) < _WRAP), _F32(abs(d) < _WRAP)
            pull = a * near_a + b * near_b + c * near_c + d * near_d
            target[i] = own + pull / (_F32(1.0) + near_a + near_b + near_c + near_d)


@njit(nogil=True)
def refresh(
    values: np.ndarray,
    density: np.ndarray,
    confidence: np.ndarray,
    alpha: float,
    pool: np.ndarray,
    seed: int,
    counter: np.ndarray,
) -> int:
    """Replace a random share of the pixels by fresh noise; returns how many.

    The mix √(1−α²)·n + α·ε keeps a correlation of √(1−α²) with the frame before. Replacing whole pixels with
    probability 1 − √(1−α²) keeps the same correlation on average, stays exactly white, and touches only those pixels.

    Args:
        values: (H·W, C) noise; density: (H·W,) ω, set to 1 where refreshed.
        confidence: (H·W,) trust in the flow, 0 to 1; α is raised to 1 as it falls to 0.
        alpha: least α, 0 to 1.
    """
    pixels, channels = values.shape
    used = pool.size
    key = mix64(mix64(np.uint64(seed)) ^ counter[0])
    low, high = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))
    counter[0] += np.uint64(1)
    least, replaced = _F32(alpha), 0
    for q in range(pixels):
        a = least + (_F32(1.0) - least) * (_F32(1.0) - confidence[q])
        if a <= 0.0:
            continue
        probability = _F32(1.0) - np.sqrt(max(_F32(1.0) - a * a, _F32(0.0)))
        draw = _F32(mix32(np.uint32(np.uint32(q) * np.uint32(0x9E3779B9) + low), high)) * _F32(2.0**-32)
        if draw >= probability and a < 1.0:
            continue
        used = _draw(pool, used, channels, seed, counter)
        for c in range(channels):
            values[q, c] = pool[used + c]
        used += channels
        density[q] = 1.0
        replaced += 1
    return replaced
