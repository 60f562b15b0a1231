/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The parents of an image, and what a profile asks for; see check.h. */

#include <inttypes.h>
#include <stdlib.h>

#include "core/chain.h"
#include "core/read.h"
#include "core/table.h"
#include "ops/check.h"
#include "util/cleanup.h"

/* ---- Parents -------------------------------------------------------------------------------- */

static enum vhdx_problem link_problem(const struct chain *chain, uint32_t depth)
{
    const struct chain_link *link = &chain->links[depth];
    const struct image *child = chain->images[depth - 1];

    if (link->finding == VHDX_P_PARENT_CYCLE || link->finding == VHDX_P_PARENT_SECTOR_SIZE)
        return link->finding;
    if (link->status == VHDX_LINK_MISSING)
        return link->finding != 0 ? link->finding : VHDX_P_PARENT_MISSING;
    if (link->status != VHDX_LINK_MISMATCH)
        return VHDX_P_PARENT_BROKEN;
    /* With another GUID, but of the same disk: it is the parent, and has changed. */
    if (depth < chain->count && guid_equal(&chain->images[depth]->metadata.virtual_disk_id,
                                           &child->metadata.virtual_disk_id))
        return VHDX_P_PARENT_WRITTEN;
    return VHDX_P_PARENT_OTHER;
}

/* What says nothing of the file: it could not be looked at now. */
static bool is_no_finding(int code)
{
    return code == VHDX_E_LOCKED || code == VHDX_E_SYSTEM || code == VHDX_E_NOMEM;
}

/* A parent's tables are read to their end, as those who read all of the disk would; the first thing
   that is wrong is told. */
static int check_parent(struct check *c, struct image *parent, struct vhdx_error *err)
{
    const struct geometry *g = &parent->geometry;
    struct table_window window = { 0 };
    struct vhdx_error what;
    uint64_t entry, bitmap, number;
    int r = 0;

    for (uint64_t i = 0; i < g->bat_entries && r == 0; i++) {
        r = table_bat_entry(parent, &window, i, &entry, &what);
        if (r == 0 && bat_is_present(entry) && bat_file_offset(entry) >= image_size(parent))
            r = fail(&what, VHDX_E_TRUNCATED, 0, "BAT entry %" PRIu64 ": file offset is %#" PRIx64
                     ", but the file ends at %#" PRIx64, i, bat_file_offset(entry),
                     image_size(parent));
        if (r == 0 && g->has_parent && bat_state(entry) == BLOCK_PARTIALLY_PRESENT &&
            !bat_index_is_bitmap(g, i, &number))
            r = table_bitmap_entry(parent, &window, number, &bitmap, &what);
    }
    table_window_end(&window);
    if (r < 0 && is_no_finding(-r)) {
        fail_prefix(&what, "%s: ", parent->path ? parent->path : "parent");
        if (err)
            *err = what;
        return r;
    }
    if (r < 0)
        check_found(c, VHDX_P_PARENT_BROKEN, VHDX_OFFSET_NONE, 0, 0, "%s: %s",
                    parent->path ? parent->path : "parent", what.message);
    return 0;
}

int check_chain(struct check *c, struct vhdx_error *err)
{
    static const struct vhdx_open_options defaults = VHDX_OPEN_OPTIONS_INIT;
    const struct vhdx_open_options *opts =
        c->opts->open_options ? c->opts->open_options : &defaults;
    uint32_t flags = VHDX_OPEN_PARTIAL_CHAIN | VHDX_OPEN_ANY_PARENT |
                     (c->opts->flags & VHDX_CHECK_NO_LOCK ? VHDX_OPEN_NO_LOCK : 0);
    CLEANUP_FREE struct chain *chain = calloc(1, sizeof *chain);

    if (!chain)
        return fail_nomem(err);
    chain->images[0] = c->image;
    chain->count = chain->link_count = 1;
    int r = chain_add_parents(chain, flags, opts, err);
    for (uint32_t depth = 1; r == 0 && depth < chain->link_count; depth++) {
        const struct chain_link *link = &chain->links[depth];
        if (link->status == VHDX_LINK_OK) {
            r = check_parent(c, chain->images[depth], err);
            continue;
        }
        if (link->status == VHDX_LINK_BROKEN && is_no_finding(link->code)) {
            r = fail(err, link->code, VHDX_OFFSET_NONE, "%s",
                     link->problem ? link->problem : "the parent cannot be looked at");
            continue;
        }
        enum vhdx_problem problem = link_problem(chain, depth);
        check_found(c, problem, VHDX_OFFSET_NONE, 0, 0, "%s%s%s",
                    link->path && problem == VHDX_P_PARENT_WRITTEN ? link->path : "",
                    link->path && problem == VHDX_P_PARENT_WRITTEN ? ": " : "",
                    problem == VHDX_P_PARENT_WRITTEN
                        ? "was written to after its child was made"
                        : link->problem ? link->problem : "the parent cannot be used");
    }
    chain->images[0] = NULL; /* the check's own */
    chain_close(chain);
    return r;
}

/* ---- Profiles ------------------------------------------------------------------------------- */

static void check_sparse(struct check *c)
{
    if (!c->holes)
        return;
    for (uint64_t at = 0; at < c->result.file_size;) {
        uint64_t data = file_next_data(c->holes, at), hole = file_next_hole(c->holes, at);
        if (data > at) {
            check_found(c, VHDX_P_PROFILE_SPARSE, at, 0, 0,
                        "file is sparse: it has a hole at %" PRIu64, at);
            return;
        }
        at = hole;
    }
}

/* Does the disk begin as ext4 does, without a partition table? */
static int check_ext4(struct check *c, struct vhdx_error *err)
{
    static const uint8_t magic[2] = { 0x53, 0xef }; /* at 56 in the super block at 1024 */
    CLEANUP_FREE struct chain *chain = calloc(1, sizeof *chain);
    uint8_t found[2] = { 0, 0 };

    if (!chain)
        return fail_nomem(err);
    chain->images[0] = c->image;
    chain->count = 1;
    /* The check has claimed the blocks' space already. */
    memset(c->image->bat_claimed, 0xff, (c->image->bat.count / 64 + 1) * sizeof(uint64_t));
    if (c->image->geometry.virtual_size >= 2048)
        chain_read(chain, found, sizeof found, 1024 + 56, NULL);
    if (memcmp(found, magic, sizeof magic) != 0)
        check_found(c, VHDX_P_PROFILE_WSL_FILE_SYSTEM, VHDX_OFFSET_NONE, 0, 0,
                    "disk: does not begin with an ext4 file system");
    return 0;
}

int check_profile(struct check *c, struct vhdx_error *err)
{
    const struct metadata *m = &c->image->metadata;

    if (c->opts->profile == VHDX_PROFILE_NONE)
        return 0;
    if (c->opts->profile == VHDX_PROFILE_AZURE) {
        check_found(c, VHDX_P_PROFILE_AZURE_FORMAT, VHDX_OFFSET_NONE, 0, 0,
                    "format is VHDX, must be fixed VHD");
        if (!is_aligned(m->virtual_size, MIB))
            check_found(c, VHDX_P_PROFILE_AZURE_SIZE, VHDX_OFFSET_NONE, 0, 0,
                        "virtual disk size is %" PRIu64 ", must be a multiple of 1 MiB",
                        m->virtual_size);
        return 0;
    }
    check_sparse(c);
    if (c->opts->profile != VHDX_PROFILE_WSL)
        return 0;
    if (m->has_parent) {
        check_found(c, VHDX_P_PROFILE_WSL_CHAIN, VHDX_OFFSET_NONE, 0, 0,
                    "image has a parent, must stand alone");
        return 0;
    }
    return check_ext4(c, err);
}
