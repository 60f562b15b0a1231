/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Reading partition tables with libblkid, which reads through a file descriptor only. The one it
 * gets here is that of `disk` in the image's own mount. The other ways were worse: a memfd with the
 * first and last MiB would not have the logical partitions of an MBR, whose tables are a list all
 * over the disk, nor the superblocks, which file systems keep in all kinds of places; a temporary
 * raw copy may be terabytes. Through the mount libblkid reads what it wants, where it wants, and
 * nothing is copied. serve.c does it in a thread of its own while others serve the reads.
 */
#include "partitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <blkid.h>

#include "scope.h"

#define TABLE_UNIT 512 /* libblkid's unit of partitions, whatever the sectors are */

static void free_probe(blkid_probe *probe)
{
    blkid_free_probe(*probe);
}

/* A probe of a part of fd. NULL: out of memory, or fd cannot be read. */
static blkid_probe new_probe(int fd, uint64_t offset, uint64_t length, uint32_t sector_size)
{
    blkid_probe probe = blkid_new_probe();

    if (probe && (blkid_probe_set_device(probe, fd, (blkid_loff_t)offset,
                                         (blkid_loff_t)length) != 0 ||
                  blkid_probe_set_sectorsize(probe, sector_size) != 0)) {
        blkid_free_probe(probe);
        probe = NULL;
    }
    return probe;
}

static void copy_value(blkid_probe probe, const char *name, char *ret, size_t size)
{
    const char *value;

    if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0)
        snprintf(ret, size, "%s", value);
}

/* What a part of the disk holds. Nothing, or two things at once, is no error. */
static bool read_content(int fd, uint64_t offset, uint64_t length, uint32_t sector_size,
                         struct content *ret)
{
    SCOPED(free_probe) blkid_probe probe = new_probe(fd, offset, length, sector_size);

    if (!probe)
        return false;
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
    if (blkid_do_safeprobe(probe) == -1)
        return false;
    copy_value(probe, "TYPE", ret->type, sizeof(ret->type));
    copy_value(probe, "LABEL", ret->label, sizeof(ret->label));
    return true;
}

/* Takes a partition into the table if there is something of it to show. */
static void add(struct partition_table *table, blkid_partition partition, uint64_t disk_size)
{
    uint64_t start = (uint64_t)blkid_partition_get_start(partition);
    uint64_t size = (uint64_t)blkid_partition_get_size(partition);
    int number = blkid_partition_get_partno(partition);

    if (blkid_partition_is_extended(partition) || number < 1 || size == 0 ||
        start >= disk_size / TABLE_UNIT || table->count == PARTITIONS_MAX)
        return;
    for (size_t i = 0; i < table->count; i++)
        if (table->items[i].number == (uint32_t)number)
            return;
    uint64_t offset = start * TABLE_UNIT, rest = disk_size - offset;
    struct partition *p = &table->items[table->count++];
    p->number = (uint32_t)number;
    p->offset = offset;
    p->length = size < rest / TABLE_UNIT ? size * TABLE_UNIT : rest;
}

static int compare_numbers(const void *one, const void *other)
{
    const struct partition *a = one, *b = other;

    return (a->number > b->number) - (a->number < b->number);
}

static bool read_table(int fd, uint64_t disk_size, uint32_t sector_size,
                       struct partition_table *table)
{
    SCOPED(free_probe) blkid_probe probe = new_probe(fd, 0, disk_size, sector_size);

    if (!probe)
        return false;
    blkid_probe_enable_superblocks(probe, 0);
    blkid_probe_enable_partitions(probe, 1);
    if (blkid_do_safeprobe(probe) == -1)
        return false;
    copy_value(probe, "PTTYPE", table->scheme, sizeof(table->scheme));

    blkid_partlist list = blkid_probe_get_partitions(probe);
    int count = list ? blkid_partlist_numof_partitions(list) : 0;
    for (int i = 0; i < count; i++)
        add(table, blkid_partlist_get_partition(list, i), disk_size);
    qsort(table->items, table->count, sizeof(table->items[0]), compare_numbers);
    return true;
}

bool partitions_supported(void)
{
    return true;
}

bool partitions_read(int fd, uint64_t disk_size, uint32_t sector_size,
                     struct partition_table *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!read_table(fd, disk_size, sector_size, ret))
        return false;
    if (ret->count == 0)
        return read_content(fd, 0, disk_size, sector_size, &ret->content);
    for (size_t i = 0; i < ret->count; i++) {
        struct partition *p = &ret->items[i];
        if (!read_content(fd, p->offset, p->length, sector_size, &p->content))
            return false;
    }
    return true;
}
