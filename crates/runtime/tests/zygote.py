"""A small zygote: the interpreter's side of the protocol described at runtime::Zygote. The payload is Python source to run."""
import array
import ctypes
import json
import os
import select
import signal
import socket
import struct

import decimal  # something to have loaded already

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWPID = 0x20000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def become(fds, request):
    header = read(request, 4)
    order = json.loads(read(request, struct.unpack("<I", header)[0]))
    pidfd, out, err = fds[:3]
    cgroups = fds[3:3 + order["cgroups"]]
    for group in cgroups:
        os.write(group, b"0")
    check(libc.setns(pidfd, order["namespaces"]))
    os.setsid()
    os.chdir(order["workdir"])
    null = os.open("/dev/null", os.O_RDONLY)
    for number, fd in enumerate((null, out, err)):
        os.dup2(fd, number)
    os.closerange(3, 256)
    os.setgroups([])
    os.setresgid(order["gid"], order["gid"], order["gid"])
    os.setresuid(order["uid"], order["uid"], order["uid"])
    code = bytes.fromhex(order["seccomp"])
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if code:
        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        check(libc.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0))
    os.environ.clear()
    os.environ.update(dict(order["env"]))
    exec(order["payload"], {"__name__": "__main__"})


def read(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def main():
    control = socket.socket(fileno=3)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests = {}
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
            data, fds, _, _ = socket.recv_fds(control, 1, 64)
            if not data:
                return
            request = socket.socket(fileno=fds[0])
            try:
                check(libc.setns(fds[1], CLONE_NEWPID))
                pid = os.fork()
            except OSError as error:
                answer(request, error=str(error))
                pid = None
            if pid == 0:
                code = 1
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    become(fds[1:], request)
                    code = 0
                except SystemExit as end:
                    code = end.code or 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                finally:
                    try:
                        import sys
                        sys.stdout.flush()
                    finally:
                        os._exit(code)
            check(libc.setns(home, CLONE_NEWPID))
            for fd in fds[1:]:
                os.close(fd)
            if pid:
                requests[pid] = request
                answer(request, pid=pid)


def answer(request, **line):
    try:
        request.sendall(json.dumps(line).encode() + b"\n")
    except OSError:
        pass


main()
