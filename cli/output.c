/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Text on its way out. Creator strings, parent paths and file names come from images that anyone
 * may have made: printed raw, they could drive the terminal or forge lines of a report.
 */
#include "output.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "verb.h"

const char *human_size(uint64_t bytes, char text[HUMAN_SIZE_TEXT])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    size_t unit = 0;

    /* 999.5 and above would need a fourth digit. */
    while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(text, HUMAN_SIZE_TEXT, "%.3g %s", value, units[unit]);
    return text;
}

/* The length that the first byte of a character announces, and its bits; 0 for other bytes. */
static size_t utf8_length(unsigned char first, uint32_t *ret_bits)
{
    if (first < 0x80) {
        *ret_bits = first;
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        *ret_bits = first & 0x1F;
        return 2;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        *ret_bits = first & 0x0F;
        return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        *ret_bits = first & 0x07;
        return 4;
    }
    return 0;
}

size_t utf8_next(const char *text, uint32_t *ret_code_point)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t code_point = 0;
    size_t len = utf8_length((unsigned char)text[0], &code_point);

    for (size_t i = 1; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c & 0xC0) != 0x80) /* also stops at the NUL */
            return 0;
        code_point = code_point << 6 | (c & 0x3F);
    }
    if (len == 0 || code_point < smallest[len] || code_point > 0x10FFFF)
        return 0;
    if (code_point >= 0xD800 && code_point <= 0xDFFF)
        return 0;
    *ret_code_point = code_point;
    return len;
}

bool is_unprintable(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) ||  /* controls */
           c == 0x2028 || c == 0x2029 ||            /* separators of lines and paragraphs */
           c == 0x061C || c == 0x200E || c == 0x200F || /* direction of writing: marks, */
           (c >= 0x202A && c <= 0x202E) ||          /* embeddings and overrides, */
           (c >= 0x2066 && c <= 0x2069) ||          /* isolates */
           c == 0xFEFF;                             /* invisible */
}

void print_text(FILE *stream, const char *text)
{
    while (*text != '\0') {
        uint32_t code_point;
        size_t len = utf8_next(text, &code_point);

        if (len > 0 && !is_unprintable(code_point)) {
            fwrite(text, 1, len, stream);
        } else {
            len = len > 0 ? len : 1;
            for (size_t i = 0; i < len; i++)
                fprintf(stream, "\\x%02x", (unsigned char)text[i]);
        }
        text += len;
    }
}

int output_finish(int exit_code, int exit_error)
{
    bool failed_before = ferror(stdout) != 0;

    errno = 0;
    /* Network file systems may tell of a full disk only when the file is closed. */
    if (fflush(stdout) == 0 && close(STDOUT_FILENO) == 0 && !failed_before)
        return exit_code;
    report("standard output: %s", errno != 0 ? strerror(errno) : "not everything could be written");
    return exit_error;
}
