/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Random damage to the structures of an image. */
#ifndef TESTS_DAMAGE_HURT_H
#define TESTS_DAMAGE_HURT_H

#include "bases.h"

struct random {
    uint64_t state;
};

void random_begin(struct random *r, uint64_t seed);
uint64_t random_below(struct random *r, uint64_t below);

/* Damages the file of b in one to four ways, the same for the same random numbers. */
void hurt(const struct base *b, struct random *r);

#endif
