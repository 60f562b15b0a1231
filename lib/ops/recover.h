/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Recovering an image whose headers, region tables or metadata are gone. Over the file lies a
 * scratch file (io/scratch.h). What is lost is made up there, and the result is salvaged as any
 * damaged image is (ops/salvage.h).
 *
 *     recover.c         the course, facts, what is still valid
 *     recover-log.c     the log: replayed in the scratch file, also if no header tells of it
 *     recover-scan.c    the search at multiples of 1 MiB; metadata
 *     recover-bat.c     how well a stretch of the file fits as a BAT
 *     recover-plan.c    which of several readings of the file is the right one; the disk's size
 *     recover-fixed.c   images without a BAT
 *     recover-disk.c    what a disk's own beginning tells: partition tables, file systems
 *     recover-build.c   writing what is missing
 *
 * A reading of the file is a plan: where the BAT is, where the metadata, how large blocks and
 * sectors are. What makes a plan likely is that the blocks of its BAT do not overlap, cover what
 * the file holds, end where others begin, and that the disk so mapped begins as disks do. A BAT
 * or metadata that a disk holds as data (an image within an image) lies in a block of the right
 * plan, while the right BAT lies in no block of the other one's.
 */
#ifndef OPS_RECOVER_H
#define OPS_RECOVER_H

#include "core/space.h"
#include "format/bat.h"
#include "format/header.h"
#include "format/ident.h"
#include "format/locator.h"
#include "format/region.h"
#include "io/io.h"
#include "io/ranges.h"

#define RECOVER_METADATA_MAX 16 /* candidates that are kept, in the order of the file */
#define RECOVER_BATS_MAX 48
#define RECOVER_PLANS_MAX 96
/* BAT entries looked at in all: bounds the time that a crafted file costs to minutes. */
#define RECOVER_ENTRIES_MAX (UINT64_C(1) << 31)

/* Metadata, as far as it can be read. */
struct recover_metadata {
    uint64_t offset;
    uint32_t length;   /* of the region, at least; a multiple of 1 MiB */
    bool is_intact;    /* it can stay as it is */
    uint32_t known;    /* bit k: item k of enum metadata_known is there and valid */
    uint64_t locator_offset; /* in the file */
    uint32_t locator_length; /* 0: none */
    struct metadata m;
};

static inline bool recover_knows(const struct recover_metadata *m, enum metadata_known k)
{
    return m && (m->known >> k & 1);
}

/* What a disk's beginning tells of it. */
enum disk_strength {
    DISK_UNKNOWN,    /* nothing is recognised */
    DISK_BOOT,       /* a boot sector's signature */
    DISK_FORMATTED,  /* a partition table or file system that makes sense */
    DISK_GPT,        /* a partition table with a checksum */
    DISK_GPT_BACKUP, /* which has its copy at the end, too */
};

struct disk_signs {
    enum disk_strength strength;
    uint64_t size;        /* bytes the disk has at least; 0: not told */
    bool is_exact;        /* ... and at most */
    uint32_t sector_size; /* 0: not told */
    const char *text;     /* "GPT" */
};

/* Reads from a disk whose mapping is not certain. False: what is there is not to be had. */
struct disk_reader {
    bool (*read)(uint64_t offset, void *buf, size_t len, void *opaque);
    void *opaque;
};

void recover_signs(const struct disk_reader *reader, struct disk_signs *ret);

/* A reading of a stretch of the file as a BAT. */
struct recover_bat {
    uint64_t offset;
    uint64_t entries;     /* to look at, at most */
    uint64_t blocks;      /* of the disk; 0: not known */
    uint64_t wanted;      /* entries that it must have; 0: not known */
    uint32_t block_shift, sector_shift, chunk_shift;
    bool has_parent;
};

struct recover_fit {
    uint64_t entries;     /* looked at: up to the next structure */
    uint64_t used;        /* entries other than 0 */
    uint64_t present;     /* blocks in the file, wholly or in part */
    uint64_t past;        /* blocks past its end */
    uint64_t partial;     /* partially present ones */
    uint64_t bad;         /* entries that break a rule by themselves */
    uint64_t overlaps;    /* blocks that overlap others, or the BAT itself */
    uint64_t adjacent;    /* blocks that end where another begins, or the file ends */
    uint64_t witnessed;   /* slots of bitmaps that are empty between blocks that are present */
    uint64_t last_block;  /* the last one that is used; UINT64_MAX: none */
    uint64_t highest_end; /* of a block, in the file or past its end */
    uint64_t covered, data; /* MiBs that hold data: in blocks, and in all */
    uint64_t owned_candidates; /* bit i: BAT candidate i lies in a block or in the BAT */
    uint32_t owned_metadata;   /* bit i: metadata candidate i does */
    bool owns_itself;          /* the BAT lies in a block */
};

struct recover_plan {
    const struct recover_metadata *metadata; /* NULL: lost */
    struct recover_bat bat;
    struct recover_fit fit;
    struct disk_signs signs;
    uint32_t bat_index, metadata_index; /* of the candidates */
    int score;                          /* 0 .. 99 */
    bool is_listed;                     /* a region table names the BAT */
};

struct recover {
    const char *path;
    const struct vhdx_recover_options *opts;
    const struct vhdx_io *file; /* knows where holes are; or NULL */
    const struct vhdx_io *io;   /* the scratch file */
    uint64_t size;              /* of it, its log replayed, before anything is added */
    uint32_t confidence;        /* the least so far */

    bool has_ident, has_header, has_regions;
    struct header header;
    struct region bat_region, metadata_region; /* if has_regions */

    struct recover_metadata metadata[RECOVER_METADATA_MAX];
    uint32_t metadata_count;
    uint64_t bats[RECOVER_BATS_MAX];
    uint32_t bats_count;
    uint64_t logs[RECOVER_METADATA_MAX];
    uint32_t logs_count;
    bool is_scanned;            /* the candidates are those of a search */
    bool is_log_done;
    bool is_full;               /* more candidates than are kept */
    struct ranges brought;      /* of the file, by the replay of the log */
    struct space data;          /* MiBs that hold something else than zeros */
    uint64_t entries_left;      /* of RECOVER_ENTRIES_MAX */

    /* The outcome. */
    struct metadata chosen;
    const struct recover_metadata *source; /* NULL: metadata is made up */
    bool keeps_metadata;        /* the region stays where and as it is */
    uint64_t bat_offset;        /* VHDX_OFFSET_NONE: the payload is contiguous */
    uint64_t bat_available;     /* entries that are there */
    uint64_t payload_offset;    /* without a BAT */
    uint64_t highest_end;       /* of what the file holds, or would hold */
    struct ranges lost;         /* of the disk */
};

/* Tells of a fact. */
void recover_found(struct recover *rc, uint32_t what, uint32_t source, uint32_t confidence,
                   uint64_t file_offset, uint64_t value, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));

/* VHDX_E_CANCELLED if the caller has had enough. */
int recover_progress(const struct recover *rc, uint64_t done, struct vhdx_error *err);

/* Replays the log of the header, or without one a log that the search found; *ret_replayed: then
   what was found before may be out of date. */
int recover_known_log(struct recover *rc, struct vhdx_error *err);
int recover_found_log(struct recover *rc, bool *ret_replayed, struct vhdx_error *err);

/* The same for a repair of a file without headers: what a log holds that a search finds, and that
   has not reached its place, is written there. holes: a file that knows where io has holes. */
int recover_lost_log(const struct vhdx_io *holes, const struct vhdx_io *io, bool *ret_replayed,
                     struct vhdx_error *err);

/* Reads what is left of metadata at offset; false if nothing is. */
bool recover_read_metadata(const struct recover *rc, uint64_t offset,
                           struct recover_metadata *ret);

/* Goes through the file and fills the candidates anew. */
int recover_scan(struct recover *rc, struct vhdx_error *err);

/* Is there data in this MiB, as far as the search has seen? */
static inline bool recover_has_data(const struct recover *rc, uint64_t mib)
{
    return mib < rc->data.size_mib && (rc->data.owned[mib / 64] >> mib % 64 & 1);
}

/* VHDX_E_LIMIT once too much was looked at. */
int recover_fit(struct recover *rc, const struct recover_bat *bat, struct recover_fit *ret,
                struct vhdx_error *err);

/* A disk_reader's function; opaque is a struct recover_disk. */
struct recover_disk {
    const struct recover *rc;
    const struct recover_bat *bat; /* NULL: contiguous */
    uint64_t payload_offset, size;
};
bool recover_read_disk(uint64_t offset, void *buf, size_t len, void *opaque);

/* Chooses the reading of the file: fills the outcome. */
int recover_plan(struct recover *rc, struct vhdx_error *err);

/* The same where no BAT is to be found. */
int recover_without_bat(struct recover *rc, struct vhdx_error *err);

/* Writes what is missing to the scratch file. */
int recover_build(struct recover *rc, struct vhdx_error *err);

/* vhdx_recover(). */
int recover_path(const char *path, const char *out_path, const struct vhdx_recover_options *opts,
                 struct vhdx_recover_result *ret, struct vhdx_error *err);

#endif
