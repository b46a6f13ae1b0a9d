/* The triangle filter of `resample.c`, in floating point: included for REAL float and double.
 *
 * Lines of a source are turned into REAL once and kept as long as they are needed. LANES lines of the window are summed
 * from them, element by element, then laid side by side, so that the sums along a line are of LANES numbers at once.
 */

/* A line as the sum of others, each by its weight. */
WIDE static void OF_REAL(sum_lines)(REAL *restrict to, const REAL *const *lines, const double *weight, int64_t taps, int64_t length) {
    const REAL *one = lines[0], *other = lines[taps > 1];
    REAL share = (REAL)weight[0], rest = taps > 1 ? (REAL)weight[1] : 0;
    if (taps == 1)
        for (int64_t i = 0; i < length; i++) to[i] = share * one[i];
    else
        for (int64_t i = 0; i < length; i++) to[i] = share * one[i] + rest * other[i];
    for (int64_t k = 2; k + 1 < taps; k += 2) {
        one = lines[k], other = lines[k + 1], share = (REAL)weight[k], rest = (REAL)weight[k + 1];
        for (int64_t i = 0; i < length; i++) to[i] += share * one[i] + rest * other[i];
    }
    if (taps > 2 && taps % 2) {
        one = lines[taps - 1], share = (REAL)weight[taps - 1];
        for (int64_t i = 0; i < length; i++) to[i] += share * one[i];
    }
}

/* LANES lines, `stride` apart, element beside element. */
WIDE static void OF_REAL(lay_beside)(REAL *restrict to, const REAL *restrict lines, int64_t stride, int64_t length) {
    for (int64_t i = 0; i < length; i++)
        for (int r = 0; r < LANES; r++) to[i * LANES + r] = lines[r * stride + i];
}

/* The other way; up to the next multiple of LANES. */
WIDE static void OF_REAL(lay_apart)(REAL *restrict lines, const REAL *restrict from, int64_t stride, int64_t length) {
    for (int64_t i = 0; i < length; i += LANES) {
        REAL tile[LANES * LANES];
        for (int r = 0; r < LANES; r++)
            for (int k = 0; k < LANES; k++) tile[r * LANES + k] = from[(i + k) * LANES + r];
        for (int r = 0; r < LANES; r++) memcpy(lines + r * stride + i, tile + r * LANES, LANES * sizeof *tile);
    }
}

/* The sums along LANES lines: one for each pixel of the window, of `beside` elements. */
WIDE static void OF_REAL(sum_along)(REAL *restrict to, const REAL *restrict from, const Axis *axis, int64_t beside) {
    const int64_t pixels = axis->stop - axis->start;
    for (int64_t x = 0; x < pixels; x++) {
        const double *weight = axis->weight + axis->taps[x].weight;
        const int64_t count = axis->taps[x].count;
        const REAL *pixel = from + (axis->taps[x].first - axis->first) * beside * LANES;
        for (int64_t c = 0; c < beside; c++, pixel += LANES, to += LANES) {
            REAL total[LANES];
            for (int r = 0; r < LANES; r++) total[r] = (REAL)weight[0] * pixel[r];
            for (int64_t k = 1; k < count; k++) {
                const REAL share = (REAL)weight[k], *at = pixel + k * beside * LANES;
                for (int r = 0; r < LANES; r++) total[r] += share * at[r];
            }
            for (int r = 0; r < LANES; r++) to[r] = total[r];
        }
    }
}

/* What a window shows, filtered. Returns 0 where there is no memory. */
static int OF_REAL(filter)(const Window *w, const Axis *axes, const Element *element) {
    const int64_t beside = w->item / element->bytes, wide = (axes[2].last - axes[2].first) * beside, out = (axes[2].stop - axes[2].start) * beside;
    const int64_t stride = (most(wide, out) + LANES - 1) / LANES * LANES;
    const int64_t rows = w->high[1] - w->low[1], planes = w->high[0] - w->low[0];
    const int64_t slots = axes[0].most * axes[1].most; /* of lines that are held, as many as are summed at most */
    REAL *held = malloc((size_t)(slots * wide) * sizeof *held), *line = calloc((size_t)(LANES * stride), sizeof *line);
    REAL *in = malloc((size_t)(LANES * wide) * sizeof *in), *sums = calloc((size_t)(LANES * stride), sizeof *sums);
    int64_t *holds = malloc((size_t)slots * sizeof *holds);
    const REAL **lines = malloc((size_t)slots * sizeof *lines);
    double *weight = malloc((size_t)slots * sizeof *weight);
    char *packed = malloc((size_t)(wide * element->bytes));
    const int there = held && line && in && sums && holds && lines && weight && packed;
    for (int64_t l = 0; there && l < w->leads; l++) {
        for (int64_t i = 0; i < slots; i++) holds[i] = -1;
        for (int64_t z = 0; z < planes; z++)
            for (int64_t y = 0; y < rows; y += LANES) {
                const int64_t lanes = least(LANES, rows - y);
                for (int64_t r = 0; r < lanes; r++) {
                    const Taps deep = axes[0].taps[z], down = axes[1].taps[y + r];
                    int64_t taps = 0;
                    for (int64_t i = 0; i < deep.count; i++)
                        for (int64_t j = 0; j < down.count; j++, taps++) {
                            const int64_t plane = deep.first + i, row = down.first + j;
                            const int64_t slot = plane % axes[0].most * axes[1].most + row % axes[1].most, name = plane * w->from.size[1] + row;
                            lines[taps] = held + slot * wide;
                            weight[taps] = axes[0].weight[deep.weight + i] * axes[1].weight[down.weight + j];
                            if (holds[slot] == name) continue;
                            const char *from = place(w->from.at + l * w->from.lead + plane * w->from.step[0] + row * w->from.step[1] + axes[2].first * w->from.step[2]);
                            if (w->from.step[2] != w->item) {
                                copy_pixels(packed, w->item, from, w->from.step[2], wide / beside, w->item);
                                from = packed;
                            }
                            element->take(held + slot * wide, from, wide);
                            holds[slot] = name;
                        }
                    OF_REAL(sum_lines)(line + r * stride, lines, weight, taps, wide);
                }
                OF_REAL(lay_beside)(in, line, stride, wide);
                OF_REAL(sum_along)(sums, in, &axes[2], beside);
                OF_REAL(lay_apart)(line, sums, stride, out);
                for (int64_t r = 0; r < lanes; r++)
                    element->put(place(w->to.at + l * w->to.lead + z * w->to.step[0] + (y + r) * w->to.step[1]), line + r * stride, out);
            }
    }
    free(held), free(line), free(in), free(sums), free(holds), free((void *)lines), free(weight), free(packed);
    return there;
}
