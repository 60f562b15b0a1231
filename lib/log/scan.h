/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Finding the active sequence of a log: the entries that a replay must apply. [MS-VHDX] 2.3.2,
 * 2.3.3
 *
 * The log is a ring of 4 KiB sectors. An entry may begin at any of them and may wrap round the end.
 * Entries chain: one continues another if it begins where that ends, with the next sequence number.
 * A chain, followed as far as it goes, is complete if the Tail of its last entry is the offset of
 * one of its own. Of the complete chains the one whose last entry has the highest sequence number
 * is active, and its entries from Tail to the last are what counts; those before Tail have reached
 * their place already and would bring back old data.
 */
#ifndef LOG_SCAN_H
#define LOG_SCAN_H

#include <stdbool.h>

#include "format/logentry.h"
#include "log/ring.h"

/* The active sequence, oldest entry first. count 0: no complete sequence was found. */
struct log_sequence {
    struct log_entry *entries; /* owned */
    uint32_t count;
    bool log_is_zero;          /* the log holds nothing but zeros */
    bool has_own;              /* entries with the log's GUID are there, valid or not */
    uint32_t end;              /* where in the log the next entry would begin */
    bool is_torn;              /* a damaged next entry begins there */
};

/*
 * Scans the whole ring for entries with this log GUID. VHDX_E_LIMIT if a crafted log makes that
 * take too long. *ret is to be ended with log_sequence_end().
 */
int log_scan(struct log_ring *ring, const struct guid *log_guid, struct log_sequence *ret,
             struct vhdx_error *err);

void log_sequence_end(struct log_sequence *s);

/*
 * Calls fn for each descriptor of an entry that was found valid, in order. data_offset: where in
 * the log the data sector of a data descriptor lies.
 */
int log_entry_descriptors(struct log_ring *ring, const struct log_entry *e,
                          int (*fn)(const struct log_descriptor *d, uint32_t data_offset,
                                    void *opaque, struct vhdx_error *err),
                          void *opaque, struct vhdx_error *err);

#endif
