/* Where the values of one picture of a given size lie in memory. */
#ifndef PPGHOST_PLAN_H
#define PPGHOST_PLAN_H

#include "network.h"

typedef struct {
    int height, width;
    struct {
        int height, width;
        size_t offset; /* in floats: of a map in a workspace, of a vector in a picture's vectors */
    } value[MOST_STEPS + 1];
    size_t map_floats, vector_floats; /* of one workspace, of one picture's vectors */
    size_t scratch_floats;            /* of one thread */
    size_t scaled_floats, plain_floats; /* of one workspace: gated weights, a half before the shortcut is added */
} Plan;

/* Plan for pictures of height x width. Returns 0, or -1 when they are too large. */
int make_plan(const struct GhostNetwork *network, int height, int width, Plan *plan);

#endif
