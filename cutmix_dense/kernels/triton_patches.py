"""Whole-pixel cells moved by 16-byte vectors: the fast way for plans that scale nothing, images and maps in one launch.

A plane is walked as one run of bytes, row after row, a vector per thread. Which of its bytes belong to a cell is a mask
of bits, the same for all planes; what lies under the cells, and the image that a cell shows, are read where they are
needed and put together by it. So any dtype moves as it is, nothing is stored twice, and threads never wait for another.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from cutmix_dense.kernels.table import FIRST_LAYER, LAYER, LOW, MOVE

_FIRST, _LAYER = tl.constexpr(FIRST_LAYER), tl.constexpr(LAYER)
_MOVE, _LOW = tl.constexpr(MOVE), tl.constexpr(LOW)


@triton.jit
def patches_kernel(
    out,
    pool,
    out_beside,
    pool_beside,
    table,
    length,
    layers,
    grid_height,
    grid_width,
    blocks,
    row,
    reciprocal,
    vectors,
    groups,
    fill_even,
    fill_odd,
    row_beside,
    reciprocal_beside,
    vectors_beside,
    groups_beside,
    even_beside,
    odd_beside,
    ITEM: tl.constexpr,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    WORDS: tl.constexpr,
    STRADDLES: tl.constexpr,
    STEP: tl.constexpr,
    PIECES: tl.constexpr,
    BESIDE: tl.constexpr,
    GROUP_BESIDE: tl.constexpr,
    PARTS_BESIDE: tl.constexpr,
    WORDS_BESIDE: tl.constexpr,
    STRADDLES_BESIDE: tl.constexpr,
    STEP_BESIDE: tl.constexpr,
    PIECES_BESIDE: tl.constexpr,
    RESTS: tl.constexpr,
    ONE: tl.constexpr,
    VECTORS: tl.constexpr,
):
    """Blocks of the first tensor, then with ``BESIDE`` (bytes of a pixel, 0 for none) those of the second one.

    ``out`` and ``pool`` are batches as 32-bit words, plane after plane, image after image; ``table`` holds
    ``PlanTable.rows`` of ``length``. A plane of the first tensor has as many ``blocks`` and ``vectors``; a ``row`` has
    its bytes, of which ``reciprocal`` is 2³² // row; an image has ``groups`` times ``GROUP`` planes. Where no layer
    shows, the words are ``fill_even`` and ``fill_odd`` in turn.

    ``ITEM``: bytes of a pixel; a pixel with its channels behind is one. ``PARTS``: vectors of a plane that a thread
    moves, which share what it finds out of a plan. ``WORDS``: how many words a vector has.
    ``STRADDLES``: whether a vector may begin in one row and end in the next. ``STEP``: bytes that divide every move, 0
    where nothing moves. ``PIECES``: how many cells a vector may lie in. ``RESTS``: whether there are pixels that no
    layer shows. ``ONE``: whether all that shows over the base is layer 1 in the middle of 3 × 3 cells.
    """
    table += tl.program_id(1) * length
    block = tl.program_id(0)
    if BESIDE > 0:
        if block < blocks:
            _mix(
                out, pool, table, layers, grid_height, grid_width, block, row, reciprocal, vectors,
                groups, fill_even, fill_odd, ITEM, GROUP, PARTS, WORDS, STRADDLES, STEP, PIECES,
                RESTS, ONE, VECTORS,
            )  # fmt: skip
        else:
            _mix(
                out_beside, pool_beside, table, layers, grid_height, grid_width, block - blocks, row_beside,
                reciprocal_beside, vectors_beside, groups_beside, even_beside, odd_beside, BESIDE, GROUP_BESIDE,
                PARTS_BESIDE, WORDS_BESIDE, STRADDLES_BESIDE, STEP_BESIDE, PIECES_BESIDE, RESTS, ONE, VECTORS,
            )  # fmt: skip
    else:
        _mix(
            out, pool, table, layers, grid_height, grid_width, block, row, reciprocal, vectors,
            groups, fill_even, fill_odd, ITEM, GROUP, PARTS, WORDS, STRADDLES, STEP, PIECES,
            RESTS, ONE, VECTORS,
        )  # fmt: skip


@triton.jit
def exchange_kernel(
    pool, table, length, layers, row, reciprocal, vectors, groups,
    ITEM: tl.constexpr, GROUP: tl.constexpr, PARTS: tl.constexpr, WORDS: tl.constexpr, STRADDLES: tl.constexpr,
    VECTORS: tl.constexpr,
):  # fmt: skip
    """Pairs of images that exchange a rectangle in place; a thread has both sides in hand. As ``patches_kernel``."""
    output = tl.program_id(1)
    table += output * length
    record = table + _FIRST + _LAYER
    cells = table + _FIRST + layers * _LAYER
    mate = tl.load(record)
    top, bottom, left, right = _bounds(
        record, tl.load(cells + 1), tl.load(cells + 2), tl.load(cells + 5) * ITEM, tl.load(cells + 6) * ITEM, ITEM
    )
    first = tl.program_id(0) * (PARTS * VECTORS * 4 * WORDS)
    reaches = (first < bottom * row) & (first + PARTS * VECTORS * 4 * WORDS > top * row)
    if (mate > output) & reaches:
        plane = vectors * WORDS
        image = tl.full((), WORDS, tl.int64) * (vectors * (groups * GROUP))
        one, other = pool + output * image, pool + mate * image
        for part in tl.static_range(PARTS):
            vector = (tl.program_id(0) * PARTS + part) * VECTORS + tl.arange(0, VECTORS)
            y, x = _row_of(vector * (4 * WORDS), row, reciprocal)
            mask, some, _whole = _cell(top, bottom, left, right, x, y, row, ITEM, WORDS, STRADDLES)
            wanted = (mask == mask) & (some & (vector < vectors))[:, None]
            for group in range(groups):
                at = (vector + group * GROUP * vectors)[:, None] * WORDS + tl.arange(0, WORDS)[None, :]
                _exchange(one, other, at, wanted, mask)
                if GROUP == 3:
                    _exchange(one, other, at + plane, wanted, mask)
                    _exchange(one, other, at + 2 * plane, wanted, mask)


@triton.jit
def _exchange(one, other, at, wanted, mask):
    """Exchange the bits of a mask."""
    a, b = tl.load(one + at, wanted, other=0), tl.load(other + at, wanted, other=0)
    tl.store(one + at, _blend(a, b, mask), wanted)
    tl.store(other + at, _blend(b, a, mask), wanted)


@triton.jit
def _mix(
    out, pool, table, layers, grid_height, grid_width, block, row, reciprocal, vectors, groups, fill_even, fill_odd,
    ITEM: tl.constexpr, GROUP: tl.constexpr, PARTS: tl.constexpr, WORDS: tl.constexpr, STRADDLES: tl.constexpr,
    STEP: tl.constexpr, PIECES: tl.constexpr, RESTS: tl.constexpr, ONE: tl.constexpr, VECTORS: tl.constexpr,
):  # fmt: skip
    """One block of one output, all its planes."""
    # whole vectors, as the compiler can see: it moves 16 bytes at a time only where it knows that they are aligned
    plane = vectors * WORDS
    image = tl.full((), WORDS, tl.int64) * (vectors * (groups * GROUP))
    out += tl.program_id(1) * image
    under = tl.load(table)
    base = pool + tl.maximum(under, 0).to(tl.int64) * image
    cells = table + _FIRST + layers * _LAYER
    if ONE:  # read before anything is written, so that no part reads it again
        record = table + _FIRST + _LAYER
        top, bottom, left, right = _bounds(
            record, tl.load(cells + 1), tl.load(cells + 2), tl.load(cells + 5) * ITEM, tl.load(cells + 6) * ITEM, ITEM
        )
        mate, move = _place(record, row, ITEM, STEP)
        over = pool + mate * image
    for part in tl.static_range(PARTS):
        vector = (block * PARTS + part) * VECTORS + tl.arange(0, VECTORS)
        y, x = _row_of(vector * (4 * WORDS), row, reciprocal)
        words = vector[:, None] * WORDS + tl.arange(0, WORDS)[None, :]
        here = vector < vectors
        if ONE:
            mask, some, whole = _cell(top, bottom, left, right, x, y, row, ITEM, WORDS, STRADDLES)
            wanted, behind = _needs(mask, some & here, move, STEP)
            below = (mask == mask) & (here & (whole == 0))[:, None]
            for group in range(groups):
                at = (vector + group * GROUP * vectors)[:, None] * WORDS + tl.arange(0, WORDS)[None, :]
                a = _read(base, at, 0, below, below, 0)
                b = _read(over, at, move, wanted, behind, STEP)
                if GROUP == 3:  # all is read before the first is written
                    a1 = _read(base, at + plane, 0, below, below, 0)
                    b1 = _read(over, at + plane, move, wanted, behind, STEP)
                    a2 = _read(base, at + 2 * plane, 0, below, below, 0)
                    b2 = _read(over, at + 2 * plane, move, wanted, behind, STEP)
                    _write(out, at + plane, _blend(a1, b1, mask), here, WORDS, VECTORS)
                    _write(out, at + 2 * plane, _blend(a2, b2, mask), here, WORDS, VECTORS)
                _write(out, at, _blend(a, b, mask), here, WORDS, VECTORS)
        else:
            columns = cells + grid_height + 1
            owners = columns + grid_width + 1
            width = tl.load(table + 2) * ITEM
            for group in range(groups):
                at = (vector + group * GROUP * vectors)[:, None] * WORDS + tl.arange(0, WORDS)[None, :]
                a = tl.zeros((VECTORS, WORDS), dtype=tl.int32)
                a1, a2 = a, a
                place, row_at, byte_at = tl.zeros_like(vector), y, x  # how far a vector is done, and what comes next
                covered = tl.zeros_like(vector)
                cell_y, cell_x = (
                    _cell_of(row_at, cells, grid_height, 1),
                    _cell_of(byte_at, columns, grid_width, ITEM),
                )
                for _ in tl.static_range(PIECES):
                    beyond = byte_at >= width
                    cell_x = tl.minimum(cell_x, grid_width - 1)
                    owner = tl.load(owners + cell_y * grid_width + cell_x, here & (beyond == 0), other=-1)
                    end = tl.where(beyond, row, tl.load(columns + cell_x + 1) * ITEM)
                    record = table + _FIRST + tl.maximum(owner, 0) * _LAYER
                    top, bottom, left, right = _bounds(record, 0, row_at + 1, byte_at, end, ITEM)
                    shows = (owner >= 0) & (row_at >= top) & (row_at < bottom)
                    run = _run(left - byte_at + place, right - byte_at + place, shows, WORDS)
                    covered = covered | run
                    mask = _spread(run, ITEM, WORDS)
                    image_of, move = _place(record, row, ITEM, STEP)
                    over = pool + (image_of * image)[:, None]
                    if STEP > 0:
                        move = move[:, None]
                    wanted, behind = _needs(mask, run != 0, move, STEP)
                    a = a | (_read(over, at, move, wanted, behind, STEP) & mask)
                    if GROUP == 3:
                        value = _read(over, at + plane, move, wanted, behind, STEP)
                        a1 = a1 | (value & mask)
                        value = _read(over, at + 2 * plane, move, wanted, behind, STEP)
                        a2 = a2 | (value & mask)
                    place, byte_at, cell_x = place + end - byte_at, end, cell_x + 1
                    if STRADDLES:
                        ends = byte_at >= row
                        row_at, byte_at = tl.where(ends, row_at + 1, row_at), tl.where(ends, 0, byte_at)
                        cell_x = tl.where(ends, 0, cell_x)
                        cell_y = _cell_of(row_at, cells, grid_height, 1)
                if RESTS:  # what no layer shows: the base's own padding, or fill
                    rest = ~_spread(covered, ITEM, WORDS)
                    wanted = (rest != 0) & (here & (under >= 0))[:, None]
                    fill = tl.where((words & 1) != 0, fill_odd, fill_even)
                    fill = tl.where(under >= 0, 0, fill)
                    a = a | ((_read(base, at, 0, wanted, wanted, 0) | fill) & rest)
                    if GROUP == 3:
                        value = _read(base, at + plane, 0, wanted, wanted, 0)
                        a1 = a1 | ((value | fill) & rest)
                        value = _read(base, at + 2 * plane, 0, wanted, wanted, 0)
                        a2 = a2 | ((value | fill) & rest)
                _write(out, at, a, here, WORDS, VECTORS)
                if GROUP == 3:
                    _write(out, at + plane, a1, here, WORDS, VECTORS)
                    _write(out, at + 2 * plane, a2, here, WORDS, VECTORS)


@triton.jit
def _cell_of(at, edges, cells, ITEM: tl.constexpr):
    """Cell along one axis that holds each place: as many as inner edges lie at or before it."""
    cell = tl.zeros_like(at)
    for edge in range(1, cells):
        cell += (at >= tl.load(edges + edge) * ITEM).to(tl.int32)
    return cell


@triton.jit
def _row_of(at, row, reciprocal):
    """Row and place in it of each byte: the quotient by the reciprocal is right, or too small by one."""
    y = tl.umulhi(at.to(tl.uint32), (tl.zeros_like(at) + reciprocal).to(tl.uint32)).to(tl.int32)
    x = at - y * row
    beyond = x >= row
    return tl.where(beyond, y + 1, y), tl.where(beyond, x - row, x)


@triton.jit
def _bounds(record, top, bottom, left, right, ITEM: tl.constexpr):
    """Rows, and bytes of a row, of a cell that its layer reaches; nothing of no rows where there are no bytes."""
    top, bottom = tl.maximum(top, tl.load(record + _LOW)), tl.minimum(bottom, tl.load(record + _LOW + 2))
    left = tl.maximum(left, tl.load(record + _LOW + 1) * ITEM)
    right = tl.minimum(right, tl.load(record + _LOW + 3) * ITEM)
    return top, tl.where(left < right, bottom, top), left, right


@triton.jit
def _cell(top, bottom, left, right, x, y, row, ITEM: tl.constexpr, WORDS: tl.constexpr, STRADDLES: tl.constexpr):
    """Which bits of each vector lie in a cell, whether any do, and whether all do."""
    run = _run(left - x, right - x, (y >= top) & (y < bottom), WORDS)
    if STRADDLES:
        run = run | _run(left + row - x, right + row - x, (y + 1 >= top) & (y + 1 < bottom), WORDS)
    return _spread(run, ITEM, WORDS), run != 0, run == (1 << 4 * WORDS) - 1


@triton.jit
def _spread(run, ITEM: tl.constexpr, WORDS: tl.constexpr):
    """Words in which all eight bits of a byte are what its one bit was."""
    four = (run[:, None] >> (4 * tl.arange(0, WORDS)[None, :])) & 15
    # pixels smaller than words: one bit per byte, which is then spread over it
    return tl.where(four != 0, -1, 0) if ITEM % 4 == 0 else ((four * 0x00204081) & 0x01010101) * 255


@triton.jit
def _run(first, last, inside, WORDS: tl.constexpr):
    """The bytes [first, last) of each vector as bits of a number; none where not ``inside``."""
    low = tl.minimum(tl.maximum(first, 0), 4 * WORDS)
    high = tl.minimum(tl.maximum(last, 0), 4 * WORDS)
    return tl.where(inside, (1 << high) - (1 << low), 0)


@triton.jit
def _place(record, row, ITEM: tl.constexpr, STEP: tl.constexpr):
    """Image of a layer, and by how many bytes it is read away from where it shows."""
    image = tl.maximum(tl.load(record), 0).to(tl.int64)
    move = 0
    if STEP > 0:
        move = -(tl.load(record + _MOVE) * row + tl.load(record + _MOVE + 1) * ITEM)
    return image, move


@triton.jit
def _needs(mask, some, move, STEP: tl.constexpr):
    """Which words are read for the bytes of a mask: those ``move`` bytes on, and those behind them.

    What is needed lies within the plane, and so do vectors that move by their own length.
    """
    if STEP == 1:
        bits = (move & 3) * 8
        wanted, behind = (mask << bits) != 0, ((mask.to(tl.uint32, bitcast=True) >> 1) >> (31 - bits)) != 0
    elif STEP == 4:
        wanted = mask != 0
        behind = wanted
    else:
        wanted = (mask == mask) & some[:, None]
        behind = wanted
    return wanted, behind


@triton.jit
def _read(start, at, move, wanted, behind, STEP: tl.constexpr):
    """Words ``at``, or those ``move`` bytes on; ``_needs`` says which."""
    if STEP == 0:
        moved = at
    elif STEP == 16:  # the compiler believes in the alignment of a multiple that it sees made
        moved = at + (move // 16) * 4
    else:
        moved = at + (move >> 2)
    value = tl.load(start + moved, wanted, other=0)
    if STEP == 1:
        bits = (move & 3) * 8
        more = tl.load(start + moved + 1, behind, other=0)
        value = (value.to(tl.uint32, bitcast=True) >> bits).to(tl.int32, bitcast=True) | ((more << (31 - bits)) << 1)
    return value


@triton.jit
def _blend(under, over, mask):
    return (under & ~mask) | (over & mask)


@triton.jit
def _write(out, at, value, here, WORDS: tl.constexpr, VECTORS: tl.constexpr):
    tl.store(out + at, value, tl.broadcast_to(here[:, None], (VECTORS, WORDS)))
