/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Checks one state after a crash. */
#ifndef TESTS_CRASH_VERIFY_H
#define TESTS_CRASH_VERIFY_H

#include "scene.h"

/*
 * Opens the file as it is, flags as for vhdx_open, demands that all is well, and that each sector
 * holds a value that the model allows: the watched ones, or with ret_values, if it is not NULL, all
 * of them, whose values it is set to. replay, if it is not NULL, is given what opening wrote.
 * Otherwise ends the program.
 */
void verify_state(struct scene *s, uint32_t flags, bool all, uint64_t *ret_values,
                  struct record *replay);

#endif
