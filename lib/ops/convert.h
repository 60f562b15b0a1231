/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Writing a disk in another format, or into another image. */
#ifndef OPS_CONVERT_H
#define OPS_CONVERT_H

#include "core/handle.h"
#include "disk/disk.h"
#include "io/outfile.h"

/* vhdx_convert(), vhdx_convert_disk(), vhdx_convert_to_io(): options and results are verified. */
int convert_disk(struct vhdx *v, const char *path, const struct vhdx_convert_options *opts,
                 struct vhdx_error *err);
int convert_to_path(struct vhdx_disk *from, const char *path,
                    const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                    struct vhdx_error *err);
int convert_to_io(struct vhdx_disk *from, const struct vhdx_io *io,
                  const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                  struct vhdx_error *err);

/* Writes the whole output, not a child, into an empty file, without giving it its name. */
int convert_to_file(struct vhdx_disk *from, struct outfile *out,
                    const struct vhdx_convert_options *opts, struct vhdx_convert_result *ret,
                    struct vhdx_error *err);

/* Reads back what came of from, which had size bytes; VHDX_E_CORRUPT if that is something else. */
int convert_verify(struct vhdx_disk *from, struct outfile *out,
                   const struct vhdx_convert_options *opts,
                   const struct vhdx_convert_result *result, uint64_t size,
                   struct vhdx_error *err);
int convert_verify_io(struct vhdx_disk *from, const struct vhdx_io *io,
                      const struct vhdx_convert_options *opts,
                      const struct vhdx_convert_result *result, uint64_t size,
                      struct vhdx_error *err);

/* The same of an output that is open as a disk. */
int convert_verify_disk(struct vhdx_disk *from, struct vhdx_disk *output,
                        const struct vhdx_convert_options *opts,
                        const struct vhdx_convert_result *result, uint64_t size,
                        struct vhdx_error *err);

#endif
