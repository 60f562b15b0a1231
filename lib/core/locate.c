/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* Finding a parent; see locate.h. */

#include "core/locate.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/winpath.h"
#include "util/cleanup.h"

#define FOLDERS 2 /* of the child: as its path says, and with symbolic links resolved */

struct search {
    const struct chain *chain;
    const struct image *child;
    const struct vhdx_open_options *opts;
    struct chain_link *link;
    char *folders[FOLDERS];      /* owned; NULL: not there, or the same as the first */
    struct file_id seen[LIMIT_STEPS];
    size_t seen_count;
    bool keep_mismatch;          /* VHDX_OPEN_ANY_PARENT */
    struct image *parent;        /* owned until handed out: the right one */
    struct image *mismatch;      /* owned: the first wrong one, if it is wanted */
    uint32_t mismatch_found_by;
};

#define STEP(s, ...) lines_add(&(s)->link->steps, LIMIT_STEPS, __VA_ARGS__)

bool locate_matches(const struct image *child, const struct image *parent)
{
    for (int i = 0; i < 2; i++)
        if (!guid_is_zero(&child->linkage[i]) &&
            guid_equal(&child->linkage[i], &parent->header.data_write_guid))
            return true;
    return false;
}

/* ---- Candidates ----------------------------------------------------------------------------- */

static bool is_in_chain(const struct search *s, const struct image *img)
{
    for (uint32_t i = 0; i < s->chain->count; i++)
        if (img->has_id && s->chain->images[i]->has_id &&
            file_id_equal(&img->id, &s->chain->images[i]->id))
            return true;
    return false;
}

/* Has this file been looked at before? Remembers it. */
static bool is_seen(struct search *s, const struct image *img)
{
    for (size_t i = 0; i < s->seen_count; i++)
        if (file_id_equal(&img->id, &s->seen[i]))
            return true;
    if (s->seen_count < ARRAY_LEN(s->seen))
        s->seen[s->seen_count++] = img->id;
    return false;
}

static void reject_mismatch(struct search *s, struct image *img, uint32_t found_by,
                            const char *label)
{
    char text[GUID_TEXT_SIZE];

    guid_format(&img->header.data_write_guid, text);
    STEP(s, "%s: %s: data write GUID is {%s}, not the parent's", label, img->path, text);
    s->link->status = VHDX_LINK_MISMATCH;
    if (s->keep_mismatch && !s->mismatch) {
        s->mismatch = img;
        s->mismatch_found_by = found_by;
        return;
    }
    image_close(img);
}

static void note_unusable(struct search *s, const char *path, const char *label,
                          const struct vhdx_error *problem)
{
    if (problem->sys_errno == ENOENT) {
        STEP(s, "%s: %s: no such file", label, path);
        return;
    }
    STEP(s, "%s: %s", label, problem->message);
    s->link->finding = VHDX_P_PARENT_BROKEN; /* unless another one is found */
}

/*
 * Tries the file at path. Returns 0 whether or not it is the parent (s->parent says), negative if
 * the search cannot go on. label says in the steps why it was tried. In a search by GUID nothing
 * but its folder speaks for a file: one that is not the parent is passed over in silence.
 */
static int try_path(struct search *s, const char *path, uint32_t found_by, const char *label,
                    struct vhdx_error *err)
{
    struct vhdx_error problem;
    struct image *img;
    bool by_guid = found_by == VHDX_FOUND_SEARCH_GUID;

    int r = s->chain->layer ? image_open_layered(path, s->chain->layer, &img, &problem)
                            : image_open_path(path, false, &img, &problem);
    if (r == -VHDX_E_NOMEM)
        return fail_nomem(err);
    if (r < 0) {
        if (!by_guid)
            note_unusable(s, path, label, &problem);
        return 0;
    }
    bool matches = locate_matches(s->child, img);
    if (by_guid && !matches) {
        image_close(img);
        return 0;
    }
    if (is_in_chain(s, img)) {
        image_close(img);
        if (matches) {
            s->link->finding = VHDX_P_PARENT_CYCLE;
            return fail(err, VHDX_E_CORRUPT, VHDX_OFFSET_NONE,
                        "chain: %s is its own ancestor: the parents form a cycle", path);
        }
        STEP(s, "%s: %s: is in the chain already", label, path);
        return 0;
    }
    if (matches) {
        STEP(s, "%s: %s: found", label, path);
        s->parent = img;
        s->link->found_by = found_by;
    } else if (is_seen(s, img)) {
        image_close(img);
        STEP(s, "%s: %s: is a file tried above", label, path);
    } else {
        reject_mismatch(s, img, found_by, label);
    }
    return 0;
}

/* ---- Where to look -------------------------------------------------------------------------- */

static int try_given(struct search *s, struct vhdx_error *err)
{
    int r = 0;

    for (size_t i = 0; i < s->opts->parents_count && r == 0 && !s->parent; i++)
        r = try_path(s, s->opts->parents[i], VHDX_FOUND_GIVEN, "given parent", err);
    return r;
}

static void key_label(char *label, size_t size, const char *key, const char *value)
{
    snprintf(label, size, "%s \"%s\"", key, value);
}

#define LABEL_SIZE 320

/* Tries path, and where that is not there, the same names in another case. */
static int try_any_case(struct search *s, const char *path, size_t keep, uint32_t found_by,
                        const char *label, struct vhdx_error *err)
{
    CLEANUP_FREE char *found = winpath_find(path, keep);

    return try_path(s, found ? found : path, found_by, label, err);
}

static int try_relative(struct search *s, struct vhdx_error *err)
{
    const char *value = image_locator_value(s->child, "relative_path");
    char label[LABEL_SIZE];
    int r = 0;

    if (!value)
        return 0;
    key_label(label, sizeof label, "relative_path", value);
    if (!s->folders[0])
        STEP(s, "%s: the image has no folder", label);
    for (int i = 0; i < FOLDERS && s->folders[i] && r == 0 && !s->parent; i++) {
        const char *why;
        size_t keep = 0;
        CLEANUP_FREE char *path = winpath_from_folder(s->folders[i], value, &keep, &why);
        if (path)
            r = try_any_case(s, path, keep, VHDX_FOUND_RELATIVE_PATH, label, err);
        else
            STEP(s, "%s: %s", label, why);
    }
    return r;
}

static int try_mapped(struct search *s, const char *key, uint32_t found_by,
                      struct vhdx_error *err)
{
    const char *value = image_locator_value(s->child, key);
    char label[LABEL_SIZE];
    const char *why;
    size_t keep = 0;

    if (!value)
        return 0;
    key_label(label, sizeof label, key, value);
    CLEANUP_FREE char *path =
        winpath_map(value, s->opts->path_maps, s->opts->path_maps_count, &keep, &why);
    if (!path) {
        STEP(s, "%s: %s", label, why);
        return 0;
    }
    return try_any_case(s, path, keep, found_by, label, err);
}

static int try_volume(struct search *s, struct vhdx_error *err)
{
    return try_mapped(s, "volume_path", VHDX_FOUND_VOLUME_PATH, err);
}

static int try_absolute(struct search *s, struct vhdx_error *err)
{
    return try_mapped(s, "absolute_win32_path", VHDX_FOUND_ABSOLUTE_PATH, err);
}

/* Does one of the locator's paths end in this file name? */
static bool is_named(const struct image *child, const char *name)
{
    static const char *const keys[] = { "relative_path", "volume_path", "absolute_win32_path" };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *value = image_locator_value(child, keys[i]);
        if (value && winpath_same_image_name(winpath_basename(value), name))
            return true;
    }
    return false;
}

/* The image's own name is no trace of its parent: names differ by their endings only. */
static bool is_own_name(const struct image *child, const char *folder, const char *name)
{
    CLEANUP_FREE char *own = child->path ? strdup(child->path) : NULL;
    CLEANUP_FREE char *own_folder = own ? strdup(own) : NULL;

    return own && own_folder && strcmp(basename(own), name) == 0 &&
           strcmp(dirname(own_folder), folder) == 0;
}

/* Tries the files of a folder: those with the parent's name, or all of them for their GUID. */
static int try_folder(struct search *s, const char *folder, uint32_t found_by, const char *label,
                      struct vhdx_error *err)
{
    bool by_guid = found_by == VHDX_FOUND_SEARCH_GUID;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    bool tried = false;
    int r = 0;

    if (!dir) {
        STEP(s, "%s: %s: %s", label, folder, strerror(errno));
        return 0;
    }
    for (int i = 0; i < LIMIT_FOLDER_ENTRIES && r == 0 && !s->parent && (entry = readdir(dir));
         i++) {
        CLEANUP_FREE char *path = NULL;
        if (entry->d_type != DT_REG && entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
            continue;
        if (!by_guid && !is_named(s->child, entry->d_name))
            continue;
        if (is_own_name(s->child, folder, entry->d_name))
            continue;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
            r = fail_nomem(err);
        else
            r = try_path(s, path, found_by, label, err);
        tried = true;
    }
    closedir(dir);
    if (r == 0 && !s->parent && (by_guid || !tried))
        STEP(s, "%s: %s: %s", label, folder,
             by_guid ? "no image has the parent's GUID" : "no file of that name");
    return r;
}

static int try_own_folder(struct search *s, struct vhdx_error *err)
{
    int r = 0;

    for (int i = 0; i < FOLDERS && s->folders[i] && r == 0 && !s->parent; i++)
        r = try_folder(s, s->folders[i], VHDX_FOUND_OWN_FOLDER, "file name in own folder", err);
    return r;
}

static int try_search_dirs(struct search *s, struct vhdx_error *err)
{
    int r = 0;

    for (size_t i = 0; i < s->opts->search_dirs_count && r == 0 && !s->parent; i++)
        r = try_folder(s, s->opts->search_dirs[i], VHDX_FOUND_SEARCH_NAME,
                       "file name in search folder", err);
    for (size_t i = 0; i < s->opts->search_dirs_count && r == 0 && !s->parent; i++)
        r = try_folder(s, s->opts->search_dirs[i], VHDX_FOUND_SEARCH_GUID,
                       "GUID in search folder", err);
    return r;
}

/* ---- The search ----------------------------------------------------------------------------- */

static char *folder_of(const char *path)
{
    CLEANUP_FREE char *copy = path ? strdup(path) : NULL;

    return copy ? strdup(dirname(copy)) : NULL;
}

static void set_folders(struct search *s)
{
    CLEANUP_FREE char *real = s->child->path ? realpath(s->child->path, NULL) : NULL;

    s->folders[0] = folder_of(s->child->path);
    s->folders[1] = folder_of(real);
    CLEANUP_FREE char *real_folder = s->folders[0] ? realpath(s->folders[0], NULL) : NULL;
    if (s->folders[1] && real_folder && strcmp(s->folders[1], real_folder) == 0)
        free(steal_ptr(s->folders[1]));
}

/* The steps, joined for the error's message as far as it goes. */
static int fail_search(const struct search *s, struct vhdx_error *err)
{
    bool mismatch = s->link->status == VHDX_LINK_MISMATCH;
    const char *verdict =
        mismatch ? "was not found, another image is in its place" : "is missing";
    const struct lines *steps = &s->link->steps;
    char tried[sizeof err->message] = "", text[GUID_TEXT_SIZE];
    size_t len = 0;

    for (size_t i = 0; i < steps->count && len + 1 < sizeof tried; i++)
        len += (size_t)snprintf(tried + len, sizeof tried - len, "%s%s", i ? "; " : "",
                                steps->items[i]);
    guid_format(&s->child->linkage[0], text);
    if (asprintf(&s->link->problem, "parent {%s} %s", text, verdict) < 0)
        return fail_nomem(err);
    return fail(err, mismatch ? VHDX_E_PARENT_MISMATCH : VHDX_E_PARENT_MISSING, VHDX_OFFSET_NONE,
                "%s: parent {%s} %s; tried: %s", image_name(s->child), text, verdict, tried);
}

static int run_search(struct search *s, struct vhdx_error *err)
{
    static int (*const places[])(struct search *, struct vhdx_error *) = {
        try_given, try_relative, try_volume, try_absolute, try_own_folder, try_search_dirs,
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(places) && r == 0 && !s->parent; i++)
        r = places[i](s, err);
    if (r < 0)
        return r;
    if (!s->parent && s->mismatch) {
        s->parent = steal_ptr(s->mismatch);
        s->link->found_by = s->mismatch_found_by;
        s->link->problem = strdup("data write GUID is not the parent's; accepted as asked");
    } else if (s->parent) {
        s->link->status = VHDX_LINK_OK;
        s->link->finding = 0;
    }
    return s->parent ? 0 : fail_search(s, err);
}

int locate_parent(const struct chain *chain, uint32_t flags, const struct vhdx_open_options *opts,
                  struct chain_link *link, struct image **ret_parent, struct vhdx_error *err)
{
    struct search *s = calloc(1, sizeof *s);

    if (!s)
        return fail_nomem(err);
    s->chain = chain;
    s->child = chain->images[chain->count - 1];
    s->opts = opts;
    s->link = link;
    s->keep_mismatch = flags & VHDX_OPEN_ANY_PARENT;
    link->status = VHDX_LINK_MISSING;
    link->found_by = VHDX_FOUND_NOT;
    set_folders(s);

    int r = run_search(s, err);
    if (r == 0)
        *ret_parent = steal_ptr(s->parent);
    image_close(s->mismatch);
    for (int i = 0; i < FOLDERS; i++)
        free(s->folders[i]);
    free(s);
    return r;
}
