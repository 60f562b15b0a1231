/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Opening inputs of any kind; see source.h. Formats are told apart by what is in the file, never by
 * its name, with one exception: what is called .vhdx and has no valid signature is a damaged image
 * rather than a raw disk.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "foreign.h"
#include "interrupt.h"
#include "nbd.h"
#include "opening.h"
#include "qemu.h"
#include "report.h"

#define SECTOR 512u

struct magic {
    const char *format;
    size_t offset;
    const char *bytes;
    size_t len;
};

/* ---- What it is ----------------------------------------------------------------------------- */

static bool has_ending(const char *name, const char *ending)
{
    size_t name_len = strlen(name), len = strlen(ending);

    return name_len > len && strcasecmp(name + name_len - len, ending) == 0;
}

/* "vhdx", a name of QEMU's, or "raw" for all else. */
static const char *format_of_bytes(const char *begin, const char *end)
{
    static const struct magic magics[] = {
        { "vhdx", 0, "vhdxfile", 8 },
        { "qcow2", 0, "QFI\xfb\0\0\0", 7 },
        { "vmdk", 0, "KDMV", 4 },
        { "vmdk", 0, "# Disk DescriptorFile", 21 },
        { "vdi", 64, "\x7f\x10\xda\xbe", 4 },
        { "vpc", 0, "conectix", 8 },
    };

    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if (memcmp(begin + magics[i].offset, magics[i].bytes, magics[i].len) == 0)
            return magics[i].format;
    if (memcmp(end, "conectix", 8) == 0)
        return "vpc";
    return "raw";
}

/* What cannot be read is raw: opening it as such says why. */
static const char *detect(const char *path)
{
    char begin[SECTOR] = { 0 }, end[SECTOR] = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *format = "raw";

    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        if (pread(fd, begin, SECTOR, 0) >= 0 &&
            (size < (off_t)SECTOR || pread(fd, end, SECTOR, size - (off_t)SECTOR) >= 0))
            format = format_of_bytes(begin, end);
        close(fd);
    }
    if (strcmp(format, "raw") == 0 && (has_ending(path, ".vhdx") || has_ending(path, ".avhdx")))
        return "vhdx";
    return format;
}

/* ---- Each kind ------------------------------------------------------------------------------ */

static bool taken(int r, struct vhdx_error *err)
{
    if (r == 0)
        return true;
    report_error(err);
    report_error_hint(err);
    return false;
}

static bool is_raw(const char *operand, const char *format, const char *what)
{
    if (!format || strcmp(format, "raw") == 0)
        return true;
    report("%s: %s is raw: -f %s does not apply", operand, what, format);
    return false;
}

static bool open_stream(int fd, struct source *source)
{
    struct vhdx_error err;

    if (isatty(fd)) {
        report("standard input is a terminal");
        report_hint("'-' reads a raw disk from a pipe or a file: COMMAND | vhdx ... -");
        return false;
    }
    return taken(vhdx_disk_stream(fd, &source->disk, &err), &err);
}

static bool open_image(const char *path, const struct common_options *common,
                       struct source *source)
{
    struct vhdx_error err;

    source->image = image_open_content_or(path, common, &source->err);
    return source->image && taken(vhdx_disk_of(source->image, &source->disk, &err), &err);
}

static bool open_raw(const char *path, const struct common_options *common, struct source *source)
{
    struct vhdx_error err;

    return taken(vhdx_disk_raw(path, common->open_flags & VHDX_OPEN_NO_LOCK, &source->disk, &err),
                 &err);
}

/* A shell's <(COMMAND), for one. */
static bool open_pipe(const char *path, struct source *source)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        report("%s: %s", path, strerror(errno));
        return false;
    }
    source->fd = fd;
    return open_stream(fd, source);
}

static bool open_foreign(const char *path, const char *format,
                         const struct source_options *options, struct source *source)
{
    struct foreign_input input = {
        .path = path,
        .format = foreign_format(format),
        .open_flags = options->common->open_flags,
        .connections = options->connections,
    };

    return foreign_open(&input, &source->server, &source->disk);
}

static bool check_format(const char *format)
{
    if (!format || strcmp(format, "raw") == 0 || strcmp(format, "vhdx") == 0 ||
        foreign_format(format))
        return true;
    report("-f: '%s' is no format that vhdx reads", format);
    report_hint("raw, vhdx, vhd, qcow2, vmdk, vdi, parallels, qed, qcow, bochs, cloop or dmg");
    return false;
}

static bool open_path(const char *path, const struct source_options *options,
                      struct source *source)
{
    const char *format = options->format;
    struct stat st;

    if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
        return is_raw(path, format, "what comes through a pipe") && open_pipe(path, source);
    if (!format)
        format = detect(path);
    if (strcmp(format, "raw") == 0)
        return open_raw(path, options->common, source);
    if (strcmp(format, "vhdx") == 0)
        return open_image(path, options->common, source);
    return open_foreign(path, format, options, source);
}

bool source_open(const char *operand, const struct source_options *options, struct source *ret)
{
    struct source source = { .name = operand };
    bool fine = check_format(options->format);

    if (!fine)
        ;
    else if (strcmp(operand, "-") == 0)
        fine = is_raw(operand, options->format, "what comes from standard input") &&
               open_stream(STDIN_FILENO, &source);
    else if (remote_is_uri(operand))
        fine = is_raw(operand, options->format, "what an NBD server gives") &&
               remote_open_source(operand, operand, options->connections, &source.disk);
    else
        fine = open_path(operand, options, &source);
    if (!fine)
        source_close(&source);
    *ret = source;
    return fine;
}

void source_close(struct source *source)
{
    struct vhdx_error err = source->err;

    vhdx_disk_close(source->disk);
    vhdx_close(source->image);
    qemu_end(source->server, NULL);
    if (source->fd)
        close(source->fd);
    *source = (struct source){ .err = err };
}

void source_stat_backing(const char *path, struct stat *st)
{
    struct loop_info64 info;
    int fd = S_ISBLK(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

    if (fd < 0)
        return;
    if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
        st->st_dev = info.lo_device;
        st->st_ino = info.lo_inode;
    }
    close(fd);
}

bool source_has_file(const struct source *source, const struct stat *st)
{
    const char *path;
    struct stat own;
    bool is_path = source->name && strcmp(source->name, "-") != 0 && !remote_is_uri(source->name);
    int found = -1;

    if (source->image && image_is_in_chain(source->image, st, &path))
        return true;
    if (source->server && qemu_has_file(source->server, st))
        return true;
    if (is_path)
        found = stat(source->name, &own);
    else if (source->name && strcmp(source->name, "-") == 0)
        found = fstat(STDIN_FILENO, &own);
    if (found == 0 && is_path)
        source_stat_backing(source->name, &own);
    return found == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino;
}

bool source_may_become(const struct source *source, const char *path, const struct stat *st,
                       bool replace)
{
    if (source && source_has_file(source, st)) {
        report("%s: output is the input itself, or what that is based on", path);
    } else if (!S_ISREG(st->st_mode)) {
        report("%s: output exists and is not a regular file", path);
    } else if (st->st_size > 0 && !replace) {
        report("%s: output exists and is not empty", path);
        report_hint("-y replaces an existing file");
    } else {
        return true;
    }
    return false;
}

/* ---- Pipes ---------------------------------------------------------------------------------- */

static int on_progress(uint64_t done, uint64_t total, void *opaque)
{
    progress_update(opaque, done, total);
    return interrupt_pending();
}

bool source_spool(struct source *source, enum progress_mode mode)
{
    struct progress progress;
    const struct vhdx_progress report_to = { on_progress, &progress };
    struct vhdx_disk *spooled;
    struct vhdx_error err;

    if (vhdx_disk_size(source->disk) != VHDX_SIZE_UNKNOWN)
        return true;
    progress_init(&progress, mode);
    interrupt_catch();
    int r = vhdx_disk_spool(source->disk, &report_to, &spooled, &err);
    progress_finish(&progress);
    if (r < 0 && interrupt_pending()) {
        source_close(source);
        interrupt_die();
    }
    if (r < 0) {
        report_error(&err);
        if (err.code == VHDX_E_NOSPACE)
            report_hint("TMPDIR=FOLDER lets what comes through a pipe be kept elsewhere");
        return false;
    }
    vhdx_disk_close(source->disk);
    source->disk = spooled;
    return true;
}
