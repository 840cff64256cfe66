"""Starts a child agent, and ends it and all that it has started when the runner goes away.

A script of its own, standard library only: ``python -I -S launcher.py <descriptor> <command> <argument>…``, started as the leader
of a new session. It holds one end of a pipe whose other end only the runner has. When that end is closed, on purpose or because
the runner was killed with SIGKILL, it kills everything beneath it. It has no threads, so it may fork; the runner may not.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_S_MAX = 3.0
_NO_SUCH_COMMAND = 127


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere what has left the process group is not found when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become(command: list[str]) -> None:
    """In the forked child: be the command. It dies with this launcher, should that be killed alone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a shell is what is not wanted
    except OSError as error:
        os.write(2, f"cannot start {command[0]!r}: {error.strerror}\n".encode())
        os._exit(_NO_SUCH_COMMAND)


Process = tuple[int, int, int]
"""pid, parent, group."""


def by_proc() -> list[Process]:
    """Every process, from /proc."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - no pathlib: this script starts once per child, and quickly
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            found.append((int(name), int(fields[1]), int(fields[2])))
    return found


def by_ps() -> list[Process]:
    """Every process, where there is no /proc."""
    with os.popen("ps -A -o pid= -o ppid= -o pgid=") as listed:  # noqa: S605, S607 - a fixed command
        return [(int(line[0]), int(line[1]), int(line[2])) for line in map(str.split, listed) if len(line) == 3]


def _left(processes: list[Process]) -> list[int]:
    """Those beneath this process, and those of its group."""
    me = os.getpid()
    found = {me} | {pid for pid, _, group in processes if group == me}
    grown = True
    while grown:
        more = {pid for pid, parent, _ in processes if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found - {me})


def _reap() -> dict[int, int]:
    """Collect what has ended: status by pid."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def _sweep() -> None:
    """Kill everything beneath this process, those that have left its group too, until nothing is left."""
    listed = by_proc if sys.platform == "linux" else by_ps
    until = time.monotonic() + _SWEEP_S_MAX
    while time.monotonic() < until:
        _reap()
        left = _left(listed())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)
    os.killpg(0, signal.SIGKILL)


def _leave(status: int) -> None:
    """End as the command has ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main(arguments: list[str]) -> None:
    """Start the command and watch, until it ends or the runner does."""
    watched, command = int(arguments[0]), arguments[1:]
    os.set_inheritable(watched, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the command
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    pid = os.fork()
    if pid == 0:
        _become(command)
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)  # else the runner would not see the end of the command's output
    while True:
        ready, _, _ = select.select([watched, woken], [], [])
        if watched in ready:
            _sweep()
            os._exit(0)
        os.read(woken, 4096)
        ended = _reap()
        if pid in ended:
            _sweep()
            _leave(ended[pid])


if __name__ == "__main__":
    main(sys.argv[1:])
