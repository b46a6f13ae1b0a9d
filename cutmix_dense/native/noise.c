/* Fields of noise. */
#include "native.h"

#include <string.h>

enum { STRIP = 512, LITTLE = 64 };

WIDE static void add_row(const float *restrict row, int64_t width, double *restrict sum, double *restrict square) {
    for (int64_t x = 0; x < width; x++) {
        const double value = row[x];
        sum[x] += value, square[x] += value * value;
    }
}

/* The sum of float values and that of their squares, double (2,): planes and rows `step` bytes apart, values side by side.
 * Each column has sums of its own first, so that neighbours are added at once. */
EXPORT void cutmix_dense_moments(const char *at, const int64_t *size, const int64_t *step, double *sums) {
    sums[0] = sums[1] = 0;
    for (int64_t from = 0; from < size[2]; from += STRIP) {
        const int64_t width = least(STRIP, size[2] - from);
        double sum[STRIP] = {0}, square[STRIP] = {0};
        for (int64_t z = 0; z < size[0]; z++)
            for (int64_t y = 0; y < size[1]; y++)
                add_row((const float *)(const void *)(at + z * step[0] + y * step[1]) + from, width, sum, square);
        for (int64_t x = 0; x < width; x++) sums[0] += sum[x], sums[1] += square[x];
    }
}

/* How many of a strip's values lie below `low`, and how many of them, in all, don't lie above `high`. */
WIDE static void count_strip(const float *restrict values, int64_t count, float low, float high, int32_t *counts) {
    int32_t below = 0, reached = 0;
    for (int64_t i = 0; i < count; i++) below += values[i] < low, reached += values[i] <= high;
    counts[0] = below, counts[1] = reached;
}

/* The values in [low, high], in their order, to `found`, which has room for all; how many lie below `low`, to `below`. Returns
 * how many were found. No value may be NaN. */
EXPORT int64_t cutmix_dense_between(const float *values, int64_t count, double low, double high, int64_t *below, float *found) {
    int64_t kept = 0;
    *below = 0;
    for (int64_t from = 0; from < count; from += LITTLE) {
        const int64_t length = least(LITTLE, count - from);
        int32_t counts[2];
        count_strip(values + from, length, (float)low, (float)high, counts);
        *below += counts[0];
        if (counts[0] == counts[1]) continue;
        if (counts[0] == 0 && counts[1] == length) {
            memcpy(found + kept, values + from, (size_t)length * sizeof *found), kept += length;
            continue;
        }
        for (int64_t i = from; i < from + length; i++)
            if (values[i] >= (float)low && values[i] <= (float)high) found[kept++] = values[i];
    }
    return kept;
}
