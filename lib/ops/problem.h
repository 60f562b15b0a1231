/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What the check can find, as a table: to each problem its stable name, how bad it is, what a
 * reader of the image would see and what a repair does about it.
 */
#ifndef OPS_PROBLEM_H
#define OPS_PROBLEM_H

#include <stdint.h>
#include <vhdx.h>

struct problem_text {
    uint32_t problem;  /* enum vhdx_problem */
    uint32_t severity; /* VHDX_SEVERITY_... */
    uint32_t repair;   /* VHDX_REPAIR_...: the level that mends it, as a rule */
    const char *name;
    const char *effect;
    const char *remedy; /* "" for VHDX_REPAIR_NONE */
};

/* NULL for a number that is no problem's. */
const struct problem_text *problem_text(uint32_t problem);

#endif
