/* Fields of noise. */
#include "native.h"

enum { STRIP = 512 };

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
