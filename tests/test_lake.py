"""The observatory's lake, deployed in each of the ways that its users deploy."""
import os
import shutil

import pytest
from conftest import ROOT

from lake import build, clients, stack

TERRAFORM = ROOT / "systems" / "observatory" / "terraform"
ENDPOINTS = """
provider "aws" {
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  endpoints {
    s3     = "%(e)s"
    lambda = "%(e)s"
    iam    = "%(e)s"
    sts    = "%(e)s"
    logs   = "%(e)s"
    %(more)s
  }
}
"""


@pytest.fixture
def lake(make_region, monkeypatch):
    build.all()
    region = make_region()
    for name, value in region.env().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return region


def copied(tmp_path):
    folder = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    os.environ["TF_VAR_build"] = str(build.BUILD)
    return folder


def nothing_left(region):
    assert region.client("s3").list_buckets()["Buckets"] == []
    assert region.client("lambda").list_functions()["Functions"] == []
    assert region.client("lambda").list_layers()["Layers"] == []
    assert region.client("iam").list_roles()["Roles"] == []
    assert region.client("logs").describe_log_groups()["logGroups"] == []


def test_terraform_applies_plans_no_change_and_destroys(lake, terraform, tmp_path):
    folder = copied(tmp_path)
    names = terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    clients.drive(names)
    clients.check(names)
    assert terraform.changes(folder) == ""
    lake.kill()
    lake.start()
    clients.check(names)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    nothing_left(lake)


def test_terraform_with_endpoint_flags(lake, terraform, tmp_path, monkeypatch):
    folder = copied(tmp_path)
    (folder / "localstack_providers_override.tf").write_text(ENDPOINTS % {"e": lake.endpoint, "more": ""})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    names = terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL", lake.endpoint)
    clients.drive(names)
    clients.check(names)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    terraform.destroy(folder, quiet=True)
    nothing_left(lake)


def test_the_same_stack_by_api_calls(lake):
    names = stack.deploy()
    clients.drive(names)
    clients.check(names)
    stack.destroy()
    nothing_left(lake)
