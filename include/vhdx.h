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
 * Below: errors, custom files, opening, reading, writing, extents, facts, creating, hashing, disks,
 * converting, measuring and comparing, checking and repairing, recovering, helpers.
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
 *   and whole-image operations exclude every other call. The library starts no threads, but for the
 *   calls that take their number; it prints nothing, never exits, and installs no signal handlers.
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
                                      into the file, and a header that was torn is written again;
                                      nothing else is written before the first change. A
                                      differencing image needs all of its parents */
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

/* ---- Hashing -------------------------------------------------------------------------------- */

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

/* ---- Disks ---------------------------------------------------------------------------------- */

/*
 * What is converted, compared and measured: a disk of any format, open for reading. One call at a
 * time works on a disk; it reads from several threads itself where it was told to.
 */
struct vhdx_disk;

#define VHDX_SIZE_UNKNOWN UINT64_MAX /* a stream's, until its end */

/* The disk of an image, flattened. v stays the caller's and must outlive the disk. */
VHDX_PUBLIC int vhdx_disk_of(struct vhdx *v, struct vhdx_disk **ret, struct vhdx_error *err);

/*
 * A regular file or block device, as it is. Its holes are known. flags: VHDX_OPEN_NO_LOCK or 0.
 * Reading fails if the file has shrunk meanwhile, and a conversion if its size has changed.
 */
VHDX_PUBLIC int vhdx_disk_raw(const char *path, uint32_t flags, struct vhdx_disk **ret,
                              struct vhdx_error *err);

/*
 * What an open descriptor gives from where it stands: a pipe, whose bytes come once and in order,
 * or a regular file at its beginning, which is as good as vhdx_disk_raw(). fd stays the caller's.
 */
VHDX_PUBLIC int vhdx_disk_stream(int fd, struct vhdx_disk **ret, struct vhdx_error *err);

/*
 * Reads a disk of VHDX_SIZE_UNKNOWN to its end, into a file without a name in $TMPDIR or /var/tmp.
 * *ret is the disk in that file, which can be read in any order and is gone when it is closed.
 * progress may be NULL; it tells no total. Both disks are to be closed by the caller.
 */
VHDX_PUBLIC int vhdx_disk_spool(struct vhdx_disk *stream, const struct vhdx_progress *progress,
                                struct vhdx_disk **ret, struct vhdx_error *err);

/*
 * Calls fn for each extent of [offset, offset + len), in order and without gaps; depth and
 * file_offset are of no meaning. May stop early, but not before the first. Returns what fn returned
 * if that is not 0, else 0 or -errno.
 */
typedef int vhdx_io_extents(void *opaque, uint64_t offset, uint64_t len,
                            int (*fn)(const struct vhdx_extent *extent, void *fn_opaque),
                            void *fn_opaque);

/*
 * A disk behind the caller's own calls: pread and size are used, from any thread at once, and
 * extents unless it is NULL. name is for messages. io is copied and belongs to the disk, also if
 * the call fails (close is called then).
 */
VHDX_PUBLIC int vhdx_disk_custom(const struct vhdx_io *io, vhdx_io_extents *extents,
                                 const char *name, struct vhdx_disk **ret, struct vhdx_error *err);

/* Bytes, or VHDX_SIZE_UNKNOWN. */
VHDX_PUBLIC uint64_t vhdx_disk_size(const struct vhdx_disk *d);

/* NULL is fine. */
VHDX_PUBLIC void vhdx_disk_close(struct vhdx_disk *d);

/* ---- Converting ----------------------------------------------------------------------------- */

#define VHDX_FORMAT_RAW 1u
#define VHDX_FORMAT_VHDX 2u
#define VHDX_FORMAT_VHD 3u /* fixed, as Azure takes it: the disk and a footer of 512 bytes */

#define VHDX_CONVERT_REPLACE 1u   /* an existing, non-empty output may be replaced */
#define VHDX_CONVERT_NO_SPARSE 2u /* the output has no holes: zeros are written */
#define VHDX_CONVERT_VERIFY 4u    /* read the output back and compare before it gets its name */
#define VHDX_CONVERT_AZURE 8u     /* VHD: round the size up to a whole MiB, hold to Azure's rules */
#define VHDX_CONVERT_NO_CLONE 16u /* share no blocks with the input, even where that is possible */

struct vhdx_convert_options {
    size_t struct_size;
    uint32_t format; /* VHDX_FORMAT_...; 0 means raw */
    uint32_t flags;  /* VHDX_CONVERT_... */
    struct vhdx_progress progress;
    uint32_t threads;     /* that copy, 1 .. 64; 0: as many as there are processors, at most 8 */
    uint32_t sparse_size; /* bytes, a multiple of 512, at most 1 MiB: zeros are left out in pieces
                             of this size; 0 means 4096 */
    const struct vhdx_create_options *create; /* of a VHDX output: all but size, flags and progress;
                                                 of another one: preallocation. May be NULL. Sector
                                                 sizes of 0 are those of an image that is read */
    const char *checksum; /* an algorithm of vhdx_hash(): the disk's digest is made on the way */
};

#define VHDX_CONVERT_OPTIONS_INIT { .struct_size = sizeof(struct vhdx_convert_options) }

struct vhdx_convert_result {
    size_t struct_size;
    uint64_t disk_size;    /* of the disk that was written, bytes */
    uint64_t file_size;    /* of the output */
    uint64_t read_bytes;   /* of the input */
    uint64_t copied_bytes; /* of the disk, written to the output */
    uint64_t cloned_bytes; /* of the disk, shared with the input's file */
    char digest[VHDX_HASH_TEXT]; /* if a checksum was asked for: of the disk as it was read, so
                                    without what rounding its size up added */
};

#define VHDX_CONVERT_RESULT_INIT { .struct_size = sizeof(struct vhdx_convert_result) }

/*
 * Writes the flattened virtual disk to the file path. Holes and zeros are neither read nor written.
 * The file is written under a temporary name in the same folder, made stable, and renamed when
 * complete: after a failure path is what it was before. Refuses to overwrite a file of the chain.
 */
VHDX_PUBLIC int vhdx_convert(struct vhdx *v, const char *path,
                             const struct vhdx_convert_options *opts, struct vhdx_error *err);

/*
 * The same for any disk. With create->parent_path the output is a differencing image that holds
 * only what differs from that parent. On a file system that can share blocks between files
 * the output shares them with the input; else, with NO_SPARSE, the kernel copies where it can. *ret
 * may be NULL.
 */
VHDX_PUBLIC int vhdx_convert_disk(struct vhdx_disk *from, const char *path,
                                  const struct vhdx_convert_options *opts,
                                  struct vhdx_convert_result *ret, struct vhdx_error *err);

/*
 * The same in one pass to a descriptor that need not seek, which stays the caller's: raw, VHD or
 * VHDX. An empty regular file gets holes, all else every byte. What has been written when an error
 * comes stays written; a reader that has gone is VHDX_E_SYSTEM with EPIPE and no signal. A VHDX of
 * a stream is first made in an unnamed file in $TMPDIR (or /var/tmp), since it begins with what its
 * end tells; progress is then first of the disk, then of that file. Not for differencing images,
 * and without VERIFY.
 */
VHDX_PUBLIC int vhdx_convert_to_stream(struct vhdx_disk *from, int fd,
                                       const struct vhdx_convert_options *opts,
                                       struct vhdx_convert_result *ret, struct vhdx_error *err);

/*
 * The same onto something that exists and keeps its size, such as a block device: raw only. to
 * stays the caller's; pwrite, size, flush, and zero unless it is NULL, are called, from any thread
 * at once, and with VERIFY pread, which must be there. Every byte of the disk is written or zeroed,
 * bytes behind it are left alone. VHDX_E_NOSPACE if it is too small.
 */
VHDX_PUBLIC int vhdx_convert_to_io(struct vhdx_disk *from, const struct vhdx_io *to,
                                   const struct vhdx_convert_options *opts,
                                   struct vhdx_convert_result *ret, struct vhdx_error *err);

/* ---- Measuring and comparing ---------------------------------------------------------------- */

struct vhdx_measure_result {
    size_t struct_size;
    uint64_t required;        /* bytes of the file that a conversion would write */
    uint64_t fully_allocated; /* and once every block of it is in use */
};

#define VHDX_MEASURE_RESULT_INIT { .struct_size = sizeof(struct vhdx_measure_result) }

/*
 * How large a conversion's output will be at most: zeros that only reading would find are counted
 * as data. from NULL: of an empty disk of opts->create->size bytes. Not for streams, and not for
 * differencing images.
 */
VHDX_PUBLIC int vhdx_measure(struct vhdx_disk *from, const struct vhdx_convert_options *opts,
                             struct vhdx_measure_result *ret, struct vhdx_error *err);

#define VHDX_COMPARE_STRICT 1u /* size and allocation count, too */

/* A stretch in which the disks differ, at a granularity of 512 bytes, as long as it goes; what the
   second disk tells to be zero without being read is a stretch of its own. */
struct vhdx_difference {
    size_t struct_size;
    uint64_t offset, length;
    uint32_t is_zero; /* 1: the second disk is zero in all of it */
};

struct vhdx_compare_options {
    size_t struct_size;
    uint32_t flags;   /* VHDX_COMPARE_... */
    uint32_t threads; /* as in struct vhdx_convert_options */
    /* NULL: the comparison ends at the first difference. Else it is called, from one thread at a
       time, for each in order; a non-zero return ends the comparison and is returned. */
    int (*differs)(const struct vhdx_difference *difference, void *opaque);
    void *opaque;
    struct vhdx_progress progress; /* totals are those of the larger disk */
};

#define VHDX_COMPARE_OPTIONS_INIT { .struct_size = sizeof(struct vhdx_compare_options) }

#define VHDX_COMPARE_SAME 0u
#define VHDX_COMPARE_CONTENT 1u    /* different bytes */
#define VHDX_COMPARE_SIZE 2u       /* STRICT: different sizes */
#define VHDX_COMPARE_ALLOCATION 3u /* STRICT: data on one side, nothing on the other */

struct vhdx_compare_result {
    size_t struct_size;
    uint32_t outcome;     /* VHDX_COMPARE_... */
    uint32_t size_differs; /* 1: the longer disk was taken to go on with zeros in the shorter */
    uint64_t offset;      /* of the first difference; of no meaning for SAME and SIZE */
    uint64_t differing_bytes; /* with a differs callback; at its granularity */
    uint64_t read_bytes;  /* of both disks */
};

#define VHDX_COMPARE_RESULT_INIT { .struct_size = sizeof(struct vhdx_compare_result) }

/*
 * Compares two disks. What both know to be zero, and what both have from the same place of the same
 * file, is not read. 0 also if they differ: *ret tells. Not for streams.
 */
VHDX_PUBLIC int vhdx_compare(struct vhdx_disk *a, struct vhdx_disk *b,
                             const struct vhdx_compare_options *opts,
                             struct vhdx_compare_result *ret, struct vhdx_error *err);

/* ---- Checking and repairing ----------------------------------------------------------------- */

/* How bad a finding is. */
#define VHDX_SEVERITY_NOTE 0u  /* unusual; nothing is wrong with the disk */
#define VHDX_SEVERITY_LEAK 1u  /* space is wasted */
#define VHDX_SEVERITY_ERROR 2u /* a rule is broken: readers disagree, refuse, or miss data */
#define VHDX_SEVERITY_FATAL 3u /* the image cannot be opened */

/* What mends a finding; also how far a repair may go. */
#define VHDX_REPAIR_NONE 0u
#define VHDX_REPAIR_SAFE 1u /* what loses nothing that can be read */
#define VHDX_REPAIR_ALL 2u  /* also what gives up data that is lost already, or rests on evidence */

/*
 * What can be found. The numbers and the names (vhdx_problem_name()) are stable. libvhdx(3) and
 * vhdx(1) tell of each what a reader would see and what a repair does.
 */
enum vhdx_problem {
    /* The file. */
    VHDX_P_IDENT_SIGNATURE = 101,       /* the identifier is damaged, but a header is there */
    VHDX_P_FILE_SIZE_UNALIGNED = 102,   /* size is not a multiple of 1 MiB */
    VHDX_P_FILE_TOO_SHORT = 103,        /* ends inside the header section */
    VHDX_P_FILE_TRAILING = 104,         /* 1 MiB or more behind the last structure */
    VHDX_P_SPACE_LEAKED = 105,          /* bytes that no structure owns */
    /* The headers. */
    VHDX_P_HEADER_SIGNATURE = 201,
    VHDX_P_HEADER_CHECKSUM = 202,
    VHDX_P_HEADER_VERSION = 203,
    VHDX_P_HEADER_RESERVED = 204,
    VHDX_P_HEADERS_LOST = 205,          /* neither copy is usable */
    VHDX_P_HEADERS_AMBIGUOUS = 206,     /* one sequence number, two contents */
    VHDX_P_HEADERS_IDENTICAL = 207,     /* one sequence number, one content */
    VHDX_P_HEADER_SEQUENCE = 208,       /* the sequence number cannot rise any more */
    VHDX_P_HEADER_GUID = 209,           /* a write GUID is zero */
    VHDX_P_HEADER_LOG_VERSION = 210,
    VHDX_P_HEADER_LOG_PLACE = 211,      /* log offset or length */
    VHDX_P_HEADER_NO_LOG = 212,         /* log length is 0 */
    /* The region tables. */
    VHDX_P_REGION_TABLE_SIGNATURE = 301,
    VHDX_P_REGION_TABLE_CHECKSUM = 302,
    VHDX_P_REGION_COUNT = 303,
    VHDX_P_REGION_PLACE = 304,          /* offset or length of an entry */
    VHDX_P_REGION_DUPLICATE = 305,
    VHDX_P_REGION_OVERLAP = 306,
    VHDX_P_REGION_MISSING = 307,
    VHDX_P_REGION_UNKNOWN_REQUIRED = 308,
    VHDX_P_REGION_UNKNOWN = 309,
    VHDX_P_REGION_NOT_REQUIRED = 310,   /* a known region without the Required flag */
    VHDX_P_REGION_RESERVED = 311,
    VHDX_P_REGION_TABLES_DIFFER = 312,
    VHDX_P_REGION_TABLES_LOST = 313,    /* neither copy is usable */
    VHDX_P_REGION_ON_LOG = 314,
    VHDX_P_REGION_CUT = 315,            /* the file ends inside a region, behind its content */
    VHDX_P_REGION_LOST = 316,           /* the file ends before a region's content does */
    /* The log. */
    VHDX_P_LOG_DIRTY = 401,             /* entries wait to be replayed */
    VHDX_P_LOG_EMPTY = 402,             /* LogGuid is set, the log is all zeros */
    VHDX_P_LOG_STALE = 403,             /* LogGuid is set, no entry carries it */
    VHDX_P_LOG_BROKEN = 404,            /* entries carry it, but no sequence of them is complete */
    VHDX_P_LOG_TORN = 405,              /* an entry beside the active sequence is damaged */
    VHDX_P_LOG_LEFTOVER = 406,          /* LogGuid is zero, old entries are there */
    VHDX_P_LOG_FILE_TRUNCATED = 407,    /* the file is shorter than the log says it was */
    VHDX_P_LOG_FORBIDDEN = 408,         /* an active entry asks for what a log may not do */
    VHDX_P_LOG_CUT = 409,               /* the file ends inside a clean log */
    VHDX_P_LOG_LOST = 410,              /* the file ends inside a dirty log */
    /* Metadata. */
    VHDX_P_METADATA_SIGNATURE = 501,
    VHDX_P_METADATA_RESERVED = 502,
    VHDX_P_METADATA_COUNT = 503,
    VHDX_P_METADATA_ENTRY = 504,        /* offset or length of an entry */
    VHDX_P_METADATA_DUPLICATE = 505,
    VHDX_P_METADATA_OVERLAP = 506,
    VHDX_P_METADATA_UNKNOWN_REQUIRED = 507,
    VHDX_P_METADATA_UNKNOWN = 508,
    VHDX_P_METADATA_MISSING = 509,
    VHDX_P_METADATA_INCOMPLETE = 510,   /* the image's creation was never finished */
    VHDX_P_METADATA_VALUE = 511,        /* an item's length or content */
    VHDX_P_METADATA_FLAGS = 512,        /* a known item's flags are not those of the format */
    VHDX_P_LOCATOR_CONTENT = 513,
    VHDX_P_LOCATOR_RESERVED = 514,
    VHDX_P_LOCATOR_MISSING = 515,
    VHDX_P_LOCATOR_UNEXPECTED = 516,
    /* The BAT. */
    VHDX_P_BAT_SMALL = 601,             /* the region cannot hold the entries */
    VHDX_P_BAT_STATE = 602,
    VHDX_P_BAT_RESERVED = 603,
    VHDX_P_BAT_HEADER_SECTION = 604,    /* a block inside the first MiB */
    VHDX_P_BAT_PAST_END = 605,          /* a block that begins at or past the end of the file */
    VHDX_P_BAT_CUT = 606,               /* a block that the end of the file cuts short */
    VHDX_P_BAT_ON_REGION = 607,         /* a block on the log or a region */
    VHDX_P_BAT_OVERLAP = 608,           /* two blocks at one place */
    VHDX_P_BAT_SHIFTED = 609,           /* a page moved by one entry (QEMU before 8.0) */
    VHDX_P_BAT_SLOT = 610,              /* a bitmap's entry is used in an image without a parent */
    VHDX_P_BAT_ZERO_OFFSET = 611,       /* ZERO with an offset */
    VHDX_P_BAT_IDLE_OFFSET = 612,       /* NOT_PRESENT with an offset */
    VHDX_P_BAT_ANCHOR_OVERLAP = 613,    /* a kept place that another structure owns */
    VHDX_P_BAT_ANCHOR_PAST_END = 614,   /* a kept place past the end of the file */
    VHDX_P_BAT_OLD_STATE = 615,         /* UNMAPPED as specification 0.95 numbered it */
    /* Sector bitmaps. */
    VHDX_P_BITMAP_MISSING = 701,        /* a partially present block without one */
    VHDX_P_BITMAP_BEYOND = 702,         /* bits set beyond the end of the disk */
    /* The chain. */
    VHDX_P_PARENT_MISSING = 801,
    VHDX_P_PARENT_OTHER = 802,          /* what was found is another disk */
    VHDX_P_PARENT_WRITTEN = 803,        /* the parent was written to after the child was made */
    VHDX_P_PARENT_CYCLE = 804,
    VHDX_P_PARENT_SECTOR_SIZE = 805,
    VHDX_P_PARENT_BROKEN = 806,         /* found, but cannot be used */
    /* What a profile asks for. */
    VHDX_P_PROFILE_SPARSE = 901,        /* Windows refuses sparse files */
    VHDX_P_PROFILE_AZURE_FORMAT = 902,  /* Azure takes fixed VHD only */
    VHDX_P_PROFILE_AZURE_SIZE = 903,    /* Azure wants a multiple of 1 MiB */
    VHDX_P_PROFILE_WSL_CHAIN = 904,     /* WSL takes images that stand alone */
    VHDX_P_PROFILE_WSL_FILE_SYSTEM = 905 /* WSL wants ext4 on the whole disk */
};

/* A short stable name, e.g. "bat-overlap"; NULL for a number that is not an enum vhdx_problem. */
VHDX_PUBLIC const char *vhdx_problem_name(uint32_t problem);

/* One thing found. Strings live during the callback only. */
struct vhdx_finding {
    size_t struct_size;
    uint32_t problem;  /* enum vhdx_problem */
    uint32_t severity; /* VHDX_SEVERITY_... */
    uint32_t repair;   /* VHDX_REPAIR_...: what mends it; NONE: nothing does, or needs to */
    const char *name;
    const char *message; /* one line: object, found, required */
    const char *effect;  /* what a reader would see */
    const char *remedy;  /* what a repair does; "" for VHDX_REPAIR_NONE */
    uint64_t file_offset;    /* of the offending bytes, or VHDX_OFFSET_NONE */
    uint64_t virtual_offset; /* the range of the disk that is concerned; of no meaning if the
                                length is 0 */
    uint64_t virtual_length;
};

#define VHDX_PROFILE_NONE 0u
#define VHDX_PROFILE_HYPERV 1u /* the file is to be used on Windows as it is */
#define VHDX_PROFILE_AZURE 2u
#define VHDX_PROFILE_WSL 3u

#define VHDX_CHECK_NO_PARENT 1u /* do not look at the parents */
#define VHDX_CHECK_NO_LOCK 2u   /* take no lock: another process may be writing */

struct vhdx_check_options {
    size_t struct_size;
    uint32_t flags;   /* VHDX_CHECK_... */
    uint32_t profile; /* VHDX_PROFILE_... */
    const struct vhdx_open_options *open_options; /* where the parents are */
    void (*finding)(const struct vhdx_finding *finding, void *opaque); /* may be NULL */
    void *opaque;
    struct vhdx_progress progress; /* totals are of the virtual disk */
};

#define VHDX_CHECK_OPTIONS_INIT \
    { sizeof(struct vhdx_check_options), 0, 0, NULL, NULL, NULL, { NULL, NULL } }

struct vhdx_check_result {
    size_t struct_size;
    uint64_t notes, leaks, errors, fatals; /* findings of each severity */
    uint64_t repairable_safe; /* findings that VHDX_REPAIR_SAFE mends */
    uint64_t repairable_all;  /* findings that only VHDX_REPAIR_ALL mends */
    uint32_t complete;        /* 1: nothing kept the whole image from being looked at */
    uint64_t total_blocks;      /* payload blocks of the disk */
    uint64_t allocated_blocks;  /* of these, present in this file, wholly or in part */
    uint64_t fragmented_blocks; /* of these, not behind the one before them in the file */
    uint64_t lost_bytes;        /* of the disk, that cannot be read */
    uint64_t leaked_bytes;      /* of the file */
    uint64_t image_end_offset;  /* where the last structure ends in the file */
    uint64_t file_size;
};

#define VHDX_CHECK_RESULT_INIT { .struct_size = sizeof(struct vhdx_check_result) }

/*
 * Looks at every structure of the image at path, its log replayed in memory, and reports what it
 * finds; one mistake does not hide the others unless they cannot be reached. Writes nothing. Reads
 * the whole BAT in memory that does not grow with it (a bit for each MiB of the file aside). Of one
 * problem at most 1000 findings are reported; all are counted. 0 also if there are findings;
 * failure means that the image could not be checked, VHDX_E_NOT_VHDX that it is none.
 */
VHDX_PUBLIC int vhdx_check(const char *path, const struct vhdx_check_options *opts,
                           struct vhdx_check_result *ret, struct vhdx_error *err);

/* The same over a custom file, which stays the caller's and is not closed. */
VHDX_PUBLIC int vhdx_check_io(const struct vhdx_io *io, const struct vhdx_check_options *opts,
                              struct vhdx_check_result *ret, struct vhdx_error *err);

/* One step of a repair, in the past tense: "header 2: rewritten from header 1". */
struct vhdx_action {
    size_t struct_size;
    uint32_t problem;    /* what it mends: enum vhdx_problem */
    const char *message; /* lives during the callback only */
    uint64_t file_offset;    /* of what was changed, or VHDX_OFFSET_NONE */
    uint64_t lost_offset;    /* the range of the disk that was given up; of no meaning if the */
    uint64_t lost_length;    /* length is 0 */
};

#define VHDX_REPAIR_DRY_RUN 1u /* do everything in memory only */
#define VHDX_REPAIR_NO_UNDO 2u /* write no undo file */

struct vhdx_repair_options {
    size_t struct_size;
    uint32_t level;        /* VHDX_REPAIR_SAFE (default) or VHDX_REPAIR_ALL */
    uint32_t flags;        /* VHDX_REPAIR_DRY_RUN, VHDX_REPAIR_NO_UNDO */
    const char *undo_path; /* default: the image's path with ".undo"; of a block device there is no
                              default */
    const struct vhdx_check_options *check; /* the findings before the repair go there */
    void (*action)(const struct vhdx_action *action, void *opaque); /* may be NULL */
    void *opaque;
};

#define VHDX_REPAIR_OPTIONS_INIT \
    { sizeof(struct vhdx_repair_options), 0, 0, NULL, NULL, NULL, NULL }

struct vhdx_repair_result {
    size_t struct_size;
    struct vhdx_check_result before, after;
    uint64_t actions;
    uint64_t lost_bytes;  /* of the disk, given up by this repair */
    uint32_t is_changed;  /* 1: the file was changed (would be, in a dry run) */
    char undo_path[4096]; /* the undo file that was written; "" if none */
};

#define VHDX_REPAIR_RESULT_INIT { .struct_size = sizeof(struct vhdx_repair_result) }

/*
 * Checks the image, mends what the level allows, and checks again. The whole repair is first
 * carried out in memory; if that does not make the image better, nothing is written. Before the
 * first change the bytes to be changed are saved in the undo file. Interrupted, it leaves an image
 * that the same call finishes. Metadata changes go through the log. The image must not be in use.
 */
VHDX_PUBLIC int vhdx_repair(const char *path, const struct vhdx_repair_options *opts,
                            struct vhdx_repair_result *ret, struct vhdx_error *err);

/* The same over a custom file, which stays the caller's and is not closed; without an undo file
   unless an undo_path is given. */
VHDX_PUBLIC int vhdx_repair_io(const struct vhdx_io *io, const struct vhdx_repair_options *opts,
                               struct vhdx_repair_result *ret, struct vhdx_error *err);

#define VHDX_UNDO_FORCE 1u /* also if the image was changed after the repair */

/*
 * Takes a repair back, bit for bit: path is the image or the undo file itself. The undo file is
 * removed when that is done and stable. VHDX_E_INVALID if there is none, or if the image was
 * changed after the repair. Interrupted, the same call finishes it.
 */
VHDX_PUBLIC int vhdx_undo(const char *path, uint32_t flags, struct vhdx_error *err);

#define VHDX_REPLAY_DRY_RUN 1u

struct vhdx_replay_result {
    size_t struct_size;
    uint32_t log_state;   /* before: VHDX_LOG_... */
    uint32_t entries;     /* that were replayed */
    uint64_t first_sequence_number, last_sequence_number;
    uint64_t written_bytes, zeroed_bytes; /* of the file */
    uint64_t old_file_size, new_file_size;
};

#define VHDX_REPLAY_RESULT_INIT { .struct_size = sizeof(struct vhdx_replay_result) }

/*
 * Replays a dirty log into the file and clears it, cuts off what its writer had set aside behind
 * the last structure, and writes a header again that was torn; nothing else is changed.
 * Interrupted, the same call, or any program that opens the image for writing, finishes it. Of a
 * child no parent is needed.
 */
VHDX_PUBLIC int vhdx_replay(const char *path, uint32_t flags, struct vhdx_replay_result *ret,
                            struct vhdx_error *err);

/* A stretch of the disk that could not be saved. */
struct vhdx_lost_range {
    size_t struct_size;
    uint64_t offset, length; /* bytes of the virtual disk */
};

struct vhdx_salvage_options {
    size_t struct_size;
    uint32_t flags; /* VHDX_CONVERT_REPLACE */
    const struct vhdx_open_options *open_options; /* where the parents are */
    void (*lost)(const struct vhdx_lost_range *range, void *opaque); /* may be NULL */
    void *opaque;
    struct vhdx_progress progress;
    /* Before the copy: a parent cannot be had; what it should supply is lost. May be NULL. */
    void (*parent_lost)(const struct vhdx_link *link, void *opaque);
};

#define VHDX_SALVAGE_OPTIONS_INIT \
    { sizeof(struct vhdx_salvage_options), 0, NULL, NULL, NULL, { NULL, NULL }, NULL }

struct vhdx_salvage_result {
    size_t struct_size;
    uint64_t virtual_size;
    uint64_t lost_bytes, lost_ranges; /* of the disk */
    uint64_t findings; /* errors and fatal ones that were mended on the way, in memory */
    uint32_t is_log_lost; /* 1: a log was given up that may have held newer metadata: what is
                             saved may be older than it was */
};

#define VHDX_SALVAGE_RESULT_INIT { .struct_size = sizeof(struct vhdx_salvage_result) }

/*
 * Writes what is left of a damaged image's disk to the raw file out_path, as vhdx_convert() does.
 * The image is mended in memory only, as VHDX_REPAIR_ALL would; it stays bit-identical. What
 * cannot be read, lies past the end of the file, or should come from a parent that is not there is
 * zeros in the output, and reported to lost in ascending order, joined, at the end. 0 also with
 * losses. An image whose headers, region tables or metadata are gone is a matter for
 * vhdx_recover(): VHDX_E_CORRUPT and the like.
 */
VHDX_PUBLIC int vhdx_salvage(const char *path, const char *out_path,
                             const struct vhdx_salvage_options *opts,
                             struct vhdx_salvage_result *ret, struct vhdx_error *err);

/* ---- Recovering ----------------------------------------------------------------------------- */

/* What vhdx_recover() has to know, and where its knowledge comes from. */
#define VHDX_RECOVER_IDENTIFIER 1u
#define VHDX_RECOVER_HEADERS 2u
#define VHDX_RECOVER_LOG 3u
#define VHDX_RECOVER_REGION_TABLES 4u
#define VHDX_RECOVER_METADATA 5u
#define VHDX_RECOVER_BAT 6u
#define VHDX_RECOVER_BLOCK_SIZE 7u
#define VHDX_RECOVER_SECTOR_SIZE 8u  /* the logical one */
#define VHDX_RECOVER_VIRTUAL_SIZE 9u
#define VHDX_RECOVER_PAYLOAD 10u     /* where the payload of an image without a BAT begins */
#define VHDX_RECOVER_PARENT 11u

#define VHDX_SOURCE_INTACT 1u  /* it is where it belongs, and valid */
#define VHDX_SOURCE_GIVEN 2u   /* the caller said so */
#define VHDX_SOURCE_FOUND 3u   /* by searching the file */
#define VHDX_SOURCE_GUESSED 4u /* concluded from something else */
#define VHDX_SOURCE_LOST 5u    /* not found, and done without */

/* One thing found out. Strings live during the callback only. */
struct vhdx_recovered_fact {
    size_t struct_size;
    uint32_t what;        /* VHDX_RECOVER_... */
    uint32_t source;      /* VHDX_SOURCE_... */
    uint32_t confidence;  /* 0 .. 100 per cent */
    uint64_t file_offset; /* where it lies, or VHDX_OFFSET_NONE */
    uint64_t value;       /* of the sizes: bytes; else 0 */
    const char *name;     /* of what, stable: "virtual-size" */
    const char *evidence; /* one line */
};

#define VHDX_RECOVER_REPLACE 1u    /* an existing, non-empty output may be replaced */
#define VHDX_RECOVER_FIXED 2u      /* the image is a fixed one: without a BAT, its payload is taken
                                      as contiguous */
#define VHDX_RECOVER_ANY_PARENT 4u /* accept a parent found by path whose GUID does not match */

/* 0 or NULL in a field, or VHDX_OFFSET_NONE, means that it is not known. */
struct vhdx_recover_options {
    size_t struct_size;
    uint32_t flags;               /* VHDX_RECOVER_... */
    uint32_t format;              /* of the output: VHDX_FORMAT_RAW (default) or _VHDX */
    uint32_t block_size;          /* of the image, bytes, a power of two, 1 .. 256 MiB */
    uint32_t logical_sector_size; /* 512 or 4096 */
    uint64_t virtual_size;        /* bytes, a multiple of 512, at most 64 TiB */
    uint64_t bat_offset;          /* in the file, a multiple of 1 MiB */
    uint64_t payload_offset;      /* the same; only with VHDX_RECOVER_FIXED */
    const struct vhdx_open_options *open_options; /* where the parents are */
    void (*found)(const struct vhdx_recovered_fact *fact, void *opaque); /* may be NULL */
    void (*lost)(const struct vhdx_lost_range *range, void *opaque);     /* may be NULL */
    void *opaque;
    struct vhdx_progress progress; /* first of the file being searched, then of the disk */
};

#define VHDX_RECOVER_OPTIONS_INIT \
    { .struct_size = sizeof(struct vhdx_recover_options), .bat_offset = VHDX_OFFSET_NONE, \
      .payload_offset = VHDX_OFFSET_NONE }

struct vhdx_recover_result {
    size_t struct_size;
    uint32_t confidence;      /* that of the least certain fact, per cent */
    uint32_t type;            /* VHDX_TYPE_... */
    uint32_t block_size, logical_sector_size;
    uint64_t virtual_size;
    uint64_t metadata_offset; /* in the file, or VHDX_OFFSET_NONE: lost */
    uint64_t bat_offset;
    uint64_t lost_bytes, lost_ranges; /* of the disk; known to be lost */
    uint64_t findings;        /* errors and fatal ones that were mended on the way, in memory */
};

#define VHDX_RECOVER_RESULT_INIT { .struct_size = sizeof(struct vhdx_recover_result) }

/*
 * Saves the disk of an image whose headers, region tables or metadata are gone to out_path, as
 * vhdx_salvage() does. What is still valid is used; for the rest the file is searched at multiples
 * of 1 MiB, and what is found nowhere is concluded from the BAT and from the partition table or
 * file system on the disk. found is told all of it before anything is written. The file at path
 * stays bit-identical. out_path NULL: nothing is written, and what only reading the disk would show
 * to be lost is not reported. 0 also with losses.
 *
 * VHDX_E_NOT_VHDX if nothing of an image is found; VHDX_E_CORRUPT if what is found does not
 * suffice, or allows two readings between which nothing decides: then the message lists them, and
 * the option that decides. VHDX_E_INVALID for options outside their range.
 */
VHDX_PUBLIC int vhdx_recover(const char *path, const char *out_path,
                             const struct vhdx_recover_options *opts,
                             struct vhdx_recover_result *ret, struct vhdx_error *err);

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
