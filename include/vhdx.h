/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/*
 * libvhdx: read and write Microsoft VHDX disk images (.vhdx, .avhdx).
 *
 * The shortest useful program:
 *
 *     struct vhdx *v;
 *     struct vhdx_error err;
 *     if (vhdx_open("disk.vhdx", VHDX_OPEN_RDONLY, NULL, &v, &err) < 0)
 *         errx(1, "%s", err.message);
 *     vhdx_pread(v, buf, sizeof buf, 0, &err);
 *     vhdx_close(v);
 *
 * Below: errors, custom files, opening, reading, writing, extents, facts, creating, whole-image
 * operations, helpers.
 *
 * Rules that hold for every call
 *   - Offsets and lengths are bytes and need no alignment. A transfer is whole or fails.
 *   - A function that can fail returns 0 or the negative of an enum vhdx_code, and describes the
 *     failure in *err. err may be NULL. *err is untouched on success. Outputs (ret_x, *ret) are
 *     written on success only.
 *   - Structs that may grow begin with struct_size; initialise them with their ..._INIT macro.
 *     A NULL options pointer means the defaults.
 *   - Strings are UTF-8. Strings inside returned structs belong to the handle and live until
 *     vhdx_close().
 *
 * Threads
 *   Separate handles are independent. On one handle vhdx_pread, vhdx_pwrite, vhdx_zero, vhdx_trim,
 *   vhdx_flush, vhdx_extents and the queries may run from any number of threads at once; writes
 *   that overlap in time leave, sector by sector, the data of one of them. vhdx_finish, vhdx_close
 *   and whole-image operations exclude every other call. The library starts no threads, prints
 *   nothing, never exits, and installs no signal handlers.
 *
 * [MS-VHDX] in the comments is Microsoft's specification of the format, revision 8.0.
 */
#ifndef VHDX_H
#define VHDX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VHDX_PUBLIC __attribute__((visibility("default")))
#else
#define VHDX_PUBLIC
#endif

struct vhdx; /* an open image together with its chain of parents; opaque */

/* ---- Errors --------------------------------------------------------------------------------- */

enum vhdx_code {
    VHDX_OK = 0,
    VHDX_E_SYSTEM = 10,           /* a system call failed: see sys_errno */
    VHDX_E_NOMEM = 20,            /* out of memory */
    VHDX_E_INVALID = 30,          /* the caller's mistake: a bad argument or option */
    VHDX_E_NOT_VHDX = 40,         /* the file does not begin with the VHDX signature */
    VHDX_E_CORRUPT = 50,          /* a structure of the file breaks a rule of the format */
    VHDX_E_CHECKSUM = 60,         /* a structure's CRC-32C does not match its content */
    VHDX_E_UNSUPPORTED = 70,      /* valid, but needs something this library does not know */
    VHDX_E_TRUNCATED = 80,        /* the file ends before something that it must contain */
    VHDX_E_PARENT_MISSING = 90,   /* no file was found for a differencing image's parent */
    VHDX_E_PARENT_MISMATCH = 100, /* files were found, none is the parent this child was made of */
    VHDX_E_READ_ONLY = 110,       /* a change was asked for through a read-only handle */
    VHDX_E_RANGE = 120,           /* offset and length reach beyond the end of the virtual disk */
    VHDX_E_NOSPACE = 130,         /* no space left for the file to grow */
    VHDX_E_LOCKED = 140,          /* another process has the file open in a way that excludes us */
    VHDX_E_LIMIT = 150,           /* a count or size in the file is beyond this library's limits */
    VHDX_E_POISONED = 160,        /* an earlier failed flush or metadata write ended all changes */
    VHDX_E_CANCELLED = 170        /* a progress callback asked to stop */
};

#define VHDX_OFFSET_NONE UINT64_MAX /* file_offset of an error that concerns no place in a file */

/*
 * What went wrong. message is one line of UTF-8 without a newline and without control characters:
 * "PATH: OBJECT: FIELD is FOUND, must be REQUIRED". file_offset is where in the file the offending
 * bytes stand, or VHDX_OFFSET_NONE. sys_errno is an errno value or 0.
 */
struct vhdx_error {
    int32_t code;      /* enum vhdx_code, positive */
    int32_t sys_errno;
    uint64_t file_offset;
    char message[496];
};

/* The name of a code, e.g. "VHDX_E_CORRUPT"; accepts either sign. "VHDX_E_?" for unknown ones. */
VHDX_PUBLIC const char *vhdx_code_name(int code);

/* A pair of texts: an entry of a parent locator. */
struct vhdx_key_value {
    const char *key;
    const char *value;
};

/* ---- Custom files --------------------------------------------------------------------------- */

/*
 * The file an image lives in, as a table of calls: implement it to keep images inside other
 * containers. Calls return 0 or -errno and may come from any thread at once. A NULL pwrite makes
 * the file read-only; then flush, truncate, zero and discard are never called and may be NULL too.
 */
struct vhdx_io {
    size_t struct_size; /* sizeof(struct vhdx_io) */
    void *opaque;       /* first argument of every call */
    int (*pread)(void *opaque, void *buf, size_t len, uint64_t offset); /* whole; never past the
                                                                           end of the file */
    int (*pwrite)(void *opaque, const void *buf, size_t len, uint64_t offset); /* whole; extends */
    int (*flush)(void *opaque);                          /* all completed calls become stable */
    int (*size)(void *opaque, uint64_t *ret_size);
    int (*truncate)(void *opaque, uint64_t size);        /* growth reads as zeros */
    int (*zero)(void *opaque, uint64_t offset, uint64_t len);    /* NULL or -EOPNOTSUPP: the
                                                                    library writes zeros */
    int (*discard)(void *opaque, uint64_t offset, uint64_t len); /* space freed, then reads as
                                                                    zeros; may be NULL */
    void (*close)(void *opaque);                         /* called once, by vhdx_close() */
};

#define VHDX_IO_INIT \
    { sizeof(struct vhdx_io), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/*
 * Files of the operating system: regular files and block devices, opened O_CLOEXEC and without
 * touching their access time where permitted. Anything else is VHDX_E_INVALID. flags:
 * VHDX_OPEN_RDONLY, VHDX_OPEN_RDWR, VHDX_OPEN_NO_LOCK, as in vhdx_open(), which uses this itself;
 * call it to put a layer of your own in between.
 */
VHDX_PUBLIC int vhdx_io_file(const char *path, uint32_t flags, struct vhdx_io *ret,
                             struct vhdx_error *err);

/*
 * A file in memory that begins as a copy of len bytes at data (data may be NULL when len is 0). It
 * is writable through its own calls and ends with close().
 */
VHDX_PUBLIC int vhdx_io_memory(const void *data, size_t len, struct vhdx_io *ret,
                               struct vhdx_error *err);

/* ---- Opening -------------------------------------------------------------------------------- */

/* Flags of vhdx_open. */
#define VHDX_OPEN_RDONLY 0u        /* the file stays bit-identical; a dirty log is replayed in
                                      memory */
#define VHDX_OPEN_RDWR 1u          /* writable; the parents stay read-only. A dirty log is replayed
                                      into the file; nothing else is written before the first
                                      change. A differencing image needs all of its parents */
#define VHDX_OPEN_NO_PARENT 2u     /* look for no parent: what it would supply reads as zeros and is
                                      reported as VHDX_EXTENT_HOLE */
#define VHDX_OPEN_NO_LOCK 4u       /* take no lock: what is read may change underneath */
#define VHDX_OPEN_ANY_PARENT 8u    /* accept a parent found by path whose GUID does not match */
#define VHDX_OPEN_PARTIAL_CHAIN 16u /* a missing, wrong or broken parent is no error: the chain ends
                                      there as with NO_PARENT, and vhdx_get_link() tells why */

/* The beginning of a Windows path and the local folder that stands for it. */
struct vhdx_path_map {
    const char *windows; /* "C:\\VMs", "\\\\?\\Volume{GUID}", "\\\\server\\share"; any case */
    const char *local;   /* "/mnt/vms" */
};

/*
 * Where parents may be found. For each child the candidates are tried in this order, and the first
 * whose DataWriteGuid is the child's parent_linkage or parent_linkage2 is taken
 * ([MS-VHDX] 2.6.2.6.3): parents[]; relative_path from the child's folder; volume_path and
 * absolute_win32_path through path_maps; the same file name, regardless of case and of .vhdx or
 * .avhdx, in the child's folder, then in search_dirs; any image in search_dirs with the right GUID.
 * No other file is opened. The arrays and strings need to live only during the call.
 */
struct vhdx_open_options {
    size_t struct_size;
    const char *const *parents;
    size_t parents_count;
    const char *const *search_dirs;
    size_t search_dirs_count;
    const struct vhdx_path_map *path_maps;
    size_t path_maps_count;
};

#define VHDX_OPEN_OPTIONS_INIT { sizeof(struct vhdx_open_options), NULL, 0, NULL, 0, NULL, 0 }

/*
 * Opens the image at path and, for a differencing image, its chain of parents (at most 256 images).
 * *ret is to be closed with vhdx_close(). The cost does not depend on the size of the disk. A file
 * that another process holds open for writing is VHDX_E_LOCKED (QEMU's locks are understood);
 * on file systems without locks none is taken.
 */
VHDX_PUBLIC int vhdx_open(const char *path, uint32_t flags, const struct vhdx_open_options *opts,
                          struct vhdx **ret, struct vhdx_error *err);

/*
 * The same over a custom file, which is copied and belongs to the handle, also if the call fails
 * (close is called then). There is no folder of the child: relative_path is not tried.
 */
VHDX_PUBLIC int vhdx_open_io(struct vhdx_io *io, uint32_t flags,
                             const struct vhdx_open_options *opts, struct vhdx **ret,
                             struct vhdx_error *err);

/*
 * Ends a session of changes: everything is made stable, slack is cut off the end of the file and
 * the log is left clean. The handle stays usable. Nothing to do for a read-only handle.
 */
VHDX_PUBLIC int vhdx_finish(struct vhdx *v, struct vhdx_error *err);

/*
 * Closes the image and its parents. NULL is fine. Loses nothing that was flushed; without a
 * vhdx_finish() before it the log stays dirty, and the next one to open the image replays it.
 */
VHDX_PUBLIC void vhdx_close(struct vhdx *v);

/* ---- Reading -------------------------------------------------------------------------------- */

/*
 * Reads len bytes of the virtual disk at offset into buf. On failure the content of buf is
 * undefined. VHDX_E_RANGE beyond the end of the disk, VHDX_E_TRUNCATED where the file ends before
 * the block, VHDX_E_CORRUPT where the BAT breaks a rule.
 */
VHDX_PUBLIC int vhdx_pread(struct vhdx *v, void *buf, size_t len, uint64_t offset,
                           struct vhdx_error *err);

/* ---- Writing -------------------------------------------------------------------------------- */

/*
 * An image that has children must not be written to: they would show a mixture of both. A file does
 * not know its children; whoever writes must. The first change of a session gives the image a new
 * DataWriteGuid, by which its children notice.
 *
 * Changes fail with VHDX_E_READ_ONLY on a handle without VHDX_OPEN_RDWR, changes and flushes with
 * VHDX_E_POISONED once a flush or a metadata write has failed: then nothing more can be promised of
 * what was written since the last successful flush. VHDX_E_NOSPACE leaves what was flushed intact
 * and the image usable; the range of the failed call may have changed in part.
 */

#define VHDX_FUA 1u /* the call's changes are stable when it returns, as after vhdx_flush() */

VHDX_PUBLIC int vhdx_pwrite(struct vhdx *v, const void *buf, size_t len, uint64_t offset,
                            uint32_t flags, struct vhdx_error *err);

/* The range then reads as zeros, and takes no space where that is possible. */
VHDX_PUBLIC int vhdx_zero(struct vhdx *v, uint64_t len, uint64_t offset, uint32_t flags,
                          struct vhdx_error *err);

/*
 * The range's content is no longer needed: space that this image holds for it is freed and reads as
 * zeros from then on, never as the parent's data. What this image does not hold is left as it is. A
 * fixed image keeps its size.
 */
VHDX_PUBLIC int vhdx_trim(struct vhdx *v, uint64_t len, uint64_t offset, uint32_t flags,
                          struct vhdx_error *err);

/* All calls that have returned survive a loss of power. Calls that arrive together share the work.
   Nothing to do for a read-only handle. */
VHDX_PUBLIC int vhdx_flush(struct vhdx *v, struct vhdx_error *err);

/* ---- Extents -------------------------------------------------------------------------------- */

#define VHDX_EXTENT_DATA 0u /* stored in a file of the chain */
#define VHDX_EXTENT_ZERO 1u /* recorded as zeros by a file of the chain */
#define VHDX_EXTENT_HOLE 2u /* not allocated anywhere in the chain; reads as zeros */

struct vhdx_extent {
    uint64_t offset;      /* in the virtual disk, bytes */
    uint64_t length;      /* bytes, > 0 */
    uint32_t kind;        /* VHDX_EXTENT_... */
    uint32_t depth;       /* which file decides: 0 this image, 1 its parent, ... */
    uint64_t file_offset; /* DATA: where in that file; else VHDX_OFFSET_NONE */
};

/*
 * Calls fn for each extent of [offset, offset + len) in order, without gaps, neighbours of one kind
 * joined where they lie together in one file. A non-zero return of fn ends the walk and becomes the
 * return value. fn may call vhdx_pread. Reads the block allocation table and the sector bitmaps,
 * never the payload.
 */
VHDX_PUBLIC int vhdx_extents(struct vhdx *v, uint64_t offset, uint64_t len,
                             int (*fn)(const struct vhdx_extent *extent, void *opaque),
                             void *opaque, struct vhdx_error *err);

/* ---- Facts ---------------------------------------------------------------------------------- */

VHDX_PUBLIC uint64_t vhdx_size(const struct vhdx *v); /* of the virtual disk, bytes, <= 64 TiB */
VHDX_PUBLIC uint32_t vhdx_block_size(const struct vhdx *v);           /* 1 MiB .. 256 MiB */
VHDX_PUBLIC uint32_t vhdx_logical_sector_size(const struct vhdx *v);  /* 512 or 4096 */
VHDX_PUBLIC uint32_t vhdx_physical_sector_size(const struct vhdx *v); /* 512 or 4096 */

#define VHDX_TYPE_FIXED 1u
#define VHDX_TYPE_DYNAMIC 2u
#define VHDX_TYPE_DIFFERENCING 3u

#define VHDX_LOG_CLEAN 1u /* LogGuid is zero: nothing to replay */
#define VHDX_LOG_DIRTY 2u /* entries were found and replayed in memory */
#define VHDX_LOG_EMPTY 3u /* LogGuid is set, but the log holds nothing but zeros */

#define VHDX_GUID_TEXT 37 /* "2dc27766-f623-4200-9d64-115e9bfd4a08" and the NUL */

/* One of two copies of a structure: the headers, the region tables. */
struct vhdx_copy_info {
    uint32_t valid;           /* 1: passes every check */
    uint32_t in_use;          /* 1: the one the image was opened with */
    uint64_t sequence_number; /* headers only */
    const char *problem;      /* what is wrong with it when not valid, else NULL */
};

struct vhdx_info {
    size_t struct_size;
    uint32_t type; /* VHDX_TYPE_... */
    uint32_t block_size;
    uint32_t logical_sector_size;
    uint32_t physical_sector_size;
    uint64_t virtual_size;
    uint64_t file_size;          /* bytes, as it is on disk */
    const char *path;            /* as given to vhdx_open; NULL for a custom file */
    const char *creator;         /* program that wrote the file; may be empty */
    char virtual_disk_id[VHDX_GUID_TEXT]; /* SCSI page 0x83 */
    char file_write_guid[VHDX_GUID_TEXT];
    char data_write_guid[VHDX_GUID_TEXT]; /* children know their parent by it */
    char log_guid[VHDX_GUID_TEXT];
    struct vhdx_copy_info headers[2];
    struct vhdx_copy_info region_tables[2];
    uint32_t log_state; /* VHDX_LOG_... */
    uint32_t log_entries;          /* in the active sequence */
    uint64_t log_offset, log_length;
    uint64_t log_first_sequence_number, log_last_sequence_number; /* of the active sequence */
    uint64_t metadata_offset, metadata_length;
    uint64_t bat_offset, bat_length, bat_entries;
    uint32_t chain_length;         /* images that are open, this one included */
    const struct vhdx_key_value *locator; /* parent locator, in the file's order */
    size_t locator_count;
    const char *const *notes;      /* what is unusual, one sentence each */
    size_t notes_count;
};

#define VHDX_INFO_INIT { .struct_size = sizeof(struct vhdx_info) }

/* Everything known of the image without reading its BAT. *ret must have struct_size set. */
VHDX_PUBLIC int vhdx_get_info(struct vhdx *v, struct vhdx_info *ret, struct vhdx_error *err);

/* Counts of the image's own blocks (its parents' are not included). */
struct vhdx_stats {
    size_t struct_size;
    uint64_t payload_blocks;      /* in all; the next six add up to it */
    uint64_t not_present, undefined, zero, unmapped, fully_present, partially_present;
    uint64_t bitmap_blocks;       /* sector bitmap blocks present */
    uint64_t anchored_blocks;     /* undefined or unmapped blocks that still own space */
    uint64_t lost_blocks;         /* present blocks that begin at or past the end of the file */
    uint64_t cut_blocks;          /* present blocks that the end of the file cuts short */
    uint64_t required_file_size;  /* bytes the file needs to hold all of its structures */
};

#define VHDX_STATS_INIT { .struct_size = sizeof(struct vhdx_stats) }

/* Reads the whole BAT, in constant memory. *ret must have struct_size set. */
VHDX_PUBLIC int vhdx_get_stats(struct vhdx *v, struct vhdx_stats *ret, struct vhdx_error *err);

#define VHDX_LINK_OK 0u
#define VHDX_LINK_MISSING 1u  /* no candidate for this parent exists */
#define VHDX_LINK_MISMATCH 2u /* candidates exist, none has the right GUID; with
                                 VHDX_OPEN_ANY_PARENT: it was taken all the same */
#define VHDX_LINK_BROKEN 3u   /* the right file was found, but cannot be used */

#define VHDX_FOUND_GIVEN 0u         /* named by the caller */
#define VHDX_FOUND_RELATIVE_PATH 1u
#define VHDX_FOUND_VOLUME_PATH 2u
#define VHDX_FOUND_ABSOLUTE_PATH 3u
#define VHDX_FOUND_OWN_FOLDER 4u    /* by file name, in the child's folder */
#define VHDX_FOUND_SEARCH_NAME 5u   /* by file name, in a search folder */
#define VHDX_FOUND_SEARCH_GUID 6u   /* by GUID, in a search folder */
#define VHDX_FOUND_NOT 7u           /* not found */

/* One image of the chain. */
struct vhdx_link {
    size_t struct_size;
    uint32_t depth;      /* 0: the image itself, 1: its parent, ... */
    uint32_t status;     /* VHDX_LINK_... */
    uint32_t found_by;   /* VHDX_FOUND_... */
    const char *path;    /* NULL when missing, or a custom file */
    const char *problem; /* one line when status is not OK, else NULL */
    const char *const *steps; /* what was tried to find it, in order, with the outcome */
    size_t steps_count;
    char wanted_guid[VHDX_GUID_TEXT];  /* the child's parent_linkage; empty for depth 0 */
    /* The following are set when the image is open. */
    char data_write_guid[VHDX_GUID_TEXT];
    uint32_t type, block_size, logical_sector_size, log_state;
    uint64_t virtual_size, file_size;
};

#define VHDX_LINK_INIT { .struct_size = sizeof(struct vhdx_link) }

/*
 * The image at a depth of the chain; one beyond the last open image is the parent that could not be
 * opened, if the handle was opened with VHDX_OPEN_PARTIAL_CHAIN. Past that: VHDX_E_RANGE.
 */
VHDX_PUBLIC int vhdx_get_link(struct vhdx *v, uint32_t depth, struct vhdx_link *ret,
                              struct vhdx_error *err);

/* Called now and then from the calling thread; a non-zero return ends the operation with
   VHDX_E_CANCELLED. done and total are bytes of the virtual disk. */
struct vhdx_progress {
    int (*fn)(uint64_t done, uint64_t total, void *opaque);
    void *opaque;
};

/* ---- Creating ------------------------------------------------------------------------------- */

#define VHDX_PREALLOCATION_OFF 0u      /* sparse */
#define VHDX_PREALLOCATION_METADATA 1u /* the same: the tables are always laid out in full */
#define VHDX_PREALLOCATION_FALLOC 2u   /* fixed only: disk space is set aside */
#define VHDX_PREALLOCATION_FULL 3u     /* fixed only: zeros are written */

#define VHDX_CREATE_REPLACE 1u /* an existing, non-empty file may be replaced */

/* 0 or NULL in a field means the default. */
struct vhdx_create_options {
    size_t struct_size;
    uint32_t type;                 /* VHDX_TYPE_...; default: dynamic, or differencing if there is a
                                      parent_path */
    uint64_t size;                 /* of the virtual disk, bytes, a multiple of the logical sector
                                      size, at most 64 TiB; default of a child: its parent's */
    uint32_t block_size;           /* bytes, a power of two, 1 .. 256 MiB; default 2 MiB */
    uint32_t logical_sector_size;  /* 512 (default) or 4096; a child has its parent's */
    uint32_t physical_sector_size; /* 512 or 4096 (default) */
    uint32_t log_size;             /* bytes, a multiple of 1 MiB; default 1 MiB */
    const char *parent_path;       /* differencing only */
    uint32_t preallocation;        /* VHDX_PREALLOCATION_... */
    uint32_t flags;                /* VHDX_CREATE_... */
    const struct vhdx_open_options *parent_options; /* where the parent's own parents are; its
                                      path_maps, used backwards, give the Windows paths of the
                                      parent that are written into the child */
    struct vhdx_progress progress; /* of writing or setting aside payload; totals are of the file */
};

#define VHDX_CREATE_OPTIONS_INIT \
    { sizeof(struct vhdx_create_options), 0, 0, 0, 0, 0, 0, NULL, 0, 0, NULL, { NULL, NULL } }

/*
 * Creates an image, laid out as Windows lays them out. The file appears at path when it is complete
 * and stable; interrupted, nothing is left. VHDX_E_INVALID for options outside their range, and if
 * something stands at path already.
 */
VHDX_PUBLIC int vhdx_create(const char *path, const struct vhdx_create_options *opts,
                            struct vhdx_error *err);

/* The same into an empty custom file, which stays the caller's and is not closed. Not for
   differencing images, and without VHDX_PREALLOCATION_FALLOC. */
VHDX_PUBLIC int vhdx_create_io(struct vhdx_io *io, const struct vhdx_create_options *opts,
                               struct vhdx_error *err);

/* ---- Whole-image operations ----------------------------------------------------------------- */

struct vhdx_hash_options {
    size_t struct_size;
    const char *algorithm; /* "sha256" (default), "sha1", "sha512", "md5", "blake2b" */
    struct vhdx_progress progress;
};

#define VHDX_HASH_OPTIONS_INIT { sizeof(struct vhdx_hash_options), NULL, { NULL, NULL } }
#define VHDX_HASH_TEXT 129 /* 64 bytes in hexadecimal and the NUL */

/*
 * The digest of the whole virtual disk in lower-case hexadecimal. Zeros and holes are hashed
 * without being read. VHDX_E_UNSUPPORTED in a library built without libcrypto.
 */
VHDX_PUBLIC int vhdx_hash(struct vhdx *v, const struct vhdx_hash_options *opts,
                          char ret_hex[VHDX_HASH_TEXT], struct vhdx_error *err);

#define VHDX_FORMAT_RAW 1u

#define VHDX_CONVERT_REPLACE 1u /* an existing, non-empty output may be replaced */

struct vhdx_convert_options {
    size_t struct_size;
    uint32_t format; /* VHDX_FORMAT_...; 0 means raw */
    uint32_t flags;  /* VHDX_CONVERT_... */
    struct vhdx_progress progress;
};

#define VHDX_CONVERT_OPTIONS_INIT { sizeof(struct vhdx_convert_options), 0, 0, { NULL, NULL } }

/*
 * Writes the flattened virtual disk to the file path. Holes and zeros are neither read nor written.
 * The file is written under a temporary name in the same folder, made stable, and renamed when
 * complete: after a failure path is what it was before. Refuses to overwrite a file of the chain.
 */
VHDX_PUBLIC int vhdx_convert(struct vhdx *v, const char *path,
                             const struct vhdx_convert_options *opts, struct vhdx_error *err);

/* ---- Helpers -------------------------------------------------------------------------------- */

/*
 * CRC-32C (Castagnoli) as VHDX uses it: vhdx_crc32c(0, "123456789", 9) == 0xE3069283. Chainable:
 * pass the result for the bytes before as crc, 0 to start. Never fails.
 */
VHDX_PUBLIC uint32_t vhdx_crc32c(uint32_t crc, const void *buf, size_t len);

/* The library's version, "MAJOR.MINOR.PATCH". */
VHDX_PUBLIC const char *vhdx_version(void);

#ifdef __cplusplus
}
#endif

#endif /* VHDX_H */
