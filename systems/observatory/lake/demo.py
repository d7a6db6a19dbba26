"""The main job on real input, from nothing to the curated table."""
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

from lake import build, clients

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("CUMULO_BINARY", ROOT / "target" / "release" / "cumulo"))
STATE = ROOT / ".build" / "demo"


def say(text):
    print(f"\033[1m==> {text}\033[0m", flush=True)


def start(port):
    """A fresh region on that port; the process and its log."""
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)
    log = open(STATE / "cumulo.log", "wb")
    began = time.monotonic()
    server = subprocess.Popen([str(BINARY), "start", "--port", str(port), "--data-dir", str(STATE / "data")],
                              stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_localstack/health", timeout=1).read()
            return server, time.monotonic() - began
        except OSError:
            if server.poll() is not None or time.monotonic() - began > 30:
                sys.exit(f"Cumulo did not start:\n{(STATE / 'cumulo.log').read_text()}")
            time.sleep(0.01)


def run(deployment):
    port = int(os.environ.get("CUMULO_PORT", "4566"))
    endpoint = f"http://127.0.0.1:{port}"
    say("Building functions, layer and data")
    build.all()
    say("Starting Cumulo")
    server, seconds = start(port)
    print(f"  {endpoint}, ready after {seconds * 1000:.0f} ms, process {server.pid}", flush=True)
    os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                      AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")
    try:
        say(f"Deploying the lake ({deployment.__name__.split('.')[-1]})")
        forget_state()
        names = deployment.deploy(quiet=True)
        print(f"  bucket {names['lake']}, functions {', '.join(names['functions'].values())}", flush=True)
        say(f"Uploading {clients.RAW} (US macroeconomic data, 1959-2009)")
        clients.drive(names)
        say("Waiting for the functions that the upload starts")
        clients.check(names)
    except BaseException:
        server.terminate()
        print(f"The server's log is {STATE / 'cumulo.log'}", file=sys.stderr)
        raise
    if os.environ.get("DEMO_STOP"):
        deployment.destroy(quiet=True)
        server.terminate()
        server.wait(30)
        say("Destroyed and stopped, as DEMO_STOP asks")
        return
    say("The region keeps running. Explore it:")
    print(f"""
  eval "$({os.path.relpath(BINARY)} env --endpoint {endpoint})"
  aws s3 ls --recursive s3://{names['lake']}/
  aws logs filter-log-events --log-group-name {names['log_groups']['clean']} --query 'events[].message' --output text
  aws lambda list-functions --query 'Functions[].FunctionName'
  aws s3 cp {os.path.relpath(build.BUILD / 'macrodata.csv')} s3://{names['lake']}/raw/again.csv

  stop it with: kill {server.pid}
""")


def forget_state():
    """The region is new: what an earlier demo noted of its resources is void."""
    folder = pathlib.Path(__file__).resolve().parents[1] / "terraform"
    for name in ("terraform.tfstate", "terraform.tfstate.backup"):
        (folder / name).unlink(missing_ok=True)
