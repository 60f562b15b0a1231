/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What the fuzz targets share. Each target is a function that takes bytes, as libFuzzer calls it;
 * replay.c calls it with files instead, so that a corpus is a plain test.
 *
 * The bytes are a sparse file: pieces, each with its place. An image that way takes some kilobytes
 * instead of megabytes (tests/fuzz/pack.py makes one), and checksums are made to fit before the
 * library sees them, since no fuzzer guesses a CRC.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "vhdx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Makes a file in memory of the input: an 8-byte size (at most 32 MiB), then pieces of an 8-byte
 * offset, a 4-byte length and that many bytes; what does not fit is left out. The file has a bound
 * of its own: it grows to 256 MiB and no further. To be ended with its close().
 */
void fuzz_file(const uint8_t *data, size_t size, struct vhdx_io *ret);

/* Makes the checksums of headers, region tables and log entries fit where there is a signature. */
void fuzz_seal(const struct vhdx_io *io);

/* Ends the program. */
void fuzz_die(const char *what, const struct vhdx_error *err) __attribute__((noreturn));

#endif
