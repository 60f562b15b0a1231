/* SPDX-License-Identifier: MIT */
/* Copyright (c) the vhdx authors */

/* The digest of the virtual disk, by libcrypto; see hash.h. */

#include "ops/hash.h"

#include <stdlib.h>

#include "util/cleanup.h"

#ifdef HAVE_CRYPTO

#include <openssl/evp.h>

#define ZEROS_SIZE (64 * KIB)

struct hasher {
    EVP_MD_CTX *ctx;
    uint8_t *zeros; /* ZEROS_SIZE bytes */
};

static const struct {
    const char *name, *evp_name;
} algorithms[] = {
    { "sha256", "SHA256" }, { "sha1", "SHA1" },           { "sha512", "SHA512" },
    { "md5", "MD5" },       { "blake2b", "BLAKE2B-512" },
};

static int find_algorithm(const char *name, const EVP_MD **ret, struct vhdx_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
        if (name && strcmp(name, algorithms[i].name) != 0)
            continue;
        *ret = EVP_get_digestbyname(algorithms[i].evp_name);
        if (*ret)
            return 0;
        return fail(err, VHDX_E_UNSUPPORTED, VHDX_OFFSET_NONE,
                    "hash: this libcrypto does not provide %s", algorithms[i].name);
    }
    return fail(err, VHDX_E_INVALID, VHDX_OFFSET_NONE,
                "hash: algorithm is \"%s\", must be sha256, sha1, sha512, md5 or blake2b", name);
}

int hash_begin(const char *algorithm, struct hasher **ret, struct vhdx_error *err)
{
    const EVP_MD *md;

    int r = find_algorithm(algorithm, &md, err);
    if (r < 0)
        return r;
    struct hasher *h = calloc(1, sizeof *h);
    if (!h)
        return fail_nomem(err);
    h->zeros = calloc(1, ZEROS_SIZE);
    h->ctx = EVP_MD_CTX_new();
    if (!h->zeros || !h->ctx)
        r = fail_nomem(err);
    else if (EVP_DigestInit_ex(h->ctx, md, NULL) != 1)
        r = fail(err, VHDX_E_UNSUPPORTED, VHDX_OFFSET_NONE, "hash: libcrypto refuses %s",
                 EVP_MD_get0_name(md));
    if (r < 0)
        hash_free(h);
    else
        *ret = h;
    return r;
}

int hash_update(struct hasher *h, const void *buf, size_t len, struct vhdx_error *err)
{
    if (h && EVP_DigestUpdate(h->ctx, buf, len) != 1)
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "hash: libcrypto refused the data");
    return 0;
}

int hash_zeros(struct hasher *h, uint64_t len, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t done = 0, n; h && done < len && r == 0; done += n) {
        n = min_u64(len - done, ZEROS_SIZE);
        r = hash_update(h, h->zeros, (size_t)n, err);
    }
    return r;
}

int hash_finish(struct hasher *h, char ret_hex[VHDX_HASH_TEXT], struct vhdx_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;

    _Static_assert(2 * EVP_MAX_MD_SIZE + 1 <= VHDX_HASH_TEXT, "every digest fits");
    if (EVP_DigestFinal_ex(h->ctx, digest, &len) != 1)
        return fail(err, VHDX_E_SYSTEM, VHDX_OFFSET_NONE, "hash: libcrypto gave no digest");
    for (unsigned i = 0; i < len; i++) {
        ret_hex[2 * i] = digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_hex[2 * len] = '\0';
    return 0;
}

void hash_free(struct hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h->zeros);
    free(h);
}

#else

int hash_begin(const char *algorithm, struct hasher **ret, struct vhdx_error *err)
{
    (void)algorithm;
    (void)ret;
    return fail(err, VHDX_E_UNSUPPORTED, VHDX_OFFSET_NONE,
                "hash: this library was built without libcrypto");
}

int hash_update(struct hasher *h, const void *buf, size_t len, struct vhdx_error *err)
{
    (void)h;
    (void)buf;
    (void)len;
    (void)err;
    return 0;
}

int hash_zeros(struct hasher *h, uint64_t len, struct vhdx_error *err)
{
    (void)h;
    (void)len;
    (void)err;
    return 0;
}

/* Nothing can have begun. */
int hash_finish(struct hasher *h, char ret_hex[VHDX_HASH_TEXT], struct vhdx_error *err)
{
    (void)ret_hex;
    return hash_begin(NULL, &h, err);
}

void hash_free(struct hasher *h)
{
    (void)h;
}

#endif

struct disk_hash {
    struct hasher *hasher;
    const struct vhdx_progress *progress;
    uint64_t total; /* of the disk */
};

static int report(const struct disk_hash *d, uint64_t done, struct vhdx_error *err)
{
    if (d->progress->fn && d->progress->fn(done, d->total, d->progress->opaque) != 0)
        return fail(err, VHDX_E_CANCELLED, VHDX_OFFSET_NONE, "cancelled");
    return 0;
}

/* Zeros are not read, but do take time: a hole may be terabytes. */
static int piece_of_zeros(struct disk_hash *d, uint64_t len, uint64_t offset,
                          struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t done = 0, n; done < len && r == 0; done += n) {
        n = min_u64(len - done, HASH_STEP);
        r = hash_zeros(d->hasher, n, err);
        if (r == 0)
            r = report(d, offset + done + n, err);
    }
    return r;
}

#define READ_SIZE (512 * KIB)

static int hash_data(struct vhdx_disk *disk, struct disk_hash *d, const struct disk_extent *e,
                     uint8_t *buf, struct vhdx_error *err)
{
    int r = 0;

    for (uint64_t done = 0, n; done < e->length && r == 0; done += n) {
        n = min_u64(e->length - done, READ_SIZE);
        r = disk_read(disk, buf, (size_t)n, e->offset + done, err);
        if (r == 0)
            r = hash_update(d->hasher, buf, (size_t)n, err);
        if (r == 0)
            r = report(d, e->offset + done + n, err);
    }
    return r;
}

int hash_of_disk(struct vhdx_disk *disk, uint64_t size, const char *algorithm,
                 const struct vhdx_progress *progress, char ret_hex[VHDX_HASH_TEXT],
                 struct vhdx_error *err)
{
    struct disk_hash d = { .progress = progress, .total = size };
    CLEANUP_FREE uint8_t *buf = malloc(READ_SIZE);
    struct disk_walk walk = { 0 };
    struct disk_extent e;

    int r = buf ? hash_begin(algorithm, &d.hasher, err) : fail_nomem(err);
    if (r == 0)
        r = report(&d, 0, err);
    if (r == 0)
        r = disk_walk_begin(disk, 0, size, &walk, err);
    while (r == 0 && (r = disk_walk_next(&walk, &e, err)) > 0)
        r = e.kind == VHDX_EXTENT_DATA ? hash_data(disk, &d, &e, buf, err)
                                       : piece_of_zeros(&d, e.length, e.offset, err);
    disk_walk_end(&walk);
    if (r == 0)
        r = hash_finish(d.hasher, ret_hex, err);
    hash_free(d.hasher);
    return r;
}

int hash_disk(struct vhdx *v, const struct vhdx_hash_options *opts, char ret_hex[VHDX_HASH_TEXT],
              struct vhdx_error *err)
{
    struct vhdx_disk *d;

    int r = disk_of_image(v, &d, err);
    if (r < 0)
        return r;
    r = hash_of_disk(d, d->size, opts->algorithm, &opts->progress, ret_hex, err);
    disk_close(d);
    return r;
}
