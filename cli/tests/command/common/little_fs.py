"""A file system in memory over /dev/fuse, without hard links and links, and without renaming that does not
replace. It fails and hangs on demand.

usage: little_fs.py MOUNT-POINT [OPERATION=ERROR...] [spared=COUNT] [hang_read_at=OFFSET hang=SECONDS]
                    [read=SECONDS] [names=ascii]

OPERATION is flush (which is what close(2) asks), fsync or fsyncdir; the first COUNT of them succeed. Each read
takes SECONDS, or those behind OFFSET do. Prints a line once it is mounted.
"""
import ctypes
import errno
import os
import stat
import struct
import sys
import time

ROOT = 1
mount_point, options = sys.argv[1], dict(word.split("=") for word in sys.argv[2:])
device = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
data = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
if libc.mount(b"little", mount_point.encode(), b"fuse", 0, data.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)

# Nodes by the directory that they are in, and their name.
contents, directories, names, last = {}, {ROOT}, {}, ROOT


spared = int(options.get("spared", 0))


def wanted_error(operation):
    global spared
    if operation not in options:
        return 0
    spared -= 1
    return getattr(errno, options[operation]) if spared < 0 else 0


def attributes(node):
    is_directory = node in directories
    size = 0 if is_directory else len(contents[node])
    mode = stat.S_IFDIR | 0o777 if is_directory else stat.S_IFREG | 0o644
    times = [1_700_000_000] * 3 + [0] * 3
    return struct.pack("<6Q3I7I", node, size, (size + 511) // 512, *times[:3], *times[3:], mode, 1, 0, 0, 0, 4096, 0)


def entry(node):
    return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + attributes(node)


def is_refused(name):
    return options.get("names") == "ascii" and not name.isascii()


def answer(operation, node, body):
    """The error, or 0, and what is answered."""
    global last
    if operation == 26:  # init
        return 0, struct.pack("<IIIIHHIIHHI7I", 7, 31, 131072, 0, 12, 9, 131072, 1, 32, 0, 0, *[0] * 7)
    if operation == 1:  # lookup
        found = names.get((node, body.split(b"\0")[0]))
        return (0, entry(found)) if found else (errno.ENOENT, b"")
    if operation in (3, 4):  # getattr, setattr
        if operation == 4:
            valid, _, _, size = struct.unpack_from("<IIQQ", body)
            if valid & 8:
                contents[node] = contents[node][:size] + bytes(max(0, size - len(contents[node])))
        return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
    if operation in (9, 35):  # mkdir, create
        name = body[8 if operation == 9 else 16 :].split(b"\0")[0]
        if is_refused(name):
            return errno.EILSEQ, b""
        last += 1
        names[node, name] = last
        if operation == 9:
            directories.add(last)
            return 0, entry(last)
        contents[last] = bytearray()
        return 0, entry(last) + struct.pack("<QII", last, 0, 0)
    if operation in (10, 11):  # unlink, rmdir
        return (0 if names.pop((node, body.split(b"\0")[0]), None) else errno.ENOENT), b""
    if operation == 12:  # rename
        old, new = body[8:].split(b"\0")[:2]
        if is_refused(new):
            return errno.EILSEQ, b""
        names[struct.unpack_from("<Q", body)[0], new] = names.pop((node, old))
        return 0, b""
    if operation in (14, 27):  # open, opendir
        return 0, struct.pack("<QII", node, 0, 0)
    if operation == 15:  # read
        _, offset, size = struct.unpack_from("<QQI", body)
        time.sleep(float(options.get("read", 0)))
        if offset + size > int(options.get("hang_read_at", 1 << 60)):
            time.sleep(float(options["hang"]))
        return 0, bytes(contents[node][offset : offset + size])
    if operation == 16:  # write
        _, offset, size = struct.unpack_from("<QQI", body)
        contents[node][offset : offset + size] = body[40 : 40 + size]
        return 0, struct.pack("<II", size, 0)
    if operation == 17:  # statfs
        return 0, struct.pack("<5Q2I2I6I", *[1 << 20] * 5, 4096, 255, 4096, 0, *[0] * 6)
    if operation in (18, 29):  # release, releasedir
        return 0, b""
    if operation == 20:
        return wanted_error("fsync"), b""
    if operation == 25:
        return (wanted_error("flush") if contents.get(node) else 0), b""
    if operation == 30:
        return wanted_error("fsyncdir"), b""
    if operation == 28:  # readdir
        _, offset, _ = struct.unpack_from("<QQI", body)
        listed = b""
        here = [(name, found) for (above, name), found in names.items() if above == node]
        for at, (name, found) in enumerate(here[offset:], offset + 1):
            kind = 4 if found in directories else 8
            listed += struct.pack("<QQII", found, at, len(name), kind) + name + bytes(-len(name) % 8)
        return 0, listed
    return errno.ENOSYS, b""


while True:
    try:
        request = os.read(device, 1 << 20)
    except OSError:
        break  # unmounted
    length, operation, unique, node = struct.unpack_from("<IIQQ", request)
    if operation in (2, 42):  # forget, which has no answer
        continue
    error, out = answer(operation, node, request[40:length])
    out = b"" if error else out
    os.write(device, struct.pack("<IiQ", 16 + len(out), -error, unique) + out)
