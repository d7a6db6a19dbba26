"""What is kept for clients and read back: users' credentials for services, deliveries of vended logs."""
import pytest
from botocore.exceptions import ClientError


def test_service_credentials_are_kept_until_they_are_deleted(region):
    iam = region.client("iam")
    iam.create_user(UserName="coder")
    made = iam.create_service_specific_credential(UserName="coder", ServiceName="codecommit.amazonaws.com")["ServiceSpecificCredential"]
    assert made["ServiceUserName"] == "coder-at-000000000000" and made["ServicePassword"] and made["Status"] == "Active"
    named = {"UserName": "coder", "ServiceSpecificCredentialId": made["ServiceSpecificCredentialId"]}
    iam.update_service_specific_credential(Status="Inactive", **named)
    (listed,) = iam.list_service_specific_credentials(UserName="coder")["ServiceSpecificCredentials"]
    assert listed["Status"] == "Inactive" and "ServicePassword" not in listed
    anew = iam.reset_service_specific_credential(**named)["ServiceSpecificCredential"]
    assert anew["ServicePassword"] != made["ServicePassword"]
    with pytest.raises(ClientError, match="must remove referenced objects first"):
        iam.delete_user(UserName="coder")
    with pytest.raises(ClientError, match="Value at 'status' failed to satisfy constraint: Member must satisfy enum value set$"):
        iam.update_service_specific_credential(Status="Asleep", **named)
    iam.delete_service_specific_credential(**named)
    iam.delete_user(UserName="coder")


def test_deliveries_join_sources_and_destinations(region):
    logs = region.client("logs")
    with pytest.raises(ClientError, match="Cannot access provided service."):
        logs.put_delivery_source(name="s", resourceArn="arn:aws:s3:::b", logType="ACCESS_LOGS")
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/orders"
    logs.put_delivery_source(name="s", resourceArn=bus, logType="INFO_LOGS")
    with pytest.raises(ClientError, match="ValidationException.* This service is not allowed for this LogSource."):
        logs.put_delivery_source(name="s", resourceArn=bus, logType="ACCESS_LOGS")
    with pytest.raises(ClientError, match="ConflictException.*new ResourceId is not allowed"):
        logs.put_delivery_source(name="s", resourceArn=f"{bus}-of-others", logType="INFO_LOGS")
    with pytest.raises(ClientError, match="ValidationException.*enum value set"):
        logs.put_delivery_destination(name="p", outputFormat="yaml")
    place = logs.put_delivery_destination(
        name="p", outputFormat="json", deliveryDestinationConfiguration={"destinationResourceArn": "arn:aws:s3:::b"})["deliveryDestination"]
    assert (place["deliveryDestinationType"], place["outputFormat"]) == ("S3", "json")
    with pytest.raises(ClientError, match="ValidationException.*new Output Format is not allowed"):
        logs.put_delivery_destination(
            name="p", outputFormat="raw", deliveryDestinationConfiguration={"destinationResourceArn": "arn:aws:s3:::b"})
    delivery = logs.create_delivery(deliverySourceName="s", deliveryDestinationArn=place["arn"], recordFields=["date"])["delivery"]
    with pytest.raises(ClientError, match="ConflictException"):
        logs.delete_delivery_destination(name="p")
    logs.tag_resource(resourceArn=delivery["arn"], tags={"a": "1"})
    assert logs.get_delivery(id=delivery["id"])["delivery"] == {**delivery, "tags": {"a": "1"}}
    logs.put_delivery_destination_policy(deliveryDestinationName="p", deliveryDestinationPolicy="{}")
    assert logs.get_delivery_destination_policy(deliveryDestinationName="p")["policy"] == {"deliveryDestinationPolicy": "{}"}
    logs.delete_delivery(id=delivery["id"])
    logs.delete_delivery_destination(name="p")
    with pytest.raises(ClientError, match="Requested Delivery Destination does not exist in this account."):
        logs.get_delivery_destination(name="p")
