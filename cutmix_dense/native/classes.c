/* Maps of class ids: which ids a map holds, and where some of them lie. Two axes are three with a depth of 1. */
#include "native.h"

#include <string.h>

#define ONES 0x0101010101010101u
enum { BYTES = 256, WORD = 8 };

/* A map, as Python writes it; pixels of a row touch. */
typedef struct {
    int64_t at, item;      /* address of the first pixel, bytes of one */
    int64_t size[3];
    int64_t step[2];       /* bytes from a plane, a row to the next */
} Map;

static const char *row_of(const Map *map, int64_t z, int64_t y) {
    return (const char *)(uintptr_t)(map->at + z * map->step[0] + y * map->step[1]);
}

/* An id that isn't ignored: all of `limit` and above are one. */
static void see(int64_t id, int64_t ignored, int64_t limit, uint8_t *seen) {
    if (id >= 0 && id != ignored) seen[least(id, limit)] = 1;
}

/* Neighbours are mostly equal: bytes are looked at word by word, wider ids where they change. */
static void see_bytes(const uint8_t *row, int64_t width, uint8_t *held) {
    int64_t x = 0;
    for (uint64_t word, last = 0; x + WORD <= width; x += WORD, last = word) {
        memcpy(&word, row + x, sizeof word);
        if (x && word == last) continue;
        held[row[x]] = 1;
        if (word == row[x] * ONES) continue;
        for (int64_t i = 1; i < WORD; i++) held[row[x + i]] = 1;
    }
    for (; x < width; x++) held[row[x]] = 1;
}

static void mark_bytes(const uint8_t *row, int64_t width, const uint64_t *words, uint8_t *mask) {
    int64_t x = 0;
    for (uint64_t word; x + WORD <= width; x += WORD) {
        memcpy(&word, row + x, sizeof word);
        if (word == row[x] * ONES) memcpy(mask + x, words + row[x], WORD);
        else for (int64_t i = 0; i < WORD; i++) mask[x + i] = (uint8_t)words[row[x + i]];
    }
    for (; x < width; x++) mask[x] = (uint8_t)words[row[x]];
}

#define WIDER(type)                                                                                                      \
    static void see_##type(const type *row, int64_t width, int64_t ignored, int64_t limit, uint8_t *seen) {               \
        for (int64_t x = 0; x < width; x++)                                                                               \
            if (!x || row[x] != row[x - 1]) see(row[x], ignored, limit, seen);                                            \
    }                                                                                                                     \
    static void mark_##type(const type *row, int64_t width, const uint8_t *chosen, int64_t limit, uint8_t *mask) {        \
        uint8_t shown = 0;                                                                                                \
        for (int64_t x = 0; x < width; x++) {                                                                             \
            if (!x || row[x] != row[x - 1]) shown = row[x] >= 0 && row[x] < limit ? chosen[row[x]] : 0;                   \
            mask[x] = shown;                                                                                              \
        }                                                                                                                 \
    }

WIDER(int16_t)
WIDER(int32_t)
WIDER(int64_t)

/* Mark the ids that occur in maps [first, last): `seen` is uint8 (maps, limit + 1), the last column of all ids from
 * `limit` on. Ids below 0 and the ignored one don't count. Ids are uint8, or signed ones of `item` bytes. */
EXPORT void cutmix_dense_seen(const Map *maps, int64_t ignored, int64_t limit, uint8_t *seen, int64_t first, int64_t last) {
    for (int64_t index = first; index < last; index++) {
        const Map *map = maps + index;
        uint8_t held[BYTES] = {0}, *found = seen + index * (limit + 1);
        memset(found, 0, (size_t)limit + 1);
        for (int64_t z = 0; z < map->size[0]; z++)
            for (int64_t y = 0; y < map->size[1]; y++) {
                const char *row = row_of(map, z, y);
                const int64_t width = map->size[2];
                if (map->item == 1) see_bytes((const uint8_t *)row, width, held);
                else if (map->item == 2) see_int16_t((const int16_t *)(const void *)row, width, ignored, limit, found);
                else if (map->item == 4) see_int32_t((const int32_t *)(const void *)row, width, ignored, limit, found);
                else see_int64_t((const int64_t *)(const void *)row, width, ignored, limit, found);
            }
        for (int64_t id = 0; id < BYTES; id++)
            if (held[id]) see(id, ignored, limit, found);
    }
}

/* Write `chosen[id]`, 0 or 1, for every pixel of maps [first, last), and 0 beyond them: `chosen` is uint8 (maps, limit),
 * other ids give 0. Masks are uint8 (maps, *frame). */
EXPORT void cutmix_dense_mark(const Map *maps, const uint8_t *chosen, int64_t limit, uint8_t *masks, const int64_t *frame, int64_t first,
                              int64_t last) {
    for (int64_t index = first; index < last; index++) {
        const Map *map = maps + index;
        const uint8_t *taken = chosen + index * limit;
        uint64_t words[BYTES];
        for (int64_t id = 0; id < BYTES; id++) words[id] = (id < limit && taken[id]) * ONES;
        for (int64_t z = 0; z < frame[0]; z++)
            for (int64_t y = 0; y < frame[1]; y++) {
                const char *row = row_of(map, z, y);
                uint8_t *to = masks + ((index * frame[0] + z) * frame[1] + y) * frame[2];
                const int64_t width = z < map->size[0] && y < map->size[1] ? least(map->size[2], frame[2]) : 0;
                if (map->item == 1) mark_bytes((const uint8_t *)row, width, words, to);
                else if (map->item == 2) mark_int16_t((const int16_t *)(const void *)row, width, taken, limit, to);
                else if (map->item == 4) mark_int32_t((const int32_t *)(const void *)row, width, taken, limit, to);
                else mark_int64_t((const int64_t *)(const void *)row, width, taken, limit, to);
                memset(to + width, 0, (size_t)(frame[2] - width));
            }
    }
}
