/* Fields of noise: inverse Fourier transforms of spectra that hold low frequencies, to real numbers.
 *
 * LANES lines are transformed at once, number k of each beside number k of the others. A length is taken apart into small
 * factors; every pass joins so many parts (Stockham's order, nothing is sorted). Of a real line only half of the spectrum
 * is given, so two of them are transformed as the real and the imaginary part of one.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

enum { LANES = 16, PASSES = 64, MOST_FACTOR = 50 };

typedef struct { float re[LANES], im[LANES]; } Row;

typedef struct { float re, im; } Number;

/* An axis, as Python writes it. */
typedef struct {
    int64_t count, behind; /* frequencies that are given: from 0 up, then so many negative ones */
    int64_t period, size;  /* length of the transform, and how much of it is wanted */
    int64_t turns;         /* Number (period,): e^(2 pi i k / period) */
} Axis;

static const Number *turns_of(const Axis *axis) { return (const Number *)(uintptr_t)axis->turns; }

/* Each pass takes `parts` times `step` rows per factor: row q of part p of the j-th share lies at q + step * (p + parts * j). */
#define EACH for (int i = 0; i < LANES; i++)

WIDE static void join_two(const Row *restrict from, Row *restrict to, int64_t parts, int64_t step, const Number *turns) {
    for (int64_t p = 0; p < parts; p++) {
        const Number w = turns[p * step];
        for (int64_t q = 0; q < step; q++) {
            const Row *a = from + q + step * p, *b = a + step * parts;
            Row *y = to + q + step * 2 * p, *z = y + step;
            EACH {
                const float re = a->re[i] - b->re[i], im = a->im[i] - b->im[i];
                y->re[i] = a->re[i] + b->re[i], y->im[i] = a->im[i] + b->im[i];
                z->re[i] = re * w.re - im * w.im, z->im[i] = re * w.im + im * w.re;
            }
        }
    }
}

WIDE static void join_four(const Row *restrict from, Row *restrict to, int64_t parts, int64_t step, const Number *turns) {
    for (int64_t p = 0; p < parts; p++) {
        const Number u = turns[p * step], v = turns[2 * p * step], w = turns[3 * p * step];
        for (int64_t q = 0; q < step; q++) {
            const Row *a = from + q + step * p, *b = a + step * parts, *c = b + step * parts, *d = c + step * parts;
            Row *e = to + q + step * 4 * p, *f = e + step, *g = f + step, *h = g + step;
            EACH {
                const float sum_re = a->re[i] + c->re[i], sum_im = a->im[i] + c->im[i];
                const float less_re = a->re[i] - c->re[i], less_im = a->im[i] - c->im[i];
                const float also_re = b->re[i] + d->re[i], also_im = b->im[i] + d->im[i];
                const float side_re = d->im[i] - b->im[i], side_im = b->re[i] - d->re[i];
                const float f_re = less_re + side_re, f_im = less_im + side_im, g_re = sum_re - also_re, g_im = sum_im - also_im;
                const float h_re = less_re - side_re, h_im = less_im - side_im;
                e->re[i] = sum_re + also_re, e->im[i] = sum_im + also_im;
                f->re[i] = f_re * u.re - f_im * u.im, f->im[i] = f_re * u.im + f_im * u.re;
                g->re[i] = g_re * v.re - g_im * v.im, g->im[i] = g_re * v.im + g_im * v.re;
                h->re[i] = h_re * w.re - h_im * w.im, h->im[i] = h_re * w.im + h_im * w.re;
            }
        }
    }
}

WIDE static void join_five(const Row *restrict from, Row *restrict to, int64_t parts, int64_t step, const Number *turns) {
    const float c1 = 0.309016994374947424f, s1 = 0.951056516295153572f, c2 = -0.809016994374947424f, s2 = 0.587785252292473129f;
    for (int64_t p = 0; p < parts; p++) {
        const Number t = turns[p * step], u = turns[2 * p * step], v = turns[3 * p * step], w = turns[4 * p * step];
        for (int64_t q = 0; q < step; q++) {
            const Row *a = from + q + step * p, *b = a + step * parts, *c = b + step * parts, *d = c + step * parts, *e = d + step * parts;
            Row *y = to + q + step * 5 * p;
            EACH {
                const float be_re = b->re[i] + e->re[i], be_im = b->im[i] + e->im[i], eb_re = b->re[i] - e->re[i], eb_im = b->im[i] - e->im[i];
                const float cd_re = c->re[i] + d->re[i], cd_im = c->im[i] + d->im[i], dc_re = c->re[i] - d->re[i], dc_im = c->im[i] - d->im[i];
                const float near_re = a->re[i] + c1 * be_re + c2 * cd_re, near_im = a->im[i] + c1 * be_im + c2 * cd_im;
                const float far_re = a->re[i] + c2 * be_re + c1 * cd_re, far_im = a->im[i] + c2 * be_im + c1 * cd_im;
                const float turn_re = s1 * eb_im + s2 * dc_im, turn_im = s1 * eb_re + s2 * dc_re;
                const float bend_re = s2 * eb_im - s1 * dc_im, bend_im = s2 * eb_re - s1 * dc_re;
                const float t_re = near_re - turn_re, t_im = near_im + turn_im, w_re = near_re + turn_re, w_im = near_im - turn_im;
                const float u_re = far_re - bend_re, u_im = far_im + bend_im, v_re = far_re + bend_re, v_im = far_im - bend_im;
                y[0].re[i] = a->re[i] + be_re + cd_re, y[0].im[i] = a->im[i] + be_im + cd_im;
                y[step].re[i] = t_re * t.re - t_im * t.im, y[step].im[i] = t_re * t.im + t_im * t.re;
                y[2 * step].re[i] = u_re * u.re - u_im * u.im, y[2 * step].im[i] = u_re * u.im + u_im * u.re;
                y[3 * step].re[i] = v_re * v.re - v_im * v.im, y[3 * step].im[i] = v_re * v.im + v_im * v.re;
                y[4 * step].re[i] = w_re * w.re - w_im * w.im, y[4 * step].im[i] = w_re * w.im + w_im * w.re;
            }
        }
    }
}

/* Any other factor: every share of every sum by its own turn. */
WIDE static void join_any(const Row *restrict from, Row *restrict to, int64_t parts, int64_t step, const Number *turns, int64_t factor) {
    const int64_t period = factor * parts * step;
    for (int64_t p = 0; p < parts; p++)
        for (int64_t t = 0; t < factor; t++)
            for (int64_t q = 0; q < step; q++) {
                Row *y = to + q + step * (factor * p + t), sum = from[q + step * p];
                const Number turned = turns[p * t * step];
                for (int64_t j = 1; j < factor; j++) {
                    const Row *a = from + q + step * (p + parts * j);
                    const Number w = turns[j * t % factor * (period / factor)];
                    EACH sum.re[i] += a->re[i] * w.re - a->im[i] * w.im, sum.im[i] += a->re[i] * w.im + a->im[i] * w.re;
                }
                EACH y->re[i] = sum.re[i] * turned.re - sum.im[i] * turned.im, y->im[i] = sum.re[i] * turned.im + sum.im[i] * turned.re;
            }
}

/* The factors of a length, fours first; their number, or 0 where one is too large. */
static int64_t factors_of(int64_t length, int64_t *factors) {
    int64_t count = 0;
    for (; length % 4 == 0; length /= 4) factors[count++] = 4;
    for (int64_t factor = 2; length > 1; factor++) {
        if (factor > MOST_FACTOR) return 0;
        for (; length % factor == 0; length /= factor) factors[count++] = factor;
    }
    if (!count) factors[count++] = 1;
    return count;
}

/* Transform what lies in rows[0]; where the result lies. */
static const Row *transform(const Axis *axis, const int64_t *factors, int64_t passes, Row *const *rows) {
    const Number *turns = turns_of(axis);
    const Row *from = rows[0];
    int64_t step = 1;
    for (int64_t pass = 0; pass < passes; pass++) {
        const int64_t factor = factors[pass], parts = axis->period / step / factor;
        Row *to = rows[1 + pass % 2];
        if (factor == 4) join_four(from, to, parts, step, turns);
        else if (factor == 2) join_two(from, to, parts, step, turns);
        else if (factor == 5) join_five(from, to, parts, step, turns);
        else join_any(from, to, parts, step, turns, factor);
        from = to, step *= factor;
    }
    return from;
}

/* An axis that isn't the last: (outer, count, inner) to (outer, size, inner). */
static void along(const Axis *axis, const int64_t *factors, int64_t passes, Row *const *rows, const Number *from, Number *to, int64_t outer,
                  int64_t inner) {
    const int64_t ahead = axis->count - axis->behind;
    for (int64_t o = 0; o < outer; o++, from += axis->count * inner, to += axis->size * inner)
        for (int64_t x = 0; x < inner; x += LANES) {
            const int64_t lanes = least(LANES, inner - x);
            for (int64_t k = 0; k < axis->count; k++) {
                Row *row = rows[0] + (k < ahead ? k : axis->period - axis->count + k);
                for (int64_t i = 0; i < lanes; i++) row->re[i] = from[k * inner + x + i].re, row->im[i] = from[k * inner + x + i].im;
            }
            const Row *found = transform(axis, factors, passes, rows);
            for (int64_t n = 0; n < axis->size; n++)
                for (int64_t i = 0; i < lanes; i++) to[n * inner + x + i] = (Number){found[n].re[i], found[n].im[i]};
        }
}

/* Columns for rows: `to` has a row for each column of `from`. */
static void transpose(float *restrict to, int64_t to_row, const float *restrict from, int64_t from_row, int64_t rows, int64_t columns) {
    int64_t fours = 0;
#if defined(__SSE__)
    fours = rows & ~(int64_t)3;
    for (int64_t y = 0; y < fours; y += 4) {
        int64_t x = 0;
        for (; x + 4 <= columns; x += 4) {
            const float *at = from + y * from_row + x;
            __m128 a = _mm_loadu_ps(at), b = _mm_loadu_ps(at + from_row), c = _mm_loadu_ps(at + 2 * from_row), d = _mm_loadu_ps(at + 3 * from_row);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            float *put = to + x * to_row + y;
            _mm_storeu_ps(put, a), _mm_storeu_ps(put + to_row, b), _mm_storeu_ps(put + 2 * to_row, c), _mm_storeu_ps(put + 3 * to_row, d);
        }
        for (; x < columns; x++)
            for (int64_t i = y; i < y + 4; i++) to[x * to_row + i] = from[i * from_row + x];
    }
#endif
    for (int64_t y = fours; y < rows; y++)
        for (int64_t x = 0; x < columns; x++) to[x * to_row + y] = from[y * from_row + x];
}

/* The last axis: `lines` halves of spectra to real lines. `room` is for two times `count` rows. */
static void to_real(const Axis *axis, const int64_t *factors, int64_t passes, Row *const *rows, const Number *from, float *to, int64_t lines,
                    float scale, Row *room) {
    const int64_t count = axis->count, size = axis->size, wide = sizeof(Row) / sizeof(float);
    Row *one = room, *other = room + count; /* two times LANES lines, side by side */
    memset(room, 0, (size_t)(2 * count) * sizeof *room);
    for (int64_t y = 0; y < lines; y += 2 * LANES) {
        const int64_t first = least(LANES, lines - y), second = most(0, least(LANES, lines - y - LANES));
        transpose(one->re, LANES, &from[y * count].re, 2 * count, first, 2 * count);
        if (second) transpose(other->re, LANES, &from[(y + LANES) * count].re, 2 * count, second, 2 * count);
        for (int64_t k = 0; k < count; k++) {
            const Row *a = one + k, *b = other + k;
            Row *low = rows[0] + k, *high = rows[0] + (axis->period - k) % axis->period;
            if (low == high) { /* of these two frequencies only the real part counts */
                EACH low->re[i] = a->re[i] * scale, low->im[i] = b->re[i] * scale;
                continue;
            }
            EACH low->re[i] = (a->re[i] - b->im[i]) * scale, low->im[i] = (a->im[i] + b->re[i]) * scale;
            EACH high->re[i] = (a->re[i] + b->im[i]) * scale, high->im[i] = (b->re[i] - a->im[i]) * scale;
        }
        const Row *found = transform(axis, factors, passes, rows);
        transpose(to + y * size, size, found->re, wide, size, first);
        if (second) transpose(to + (y + LANES) * size, size, found->im, wide, size, second);
    }
}

/* The field of a spectrum: complex floats, of so many frequencies along each axis; the last axis is that of a real transform.
 * Returns 0 where there is no memory, -1 where a period has a factor that is too large. */
EXPORT int64_t cutmix_dense_field(const Axis *axes, int64_t count, const Number *spectrum, float *field) {
    int64_t factors[AXES][PASSES], passes[AXES], longest = 1, room = 1, inner = 1, outer = 1;
    double scale = 1;
    if (count < 1 || count > AXES) return -1;
    for (int64_t a = 0; a < count; a++) {
        passes[a] = factors_of(axes[a].period, factors[a]);
        if (!passes[a]) return -1;
        longest = most(longest, axes[a].period), scale /= (double)axes[a].period;
        room *= most(axes[a].count, axes[a].size), inner *= axes[a].count;
    }
    const int64_t halves = 2 * axes[count - 1].count;
    Row *rows[4] = {NULL, NULL, NULL, NULL};
    Number *between[2] = {NULL, NULL};
    int there = 1;
    for (int k = 0; k < 4; k++) rows[k] = malloc((size_t)(k < 3 ? longest : halves) * sizeof(Row)), there = there && rows[k];
    for (int k = 0; k < 2 && k < count - 1; k++) between[k] = malloc((size_t)room * sizeof(Number)), there = there && between[k];
    for (int64_t a = 0; there && a < count; a++) {
        memset(rows[0], 0, (size_t)axes[a].period * sizeof(Row));
        inner /= axes[a].count;
        if (a == count - 1) to_real(axes + a, factors[a], passes[a], rows, spectrum, field, outer, (float)scale, rows[3]);
        else along(axes + a, factors[a], passes[a], rows, spectrum, between[a % 2], outer, inner);
        spectrum = between[a % 2], outer *= axes[a].size;
    }
    for (int k = 0; k < 4; k++) free(rows[k]);
    free(between[0]), free(between[1]);
    return there;
}
