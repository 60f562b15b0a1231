/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Commands for what libblkid recognises. Where a program without root's rights does it, that is
 * named; the rest is the kernel's, through a loop device.
 */
#include "advice.h"

#include <stdio.h>
#include <string.h>

#include "output.h"

/* How the files in some content are reached. In a command, %s is "-o ro " or nothing, or for
   mount "ro," or nothing. */
struct way {
    const char *type;    /* blkid's TYPE */
    const char *before;  /* the command up to where options stand; NULL: mount -o loop */
    const char *read_only; /* the option, for a mount that cannot be written */
    const char *after;   /* what follows the file; NULL: " FOLDER" */
};

static const struct way ways[] = {
    { "ext2", "fuse2fs ", "-o ro,fakeroot ", NULL },
    { "ext3", "fuse2fs ", "-o ro,fakeroot ", NULL },
    { "ext4", "fuse2fs ", "-o ro,fakeroot ", NULL },
    { "ntfs", "ntfs-3g ", "-o ro ", NULL },
    { "xfs", NULL, "ro,norecovery,", NULL },
    { "crypto_LUKS", "cryptsetup open ", "--readonly ", " NAME" },
    { "BitLocker", "cryptsetup open --type bitlk ", "--readonly ", " NAME" },
    { "LVM2_member", "losetup --find --show ", "--read-only ", "" },
    { "linux_raid_member", "losetup --find --show ", "--read-only ", "" },
};

static const struct way *find_way(const char *type)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(ways[i].type, type) == 0)
            return &ways[i];
    return NULL;
}

/* A word for the shell: in single quotes if it has anything special. */
static void print_word(const char *dir, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+,:@%";
    bool quoted = dir[strspn(dir, plain)] != '\0';

    if (quoted)
        putchar('\'');
    for (; *dir != '\0'; dir++) {
        if (*dir == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*dir);
    }
    printf("/%s%s", name, quoted ? "'" : "");
}

static void print_command(const char *dir, const char *name, const char *type, bool writable,
                          bool for_root)
{
    const struct way *way = find_way(type);

    if (strcmp(type, "swap") == 0)
        return;
    fputs("    ", stdout);
    if (way && way->before) {
        printf("%s%s", way->before, writable ? "" : way->read_only);
        print_word(dir, name);
        puts(way->after ? way->after : " FOLDER");
        return;
    }
    printf("mount -o %sloop ", writable ? "" : way ? way->read_only : "ro,");
    print_word(dir, name);
    printf(" FOLDER%s\n", for_root ? "" : "    (by root, who needs --allow-other)");
}

static void print_file(const char *dir, const char *name, uint64_t size,
                       const struct content *content, bool writable, bool for_root)
{
    char text[HUMAN_SIZE_TEXT];

    print_text(stdout, dir);
    printf("/%s: %s", name, human_size(size, text));
    if (content->type[0] != '\0')
        printf(", %s", content->type);
    if (content->label[0] != '\0') {
        fputs(" \"", stdout);
        print_text(stdout, content->label);
        putchar('"');
    }
    putchar('\n');
    if (content->type[0] != '\0')
        print_command(dir, name, content->type, writable, for_root);
}

void advice_print(const char *dir, uint64_t disk_size, const struct partition_table *table,
                  bool writable, bool for_root)
{
    struct content disk = table->content;

    if (table->count > 0) /* then what it holds is its partitions */
        memset(&disk, 0, sizeof(disk));
    print_file(dir, "disk", disk_size, &disk, writable, for_root);
    for (size_t i = 0; i < table->count; i++) {
        const struct partition *p = &table->items[i];
        char name[16];

        snprintf(name, sizeof(name), "p%u", (unsigned)p->number);
        print_file(dir, name, p->length, &p->content, writable, for_root);
    }
}
