/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What a disk may hold after a loss of power at any instant of a recorded round, and the checks. */
#ifndef TESTS_CRASH_EXPLORE_H
#define TESTS_CRASH_EXPLORE_H

#include "scene.h"

struct explorer {
    struct scene *scene;
    uint64_t seed;          /* of the workload, for messages */
    uint32_t round;
    uint64_t states, limit; /* checked so far; where to stop */
    uint32_t pending[65536]; /* operations since the last flush: indexes into the record */
    uint32_t pending_count;
    size_t prefix;          /* operations that were issued */
    size_t next_event;
    char what[160];         /* the state being checked */
};

/*
 * The scene's file is what it was when the round began. Checks states until the record ends or the
 * limit is reached; then, if go_on, leaves the file and the model in a random one of them.
 */
void explore(struct explorer *x, bool go_on);

#endif
