/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing what `vhdx convert` reads: to a file, standard output, an NBD server, a block device, or
   an image of a format of QEMU's. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "children.h"
#include "convert-run.h"
#include "foreign.h"
#include "interrupt.h"
#include "nbd.h"
#include "opening.h"
#include "report.h"

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

static bool write_stdout(struct source *from, const struct vhdx_convert_options *options,
                         struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct stat st;

    if (isatty(STDOUT_FILENO)) {
        report("standard output is a terminal");
        report_hint("'-' writes a disk to a pipe or a file: vhdx convert IN - | COMMAND");
        return false;
    }
    if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && source_has_file(from, &st)) {
        report("standard output is the input itself, or what that is based on");
        return false;
    }
    return vhdx_convert_to_stream(from->disk, STDOUT_FILENO, options, ret, err) == 0;
}

/* True when the output is a file of the input, which then was reported. */
static bool is_of_input(const struct source *from, const char *output)
{
    struct stat st;

    if (stat(output, &st) < 0)
        return false;
    source_stat_backing(output, &st);
    if (!source_has_file(from, &st))
        return false;
    report("%s: output is the input itself, or what that is based on", output);
    return true;
}

static bool write_path(struct source *from, const struct convert_run *run,
                       const struct vhdx_convert_options *options,
                       struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct stat st;
    bool is_device = stat(from->name, &st) == 0 && S_ISBLK(st.st_mode);

    /* The library knows the files of its own formats, and says more. */
    if ((from->server || is_device) && is_of_input(from, run->output))
        return false;
    return vhdx_convert_disk(from->disk, run->output, options, ret, err) == 0;
}

/* Where a file system is on it, or another device has it, its content is not to be replaced. */
static bool open_device(struct source *from, const struct convert_run *run, struct vhdx_io *ret,
                        struct vhdx_error *err)
{
    if (is_of_input(from, run->output))
        return false;
    int fd = open(run->output, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY) {
        report("%s: output is in use, for one by a file system that is mounted", run->output);
        return false;
    }
    if (fd >= 0)
        close(fd);
    return vhdx_io_file(run->output, VHDX_OPEN_RDWR, ret, err) == 0;
}

static bool write_existing(struct source *from, const struct convert_run *run,
                           const struct vhdx_convert_options *options,
                           struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct vhdx_io io = VHDX_IO_INIT;
    bool is_open = run->place == CONVERT_TO_NBD
                       ? remote_open_target(run->output, run->output, run->threads, &io)
                       : open_device(from, run, &io, err);

    if (!is_open)
        return false;
    interrupt_catch(); /* a server that does not answer can be left until here */
    bool fine = vhdx_convert_to_io(from->disk, &io, options, ret, err) == 0;
    io.close(io.opaque);
    return fine;
}

static bool write_foreign(struct source *from, const struct convert_run *run,
                          const struct vhdx_convert_options *options,
                          struct vhdx_convert_result *ret, struct vhdx_error *err)
{
    struct foreign_output output = {
        .path = run->output,
        .format = run->foreign,
        .size = vhdx_disk_size(from->disk),
        .options = run->list,
        .replace = run->flags & VHDX_CONVERT_REPLACE,
        .connections = run->threads,
        .from = from,
    };
    struct foreign_target *target = NULL;
    struct vhdx_io io;

    interrupt_catch();
    if (!foreign_create(&output, &target, &io))
        return false;
    if (vhdx_convert_to_io(from->disk, &io, options, ret, err) < 0) {
        foreign_discard(target);
        return false;
    }
    return foreign_commit(target);
}

/* Whether a file that would be replaced is of use to others, which was reported. */
static bool is_needed(const struct source *from, const struct convert_run *run)
{
    struct stat st;

    return (run->place == CONVERT_TO_PATH || run->place == CONVERT_TO_FOREIGN) &&
           (run->flags & VHDX_CONVERT_REPLACE) != 0 && stat(run->output, &st) == 0 &&
           S_ISREG(st.st_mode) && st.st_size > 0 && !source_has_file(from, &st) &&
           image_is_needed(run->output, false);
}

/* QEMU's formats begin with the size, and a child needs a second look at what differs. What may
   fail at once shall not do so when all has been read. */
static bool spool(struct source *from, const struct convert_run *run,
                  const struct vhdx_create_options *create)
{
    struct vhdx *parent = NULL;
    struct vhdx_error err;
    struct stat st;

    if (vhdx_disk_size(from->disk) != VHDX_SIZE_UNKNOWN)
        return true;
    if (stat(run->output, &st) == 0 &&
        !source_may_become(from, run->output, &st, run->flags & VHDX_CONVERT_REPLACE))
        return false;
    if (create->parent_path &&
        vhdx_open(create->parent_path, VHDX_OPEN_RDONLY, create->parent_options, &parent,
                  &err) < 0) {
        report_error(&err);
        report_error_hint(&err);
        return false;
    }
    vhdx_close(parent);
    return source_spool(from, run->progress_mode);
}

#define AZURE_DISK_MIN (20u << 20)

/* What a VHD, or Azure, makes of the disk. */
static bool check_vhd(const struct source *from, const struct convert_run *run)
{
    bool is_azure = (run->flags & VHDX_CONVERT_AZURE) != 0;
    uint64_t size = vhdx_disk_size(from->disk);

    if (run->format != VHDX_FORMAT_VHD && (!run->foreign || strcmp(run->foreign, "vpc") != 0))
        return true;
    if (from->image && vhdx_logical_sector_size(from->image) != 512) {
        if (is_azure) {
            report("%s: the disk has sectors of 4096 bytes, Azure takes 512", from->name);
            report_hint("a partition table counts in sectors: the disk must be copied in a guest "
                        "that has both");
            return false;
        }
        report_warning("%s: the disk has sectors of 4096 bytes, a VHD has 512: a partition table "
                       "on it will not be understood", from->name);
    }
    if (is_azure && size < AZURE_DISK_MIN && !run->quiet)
        report_warning("%s: Azure's managed disks begin at 20 MiB", from->name);
    return true;
}

bool convert_write(struct source *from, const struct convert_run *run,
                   const struct common_options *common, struct vhdx_convert_result *ret,
                   struct vhdx_error *err)
{
    struct vhdx_convert_options options = VHDX_CONVERT_OPTIONS_INIT;
    struct vhdx_create_options create = run->request.create;
    struct vhdx_open_options parents;
    struct progress progress;
    bool fine;

    err->code = 0;
    if (!check_vhd(from, run) || is_needed(from, run))
        return false;
    common_open_options(common, &parents);
    create.struct_size = sizeof(create);
    create.parent_options = create.parent_path ? &parents : NULL;
    if ((create.parent_path || run->place == CONVERT_TO_FOREIGN) && !spool(from, run, &create))
        return false;
    options.format = run->format ? run->format : VHDX_FORMAT_RAW;
    options.flags = run->flags;
    options.threads = run->threads;
    options.sparse_size = run->sparse_size;
    options.create = &create;
    options.checksum = run->checksum;
    options.progress.fn = on_progress;
    options.progress.opaque = &progress;
    progress_init(&progress, run->progress_mode);
    if (run->place == CONVERT_TO_PATH || run->place == CONVERT_TO_STDOUT)
        interrupt_catch();
    if (run->place == CONVERT_TO_STDOUT)
        fine = write_stdout(from, &options, ret, err);
    else if (run->place == CONVERT_TO_FOREIGN)
        fine = write_foreign(from, run, &options, ret, err);
    else if (run->place == CONVERT_TO_PATH)
        fine = write_path(from, run, &options, ret, err);
    else
        fine = write_existing(from, run, &options, ret, err);
    progress_finish(&progress);
    return fine;
}
