"""The stack by Terraform with the stock AWS provider."""
import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent.parent / "terraform"


def mirror():
    """A folder with the provider, for machines without a registry: TF_PLUGIN_MIRROR, else one laid out as a mirror."""
    named = os.environ.get("TF_PLUGIN_MIRROR")
    if named:
        return named
    for root in ("/opt", "/usr/share", "/usr/local/share", str(pathlib.Path.home())):
        for depth in ("*/", "*/*/", ".terraform.d/*/"):
            found = next(pathlib.Path(root).glob(depth + "registry.terraform.io/hashicorp/aws"), None)
            if found:
                return str(found.parent.parent.parent)
    return None


def environment(folder):
    env = dict(os.environ, TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1", TF_INPUT="0")
    plugins = mirror()
    if plugins:
        config = folder / ".terraformrc"
        config.write_text('provider_installation {\n  filesystem_mirror {\n    path    = "%s"\n'
                          '    include = ["hashicorp/aws"]\n  }\n}\n' % plugins)
        env["TF_CLI_CONFIG_FILE"] = str(config)
    return env


def call(*args, folder=HERE, quiet=False):
    out = subprocess.PIPE if quiet else None
    done = subprocess.run(["terraform", *args], cwd=folder, env=environment(folder), text=True, stdout=out,
                          stderr=subprocess.STDOUT if quiet else None)
    if done.returncode:
        raise SystemExit(f"terraform {args[0]} failed\n{done.stdout or ''}")
    return done.stdout


def outputs(folder=HERE):
    return {k: v["value"] for k, v in json.loads(call("output", "-json", folder=folder, quiet=True)).items()}


def deploy(folder=HERE, quiet=False):
    call("init", "-no-color", folder=folder, quiet=True)
    call("apply", "-auto-approve", "-no-color", folder=folder, quiet=quiet)
    return outputs(folder)


def changes(folder=HERE):
    """What a second plan would change; empty where nothing."""
    done = subprocess.run(["terraform", "plan", "-detailed-exitcode", "-no-color"], cwd=folder, env=environment(folder),
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "" if done.returncode == 0 else done.stdout


def destroy(folder=HERE, quiet=False):
    call("destroy", "-auto-approve", "-no-color", folder=folder, quiet=quiet)
