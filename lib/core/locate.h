/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Finding the file of a differencing image's parent. */
#ifndef CORE_LOCATE_H
#define CORE_LOCATE_H

#include "core/chain.h"

/*
 * Finds the parent of the chain's last image, trying the places in the order that vhdx_open()
 * documents, and records each step, the status and the rule that found it in *link. The parent is
 * right if its DataWriteGuid is one of the child's linkages; with VHDX_OPEN_ANY_PARENT the first
 * candidate with another is taken if none is right. *ret_parent is open but neither locked nor
 * loaded. VHDX_E_PARENT_MISSING, VHDX_E_PARENT_MISMATCH, VHDX_E_CORRUPT for a cycle.
 */
int locate_parent(const struct chain *chain, uint32_t flags, const struct vhdx_open_options *opts,
                  struct chain_link *link, struct image **ret_parent, struct vhdx_error *err);

/* Is the DataWriteGuid of parent one of the child's linkages? A zero linkage matches nothing. */
bool locate_matches(const struct image *child, const struct image *parent);

#endif
