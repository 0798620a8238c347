"""An audit hook under which anything that a file could make a reader do is a broken rule."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.putenv", "os.kill",
    "subprocess.", "pty.spawn", "exec", "compile", "code.__new__", "function.__new__", "socket.", "urllib.", "webbrowser.", "ctypes.dlopen", "ctypes.dlsym",
    "pickle.find_class", "marshal.loads", "builtins.input", "builtins.breakpoint", "http.", "ftplib.", "smtplib.",
    "sqlite3.", "shutil.rmtree", "signal.pthread_kill", "sys.settrace", "sys.setprofile", "pdb.", "syslog.",
)  # fmt: skip
WRITING = 0o1 | 0o2 | 0o100


class Guard:
    """Notes what happens while it is armed; an audit hook cannot be removed again.

    Arguments:
        folder: files may be written there, and in the folder for temporary files.
    """

    def __init__(self, folder: str) -> None:
        self.allowed = (folder, tempfile.gettempdir(), "/dev/null")
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "import" or event == "open" or event.startswith(FORBIDDEN):
            self.armed = False  # what this very function does is no part of it
            try:
                note = self._note(event, args)
            finally:
                self.armed = True
            if note:
                self.seen.append(note)

    def _note(self, event: str, args: tuple[Any, ...]) -> str:
        if event.startswith("ctypes.") and (
            args[0] is None
            or any(f"'{name}'" in str(args) for name in ("renameat2", "syncfs", "malloc_trim"))
        ):
            return ""  # how a sink swaps a directory, flushes one of many files, and a database frees memory
        if event == "shutil.rmtree" and str(args[0]).endswith(".ckpt-tmp"):
            return ""  # what a conversion that failed had begun
        if event == "open":
            path, _, flags = args
            writes = isinstance(flags, int) and flags & WRITING
            if not writes or isinstance(path, int) or str(path).startswith(self.allowed):
                return ""
        return f"{event}{str(args)[:300]}"
