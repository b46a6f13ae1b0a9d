/* New memory. */
#if defined(__linux__)
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#endif
#include "native.h"

enum { GRAIN = 1 << 16 }; /* a multiple of every page */

/* Ask for large pages of memory that nothing was written to yet: each page that is written to first costs a fault. */
EXPORT void cutmix_dense_in_large_pages(int64_t at, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    const int64_t low = (at + GRAIN - 1) & -(int64_t)GRAIN, high = (at + bytes) & -(int64_t)GRAIN;
    if (low < high) (void)madvise(place(low), (size_t)(high - low), MADV_HUGEPAGE);
#else
    (void)at, (void)bytes;
#endif
}
