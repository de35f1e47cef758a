"""Files that answers or the kernel's command line name: by http, https, ftp, nfs, or of this
system. Nothing is fetched without a bound."""

import contextlib
import ctypes
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from answers import Refused, checked_url

BYTES_MAX = 1 << 20
SECONDS = 60
# Source: the package libnfs14, by which hostd reads NFS too.
LIBNFS = "libnfs.so.14"
PIECE_BYTES = 1 << 16


def needs_network(url):
    return urlsplit(url).scheme != "file"


def fetch(url, what="The answer file", opened=None):
    """Its bytes. `what`: for the sentence that says why not."""
    checked_url(url)
    try:
        if url.startswith("nfs://"):
            data = read_nfs(url)
        else:
            with (opened or urllib.request.urlopen)(url, timeout=SECONDS) as answer:
                data = answer.read(BYTES_MAX + 1)
    except (urllib.error.URLError, OSError, EOFError) as error:
        raise Refused(f"{what} cannot be had from {url}: {error}") from error
    if len(data) > BYTES_MAX:
        raise Refused(f"{what} at {url} is larger than {BYTES_MAX >> 10} KiB.")
    return data


class NfsUrl(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("server", "path", "file")]


def libnfs():
    """The library with what its functions take. Throws OSError where there is none."""
    library = ctypes.CDLL(LIBNFS)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
    for name, result, arguments in (
            ("nfs_init_context", pointer, []),
            ("nfs_destroy_context", None, [pointer]),
            ("nfs_get_error", text, [pointer]),
            ("nfs_set_timeout", None, [pointer, ctypes.c_int]),
            ("nfs_parse_url_full", ctypes.POINTER(NfsUrl), [pointer, text]),
            ("nfs_destroy_url", None, [ctypes.POINTER(NfsUrl)]),
            ("nfs_mount", ctypes.c_int, [pointer, text, text]),
            ("nfs_open", ctypes.c_int, [pointer, text, ctypes.c_int,
                                        ctypes.POINTER(ctypes.c_void_p)]),
            ("nfs_close", ctypes.c_int, [pointer, pointer]),
            ("nfs_pread", ctypes.c_int, [pointer, pointer, number, number, pointer])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def read_nfs(url):
    """Without a mount: a file is all that is wanted. Throws OSError."""
    library = libnfs()
    context = library.nfs_init_context()
    with contextlib.ExitStack() as undo:
        undo.callback(library.nfs_destroy_context, context)

        def must(result):
            if result < 0:
                raise OSError(-result, library.nfs_get_error(context).decode(errors="replace"))
            return result

        library.nfs_set_timeout(context, SECONDS * 1000)
        parsed = library.nfs_parse_url_full(context, url.encode())
        if not parsed:
            raise OSError(library.nfs_get_error(context).decode(errors="replace"))
        undo.callback(library.nfs_destroy_url, parsed)
        must(library.nfs_mount(context, parsed.contents.server, parsed.contents.path))
        file = ctypes.c_void_p()
        must(library.nfs_open(context, parsed.contents.file, 0, ctypes.byref(file)))
        undo.callback(library.nfs_close, context, file)
        data, piece = b"", ctypes.create_string_buffer(PIECE_BYTES)
        while len(data) <= BYTES_MAX:
            count = must(library.nfs_pread(context, file, len(data), PIECE_BYTES, piece))
            if count == 0:
                break
            data += piece.raw[:count]
        return data
