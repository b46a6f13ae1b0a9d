/* What the sources of the library share. C99 and the C library only: no Python, no numpy, no torch. */
#ifndef CUTMIX_DENSE_NATIVE_H
#define CUTMIX_DENSE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* A loop compiled for several processors, of which the loader takes the best; elsewhere for the least one. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define WIDE
#endif

enum { AXES = 3 };

/* Where the pixels of an image lie, as Python writes it. A pixel is `item` bytes. */
typedef struct {
    int64_t at;            /* address of the first pixel */
    int64_t lead;          /* bytes from a channel (frame, ...) to the next */
    int64_t step[AXES];    /* bytes from a plane, a row, a pixel to the next */
    int64_t size[AXES];
} Image;

/* How scaled layers are read. */
enum { NEAREST, BILINEAR, ANTIALIAS };

/* A window of the canvas that shows one scaled image; see `resample`. */
typedef struct {
    Image from;
    Image to;                                /* of the window's pixels, which lie side by side in each row */
    int64_t item, leads, element;            /* element: which of `ELEMENTS` a pixel is made of */
    int64_t interpolation;
    int64_t valid_low[AXES], valid_high[AXES]; /* pixels of the image that count: some, and within it */
    int64_t low[AXES], high[AXES];           /* pixels of the canvas */
    float scale[AXES], shift[AXES];          /* canvas = scale * image + shift */
} Window;

int resample(const Window *window);
void copy_pixels(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t pixels, int64_t item);

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int is_whole(float value) { return -2147483648.0f <= value && value < 2147483648.0f && value == (float)(int64_t)value; }
static inline char *place(int64_t address) { return (char *)(uintptr_t)address; }

#endif
