/* Which sources the library was made of; see build.py. */
#include "native.h"

#ifndef SOURCES
#define SOURCES ""
#endif

EXPORT const char *cutmix_dense_sources(void) { return SOURCES; }
