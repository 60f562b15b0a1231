/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The table of files. The first entries are fixed, the partitions follow: with a few hundred files
 * at most, looking through all of them is as good as any index.
 */
#include "tree.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STAT_UNIT 512 /* of st_blocks: stat(2) */

static void fill_disk(struct tree *tree, struct tree_file *ret)
{
    *ret = (struct tree_file){
        .inode = INODE_DISK,
        .name = "disk",
        .is_view = true,
        .length = vhdx_size(tree->v),
        .usage = &tree->disk_usage,
    };
}

static void fill_info(const struct tree *tree, struct tree_file *ret)
{
    *ret = (struct tree_file){
        .inode = INODE_INFO,
        .name = "info.json",
        .length = tree->info_len,
    };
}

static void fill_partition(struct tree *tree, const struct partition *p, size_t place,
                           struct tree_file *ret)
{
    *ret = (struct tree_file){
        .inode = INODE_PARTITIONS + p->number,
        .is_view = true,
        .offset = p->offset,
        .length = p->length,
        .usage = &tree->partition_usage[place],
    };
    snprintf(ret->name, sizeof(ret->name), "p%u", (unsigned)p->number);
}

bool tree_file_at(struct tree *tree, size_t index, struct tree_file *ret)
{
    const struct partition_table *table =
        atomic_load_explicit(&tree->partitions, memory_order_acquire);

    if (index == 0) {
        fill_disk(tree, ret);
        return true;
    }
    index--;
    if (tree->info) {
        if (index == 0) {
            fill_info(tree, ret);
            return true;
        }
        index--;
    }
    if (!table || index >= table->count)
        return false;
    fill_partition(tree, &table->items[index], index, ret);
    return true;
}

bool tree_find_name(struct tree *tree, const char *name, struct tree_file *ret)
{
    for (size_t i = 0; tree_file_at(tree, i, ret); i++)
        if (strcmp(ret->name, name) == 0)
            return true;
    return false;
}

bool tree_find_inode(struct tree *tree, uint64_t inode, struct tree_file *ret)
{
    if (inode == INODE_DISK) { /* the one that matters */
        fill_disk(tree, ret);
        return true;
    }
    for (size_t i = 0; tree_file_at(tree, i, ret); i++)
        if (ret->inode == inode)
            return true;
    return false;
}

static uint64_t stored_bytes(struct tree *tree, const struct tree_file *file)
{
    uint64_t bytes;

    if (!file->is_view)
        return file->length;
    pthread_mutex_lock(&tree->usage_lock);
    bytes = usage_bytes(file->usage, tree->v, file->offset, file->length,
                        atomic_load(&tree->changes));
    pthread_mutex_unlock(&tree->usage_lock);
    return bytes;
}

void tree_stat(struct tree *tree, const struct tree_file *file, struct stat *ret)
{
    int64_t changed = atomic_load(&tree->changed_seconds);

    memset(ret, 0, sizeof(*ret));
    ret->st_uid = getuid();
    ret->st_gid = getgid();
    ret->st_mtim = tree->born;
    if (changed != 0)
        ret->st_mtim = (struct timespec){ .tv_sec = changed };
    ret->st_ctim = ret->st_atim = ret->st_mtim;
    if (!file) {
        ret->st_ino = INODE_ROOT;
        ret->st_mode = S_IFDIR | 0555;
        ret->st_nlink = 2;
        return;
    }
    ret->st_ino = file->inode;
    ret->st_mode = S_IFREG | (tree->writable && file->is_view ? 0644 : 0444);
    ret->st_nlink = 1;
    ret->st_size = (off_t)file->length;
    ret->st_blocks = (blkcnt_t)((stored_bytes(tree, file) + STAT_UNIT - 1) / STAT_UNIT);
    ret->st_blksize = 4096;
}

void tree_note_change(struct tree *tree)
{
    atomic_store(&tree->changed_seconds, (int64_t)time(NULL));
    atomic_fetch_add(&tree->changes, 1);
}
