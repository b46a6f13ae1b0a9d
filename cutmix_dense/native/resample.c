/* Scaled layers: what a window of the canvas shows of an image, read through an axis-aligned map.
 *
 * The nearest pixel, or a triangle filter along each axis: as wide as a shrunk pixel, or two pixels wide. The weights of
 * an axis are made once. Positions are counted as the reference counts them, in float for bytes and float, else in double.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 8 };

typedef struct { int64_t first, count, weight; } Taps; /* source pixels, and where their weights begin */

/* What each pixel of a window counts along one axis. */
typedef struct {
    int64_t start, stop;   /* of the window */
    int64_t first, last;   /* source pixels that count, in all */
    int64_t most;          /* taps of a pixel, at most */
    Taps *taps;
    double *weight;
} Axis;

/* A number of a pixel: how it is turned into floating point, and back. */
typedef struct {
    int64_t bytes;
    int single;            /* counted in float, else in double */
    void (*take)(void *to, const char *from, int64_t count);
    void (*put)(char *to, const void *from, int64_t count);
} Element;

/* A whole number, halves to even, of a sum that lies among those of its type: beyond 1.5 * 2^23 a float has no fraction,
 * beyond 1.5 * 2^52 a double, and their last bits are the number's. */
static inline uint32_t whole_float(float value) {
    uint32_t bits;
    const float whole = value + 12582912.0f;
    memcpy(&bits, &whole, sizeof bits);
    return bits;
}

static inline uint64_t whole_double(double value) {
    uint64_t bits;
    const double whole = value + 6755399441055744.0;
    memcpy(&bits, &whole, sizeof bits);
    return bits;
}

static inline float same_float(float value) { return value; }
static inline double same_double(double value) { return value; }

#define ELEMENT(NAME, TYPE, REAL, FINISH)                                                 \
    WIDE static void take_##NAME(void *to, const char *from, int64_t count) {             \
        REAL *restrict numbers = to;                                                      \
        const TYPE *restrict given = (const TYPE *)(const void *)from;                    \
        for (int64_t i = 0; i < count; i++) numbers[i] = (REAL)given[i];                  \
    }                                                                                     \
    WIDE static void put_##NAME(char *to, const void *from, int64_t count) {              \
        TYPE *restrict found = (TYPE *)(void *)to;                                        \
        const REAL *restrict numbers = from;                                              \
        for (int64_t i = 0; i < count; i++) found[i] = (TYPE)FINISH(numbers[i]);          \
    }

ELEMENT(uint8, uint8_t, float, whole_float)
ELEMENT(int8, int8_t, float, whole_float)
ELEMENT(float, float, float, same_float)
ELEMENT(uint16, uint16_t, double, whole_double)
ELEMENT(int16, int16_t, double, whole_double)
ELEMENT(uint32, uint32_t, double, whole_double)
ELEMENT(int32, int32_t, double, whole_double)
ELEMENT(double, double, double, same_double)

/* In the order of `ELEMENTS` of `__init__.py`. */
static const Element elements[] = {
    {1, 1, take_uint8, put_uint8},    {1, 1, take_int8, put_int8},    {4, 1, take_float, put_float},
    {2, 0, take_uint16, put_uint16},  {2, 0, take_int16, put_int16},  {4, 0, take_uint32, put_uint32},
    {4, 0, take_int32, put_int32},    {8, 0, take_double, put_double},
};

/* ------------------------------------------------------------------------------------------------------ along one axis */

/* The whole part of a number, between two that aren't negative; the lower one for what is none. */
static int64_t within(double value, int64_t low, int64_t high) {
    return value > (double)low ? value < (double)high ? (int64_t)value : high : low;
}

static double size_of(double value) { return value < 0 ? -value : value; }

/* A number as float has it, or as it is. */
static double as(double value, int single) { return single ? (double)(float)value : value; }

/* Whether the map is what torch's resize does, which the reference uses there: an image from its origin, to whole pixels. */
static int resizes(const Window *w) {
    int from_origin = w->interpolation != NEAREST && w->from.size[0] == 1;
    for (int a = 0; a < AXES; a++) from_origin = from_origin && w->scale[a] > 0 && is_whole(w->shift[a]) && !w->valid_low[a];
    return from_origin;
}

/* Where in the image the centre of a canvas pixel lies. Torch's resize multiplies, and of two pixels it rounds the place
 * between their centres. */
static double position_of(const Window *w, int axis, int64_t pixel, int single, int resized) {
    const double scale = w->scale[axis], offset = as((double)pixel + 0.5 - w->shift[axis], single);
    const double centre = w->interpolation == BILINEAR ? 0.5 : 0;
    if (resized) return as(offset * as(1 / scale, single) - centre, single) + centre;
    return as(offset / scale, single);
}

static void close_axis(Axis *axis) { free(axis->taps), free(axis->weight); }

static int open_axis(Axis *axis, const Window *w, int a, int single) {
    const int64_t low = w->valid_low[a], high = w->valid_high[a], pixels = w->high[a] - w->low[a];
    const double shrunk = w->interpolation == ANTIALIAS ? 1 / size_of((double)w->scale[a]) : 1, reach = shrunk > 1 ? shrunk : 1;
    const int64_t room = within(2 * reach + 2, 1, high - low);
    const int resized = resizes(w);
    axis->start = w->low[a], axis->stop = w->high[a], axis->first = high, axis->last = low, axis->most = 1;
    axis->taps = malloc((size_t)pixels * sizeof *axis->taps);
    axis->weight = malloc((size_t)(pixels * room) * sizeof *axis->weight);
    if (!axis->taps || !axis->weight) return 0;
    for (int64_t i = 0; i < pixels; i++) {
        const double position = position_of(w, a, axis->start + i, single, resized);
        int64_t first = within(position - reach - 0.5, low, high - 1), count = 0;
        double *weight = axis->weight + i * room, total = 0;
        for (int64_t pixel = first; pixel < high && count < room; pixel++) {
            const double share = as(1 - as(size_of(as((double)pixel + 0.5 - position, single)) * as(1 / as(reach, single), single), single), single);
            if (share > 0) weight[count++] = share, total = as(total + share, single);
            else if (count) break;
            else if ((double)pixel > position) break;
            else first = pixel + 1;
        }
        if (!count) first = within(position, low, high - 1), weight[count++] = total = 1;
        for (int64_t k = 0; k < count; k++) weight[k] = as(weight[k] / total, single);
        axis->taps[i] = (Taps){first, count, i * room};
        axis->first = least(axis->first, first), axis->last = most(axis->last, first + count), axis->most = most(axis->most, count);
    }
    return 1;
}

#define REAL float
#define OF_REAL(name) name##_float
#include "filter.h"
#undef REAL
#undef OF_REAL
#define REAL double
#define OF_REAL(name) name##_double
#include "filter.h"

/* ------------------------------------------------------------------------------------------------------- nearest pixels */

static void pick_row(char *to, const char *from, int64_t step, const int64_t *pixel, int64_t count, int64_t item) {
    switch (item) {
    case 1:
        for (int64_t i = 0; i < count; i++) to[i] = from[pixel[i] * step];
        return;
    case 3:
        for (int64_t i = 0; i < count; i++) memcpy(to + 3 * i, from + pixel[i] * step, 3);
        return;
    case 4:
        for (int64_t i = 0; i < count; i++) memcpy(to + 4 * i, from + pixel[i] * step, 4);
        return;
    case 8:
        for (int64_t i = 0; i < count; i++) memcpy(to + 8 * i, from + pixel[i] * step, 8);
        return;
    default:
        for (int64_t i = 0; i < count; i++) memcpy(to + item * i, from + pixel[i] * step, (size_t)item);
    }
}

static int pick(const Window *w) {
    int64_t length[AXES], *pixel[AXES] = {NULL, NULL, NULL}, there = 1;
    for (int a = 0; a < AXES; a++) {
        length[a] = w->high[a] - w->low[a];
        pixel[a] = malloc((size_t)length[a] * sizeof *pixel[a]);
        there = there && pixel[a];
        for (int64_t i = 0; there && i < length[a]; i++)
            pixel[a][i] = within(position_of(w, a, w->low[a] + i, 1, 0), w->valid_low[a], w->valid_high[a] - 1);
    }
    for (int64_t l = 0; there && l < w->leads; l++)
        for (int64_t z = 0; z < length[0]; z++)
            for (int64_t y = 0; y < length[1]; y++) {
                char *to = place(w->to.at + l * w->to.lead + z * w->to.step[0] + y * w->to.step[1]);
                const int64_t from = w->from.at + l * w->from.lead + pixel[0][z] * w->from.step[0] + pixel[1][y] * w->from.step[1];
                if (y && pixel[1][y] == pixel[1][y - 1]) memcpy(to, to - w->to.step[1], (size_t)(length[2] * w->item));
                else pick_row(to, place(from), w->from.step[2], pixel[2], length[2], w->item);
            }
    for (int a = 0; a < AXES; a++) free(pixel[a]);
    return (int)there;
}

/* Write what a window that isn't empty shows. Returns 0 where there is no memory. */
int resample(const Window *w) {
    if (w->interpolation == NEAREST) return pick(w);
    const int64_t known = sizeof elements / sizeof *elements;
    const Element *element = elements + most(0, least(w->element, known - 1));
    Axis axes[AXES];
    int there = 1;
    memset(axes, 0, sizeof axes);
    for (int a = 0; a < AXES; a++) there = there && open_axis(axes + a, w, a, element->single);
    if (there) there = element->single ? filter_float(w, axes, element) : filter_double(w, axes, element);
    for (int a = 0; a < AXES; a++) close_axis(axes + a);
    return there;
}

/* `resample` for a window of its own. */
EXPORT int64_t cutmix_dense_resample(const Window *window) { return resample(window); }
