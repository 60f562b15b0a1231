/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Repairing an image: rounds of a check and one step that mends what it has found, until no step
 * applies.
 *
 *     repair.c          the rounds; the rehearsal in memory, the undo file
 *     repair-steps.c    identifier, headers, log, the end of the file
 *     repair-tables.c   region tables, metadata, BAT
 *     repair-write.c    how changes reach the file: headers, patches through the log
 *
 * Invariants
 *   1. A step leaves an image that is not worse than before, at every instant: headers change one
 *      copy at a time, everything else that the log may carry goes through it. Where there is no
 *      log, and none can be made before blocks are given up, one byte of each entry is written in
 *      place: its state.
 *   2. A step that ends removes its reason: the next check does not find it again. So a repair that
 *      was interrupted is finished by another one, and the rounds end.
 *   3. Space is freed only when nothing else is wrong: what is wrong may be why it has no owner.
 *   4. A repair never gives DataWriteGuid a new value, except where it is lost: what could be read
 *      reads the same, and children keep their parent.
 */
#ifndef OPS_REPAIR_H
#define OPS_REPAIR_H

#include "ops/check.h"

struct repair {
    const struct vhdx_io *io;
    const struct vhdx_io *holes;  /* as in struct check */
    const char *path;
    uint32_t level;
    const struct vhdx_repair_options *opts;
    bool is_silent;               /* actions are counted, but not told */
    uint64_t actions, lost_bytes;
    struct check *check;          /* of this round */

    /* What the headers say now; they may have been written since the check. */
    struct header header;
    int header_copy;
};

/* A step of a repair: does it apply to what the round's check has found, and what does it do? */
struct repair_step {
    bool (*applies)(const struct repair *r);
    int (*run)(struct repair *r, struct vhdx_error *err);
};

/* vhdx_repair(), vhdx_repair_io(). */
int repair_path(const char *path, const struct vhdx_repair_options *opts,
                struct vhdx_repair_result *ret, struct vhdx_error *err);
int repair_io(const struct vhdx_io *io, const struct vhdx_repair_options *opts,
              struct vhdx_repair_result *ret, struct vhdx_error *err);

/*
 * The rounds, on the file io itself: for those who hand in a file that may be changed. Fills ret's
 * before, after, actions and lost_bytes.
 */
int repair_run(struct repair *r, struct vhdx_repair_result *ret, struct vhdx_error *err);

/* ---- The parts ------------------------------------------------------------------------------ */

/* Has the check found this, and may this repair mend it? */
bool repair_may(const struct repair *r, enum vhdx_problem problem);

/* Tells of something done; lost_length bytes of the disk at lost_offset were given up. */
void repair_done(struct repair *r, enum vhdx_problem problem, uint64_t file_offset,
                 uint64_t lost_offset, uint64_t lost_length, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* Another check of the file as it is now, silent and with hands. */
int repair_look_again(struct repair *r, const struct check_hands *hands, struct vhdx_error *err);

/* The steps, in the order in which they are tried; ends with an empty one. */
extern const struct repair_step repair_steps[];

bool repair_tables_apply(const struct repair *r);
int repair_tables(struct repair *r, struct vhdx_error *err);
bool repair_metadata_apply(const struct repair *r);
int repair_metadata(struct repair *r, struct vhdx_error *err);
bool repair_bat_apply(const struct repair *r);
int repair_bat(struct repair *r, struct vhdx_error *err);

/* Gives up the blocks in the way of a log, where there is none. */
bool repair_states_apply(const struct repair *r);
int repair_states(struct repair *r, struct vhdx_error *err);

/*
 * Makes both headers say what h says, with a new FileWriteGuid and the next sequence numbers; the
 * copy that is not current first, each made stable.
 */
int repair_put_headers(struct repair *r, struct header h, struct vhdx_error *err);

/* Writes the log's active sequence in place, then clears the log GUID. */
int repair_apply_log(struct repair *r, const struct overlay *overlay, struct vhdx_error *err);

/* Changes of metadata, sector by sector, through the log. */
struct patches;

/* No change is made before the first repair_patch(). */
int repair_patches_begin(struct repair *r, struct patches **ret, struct vhdx_error *err);

/* The bytes at offset of the file, which the log may carry, become len bytes at buf. */
int repair_patch(struct patches *p, const void *buf, size_t len, uint64_t offset,
                 struct vhdx_error *err);

/* Makes the changes stable and the log clean. *ret_changed: whether there were any. Ends p, also
   after a failure. */
int repair_patches_end(struct patches *p, bool *ret_changed, struct vhdx_error *err);

/* Ends p without making changes that were not committed yet. NULL is fine. */
void repair_patches_drop(struct patches *p);

#endif
