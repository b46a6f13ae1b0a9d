/* What every source of the library shares. C99 and the C library only: no Python, no numpy, no torch. */
#ifndef CUTMIX_DENSE_NATIVE_H
#define CUTMIX_DENSE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
