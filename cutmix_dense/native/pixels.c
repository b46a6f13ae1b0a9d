/* Pixels of hard plans: every output pixel is read and written once. What shows of a scaled layer is made before.
 *
 * An output is walked in bands of rows that show the same layers at the same columns. A band's row is a list of runs;
 * what is done with the runs (copy, swap, count ...) is a function of its own. Two axes are three with a depth of 1.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { LINE = 64 };

#ifndef LARGE_FROM
#define LARGE_FROM (1 << 23) /* bytes */
#endif

/* The images of a pool, or outputs. */
typedef struct {
    int64_t table;         /* Image[], one for each; 0: they lie in one tensor ... */
    int64_t stride;        /* ... so many bytes apart ... */
    Image first;           /* ... from this one on */
} Images;

/* A batch and its plan, as Python writes them: numbers and addresses. */
typedef struct {
    int64_t outputs, layers, axes, free_form, owner_bytes;
    int64_t source;        /* int64 (B, S), -1 absent */
    int64_t shift;         /* float (B, S, D), whole pixels of unscaled layers */
    int64_t extent;        /* int64 (B, S, 2D) */
    int64_t canvas;        /* int64 (B, D) */
    int64_t scale;         /* float (B, S, D), negative for a flip; 0: all are 1 */
    int64_t low, high;     /* int64 (B, S, D) each: where on the canvas a layer may show; 0 where all scales are 1 */
    int64_t owner;         /* int8 or int16 (B, G..) */
    int64_t grid[AXES];    /* cells per axis; with two axes the first is 1 */
    int64_t edges[AXES];   /* int64 (B, G + 1) each; with two axes the first is 0 */
    int64_t item, leads;
    int64_t images;        /* in the pool */
    Images pool, out;
    int64_t fill, fills;   /* address of so many pixels, one for all leads or one per channel; 0: zeros */
    int64_t inplace;       /* the outputs are the pool's images */
    int64_t weight;        /* double (B, S) of a soft plan of bytes, else 0 */
    int64_t element, interpolation; /* of scaled layers, as `Window` has them; element: -1 where none is filtered */
} Job;

typedef struct {
    int64_t at, lead, step[AXES]; /* address of the canvas's pixel 0, which may lie outside of the image */
    int64_t low[AXES], high[AXES];    /* where on the canvas it may show */
    int64_t image;                    /* -1: fill */
    int home;                         /* what it shows lies there already */
    int scaled;                       /* what it shows is made in `scratch` */
    int apart;                        /* it shows another image's pixels elsewhere than there: no exchange */
} Layer;

typedef struct { int64_t start, stop, layer; } Run;

typedef struct { int64_t low[AXES - 1], high[AXES - 1]; } Band;

typedef struct Walk Walk;
struct Walk {
    const Job *job;
    int64_t output;
    Image out;
    Layer *layer;          /* S of them, then fill and padding */
    int64_t canvas[AXES], frame[AXES];
    int64_t *cuts[AXES - 1];
    Run *runs;
    char *fill;            /* a row of fill per lead, or one for all */
    int64_t fill_row;      /* bytes of one */
    uint8_t *mask, *row;   /* rows of bytes */
    void (*rows)(Walk *, const Band *, const Run *, int64_t);
    int past, aligned;     /* the outputs are too large for the caches; each row begins a line of them */
    int select;            /* rows of many runs may be mixed by masks */
    /* of what is done with the runs */
    char *buffer;
    int64_t bytes, *window; /* per layer: what shows of it, lows then highs; zeros where nothing does */
    char *scratch;
    int64_t scratch_bytes;
    int64_t *moved, moves, room; /* six numbers per run that isn't home */
    int failed;
};

static const int64_t *numbers(int64_t address) { return (const int64_t *)(uintptr_t)address; }
static const float *floats(int64_t address) { return (const float *)(uintptr_t)address; }

static Image image_at(const Images *images, int64_t index) {
    Image image = images->first;
    if (images->table) return ((const Image *)(uintptr_t)images->table)[index];
    image.at += images->stride * index;
    return image;
}

/* ------------------------------------------------------------------------------------------------ layers of an output */

/* The pixels of an image that a layer may show, along an axis. */
static int64_t valid_low(const Job *job, int64_t slot, int axis) {
    const int64_t given = axis - (AXES - job->axes);
    return given < 0 ? 0 : most(numbers(job->extent)[slot * 2 * job->axes + given], 0);
}

static int64_t valid_high(const Job *job, int64_t slot, int axis, const Image *image) {
    const int64_t given = axis - (AXES - job->axes);
    return given < 0 ? 1 : least(numbers(job->extent)[(slot * 2 + 1) * job->axes + given], image->size[axis]);
}

static int is_scaled(const Job *job, int64_t slot) {
    for (int64_t i = slot * job->axes; job->scale && i < (slot + 1) * job->axes; i++)
        if (floats(job->scale)[i] != 1 || !is_whole(floats(job->shift)[i])) return 1;
    return 0;
}

static void place_layer(const Walk *w, int64_t s) {
    const Job *job = w->job;
    const int64_t first = AXES - job->axes, slot = w->output * job->layers + s, index = numbers(job->source)[slot];
    Layer *layer = w->layer + s;
    memset(layer, 0, sizeof *layer);
    layer->image = -1;
    if (index < 0 || index >= job->images) return;
    const Image image = image_at(&job->pool, index);
    int moves = 0;
    layer->image = index, layer->at = image.at, layer->lead = image.lead, layer->scaled = is_scaled(job, slot);
    for (int a = 0; a < AXES; a++) {
        const int64_t given = a - first;
        const int64_t offset = given < 0 || layer->scaled ? 0 : (int64_t)floats(job->shift)[slot * job->axes + given];
        int64_t low = valid_low(job, slot, a), high = valid_high(job, slot, a, &image);
        if (layer->scaled && given >= 0) {
            const int64_t at = slot * job->axes + given;
            const int none = low >= high;
            low = numbers(job->low)[at], high = none ? low : numbers(job->high)[at];
        }
        layer->low[a] = least(most(low + offset, 0), w->canvas[a]);
        layer->high[a] = most(least(high + offset, w->canvas[a]), layer->low[a]);
        layer->at -= offset * image.step[a];
        layer->step[a] = image.step[a];
        moves |= offset != 0;
    }
    layer->home = job->inplace && index == w->output && !moves && !layer->scaled;
    layer->apart = moves || layer->scaled;
}

static void place_layers(Walk *w) {
    const Job *job = w->job;
    const int64_t S = job->layers, D = job->axes, b = w->output;
    w->out = image_at(&job->out, b);
    w->aligned = !((w->out.at | w->out.lead | w->out.step[0] | w->out.step[1]) & (LINE - 1));
    for (int a = 0; a < AXES; a++) {
        const int64_t given = a - (AXES - D);
        w->frame[a] = w->out.size[a];
        w->canvas[a] = given < 0 ? 1 : most(0, least(numbers(job->canvas)[b * D + given], w->frame[a]));
    }
    for (int64_t s = 0; s < S; s++) place_layer(w, s);

    Layer *fill = w->layer + S, *padding = fill + 1;
    memset(fill, 0, sizeof *fill);
    fill->at = (int64_t)(uintptr_t)w->fill, fill->image = -1, fill->apart = 1;
    fill->lead = job->fills > 1 ? w->fill_row : 0, fill->step[AXES - 1] = job->item;

    int64_t base = numbers(job->source)[b * S];
    if (base >= 0 && base < job->images) {
        const Image image = image_at(&job->pool, base);
        for (int64_t a = AXES - D; a < AXES; a++)
            if (image.size[a] != w->frame[a] || w->canvas[a] != numbers(job->extent)[(b * S * 2 + 1) * D + a - (AXES - D)]) base = -1;
    }
    *padding = *fill;
    if (base >= 0 && base < job->images) {
        const Image image = image_at(&job->pool, base);
        for (int a = 0; a < AXES; a++)
            if (image.size[a] < w->frame[a]) return;
        padding->at = image.at, padding->lead = image.lead, padding->image = base, padding->apart = 0;
        memcpy(padding->step, image.step, sizeof image.step);
        padding->home = job->inplace && base == b;
    }
}

/* ------------------------------------------------------------------------------------------------------- runs of a row */

static void add_run(Run *runs, int64_t *count, int64_t start, int64_t stop, int64_t layer) {
    if (start >= stop) return;
    if (*count && runs[*count - 1].layer == layer && runs[*count - 1].stop == start) runs[*count - 1].stop = stop;
    else runs[(*count)++] = (Run){start, stop, layer};
}

/* A layer between two columns, as far as it reaches in this band; fill beside it. */
static void add_layer(const Walk *w, const Band *band, int64_t *count, int64_t start, int64_t stop, int64_t s) {
    const int64_t S = w->job->layers, x = AXES - 1;
    const Layer *layer = w->layer + s;
    int64_t low = stop, high = stop;
    if (s >= 0 && s < S && layer->image >= 0) {
        low = most(start, layer->low[x]), high = least(stop, layer->high[x]);
        for (int a = 0; a < x; a++)
            if (band->low[a] < layer->low[a] || band->high[a] > layer->high[a]) low = high = stop;
        if (low >= high) low = high = stop;
    }
    add_run(w->runs, count, start, low, S);
    add_run(w->runs, count, low, high, s);
    add_run(w->runs, count, high, stop, S);
}

static int64_t owner_at(const Job *job, int64_t cell) {
    return job->owner_bytes == 1 ? ((const int8_t *)(uintptr_t)job->owner)[cell]
                                 : ((const int16_t *)(uintptr_t)job->owner)[cell];
}

static int64_t edge_of(const Walk *w, int axis, int64_t edge) {
    if (!w->job->edges[axis]) return edge;  /* the axis that isn't there */
    const int64_t given = numbers(w->job->edges[axis])[w->output * (w->job->grid[axis] + 1) + edge];
    return most(0, least(given, w->canvas[axis]));
}

/* The cell of an axis that holds a pixel; -1 if none does. */
static int64_t cell_of(const Walk *w, int axis, int64_t pixel) {
    if (w->job->free_form) return pixel < w->job->grid[axis] ? pixel : -1;
    for (int64_t cell = 0; cell < w->job->grid[axis]; cell++)
        if (edge_of(w, axis, cell) <= pixel && pixel < edge_of(w, axis, cell + 1)) return cell;
    return -1;
}

/* How many bytes from `start` on are equal. */
static int64_t equal_until(const int8_t *row, int64_t start, int64_t stop) {
    const int8_t value = row[start];
    uint64_t same, word;
    memset(&same, value, sizeof same);
    for (start++; start + 8 <= stop; start += 8) {
        memcpy(&word, row + start, sizeof word);
        if (word != same) break;
    }
    while (start < stop && row[start] == value) start++;
    return start;
}

/* The runs of a band within the canvas. Returns how many; -1 where there are more than `limit`. */
static int64_t runs_of(const Walk *w, const Band *band, int64_t limit) {
    const Job *job = w->job;
    const int x = AXES - 1;
    const int64_t z = cell_of(w, 0, band->low[0]), y = cell_of(w, 1, band->low[1]), width = job->grid[x];
    const int64_t row = ((w->output * job->grid[0] + z) * job->grid[1] + y) * width;
    int64_t count = 0, reached = 0;
    if (z >= 0 && y >= 0) {
        if (job->free_form) {
            const int64_t stop = least(w->canvas[x], width);
            const int8_t *owner = (const int8_t *)(uintptr_t)job->owner + row;
            while (reached < stop) {
                const int64_t start = reached;
                if (count > limit) return -1;
                if (job->owner_bytes == 1) reached = equal_until(owner, start, stop);
                else for (reached++; reached < stop && owner_at(job, row + reached) == owner_at(job, row + start);) reached++;
                add_layer(w, band, &count, start, reached, owner_at(job, row + start));
            }
        } else {
            for (int64_t cell = 0; cell < width; cell++) {
                const int64_t stop = edge_of(w, x, cell + 1);
                if (stop <= reached) continue;
                add_layer(w, band, &count, most(reached, edge_of(w, x, cell)), stop, owner_at(job, row + cell));
                reached = stop;
            }
        }
    }
    add_run(w->runs, &count, reached, w->canvas[x], job->layers);
    add_run(w->runs, &count, w->canvas[x], w->frame[x], job->layers + 1);
    return count;
}

/* ------------------------------------------------------------------------------------------------- past the caches */

/* Bytes written one after the other past the caches, whole lines at once, as memcpy writes as many: what is written here
 * isn't read before. Written the usual way every line would be fetched first. */
typedef struct {
    char *to;              /* where `line` goes; aligned once something lies in it */
    int64_t held;
    char line[LINE];
} Stream;

static void put_lines(char *to, const char *from, int64_t bytes) {
#if defined(__SSE2__)
    for (int64_t at = 0; at < bytes; at += 16)
        _mm_stream_si128((__m128i *)(void *)(to + at), _mm_loadu_si128((const __m128i *)(const void *)(from + at)));
#else
    memcpy(to, from, (size_t)bytes);
#endif
}

static void append(Stream *stream, const char *from, int64_t bytes) {
    const int64_t head = least(bytes, (int64_t)(-(uintptr_t)stream->to & (LINE - 1)));
    if (head) { /* the line that something else begins */
        memcpy(stream->to, from, (size_t)head);
        stream->to += head, from += head, bytes -= head;
    }
    if (stream->held) {
        const int64_t part = least(bytes, LINE - stream->held);
        memcpy(stream->line + stream->held, from, (size_t)part);
        stream->held += part, from += part, bytes -= part;
        if (stream->held < LINE) return;
        put_lines(stream->to, stream->line, LINE);
        stream->to += LINE, stream->held = 0;
    }
    const int64_t whole = bytes & ~(int64_t)(LINE - 1);
    put_lines(stream->to, from, whole);
    memcpy(stream->line, from + whole, (size_t)(bytes - whole));
    stream->to += whole, stream->held = bytes - whole;
}

static void finish(Stream *stream) {
    memcpy(stream->to, stream->line, (size_t)stream->held);
    stream->held = 0;
}

/* ------------------------------------------------------------------------------------------------- a row by its masks */

WIDE static void select_between(uint8_t *restrict to, const uint8_t *restrict a, const uint8_t *restrict b,
                           const uint8_t *restrict mask, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) to[i] = (uint8_t)((a[i] & ~mask[i]) | (b[i] & mask[i]));
}

/* The same for bytes that are pixels, by who owns each. */
WIDE static void select_owned(uint8_t *restrict to, const uint8_t *restrict a, const uint8_t *restrict b, const int8_t *restrict owner,
                              int8_t layer, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) to[i] = owner[i] == layer ? b[i] : a[i];
}

/* The least and the largest of some layers. */
WIDE static void range_of(const int8_t *owner, int64_t pixels, int8_t *range) {
    int8_t low = INT8_MAX, high = INT8_MIN;
    for (int64_t i = 0; i < pixels; i++) low = owner[i] < low ? owner[i] : low, high = owner[i] > high ? owner[i] : high;
    range[0] = low, range[1] = high;
}

/* Whether a layer, -1 for fill, owns any of a row's pixels, whose range is known. */
static int occurs(int64_t layer, const int8_t *range, const int8_t *owner, int64_t pixels) {
    if (layer <= range[0] || layer >= range[1]) return layer == range[0] || layer == range[1];
    return memchr(owner, (uint8_t)(int8_t)layer, (size_t)pixels) != NULL;
}

static void select_over(uint8_t *restrict to, const uint8_t *restrict b, const uint8_t *restrict mask, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) to[i] = (uint8_t)((to[i] & ~mask[i]) | (b[i] & mask[i]));
}

/* 255 in all bytes of the pixels that one layer owns. */
static void mask_of(uint8_t *mask, const int8_t *owner, int8_t layer, int64_t pixels, int64_t item) {
    switch (item) {
    case 1:
        for (int64_t i = 0; i < pixels; i++) mask[i] = (uint8_t)-(owner[i] == layer);
        return;
    case 2:
        for (int64_t i = 0; i < pixels; i++) ((uint16_t *)mask)[i] = (uint16_t)-(owner[i] == layer);
        return;
    case 4:
        for (int64_t i = 0; i < pixels; i++) ((uint32_t *)mask)[i] = -(uint32_t)(owner[i] == layer);
        return;
    case 8:
        for (int64_t i = 0; i < pixels; i++) ((uint64_t *)mask)[i] = -(uint64_t)(owner[i] == layer);
        return;
    case 3:
        for (int64_t i = 0; i < pixels; i++) mask[3 * i] = mask[3 * i + 1] = mask[3 * i + 2] = (uint8_t)-(owner[i] == layer);
        return;
    default:
        for (int64_t i = 0; i < pixels; i++) memset(mask + i * item, -(owner[i] == layer), (size_t)item);
    }
}

/* A band of a free form that has many runs; 0 where it can't be done so. */
static int select_rows(Walk *w, const Band *band) {
    const Job *job = w->job;
    const int64_t S = job->layers, pixels = w->canvas[2], bytes = pixels * job->item, z = band->low[0];
    const int8_t *owner = (const int8_t *)(uintptr_t)job->owner + ((w->output * job->grid[0] + z) * job->grid[1] + band->low[1]) * job->grid[2];
    int64_t first = -2, present = 0;
    int8_t range[2];
    if (job->owner_bytes != 1 || pixels > job->grid[2] || w->out.step[2] != job->item) return 0;
    range_of(owner, pixels, range);
    for (int64_t s = -1; s < S; s++) {
        const Layer *layer = w->layer + (s < 0 ? S : s);
        if (!occurs(s, range, owner, pixels)) continue;
        present++;
        if (s >= 0 && (layer->image < 0 || layer->step[2] != job->item || layer->low[2] > 0 || layer->high[2] < pixels ||
                       layer->low[0] > z || layer->high[0] <= z || layer->low[1] > band->low[1] || layer->high[1] < band->high[1]))
            return 0;
    }
    const int past = w->past && w->aligned && present == 2 && bytes % LINE == 0;
    for (int64_t s = -1; s < S; s++) {
        if (!occurs(s, range, owner, pixels)) continue;
        if (first == -2) {
            first = s;
            continue;
        }
        const Layer *below = w->layer + (first < 0 ? S : first), *layer = w->layer + s; /* of the first two that occur */
        const int owned = job->item == 1 && first >= -1;
        if (!owned) mask_of(w->mask, owner, (int8_t)s, pixels, job->item);
        for (int64_t l = 0; l < job->leads; l++)
            for (int64_t y = band->low[1]; y < band->high[1]; y++) {
                char *row = place(w->out.at + l * w->out.lead + z * w->out.step[0] + y * w->out.step[1]);
                uint8_t *to = past ? w->row : (uint8_t *)row;
                const uint8_t *from = (const uint8_t *)place(layer->at + l * layer->lead + z * layer->step[0] + y * layer->step[1]);
                const uint8_t *under = (const uint8_t *)place(below->at + l * below->lead + z * below->step[0] + y * below->step[1]);
                if (owned) select_owned(to, under, from, owner, (int8_t)s, bytes);
                else if (first >= -1) select_between(to, under, from, w->mask, bytes);
                else select_over(to, from, w->mask, bytes);
                if (past) put_lines(row, (const char *)to, bytes);
            }
        first = -3;
    }
    return first == -3;
}

/* ---------------------------------------------------------------------------------------------------- what runs are for */

/* Pixels of a run whose neighbours needn't touch. */
void copy_pixels(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t pixels, int64_t item) {
    if (to_step == item && from_step == item) memcpy(to, from, (size_t)(pixels * item));
    else if (item == 1)
        for (int64_t i = 0; i < pixels; i++) to[i * to_step] = from[i * from_step];
    else
        for (int64_t i = 0; i < pixels; i++) memcpy(to + i * to_step, from + i * from_step, (size_t)item);
}

static void stream_rows(Walk *w, const Band *band, const Run *runs, int64_t count) {
    const int64_t item = w->job->item;
    Stream stream;
    for (int64_t l = 0; l < w->job->leads; l++)
        for (int64_t z = band->low[0]; z < band->high[0]; z++) {
            stream.to = place(w->out.at + l * w->out.lead + z * w->out.step[0] + band->low[1] * w->out.step[1]), stream.held = 0;
            for (int64_t y = band->low[1]; y < band->high[1]; y++)
                for (int64_t r = 0; r < count; r++) {
                    const Layer *layer = w->layer + runs[r].layer;
                    const int64_t from = layer->at + l * layer->lead + z * layer->step[0] + y * layer->step[1];
                    append(&stream, place(from + runs[r].start * item), (runs[r].stop - runs[r].start) * item);
                }
            finish(&stream);
        }
}

/* Whether the rows of a band are to be streamed: they touch, and there are so many that their ends don't matter. */
static int streams(const Walk *w, const Band *band, const Run *runs, int64_t count) {
    const int64_t item = w->job->item, row = w->frame[2] * item;
    int touch = w->past && w->out.step[2] == item && w->out.step[1] == row && runs->start == 0 && runs[count - 1].stop == w->frame[2];
    touch = touch && (w->aligned || (band->high[1] - band->low[1]) * row >= 64 * LINE);
    for (int64_t r = 0; touch && r < count; r++) touch = w->layer[runs[r].layer].step[2] == item;
    return touch;
}

static void copy_rows(Walk *w, const Band *band, const Run *runs, int64_t count) {
    if (streams(w, band, runs, count)) {
        stream_rows(w, band, runs, count);
        return;
    }
    const int64_t item = w->job->item, row = w->frame[2] * item;
    const Image *out = &w->out;
    for (int64_t l = 0; l < w->job->leads; l++)
        for (int64_t z = band->low[0]; z < band->high[0]; z++)
            for (int64_t y = band->low[1]; y < band->high[1]; y++) {
                const int64_t to = out->at + l * out->lead + z * out->step[0] + y * out->step[1];
                const Layer *only = w->layer + runs->layer;
                if (count == 1 && runs->stop - runs->start == w->frame[2] && out->step[2] == item && out->step[1] == row &&
                    only->step[2] == item && only->step[1] == row) { /* the rows touch */
                    const int64_t from = only->at + l * only->lead + z * only->step[0] + y * row;
                    copy_pixels(place(to), item, place(from), item, w->frame[2] * (band->high[1] - y), item);
                    break;
                }
                for (int64_t r = 0; r < count; r++) {
                    const Layer *layer = w->layer + runs[r].layer;
                    const int64_t from = layer->at + l * layer->lead + z * layer->step[0] + y * layer->step[1];
                    const int64_t x = runs[r].start;
                    copy_pixels(place(to + x * out->step[2]), out->step[2], place(from + x * layer->step[2]), layer->step[2], runs[r].stop - x, item);
                }
            }
}

/* What comes from elsewhere, to or from a buffer: an image may be read after it was written to. */
static void buffer_rows(Walk *w, const Band *band, const Run *runs, int64_t count, int put) {
    const int64_t item = w->job->item;
    for (int64_t r = 0; r < count; r++) {
        const Layer *layer = w->layer + runs[r].layer;
        const int64_t x = runs[r].start, pixels = runs[r].stop - x;
        if (layer->home) continue;
        for (int64_t l = 0; l < w->job->leads; l++)
            for (int64_t z = band->low[0]; z < band->high[0]; z++)
                for (int64_t y = band->low[1]; y < band->high[1]; y++, w->buffer += pixels * item) {
                    const int64_t to = w->out.at + l * w->out.lead + z * w->out.step[0] + y * w->out.step[1];
                    const int64_t from = layer->at + l * layer->lead + z * layer->step[0] + y * layer->step[1];
                    if (put) copy_pixels(place(to + x * w->out.step[2]), w->out.step[2], w->buffer, item, pixels, item);
                    else copy_pixels(w->buffer, item, place(from + x * layer->step[2]), layer->step[2], pixels, item);
                }
    }
}

static void take_rows(Walk *w, const Band *band, const Run *runs, int64_t count) { buffer_rows(w, band, runs, count, 0); }
static void put_rows(Walk *w, const Band *band, const Run *runs, int64_t count) { buffer_rows(w, band, runs, count, 1); }

/* The runs that come from elsewhere, listed. */
static void list_rows(Walk *w, const Band *band, const Run *runs, int64_t count) {
    for (int64_t r = 0; r < count; r++) {
        if (w->layer[runs[r].layer].home) continue;
        if (w->moves == w->room) {
            const int64_t room = most(64, 2 * w->room);
            int64_t *more = realloc(w->moved, (size_t)(room * 7) * sizeof *more);
            if (!more) {
                w->failed = 1;
                return;
            }
            w->moved = more, w->room = room;
        }
        const int64_t entry[7] = {band->low[0], band->high[0], band->low[1], band->high[1], runs[r].start, runs[r].stop, runs[r].layer};
        memcpy(w->moved + 7 * w->moves++, entry, sizeof entry);
        w->bytes += (runs[r].stop - runs[r].start) * w->job->item * w->job->leads * (band->high[0] - band->low[0]) * (band->high[1] - band->low[1]);
    }
}

/* The least window that holds all that shows of each layer: lows, highs. */
static void reach_rows(Walk *w, const Band *band, const Run *runs, int64_t count) {
    for (int64_t r = 0; r < count; r++) {
        if (runs[r].layer >= w->job->layers) continue;
        int64_t *window = w->window + runs[r].layer * 2 * AXES;
        for (int a = 0; a < AXES; a++) {
            const int64_t low = a < AXES - 1 ? band->low[a] : runs[r].start, high = a < AXES - 1 ? band->high[a] : runs[r].stop;
            const int empty = window[AXES + a] == 0;
            window[a] = empty ? low : least(window[a], low);
            window[AXES + a] = most(window[AXES + a], high);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------ the walk */

static int by_value(const void *a, const void *b) {
    const int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

/* Where along an axis something may change: cell edges, ends of layers, of the canvas and of the frame; ascending. */
static int64_t cuts_of(Walk *w, int axis) {
    int64_t *cuts = w->cuts[axis], count = 0, kept = 0;
    cuts[count++] = 0, cuts[count++] = w->canvas[axis], cuts[count++] = w->frame[axis];
    if (w->job->free_form) {
        for (count = 0; count <= w->canvas[axis]; count++) cuts[count] = count;
        if (w->frame[axis] > w->canvas[axis]) cuts[count++] = w->frame[axis];
        return count;
    } else {
        for (int64_t cell = 0; cell <= w->job->grid[axis]; cell++) cuts[count++] = edge_of(w, axis, cell);
        for (int64_t s = 0; s < w->job->layers; s++)
            cuts[count++] = w->layer[s].low[axis], cuts[count++] = w->layer[s].high[axis];
    }
    qsort(cuts, (size_t)count, sizeof *cuts, by_value);
    for (int64_t i = 0; i < count; i++)
        if (!kept || cuts[i] != cuts[kept - 1]) cuts[kept++] = cuts[i];
    return kept;
}

/* Whether a row of a free form shows what the one before it does. */
static int continues(const Walk *w, int64_t z, int64_t y) {
    const Job *job = w->job;
    if (!job->free_form || y >= least(w->canvas[1], job->grid[1]) || z >= least(w->canvas[0], job->grid[0])) return 0;
    for (int64_t s = 0; s < job->layers; s++)
        if (w->layer[s].low[1] == y || w->layer[s].high[1] == y) return 0;
    const size_t row = (size_t)(job->grid[2] * job->owner_bytes), used = (size_t)(least(w->canvas[2], job->grid[2]) * job->owner_bytes);
    const char *owner = place(job->owner) + (size_t)((w->output * job->grid[0] + z) * job->grid[1] + y) * row;
    return !memcmp(owner, owner - row, used);
}

static void walk_bands(Walk *w) {
    for (int a = 0; a < AXES; a++)
        if (w->frame[a] <= 0) return;
    const int64_t planes = cuts_of(w, 0), lines = cuts_of(w, 1);
    const int64_t limit = 2 + w->frame[AXES - 1] * w->job->item / 320;
    for (int64_t i = 0; i + 1 < planes; i++)
        for (int64_t j = 0; j + 1 < lines; j++) {
            const int64_t z = w->cuts[0][i], y = w->cuts[1][j];
            while (j + 2 < lines && continues(w, z, w->cuts[1][j + 1])) j++;
            const Band band = {{z, y}, {w->cuts[0][i + 1], w->cuts[1][j + 1]}};
            int64_t count = 0;
            if (band.low[0] >= w->canvas[0] || band.low[1] >= w->canvas[1]) {
                add_run(w->runs, &count, 0, w->frame[AXES - 1], w->job->layers + 1);
            } else {
                count = runs_of(w, &band, w->select ? limit : INT64_MAX);
                if (count < 0) {
                    if (select_rows(w, &band)) {
                        count = 0;
                        add_run(w->runs, &count, w->canvas[AXES - 1], w->frame[AXES - 1], w->job->layers + 1);
                    } else {
                        count = runs_of(w, &band, INT64_MAX);
                    }
                }
            }
            if (count) w->rows(w, &band, w->runs, count);
        }
}

static void walk(Walk *w, int64_t output) {
    w->output = output;
    place_layers(w);
    walk_bands(w);
}

/* ------------------------------------------------------------------------------------------------------- scaled layers */

/* The pixels of a window of the canvas, as many as may show. */
static int64_t pixels_of(const int64_t *window) {
    int64_t pixels = 1;
    for (int a = 0; a < AXES; a++) pixels *= window[AXES + a] - window[a];
    return pixels;
}

/* Read one layer where it shows, to memory at `to`; it lies there from now on. Returns 0 where there is no memory. */
static int read_layer(Walk *w, int64_t s, char *to) {
    const Job *job = w->job;
    const int64_t slot = w->output * job->layers + s, *shown = w->window + s * 2 * AXES;
    Layer *layer = w->layer + s;
    Window window = {.from = image_at(&job->pool, layer->image), .item = job->item, .leads = job->leads,
                     .element = job->element, .interpolation = job->interpolation};
    int64_t step = job->item;
    window.to.at = layer->at = (int64_t)(uintptr_t)to;
    for (int a = AXES - 1; a >= 0; a--) {
        const int64_t given = a - (AXES - job->axes);
        window.scale[a] = given < 0 ? 1 : floats(job->scale)[slot * job->axes + given];
        window.shift[a] = given < 0 ? 0 : floats(job->shift)[slot * job->axes + given];
        window.valid_low[a] = valid_low(job, slot, a), window.valid_high[a] = valid_high(job, slot, a, &window.from);
        layer->low[a] = window.low[a] = shown[a], layer->high[a] = window.high[a] = shown[AXES + a];
        layer->step[a] = window.to.step[a] = step;
        layer->at -= shown[a] * step;
        step *= shown[AXES + a] - shown[a];
    }
    layer->lead = window.to.lead = step;
    return resample(&window);
}

/* Read all scaled layers of an output where they show. Returns 0 where there is no memory. */
static int read_layers(Walk *w) {
    const int64_t layers = w->job->layers, pixel = w->job->item * w->job->leads;
    int64_t bytes = 0;
    memset(w->window, 0, (size_t)(layers * 2 * AXES) * sizeof *w->window);
    w->rows = reach_rows, w->select = 0;
    walk_bands(w);
    w->rows = copy_rows, w->select = 1;
    for (int64_t s = 0; s < layers; s++)
        if (w->layer[s].scaled) bytes += pixels_of(w->window + s * 2 * AXES) * pixel;
    if (bytes > w->scratch_bytes) {
        free(w->scratch);
        w->scratch = malloc((size_t)bytes), w->scratch_bytes = w->scratch ? bytes : 0;
        if (!w->scratch) return 0;
    }
    char *to = w->scratch;
    for (int64_t s = 0; s < layers; s++) {
        const int64_t pixels = w->layer[s].scaled ? pixels_of(w->window + s * 2 * AXES) : 0;
        if (pixels && !read_layer(w, s, to)) return 0;
        to += pixels * pixel;
    }
    return 1;
}

static void close_walk(Walk *w) {
    free(w->layer), free(w->cuts[0]), free(w->cuts[1]), free(w->runs), free(w->fill), free(w->mask), free(w->row), free(w->moved), free(w->window), free(w->scratch);
}

/* Whether the outputs are so large that memcpy would write them past the caches, were they one. */
static int is_large(const Job *job) {
    int64_t bytes = 0;
    for (int64_t b = 0; b < job->outputs; b++) {
        const Image image = image_at(&job->out, b);
        bytes += image.size[0] * image.size[1] * image.size[2] * job->item * job->leads;
    }
    return bytes >= LARGE_FROM;
}

/* Memory for the walk of any output of a job. Returns 0 where there is none. */
static int open_walk(Walk *w, const Job *job, void (*rows)(Walk *, const Band *, const Run *, int64_t)) {
    int64_t size[AXES] = {1, 1, 1};
    for (int64_t b = 0; b < job->outputs; b++) {
        const Image image = image_at(&job->out, b);
        for (int a = 0; a < AXES; a++) size[a] = most(size[a], image.size[a]);
        if (!job->out.table) break;
    }
    memset(w, 0, sizeof *w);
    w->job = job, w->rows = rows;
    const int64_t row = size[AXES - 1] * job->item, lines = job->fills > 1 ? job->leads : 1;
    w->layer = malloc((size_t)(job->layers + 2) * sizeof *w->layer);
    for (int a = 0; a < AXES - 1; a++)
        w->cuts[a] = malloc((size_t)(4 + (job->free_form ? size[a] : job->grid[a] + 1 + 2 * job->layers)) * sizeof(int64_t));
    w->runs = malloc((size_t)(3 * most(job->grid[AXES - 1], 1) + 4) * sizeof *w->runs);
    w->fill_row = row;
    w->fill = calloc((size_t)(row * lines), 1);
    w->mask = malloc((size_t)row), w->row = malloc((size_t)row);
    w->window = malloc((size_t)(most(job->layers, 1) * 2 * AXES) * sizeof *w->window);
    if (!w->window || !w->layer || !w->cuts[0] || !w->cuts[1] || !w->runs || !w->fill || !w->mask || !w->row) {
        close_walk(w);
        return 0;
    }
    if (job->fill)
        for (int64_t l = 0; l < lines; l++)
            for (int64_t x = 0; x < size[AXES - 1]; x++)
                memcpy(w->fill + l * row + x * job->item, place(job->fill + l % job->fills * job->item), (size_t)job->item);
    return 1;
}

/* ------------------------------------------------------------------------------------------------------------- blends */

enum { STRIP = 512 };

enum { HELD = 0x4B400000 }; /* the bits of 1.5 * 2^23 */

/* A float in [0, 255] rounded, halves to even: beyond 1.5 * 2^23 a float has no fraction, and its bits are the sum's. */
static inline uint32_t rounded(float value) {
    uint32_t bits;
    const float whole = value + 12582912.0f;
    memcpy(&bits, &whole, sizeof bits);
    return bits - HELD;
}

/* Four bytes at once, each where it lies in its word: one 2^8 or 2^16 times as large has a share as many times smaller,
 * which gives the same float. So nothing is moved from lane to lane. */
WIDE static void blend_two(uint8_t *restrict to, const uint8_t *restrict a, const uint8_t *restrict b, float share, float other,
                      int64_t bytes) {
    const float share1 = share / 0x100, other1 = other / 0x100, share2 = share / 0x10000, other2 = other / 0x10000;
    int64_t i = 0;
    for (; i + 4 <= bytes; i += 4) {
        uint32_t x, y, sum;
        memcpy(&x, a + i, sizeof x), memcpy(&y, b + i, sizeof y);
        sum = rounded((float)(int32_t)(x & 0xFF) * share + (float)(int32_t)(y & 0xFF) * other);
        sum += rounded((float)(int32_t)(x & 0xFF00) * share1 + (float)(int32_t)(y & 0xFF00) * other1) << 8;
        sum += rounded((float)(int32_t)(x & 0xFF0000) * share2 + (float)(int32_t)(y & 0xFF0000) * other2) << 16;
        sum += rounded((float)(int32_t)(x >> 24) * share + (float)(int32_t)(y >> 24) * other) << 24;
        memcpy(to + i, &sum, sizeof sum);
    }
    for (; i < bytes; i++) to[i] = (uint8_t)rounded((float)a[i] * share + (float)b[i] * other);
}

/* Bytes that some layers share: the sum of each by its share, in the order of the layers, as the reference adds up. */
static void blend_bytes(uint8_t *to, const uint8_t *const *from, const float *share, int64_t count, int64_t bytes) {
    float total[STRIP];
    if (count == 1) {
        memcpy(to, from[0], (size_t)bytes);
        return;
    }
    if (count == 2) {
        blend_two(to, from[0], from[1], share[0], share[1], bytes);
        return;
    }
    for (int64_t at = 0; at < bytes; at += STRIP) {
        const int64_t length = least(STRIP, bytes - at);
        for (int64_t i = 0; i < length; i++) total[i] = (float)from[0][at + i] * share[0];
        for (int64_t k = 1; k < count; k++)
            for (int64_t i = 0; i < length; i++) total[i] += (float)from[k][at + i] * share[k];
        for (int64_t i = 0; i < length; i++) to[at + i] = (uint8_t)rounded(total[i]);
    }
}

/* The layers that reach all of a block, with their shares. Returns how many. */
static int64_t shares_of(const Walk *w, const int64_t *low, const int64_t *high, int64_t *shown, float *share) {
    const double *weight = (const double *)(uintptr_t)w->job->weight + w->output * w->job->layers;
    int64_t count = 0;
    double whole = 0;
    for (int64_t s = 0; s < w->job->layers; s++) {
        const Layer *layer = w->layer + s;
        int reaches = layer->image >= 0 && weight[s] > 0;
        for (int a = 0; a < AXES; a++) reaches = reaches && layer->low[a] <= low[a] && high[a] <= layer->high[a];
        if (!reaches) continue;
        shown[count++] = s, whole += weight[s];
    }
    for (int64_t k = 0; k < count; k++) share[k] = (float)(weight[shown[k]] / whole);
    return count;
}

/* A cell of an output, in which all pixels have the same shares; fill where no layer reaches it. */
static void blend_cell(Walk *w, const int64_t *low, const int64_t *high, int64_t *shown, float *share, const uint8_t **from) {
    const int64_t item = w->job->item, bytes = (high[2] - low[2]) * item;
    int64_t count = shares_of(w, low, high, shown, share);
    if (!count) shown[0] = w->job->layers, count = 1;
    for (int64_t l = 0; l < w->job->leads; l++)
        for (int64_t z = low[0]; z < high[0]; z++)
            for (int64_t y = low[1]; y < high[1]; y++) {
                char *to = place(w->out.at + l * w->out.lead + z * w->out.step[0] + y * w->out.step[1] + low[2] * item);
                for (int64_t k = 0; k < count; k++) {
                    const Layer *layer = w->layer + shown[k];
                    from[k] = (const uint8_t *)place(layer->at + l * layer->lead + z * layer->step[0] + y * layer->step[1] + low[2] * item);
                }
                if (!w->past || !w->aligned || bytes % LINE || low[2]) {
                    blend_bytes((uint8_t *)to, from, share, count, bytes);
                    continue;
                }
                blend_bytes(w->row, from, share, count, bytes);
                put_lines(to, (const char *)w->row, bytes);
            }
}

static void blend_output(Walk *w, int64_t output, int64_t *shown, float *share, const uint8_t **from) {
    const int64_t *grid = w->job->grid;
    Run padding = {0, 0, w->job->layers + 1};
    int64_t low[AXES], high[AXES];
    w->output = output;
    place_layers(w);
    for (int64_t z = 0; z < grid[0]; z++)
        for (int64_t y = 0; y < grid[1]; y++)
            for (int64_t x = 0; x < grid[2]; x++) {
                const int64_t cell[AXES] = {z, y, x};
                for (int a = 0; a < AXES; a++) low[a] = edge_of(w, a, cell[a]), high[a] = edge_of(w, a, cell[a] + 1);
                if (low[0] < high[0] && low[1] < high[1] && low[2] < high[2]) blend_cell(w, low, high, shown, share, from);
            }
    padding.stop = w->frame[2];
    const Band behind = {{w->canvas[0], 0}, {w->frame[0], w->frame[1]}}, below = {{0, w->canvas[1]}, {w->canvas[0], w->frame[1]}};
    const Band beside = {{0, 0}, {w->canvas[0], w->canvas[1]}};
    copy_rows(w, &behind, &padding, 1);
    copy_rows(w, &below, &padding, 1);
    padding.start = w->canvas[2];
    if (padding.start < padding.stop) copy_rows(w, &beside, &padding, 1);
}

/* ------------------------------------------------------------------------------------------------------------- exported */

/* Write outputs [first, last). 0: no memory. */
EXPORT int64_t cutmix_dense_mix(const Job *job, int64_t first, int64_t last) {
    Walk w;
    int done = 1;
    if (!open_walk(&w, job, copy_rows)) return 0;
    w.select = 1, w.past = is_large(job);
    for (int64_t b = most(first, 0); done && b < least(last, job->outputs); b++) {
        w.output = b;
        place_layers(&w);
        done = !job->scale || read_layers(&w);
        if (done) walk_bands(&w);
    }
#if defined(__SSE2__)
    _mm_sfence();
#endif
    close_walk(&w);
    return done;
}

/* The image that one output exchanges runs with, itself where nothing moves; -1: what it shows is no such exchange. */
static int64_t mate_of(const Walk *w) {
    int64_t mate = w->output;
    for (int64_t i = 0; i < w->moves; i++) {
        const Layer *layer = w->layer + w->moved[7 * i + 6];
        if (layer->apart || layer->image < 0 || layer->image == w->output) return -1;
        if (mate != w->output && layer->image != mate) return -1;
        mate = layer->image;
    }
    return mate;
}

static int same_places(const Walk *a, const Walk *b) {
    if (a->moves != b->moves) return 0;
    for (int64_t i = 0; i < a->moves; i++)
        if (memcmp(a->moved + 7 * i, b->moved + 7 * i, 6 * sizeof(int64_t))) return 0;
    return 1;
}

static void list(Walk *w, int64_t output) {
    w->moves = w->bytes = 0;
    walk(w, output);
}

/* In place: the bytes that each output takes from elsewhere, int64 (B,). Returns 1 where two images each exchange the
 * same pixels, 0 where they don't; -1: no memory. */
EXPORT int64_t cutmix_dense_moved(const Job *job, int64_t *bytes) {
    Walk w, other;
    int64_t exchanged = 1;
    if (!open_walk(&w, job, list_rows)) return -1;
    if (!open_walk(&other, job, list_rows)) {
        close_walk(&w);
        return -1;
    }
    for (int64_t b = 0; b < job->outputs; b++) {
        list(&w, b);
        bytes[b] = w.bytes;
        if (!exchanged) continue;
        const int64_t mate = mate_of(&w);
        if (mate < 0 || mate >= job->outputs) exchanged = 0;
        else if (mate != b) {
            list(&other, mate);
            exchanged = mate_of(&other) == b && same_places(&w, &other);
        }
    }
    if (w.failed || other.failed) exchanged = -1;
    close_walk(&w), close_walk(&other);
    return exchanged;
}

static void swap_bytes(char *restrict a, char *restrict b, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) {
        const char held = a[i];
        a[i] = b[i], b[i] = held;
    }
}

/* In place, where `cutmix_dense_moved` gave 1: swap what outputs [first, last) exchange with images of higher number. */
EXPORT int64_t cutmix_dense_swap(const Job *job, int64_t first, int64_t last) {
    Walk w;
    const int64_t item = job->item;
    if (!open_walk(&w, job, list_rows)) return 0;
    for (int64_t b = most(first, 0); b < least(last, job->outputs) && !w.failed; b++) {
        list(&w, b);
        const int64_t mate = mate_of(&w);
        if (mate <= b || mate >= job->outputs) continue;
        const Image one = w.out, other = image_at(&job->out, mate);
        for (int64_t i = 0; i < w.moves; i++) {
            const int64_t *run = w.moved + 7 * i, pixels = run[5] - run[4];
            const int whole = one.step[2] == item && other.step[2] == item;
            for (int64_t l = 0; l < job->leads; l++)
                for (int64_t z = run[0]; z < run[1]; z++)
                    for (int64_t y = run[2]; y < run[3]; y++) {
                        char *mine = place(one.at + l * one.lead + z * one.step[0] + y * one.step[1] + run[4] * one.step[2]);
                        char *theirs = place(other.at + l * other.lead + z * other.step[0] + y * other.step[1] + run[4] * other.step[2]);
                        if (whole) swap_bytes(mine, theirs, pixels * item);
                        else for (int64_t x = 0; x < pixels; x++) swap_bytes(mine + x * one.step[2], theirs + x * other.step[2], item);
                    }
        }
    }
    const int64_t done = !w.failed;
    close_walk(&w);
    return done;
}

/* In place: what outputs [first, last) take from elsewhere, to `buffer` (put = 0) or from it; `starts` int64 (B,). */
EXPORT int64_t cutmix_dense_buffer(const Job *job, char *buffer, const int64_t *starts, int64_t put, int64_t first, int64_t last) {
    Walk w;
    if (!open_walk(&w, job, put ? put_rows : take_rows)) return 0;
    for (int64_t b = most(first, 0); b < least(last, job->outputs); b++) {
        w.buffer = buffer + starts[b];
        walk(&w, b);
    }
    close_walk(&w);
    return 1;
}

/* Write outputs [first, last) of a soft plan of bytes whose layers lie at whole pixels, pixel beside pixel. */
EXPORT int64_t cutmix_dense_blend(const Job *job, int64_t first, int64_t last) {
    Walk w;
    const size_t layers = (size_t)job->layers + 1;
    int64_t *shown = malloc(layers * sizeof *shown);
    float *share = malloc(layers * sizeof *share);
    const uint8_t **from = malloc(layers * sizeof *from);
    const int opened = shown && share && from && open_walk(&w, job, copy_rows);
    if (opened) {
        w.past = is_large(job);
        for (int64_t b = most(first, 0); b < least(last, job->outputs); b++) blend_output(&w, b, shown, share, from);
        close_walk(&w);
    }
    free(shown), free(share), free(from);
#if defined(__SSE2__)
    _mm_sfence();
#endif
    return opened;
}
