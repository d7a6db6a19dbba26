"""Runs a Python handler: reads invocations from the server's socket and answers them.

A frame in either direction is two little-endian lengths, a JSON header and a payload. Output goes to descriptor 1; a record of several
lines is one line there, begun with and joined by U+001E, so that the log keeps it as one event.
"""
import importlib
import io
import json
import logging
import os
import socket
import struct
import sys
import time
import traceback
from decimal import Decimal

NBSP = "\u00a0\u00a0"
LEVELS = {"TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING,
          "ERROR": logging.ERROR, "FATAL": logging.CRITICAL}


class Encoder(json.JSONEncoder):
    def default(self, value):
        if isinstance(value, Decimal):
            return float(value)
        return super().default(value)


encode = Encoder(ensure_ascii=sys.version_info < (3, 12)).encode


class FaultException(Exception):
    """An error with the name and trace that the caller is to see."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind, self.message, self.trace = kind, message, trace or []


class Identity:
    def __init__(self, fields):
        fields = fields or {}
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")

    def __repr__(self):
        return "CognitoIdentity([cognito_identity_id={},cognito_identity_pool_id={}])".format(
            self.cognito_identity_id, self.cognito_identity_pool_id)


class Client:
    def __init__(self, fields):
        for name in ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"):
            setattr(self, name, fields.get(name))


class ClientContext:
    def __init__(self, fields):
        self.client = Client(fields["client"]) if isinstance(fields.get("client"), dict) else None
        self.custom = fields.get("custom")
        self.env = fields.get("env")


class Context:
    """What a handler learns about its invocation."""

    def __init__(self, header, deadline):
        env = os.environ.get
        self.aws_request_id = header["id"]
        self.invoked_function_arn = header["arn"]
        self.function_name = env("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = env("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = env("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env("AWS_LAMBDA_LOG_STREAM_NAME")
        client = header.get("client_context")
        self.client_context = ClientContext(client) if isinstance(client, dict) else None
        self.identity = Identity(header.get("identity"))
        self.tenant_id = None
        self._deadline = deadline

    def get_remaining_time_in_millis(self):
        return max(int((self._deadline - time.monotonic()) * 1000), 0)

    def log(self, message):
        emit(str(message))

    def __repr__(self):
        return "LambdaContext([aws_request_id={},log_group_name={},log_stream_name={},function_name={},memory_limit_in_mb={}," \
               "function_version={},invoked_function_arn={},client_context={},identity={},tenant_id={}])".format(
                   self.aws_request_id, self.log_group_name, self.log_stream_name, self.function_name, self.memory_limit_in_mb,
                   self.function_version, self.invoked_function_arn, self.client_context, self.identity, self.tenant_id)


current = {"id": None}


def emit(text):
    """Writes one log record."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, Raw):
        raw.end_line()
    data = text.rstrip("\n").replace("\n", "\x1e").encode("utf-8", "backslashreplace")
    data = b"\x1e" + data + b"\n"
    while data:
        data = data[os.write(1, data):]


class TextHandler(logging.Handler):
    def emit(self, record):
        try:
            emit(self.format(record))
        except Exception:
            self.handleError(record)


class RequestFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = current["id"] or ""
        return True


class JsonFormatter(logging.Formatter):
    STANDARD = set(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"aws_request_id", "message", "asctime"}

    def format(self, record):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        out = {"timestamp": stamp + "Z", "level": record.levelname, "message": record.getMessage(), "logger": record.name}
        if record.exc_info:
            kind, value, trace = record.exc_info
            out["stackTrace"] = traceback.format_tb(trace)
            out["errorType"] = kind.__name__
            out["errorMessage"] = str(value)
            out["location"] = "{}:{}:{}".format(record.pathname, record.funcName, record.lineno)
        for key, value in vars(record).items():
            if key not in self.STANDARD:
                out[key] = value
        out["requestId"] = current["id"]
        return json.dumps(out, default=str, ensure_ascii=False)


def set_up_logging():
    handler = TextHandler()
    handler.addFilter(RequestFilter())
    if is_json():
        handler.setFormatter(JsonFormatter())
    else:
        formatter = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s\n",
                                      "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = LEVELS.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", ""))
    if level is not None:
        root.setLevel(level)


def is_json():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON"


def error_of(kind, message, trace, request):
    return {"errorMessage": message, "errorType": kind, "requestId": request or "", "stackTrace": trace}


def log_error(error):
    if is_json():
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        record = {"timestamp": stamp + "Z", "log_level": "ERROR", "errorMessage": error["errorMessage"],
                  "errorType": error["errorType"], "requestId": error["requestId"], "stackTrace": error["stackTrace"]}
        emit(json.dumps(record, ensure_ascii=False))
        return
    text = "[ERROR] {}: {}\nTraceback (most recent call last):".format(error["errorType"], error["errorMessage"])
    for part in error["stackTrace"]:
        for line in part.rstrip("\n").split("\n"):
            indent = len(line) - len(line.lstrip(" "))
            text += "\n" + NBSP * (indent // 2) + line[indent:]
    emit(text)


def load(name):
    """The handler of that name, as `package/module.function`."""
    if "." not in name:
        raise FaultException("Runtime.MalformedHandlerName",
                             "Bad handler '{}': not enough values to unpack (expected 2, got 1)".format(name))
    module_name, function_name = name.rsplit(".", 1)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise FaultException("Runtime.ImportModuleError",
                             "Unable to import module '{}': {}".format(module_name, error))
    except SyntaxError as error:
        where = ['  File "{}" Line {}\n    {}'.format(error.filename, error.lineno, (error.text or "").rstrip("\n"))]
        raise FaultException("Runtime.UserCodeSyntaxError",
                             "Syntax error in module '{}': {}".format(module_name, error), where)
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise FaultException("Runtime.HandlerNotFound",
                             "Handler '{}' missing on module '{}'".format(function_name, module_name))


class Raw(io.FileIO):
    """A descriptor that knows whether its last line is ended."""

    is_open_line = False

    def write(self, data):
        count = super().write(data)
        if count:
            self.is_open_line = bytes(data[count - 1:count]) != b"\n"
        return count

    def end_line(self):
        if self.is_open_line:
            self.write(b"\n")


class Channel:
    """The socket to the server."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.done = json.dumps({"t": "done"}).encode()
        self.failed = json.dumps({"t": "error"}).encode()

    def send(self, header, payload=b""):
        self.socket.sendall(struct.pack("<II", len(header), len(payload)) + header + payload)

    def exactly(self, count):
        part = self.socket.recv(count)
        if len(part) == count:
            return part
        data = bytearray(part)
        while part and len(data) < count:
            part = self.socket.recv(min(count - len(data), 1 << 20))
            data += part
        if len(data) < count:
            os._exit(0)
        return bytes(data)

    def receive(self):
        head, length = struct.unpack("<II", self.exactly(8))
        data = self.exactly(head + length)
        return json.loads(data[:head].decode()), data[head:]


def trace_of(error):
    """The frames of the handler's own code, without ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = os.path.abspath(__file__)
    while frames and os.path.abspath(frames[0].filename) == own:
        frames = frames[1:]
    frames = [f for f in frames if f.filename != "<frozen importlib._bootstrap>"
              and f.filename != "<frozen importlib._bootstrap_external>" and not f.filename.endswith("importlib/__init__.py")]
    return traceback.format_list(frames)


def handle(handler, payload, context):
    try:
        event = json.loads(payload.decode("utf-8")) if payload else None
    except Exception as error:
        raise FaultException("Runtime.UnmarshalError", "Unable to unmarshal input: {}".format(error))
    result = handler(event, context)
    try:
        return encode(result).encode("utf-8", "surrogatepass")
    except Exception as error:
        raise FaultException("Runtime.MarshalError", "Unable to marshal response: {}".format(error))


def describe(error, request):
    if isinstance(error, FaultException):
        return error_of(error.kind, error.message, error.trace, request)
    return error_of(type(error).__name__, str(error), trace_of(error), request)


def run(fd):
    """Initializes the function, then answers invocations until the server closes the socket."""
    out, err = Raw(1, "w", closefd=False), Raw(2, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(out), "utf-8", "backslashreplace", line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(err), "utf-8", "backslashreplace", line_buffering=True)
    channel = Channel(fd)
    set_up_logging()
    try:
        handler = load(os.environ.get("_HANDLER", ""))
    except Exception as error:
        fault = describe(error, None)
        log_error(fault)
        channel.send(json.dumps({"t": "init_error"}).encode(), json.dumps(fault, ensure_ascii=False).encode())
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    channel.send(json.dumps({"t": "ready", "boto3": "boto3" in sys.modules}).encode())
    while True:
        header, payload = channel.receive()
        current["id"] = header["id"]
        if header.get("trace"):
            os.environ["_X_AMZN_TRACE_ID"] = header["trace"]
        context = Context(header, time.monotonic() + header["millis"] / 1000)
        try:
            answer, kind = handle(handler, payload, context), channel.done
        except Exception as error:
            fault = describe(error, header["id"])
            log_error(fault)
            answer, kind = json.dumps(fault, ensure_ascii=False).encode("utf-8", "backslashreplace"), channel.failed
        sys.stdout.flush()
        sys.stderr.flush()
        out.end_line()
        err.end_line()
        channel.send(kind, answer)


def find_code():
    """Puts the function's code, its layers and the extra packages where AWS has them in the search path."""
    task = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    opt = os.environ.get("CUMULO_LAYERS_ROOT", "/opt")
    version = "python{}.{}".format(*sys.version_info[:2])
    # The runtime's own directory is named there; ours holds no modules for functions.
    runtime = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")
    first = [task] + [p for p in os.environ.get("PYTHONPATH", "").split(":") if p not in ("", runtime)]
    first += [opt + "/python/lib/" + version + "/site-packages", opt + "/python"]
    own = os.path.dirname(os.path.abspath(__file__))
    rest = [p for p in sys.path if p not in first and p not in ("", own, runtime)]
    extra = [p for p in os.environ.get("CUMULO_EXTRA_PACKAGES", "").split(":") if p]
    for name in ("CUMULO_LAYERS_ROOT", "CUMULO_EXTRA_PACKAGES"):
        os.environ.pop(name, None)
    sys.path[:] = first + rest + extra
    sys.argv[:] = [os.environ.get("_HANDLER", "")]


if __name__ == "__main__":
    find_code()
    run(3)
