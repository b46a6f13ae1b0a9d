/* The verdict on instances that were measured, as `functional.verdict.judge` gives it under a plain `FilterRule`. */
#include "native.h"

#include <math.h>

/* `functional.report.Reason` */
enum { KEPT, NOT_CARRIED, BROKEN_BOX, EMPTY_MASK, OUTSIDE, COVERED, LOW_VISIBILITY, TOO_SMALL, ELONGATED, NOT_FINITE };

/* What was measured: addresses, 0 for what is unknown. */
typedef struct {
    int64_t visible, whole;                       /* double (n,) */
    int64_t boxes;                                /* double (n, ends) */
    int64_t untouched, broken, outside, finite;   /* uint8 (n,) */
    int64_t layer;                                /* int64 (n,) */
    int64_t before;                               /* float (n,), the visibility that came in */
    int64_t carried, empty, exempt;               /* uint8 (n,) */
} Columns;

static const void *address(int64_t at) { return (const void *)(intptr_t)at; }
static int flag(int64_t column, int64_t row) { return column && ((const uint8_t *)address(column))[row]; }

/* Judge n instances.
 *
 * `limits`: the least visibility of base and pasted ones, the least side of both, and the most aspect; `strict`: they
 * must be exceeded. `reason`: int64 (n,); `visibility`: float (n,); `share`: double (n,); `complete`: uint8 (n,). */
EXPORT void cutmix_dense_judge(const Columns *columns, int64_t n, int64_t ends, const double *limits, int64_t strict,
                               int64_t *reason, float *visibility, double *share, uint8_t *complete) {
    const double *visible = address(columns->visible), *whole = address(columns->whole), *boxes = address(columns->boxes);
    const int64_t *layer = address(columns->layer);
    const float *before = address(columns->before);
    const int64_t axes = ends / 2;
    for (int64_t row = 0; row < n; row++) {
        const int untouched = flag(columns->untouched, row), pasted = layer[row] > 0;
        double part = visible[row] / (whole[row] + (whole[row] <= 0)); /* 0, not NaN, for an empty whole */
        if (untouched || part > 1) part = 1;
        share[row] = part;
        float shown = (float)part;
        if (before) shown *= before[row];
        complete[row] = untouched || visible[row] >= whole[row] * (1 - 1e-9);

        int64_t why = KEPT;
        if (boxes) {
            const double *box = boxes + row * ends, least = limits[2 + pasted];
            double shortest = box[axes] - box[0], longest = shortest;
            for (int64_t a = 1; a < axes; a++) {
                const double side = box[axes + a] - box[a];
                if (side < shortest) shortest = side;
                if (side > longest) longest = side;
            }
            if (limits[4] < HUGE_VAL && longest >= limits[4] * shortest) why = ELONGATED;
            if (!(strict ? shortest > least : shortest >= least)) why = TOO_SMALL;
        }
        const float least = (float)limits[pasted];
        if (!(strict ? shown > least : shown >= least)) why = LOW_VISIBILITY;
        if (visible[row] <= 0) why = COVERED;
        if (untouched) why = KEPT;
        if (flag(columns->empty, row)) why = EMPTY_MASK;
        if (flag(columns->outside, row)) why = OUTSIDE;
        if (flag(columns->broken, row)) why = BROKEN_BOX;
        if (columns->finite && !flag(columns->finite, row)) why = NOT_FINITE;
        if (flag(columns->exempt, row) && why >= LOW_VISIBILITY) why = KEPT;
        if (columns->carried && !flag(columns->carried, row)) {
            shown = 0;
            if (why != NOT_FINITE) why = NOT_CARRIED;
        }
        reason[row] = why;
        visibility[row] = shown;
    }
}
