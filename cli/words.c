/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * Names of the library's enumerations. A library newer than the tool may return values that are
 * not listed: they are "unknown".
 */
#include "words.h"

#include <stddef.h>

#include <vhdx.h>

#define WORD_AT(words, index) \
    ((index) < sizeof(words) / sizeof((words)[0]) && (words)[index] ? (words)[index] : "unknown")

const char *word_of_type(uint32_t type)
{
    static const char *const words[] = {
        [VHDX_TYPE_FIXED] = "fixed",
        [VHDX_TYPE_DYNAMIC] = "dynamic",
        [VHDX_TYPE_DIFFERENCING] = "differencing",
    };

    return WORD_AT(words, type);
}

const char *word_of_log_state(uint32_t log_state)
{
    static const char *const words[] = {
        [VHDX_LOG_CLEAN] = "clean",
        [VHDX_LOG_DIRTY] = "dirty",
        [VHDX_LOG_EMPTY] = "empty",
    };

    return WORD_AT(words, log_state);
}

const char *word_of_link_status(uint32_t status)
{
    static const char *const words[] = {
        [VHDX_LINK_OK] = "ok",
        [VHDX_LINK_MISSING] = "missing",
        [VHDX_LINK_MISMATCH] = "mismatch",
        [VHDX_LINK_BROKEN] = "broken",
    };

    return WORD_AT(words, status);
}

const char *word_of_found_by(uint32_t found_by)
{
    static const char *const words[] = {
        [VHDX_FOUND_GIVEN] = "given",
        [VHDX_FOUND_RELATIVE_PATH] = "relative-path",
        [VHDX_FOUND_VOLUME_PATH] = "volume-path",
        [VHDX_FOUND_ABSOLUTE_PATH] = "absolute-path",
        [VHDX_FOUND_OWN_FOLDER] = "own-folder",
        [VHDX_FOUND_SEARCH_NAME] = "search-name",
        [VHDX_FOUND_SEARCH_GUID] = "search-guid",
        [VHDX_FOUND_NOT] = "not-found",
    };

    return WORD_AT(words, found_by);
}

const char *phrase_of_found_by(uint32_t found_by)
{
    static const char *const phrases[] = {
        [VHDX_FOUND_GIVEN] = "given with --parent",
        [VHDX_FOUND_RELATIVE_PATH] = "found by its relative path",
        [VHDX_FOUND_VOLUME_PATH] = "found by its volume path",
        [VHDX_FOUND_ABSOLUTE_PATH] = "found by its absolute path",
        [VHDX_FOUND_OWN_FOLDER] = "found by its name in the child's folder",
        [VHDX_FOUND_SEARCH_NAME] = "found by its name in a search folder",
        [VHDX_FOUND_SEARCH_GUID] = "found by its GUID in a search folder",
        [VHDX_FOUND_NOT] = "not found",
    };

    return WORD_AT(phrases, found_by);
}

const char *word_of_severity(uint32_t severity)
{
    static const char *const words[] = {
        [VHDX_SEVERITY_NOTE] = "note",
        [VHDX_SEVERITY_LEAK] = "leak",
        [VHDX_SEVERITY_ERROR] = "error",
        [VHDX_SEVERITY_FATAL] = "fatal",
    };

    return WORD_AT(words, severity);
}

const char *word_of_repair(uint32_t repair)
{
    static const char *const words[] = {
        [VHDX_REPAIR_NONE] = "none",
        [VHDX_REPAIR_SAFE] = "safe",
        [VHDX_REPAIR_ALL] = "all",
    };

    return WORD_AT(words, repair);
}
