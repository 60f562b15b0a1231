/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * The files of a mounted image: one folder with disk, p1, p2, ... and info.json. Each but the last
 * is a view: a stretch of the disk. The folder never changes, except that the partitions appear
 * once they are known.
 */
#ifndef VHDX_FUSE_TREE_H
#define VHDX_FUSE_TREE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <vhdx.h>

#include "partitions.h"
#include "usage.h"

/* Inode numbers. Those of partitions are their numbers added to INODE_PARTITIONS. */
#define INODE_ROOT 1 /* FUSE demands it */
#define INODE_DISK 2
#define INODE_INFO 3
#define INODE_PARTITIONS 16

#define TREE_NAME 16 /* "p4294967295" and the NUL */

struct tree {
    struct vhdx *v;
    bool writable;
    const char *info;     /* content of info.json; NULL: there is none */
    size_t info_len;
    struct timespec born; /* when the disk was changed last before it was mounted */
    _Atomic(int64_t) changed_seconds; /* when it was changed last since; 0: not at all */
    _Atomic(uint64_t) changes;        /* how often */
    _Atomic(const struct partition_table *) partitions; /* NULL until they are known */
    pthread_mutex_t usage_lock;       /* of the next two */
    struct usage disk_usage;
    struct usage partition_usage[PARTITIONS_MAX]; /* by place in the table */
};

/* A file of the folder. */
struct tree_file {
    uint64_t inode;
    char name[TREE_NAME];
    bool is_view;            /* else it is info.json */
    uint64_t offset, length; /* of a view: in the disk; else offset is 0 */
    struct usage *usage;     /* of a view */
};

/* The files one by one, from index 0. False: that was the last one. */
bool tree_file_at(struct tree *tree, size_t index, struct tree_file *ret);

/* A file by its name or its inode number. False: there is none. */
bool tree_find_name(struct tree *tree, const char *name, struct tree_file *ret);
bool tree_find_inode(struct tree *tree, uint64_t inode, struct tree_file *ret);

/* The attributes of a file, or with NULL of the folder. */
void tree_stat(struct tree *tree, const struct tree_file *file, struct stat *ret);

/* To be called after each change of the disk. */
void tree_note_change(struct tree *tree);

#endif /* VHDX_FUSE_TREE_H */
