"""A freshly started binary for every test module, and clients that talk to it."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = pathlib.Path(os.environ.get("CUMULO_BINARY", TARGET / "debug" / "cumulo"))
sys.path.insert(0, str(ROOT / "systems" / "observatory"))
# How often tests of crashes kill their region; the full run is 20.
KILLS = int(os.environ.get("CUMULO_KILLS", "3"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(get, seconds=60, what="it"):
    """Asks until the answer is true; a condition, not a sleep."""
    deadline = time.monotonic() + seconds
    while True:
        found = get()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def kill_under_load(region, write, url, read):
    """Kills a region KILLS times while `write` acknowledges; each acknowledged name must then come out of the queue.

    `write` makes one call and returns the names that it acknowledged, `read` finds the name in a message's body.
    """
    acknowledged, stop = set(), threading.Event()

    def work():
        while not stop.is_set():
            try:
                acknowledged.update(write())
            except (BotoCoreError, ClientError):
                time.sleep(0.02)
    for _ in range(KILLS):
        stop.clear()
        writer = threading.Thread(target=work)
        writer.start()
        before = len(acknowledged)
        wait_for(lambda: len(acknowledged) > before + 30, 30, "some acknowledged calls")
        region.kill()
        stop.set()
        writer.join(30)
        region.start()
    sqs, heard = region.client("sqs"), set()

    def all_heard():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            heard.add(read(m["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return acknowledged <= heard
    wait_for(all_heard, 120, "each acknowledged name")


class Region:
    """One server process on its own data directory."""

    def __init__(self, folder, port=None, args=()):
        self.folder, self.port, self.args = folder, port or free_port(), args
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def start(self):
        self.log = open(self.folder / "cumulo.log", "ab")
        self.process = subprocess.Popen(
            [str(BINARY), "start", "--port", str(self.port), "--data-dir", str(self.folder / "data"), *self.args],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        wait_for(self.is_up, 30, "the start")

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "cumulo.log").read_text()[-3000:]
        with contextlib.suppress(OSError):
            return json.load(urllib.request.urlopen(self.endpoint + "/_localstack/health", timeout=5))["services"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def client(self, service, account="test", region_name="us-east-1", **config):
        return boto3.client(service, endpoint_url=self.endpoint, aws_access_key_id=account, aws_secret_access_key="test",
                            region_name=region_name, config=Config(retries={"max_attempts": 1}, **config))

    def env(self):
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
        for name in ("TF_PLUGIN_MIRROR",):
            if name in os.environ:
                keep[name] = os.environ[name]
        bin_folder = str(pathlib.Path(sys.executable).parent)
        return dict(keep, AWS_ENDPOINT_URL=self.endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                    AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
                    PATH=bin_folder + os.pathsep + os.environ["PATH"])

    def aws(self, *args, ok=True, text=False):
        """The aws CLI; its JSON."""
        done = subprocess.run([sys.executable, "-m", "awscli", *args], env=self.env(), text=True, capture_output=True, timeout=120)
        if not ok:
            assert done.returncode != 0, done.stdout
            return done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout if text or not done.stdout.strip().startswith(("{", "[")) else json.loads(done.stdout)

    def cumulo(self, *args):
        done = subprocess.run([str(BINARY), *args], env=self.env(), text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    region = Region(tmp_path_factory.mktemp("region"))
    yield region
    region.stop()


@pytest.fixture
def make_region(tmp_path):
    made = []

    def make(*args, port=None):
        folder = tmp_path / f"region{len(made)}"
        folder.mkdir()
        made.append(Region(folder, port, args))
        return made[-1]

    yield make
    for region in made:
        if region.process.poll() is None:
            region.kill()


@pytest.fixture
def terraform():
    """Terraform must be there in CI; elsewhere its tests are left out."""
    if not shutil.which("terraform"):
        if os.environ.get("CI"):
            pytest.fail("Terraform is not installed")
        pytest.skip("Terraform is not installed")
    from lake import terraform as tf
    return tf


@pytest.fixture
def stack(make_region, tmp_path, monkeypatch):
    """A fresh region, and an empty folder whose Terraform deploys there."""
    region = make_region()
    for name, value in region.env().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    folder = tmp_path / "terraform"
    folder.mkdir()
    return region, folder


def zipped(code, name="handler.py"):
    """A function's zip, in memory."""
    import io
    import zipfile
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(name, code)
    return out.getvalue()
