/* Instances under a plan: what shows of boxes and of masks, and the pixels that are left of masks.
 *
 * Everything has three axes here; of two axes the first is one pixel and one cell long. Places are in array order,
 * intervals are half-open, and only boxes come and go as Python has them, x first.
 */
#include "native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


/* A plan on the host, as Python writes it: numbers and addresses. */
typedef struct {
    int64_t outputs, layers, axes, free_form, owner_bytes, unscaled;
    int64_t scale, shift;  /* float (B, S, D) */
    int64_t extent;        /* int64 (B, S, 2D) */
    int64_t source;        /* int64 (B, S), -1 for none */
    int64_t canvas;        /* int64 (B, D) */
    int64_t owner;         /* int8 or int16 (B, G..) */
    int64_t grid[AXES];    /* cells per axis */
    int64_t edges[AXES];   /* int64 (B, G + 1) each */
    int64_t weighs;        /* uint8 (B, S), the layers of a soft plan that show; 0: a hard plan */
} Plan;

/* A layer of an output. */
typedef struct {
    const Plan *plan;
    int64_t layer;
    double scale[AXES], shift[AXES];
    int64_t first[AXES], last[AXES]; /* its extent */
    int64_t low[AXES], high[AXES];   /* the canvas pixels that it reaches */
    const char *owner;               /* of the output's cells */
    const int64_t *edges[AXES];
    int soft, shows;                 /* whether it has a weight, and whether that is more than 0 */
} Layer;

/* What is owned within a block: area, whether some part is not, and the outer edges of what shows. */
typedef struct {
    double area;
    int hidden;
    double low[AXES], high[AXES];
} Seen;

static const int64_t unit[2] = {0, 1};

static double lesser(double a, double b) { return a < b ? a : b; }
static double greater(double a, double b) { return a > b ? a : b; }
static const void *address(int64_t at) { return (const void *)(intptr_t)at; }

/* The pixels [low, high) of a canvas of `size` that show the source pixels [first, last) of an axis; see
 * `plan.geometry.pixel_ranges`, with whose roundings they are found. */
static void reach(const Plan *plan, float scale, float shift, int64_t first, int64_t last, int64_t size, int64_t *low,
                  int64_t *high) {
    if (plan->unscaled) {
        *low = least(most(first + (int64_t)shift, 0), size), *high = least(most(last + (int64_t)shift, 0), size);
        return;
    }
    const float one = scale * (float)first + shift, other = scale * (float)last + shift, limit = (float)size;
    const float from = ceilf((one < other ? one : other) - 0.5f), to = ceilf((one < other ? other : one) - 0.5f);
    const float start = from < 0 ? 0 : from > limit ? limit : from;
    *low = (int64_t)start, *high = (int64_t)(to < start ? start : to > limit ? limit : to);
}

/* Look up a layer. Returns 0 where the plan hasn't such a one. */
static int find_layer(const Plan *plan, int64_t output, int64_t layer, Layer *found) {
    if (output < 0 || output >= plan->outputs || layer < 0 || layer >= plan->layers) return 0;
    const int64_t axes = plan->axes, lift = AXES - axes, slot = output * plan->layers + layer;
    const float *scale = address(plan->scale), *shift = address(plan->shift);
    const int64_t *extent = address(plan->extent), *canvas = address(plan->canvas);
    const int present = ((const int64_t *)address(plan->source))[slot] >= 0;
    int64_t cells = 1;
    for (int a = 0; a < AXES; a++) {
        const int64_t at = slot * axes + a - lift, side = 2 * slot * axes + a - lift, length = plan->grid[a];
        const int there = a >= lift;
        found->scale[a] = there ? scale[at] : 1, found->shift[a] = there ? shift[at] : 0;
        found->first[a] = there ? extent[side] : 0, found->last[a] = there ? extent[side + axes] : 1;
        found->low[a] = 0, found->high[a] = 1;
        if (there)
            reach(plan, scale[at], shift[at], found->first[a], found->last[a], canvas[output * axes + a - lift],
                  found->low + a, found->high + a);
        if (there && !present) found->high[a] = found->low[a];
        found->edges[a] = there ? (const int64_t *)address(plan->edges[a]) + output * (length + 1) : unit;
        cells *= length;
    }
    found->plan = plan, found->layer = layer;
    found->owner = (const char *)address(plan->owner) + output * cells * plan->owner_bytes;
    found->soft = plan->weighs != 0;
    found->shows = found->soft && ((const uint8_t *)address(plan->weighs))[slot];
    return 1;
}

static int owns_cell(const Layer *layer, int64_t cell) {
    if (layer->soft) return layer->shows;
    if (layer->plan->owner_bytes == 1) return ((const int8_t *)layer->owner)[cell] == layer->layer;
    return ((const int16_t *)layer->owner)[cell] == layer->layer;
}

/* ------------------------------------------------------------------------------------- lines of pixels: 1 inside, 0 not */

static int64_t count(const uint8_t *line, int64_t length) {
    int64_t total = 0;
    for (int64_t at = 0; at < length;) { /* bytes hold a sum of up to 255 of them */
        const int64_t stop = least(at + 255, length);
        uint8_t part = 0;
        for (; at < stop; at++) part += line[at];
        total += part;
    }
    return total;
}

/* Whether any of some bytes isn't 0. */
static int any(const void *given, int64_t length) {
    const char *bytes = given;
    for (; length >= 64; length -= 64, bytes += 64) {
        uint64_t words[8], found = 0;
        memcpy(words, bytes, sizeof words);
        for (int i = 0; i < 8; i++) found |= words[i];
        if (found) return 1;
    }
    char found = 0;
    for (int64_t i = 0; i < length; i++) found |= bytes[i];
    return found != 0;
}

/* Keep what the layer owns of a line: pixels [start, start + length) of row (z, y) of the canvas. */
static void keep_owned(const Layer *layer, int64_t z, int64_t y, int64_t start, int64_t length, uint8_t *line) {
    const int64_t *grid = layer->plan->grid;
    if (layer->soft) {
        if (!layer->shows) memset(line, 0, (size_t)length);
        return;
    }
    if (layer->plan->free_form) {
        const int64_t at = (z * grid[1] + y) * grid[2] + start;
        if (layer->plan->owner_bytes == 1) {
            const int8_t *owner = (const int8_t *)layer->owner + at, wanted = (int8_t)layer->layer;
            for (int64_t i = 0; i < length; i++) line[i] &= owner[i] == wanted;
        } else {
            const int16_t *owner = (const int16_t *)layer->owner + at, wanted = (int16_t)layer->layer;
            for (int64_t i = 0; i < length; i++) line[i] &= owner[i] == wanted;
        }
        return;
    }
    int64_t plane = 0, row = 0;
    while (plane + 1 < grid[0] && layer->edges[0][plane + 1] <= z) plane++;
    while (row + 1 < grid[1] && layer->edges[1][row + 1] <= y) row++;
    for (int64_t cell = 0; cell < grid[2]; cell++) {
        const int64_t from = most(layer->edges[2][cell], start), to = least(layer->edges[2][cell + 1], start + length);
        if (from < to && !owns_cell(layer, (plane * grid[1] + row) * grid[2] + cell))
            memset(line + from - start, 0, (size_t)(to - from));
    }
}

/* The least block that holds the lines that it was widened by; `high` is 0 for none. */
typedef struct { int64_t low[AXES], high[AXES]; } Block;

/* Widen a block by a line that isn't all 0; all its lines begin at `start` and have one length. */
static void widen(Block *block, int64_t z, int64_t y, int64_t start, const uint8_t *line, int64_t length) {
    const int empty = block->high[0] == 0;
    int64_t from = block->low[2] - start, to = empty ? 0 : block->high[2] - start;
    if (empty || any(line, from)) from = (const uint8_t *)memchr(line, 1, (size_t)length) - line;
    if (any(line + to, length - to))
        for (to = length; !line[to - 1];) to--;
    const int64_t low[AXES] = {z, y, start + from}, high[AXES] = {z + 1, y + 1, start + to};
    for (int a = 0; a < AXES; a++) {
        block->low[a] = empty ? low[a] : least(block->low[a], low[a]);
        block->high[a] = empty ? high[a] : most(block->high[a], high[a]);
    }
}

/* ---------------------------------------------------------------------------------------------------------------- boxes */

/* The closed form: the cells of the grid that a box meets. */
static void see_cells(const Layer *layer, const double low[AXES], const double high[AXES], Seen *seen) {
    const int64_t *grid = layer->plan->grid;
    int64_t begin[AXES], end[AXES], cell[AXES];
    for (int a = 0; a < AXES; a++) {
        begin[a] = 0;
        while (begin[a] < grid[a] && layer->edges[a][begin[a] + 1] <= low[a]) begin[a]++;
        end[a] = begin[a];
        while (end[a] < grid[a] && layer->edges[a][end[a]] < high[a]) end[a]++;
    }
    for (cell[0] = begin[0]; cell[0] < end[0]; cell[0]++)
        for (cell[1] = begin[1]; cell[1] < end[1]; cell[1]++)
            for (cell[2] = begin[2]; cell[2] < end[2]; cell[2]++) {
                double area = 1;
                int touched = 1;
                for (int a = 0; a < AXES; a++) {
                    const int64_t *edge = layer->edges[a] + cell[a];
                    const double length = lesser(high[a], (double)edge[1]) - greater(low[a], (double)edge[0]);
                    touched &= length > 0;
                    area *= length;
                }
                if (!touched) continue;
                if (!owns_cell(layer, (cell[0] * grid[1] + cell[1]) * grid[2] + cell[2])) {
                    seen->hidden = 1;
                    continue;
                }
                seen->area += area;
                for (int a = 0; a < AXES; a++) {
                    seen->low[a] = lesser(seen->low[a], (double)layer->edges[a][cell[a]]);
                    seen->high[a] = greater(seen->high[a], (double)layer->edges[a][cell[a] + 1]);
                }
            }
}

/* How much of a pixel lies in [low, high), which meets it. */
static double part_of(int64_t pixel, double low, double high) {
    return 1 - greater(low - (double)pixel, 0) - greater((double)(pixel + 1) - high, 0);
}

/* The same for one cell per pixel. */
static void see_pixels(const Layer *layer, const double low[AXES], const double high[AXES], Seen *seen, uint8_t *line) {
    int64_t first[AXES], last[AXES], shown = 0, pixels = 1;
    Block block = {{0}, {0}};
    for (int a = 0; a < AXES; a++) {
        if (!(low[a] < high[a])) return;
        first[a] = most((int64_t)floor(low[a]), 0), last[a] = least((int64_t)ceil(high[a]), layer->plan->grid[a]);
        if (first[a] >= last[a]) return;
        pixels *= last[a] - first[a];
    }
    const int64_t start = first[2], length = last[2] - start;
    const double before = 1 - part_of(start, low[2], high[2]), behind = 1 - part_of(last[2] - 1, low[2], high[2]);
    for (int64_t z = first[0]; z < last[0]; z++)
        for (int64_t y = first[1]; y < last[1]; y++) {
            memset(line, 1, (size_t)length);
            keep_owned(layer, z, y, start, length, line);
            const int64_t some = count(line, length);
            if (!some) continue;
            double share = (double)some - line[0] * before;
            if (length > 1) share -= line[length - 1] * behind;
            seen->area += part_of(z, low[0], high[0]) * part_of(y, low[1], high[1]) * share;
            shown += some;
            widen(&block, z, y, start, line, length);
        }
    seen->hidden = shown < pixels;
    for (int a = 0; a < AXES && shown; a++) seen->low[a] = (double)block.low[a], seen->high[a] = (double)block.high[a];
}

/* Measure boxes; see `functional.boxes.visible_boxes`.
 *
 * `boxes`: double (n, 2D), x first; `output`, `layer`: int64 (n,). `found`: double, visible (n,), whole (n,), tight boxes
 * (n, 2D) and mapped ones (n, 2D); `flags`: uint8, untouched, broken, outside and finite, (n,) each. `covered`: whether
 * layers cover each other; else only the canvas cuts. Returns n, or the first row whose layer the plan hasn't; -1: no
 * memory. */
EXPORT int64_t cutmix_dense_measure_boxes(const Plan *plan, int64_t n, const double *boxes, const int64_t *output,
                                          const int64_t *layer, int64_t covered, double *found, uint8_t *flags) {
    const int64_t axes = plan->axes, lift = AXES - axes;
    double *visible = found, *whole = visible + n, *tight = whole + n, *mapped = tight + 2 * axes * n;
    uint8_t *untouched = flags, *broken = untouched + n, *outside = broken + n, *finite = outside + n;
    uint8_t *line = malloc((size_t)most(plan->grid[2], 1));
    if (!line) return -1;
    int64_t row = 0;
    for (; row < n; row++) {
        const double *box = boxes + 2 * axes * row;
        Layer at;
        if (!find_layer(plan, output[row], layer[row], &at)) break;
        int right = 1, bad = 0, unmoved = 1;
        for (int64_t i = 0; i < 2 * axes; i++) right &= isfinite(box[i]) != 0;
        double low[AXES], high[AXES], from[AXES], to[AXES], size = 1;
        Seen seen = {0, 0, {HUGE_VAL, HUGE_VAL, HUGE_VAL}, {-HUGE_VAL, -HUGE_VAL, -HUGE_VAL}};
        for (int a = 0; a < AXES; a++) {
            const int64_t own = axes - 1 - (a - lift); /* x first */
            double ends[2] = {0, 1};
            for (int side = 0; side < 2 && a >= lift; side++) ends[side] = right ? box[side * axes + own] : 0;
            bad |= ends[1] <= ends[0];
            ends[1] = greater(ends[0], ends[1]);
            for (int side = 0; side < 2; side++) {
                const double inner = lesser(greater(ends[side], (double)at.first[a]), (double)at.last[a]);
                ends[side] = at.scale[a] * inner + at.shift[a];
            }
            from[a] = lesser(ends[0], ends[1]), to[a] = greater(ends[0], ends[1]);
            size *= to[a] - from[a];
            low[a] = lesser(greater(from[a], (double)at.low[a]), (double)at.high[a]);
            high[a] = lesser(greater(to[a], (double)at.low[a]), (double)at.high[a]);
            unmoved &= at.scale[a] == 1 && at.shift[a] == 0 && low[a] == from[a] && high[a] == to[a];
        }
        if (!covered) {
            seen.area = 1;
            for (int a = 0; a < AXES; a++)
                seen.area *= high[a] - low[a], seen.low[a] = low[a], seen.high[a] = high[a];
        } else if (plan->free_form) {
            see_pixels(&at, low, high, &seen, line);
        } else {
            see_cells(&at, low, high, &seen);
        }
        const int shows = seen.area > 0;
        visible[row] = seen.area, whole[row] = size;
        for (int a = (int)lift; a < AXES; a++) {
            const int64_t own = 2 * axes * row + axes - 1 - (a - lift);
            tight[own] = shows ? greater(seen.low[a], low[a]) : 0;
            tight[own + axes] = shows ? lesser(seen.high[a], high[a]) : 0;
            mapped[own] = from[a], mapped[own + axes] = to[a];
        }
        untouched[row] = unmoved && !seen.hidden && shows && right && !bad;
        broken[row] = (uint8_t)bad, outside[row] = size == 0 && !bad, finite[row] = (uint8_t)right;
    }
    free(line);
    return row;
}

/* ---------------------------------------------------------------------------------------------------------------- masks */

/* The masks of an image, as Python writes them, one behind the other. */
typedef struct {
    int64_t at;         /* address of the first */
    int64_t masks, size[AXES];
    int64_t item;       /* bytes of a pixel: 1, 2, 4 or 8 */
    int64_t floating;   /* the first bit is a sign: -0 is 0, too */
} Stack;

/* What is known of a mask. */
typedef struct { Block window; int64_t pixels; } Known;

/* The masks of a stack in a layer of an output, as Python writes it; their rows follow those of the job before. */
typedef struct { int64_t output, layer, stack, size[AXES]; } Job;

/* A mask in a layer of an output, found by `open_cut`. */
typedef struct {
    Layer layer;
    const Stack *stack;
    const char *mask;
    Block inner;                   /* its window within the extent, source pixels */
    Block shown;                   /* where that comes to lie on the canvas; ends of 0 for nothing */
    const int64_t *taken[AXES];    /* scaled: the source pixel of each pixel of the canvas */
    char *pixels;                  /* room for a line of them */
} Cut;

/* Which pixels of a line aren't 0. */
static void inside_of(const char *pixels, int64_t length, const Stack *stack, uint8_t *line) {
    const uint64_t sign = stack->floating ? (uint64_t)1 << (8 * stack->item - 1) : 0;
    if (stack->item == 1) {
        for (int64_t i = 0; i < length; i++) line[i] = pixels[i] != 0;
    } else if (stack->item == 2) {
        for (int64_t i = 0; i < length; i++) line[i] = (((const uint16_t *)pixels)[i] & (uint16_t)~sign) != 0;
    } else if (stack->item == 4) {
        for (int64_t i = 0; i < length; i++) line[i] = (((const uint32_t *)pixels)[i] & (uint32_t)~sign) != 0;
    } else {
        for (int64_t i = 0; i < length; i++) line[i] = (((const uint64_t *)pixels)[i] & ~sign) != 0;
    }
}

static const char *line_at(const Stack *stack, const char *mask, int64_t z, int64_t y, int64_t x) {
    return mask + ((z * stack->size[1] + y) * stack->size[2] + x) * stack->item;
}

/* The window round each mask of some stacks, and its pixels: Known (masks,), zeros for an empty mask and for one that
 * isn't `wanted`, uint8 (masks,) or NULL for all. Returns 0 where there is no memory. */
EXPORT int64_t cutmix_dense_windows(const Stack *stacks, int64_t number, const uint8_t *wanted, Known *known) {
    for (int64_t s = 0; s < number; s++) {
        const Stack *stack = stacks + s;
        const int64_t length = stack->size[2], bytes = stack->size[0] * stack->size[1] * length * stack->item;
        uint8_t *line = malloc((size_t)most(length, 1));
        if (!line) return 0;
        for (int64_t m = 0; m < stack->masks; m++, known++) {
            const char *mask = (const char *)address(stack->at) + m * bytes;
            memset(known, 0, sizeof *known);
            if (wanted && !*wanted++) continue;
            for (int64_t z = 0; z < stack->size[0]; z++)
                for (int64_t y = 0; y < stack->size[1]; y++) {
                    const char *pixels = line_at(stack, mask, z, y, 0);
                    if (!any(pixels, length * stack->item)) continue;
                    inside_of(pixels, length, stack, line);
                    const int64_t some = count(line, length);
                    if (!some) continue; /* negative zeros */
                    known->pixels += some;
                    widen(&known->window, z, y, 0, line, length);
                }
        }
        free(line);
    }
    return 1;
}

/* What two blocks share; zeros where it is nothing. */
static Block shared(const Block *one, const int64_t low[AXES], const int64_t high[AXES]) {
    Block both = *one;
    int some = 1;
    for (int a = 0; a < AXES; a++) {
        both.low[a] = most(one->low[a], low[a]), both.high[a] = least(one->high[a], high[a]);
        some &= both.low[a] < both.high[a];
    }
    if (!some) memset(&both, 0, sizeof both);
    return both;
}

/* Where a mask lies on the canvas. `taken`: per axis int64 (B, S, length), the source pixels of a plan that scales. */
static void open_cut(Cut *cut, const Job *job, const Known *known, const int64_t taken[AXES], const int64_t frame[AXES]) {
    const Layer *layer = &cut->layer;
    const int64_t slot = job->output * layer->plan->layers + job->layer, none[AXES] = {0, 0, 0};
    int64_t high[AXES];
    cut->inner = shared(&known->window, layer->first, layer->last);
    cut->shown = cut->inner;
    for (int a = 0; a < AXES; a++) {
        high[a] = least(layer->high[a], job->size[a]);
        if (taken[a]) high[a] = least(high[a], frame[a]);
        if (layer->plan->free_form) high[a] = least(high[a], layer->plan->grid[a]);
        if (cut->inner.high[0] == 0) continue;
        if (layer->plan->unscaled || !taken[a]) {
            cut->shown.low[a] += (int64_t)layer->shift[a], cut->shown.high[a] += (int64_t)layer->shift[a];
            continue;
        }
        const int64_t *pixel = cut->taken[a] = (const int64_t *)address(taken[a]) + slot * frame[a];
        int64_t from = most(layer->low[a], 0), to = high[a];
        while (from < to && (pixel[from] < cut->inner.low[a] || pixel[from] >= cut->inner.high[a])) from++;
        while (from < to && (pixel[to - 1] < cut->inner.low[a] || pixel[to - 1] >= cut->inner.high[a])) to--;
        cut->shown.low[a] = from, cut->shown.high[a] = to;
        for (int64_t i = from; i < to; i++) /* nothing is read beyond the mask */
            if (pixel[i] < 0 || pixel[i] >= cut->stack->size[a]) cut->shown.high[a] = from;
    }
    cut->shown = shared(&cut->shown, layer->low, high);
    cut->shown = shared(&cut->shown, none, high);
}

/* The mask's pixels in a line of what is shown; `line` says which of them show. */
static const char *cut_line(Cut *cut, int64_t z, int64_t y, uint8_t *line) {
    const Stack *stack = cut->stack;
    const int64_t start = cut->shown.low[2], length = cut->shown.high[2] - start, item = stack->item;
    const char *pixels;
    if (cut->layer.plan->unscaled) {
        const double *shift = cut->layer.shift;
        pixels = line_at(stack, cut->mask, z - (int64_t)shift[0], y - (int64_t)shift[1], start - (int64_t)shift[2]);
    } else {
        int64_t at[2] = {z, y};
        for (int a = 0; a < 2; a++)
            if (cut->taken[a]) at[a] = cut->taken[a][at[a]];
        const char *from = line_at(stack, cut->mask, at[0], at[1], 0);
        const int64_t *x = cut->taken[2] + start;
        if (item == 1)
            for (int64_t i = 0; i < length; i++) cut->pixels[i] = from[x[i]];
        else
            for (int64_t i = 0; i < length; i++) memcpy(cut->pixels + i * item, from + x[i] * item, (size_t)item);
        pixels = cut->pixels;
    }
    inside_of(pixels, length, stack, line);
    keep_owned(&cut->layer, z, y, start, length, line);
    return pixels;
}

/* How many pixels of a canvas without end show each source pixel of a layer's extent along an axis; see
 * `plan.geometry.copies_of`, with whose roundings it is counted. */
static void copies_of(const Layer *layer, int axis, int32_t *copies) {
    const float scale = (float)layer->scale[axis], shift = (float)layer->shift[axis];
    const int64_t first = layer->first[axis], last = layer->last[axis];
    const float one = (float)first * scale + shift, other = (float)last * scale + shift;
    const int64_t from = (int64_t)ceilf((one < other ? one : other) - 0.5f);
    const int64_t to = (int64_t)ceilf((one < other ? other : one) - 0.5f);
    memset(copies, 0, (size_t)(last - first) * sizeof *copies);
    for (int64_t pixel = from; pixel < to; pixel++) {
        const int64_t index = (int64_t)floorf(((float)pixel + 0.5f - shift) / scale);
        copies[most(least(index, last - 1), first) - first]++;
    }
}

/* Pixels of a mask within its extent, each counted as often as `copies` says of its place along every axis. */
static int64_t copied(const Cut *cut, int32_t *const copies[AXES], uint8_t *line) {
    const Block *inner = &cut->inner;
    const int64_t *first = cut->layer.first;
    int64_t total = 0;
    for (int64_t z = inner->low[0]; z < inner->high[0]; z++)
        for (int64_t y = inner->low[1]; y < inner->high[1]; y++) {
            const int64_t times = (int64_t)copies[0][z - first[0]] * copies[1][y - first[1]];
            const int64_t length = inner->high[2] - inner->low[2];
            const int32_t *each = copies[2] + inner->low[2] - first[2];
            int32_t sum = 0;
            if (!times) continue;
            inside_of(line_at(cut->stack, cut->mask, z, y, inner->low[2]), length, cut->stack, line);
            for (int64_t x = 0; x < length; x++) sum += each[x] & -(int32_t)line[x];
            total += times * sum;
        }
    return total;
}

static int64_t inside_pixels(const Cut *cut, const Known *known, uint8_t *line) {
    const Block *inner = &cut->inner;
    if (!memcmp(inner, &known->window, sizeof *inner)) return known->pixels;
    int64_t total = 0;
    for (int64_t z = inner->low[0]; z < inner->high[0]; z++)
        for (int64_t y = inner->low[1]; y < inner->high[1]; y++) {
            inside_of(line_at(cut->stack, cut->mask, z, y, inner->low[2]), inner->high[2] - inner->low[2], cut->stack, line);
            total += count(line, inner->high[2] - inner->low[2]);
        }
    return total;
}

/* Measure the masks of some jobs, or write what shows of them.
 *
 * `known`: of all masks of all stacks, which come in their order. `carried`: uint8, per row, NULL for all: of others
 * nothing shows. `found`: double, visible (rows,), whole (rows,) and tight boxes (rows, 2D), x first. Where `into` is
 * given, int64 (rows,) with the address of a mask of zeros of the job's size, or 0, what shows of the row is written
 * there instead. Returns the number of rows, or the first whose layer or stack isn't there; -1: no memory. */
EXPORT int64_t cutmix_dense_cut_masks(const Plan *plan, const Stack *stacks, int64_t number, const Known *known,
                                      const Job *jobs, int64_t count_of_jobs, const uint8_t *carried, const int64_t *taken,
                                      const int64_t *frame, int64_t rows, double *found, const int64_t *into) {
    const int64_t axes = plan->axes, lift = AXES - axes;
    double *visible = found, *whole = found ? found + rows : NULL, *boxes = found ? found + 2 * rows : NULL;
    int64_t widest = 1, row = 0, result = rows;
    int32_t *copies[AXES] = {0};
    for (int64_t j = 0; j < count_of_jobs; j++) widest = most(widest, jobs[j].size[2]);
    for (int64_t s = 0; s < number; s++) widest = most(widest, stacks[s].size[2]);
    uint8_t *line = malloc((size_t)widest);
    char *pixels = malloc((size_t)widest * 8);
    if (!line || !pixels) result = -1;
    for (int64_t j = 0; j < count_of_jobs && result == rows; j++) {
        const Job *job = jobs + j;
        Cut cut;
        memset(&cut, 0, sizeof cut);
        if (job->stack < 0 || job->stack >= number || !find_layer(plan, job->output, job->layer, &cut.layer)) {
            result = row;
            break;
        }
        cut.stack = stacks + job->stack, cut.pixels = pixels;
        const Known *mask = known;
        for (int64_t s = 0; s < job->stack; s++) mask += stacks[s].masks;
        for (int a = 0; a < AXES; a++) { /* nothing is read beyond the masks */
            cut.layer.first[a] = most(cut.layer.first[a], 0);
            cut.layer.last[a] = most(least(cut.layer.last[a], cut.stack->size[a]), cut.layer.first[a]);
            if (into || plan->unscaled) continue;
            free(copies[a]);
            copies[a] = malloc((size_t)most(cut.layer.last[a] - cut.layer.first[a], 1) * sizeof(int32_t));
            if (!copies[a]) result = -1;
            else copies_of(&cut.layer, a, copies[a]);
        }
        for (int64_t m = 0; m < cut.stack->masks && row < rows && result == rows; m++, row++, mask++) {
            if (into && !into[row]) continue;
            const int64_t *size = cut.stack->size;
            cut.mask = (const char *)address(cut.stack->at) + m * size[0] * size[1] * size[2] * cut.stack->item;
            Known empty;
            memset(&empty, 0, sizeof empty);
            const Known *own = carried && !carried[row] ? &empty : mask;
            open_cut(&cut, job, own, taken, frame);
            int64_t shown = 0;
            Block tight = {{0}, {0}};
            const int64_t start = cut.shown.low[2], length = cut.shown.high[2] - start;
            for (int64_t z = cut.shown.low[0]; z < cut.shown.high[0]; z++)
                for (int64_t y = cut.shown.low[1]; y < cut.shown.high[1]; y++) {
                    const char *from = cut_line(&cut, z, y, line);
                    if (into) {
                        const int64_t item = cut.stack->item, at = (z * job->size[1] + y) * job->size[2] + start;
                        char *to = (char *)(intptr_t)into[row] + at * item;
                        if (item == 1)
                            for (int64_t i = 0; i < length; i++) to[i] = (char)(from[i] & -line[i]);
                        else
                            for (int64_t i = 0; i < length; i++)
                                if (line[i]) memcpy(to + i * item, from + i * item, (size_t)item);
                        continue;
                    }
                    const int64_t some = count(line, length);
                    if (!some) continue;
                    shown += some;
                    widen(&tight, z, y, start, line, length);
                }
            if (into) continue;
            visible[row] = (double)shown;
            whole[row] = (double)(plan->unscaled ? inside_pixels(&cut, own, line) : copied(&cut, copies, line));
            for (int a = (int)lift; a < AXES; a++) {
                const int64_t at = 2 * axes * row + axes - 1 - (a - lift);
                boxes[at] = (double)tight.low[a], boxes[at + axes] = (double)tight.high[a];
            }
        }
    }
    for (int a = 0; a < AXES; a++) free(copies[a]);
    free(line), free(pixels);
    return result;
}
