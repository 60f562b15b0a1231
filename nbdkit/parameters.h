/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * What `nbdkit vhdx KEY=VALUE...` says: the image, and where its parents may be found. Paths are
 * made absolute, because the server leaves the folder that it was started in.
 */
#ifndef VHDX_NBDKIT_PARAMETERS_H
#define VHDX_NBDKIT_PARAMETERS_H

#include <stddef.h>
#include <stdint.h>

#include <vhdx.h>

#define PARAMETERS_HELP \
    "[file=]FILE            the image to serve (required)\n" \
    "parent=FILE            take FILE as a parent if its GUID is right (repeatable)\n" \
    "search-dir=DIR         look for parents in DIR too, by name and by GUID (repeatable)\n" \
    "map-path=WIN=DIR       the Windows folder WIN is here DIR (repeatable)\n" \
    "no-parent=true         serve a differencing image alone, and read-only\n" \
    "any-parent=true        accept a parent whose GUID does not match\n" \
    "force-share=true       take no lock: the image may be in use"

/* Growing array of strings, each owned. */
struct strings {
    char **items;
    size_t count;
};

/* Zeroed before, released with parameters_free() after. All strings are owned. */
struct parameters {
    char *file;
    struct strings parents;
    struct strings search_dirs;
    struct vhdx_path_map *path_maps;
    size_t path_maps_count;
    uint32_t open_flags; /* VHDX_OPEN_..., without VHDX_OPEN_RDWR */
};

/* Takes one. -1: what is wrong was reported. */
int parameters_take(struct parameters *p, const char *key, const char *value);

/* Whether all that is required was given. -1: what is missing was reported. */
int parameters_complete(const struct parameters *p);

/* What *ret points to belongs to p. */
void parameters_open_options(const struct parameters *p, struct vhdx_open_options *ret);

void parameters_free(struct parameters *p);

#endif /* VHDX_NBDKIT_PARAMETERS_H */
