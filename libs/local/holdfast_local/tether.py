"""Becomes another program that cannot outlive the process which started it.

Run as a script (``python -I -S tether.py PARENT_PID IDENTITY PROGRAM ARGUMENT…``), never imported by the parent: this does
in a fresh single-threaded process what ``preexec_fn`` would do after a fork in a threaded one. It replaces itself by the
program, so the pid that the parent knows is the program's own.

IDENTITY says as whom the program runs:

- ``same``: as whoever started it;
- ``namespace``: as user 1000 of a new user namespace in which that user is the caller. Files stay the caller's, but
  ``geteuid()`` is not 0, which is all that Postgres asks for;
- ``<uid>:<gid>``: as that user, with no supplementary groups.

On Linux the kernel kills the program when the *thread* that started it ends (PR_SET_PDEATHSIG), however that happens.
The setting does not survive a change of identity, so it comes after it. Elsewhere there is no such thing: what is left of
a killed parent is ended by the next start on the same data.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER = 0x10000000  # linux/sched.h
NAMESPACE_ID = 1000


def _enter_user_namespace(libc: ctypes.CDLL) -> None:
    """See user_namespaces(7): one id may be mapped to the caller's own without privileges, once setgroups is off."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER) failed")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NAMESPACE_ID} {uid} 1"),
        ("gid_map", f"{NAMESPACE_ID} {gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def _become(identity: str) -> None:
    if identity == "namespace":
        _enter_user_namespace(ctypes.CDLL(None, use_errno=True))
    elif identity != "same":
        uid, gid = (int(part) for part in identity.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def main(argv: list[str]) -> None:
    """Tether this process, take on the identity, become the program."""
    parent, identity, command = int(argv[1]), argv[2], argv[3:]
    _become(identity)
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the line above: no signal will come
        raise SystemExit("the process that started this one has ended")
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and an ignored signal stays so across exec
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - this is what the script is for


if __name__ == "__main__":
    main(sys.argv)
