/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Checking an image: every structure is looked at, and what is wrong is reported as findings
 * (ops/problem.h). One mistake does not hide the others unless they cannot be reached.
 *
 *     check.c         the course of a check, findings, the space that nothing owns
 *     check-bat.c     the BAT and the sector bitmaps
 *     check-shift.c   pages of the BAT that a mistake of QEMU's moved by one entry
 *     check-chain.c   the parents, and what a profile asks for
 *
 * The structures before the BAT are checked by core/image, with a sink for problems. A repair is a
 * check with hands: it looks at what the check has found, and takes part in its pass over the BAT.
 */
#ifndef OPS_CHECK_H
#define OPS_CHECK_H

#include "core/image.h"

/* A place in a table of counters for each problem: the numbers are 100 * group + small number. */
#define CHECK_SLOTS 200
static inline uint32_t check_slot(uint32_t problem)
{
    return (problem / 100 - 1) * 20 + problem % 100;
}

struct check;

/* What a repair does while the BAT is gone through. */
struct check_hands {
    /* An entry breaks a rule: may change *entry, which is then looked at again. */
    int (*entry)(struct check *c, uint64_t index, enum vhdx_problem problem, uint64_t *entry,
                 void *opaque, struct vhdx_error *err);
    /* A page of the BAT was moved by one entry; the count entries are what it was, but for the last
       one if it is lost. */
    int (*page)(struct check *c, uint64_t first_index, const uint64_t *entries, uint64_t count,
                bool last_is_lost, void *opaque, struct vhdx_error *err);
    /* Space that nothing owns holds data. */
    int (*leak)(struct check *c, uint64_t offset, uint64_t len, void *opaque,
                struct vhdx_error *err);
    void *opaque;
};

struct check {
    const struct vhdx_io *io;
    const struct vhdx_io *holes; /* who knows where the file has holes: a file, or NULL */
    const char *path;            /* for finding the parents; NULL for a custom file */
    const struct vhdx_check_options *opts;
    const struct check_hands *hands; /* NULL: look only */

    struct problem_sink sink;
    struct image *image; /* owned; NULL if not even the headers can be used */
    bool has_tables;     /* the BAT was reached */
    uint64_t counts[CHECK_SLOTS]; /* findings of each problem */
    struct vhdx_check_result result;
    uint64_t last_end;    /* where the last structure that begins in the file ends */
    uint64_t cut_offset, cut_length; /* of the disk: what the file's end cuts off a block */
    uint64_t first_lost;  /* where the first block past the end of the file lies; UINT64_MAX */
    uint64_t lost_entries; /* of pages that were moved */
    uint64_t orphans;     /* stretches with data that nothing owns and that could be a block whose
                             entry was lost (BAT_SHIFTED) */
    bool has_orphan;      /* there is one, of a block's length: it must be that block */
    uint64_t orphan_offset;
};

/*
 * Checks the file io. 0 also if there are findings; then c->image and the counts stay for a repair
 * to look at. Ends with check_end(), also after a failure. c is zeroed but for its first fields.
 */
int check_run(struct check *c, struct vhdx_error *err);

void check_end(struct check *c);

/* vhdx_check() and vhdx_check_io(). */
int check_path(const char *path, const struct vhdx_check_options *opts,
               struct vhdx_check_result *ret, struct vhdx_error *err);
int check_io(const struct vhdx_io *io, const struct vhdx_check_options *opts,
             struct vhdx_check_result *ret, struct vhdx_error *err);

static inline uint64_t check_count(const struct check *c, enum vhdx_problem problem)
{
    return c->counts[check_slot(problem)];
}

/* Reports a finding about a range of the disk; length 0: about none. */
void check_found(struct check *c, enum vhdx_problem problem, uint64_t file_offset,
                 uint64_t virtual_offset, uint64_t virtual_length, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* Whether anybody would be told of one more finding of this problem. Where there are millions, the
   others are only counted. */
bool check_tells(const struct check *c, enum vhdx_problem problem);
void check_counted(struct check *c, enum vhdx_problem problem);

/* How far the check is, in bytes of the virtual disk; VHDX_E_CANCELLED if that was enough. */
int check_progress(struct check *c, uint64_t done, struct vhdx_error *err);

/* ---- The parts ------------------------------------------------------------------------------ */

/* The range of the disk that a payload block covers, or the blocks that a bitmap describes. */
void check_block_range(const struct geometry *g, uint64_t index, uint64_t *ret_offset,
                       uint64_t *ret_length);

/* The BAT and the bitmaps; claims the blocks' space. */
int check_bat(struct check *c, struct vhdx_error *err);

/*
 * Were the count entries of this page of the BAT, read from the file, moved by one place? behind is
 * what stands behind them: the last one, if the BAT ends within the page; else 0. Then what they
 * were is stored to ret_entries, the last one being behind.
 */
bool check_page_is_shifted(const struct check *c, uint64_t first_index, const uint64_t *entries,
                           uint64_t count, uint64_t behind, uint64_t *ret_entries);

/* The parents. */
int check_chain(struct check *c, struct vhdx_error *err);

/* What the options' profile asks for. */
int check_profile(struct check *c, struct vhdx_error *err);

#endif
