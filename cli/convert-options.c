/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* What `vhdx convert` is told, and which of it goes together. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert-run.h"
#include "foreign.h"
#include "nbd.h"
#include "output.h"
#include "report.h"
#include "size.h"
#include "verb.h"

#define THREADS_MAX 64
#define SPARSE_MAX (1u << 20)

enum {
    OPTION_SALVAGE = OPTION_OWN,
    OPTION_MAP_FILE,
    OPTION_OUTPUT,
    OPTION_AZURE,
    OPTION_NO_SPARSE,
    OPTION_NO_CLONE,
    OPTION_VERIFY,
    OPTION_CHECKSUM,
    OPTION_BLOCK_SIZE,
    OPTION_PREALLOCATION,
};

const struct option convert_longs[] = {
    { "target-format", required_argument, NULL, 'O' },
    { "format", required_argument, NULL, 'f' },
    { "options", required_argument, NULL, 'o' },
    { "backing", required_argument, NULL, 'b' },
    { "backing-format", required_argument, NULL, 'F' },
    { "threads", required_argument, NULL, 'm' },
    { "sparse-size", required_argument, NULL, 'S' },
    { "progress", optional_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { "replace", no_argument, NULL, 'y' },
    { "salvage", no_argument, NULL, OPTION_SALVAGE },
    { "map-file", required_argument, NULL, OPTION_MAP_FILE },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "azure", no_argument, NULL, OPTION_AZURE },
    { "no-sparse", no_argument, NULL, OPTION_NO_SPARSE },
    { "no-clone", no_argument, NULL, OPTION_NO_CLONE },
    { "verify", no_argument, NULL, OPTION_VERIFY },
    { "checksum", required_argument, NULL, OPTION_CHECKSUM },
    { "block-size", required_argument, NULL, OPTION_BLOCK_SIZE },
    { "preallocation", required_argument, NULL, OPTION_PREALLOCATION },
    { NULL, 0, NULL, 0 },
};

void convert_run_free(struct convert_run *run)
{
    free(run->list);
    create_request_free(&run->request);
}

/* ---- One option ----------------------------------------------------------------------------- */

static bool add_list(struct convert_run *run, const char *arg)
{
    char *joined;

    if (asprintf(&joined, "%s%s%s", run->list ? run->list : "", run->list ? "," : "", arg) < 0) {
        report("out of memory");
        return false;
    }
    free(run->list);
    run->list = joined;
    return true;
}

static bool take_threads(const char *arg, uint32_t *ret)
{
    uint64_t n;

    if (!size_parse(arg, &n) || n < 1 || n > THREADS_MAX) {
        report("-m: '%s' is out of range, must be from 1 to %d", arg, THREADS_MAX);
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static bool take_sparse_size(struct convert_run *run, const char *arg)
{
    uint64_t size;

    if (!size_parse_option("-S", arg, &size))
        return false;
    if (size % 512 != 0 || size > SPARSE_MAX) {
        report("-S: %s is out of range, must be a multiple of 512 up to 1M, or 0", arg);
        return false;
    }
    run->flags |= size == 0 ? VHDX_CONVERT_NO_SPARSE : 0;
    run->sparse_size = (uint32_t)size;
    return true;
}

static bool take_checksum(struct convert_run *run, const char *arg)
{
    static const char *const known[] = { "sha256", "sha1", "sha512", "md5", "blake2b" };

    run->checksum = arg;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(arg, known[i]) == 0)
            return true;
    report("--checksum: '%s' is not known", arg);
    report_hint("known are sha256, sha1, sha512, md5 and blake2b");
    return false;
}

static bool take_progress(struct convert_run *run, const char *arg)
{
    run->progress_mode = PROGRESS_ALWAYS;
    if (!arg)
        return true;
    if (strcmp(arg, "json") == 0) {
        run->progress_mode = PROGRESS_JSON;
        return true;
    }
    report("--progress: '%s' is not supported: there is --progress and --progress=json", arg);
    return false;
}

static bool refuse(const char *what, const char *hint)
{
    report("convert: %s", what);
    report_hint("%s", hint);
    return false;
}

static bool take_long(int option, const char *arg, struct convert_run *run)
{
    switch (option) {
    case OPTION_SALVAGE:
        run->salvage = true;
        return true;
    case OPTION_MAP_FILE:
        run->map_path = arg;
        return true;
    case OPTION_OUTPUT:
        run->has_output = true;
        return options_parse_output(arg, &run->json);
    case OPTION_AZURE:
        run->flags |= VHDX_CONVERT_AZURE;
        return true;
    case OPTION_NO_SPARSE:
        run->flags |= VHDX_CONVERT_NO_SPARSE;
        return true;
    case OPTION_NO_CLONE:
        run->flags |= VHDX_CONVERT_NO_CLONE;
        return true;
    case OPTION_VERIFY:
        run->flags |= VHDX_CONVERT_VERIFY;
        return true;
    case OPTION_CHECKSUM:
        return take_checksum(run, arg);
    case OPTION_BLOCK_SIZE:
        run->block_size = arg;
        return true;
    default: /* OPTION_PREALLOCATION */
        run->preallocation = arg;
        return true;
    }
}

bool convert_take_option(int option, const char *arg, void *own)
{
    struct convert_run *run = own;

    switch (option) {
    case 'O':
        run->format_name = arg;
        return true;
    case 'f':
        run->input_format = arg;
        return true;
    case 'o':
        return add_list(run, arg);
    case 'b':
        return create_set(&run->request, "backing_file", "-b", arg);
    case 'F':
        return create_set(&run->request, "backing_fmt", "-F", arg);
    case 'm':
        return take_threads(arg, &run->threads);
    case 'S':
        return take_sparse_size(run, arg);
    case 'p':
        return take_progress(run, arg);
    case 'q':
        run->progress_mode = PROGRESS_NEVER;
        run->quiet = true;
        return true;
    case 'c':
        return refuse("-c: nothing is compressed", "a VHDX holds no compressed data; for others "
                      "convert to raw first, and that with 'qemu-img convert -c'");
    case 't':
    case 'T':
        return refuse("-t and -T: there are no cache modes", "what is written is made stable "
                      "before convert ends; leave the option out");
    case 'n':
        run->must_exist = true;
        return true;
    case 'W': /* the order of writes is always free */
        return true;
    case 'y':
        run->flags |= VHDX_CONVERT_REPLACE;
        return true;
    default:
        return take_long(option, arg, run);
    }
}

/* ---- What the output is --------------------------------------------------------------------- */

static const char *format_of_ending(const char *name)
{
    static const char *const endings[][2] = {
        { ".vhdx", "vhdx" }, { ".avhdx", "vhdx" }, { ".vhd", "vhd" },
        { ".qcow2", "qcow2" }, { ".vmdk", "vmdk" }, { ".vdi", "vdi" },
    };

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t len = strlen(name), end = strlen(endings[i][0]);
        if (len > end && strcasecmp(name + len - end, endings[i][0]) == 0)
            return endings[i][1];
    }
    return "raw";
}

static enum convert_place place_of(const char *output)
{
    struct stat st;

    if (strcmp(output, "-") == 0)
        return CONVERT_TO_STDOUT;
    if (remote_is_uri(output))
        return CONVERT_TO_NBD;
    return stat(output, &st) == 0 && S_ISBLK(st.st_mode) ? CONVERT_TO_DEVICE : CONVERT_TO_PATH;
}

static bool settle_format(struct convert_run *run)
{
    const char *name = run->format_name;

    run->place = place_of(run->output);
    if (!name)
        name = run->place == CONVERT_TO_PATH && !run->salvage ? format_of_ending(run->output)
                                                               : "raw";
    run->foreign = NULL;
    run->format = strcmp(name, "raw") == 0    ? VHDX_FORMAT_RAW
                  : strcmp(name, "vhdx") == 0 ? VHDX_FORMAT_VHDX
                  : strcmp(name, "vhd") == 0  ? VHDX_FORMAT_VHD
                                              : 0;
    if (run->format == 0)
        run->foreign = foreign_format(name);
    if (run->format == 0 && !run->foreign) {
        report("-O: '%s' is no format that vhdx writes", name);
        report_hint("raw, vhdx, vhd, or qcow2, vmdk, vdi and vpc through QEMU");
        return false;
    }
    if (run->foreign && run->place == CONVERT_TO_PATH)
        run->place = CONVERT_TO_FOREIGN;
    return true;
}

static bool settle_request(struct convert_run *run)
{
    struct create_request *r = &run->request;

    if (run->block_size && !create_set_size(r, "block_size", "--block-size", run->block_size))
        return false;
    if (run->preallocation &&
        !create_set(r, "preallocation", "--preallocation", run->preallocation))
        return false;
    if (run->list && !run->foreign && !create_take_list(r, run->list))
        return false;
    if (r->size_given)
        return refuse("-o size: the size is the input's", "leave it out");
    return true;
}

/* ---- What does not go together -------------------------------------------------------------- */

/* A row: when it is true, the command line makes no sense, and why. */
struct mistake {
    bool made;
    const char *what, *hint;
};

static bool check(const struct mistake *mistakes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (mistakes[i].made)
            return refuse(mistakes[i].what, mistakes[i].hint);
    return true;
}

#define CHECK(mistakes) check(mistakes, sizeof(mistakes) / sizeof((mistakes)[0]))

static bool check_salvage(const struct convert_run *run, uint32_t open)
{
    const struct mistake mistakes[] = {
        { run->map_path && !run->salvage, "--map-file needs --salvage",
          "without --salvage the disk is written whole or not at all" },
        { run->has_output && !run->salvage, "--output needs --salvage",
          "without --salvage there is nothing to print" },
        { run->map_path && (strcmp(run->map_path, "-") == 0 || run->map_path[0] == '\0'),
          "--map-file needs the name of a file", "a file named '-' is './-'" },
        { run->salvage && (open & VHDX_OPEN_NO_PARENT), "--salvage and --no-parent exclude "
          "each other",
          "leave --no-parent out: what a parent should supply is lost if none is found" },
        { run->salvage && (open & VHDX_OPEN_ANY_PARENT), "--salvage and --any-parent exclude "
          "each other",
          "another parent's data would be taken for what was saved; without --salvage, "
          "--any-parent reads it" },
        { run->salvage && (open & VHDX_OPEN_NO_LOCK), "--salvage and -U exclude each other",
          "an image that is being written to looks damaged without being so: stop the program "
          "that has it open" },
        { run->salvage && run->place == CONVERT_TO_STDOUT,
          "--salvage cannot write to standard output", "a file named '-' is './-'" },
        { run->salvage && (run->format != VHDX_FORMAT_RAW || run->place != CONVERT_TO_PATH),
          "--salvage writes raw files only", "convert the raw file afterwards" },
        { run->salvage && run->input_format && strcmp(run->input_format, "vhdx") != 0,
          "--salvage reads VHDX images only", "leave -f out" },
        { run->salvage && (run->checksum || run->list || run->block_size || run->preallocation ||
                           run->threads || run->sparse_size || run->request.parent ||
                           (run->flags & ~VHDX_CONVERT_REPLACE)),
          "--salvage takes none of the options of a conversion",
          "convert the raw file afterwards" },
    };

    return CHECK(mistakes);
}

static bool check_output(const struct convert_run *run)
{
    const struct vhdx_create_options *c = &run->request.create;
    bool is_file = run->place == CONVERT_TO_PATH;
    bool is_vhdx = run->format == VHDX_FORMAT_VHDX;
    bool exists = run->place == CONVERT_TO_NBD || run->place == CONVERT_TO_DEVICE;
    const struct mistake mistakes[] = {
        { (run->flags & VHDX_CONVERT_AZURE) && run->format != VHDX_FORMAT_VHD,
          "--azure is for VHD outputs", "add -O vhd" },
        { exists && run->format != VHDX_FORMAT_RAW,
          "an NBD server or a block device gets raw disks only",
          "leave -O out, or convert to a file and copy that" },
        { run->place == CONVERT_TO_STDOUT && run->foreign,
          "standard output takes raw, vhdx and vhd only", "convert to a file first" },
        { run->must_exist && !exists && run->place != CONVERT_TO_STDOUT,
          "-n: a file is always made anew", "leave -n out; -y replaces an existing file" },
        { *run->output == '\0', "the output's name is empty", "- is standard output" },
        { c->parent_path && !is_vhdx, "-b is for VHDX outputs", "add -O vhdx" },
        { c->parent_path && !is_file, "a differencing image needs a path",
          "its parent is found from where it lies: name a file" },
        { c->parent_path && c->type, "a differencing image is neither fixed nor dynamic",
          "leave out -b or the subformat" },
        { !is_vhdx && (c->block_size || c->log_size || c->logical_sector_size ||
                       c->physical_sector_size ||
                       (c->type && !(run->format == VHDX_FORMAT_VHD &&
                                     c->type == VHDX_TYPE_FIXED))),
          "block, log and sector sizes and the subformat are for VHDX outputs", "add -O vhdx" },
        { is_vhdx && c->preallocation >= VHDX_PREALLOCATION_FALLOC && c->type != VHDX_TYPE_FIXED,
          "preallocation=falloc and preallocation=full are for fixed images",
          "add -o subformat=fixed, or leave out the preallocation" },
        { !is_file && c->preallocation, "preallocation is for files that convert makes itself",
          "leave it out; for a format of QEMU's: -o preallocation=" },
        { (run->flags & VHDX_CONVERT_VERIFY) && run->place == CONVERT_TO_STDOUT,
          "--verify cannot read back standard output", "--checksum tells what was sent" },
    };

    return CHECK(mistakes);
}

static bool check_device(const struct convert_run *run)
{
    char text[HUMAN_SIZE_TEXT] = "unknown size";

    if (run->place != CONVERT_TO_DEVICE || (run->flags & VHDX_CONVERT_REPLACE))
        return true;
    int fd = open(run->output, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (fd >= 0)
        close(fd);
    if (size >= 0)
        human_size((uint64_t)size, text);
    report("%s: a block device (%s): all that is on it would be lost", run->output, text);
    report_hint("-y overwrites it");
    return false;
}

bool convert_settle(struct convert_run *run, const struct common_options *common)
{
    run->output = common->operands[1];
    return settle_format(run) && check_salvage(run, common->open_flags) &&
           (run->salvage || (settle_request(run) && check_output(run) && check_device(run)));
}
