/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* How large the file of a conversion will be. */
#ifndef OPS_CREATE_MEASURE_H
#define OPS_CREATE_MEASURE_H

#include "disk/disk.h"

/* vhdx_measure(). opts->create is set; from is no stream, or NULL. */
int create_measure(struct vhdx_disk *from, const struct vhdx_convert_options *opts,
                   struct vhdx_measure_result *ret, struct vhdx_error *err);

#endif
