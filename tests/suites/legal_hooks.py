"""The hooks of moto_legal.py: rules that change what a test's clients send, before it is sent."""
import copy
import datetime
import functools

import botocore.auth
import botocore.client
import botocore.session
import freezegun.api
import pytest
from botocore.exceptions import ClientError

RULES, expecting = {}, []
# Operations whose input is put right inside `pytest.raises`, too: moto's tests expect another failure of them.
ALWAYS = {"CreateRole", "CreateSchedule", "CreateOpenIDConnectProvider", "UpdateDestination",
          "RestoreTableToPointInTime", "ExecuteStatement", "BatchExecuteStatement"}


def rule(service, *operations):
    """Registers a rule for operations. It changes their parameters (a copy of the test's), and may
    return what is to be done after a call that succeeded."""
    def register(f):
        for operation in operations:
            RULES.setdefault((service, operation), []).append(f)
        return f
    return register


def put_right(client, params, model, context, **_):
    rules = RULES.get((model.service_model.service_name, model.name))
    if not rules or hasattr(client, "aside") or (expecting and model.name not in ALWAYS):
        return None
    params = {k: v if k == "Body" else copy.deepcopy(v) for k, v in params.items()}
    context["afterwards"] = [f for f in [r(client, params) for r in rules] if f]
    return params


def finish(http_response, context, **_):
    for f in context.get("afterwards", ()) if http_response.status_code < 300 else ():
        f()


def create_client(self, *args, **kwargs):
    client = real_create_client(self, *args, **kwargs)
    # Before boto3's own, whose copy of the parameters would count.
    client.meta.events.register_first("provide-client-params", functools.partial(put_right, client))
    client.meta.events.register("after-call", finish)
    return client


class Raises:
    """pytest.raises, which tells the rules that a failure is expected."""

    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        expecting.append(True)
        return self.inner.__enter__()

    def __exit__(self, *exc):
        expecting.pop()
        return self.inner.__exit__(*exc)


def raises(expected, *args, **kwargs):
    found = real_raises(expected, *args, **kwargs)
    return found if args else Raises(found)


def now(remove_tzinfo=True):
    found = freezegun.api.real_datetime.now(datetime.timezone.utc)
    return found.replace(tzinfo=None) if remove_tzinfo else found


def aside(client, service, account=None, region=None):
    """A client at the same endpoint, of another account or region if told, that no rule touches."""
    key = client._get_credentials()
    return _aside(service, region or client.meta.region_name, client.meta.endpoint_url,
                  account or key.access_key, key.secret_key, None if account else key.token)


@functools.lru_cache(None)
def _aside(service, region, endpoint, access, secret, token):
    client = botocore.session.Session().create_client(
        service, region_name=region, endpoint_url=endpoint, aws_access_key_id=access,
        aws_secret_access_key=secret, aws_session_token=token)
    client.aside = True
    return client


def attempt(call, **params):
    """The call's answer, or none if it is refused."""
    try:
        return call(**params)
    except ClientError:
        return None


def nested(params, *names):
    """(holder, name) of each text with one of these names, however deep."""
    if isinstance(params, dict):
        for k, v in list(params.items()):
            if k in names and isinstance(v, str):
                yield params, k
            else:
                yield from nested(v, *names)
    elif isinstance(params, list):
        for v in params:
            yield from nested(v, *names)


real_create_client = botocore.client.ClientCreator.create_client
botocore.client.ClientCreator.create_client = create_client
real_raises = pytest.raises
pytest.raises = raises
# AWS refuses requests signed more than 15 minutes away from its own clock: a frozen one does not sign.
botocore.auth.get_current_datetime = now
