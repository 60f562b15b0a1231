/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Writing images of other formats; see foreign.h. qemu-img makes the image under its final name in
 * a hidden folder beside where it will be, since some formats note the name within; qemu-nbd lets
 * it be written; then it is made stable and moved. After a failure what stood at its place is what
 * it was before.
 *
 * The image begins as zeros, so that zeroing is nothing to do. What would make it begin otherwise,
 * or consist of several files, is refused.
 */
#include "foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "qemu.h"
#include "report.h"
#include "scope.h"
#include "source.h"

#define NAME_TRIES 100
#define BASE_MAX 200 /* bytes of the final name in the folder's, which has to fit NAME_MAX, too */

struct foreign_target {
    char *path;      /* final name, symbolic links resolved */
    bool replaces;   /* something stands at path, whose mode and owner are kept */
    struct stat old; /* of that */
    char *folder;    /* hidden; NULL: not made */
    char *temporary; /* in it */
    struct qemu_server *server;
    struct vhdx_io io; /* to the image, through the server */
};

/* ---- Options -------------------------------------------------------------------------------- */

/* What an option begins with that is refused, and why. */
struct refused {
    const char *text, *why;
};

static bool check_option(const char *option, size_t len, const char *path)
{
    static const char alone[] = "the image would not stand alone";
    static const char several[] = "the image would consist of several files";
    static const struct refused list[] = {
        { "backing_file=", alone },
        { "backing_fmt=", alone },
        { "data_file=", several },
        { "data_file_raw=", several },
        { "subformat=monolithicFlat", several },
        { "subformat=twoGb", several },
        { "subformat=streamOptimized", "it is written compressed, by 'qemu-img convert' alone" },
        { "size=", "the size is the input's" },
    };

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (len < strlen(list[i].text) || strncmp(option, list[i].text, strlen(list[i].text)) != 0)
            continue;
        report("%s: -o %.*s: %s", path, (int)len, option, list[i].why);
        return false;
    }
    return true;
}

static bool check_options(const struct foreign_output *output)
{
    const char *at = output->options;

    while (at && *at != '\0') {
        size_t len = strcspn(at, ",");
        if (!check_option(at, len, output->path))
            return false;
        at += len;
        at += *at == ',';
    }
    return true;
}

/* ---- Places --------------------------------------------------------------------------------- */

static bool find_place(const struct foreign_output *output, struct foreign_target *target)
{
    struct stat st;

    if (stat(output->path, &target->old) == 0) {
        target->replaces = true;
        if (!source_may_become(output->from, output->path, &target->old, output->replace))
            return false;
        target->path = realpath(output->path, NULL);
    } else if (errno == ENOENT && lstat(output->path, &st) == 0) {
        report("%s: output is a symbolic link to nothing", output->path);
        return false;
    } else if (errno == ENOENT) {
        target->path = demand(strdup(output->path));
    }
    if (!target->path)
        report("%s: %s", output->path, strerror(errno));
    return target->path != NULL;
}

/* "DIR/.BASE.0123abcd.part/BASE" */
static bool make_folder(struct foreign_target *target)
{
    SCOPED_FREE char *for_folder = demand(strdup(target->path));
    SCOPED_FREE char *for_base = demand(strdup(target->path));
    const char *folder = dirname(for_folder), *base = basename(for_base);
    uint32_t number;

    for (int i = 0; i < NAME_TRIES; i++) {
        if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
            break;
        char *name = text_of("%s/.%.*s.%08" PRIx32 ".part", folder, BASE_MAX, base, number);
        if (mkdir(name, 0700) == 0) {
            target->folder = name;
            target->temporary = text_of("%s/%s", name, base);
            return true;
        }
        free(name);
        if (errno != EEXIST)
            break;
    }
    report("%s: creating: %s", target->path, strerror(errno));
    return false;
}

/* ---- The image ------------------------------------------------------------------------------ */

static int target_read(void *opaque, void *buf, size_t len, uint64_t offset)
{
    struct vhdx_io *io = &((struct foreign_target *)opaque)->io;

    return io->pread(io->opaque, buf, len, offset);
}

static int target_write(void *opaque, const void *buf, size_t len, uint64_t offset)
{
    struct vhdx_io *io = &((struct foreign_target *)opaque)->io;

    return io->pwrite(io->opaque, buf, len, offset);
}

static int target_zero(void *opaque, uint64_t offset, uint64_t len)
{
    (void)opaque;
    (void)offset;
    (void)len;
    return 0;
}

static int target_flush(void *opaque)
{
    struct vhdx_io *io = &((struct foreign_target *)opaque)->io;

    return io->flush(io->opaque);
}

static int target_size(void *opaque, uint64_t *ret_size)
{
    struct vhdx_io *io = &((struct foreign_target *)opaque)->io;

    return io->size(io->opaque, ret_size);
}

/*
 * A VHD of QEMU's own has a size that its geometry can express unless told otherwise. The "file:"
 * keeps a path such as "nbd:x" one.
 */
static bool create_image(const struct foreign_output *output, const struct foreign_target *target)
{
    SCOPED(word_list_free) struct word_list words = { 0 };
    bool is_vhd = strcmp(output->format, "vpc") == 0;

    word_add(&words, "qemu-img");
    word_add(&words, "create");
    word_add(&words, "-q");
    word_add(&words, "-f");
    word_add(&words, "%s", output->format);
    if (is_vhd && !(output->options && strstr(output->options, "force_size"))) {
        word_add(&words, "-o");
        word_add(&words, "force_size=on");
    }
    if (output->options) {
        word_add(&words, "-o");
        word_add(&words, "%s", output->options);
    }
    word_add(&words, "file:%s", target->temporary);
    word_add(&words, "%" PRIu64, output->size);
    return qemu_run(words.items, output->path);
}

static bool open_image(const struct foreign_output *output, struct foreign_target *target)
{
    struct qemu_image image = {
        .path = target->temporary,
        .name = output->path,
        .format = output->format,
        .writable = true,
        .connections = output->connections,
    };

    return qemu_start(&image, &target->server, NULL, &target->io);
}

bool foreign_create(const struct foreign_output *output, struct foreign_target **ret,
                    struct vhdx_io *ret_io)
{
    struct foreign_target *target = demand(calloc(1, sizeof(*target)));

    if (!check_options(output) || !find_place(output, target) || !make_folder(target) ||
        !create_image(output, target) || !open_image(output, target)) {
        foreign_discard(target);
        return false;
    }
    *ret_io = (struct vhdx_io)VHDX_IO_INIT;
    ret_io->opaque = target;
    ret_io->pread = target_read;
    ret_io->pwrite = target_write;
    ret_io->zero = target_zero;
    ret_io->flush = target_flush;
    ret_io->size = target_size;
    *ret = target;
    return true;
}

/* ---- Its end -------------------------------------------------------------------------------- */

static bool end_server(struct foreign_target *target, const char *name)
{
    struct qemu_server *server = target->server;

    target->server = NULL;
    if (target->io.close)
        target->io.close(target->io.opaque);
    target->io.close = NULL;
    return qemu_end(server, name);
}

/* What replaces a file is as private as that was. Only root can give a file away. */
static bool make_stable(const struct foreign_target *target)
{
    int fd = open(target->temporary, O_RDONLY | O_CLOEXEC);
    bool fine = fd >= 0;

    if (fine && target->replaces)
        fine = (fchown(fd, target->old.st_uid, target->old.st_gid) == 0 || errno == EPERM) &&
               fchmod(fd, target->old.st_mode & 07777) == 0;
    fine = fine && fsync(fd) == 0;
    if (!fine)
        report("%s: making the output stable: %s", target->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return fine;
}

/* A file that has appeared since the beginning is not overwritten, where the file system can
   tell. */
static bool give_name(const struct foreign_target *target)
{
    int r = -1;

    errno = ENOSYS;
    if (!target->replaces)
        r = renameat2(AT_FDCWD, target->temporary, AT_FDCWD, target->path, RENAME_NOREPLACE);
    if (r < 0 && (errno == EINVAL || errno == ENOSYS))
        r = rename(target->temporary, target->path);
    if (r < 0)
        report("%s: giving the output its name: %s", target->path, strerror(errno));
    return r == 0;
}

/* A file system may refuse to sync a folder; the renaming has happened all the same. */
static void sync_folder(char *path)
{
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

bool foreign_commit(struct foreign_target *target)
{
    int r = target_flush(target);
    bool fine = r >= 0;

    if (!fine)
        report("%s: writing: %s", target->path, strerror(-r));
    fine = end_server(target, fine ? target->path : NULL) && fine;
    fine = fine && make_stable(target) && give_name(target);
    if (fine)
        sync_folder(target->path);
    foreign_discard(target);
    return fine;
}

void foreign_discard(struct foreign_target *target)
{
    if (!target)
        return;
    end_server(target, NULL);
    if (target->temporary)
        unlink(target->temporary);
    if (target->folder)
        rmdir(target->folder);
    free(target->temporary);
    free(target->folder);
    free(target->path);
    free(target);
}
