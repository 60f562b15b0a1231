/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing the log: one entry per commit, written in place once it is stable. The rules and the
 * states are the top comment of journal.c. Not thread-safe: one thread commits at a time.
 */
#ifndef LOG_JOURNAL_H
#define LOG_JOURNAL_H

#include <stdbool.h>

#include "format/logentry.h"
#include "io/io.h"

struct journal {
    const struct vhdx_io *io;
    uint64_t log_offset;  /* in the file */
    uint32_t log_length;  /* bytes */
    struct guid guid;     /* LogGuid of the entries; zero: not started */
    uint64_t sequence_number; /* of the newest entry */
    uint32_t head;        /* offset in the log where the next entry goes */
    uint32_t tail;        /* Tail of the newest stable entry: what lies from here to head stays */
    uint32_t unsettled;   /* offset of the newest entry: its sectors are not stable in place */
    bool has_unsettled;
    uint8_t *entry;       /* owned; the entry being built */
    uint32_t entry_capacity;
    uint32_t entry_length;
    uint32_t descriptor_count;
    struct log_entry building;
};

/* A journal over a log region that lies inside the file. Nothing is written. */
int journal_init(struct journal *j, const struct vhdx_io *io, uint64_t log_offset,
                 uint32_t log_length, struct vhdx_error *err);

void journal_end(struct journal *j);

static inline bool journal_is_started(const struct journal *j)
{
    return !guid_is_zero(&j->guid);
}

/* How many sectors one commit can hold. */
uint32_t journal_capacity(const struct journal *j);

/*
 * Starts a log with a new GUID: writes an empty entry with Tail on itself and makes it stable. Only
 * then may a header name the GUID (rule 1).
 */
int journal_start(struct journal *j, const struct guid *guid, uint64_t flushed_file_offset,
                  uint64_t last_file_offset, struct vhdx_error *err);

/* Forgets the log after the headers stopped naming it. */
void journal_stop(struct journal *j);

/* A flush was completed: what was written in place before it is stable now. */
void journal_settled(struct journal *j);

/*
 * Begins an entry for count sectors, at most journal_capacity(); makes room first if there is none
 * (rule 6), which takes two flushes. file offsets as in struct log_entry.
 */
int journal_begin(struct journal *j, uint32_t count, uint64_t flushed_file_offset,
                  uint64_t last_file_offset, struct vhdx_error *err);

/* Adds a sector of 4 KiB that belongs at file_offset; its content is copied. */
void journal_add(struct journal *j, uint64_t file_offset, const uint8_t *sector);

/* Writes the entry to the log. It counts once a flush is completed: then call journal_apply(). */
int journal_append(struct journal *j, struct vhdx_error *err);

/* After that flush: writes the sectors in place, without a flush of their own (rule 3). */
int journal_apply(struct journal *j, struct vhdx_error *err);

#endif
