/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * vhdx info for people. The first lines are those of qemu-img info, word for word, for scripts that
 * look for them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "info.h"
#include "output.h"
#include "words.h"

static void print_field(const char *name, const char *text)
{
    printf("    %s: ", name);
    print_text(stdout, text);
    putchar('\n');
}

/* The part that qemu-img has too. */
static void print_summary(const struct info_facts *facts)
{
    char size[HUMAN_SIZE_TEXT];
    const char *backing = info_backing_name(facts);

    printf("image: ");
    print_text(stdout, facts->path);
    printf("\nfile format: vhdx\n");
    printf("virtual size: %s (%" PRIu64 " bytes)\n", human_size(facts->info.virtual_size, size),
           facts->info.virtual_size);
    printf("disk size: %s\n", human_size(facts->disk_usage, size));
    if (facts->info.log_state == VHDX_LOG_DIRTY)
        printf("cleanly shut down: no\n");
    printf("cluster_size: %" PRIu32 "\n", facts->info.block_size);
    if (!backing)
        return;
    printf("backing file: ");
    print_text(stdout, backing);
    if (info_parent_is_open(facts) && facts->parent.path) {
        printf(" (actual path: ");
        print_text(stdout, facts->parent.path);
        putchar(')');
    }
    putchar('\n');
}

static void print_truncation(const struct info_facts *facts)
{
    if (!info_is_truncated(facts))
        return;
    printf("truncated: the file has %" PRIu64 " bytes of %" PRIu64 ", %" PRIu64 " block%s lost",
           facts->info.file_size, facts->stats.required_file_size, facts->stats.lost_blocks,
           facts->stats.lost_blocks == 1 ? "" : "s");
    if (facts->stats.cut_blocks > 0)
        printf(", %" PRIu64 " cut short", facts->stats.cut_blocks);
    putchar('\n');
}

static void print_identity(const struct vhdx_info *info)
{
    char size[HUMAN_SIZE_TEXT];

    print_field("type", word_of_type(info->type));
    printf("    file size: %s (%" PRIu64 " bytes)\n", human_size(info->file_size, size),
           info->file_size);
    printf("    block size: %s\n", human_size(info->block_size, size));
    printf("    logical sector size: %" PRIu32 "\n", info->logical_sector_size);
    printf("    physical sector size: %" PRIu32 "\n", info->physical_sector_size);
    if (info->creator && info->creator[0] != '\0')
        print_field("creator", info->creator);
    print_field("virtual disk id", info->virtual_disk_id);
    print_field("file write guid", info->file_write_guid);
    print_field("data write guid", info->data_write_guid);
    print_field("log guid", info->log_guid);
}

/* Both copies of a structure: which is used, which is bad and why. */
static void print_copies(const char *name, const struct vhdx_copy_info copies[2], bool numbered)
{
    for (int i = 0; i < 2; i++) {
        printf("    %s %d: %s", name, i + 1, copies[i].valid ? "valid" : "bad");
        if (copies[i].valid && numbered)
            printf(", sequence number %" PRIu64, copies[i].sequence_number);
        if (copies[i].in_use)
            printf(", in use");
        if (copies[i].problem) {
            printf(": ");
            print_text(stdout, copies[i].problem);
        }
        putchar('\n');
    }
}

static void print_layout(const struct vhdx_info *info)
{
    printf("    log: %s", word_of_log_state(info->log_state));
    if (info->log_state == VHDX_LOG_DIRTY)
        printf(", %" PRIu32 " entr%s with sequence numbers %" PRIu64 " to %" PRIu64,
               info->log_entries, info->log_entries == 1 ? "y" : "ies",
               info->log_first_sequence_number, info->log_last_sequence_number);
    printf("\n    log region: offset %" PRIu64 ", length %" PRIu64 "\n", info->log_offset,
           info->log_length);
    printf("    metadata region: offset %" PRIu64 ", length %" PRIu64 "\n", info->metadata_offset,
           info->metadata_length);
    printf("    BAT region: offset %" PRIu64 ", length %" PRIu64 ", %" PRIu64 " entries\n",
           info->bat_offset, info->bat_length, info->bat_entries);
}

static void print_locator(const struct vhdx_info *info)
{
    if (info->locator_count == 0)
        return;
    printf("    parent locator:\n");
    for (size_t i = 0; i < info->locator_count; i++) {
        printf("        ");
        print_text(stdout, info->locator[i].key);
        printf(": ");
        print_text(stdout, info->locator[i].value);
        putchar('\n');
    }
}

/* Why a parent is not, or should not be, used; and what was tried to find it. */
static void print_trouble(const struct vhdx_link *link)
{
    printf("%s", word_of_link_status(link->status));
    if (link->problem) {
        printf(": ");
        print_text(stdout, link->problem);
    }
    putchar('\n');
    for (size_t i = 0; i < link->steps_count; i++) {
        printf("        tried: ");
        print_text(stdout, link->steps[i]);
        putchar('\n');
    }
}

static void print_parent(const struct info_facts *facts)
{
    if (facts->info.type != VHDX_TYPE_DIFFERENCING)
        return;
    if (facts->parent_ignored) {
        print_field("parent", "not looked for (--no-parent)");
        return;
    }
    if (info_parent_is_open(facts) && facts->parent.path) {
        printf("    parent: ");
        print_text(stdout, facts->parent.path);
        printf(" (%s)\n", phrase_of_found_by(facts->parent.found_by));
        if (facts->parent.status != VHDX_LINK_OK) {
            printf("    parent accepted although: ");
            print_trouble(&facts->parent);
        }
    }
    printf("    images in the chain: %" PRIu32 "\n", facts->info.chain_length);
    if (facts->chain_ends_early) {
        printf("    %s: ", facts->end.depth <= 1 ? "parent" : "next parent");
        print_trouble(&facts->end);
    }
}

static void print_stats(const struct vhdx_stats *stats)
{
    printf("    payload blocks: %" PRIu64 "\n", stats->payload_blocks);
    printf("        not present: %" PRIu64 "\n", stats->not_present);
    printf("        undefined: %" PRIu64 "\n", stats->undefined);
    printf("        zero: %" PRIu64 "\n", stats->zero);
    printf("        unmapped: %" PRIu64 "\n", stats->unmapped);
    printf("        fully present: %" PRIu64 "\n", stats->fully_present);
    printf("        partially present: %" PRIu64 "\n", stats->partially_present);
    printf("    sector bitmap blocks: %" PRIu64 "\n", stats->bitmap_blocks);
    printf("    anchored blocks: %" PRIu64 "\n", stats->anchored_blocks);
    printf("    lost blocks: %" PRIu64 "\n", stats->lost_blocks);
    printf("    cut blocks: %" PRIu64 "\n", stats->cut_blocks);
    printf("    required file size: %" PRIu64 "\n", stats->required_file_size);
}

static void print_notes(const struct info_facts *facts)
{
    for (size_t i = 0; i < facts->info.notes_count; i++) {
        printf("note: ");
        print_text(stdout, facts->info.notes[i]);
        putchar('\n');
    }
    if (facts->stats_problem) {
        printf("note: blocks cannot be counted: ");
        print_text(stdout, facts->stats_problem);
        putchar('\n');
    }
}

void info_print_text(const struct info_facts *facts)
{
    print_summary(facts);
    print_truncation(facts);
    printf("Format specific information:\n");
    print_identity(&facts->info);
    print_copies("header", facts->info.headers, true);
    print_copies("region table", facts->info.region_tables, false);
    print_layout(&facts->info);
    print_locator(&facts->info);
    print_parent(facts);
    if (facts->stats_wanted && facts->stats_known)
        print_stats(&facts->stats);
    print_notes(facts);
}
