/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * One image file: opened, verified, its log replayed in memory, its tables ready to be loaded. The
 * chain of images that makes a virtual disk is core/chain.
 *
 * Life of an image:
 *
 *     image_open_*()        identifier and headers are read: enough to know who it is
 *                           (DataWriteGuid)
 *     image_load()          log, region table, metadata, BAT: ready for lookups
 *     image_close()
 *
 * After image_load() everything but the tables is constant. The tables (pages.h) fill as they are
 * used, from any number of threads.
 */
#ifndef CORE_IMAGE_H
#define CORE_IMAGE_H

#include <pthread.h>
#include <stdbool.h>

#include "core/pages.h"
#include "core/space.h"
#include "format/bat.h"
#include "format/header.h"
#include "format/ident.h"
#include "format/locator.h"
#include "format/metadata.h"
#include "format/region.h"
#include "io/file.h"
#include "io/io.h"
#include "log/overlay.h"
#include "util/lines.h"
#include "util/fail.h"

/* Header sequence numbers that are not used for beginning anything: what has begun can also end. */
#define HEADER_NUMBERS_KEPT 16

/* One of the two copies of a structure. */
struct copy_state {
    bool valid;
    bool in_use;
    bool is_damaged;          /* its bytes are wrong: it may have been torn while it was written */
    uint64_t sequence_number; /* headers only */
    char *problem;            /* owned; why it is not valid */
};

/* What the scan of the log found. */
struct log_facts {
    uint32_t state; /* VHDX_LOG_... */
    uint32_t entries;
    uint64_t first_sequence_number, last_sequence_number;
};

struct image {
    const struct problem_sink *sink; /* borrowed; set: broken rules are reported (check) */
    struct vhdx_io io;
    char *path;          /* owned; as given, NULL for a custom file */
    bool has_id;
    struct file_id id;
    uint64_t file_size;  /* bytes, as it is */
    uint64_t size;       /* bytes, as it is after the replay of the log; atomic: image_size() */

    char *creator;       /* owned */
    struct header header;
    int header_copy;     /* the one in use */
    struct copy_state headers[2], region_tables[2];
    struct log_facts log;
    struct overlay *overlay; /* owned; NULL when there is nothing to replay */

    struct region_table *regions; /* owned */
    struct metadata metadata;
    struct geometry geometry;
    struct vhdx_key_value *locator; /* owned; differencing only */
    uint32_t locator_count;
    char *locator_text;           /* owned; what the pairs point into */
    struct guid linkage[2];       /* parent_linkage and parent_linkage2; zero: matches nothing */

    struct pages bat;     /* PAGE_SIZE of the BAT each */
    struct pages bitmaps; /* PAGE_SIZE of a sector bitmap each, chunk after chunk */

    pthread_mutex_t claim_lock; /* guards the next two */
    struct space space;          /* claimed by the log, the regions and the blocks */
    uint64_t *bat_claimed;      /* owned; bit i: the blocks of BAT page i own their space */

    struct writer *writer;       /* core/writer's; NULL: read-only */
    struct lines notes;
};

/* The size of the file, which grows while the image is written to. */
static inline uint64_t image_size(const struct image *img)
{
    return __atomic_load_n(&img->size, __ATOMIC_ACQUIRE);
}

/* Opens the file at path without a lock and reads its identifier and headers. */
int image_open_path(const char *path, bool writable, struct image **ret, struct vhdx_error *err);

/* The same, read-only, through a layer over the file: open() makes *io, which is the file, what the
   image is to read from, or closes it and fails. It is called before anything is read and may lock
   the file; image_lock() then does nothing. */
struct image_layer {
    int (*open)(struct vhdx_io *io, void *opaque, struct vhdx_error *err);
    void *opaque;
};

int image_open_layered(const char *path, const struct image_layer *layer, struct image **ret,
                       struct vhdx_error *err);

/* The same over a custom file, which belongs to the image from now on, also after a failure. */
int image_open_io(const struct vhdx_io *io, struct image **ret, struct vhdx_error *err);

/*
 * The same for checking: rules that the identifier, the headers and, by image_load(), the rest
 * break are reported to the sink, and what can be lived with is. The sink and the file stay the
 * caller's. VHDX_E_NOT_VHDX if neither identifier nor headers are those of an image.
 */
int image_open_checked(const struct vhdx_io *io, const struct problem_sink *sink,
                       struct image **ret, struct vhdx_error *err);

/* Takes the lock of a reader and reads the headers again, which may have changed meanwhile. Does
   nothing for a custom file. */
int image_lock(struct image *img, struct vhdx_error *err);

/* Reads and verifies the rest. */
int image_load(struct image *img, struct vhdx_error *err);

/* NULL is fine. */
void image_close(struct image *img);

/*
 * Reads from the file as it is after the replay of the log. VHDX_E_TRUNCATED past its end, naming
 * what (an object, for the message) was to be read.
 */
int image_pread(const struct image *img, const char *what, void *buf, size_t len, uint64_t offset,
                struct vhdx_error *err);

/* How the image is called in messages. */
const char *image_name(const struct image *img);

/* VHDX_TYPE_... */
uint32_t image_type(const struct image *img);

/* The value of a key of the parent locator, or NULL. */
const char *image_locator_value(const struct image *img, const char *key);

/* Where the BAT lies. */
static inline const struct region *image_bat_region(const struct image *img)
{
    return &img->regions->regions[img->regions->bat];
}

static inline const struct region *image_metadata_region(const struct image *img)
{
    return &img->regions->regions[img->regions->metadata];
}

/* Does a range of the file touch the log or a region? */
bool image_is_on_region(const struct image *img, uint64_t offset, uint64_t len);

/* space_claim() for a block that begins in the file. The log or a region may lie beyond the end of
   the file that cuts it off: they would be in each other's way as soon as the file grew again. */
bool image_claim(struct image *img, uint64_t offset, uint64_t len);

#endif
