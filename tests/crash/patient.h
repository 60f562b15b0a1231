/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* A damaged image in memory, its undo file, and what a repair must make of them. */
#ifndef TESTS_CRASH_PATIENT_H
#define TESTS_CRASH_PATIENT_H

#include "content.h"
#include "io-record.h"

enum treatment {
    TREAT_SAFE,
    TREAT_ALL,
    TREAT_REPLAY, /* what vhdx_replay() does, which takes no custom files */
    TREATMENTS
};

#define STAGES_MAX 64

struct patient {
    const char *name;
    enum treatment treatment;
    uint64_t rng;
    struct memfile *image, *undo, *original; /* owned */
    struct record record;        /* of an uninterrupted repair, both files in one */
    bool is_changed;
    struct content stages[STAGES_MAX]; /* what could be read at first, at each flush, at last */
    size_t stage_count;
    struct vhdx_check_result before, after;
    char doing[256];             /* for messages */
};

/* Ends the program with a message. */
void patient_die(const struct patient *p, const char *what, const struct vhdx_error *err)
    __attribute__((noreturn));

uint64_t patient_random(struct patient *p, uint64_t below);

/* Loads a file, treats it once without interruption, and goes back. Checks what that must fulfil.
   False if there is nothing to do for this treatment. */
bool patient_begin(struct patient *p, const char *path, enum treatment treatment, uint64_t seed);
void patient_end(struct patient *p);

/*
 * Treats the image through r, with the undo file of undo, sealed at last; NULL: without one.
 * ret may be NULL, and is not set by TREAT_REPLAY.
 */
int patient_treat(const struct patient *p, struct recorder *r, struct recorder *undo,
                  struct vhdx_repair_result *ret, struct vhdx_error *err);

/* Nothing that could be read at first is lost or another, and all that can be read now is what some
   stage of the repair has there. */
void patient_verify_content(struct patient *p);

/* The image as it is now, treated again, becomes what it must. */
void patient_verify_finish(struct patient *p);

/* The image as it is now becomes by undo what it was. If steps, that is interrupted, too. */
void patient_verify_undo(struct patient *p, bool steps);

/* The image as it is now is treated again with the same undo file; then that undoes it all. */
void patient_verify_resume(struct patient *p);

/* Part of an operation: its beginning, its end, or some of its sectors. */
void patient_tear(struct patient *p, const struct op *op);

#endif
