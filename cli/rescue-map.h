/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * A map file as GNU ddrescue writes it: which parts of a copy are good, and which could not be had.
 */
#ifndef VHDX_CLI_RESCUE_MAP_H
#define VHDX_CLI_RESCUE_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <vhdx.h>

#include "lost.h"

/* Zeroed before rescue_map_open(), released with rescue_map_close() after. */
struct rescue_map {
    FILE *file;      /* under its temporary name */
    char *path;      /* final name; symbolic links of a file that is there are resolved */
    char *temporary; /* NULL when there is no such file, or no more */
    bool replaces;   /* something stands at path, whose mode is kept */
    mode_t mode;
};

/* What the map file must not take the place of. */
struct rescue_map_others {
    const char *image;
    struct vhdx *v;     /* the image with its parents; NULL if it cannot be opened */
    const char *output; /* may not be there yet */
};

/* True when nothing speaks against a map file at path, and it has been created under a temporary
   name. False: the reason was reported. replace: a file that is there and not empty may go. */
bool rescue_map_open(struct rescue_map *map, const char *path, bool replace,
                     const struct rescue_map_others *others);

/* Writes it, makes it stable and gives it its name. False: the reason was reported. */
bool rescue_map_write(struct rescue_map *map, const char *output, uint64_t virtual_size,
                      const struct lost_list *lost);

/* Removes a file that has not got its name. Harmless when repeated. */
void rescue_map_close(struct rescue_map *map);

#endif /* VHDX_CLI_RESCUE_MAP_H */
