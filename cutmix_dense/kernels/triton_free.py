"""Free-form plans moved by 16-byte vectors: the owner of every pixel is read once for all planes of its image.

The owners of four bytes lie in one word, so a mask of bits for each layer takes a few operations; each layer is read
only by vectors that show some of it.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]


@triton.jit
def free_kernel(
    out,
    pool,
    owner,
    source,
    vectors,
    groups,
    fill_even,
    fill_odd,
    ITEM: tl.constexpr,
    GROUP: tl.constexpr,
    LAYERS: tl.constexpr,
    VECTORS: tl.constexpr,
):
    """One block of vectors of one output, all its planes.

    ``out`` and ``pool`` are batches as 32-bit words, plane after plane, of ``vectors`` of four words each; an image has
    ``groups`` times ``GROUP`` planes. ``owner`` holds a byte per pixel: as words where a pixel is one byte (``ITEM``),
    as halves of words where it is two, else as bytes. ``source`` names the images of the layers. Pixels of no layer
    show the words ``fill_even`` and ``fill_odd`` in turn.
    """
    output = tl.program_id(1)
    vector = tl.program_id(0) * VECTORS + tl.arange(0, VECTORS)
    words = vector[:, None] * 4 + tl.arange(0, 4)[None, :]
    here = tl.broadcast_to((vector < vectors)[:, None], (VECTORS, 4))
    # whole vectors, as the compiler can see: it moves 16 bytes at a time only where it knows that they are aligned
    plane = vectors * 4
    image = tl.full((), 4, tl.int64) * (vectors * (groups * GROUP))
    out += output * image
    if ITEM <= 4:
        own = tl.load(owner + output * (tl.full((), 4, tl.int64) * vectors) + words, here, other=-1)
    else:
        own = tl.load(owner + output * (tl.full((), 2, tl.int64) * vectors) + words // 2, here, other=-1)
    for group in range(groups):
        at = (vector + group * GROUP * vectors)[:, None] * 4 + tl.arange(0, 4)[None, :]
        a = tl.zeros((VECTORS, 4), dtype=tl.int32)
        a1, a2, covered = a, a, a
        for layer in tl.static_range(LAYERS):
            shown = tl.load(source + output * LAYERS + layer)
            mask = tl.where(shown >= 0, _owned(own, layer, ITEM), 0)
            covered = covered | mask
            wanted = tl.broadcast_to((tl.max((mask != 0).to(tl.int32), axis=1) > 0)[:, None], (VECTORS, 4))
            start = pool + tl.maximum(shown, 0) * image
            a = a | (tl.load(start + at, wanted, other=0) & mask)
            if GROUP == 3:
                a1 = a1 | (tl.load(start + (at + plane), wanted, other=0) & mask)
                a2 = a2 | (tl.load(start + (at + 2 * plane), wanted, other=0) & mask)
        fill = tl.where((words & 1) != 0, fill_odd, fill_even) & ~covered
        tl.store(out + at, a | fill, here)
        if GROUP == 3:
            tl.store(out + (at + plane), a1 | fill, here)
            tl.store(out + (at + 2 * plane), a2 | fill, here)


@triton.jit
def _owned(own, layer: tl.constexpr, ITEM: tl.constexpr):
    """The bits of the bytes that a layer owns, word by word."""
    if ITEM == 1:
        other = own ^ (layer * 0x01010101)  # a byte of zeros for each pixel of the layer
        some = ((other & 0x7F7F7F7F) + 0x7F7F7F7F) | other
        mask = (((some >> 7) & 0x01010101) ^ 0x01010101) * 255
    elif ITEM == 2:
        low = tl.where((own & 255).to(tl.int32) == layer, 0xFFFF, 0)
        high = tl.where(((own >> 8) & 255).to(tl.int32) == layer, -0x10000, 0)
        mask = low | high
    else:
        mask = tl.where(own.to(tl.int32) == layer, -1, 0)
    return mask
