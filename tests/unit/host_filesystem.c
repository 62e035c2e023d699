/* wasi:filesystem: every function once well and once badly, and nothing leads outside. */
#include "host_kit.h"

#include "host/fs.h"

#include <sys/stat.h>

#define T       "wasi:filesystem/types"
#define M(name) "[method]descriptor." name

static char top[] = "/tmp/ebb-fs-XXXXXX";

static void shell(const char *fmt)
{
    char command[1024], text[600];
    snprintf(text, sizeof text, fmt, top, top, top, top, top, top);
    snprintf(command, sizeof command, "set -e; %s", text);
    assert_int_equal(system(command), 0);
}

/* Preopens as handles 1 (read-only "/") and 2 (writable "/scratch"). */
static void begin(void)
{
    static struct host_preopen pre[2];
    shell("rm -rf %s/*; mkdir -p %s/app/sub; printf hello > %s/app/a.txt; printf secret > %s/out");
    shell("ln -s a.txt %s/app/in; ln -s ../out %s/app/escape; ln -s %s/out %s/app/abs");
    shell("mkdir %s/scratch");
    char path[100];
    snprintf(path, sizeof path, "%s/app", top);
    int app = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/scratch", top);
    int scratch = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    pre[0] = (struct host_preopen){S("/"), app, false};
    pre[1] = (struct host_preopen){S("/scratch"), scratch, true};
    hk.component = (host_component){.handles_max = 600, .preopens = pre, .preopens_count = 2};
    hk_open();
    hk_call("wasi:filesystem/preopens", "get-directories", 1000);
    assert_int_equal(hk_u32(1004), 2);
    assert_int_equal(hk_u32(hk_u32(1000)), 1);
    hk_assert_str(hk_u32(1000) + 4, "/");
    hk_assert_str(hk_u32(1000) + 16, "/scratch");
}

static void end(void)
{
    assert_true(hk.g->files >= 2);
    hk_close();
    close(hk.component.preopens[0].dir_fd);
    close(hk.component.preopens[1].dir_fd);
}

enum { READ = 1, WRITE = 2, CREATE = 1, DIRECTORY = 2, EXCLUSIVE = 4, TRUNCATE = 8, FOLLOW = 1 };

/* The descriptor, or 1000 + error-code. */
static uint32_t open_at(uint32_t dir, uint32_t follow, const char *path, uint32_t how,
                        uint32_t flags)
{
    hk_call(T, M("open-at"), dir, follow, 2000, hk_put(2000, path), how, flags, 1000);
    return hk_u8(1000) ? 1000u + hk_u8(1004) : hk_u32(1004);
}

/* The error-code of a result<_, error-code> at 1000, FS_OK if it is ok. */
static uint32_t code(void) { return hk_u8(1000) ? hk_u8(1001) : (uint32_t)FS_OK; }

static uint32_t path_call(const char *name, uint32_t dir, const char *path)
{
    hk_call(T, name, dir, 2000, hk_put(2000, path), 1000);
    return code();
}

static void opens(void **state)
{
    begin();
    assert_true(open_at(1, 0, "a.txt", 0, READ) < 1000);
    assert_true(open_at(1, FOLLOW, "in", 0, READ) < 1000);
    assert_true(open_at(1, 0, "sub", DIRECTORY, READ) < 1000);
    assert_true(open_at(1, 0, "sub/../a.txt", 0, READ) < 1000);
    static const struct {
        uint32_t follow;
        const char *path;
        uint32_t how, flags, code;
    } bad[] = {
        {FOLLOW, "escape", 0, READ, FS_NOT_PERMITTED},
        {FOLLOW, "abs", 0, READ, FS_NOT_PERMITTED},
        {FOLLOW, "../out", 0, READ, FS_NOT_PERMITTED},
        {FOLLOW, "sub/../../out", 0, READ, FS_NOT_PERMITTED},
        {FOLLOW, "/etc/passwd", 0, READ, FS_NOT_PERMITTED},
        {FOLLOW, "..", 0, READ, FS_NOT_PERMITTED},
        {0, "in", 0, READ, FS_LOOP},
        {0, "", 0, READ, FS_NO_ENTRY},
        {0, "none", 0, READ, FS_NO_ENTRY},
        {0, "a.txt/x", 0, READ, FS_NOT_DIRECTORY},
        {0, "a.txt", DIRECTORY, READ, FS_NOT_DIRECTORY},
        {0, "a.txt", 0, READ | WRITE, FS_NOT_PERMITTED},
        {0, "new", CREATE, READ, FS_NOT_PERMITTED},
        {0, "a.txt", TRUNCATE, READ, FS_NOT_PERMITTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t got = open_at(1, bad[i].follow, bad[i].path, bad[i].how, bad[i].flags);
        if (got != 1000 + bad[i].code)
            fail_msg("'%s': %u instead of %u", bad[i].path, got, 1000 + bad[i].code);
    }
    uint32_t file = open_at(1, 0, "a.txt", 0, READ);
    assert_int_equal(open_at(file, 0, "x", 0, READ), 1000 + FS_NOT_DIRECTORY);
    /* In the writable one: */
    assert_true(open_at(2, 0, "n", CREATE | EXCLUSIVE, READ | WRITE) < 1000);
    assert_int_equal(open_at(2, 0, "n", CREATE | EXCLUSIVE, READ | WRITE), 1000 + FS_EXIST);
    assert_int_equal(open_at(2, 0, "../app/a.txt", 0, READ | WRITE), 1000 + FS_NOT_PERMITTED);
    assert_int_equal(open_at(2, 0, "n", DIRECTORY | CREATE, READ), 1000 + FS_INVALID);
    assert_int_equal(open_at(2, 0, ".", 0, WRITE), 1000 + FS_IS_DIRECTORY);
    end();
}

static void reads_and_writes(void **state)
{
    begin();
    uint32_t f = open_at(2, 0, "file", CREATE, READ | WRITE), ro = open_at(1, 0, "a.txt", 0, READ);
    hk_call(T, M("write"), f, 2000, hk_put(2000, "0123456789"), 5, 1000);
    assert_int_equal(hk_u64(1008), 10);
    hk_call(T, M("read"), f, 100, 3, 1000);
    assert_int_equal(hk_u32(1008), 12);
    assert_memory_equal(hk_str(1004).p,
                        "\0\0"
                        "0123",
                        6);
    hk_call(T, M("read"), f, 100, 15, 1000);
    assert_true(hk_u32(1008) == 0 && hk_u8(1012) == 1);
    hk_call(T, M("read"), f, 0, 15, 1000); /* of nothing that was asked for it is not the end */
    assert_true(hk_u8(1000) == 0 && hk_u32(1008) == 0 && hk_u8(1012) == 0);
    hk_call(T, M("read"), f, 1, 14, 1000);
    assert_true(hk_u32(1008) == 1 && hk_u8(1012) == 0);
    static const char *const beyond[] = {M("write-via-stream"), M("set-size")};
    for (int i = 0; i < 2; i++)
        for (uint64_t more = 0; more < 2; more++) {
            hk_call(T, beyond[i], f, UINT64_MAX - more * INT64_MAX, 1000);
            assert_int_equal(hk_u8(1000), 1);
            assert_int_equal(hk_u8(i ? 1001 : 1004), FS_INVALID);
        }
    hk_call(T, M("write-via-stream"), f, INT64_MAX, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(T, M("write"), f, 2000, 1, (uint64_t)INT64_MAX + 1, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1008) == FS_INVALID);
    hk_call(T, M("read"), f, 100, (uint64_t)INT64_MAX + 1, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == FS_INVALID);
    hk_call(T, M("read"), f, 100, UINT64_MAX, 1000);
    assert_int_equal(hk_u8(1004), FS_INVALID);
    hk_call(T, M("read"), 1, 100, 0, 1000);
    assert_int_equal(hk_u8(1004), FS_IS_DIRECTORY);
    hk_call(T, M("write"), ro, 2000, 1, 0, 1000);
    assert_int_equal(hk_u8(1008), FS_BAD_DESCRIPTOR);
    hk_call(T, M("set-size"), f, 7, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("set-size"), ro, 7, 1000);
    assert_int_equal(code(), FS_BAD_DESCRIPTOR);
    hk_call(T, M("advise"), f, 0, 7, 3, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("advise"), 1, 0, 7, 3, 1000);
    assert_int_equal(code(), FS_BAD_DESCRIPTOR);
    hk_call(T, M("sync"), f, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("sync-data"), f, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("get-flags"), f, 1000);
    assert_int_equal(hk_u8(1001), READ | WRITE);
    hk_call(T, M("get-type"), f, 1000);
    assert_int_equal(hk_u8(1001), 6);
    hk_call(T, M("get-type"), 2, 1000);
    assert_int_equal(hk_u8(1001), 3);
    hk_call(T, M("stat"), f, 1000);
    assert_int_equal(hk_u8(1008), 6);
    assert_int_equal(hk_u64(1024), 7);
    hk_call(T, M("set-times"), f, 2, 1234567, 5, 0, 0, 0, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("stat"), f, 1000);
    assert_int_equal(hk_u64(1040), 1234567);
    assert_int_equal(hk_u32(1048), 5);
    hk_call(T, M("set-times"), f, 2, 1, 1000000000, 0, 0, 0, 1000);
    assert_int_equal(code(), FS_INVALID);
    hk_call(T, M("set-times"), ro, 1, 0, 0, 1, 0, 0, 1000);
    assert_int_equal(code(), FS_NOT_PERMITTED);
    end();
}

static void streams(void **state)
{
    begin();
    uint32_t f = open_at(2, 0, "s", CREATE, READ | WRITE), ro = open_at(1, 0, "a.txt", 0, READ);
    hk_call(T, M("write-via-stream"), f, 2, 1000);
    uint32_t out = hk_u32(1004);
    hk_call("wasi:io/streams", "[method]output-stream.blocking-write-and-flush", out, 2000,
            hk_put(2000, "abc"), 1000);
    hk_call("wasi:io/streams", "[method]output-stream.blocking-write-zeroes-and-flush", out, 2,
            1000);
    hk_call(T, M("append-via-stream"), f, 1000);
    hk_call("wasi:io/streams", "[method]output-stream.blocking-write-and-flush", hk_u32(1004), 2000,
            hk_put(2000, "END"), 1000);
    hk_call(T, M("read-via-stream"), f, 1, 1000);
    uint32_t in = hk_u32(1004);
    /* The stream lives on without its descriptor. */
    hk_call(T, "descriptor", f);
    hk_call("wasi:io/streams", "[method]input-stream.skip", in, 1, 1000);
    hk_call("wasi:io/streams", "[method]input-stream.read", in, 100, 1000);
    assert_int_equal(hk_u32(1008), 8);
    assert_memory_equal(hk_str(1004).p, "abc\0\0END", 8);
    hk_call("wasi:io/streams", "[method]input-stream.read", in, 100, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 1);
    hk_call(T, M("write-via-stream"), ro, 0, 1000);
    assert_int_equal(hk_u8(1004), FS_BAD_DESCRIPTOR);
    hk_call(T, M("append-via-stream"), ro, 1000);
    assert_int_equal(hk_u8(1004), FS_BAD_DESCRIPTOR);
    hk_call(T, M("read-via-stream"), 1, 0, 1000);
    assert_int_equal(hk_u8(1004), FS_IS_DIRECTORY);
    end();
}

/* A stream that fails tells its file system error. */
static void stream_errors(void **state)
{
    begin();
    uint32_t f = open_at(2, 0, "s", CREATE, READ | WRITE);
    hk_call(T, M("write-via-stream"), f, INT64_MAX - 1, 1000);
    uint32_t out = hk_u32(1004);
    hk_call("wasi:io/streams", "[method]output-stream.blocking-write-and-flush", out, 2000,
            hk_put(2000, "abc"), 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 0);
    uint32_t e = hk_u32(1008);
    hk_call(T, "filesystem-error-code", e, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_true(hk_u8(1001) == FS_INVALID || hk_u8(1001) == FS_FILE_TOO_LARGE);
    hk_call("wasi:http/types", "http-error-code", e, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call("wasi:sockets/network", "network-error-code", e, 1000);
    assert_int_equal(hk_u8(1000), 0);
    end();
}

/* What the kernel refuses is told. */
static void the_kernel_refuses(void **state)
{
    begin();
    int fd = dup(0);
    close(fd); /* the number that comes next */
    uint32_t f = open_at(2, 0, "k", CREATE, READ | WRITE);
    assert_int_equal(close(fd), 0);
    const char *names[] = {M("get-type"), M("stat"), M("metadata-hash")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        hk_call(T, names[i], f, 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(i == 0 ? 1001 : 1008), FS_BAD_DESCRIPTOR);
    }
    assert_int_equal(dup2(0, fd), fd);
    hk_call(T, M("read-directory"), 2, 1000);
    uint32_t s = hk_u32(1004);
    for (fd = 200; fd > 2 && fcntl(fd, F_GETFD) < 0;)
        fd--; /* the directory that was opened last */
    int kept = dup(fd);
    assert_int_equal(close(fd), 0);
    hk_call(T, "[method]directory-entry-stream.read-directory-entry", s, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(dup2(kept, fd), fd);
    close(kept);
    end();
}

static void skips(void **state)
{
    begin();
    uint32_t f = open_at(1, 0, "a.txt", 0, READ);
    hk_call(T, M("read-via-stream"), f, 0, 1000);
    uint32_t in = hk_u32(1004);
    hk_call("wasi:io/streams", "[method]input-stream.blocking-skip", in, 2, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u64(1008) == 2);
    hk_call("wasi:io/streams", "[method]input-stream.blocking-read", in, 10, 1000);
    hk_assert_str(1004, "llo");
    hk_call("wasi:io/streams", "[method]input-stream.blocking-skip", in, 2, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1008) == 1);
    end();
}

static void directories(void **state)
{
    begin();
    assert_int_equal(path_call(M("create-directory-at"), 2, "d"), FS_OK);
    assert_int_equal(path_call(M("create-directory-at"), 2, "d/e/"), FS_OK);
    assert_int_equal(path_call(M("create-directory-at"), 2, "d"), FS_EXIST);
    assert_int_equal(path_call(M("create-directory-at"), 1, "x"), FS_NOT_PERMITTED);
    assert_int_equal(path_call(M("create-directory-at"), 2, "../x"), FS_NOT_PERMITTED);
    assert_int_equal(path_call(M("create-directory-at"), 2, ".."), FS_NOT_PERMITTED);
    assert_int_equal(path_call(M("remove-directory-at"), 2, "d"), FS_NOT_EMPTY);
    assert_int_equal(path_call(M("remove-directory-at"), 2, "d/e"), FS_OK);
    open_at(2, 0, "d/f", CREATE, READ | WRITE);
    hk_call(T, M("read-directory"), 2, 1000);
    uint32_t s = hk_u32(1004);
    const char *next = "[method]directory-entry-stream.read-directory-entry";
    hk_call(T, next, s, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u8(1004) == 1);
    assert_int_equal(hk_u8(1008), 3);
    hk_assert_str(1012, "d");
    hk_call(T, next, s, 1000);
    assert_int_equal(hk_u8(1004), 0);
    uint32_t f = open_at(2, 0, "d/f", 0, READ);
    hk_call(T, M("read-directory"), f, 1000);
    assert_int_equal(hk_u8(1004), FS_NOT_DIRECTORY);
    assert_int_equal(path_call(M("unlink-file-at"), 2, "d"), FS_IS_DIRECTORY);
    assert_int_equal(path_call(M("unlink-file-at"), 2, "d/f"), FS_OK);
    assert_int_equal(path_call(M("unlink-file-at"), 2, "d/f"), FS_NO_ENTRY);
    assert_int_equal(path_call(M("unlink-file-at"), 1, "a.txt"), FS_NOT_PERMITTED);
    end();
}

static uint32_t two(const char *name, uint32_t from, const char *old, uint32_t to, const char *new)
{
    uint32_t n = hk_put(2000, old), m = hk_put(3000, new);
    if (strcmp(name, M("link-at")) == 0)
        hk_call(T, name, from, 0, 2000, n, to, 3000, m, 1000);
    else
        hk_call(T, name, from, 2000, n, to, 3000, m, 1000);
    return code();
}

static uint32_t symlink_to(uint32_t dir, const char *target, const char *path)
{
    uint32_t n = hk_put(2000, target), m = hk_put(3000, path);
    hk_call(T, M("symlink-at"), dir, 2000, n, 3000, m, 1000);
    return code();
}

static void links(void **state)
{
    begin();
    open_at(2, 0, "f", CREATE, READ | WRITE);
    assert_int_equal(two(M("rename-at"), 2, "f", 2, "g"), FS_OK);
    assert_int_equal(two(M("rename-at"), 2, "f", 2, "g"), FS_NO_ENTRY);
    assert_int_equal(two(M("rename-at"), 2, "g", 1, "g"), FS_NOT_PERMITTED);
    assert_int_equal(two(M("rename-at"), 2, "g", 2, "../g"), FS_NOT_PERMITTED);
    assert_int_equal(two(M("link-at"), 2, "g", 2, "h"), FS_OK);
    assert_int_equal(two(M("link-at"), 2, "g", 2, "h"), FS_EXIST);
    assert_int_equal(two(M("link-at"), 1, "a.txt", 2, "a"), FS_NOT_PERMITTED);
    hk_call(T, M("link-at"), 2, FOLLOW, 2000, 1, 2, 3000, 1, 1000);
    assert_int_equal(code(), FS_INVALID);
    assert_int_equal(symlink_to(2, "g", "link"), FS_OK);
    assert_int_equal(symlink_to(2, "../../out", "out"), FS_OK);
    assert_int_equal(symlink_to(2, "/etc/passwd", "p"), FS_NOT_PERMITTED);
    assert_int_equal(symlink_to(1, "g", "link"), FS_NOT_PERMITTED);
    assert_int_equal(open_at(2, FOLLOW, "out", 0, READ), 1000 + FS_NOT_PERMITTED);
    assert_true(open_at(2, FOLLOW, "link", 0, READ) < 1000);
    hk_call(T, M("readlink-at"), 2, 2000, hk_put(2000, "link"), 1000);
    hk_assert_str(1004, "g");
    hk_call(T, M("readlink-at"), 2, 2000, hk_put(2000, "g"), 1000);
    assert_int_equal(hk_u8(1004), FS_INVALID);
    hk_call(T, M("readlink-at"), 1, 2000, hk_put(2000, "abs"), 1000);
    assert_int_equal(hk_u8(1004), FS_NOT_PERMITTED);
    /* stat of a link, and through it */
    hk_call(T, M("stat-at"), 2, 0, 2000, hk_put(2000, "link"), 1000);
    assert_int_equal(hk_u8(1008), 5);
    hk_call(T, M("stat-at"), 2, FOLLOW, 2000, hk_put(2000, "link"), 1000);
    assert_int_equal(hk_u8(1008), 6);
    assert_int_equal(hk_u64(1016), 2); /* g and h */
    hk_call(T, M("stat-at"), 2, FOLLOW, 2000, hk_put(2000, "out"), 1000);
    assert_int_equal(hk_u8(1008), FS_NOT_PERMITTED);
    hk_call(T, M("set-times-at"), 2, 0, 2000, hk_put(2000, "g"), 2, 77, 0, 2, 88, 0, 1000);
    assert_int_equal(code(), FS_OK);
    hk_call(T, M("set-times-at"), 1, 0, 2000, hk_put(2000, "a.txt"), 1, 0, 0, 1, 0, 0, 1000);
    assert_int_equal(code(), FS_NOT_PERMITTED);
    uint32_t g = open_at(2, 0, "g", 0, READ), h = open_at(2, 0, "h", 0, READ);
    hk_call(T, M("is-same-object"), g, h);
    assert_int_equal(hk_slots[0].u32, 1);
    hk_call(T, M("is-same-object"), g, 2);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, M("metadata-hash"), g, 1000);
    uint64_t lower = hk_u64(1008), upper = hk_u64(1016);
    hk_call(T, M("metadata-hash-at"), 2, 0, 2000, hk_put(2000, "h"), 1000);
    assert_true(hk_u64(1008) == lower && hk_u64(1016) == upper && lower != upper);
    hk_call(T, M("metadata-hash-at"), 2, 0, 2000, hk_put(2000, "none"), 1000);
    assert_int_equal(hk_u8(1008), FS_NO_ENTRY);
    end();
}

/* The kernel gives out the least descriptor that is free, and 0 is one like the others. */
static void without_a_standard_input(void **state)
{
    begin();
    assert_true(open_at(2, 0, "f", CREATE, READ | WRITE) < 1000);
    int input = dup(0);
    fs_code opened = FS_OK;
    close(0);
    errno = ENOENT;
    int fd = fs_open_beneath(hk.component.preopens[1].dir_fd, "f", O_RDONLY, &opened);
    close(0);
    hk_call(T, M("set-times-at"), 2, 0, 2000, hk_put(2000, "f"), 2, 77, 0, 2, 88, 0, 1000);
    int left = fcntl(0, F_GETFD);
    assert_int_equal(dup2(input, 0), 0);
    close(input);
    assert_true(fd == 0 && opened == FS_OK);
    assert_int_equal(code(), FS_OK);
    assert_int_equal(left, -1); /* it was closed again */
    hk_call(T, M("stat-at"), 2, 0, 2000, hk_put(2000, "f"), 1000);
    assert_int_equal(hk_u8(1000), 0);
    end();
}

/* Descriptors are bounded, and none is left open. */
static void files_are_bounded(void **state)
{
    begin();
    int before = dup(0);
    close(before);
    uint32_t got = 0;
    for (int i = 0; i < 600 && got < 1000; i++)
        got = open_at(1, 0, "a.txt", 0, READ);
    assert_int_equal(got, 1000 + FS_QUOTA);
    end();
    int after = dup(0);
    close(after);
    assert_true(after <= before);
}

static int begin_all(void **state) { return mkdtemp(top) ? hk_begin(state) : -1; }

static int end_all(void **state)
{
    shell("rm -rf %s");
    return hk_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(streams),
        cmocka_unit_test(stream_errors),
        cmocka_unit_test(the_kernel_refuses),
        cmocka_unit_test(skips),
        cmocka_unit_test(directories),
        cmocka_unit_test(links),
        cmocka_unit_test(without_a_standard_input),
        cmocka_unit_test(files_are_bounded),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
