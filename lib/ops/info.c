/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Facts about an image and its chain; see info.h. */

#include "ops/info.h"

#include "core/table.h"
#include "core/writer.h"

static struct vhdx_copy_info copy_info(const struct copy_state *c)
{
    return (struct vhdx_copy_info){ .valid = c->valid, .in_use = c->in_use,
                                    .sequence_number = c->sequence_number,
                                    .problem = c->valid ? NULL : c->problem };
}

static void get_headers(const struct image *img, struct vhdx_info *ret)
{
    for (int i = 0; i < 2; i++)
        ret->headers[i] = copy_info(&img->headers[i]);
    guid_format(&img->header.file_write_guid, ret->file_write_guid);
    guid_format(&img->header.data_write_guid, ret->data_write_guid);
    guid_format(&img->header.log_guid, ret->log_guid);
    ret->log_offset = img->header.log_offset;
    ret->log_length = img->header.log_length;
}

void info_get(const struct vhdx *v, struct vhdx_info *ret)
{
    struct image *img = v->chain.images[0];
    const struct region *bat = image_bat_region(img), *metadata = image_metadata_region(img);

    *ret = (struct vhdx_info){
        .type = image_type(img),
        .block_size = img->metadata.block_size,
        .logical_sector_size = img->metadata.logical_sector_size,
        .physical_sector_size = img->metadata.physical_sector_size,
        .virtual_size = img->metadata.virtual_size,
        .file_size = img->writer ? image_size(img) : img->file_size,
        .path = img->path,
        .creator = img->creator,
        .log_state = img->log.state,
        .log_entries = img->log.entries,
        .log_first_sequence_number = img->log.first_sequence_number,
        .log_last_sequence_number = img->log.last_sequence_number,
        .metadata_offset = metadata->offset,
        .metadata_length = metadata->length,
        .bat_offset = bat->offset,
        .bat_length = bat->length,
        .bat_entries = img->geometry.bat_entries,
        .chain_length = v->chain.count,
        .locator = img->locator,
        .locator_count = img->locator_count,
        .notes = (const char *const *)img->notes.items,
        .notes_count = img->notes.count,
    };
    for (int i = 0; i < 2; i++)
        ret->region_tables[i] = copy_info(&img->region_tables[i]);
    guid_format(&img->metadata.virtual_disk_id, ret->virtual_disk_id);
    writer_lock_headers(img);
    get_headers(img, ret);
    writer_unlock_headers(img);
}

static void count_payload(struct vhdx_stats *s, uint64_t entry)
{
    switch (bat_state(entry)) {
    case BLOCK_NOT_PRESENT: s->not_present++; break;
    case BLOCK_UNDEFINED: s->undefined++; break;
    case BLOCK_ZERO: s->zero++; break;
    case BLOCK_FULLY_PRESENT: s->fully_present++; break;
    case BLOCK_PARTIALLY_PRESENT: s->partially_present++; break;
    default: s->unmapped++; break;
    }
}

/* Where a block ends in the file: the virtual disk's last one only as far as the disk reaches. */
static uint64_t block_end(const struct geometry *g, bool is_bitmap, uint64_t number,
                          uint64_t entry)
{
    uint64_t len = BITMAP_BLOCK_SIZE;

    if (!is_bitmap)
        len = min_u64(UINT64_C(1) << g->block_shift,
                      g->virtual_size - (number << g->block_shift));
    return bat_file_offset(entry) + len;
}

static void count_entry(const struct image *img, uint64_t index, uint64_t entry,
                        struct vhdx_stats *s)
{
    uint64_t number;
    bool is_bitmap = bat_index_is_bitmap(&img->geometry, index, &number);

    if (is_bitmap)
        s->bitmap_blocks += bat_is_present(entry);
    else if (number < img->geometry.payload_blocks)
        count_payload(s, entry);
    else
        return; /* a differencing BAT is filled up to whole chunks */
    s->anchored_blocks += !is_bitmap && bat_is_anchor(entry);
    if (!bat_is_present(entry))
        return;

    uint64_t end = block_end(&img->geometry, is_bitmap, number, entry);
    s->required_file_size = max_u64(s->required_file_size, end);
    if (bat_file_offset(entry) >= image_size(img))
        s->lost_blocks++;
    else if (end > image_size(img))
        s->cut_blocks++;
}

int info_stats(struct vhdx *v, struct vhdx_stats *ret, struct vhdx_error *err)
{
    struct image *img = v->chain.images[0];
    struct table_window window = { 0 };
    struct vhdx_stats s = { .payload_blocks = img->geometry.payload_blocks };
    int r = 0;

    writer_lock_headers(img);
    if (img->header.log_length > 0)
        s.required_file_size = img->header.log_offset + img->header.log_length;
    writer_unlock_headers(img);
    for (uint32_t i = 0; i < img->regions->count; i++) {
        const struct region *g = &img->regions->regions[i];
        s.required_file_size = max_u64(s.required_file_size, g->offset + g->length);
    }
    for (uint64_t i = 0; i < img->geometry.bat_entries && r == 0; i++) {
        uint64_t entry;
        r = table_bat_entry(img, &window, i, &entry, err);
        if (r == 0)
            count_entry(img, i, entry, &s);
    }
    table_window_end(&window);
    if (r < 0)
        fail_prefix(err, "%s: ", image_name(img));
    else
        *ret = s;
    return r;
}

void info_link(const struct vhdx *v, uint32_t depth, struct vhdx_link *ret)
{
    const struct chain_link *link = &v->chain.links[depth];

    *ret = (struct vhdx_link){
        .depth = depth,
        .status = link->status,
        .found_by = link->found_by,
        .path = link->path,
        .problem = link->problem,
        .steps = (const char *const *)link->steps.items,
        .steps_count = link->steps.count,
    };
    if (depth > 0)
        guid_format(&link->wanted, ret->wanted_guid);
    if (depth == v->chain.count)
        return;

    struct image *img = v->chain.images[depth];
    writer_lock_headers(img);
    guid_format(&img->header.data_write_guid, ret->data_write_guid);
    writer_unlock_headers(img);
    ret->type = image_type(img);
    ret->block_size = img->metadata.block_size;
    ret->logical_sector_size = img->metadata.logical_sector_size;
    ret->log_state = img->log.state;
    ret->virtual_size = img->metadata.virtual_size;
    ret->file_size = img->file_size;
}
