/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Making changes stable: the group commit, and the end of a session. */
#ifndef CORE_COMMIT_H
#define CORE_COMMIT_H

#include "core/image.h"

/*
 * All changes of calls that have returned survive a loss of power when this returns 0. Calls that
 * arrive together share one commit.
 */
int commit(struct image *img, struct vhdx_error *err);

/* Rule 7: commits, cuts slack off the end of the file and clears LogGuid. No other call may run. */
int commit_finish(struct image *img, struct vhdx_error *err);

#endif
