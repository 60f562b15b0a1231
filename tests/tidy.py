#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The house rules that a script can check; CONTRIBUTING.md gives the reasons.

usage: tidy.py SOURCE_ROOT     prints FILE:LINE: RULE: what is wrong; exit 1 if anything is
       tidy.py --self-test     shows that every rule fires on a bad sample and not on a good one

A check looks at one file, or at all files together, and yields (file, line, rule, text). C sources
are looked at as `code`: comments gone, the insides of strings and characters blanked, lines kept.
"""

import os
import re
import subprocess
import sys

# An include may only point to the left.
LAYERS = ["util", "format", "io", "log", "core", "disk", "ops", "api"]
FRONT_ENDS = ["cli", "nbdkit", "fuse"]  # see include/vhdx.h and nothing else of the library
FUNCTION_LINES = 70
FILE_LINES = 600
COLUMNS = 100

# Longer than FILE_LINES, and why.
LONG_ALLOWED = {
    "include/vhdx.h": "the whole public API in one header",
}

FOLDER_FILES = 12  # modules in one layer

# Mutable objects that may exist in lib/, and why.
MUTABLE_ALLOWED = {
    "lib/util/crc32c.c": "which CRC-32C routine this processor runs: written once, atomically",
}

BANNED = {
    "strtol": "parse with checked code", "strtoul": "parse with checked code",
    "strtoll": "parse with checked code", "strtoull": "parse with checked code",
    "strtoimax": "parse with checked code", "strtoumax": "parse with checked code",
    "strtod": "parse with checked code", "strtof": "parse with checked code",
    "strtold": "parse with checked code", "atoi": "parse with checked code",
    "atol": "parse with checked code", "atoll": "parse with checked code",
    "atof": "parse with checked code", "sprintf": "use snprintf", "vsprintf": "use vsnprintf",
    "strcpy": "use a bounded copy", "strcat": "use snprintf",
    "strncpy": "does not terminate", "strncat": "use snprintf", "strtok": "keeps hidden state",
    "gets": "unbounded", "alloca": "unbounded stack", "system": "runs a shell",
    "popen": "runs a shell", "mktemp": "a race; use mkstemp", "tmpnam": "a race; use mkstemp",
    "tempnam": "a race; use mkstemp",
}

C_SUFFIXES = (".c", ".h", ".cc")
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else", "case", "goto",
            "_Alignof", "_Static_assert", "__attribute__", "defined", "typeof", "__typeof__"}
PROMISES = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:home|tmp|root|Users|var/tmp)/\w")


# ---- Looking at C --------------------------------------------------------------------------------

def strip_c(text):
    """Blanks comments and the insides of literals, keeping every newline and column."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        s = match.group(0)
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[-1]
        return re.sub(r"[^\n]", " ", s)

    return token.sub(blank, text)


def strip_directives(code):
    """Blanks preprocessor lines, with their continuations."""
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  code, flags=re.M)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def top_level(code):
    """Splits into file-scope items: (start, head, body_start, end).

    An item ends at a semicolon at depth 0 or at the brace that closes a function. head is the text
    outside braces; body_start is None for what is no function.
    """
    items, depth, start, head, opened, function = [], 0, 0, [], 0, False
    for i, ch in enumerate(code):
        if depth == 0:
            if ch == "{":
                text = "".join(head).strip()
                if re.search(r'\bextern\s*"\s*"$', text) or text == 'extern "C"':
                    head, start = [], i + 1
                    continue  # extern "C" { does not open a scope here
                function = bool(re.search(r"\)\s*(__attribute__\s*\(\(.*\)\)\s*)?$", text, re.S))
                opened, depth = i, 1
                continue
            if ch == "}":  # closes extern "C"
                head, start = [], i + 1
                continue
            head.append(ch)
            if ch == ";":
                items.append((start, "".join(head), None, i))
                head, start = [], i + 1
        elif ch == "{":
            depth += 1
        elif ch == "}":
            depth -= 1
            if depth == 0 and function:
                items.append((start, "".join(head), opened, i))
                head, start = [], i + 1
            elif depth == 0:
                head.append(" {} ")
    return items


def functions(code):
    """(name, first line, last line, body, is static) of every function defined in code."""
    for start, head, body, end in top_level(strip_directives(code)):
        if body is None:
            continue
        flat = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", "", head)
        match = re.search(r"(\w+)\s*\(", flat)
        name = match.group(1) if match else "?"
        first = line_of(code, start + len(head) - len(head.lstrip()))
        yield (name, first, line_of(code, end), code[body:end + 1],
               bool(re.search(r"\bstatic\b", head)))


# ---- Rules for one C file ------------------------------------------------------------------------

def check_includes(path, text):
    """An include never points up, and front ends see only the public header."""
    parts = path.split("/")
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        mark, target = match.groups()
        where = target.split("/")[0]
        if parts[0] == "lib" and len(parts) == 3 and parts[1] in LAYERS and "/" in target \
                and mark == '"':
            if where not in LAYERS:
                yield path, number, "layers", f'"{target}" is in no layer'
            elif LAYERS.index(where) > LAYERS.index(parts[1]):
                yield path, number, "layers", f"{parts[1]} includes {target}, which lies above it"
        elif parts[0] == "lib" and mark == '"' and "/" not in target:
            yield path, number, "layers", f'"{target}": write the layer too, as in "util/bits.h"'
        elif parts[0] in FRONT_ENDS and mark == '"' and ("/" in target
                                                          or target.startswith("vhdx")):
            yield path, number, "front-end", f'"{target}": only <vhdx.h> and the front ends'
        if ".." in target.split("/"):
            yield path, number, "layers", f"{target}: no way up the folders"


def check_functions(path, text):
    code = strip_c(text)
    for name, first, last, _, _ in functions(code):
        if last - first + 1 > FUNCTION_LINES:
            yield (path, first, "function-length",
                   f"{name}() has {last - first + 1} lines, at most {FUNCTION_LINES}")


def check_banned(path, text):
    code = strip_c(text)
    for match in re.finditer(r"(?<![\w.>])(\w+)\s*\(", code):
        if match.group(1) in BANNED:
            yield (path, line_of(code, match.start()), "banned-call",
                   f"{match.group(1)}(): {BANNED[match.group(1)]}")


def check_typedef(path, text):
    code = strip_c(text)
    for match in re.finditer(r"\btypedef\s+(?:const\s+)?(struct|union|enum)\b", code):
        yield (path, line_of(code, match.start()), "typedef",
               f"write {match.group(1)} where it is used")


def check_public_header(path, text):
    if not path.startswith("include/"):
        return
    code = strip_c(text)
    for match in re.finditer(r"\b(off_t|ssize_t|bool|mode_t)\b", code):
        yield (path, line_of(code, match.start()), "public-types",
               f"{match.group(1)} is not the same size, or not there, everywhere")


def is_mutable(declaration):
    """Whether a declaration at file scope, or a static one, makes an object that can change."""
    d = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", " ", declaration)
    d = re.sub(r"\[[^\]]*\]", " [] ", d).split("=")[0].strip().rstrip(";").strip()
    if not d or re.match(r"(typedef|_Static_assert)\b", d):
        return False
    if re.match(r"(?:static\s+|extern\s+)*(struct|union|enum)\s*\w*\s*(\{\}\s*)?$", d):
        return False  # declares a type only
    pointer = re.match(r"[^(]*\(\s*\*\s*(const\b)?", d)
    if pointer:
        return not pointer.group(1)  # a pointer to functions
    if "(" in d:
        return False  # a function's prototype
    if "*" in d:
        return not re.match(r"\s*(?:restrict\s+|volatile\s+)*const\b", d.rsplit("*", 1)[1])
    return not re.search(r"\bconst\b", d)


def check_globals(path, text):
    if not path.startswith("lib/") or path in MUTABLE_ALLOWED:
        return
    code = strip_directives(strip_c(text))
    for start, head, body, end in top_level(code):
        if path.endswith(".h") and not re.search(r"\b(static|extern)\b|=", head):
            continue  # in a header this declares functions, by the name of their type
        if body is None and is_mutable(head):
            line = line_of(code, start + len(head) - len(head.lstrip()))
            yield path, line, "global-state", " ".join(head.split())[:60]
        elif body is not None:
            for match in re.finditer(r"(?<!\w)(?:static|_Thread_local|__thread)\b[^;{=]*[;{=]",
                                     code[body:end]):
                if is_mutable(match.group(0).rstrip("{=;")):
                    yield (path, line_of(code, body + match.start()), "global-state",
                           " ".join(match.group(0).split())[:60])


# ---- Rules for any file --------------------------------------------------------------------------

def check_text(path, text):
    lines = text.split("\n")
    source = path.endswith(C_SUFFIXES)
    if source and len(lines) - 1 > FILE_LINES and path not in LONG_ALLOWED:
        yield path, 1, "file-length", f"{len(lines) - 1} lines, at most {FILE_LINES}"
    outside = not path.startswith(("tests/", "scripts/", ".ci/", "bench/"))
    for number, line in enumerate(lines, 1):
        if needs_spdx(path) and len(line) > COLUMNS:
            yield path, number, "columns", f"{len(line)} columns, at most {COLUMNS}"
        if "\t" in line and needs_spdx(path) and os.path.basename(path) != "Makefile":
            yield path, number, "tab", "indent with spaces"
        if needs_spdx(path) and line != line.rstrip():
            yield path, number, "trailing-space", "space at the end of the line"
        if PROMISES.search(line):
            yield path, number, "promise", "do it, or put it into the issue tracker"
        if outside and MACHINE_PATH.search(line):
            yield path, number, "machine-path", MACHINE_PATH.search(line).group(0)
    if needs_spdx(path) and text and not text.endswith("\n"):
        yield path, len(lines), "newline", "the last line has no end"


def needs_spdx(path):
    name = os.path.basename(path)
    return (name.endswith((*C_SUFFIXES, ".py", ".sh", ".map", ".ini"))
            or name in ("meson.build", "meson_options.txt", "Makefile")
            or (path.startswith(("scripts/", ".ci/")) and "." not in name))


def check_spdx(path, text):
    if not needs_spdx(path):
        return
    lines = text.split("\n")
    at = 1 if lines[0].startswith("#!") else 0
    head = [re.sub(r"^(/\*|//|#)\s*|\s*\*/$", "", line) for line in lines[at:at + 2]]
    if head != ["SPDX-License-Identifier: MIT", "Copyright (c) the vhdx authors"]:
        yield path, at + 1, "spdx", "begin with the two-line header, as the other files do"


# ---- Rules for all files together ----------------------------------------------------------------

def check_unique_names(files):
    seen = {}
    for path in sorted(files):
        name = os.path.basename(path)
        if path.startswith("lib/") and name.endswith((".c", ".h")):
            if name in seen:
                yield path, 1, "unique-name", f"{seen[name]} has this name already"
            seen.setdefault(name, path)


def check_folder_size(files):
    modules = {}
    for path in files:
        if path.startswith("lib/") and path.endswith((".c", ".h")):
            # Variants of one noun (crc32c-x86.c of crc32c.c) are one module.
            noun = os.path.splitext(path)[0].split("-")[0]
            modules.setdefault(os.path.dirname(path), set()).add(noun)
    for folder, names in sorted(modules.items()):
        if len(names) > FOLDER_FILES:
            yield folder, 1, "folder-size", f"{len(names)} modules, at most {FOLDER_FILES}"


def check_listed(files):
    """A source that its folder's meson.build does not name is compiled and tested by nobody."""
    for path in sorted(files):
        folder, name = os.path.split(path)
        build = folder + "/meson.build"
        if path.startswith(("lib/", "cli/", "nbdkit/", "fuse/", "bench/", "tests/")) \
                and name.endswith((".c", ".cc")) and build in files:
            stem = os.path.splitext(name)[0]
            if not re.search(rf"(?<![\w-]){re.escape(stem)}(?![\w-])", files[build]):
                yield path, 1, "unlisted", f"{build} does not name it"


def call_graph(files):
    """Who calls whom in lib/, by name: {(file, function): (line, set of the same)}."""
    defined, public = {}, {}
    for path, text in files.items():
        if path.startswith("lib/") and path.endswith((".c", ".h")):
            for name, first, _, body, static in functions(strip_c(text)):
                defined[(path, name)] = (first, body)
                if not static or path.endswith(".h"):
                    public[name] = (path, name)
    graph = {}
    for (path, name), (first, body) in defined.items():
        targets = set()
        for match in re.finditer(r"(?<![\w.>])(\w+)\s*\(", body):
            callee = match.group(1)
            if callee in KEYWORDS:
                continue
            target = (path, callee) if (path, callee) in defined else public.get(callee)
            if target:
                targets.add(target)
        graph[(path, name)] = (first, targets)
    return graph


def check_recursion(files):
    """Peels off functions that call nobody left; what remains at the end goes in circles."""
    graph = call_graph(files)
    left = {key: set(targets) for key, (_, targets) in graph.items()}
    for direction in ("callees", "callers"):
        while True:
            if direction == "callees":
                done = {key for key, targets in left.items() if not targets}
            else:
                called = set().union(*left.values()) if left else set()
                done = set(left) - called
            if not done:
                break
            left = {key: targets - done for key, targets in left.items() if key not in done}
    for path, name in sorted(left):
        yield path, graph[(path, name)][0], "recursion", f"{name}() comes back to itself"


FILE_CHECKS = [check_text, check_spdx]
C_CHECKS = [check_includes, check_functions, check_banned, check_typedef, check_public_header,
            check_globals]
TREE_CHECKS = [check_unique_names, check_folder_size, check_listed, check_recursion]


def check_all(files):
    for path, text in sorted(files.items()):
        for check in FILE_CHECKS + (C_CHECKS if path.endswith(C_SUFFIXES) else []):
            yield from check(path, text)
    for check in TREE_CHECKS:
        yield from check(files)


# ---- The tree ------------------------------------------------------------------------------------

def list_tree(root):
    """The files git knows or would add; without git, all but builds and hidden folders."""
    git = ["git", "-C", root, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
           "--exclude-standard"]
    try:
        if os.path.exists(os.path.join(root, ".git")):
            out = subprocess.run(git, check=True, stdout=subprocess.PIPE).stdout.decode()
            return sorted(set(name for name in out.split("\0") if name))
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(("build", "__pycache__"))
                      and (not f.startswith(".") or f == ".ci")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def read_tree(root):
    files = {}
    for path in list_tree(root):
        full = os.path.join(root, path)
        if not os.path.isfile(full) or os.path.islink(full):
            continue
        with open(full, "rb") as f:
            data = f.read()
        if b"\0" not in data:
            files[path] = data.decode("utf-8", errors="replace")
    return files


# ---- Self-test -----------------------------------------------------------------------------------

PLAIN_HEADER = "# SPDX-License-Identifier: MIT\n# Copyright (c) the vhdx authors\n"
HEADER = "/* SPDX-License-Identifier: MIT */\n/* Copyright (c) the vhdx authors */\n"

# (rule that must fire, or None for no rule at all; file; content after the header)
SAMPLES = [
    ("layers", "lib/format/bat.c", '#include "core/map.h"\n'),
    ("layers", "lib/util/guid.c", '#include "api.h"\n'),
    ("layers", "lib/util/guid.c", '#include "../core/map.h"\n'),
    ("layers", "lib/io/io.c", '#include "other/thing.h"\n'),
    (None, "lib/core/map.c", '#include "core/map.h"\n#include "util/bits.h"\n#include <vhdx.h>\n'),
    (None, "lib/api/api.c", '#include "ops/info.h"\n'),
    ("front-end", "cli/main.c", '#include "util/bits.h"\n'),
    ("front-end", "cli/main.c", '#include "vhdx-private.h"\n'),
    ("front-end", "nbdkit/plugin.c", '#include "core/map.h"\n'),
    ("front-end", "fuse/serve.c", '#include "core/map.h"\n'),
    (None, "cli/main.c", '#include <vhdx.h>\n#include "size.h"\n#include <sys/stat.h>\n'),
    ("function-length", "lib/io/io.c", "int f(void)\n{\n" + "    g();\n" * 68 + "}\n"),
    (None, "lib/io/io.c", "int f(void)\n{\n" + "    g();\n" * 67 + "}\n"),
    ("file-length", "lib/io/io.c", "\n" * 599),
    ("columns", "lib/io/io.c", "/* " + "x" * 98 + " */\n"),
    ("tab", "lib/io/io.c", "int x(void);\t/* why */\n"),
    ("trailing-space", "lib/io/io.c", "int x(void); \n"),
    ("newline", "lib/io/io.c", "int x(void);"),
    ("banned-call", "cli/size.c", "int f(char *s) { return atoi(s); }\n"),
    ("banned-call", "cli/size.c", "long f(char *s) { return strtol(s, 0, 10); }\n"),
    ("banned-call", "cli/size.c", "void f(char *s) { sprintf(s, \"x\"); }\n"),
    ("banned-call", "cli/size.c", "void f(char *s) { strcpy (s, \"x\"); }\n"),
    ("banned-call", "cli/size.c", "void f(char *s) { system(s); }\n"),
    (None, "cli/size.c", "int f(void) { return my_atoi(\"system(x)\"); /* atoi(s) */ }\n"),
    ("typedef", "lib/io/io.h", "typedef struct a { int b; } a_t;\n"),
    (None, "lib/io/io.h", "typedef int (*visit_fn)(void *opaque);\nstruct a { int b; };\n"),
    ("public-types", "include/vhdx.h", "int f(off_t offset);\n"),
    (None, "include/vhdx.h", "int f(uint64_t offset); /* not off_t */\n"),
    ("global-state", "lib/io/io.c", "static int count;\n"),
    ("global-state", "lib/io/io.c", "int count = 3;\n"),
    ("global-state", "lib/io/io.c", "extern unsigned count;\n"),
    ("global-state", "lib/io/io.c", "static const char *names[] = { \"a\" };\n"),
    ("global-state", "lib/io/io.c", "static int (*hook)(void);\n"),
    ("global-state", "lib/io/io.c", "int f(void)\n{\n    static int n = 0;\n    return n++;\n}\n"),
    ("global-state", "lib/io/io.c", "static struct { int a; } state;\n"),
    (None, "lib/io/io.c", "static const char *const names[] = { \"a\" };\nstruct a { int b; };\n"
     "static const struct a one = { 1 };\nint g(int (*fn)(void));\n_Static_assert(1, \"\");\n"
     "enum e { A, B = 2 };\nstatic int g(int x)\n{\n    static const int n = 0;\n"
     "    return n;\n}\n"),
    (None, "lib/util/crc32c.h", "routine_fn by_table, by_machine;\n"),
    ("global-state", "lib/util/crc32c.h", "extern int chosen;\n"),
    (None, "lib/util/crc32c.c", "static _Atomic(int) chosen;\n"),
    ("promise", "docs/format.md", "TO" "DO: write this\n"),
    ("promise", "lib/io/io.c", "/* FIX" "ME */\n"),
    ("promise", "cli/main.c", "/* X" "XX */\n"),
    (None, "cli/main.c", 'static const char name[] = ".vhdx-XX' 'XXXX";\n'),
    ("machine-path", "lib/io/io.c", 'static const char a[] = "/tmp' '/x";\n'),
    ("machine-path", "README.md", "see /home" "/someone\n"),
    (None, "tests/lib/x.c", 'static const char a[] = "/tmp' '/x";\n'),
    ("recursion", "lib/core/map.c", "int f(int n)\n{\n    return n ? f(n - 1) : 0;\n}\n"),
    ("recursion", "lib/core/map.c",
     "int g(int n);\nint f(int n)\n{\n    return g(n);\n}\nint g(int n)\n{\n    return f(n);\n}\n"),
    (None, "lib/core/map.c",
     "static int f(struct a *a)\n{\n    return a->f(1) + a->b.f(2);\n}\nint g(struct a *a)\n{\n"
     "    return f(a);\n}\n"),
]


def run_sample(path, text):
    if needs_spdx(path):
        text = HEADER + text
    return {rule for _, _, rule, _ in check_all({path: text})}


def self_test():
    wrong = 0
    for number, (rule, path, text) in enumerate(SAMPLES, 1):
        fired = run_sample(path, text)
        if fired != ({rule} if rule else set()):
            print(f"sample {number} ({path}): wanted {rule}, got {sorted(fired)}:\n{text}")
            wrong += 1
    trees = [
        ("spdx", {"lib/io/io.c": "int x(void);\n"}),
        ("spdx", {"scripts/demo": "#!/bin/sh\necho\n"}),
        ("unique-name", {"lib/io/io.c": HEADER, "lib/core/io.c": HEADER}),
        ("folder-size", {f"lib/io/{n}.c": HEADER for n in range(FOLDER_FILES + 1)}),
        ("recursion", {"lib/io/a.c": HEADER + "int a(void)\n{\n    return b();\n}\n",
                       "lib/io/b.c": HEADER + "int b(void)\n{\n    return a();\n}\n"}),
        ("unlisted", {"lib/io/new-io.c": HEADER, "lib/io/meson.build": PLAIN_HEADER + "'io.c'\n"}),
        (None, {"lib/io/io.c": HEADER, "lib/io/meson.build": PLAIN_HEADER + "'io.c'\n"}),
        (None, {"scripts/x": "#!/bin/sh\n# SPDX-License-Identifier: MIT\n"
                             "# Copyright (c) the vhdx authors\necho\n",
                "lib/io/io.c": HEADER, "lib/io/io.h": HEADER}),
    ]
    for number, (rule, files) in enumerate(trees, 1):
        fired = {found for _, _, found, _ in check_all(files)}
        if fired != ({rule} if rule else set()):
            print(f"tree {number}: wanted {rule}, got {sorted(fired)}")
            wrong += 1
    print(f"{len(SAMPLES) + len(trees)} samples, {wrong} wrong")
    return wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    if len(sys.argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    files = read_tree(sys.argv[1])
    findings = list(check_all(files))
    for path, line, rule, text in findings:
        print(f"{path}:{line}: {rule}: {text}")
    print(f"{len(files)} files, {len(findings)} findings")
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main())
