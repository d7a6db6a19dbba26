"""A fork server: has the interpreter and common modules loaded, and becomes execution environments by forking.

The server's side of the protocol is documented with `runtime::Zygote`. The payload is not used: everything is in the environment.
"""
import array
import base64
import collections
import ctypes
import datetime
import functools
import gc
import hashlib
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bootstrap

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWPID = 0x20000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def become(fds, request):
    """Turns this fork into the process of a sandbox; returns the descriptor of its channel."""
    order = json.loads(read(request, struct.unpack("<I", read(request, 4))[0]).decode())
    pidfd, out, err = fds[:3]
    for group in fds[3:3 + order["cgroups"]]:
        os.write(group, b"0")
    channel = fds[3 + order["cgroups"]]
    check(libc.setns(pidfd, order["namespaces"]))
    os.setsid()
    os.chdir(order["workdir"])
    null = os.open("/dev/null", os.O_RDONLY)
    # Everything wanted is first moved out of the way of the numbers it is to have.
    moved = [os.dup(fd) for fd in (null, out, err, channel)]
    high = [fcntl_dup(fd) for fd in moved]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(4, 1024)
    if order["open_files"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (order["open_files"],) * 2)
    os.setgroups([])
    os.setresgid(order["gid"], order["gid"], order["gid"])
    os.setresuid(order["uid"], order["uid"], order["uid"])
    code = bytes.fromhex(order["seccomp"])
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if code:
        memory = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory))
        check(libc.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0))
    os.environ.clear()
    os.environ.update(dict(order["env"]))
    return 3


def fcntl_dup(fd):
    import fcntl
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 600)


def receive(control):
    size = array.array("i").itemsize
    data, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(64 * size))
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) - len(content) % size])
    return data, list(fds)


def answer(request, **line):
    try:
        request.sendall(json.dumps(line).encode() + b"\n")
    except OSError:
        pass


def preload(names):
    for name in names:
        try:
            __import__(name)
        except Exception:
            pass
    if "boto3" in sys.modules:
        # A first client imports what boto3 itself puts off.
        try:
            sys.modules["boto3"].session.Session().client(
                "s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        except Exception:
            pass


def child(fds, request):
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        fd = become(fds, request)
        import time
        time.tzset()
        bootstrap.find_code()
        bootstrap.run(fd)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code & 0xff)


def main():
    control = socket.socket(fileno=3)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests = {}
    extra = [p for p in os.environ.get("CUMULO_EXTRA_PACKAGES", "").split(":") if p]
    sys.path.extend(extra)
    preload(sys.argv[1:])
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()
    control.send(b"ready")
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            while requests:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    break
                answer(requests.pop(pid), status=status)
        if control in ready:
            data, fds = receive(control)
            if not data:
                return
            request = socket.socket(fileno=fds[0])
            pid = None
            try:
                check(libc.setns(fds[1], CLONE_NEWPID))
                pid = os.fork()
            except OSError as error:
                answer(request, error=str(error))
            if pid == 0:
                child(fds[1:], request)
            check(libc.setns(home, CLONE_NEWPID))
            for fd in fds[1:]:
                os.close(fd)
            if pid:
                requests[pid] = request
                answer(request, pid=pid)


main()
