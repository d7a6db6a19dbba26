"""SNS to HTTP(S) endpoints, telephones, devices and mail: signed, confirmed, tried again, kept."""
import base64
import http.server
import json
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


class Endpoint:
    """A subscriber: notes what it is sent, answers as it is told."""

    def __init__(self):
        self.requests, self.status = queue.Queue(), [200]
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.requests.put((time.time(), dict(self.headers), body))
                status = outer.status[0] if len(outer.status) == 1 else outer.status.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self, seconds=20):
        _, headers, body = self.requests.get(timeout=seconds)
        return {k.lower(): v for k, v in headers.items()}, body

    def confirmed(self, sns, topic, **attributes):
        """Subscribes and confirms as a program does."""
        arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=self.url, Attributes=attributes,
                            ReturnSubscriptionArn=True)["SubscriptionArn"]
        _, body = self.next()
        get(json.loads(body)["SubscribeURL"])
        return arn


def get(url, method="GET", data=None):
    request = urllib.request.Request(url, method=method, data=data and json.dumps(data).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()


def verify(message, names):
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    signed = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    url = message.get("SigningCertURL") or message["SigningCertUrl"]
    certificate = x509.load_pem_x509_certificate(get(url).encode())
    certificate.public_key().verify(base64.b64decode(message["Signature"]), signed.encode(), padding.PKCS1v15(),
                                    SHA256() if message["SignatureVersion"] == "2" else SHA1())


def with_queue(region, topic, **attributes):
    sns, sqs = region.client("sns"), region.client("sqs")
    url = sqs.create_queue(QueueName=f"q{time.monotonic_ns()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    if topic:
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    return url, arn


def received(region, url, seconds=20):
    def one():
        return region.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")
    return wait_for(one, seconds, "a message")[0]["Body"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_messages_are_signed_by_the_certificate_they_name(region, version):
    sns = region.client("sns")
    topic = sns.create_topic(Name=f"signed{version}", Attributes={"SignatureVersion": version})["TopicArn"]
    url, _ = with_queue(region, topic)
    for subject in ({}, {"Subject": "s"}):
        sns.publish(TopicArn=topic, Message="words\nin lines \u00e9", **subject)
        message = json.loads(received(region, url))
        assert message["SignatureVersion"] == version
        verify(message, NOTIFICATION)
        with pytest.raises(Exception):
            verify(dict(message, Message="others"), NOTIFICATION)
        region.client("sqs").purge_queue(QueueUrl=url)


def test_the_signing_key_outlives_a_crash_and_a_reset(make_region):
    region = make_region()
    sns = region.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    url, _ = with_queue(region, topic)
    sns.publish(TopicArn=topic, Message="m")
    message = json.loads(received(region, url))
    region.kill()
    region.start()
    verify(message, NOTIFICATION)
    get(region.endpoint + "/_localstack/state/reset", "POST", {})
    verify(message, NOTIFICATION)


def test_an_endpoint_confirms_gets_messages_and_may_come_back(region, endpoint):
    sns = region.client("sns")
    topic = sns.create_topic(Name="hooks")["TopicArn"]
    assert sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)["SubscriptionArn"] == "pending confirmation"
    headers, body = endpoint.next()
    word = json.loads(body)
    assert (headers["x-amz-sns-message-type"], headers["x-amz-sns-topic-arn"]) == ("SubscriptionConfirmation", topic)
    assert headers["content-type"] == "text/plain; charset=UTF-8" and "x-amz-sns-subscription-arn" not in headers
    assert headers["user-agent"] == "Amazon Simple Notification Service Agent"
    assert headers["x-amz-sns-message-id"] == word["MessageId"] and word["Type"] == "SubscriptionConfirmation"
    verify(word, CONFIRMATION)
    sns.publish(TopicArn=topic, Message="too early")
    answer = get(word["SubscribeURL"])
    assert "<ConfirmSubscriptionResult>" in answer
    arn = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["SubscriptionArn"]
    assert f"<SubscriptionArn>{arn}</SubscriptionArn>" in answer
    assert sns.confirm_subscription(TopicArn=topic, Token=word["Token"])["SubscriptionArn"] == arn
    id = sns.publish(TopicArn=topic, Message="m", Subject="s", MessageAttributes={
        "a": {"DataType": "String", "StringValue": "v"}})["MessageId"]
    headers, body = endpoint.next()
    message = json.loads(body)
    assert (message["Message"], message["Subject"], message["MessageId"], headers["x-amz-sns-message-id"]) == ("m", "s", id, id)
    assert headers["x-amz-sns-subscription-arn"] == arn and headers["x-amz-sns-message-type"] == "Notification"
    assert message["MessageAttributes"] == {"a": {"Type": "String", "Value": "v"}}
    verify(message, NOTIFICATION)
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    sns.publish(TopicArn=topic, Message="raw")
    headers, body = endpoint.next()
    assert (body, headers["x-amz-sns-rawdelivery"]) == ("raw", "true")
    assert "UnsubscribeResponse" in get(message["UnsubscribeURL"])
    headers, body = endpoint.next()
    farewell = json.loads(body)
    assert farewell["Type"] == headers["x-amz-sns-message-type"] == "UnsubscribeConfirmation"
    verify(farewell, CONFIRMATION)
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    get(farewell["SubscribeURL"])
    sns.publish(TopicArn=topic, Message="again")
    assert endpoint.next()[1] == "again"


def test_only_the_owner_ends_what_was_confirmed_so(region, endpoint):
    sns = region.client("sns")
    topic = sns.create_topic(Name="kept")["TopicArn"]
    arn = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url, ReturnSubscriptionArn=True)["SubscriptionArn"]
    token = get(f"{region.endpoint}/_aws/sns/subscription-tokens/{arn}")["subscription_token"]
    assert token == json.loads(endpoint.next()[1])["Token"]
    sns.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["ConfirmationWasAuthenticated"] == "true"
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{region.endpoint}/?Action=Unsubscribe&SubscriptionArn={arn}")
    assert refused.value.code == 403 and b"AuthorizationError" in refused.value.read()
    with pytest.raises(ClientError, match="AuthorizationError"):
        region.client("sns", "000000000002").unsubscribe(SubscriptionArn=arn)
    sns.unsubscribe(SubscriptionArn=arn)
    for token, text in (("randomtoken", "Invalid token"), ("abc123", "Invalid parameter: Token")):
        with pytest.raises(ClientError, match=text):
            sns.confirm_subscription(TopicArn=topic, Token=token)


def test_a_failing_endpoint_is_tried_by_its_policy_also_after_a_crash(make_region, endpoint):
    region = make_region()
    sns = region.client("sns")
    topic = sns.create_topic(Name="again")["TopicArn"]
    dead, dead_arn = with_queue(region, None)
    policy = {"healthyRetryPolicy": {"numRetries": 3, "numNoDelayRetries": 1, "minDelayTarget": 600, "maxDelayTarget": 600},
              "requestPolicy": {"headerContentType": "application/json"}}
    arn = endpoint.confirmed(sns, topic, DeliveryPolicy=json.dumps(policy),
                             RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn}))
    shown = json.loads(sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["EffectiveDeliveryPolicy"])
    assert shown["healthyRetryPolicy"]["numRetries"] == 3 and shown["throttlePolicy"] is None
    endpoint.status = [500]
    id = sns.publish(TopicArn=topic, Message="m")["MessageId"]
    first, second = endpoint.next(), endpoint.next()
    assert first[1] == second[1] and first[0]["content-type"] == "application/json"
    assert endpoint.requests.empty()
    region.kill()
    region.start()

    def given_up():
        region.cumulo("clock", "advance", "11m")
        return region.client("sqs").receive_message(QueueUrl=dead, WaitTimeSeconds=0).get("Messages")
    [letter] = wait_for(given_up, 30, "the end of all tries")
    assert json.loads(letter["Body"])["MessageId"] == id
    assert [json.loads(endpoint.next()[1])["MessageId"] for _ in range(2)] == [id, id]
    while not endpoint.requests.empty():
        endpoint.next()  # A crash may have it begin anew.
    endpoint.status = [404]
    sns.publish(TopicArn=topic, Message="no")
    assert json.loads(received(region, dead))["Message"] == "no", "what an endpoint refuses is not tried again"
    endpoint.next()
    assert endpoint.requests.empty()


def test_a_throttled_endpoint_gets_no_more_than_it_asked_for(region, endpoint):
    sns = region.client("sns")
    topic = sns.create_topic(Name="slow")["TopicArn"]
    endpoint.confirmed(sns, topic, DeliveryPolicy=json.dumps({"throttlePolicy": {"maxReceivesPerSecond": 10}}))
    for n in range(6):
        sns.publish(TopicArn=topic, Message=str(n))
    times = [endpoint.requests.get(timeout=20)[0] for _ in range(6)]
    assert max(times) - min(times) > 0.35


def test_telephones_devices_and_mail_are_kept(region):
    sns, view = region.client("sns"), region.endpoint + "/_aws/sns"
    number = "+15551230001"
    id = sns.publish(PhoneNumber=number, Message="hello")["MessageId"]
    topic = sns.create_topic(Name="people")["TopicArn"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sms", Endpoint=number)["SubscriptionArn"]
    application = sns.create_platform_application(Name="app", Platform="GCM", Attributes={
        "PlatformCredential": "key"})["PlatformApplicationArn"]
    device = sns.create_platform_endpoint(PlatformApplicationArn=application, Token="t")["EndpointArn"]
    sns.subscribe(TopicArn=topic, Protocol="application", Endpoint=device)
    sns.publish(TopicArn=topic, Subject="s", MessageStructure="json", Message=json.dumps(
        {"default": "d", "sms": "short", "GCM": "{\"data\": {}}"}))
    sms = get(f"{view}/sms-messages?phoneNumber={urllib.parse.quote(number)}")
    assert [m["Message"] for m in sms["sms_messages"][number]] == ["hello", "short"]
    assert sms["sms_messages"][number][0]["MessageId"] == id and sms["region"] == "us-east-1"
    assert sms["sms_messages"][number][1]["SubscriptionArn"] == subscription
    sns.publish(TargetArn=device, Message="direct")
    pushes = get(view + "/platform-endpoint-messages")["platform_endpoint_messages"][device]
    assert [m["Message"] for m in pushes] == ["{\"data\": {}}", "direct"]
    sns.set_endpoint_attributes(EndpointArn=device, Attributes={"Enabled": "false"})
    with pytest.raises(ClientError, match="EndpointDisabled"):
        sns.publish(TargetArn=device, Message="no")
    get(view + "/phone-opt-outs", "POST", {"phoneNumber": number})
    assert sns.check_if_phone_number_is_opted_out(phoneNumber=number)["isOptedOut"]
    sns.publish(PhoneNumber=number, Message="unwanted")
    get(f"{view}/platform-endpoint-messages", "DELETE")
    assert get(view + "/platform-endpoint-messages")["platform_endpoint_messages"] == {}
    assert len(get(f"{view}/sms-messages")["sms_messages"][number]) == 2
    sns.opt_in_phone_number(phoneNumber=number)
    assert sns.list_phone_numbers_opted_out()["phoneNumbers"] == []
    assert sns.list_origination_numbers()["PhoneNumbers"] == []
    for protocol in ("email", "email-json"):
        address = f"{protocol}@example.com"
        sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=address)

        def mails():
            return [m for m in get(region.endpoint + "/_aws/ses")["messages"] if m["Destination"]["ToAddresses"] == [address]]
        [asked] = mails()
        text = asked["Body"]["text_part"]
        get(json.loads(text)["SubscribeURL"] if protocol == "email-json" else text.split("\n")[-1])
        sns.publish(TopicArn=topic, Message="news", Subject="S")
        [_, mail] = mails()
        assert mail["Subject"] == "S" and "news" in mail["Body"]["text_part"]
    verify(json.loads(mail["Body"]["text_part"]), NOTIFICATION)


def test_trial_numbers_are_verified_by_what_they_were_sent(region):
    sns, number = region.client("sns"), "+15551230002"
    sns.create_sms_sandbox_phone_number(PhoneNumber=number)
    text = get(f"{region.endpoint}/_aws/sns/sms-messages")["sms_messages"][number][0]["Message"]
    with pytest.raises(ClientError, match="VerificationException|Verification"):
        sns.verify_sms_sandbox_phone_number(PhoneNumber=number, OneTimePassword="00000000")
    sns.verify_sms_sandbox_phone_number(PhoneNumber=number, OneTimePassword=text.split()[-1])
    assert {"PhoneNumber": number, "Status": "Verified"} in sns.list_sms_sandbox_phone_numbers()["PhoneNumbers"]
    sns.delete_sms_sandbox_phone_number(PhoneNumber=number)
    sns.set_sms_attributes(attributes={"DefaultSMSType": "Promotional"})
    assert sns.get_sms_attributes()["attributes"] == {"DefaultSMSType": "Promotional", "MonthlySpendLimit": "1"}


def test_other_accounts_do_what_the_policy_lets_them(region):
    sns, other = region.client("sns"), region.client("sns", "000000000002")
    topic = sns.create_topic(Name="shared")["TopicArn"]
    for call in (lambda: other.publish(TopicArn=topic, Message="m"), lambda: other.get_topic_attributes(TopicArn=topic),
                 lambda: other.subscribe(TopicArn=topic, Protocol="sms", Endpoint="+15551230003")):
        with pytest.raises(ClientError, match="because no resource-based policy allows the SNS:"):
            call()
    sns.add_permission(TopicArn=topic, Label="l", AWSAccountId=["000000000002"], ActionName=["Publish", "Subscribe"])
    other.publish(TopicArn=topic, Message="m")
    sqs = region.client("sqs", "000000000002")
    url = sqs.create_queue(QueueName="theirs")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000002:theirs"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    # The topic's owner may ask; who owns the queue must agree.
    assert sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"] == "pending confirmation"
    word = json.loads(wait_for(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"), 20)[0]["Body"])
    assert word["Type"] == "SubscriptionConfirmation"
    other.confirm_subscription(TopicArn=topic, Token=word["Token"])
    sns.publish(TopicArn=topic, Message="hello")
    body = wait_for(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"), 20)[0]["Body"]
    assert json.loads(body)["Message"] == "hello"
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "SNS:Publish", "Resource": topic}]}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(deny))
    with pytest.raises(ClientError, match="with an explicit deny in a resource-based policy"):
        sns.publish(TopicArn=topic, Message="m")


def test_an_archive_is_replayed_in_order(region):
    sns, sqs = region.client("sns"), region.client("sqs")
    topic = sns.create_topic(Name="past.fifo", Attributes={
        "FifoTopic": "true", "ContentBasedDeduplication": "true", "ArchivePolicy": json.dumps({"MessageRetentionPeriod": "30"})})["TopicArn"]
    since = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["BeginningArchiveTime"]
    for n in range(150):
        sns.publish(TopicArn=topic, Message=str(n), MessageGroupId="g", MessageAttributes={
            "even": {"DataType": "String", "StringValue": str(n % 2 == 0)}})
    url = sqs.create_queue(QueueName="past.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={
        "FilterPolicy": json.dumps({"even": ["True"]}),
        "ReplayPolicy": json.dumps({"PointType": "Timestamp", "StartingPoint": since})})["SubscriptionArn"]
    sns.publish(TopicArn=topic, Message="150", MessageGroupId="g", MessageAttributes={
        "even": {"DataType": "String", "StringValue": "True"}})
    messages = []

    def all_received():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            messages.append(json.loads(m["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return len(messages) == 76
    wait_for(all_received, 60, "the replay")
    assert [m["Message"] for m in messages] == [str(n) for n in range(0, 151, 2)]
    assert messages[0]["Replayed"] == "true"

    def status():
        return sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]["ReplayStatus"]
    wait_for(lambda: status() == "Completed", 20)
    with pytest.raises(ClientError, match="ArchivePolicy"):
        sns.delete_topic(TopicArn=topic)
    sns.set_topic_attributes(TopicArn=topic, AttributeName="ArchivePolicy", AttributeValue="{}")
    sns.delete_topic(TopicArn=topic)


SUBSCRIPTIONS = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
}

resource "aws_sns_topic" "hooks" {
  name              = "tf-hooks"
  signature_version = 2
  delivery_policy = jsonencode({ http = {
    defaultHealthyRetryPolicy    = { minDelayTarget = 5, maxDelayTarget = 10, numRetries = 4 }
    disableSubscriptionOverrides = false
  } })
}

resource "aws_sns_topic_subscription" "hook" {
  topic_arn              = aws_sns_topic.hooks.arn
  protocol               = "http"
  endpoint               = "ENDPOINT"
  endpoint_auto_confirms = true
  raw_message_delivery   = true
  delivery_policy        = jsonencode({ throttlePolicy = { maxReceivesPerSecond = 5 } })
}

resource "aws_sns_topic_subscription" "phone" {
  topic_arn = aws_sns_topic.hooks.arn
  protocol  = "sms"
  endpoint  = "+15551230009"
}

resource "aws_sns_platform_application" "app" {
  name                = "tf-app"
  platform            = "GCM"
  platform_credential = "key"
}

resource "aws_dynamodb_table" "global" {
  name             = "tf-global"
  billing_mode     = "PAY_PER_REQUEST"
  hash_key         = "k"
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"
  attribute {
    name = "k"
    type = "S"
  }
  replica {
    region_name = "us-west-2"
  }
}
'''


def test_terraform_subscribes_endpoints_and_makes_replicas(stack, endpoint, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(SUBSCRIPTIONS.replace("ENDPOINT", endpoint.url))

    def confirm():
        get(json.loads(endpoint.next(120)[1])["SubscribeURL"])
    threading.Thread(target=confirm, daemon=True).start()
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    assert region.client("sns").list_topics()["Topics"] == []


def statuses(region, topic, group_end=""):
    logs = region.client("logs")
    group = "sns/us-east-1/000000000000/" + topic.rsplit(":", 1)[1] + group_end
    try:
        events = logs.filter_log_events(logGroupName=group)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return {}
    told = [json.loads(event["message"]) for event in events]
    return {one["delivery"]["destination"]: one for one in told}


def test_what_became_of_messages_is_written_to_logs(region, endpoint):
    sns, sqs, iam = region.client("sns"), region.client("sqs"), region.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="feedback", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    asked = {f"{kind}{what}FeedbackRoleArn": role for kind in ("SQS", "HTTP") for what in ("Success", "Failure")}
    for name, fifo in (("told", {}), ("told.fifo", {"FifoTopic": "true", "ContentBasedDeduplication": "true"})):
        topic = sns.create_topic(Name=name, Attributes=asked | fifo)["TopicArn"]
        own = {"FifoQueue": "true"} if fifo else {}
        end = ".fifo" if fifo else ""
        url = sqs.create_queue(QueueName="open" + end, Attributes=own)["QueueUrl"]
        arns = {}
        for queue_name in ("open", "gone"):
            made = sqs.create_queue(QueueName=queue_name + end, Attributes=own)["QueueUrl"]
            arns[queue_name] = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arns[queue_name]}]}
            sqs.set_queue_attributes(QueueUrl=made, Attributes={"Policy": json.dumps(policy)})
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns[queue_name], Attributes={"RawMessageDelivery": "true"})
        sqs.delete_queue(QueueUrl=made)
        if not fifo:
            endpoint.confirmed(sns, topic)
        group = {"MessageGroupId": "g"} if fifo else {}
        published = sns.publish(TopicArn=topic, Message="hello", **group)["MessageId"]
        good = wait_for(lambda: len(found := statuses(region, topic)) == (1 if fifo else 2) and found)
        bad = wait_for(lambda: statuses(region, topic, "/Failure"))
        one = good[arns["open"]]
        assert one["status"] == "SUCCESS"
        assert one["notification"] == {
            "messageMD5Sum": "5d41402abc4b2a76b9719d911017c592", "messageId": published, "topicArn": topic,
            "timestamp": one["notification"]["timestamp"]}
        assert one["delivery"]["statusCode"] == 200 and "attempts" not in one["delivery"]
        message = sqs.receive_message(QueueUrl=url)["Messages"][0]
        assert json.loads(one["delivery"]["providerResponse"])["sqsMessageId"] == message["MessageId"]
        assert list(bad) == [arns["gone"]]
        assert bad[arns["gone"]]["status"] == "FAILURE"
        assert "does not exist" in json.loads(bad[arns["gone"]]["delivery"]["providerResponse"])["ErrorMessage"]
        if not fifo:
            posted = good[endpoint.url]["delivery"]
            assert (posted["attempts"], posted["statusCode"]) == (1, 200)
            assert endpoint.next()[0]["x-amz-sns-message-id"] == published
    # None of a hundred, and by a role that does not trust SNS.
    iam.update_assume_role_policy(RoleName="feedback", PolicyDocument=json.dumps(trust).replace("sns.", "sqs."))
    silent = sns.create_topic(Name="silent", Attributes=asked)["TopicArn"]
    rare = sns.create_topic(Name="rare", Attributes=asked | {"SQSSuccessFeedbackSampleRate": "0"})["TopicArn"]
    for topic in (silent, rare):
        url, _ = with_queue(region, topic)
        sns.publish(TopicArn=topic, Message="hello")
        assert received(region, url)
    assert statuses(region, silent) == statuses(region, rare) == {}
