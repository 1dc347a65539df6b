/* Where the values of one picture of a given size lie in memory, and which steps are made row by row. */
#ifndef PPGHOST_PLAN_H
#define PPGHOST_PLAN_H

#include "network.h"

enum { MOST_ROLLS = 64 };

/* Steps [first, last) that are made together, a row of the end at a time, so that what lies between them stays in
 * the cache. Each member makes rows of its own, those at the seams twice. */
typedef struct {
    int first, last;
    int height; /* of what the roll leaves behind */
} Roll;

typedef struct {
    int height, width;
    size_t offset;  /* in floats: of a map in a workspace, of a window in scratch, of a vector in a picture's vectors */
    int rows;       /* of its window; 0: it is a whole map, or a vector */
    int is_left;    /* a roll makes it and later steps read it */
    int plain_rows; /* of the window for a ghost module's first half without the addend */
    size_t plain_offset;
} Place;

typedef struct {
    int height, width;
    Place value[MOST_STEPS + 1];
    int rolls;
    Roll roll[MOST_ROLLS];
    size_t map_floats, vector_floats; /* of one workspace, of one picture's vectors */
    size_t plain_floats;              /* of one workspace: a half before the shortcut is added */
    size_t scratch_floats;            /* of one member */
    size_t pack_offset;               /* in scratch: where products pack pixels in bfloat16 */
} Plan;

/* Plan for pictures of height x width that so many members work on together. Returns 0, or -1 when they are too
 * large. */
int make_plan(const struct GhostNetwork *network, int height, int width, int members, Plan *plan);

/* Find out how many rows the windows of a roll need when `members` share it. */
void rehearse_roll(const struct GhostNetwork *network, Plan *plan, const Roll *roll, int members);

static inline size_t larger(size_t a, size_t b) { return a > b ? a : b; }

#endif
