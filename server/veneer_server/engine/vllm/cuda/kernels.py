"""Two Triton kernels that add adapters to the output of a linear layer, or of a fused one.

``shrink`` multiplies each tile's rows with A and stores one partial sum for each part of the input.
``expand`` sums the parts in a fixed order, multiplies with B and adds to the rows. There are no
atomics and nothing is filled with zeros before, so the same batch gives the same bits.

Both read from memory how many tiles there are, so one CUDA graph serves any mix of adapters. This
file imports only Triton: its interpreter runs the kernels on a CPU, and a test compiles them for
GPUs that are not there.

``x`` and ``y`` are the batch. ``a0`` to ``a2`` and ``b0`` to ``b2`` are vLLM's stacks by slice,
``(slots, 1, R, K)`` and ``(slots, 1, N, R)``. ``rows`` and ``tiles`` are what ``tiles`` makes.
``part`` is float32, ``(PARTS, rows, S * RP)``; ``RP`` is the rank rounded up to what a product of
tiles takes. ``UP`` multiplies in float32, because Triton's interpreter cannot multiply bfloat16.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(tiles, index):
    at = tiles + 4 + index * 4
    slot = tl.load(at).to(tl.int64)  # times the size of a slot, it outgrows 32 bits
    return slot, tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)


@triton.jit
def shrink(
    x,
    a0,
    a1,
    a2,
    part,
    rows,
    tiles,
    x_row,
    part_split,
    part_row,
    K: tl.constexpr,
    R: tl.constexpr,
    RP: tl.constexpr,
    S: tl.constexpr,
    PARTS: tl.constexpr,
    KP: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
    UP: tl.constexpr,
):
    """Store ``x[row, one part of K] @ A[slot, :, one part of K]`` of every row that has a tile."""
    if PDL:
        # Expand may begin: it waits for the end of this kernel before it reads the parts.
        tl.extra.cuda.gdc_launch_dependents()
    items = tl.load(tiles) * PARTS
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        one = item % PARTS
        slot, first, length, rank = _tile(tiles, item // PARTS)
        m = tl.arange(0, BM)
        live = m < length
        row = tl.load(rows + first + m, mask=live, other=0).to(tl.int64)
        r = tl.arange(0, RP)
        has = r < rank
        sum0 = tl.full((BM, RP), 0.0, tl.float32)
        sum1 = tl.full((BM, RP), 0.0, tl.float32)
        sum2 = tl.full((BM, RP), 0.0, tl.float32)
        for k in range(0, KP, BK):
            at = one * KP + k + tl.arange(0, BK)
            keep = has[None, :]
            keep_x = live[:, None]
            if K % KP != 0:
                keep = keep & (at < K)[:, None]
                keep_x = keep_x & (at < K)[None, :]
            values = tl.load(x + row[:, None] * x_row + at[None, :], mask=keep_x, other=0.0)
            if UP:
                values = values.to(tl.float32)
            off = slot * (R * K) + r[None, :] * K + at[:, None]
            a = tl.load(a0 + off, mask=keep, other=0.0)
            sum0 = tl.dot(values, a.to(values.dtype), sum0)
            if S > 1:
                a = tl.load(a1 + off, mask=keep, other=0.0)
                sum1 = tl.dot(values, a.to(values.dtype), sum1)
            if S > 2:
                a = tl.load(a2 + off, mask=keep, other=0.0)
                sum2 = tl.dot(values, a.to(values.dtype), sum2)
        to = part + one * part_split + (first + m)[:, None] * part_row + r[None, :]
        tl.store(to, sum0, mask=live[:, None])
        if S > 1:
            tl.store(to + RP, sum1, mask=live[:, None])
        if S > 2:
            tl.store(to + 2 * RP, sum2, mask=live[:, None])


@triton.jit
def expand(
    y,
    b0,
    b1,
    b2,
    part,
    rows,
    tiles,
    y_row,
    part_split,
    part_row,
    N0: tl.constexpr,
    N1: tl.constexpr,
    N2: tl.constexpr,
    R: tl.constexpr,
    RP: tl.constexpr,
    S: tl.constexpr,
    PARTS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    PDL: tl.constexpr,
    UP: tl.constexpr,
):
    """Add ``(sum of the parts) @ B[slot]`` to every row that has a tile, in place."""
    C0: tl.constexpr = (N0 + BN - 1) // BN
    C1: tl.constexpr = (N1 + BN - 1) // BN
    C2: tl.constexpr = (N2 + BN - 1) // BN
    item = tl.program_id(0)
    if item < tl.load(tiles) * (C0 + C1 + C2):
        column = item % (C0 + C1 + C2)
        slot, first, length, rank = _tile(tiles, item // (C0 + C1 + C2))
        which = 0
        n0 = column * BN
        left = n0 * 0
        width = left + N0
        b = b0 + slot * (N0 * R)
        if S > 1:
            if column >= C0:
                which = 1
                n0 = (column - C0) * BN
                left = n0 * 0 + N0
                width = n0 * 0 + N1
                b = b1 + slot * (N1 * R)
        if S > 2:
            if column >= C0 + C1:
                which = 2
                n0 = (column - C0 - C1) * BN
                left = n0 * 0 + (N0 + N1)
                width = n0 * 0 + N2
                b = b2 + slot * (N2 * R)
        n = tl.multiple_of(n0, 16) + tl.arange(0, BN)
        left = tl.multiple_of(left, 16)
        width = tl.multiple_of(width, 16)
        m = tl.arange(0, BM)
        live = m < length
        r = tl.arange(0, RP)
        # In eights, so that a load stays 16 bytes wide; a slot is zero beyond its adapter's rank.
        keep_b = ((r // 8) * 8 < rank)[:, None]
        if R % 8 != 0:
            keep_b = keep_b & (r < R)[:, None]
        keep = live[:, None]
        if (N0 % BN != 0) | (N1 % BN != 0) | (N2 % BN != 0):
            keep_b = keep_b & (n < width)[None, :]
            keep = keep & (n < width)[None, :]
        row = tl.load(rows + first + m, mask=live, other=0).to(tl.int64)
        up = tl.load(b + n[None, :] * R + r[:, None], mask=keep_b, other=0.0)
        to = y + row[:, None] * y_row + (left + n)[None, :]
        before = tl.load(to, mask=keep, other=0.0)
        if PDL:
            tl.extra.cuda.gdc_wait()
        total = tl.full((BM, RP), 0.0, tl.float32)
        at = part + (first + m)[:, None] * part_row + which * RP + r[None, :]
        for one in tl.static_range(PARTS):
            total += tl.load(at + one * part_split, mask=live[:, None], other=0.0)
        small = total.to(up.dtype)
        if UP:
            small = small.to(tl.float32)
        delta = tl.dot(small, up.to(small.dtype))
        tl.store(to, (delta + before.to(tl.float32)).to(before.dtype), mask=keep)
    elif PDL:
        tl.extra.cuda.gdc_wait()
