/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Messages on standard error. The library says what is wrong, where and why; the hints here add
 * what only the tool knows: which option or command helps.
 */
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "output.h"
#include "scope.h"

__attribute__((format(printf, 2, 0))) static void print_line(const char *kind, const char *format,
                                                             va_list args)
{
    SCOPED_FREE char *text = NULL;

    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    fflush(stdout);
    fputs("vhdx: ", stderr);
    fputs(kind, stderr);
    print_text(stderr, text ? text : "out of memory");
    fputc('\n', stderr);
}

void report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("", format, args);
    va_end(args);
}

void report_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("warning: ", format, args);
    va_end(args);
}

void report_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("note: ", format, args);
    va_end(args);
}

void report_hint(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("hint: ", format, args);
    va_end(args);
}

void report_error(const struct vhdx_error *err)
{
    if (err->file_offset == VHDX_OFFSET_NONE)
        report("%s", err->message);
    else
        report("%s (file offset %" PRIu64 ")", err->message, err->file_offset);
}

static const char *hint_for(const struct vhdx_error *err)
{
    switch (err->code) {
    case VHDX_E_PARENT_MISSING:
        return "name the parent with --parent FILE, or say where to look with --search-dir DIR or "
               "--map-path 'C:\\VMs=/mnt/vms'; --no-parent reads this image alone";
    case VHDX_E_PARENT_MISMATCH:
        return "the parent was changed after the child was made, or is another file: --search-dir "
               "DIR looks for the right one by its GUID; --any-parent takes the wrong one";
    case VHDX_E_LOCKED:
        return "stop the program that has the image open ('lslocks' shows which), or read it as "
               "it is with -U (--force-share)";
    case VHDX_E_NOT_VHDX:
        return "'qemu-img info FILE' tells what the file is; a .vhd file is an older, different "
               "format";
    case VHDX_E_TRUNCATED:
        return "the file is shorter than its own tables say: copy or download it again and compare "
               "the sizes";
    case VHDX_E_NOSPACE:
        return "make room or choose another place for the output";
    default:
        return NULL;
    }
}

void report_error_hint(const struct vhdx_error *err)
{
    const char *hint = hint_for(err);

    if (hint)
        report_hint("%s", hint);
}
