"""MFA with boto3: codes of a virtual device open sessions and roles, each once and in its time."""
import base64
import hashlib
import hmac
import json
import struct
import time

import boto3
import pytest
from botocore.exceptions import ClientError

NEEDS_MFA = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole",
    "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}, "NumericLessThan": {"aws:MultiFactorAuthAge": "600"}}}]})
MAY_ASSUME = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]})


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


class Device:
    """An authenticator."""

    def __init__(self, iam, name):
        made = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        assert made["QRCodePNG"].startswith(b"\x89PNG")
        self.serial, seed = made["SerialNumber"], made["Base32StringSeed"]
        assert len(seed) == 64
        self.seed = base64.b32decode(seed)

    def codes(self, ahead=0):
        """The code of now, or so many steps of half a minute ahead, and the next one."""
        step, codes = int(time.time()) // 30 + ahead, []
        for count in (step, step + 1):
            digest = hmac.new(self.seed, struct.pack(">q", count), hashlib.sha1).digest()
            at = digest[-1] & 15
            codes.append(f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 10**6:06}")
        return codes

    def pair(self, ahead):
        return dict(zip(("AuthenticationCode1", "AuthenticationCode2"), self.codes(ahead)))


def test_codes_of_a_device_open_what_asks_for_them(region):
    iam = region.client("iam")
    iam.create_user(UserName="ann")
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=MAY_ASSUME)
    iam.create_role(RoleName="guarded", AssumeRolePolicyDocument=NEEDS_MFA)
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    device = Device(iam, "phone")
    invalid = ("InvalidAuthenticationCode", "Authentication code for device is not valid.")
    own = {"UserName": "ann", "SerialNumber": device.serial}
    same = device.codes()[0]
    assert refused(iam.enable_mfa_device, **own, AuthenticationCode1="123456", AuthenticationCode2="654321") == invalid
    assert refused(iam.enable_mfa_device, **own, AuthenticationCode1=same, AuthenticationCode2=same) == invalid
    assert iam.list_mfa_devices(UserName="ann")["MFADevices"] == []
    # A device whose clock is behind: its codes count from there.
    iam.enable_mfa_device(**own, **device.pair(-8))
    assert [d["SerialNumber"] for d in iam.list_mfa_devices(UserName="ann")["MFADevices"]] == [device.serial]
    iam.resync_mfa_device(**own, **device.pair(-3))

    def client(credentials):
        return boto3.client("sts", endpoint_url=region.endpoint, region_name="us-east-1",
                            aws_access_key_id=credentials["AccessKeyId"], aws_secret_access_key=credentials["SecretAccessKey"],
                            aws_session_token=credentials.get("SessionToken"))
    sts = client(key)
    role = {"RoleArn": "arn:aws:iam::000000000000:role/guarded", "RoleSessionName": "me"}
    assert refused(sts.assume_role, **role)[0] == "AccessDenied"
    assert refused(sts.assume_role, **role, SerialNumber=device.serial, TokenCode="000000") == (
        "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
    assert refused(sts.get_session_token, SerialNumber=device.serial + "x", TokenCode=same)[1].startswith(
        "MultiFactorAuthentication failed, unable to validate MFA code.")
    assert refused(sts.get_session_token, SerialNumber=device.serial)[1].startswith("MultiFactorAuthentication failed, must provide both")
    code = device.codes(-1)[0]
    session = sts.get_session_token(SerialNumber=device.serial, TokenCode=code)["Credentials"]
    # Used up.
    assert refused(sts.assume_role, **role, SerialNumber=device.serial, TokenCode=code)[0] == "AccessDenied"
    with_mfa = client(session)
    assert with_mfa.assume_role(**role)["AssumedRoleUser"]["Arn"].endswith(":assumed-role/guarded/me")
    plain = client(sts.get_session_token()["Credentials"])
    assert refused(plain.assume_role, **role)[0] == "AccessDenied"
    region.cumulo("clock", "advance", "11m")
    assert refused(with_mfa.assume_role, **role)[0] == "AccessDenied"
    iam.deactivate_mfa_device(UserName="ann", SerialNumber=device.serial)
    iam.delete_virtual_mfa_device(SerialNumber=device.serial)
