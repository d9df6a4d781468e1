#!/usr/bin/env python3
"""Copies of shared libraries that ask for GLIBC_2.38, to load on a system with an older one (Debian 12 has 2.36).

  on_older_glibc.py FOLDER_OF_LIBRARIES OUT

GCC with glibc 2.38 calls strtol, sscanf and their like by new names (__isoc23_strtol: 0b... is a number too), which is
often all that a library needs of that version. In the copies that need is marked as weak, so that the loader only warns,
and OUT/shim.so has the new names, made of the old ones: `LD_PRELOAD=OUT/shim.so python3 ...`. Refuses when anything
else of 2.38 is called. Standard library, and cc.
"""
import pathlib
import shutil
import struct
import subprocess
import sys

SHIM = r"""
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
long __isoc23_strtol(const char* s, char** e, int b) { return strtol(s, e, b); }
long long __isoc23_strtoll(const char* s, char** e, int b) { return strtoll(s, e, b); }
unsigned long __isoc23_strtoul(const char* s, char** e, int b) { return strtoul(s, e, b); }
unsigned long long __isoc23_strtoull(const char* s, char** e, int b) { return strtoull(s, e, b); }
int __isoc23_sscanf(const char* s, const char* f, ...) {
  va_list a;
  va_start(a, f);
  int n = vsscanf(s, f, a);
  va_end(a);
  return n;
}
"""
NAMES = {f"__isoc23_{name}" for name in ("strtol", "strtoll", "strtoul", "strtoull", "sscanf")}
VERNEED, WEAK = 0x6FFFFFFE, 2  # SHT_GNU_verneed, VER_FLG_WEAK


def weaken(path):
    """In an ELF file of 64 bits: every need of GLIBC_2.38 becomes a weak one."""
    data = bytearray(path.read_bytes())
    table, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQII", data, table + i * size) for i in range(count)]
    for section in sections:
        if section[1] != VERNEED:
            continue
        strings = sections[section[6]][4]
        at = section[4]
        for _ in range(section[7]):
            _, entries, _, entry, following = struct.unpack_from("<HHIII", data, at)
            need = at + entry
            for _ in range(entries):
                _, flags, _, name, after = struct.unpack_from("<IHHII", data, need)
                if data[strings + name:].split(b"\0", 1)[0] == b"GLIBC_2.38":
                    struct.pack_into("<H", data, need + 4, flags | WEAK)
                need += after
            at += following
    path.write_bytes(data)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for library in sorted(source.glob("*.so*")):
        symbols = subprocess.run(["readelf", "-W", "--dyn-syms", library], capture_output=True, text=True).stdout
        unknown = {word.split("@")[0] for word in symbols.split() if "@GLIBC_2.38" in word} - NAMES
        if unknown:
            sys.exit(f"{library} calls {', '.join(sorted(unknown))}")
        shutil.copy(library, out / library.name)
        weaken(out / library.name)
    (out / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", out / "shim.c", "-o", out / "shim.so"], check=True)


if __name__ == "__main__":
    main()
