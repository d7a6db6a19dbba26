"""Global tables of version 2017.11.29, and the auto scaling of both versions, with boto3."""
import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
DISABLED = {"AutoScalingDisabled": True}


def clients(region):
    return [region.client("dynamodb", region_name=name) for name in REGIONS]


def make(client, name, stream=STREAM, sort=False, **parameters):
    keys = [("k", "HASH"), ("s", "RANGE")][:2 if sort else 1]
    client.create_table(**{
        "TableName": name,
        "KeySchema": [{"AttributeName": n, "KeyType": kind} for n, kind in keys],
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n, _ in keys],
        "BillingMode": "PAY_PER_REQUEST",
        **({"StreamSpecification": stream} if stream else {}),
        **parameters,
    })


def group(*names):
    return [{"RegionName": name} for name in names]


def items(client, name):
    return {i["k"]["S"] for i in client.scan(TableName=name, ConsistentRead=True)["Items"]}


def code(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def regions_of(client, name):
    described = client.describe_global_table(GlobalTableName=name)["GlobalTableDescription"]
    return [r["RegionName"] for r in described["ReplicationGroup"]]


def test_tables_are_joined_replicate_and_part(make_region):
    region = make_region()
    east, west, north = clients(region)
    for client in (east, west, north):
        make(client, "joined")
    made = east.create_global_table(GlobalTableName="joined", ReplicationGroup=group("us-east-1", "us-west-2"))
    description = made["GlobalTableDescription"]
    assert description["GlobalTableArn"] == "arn:aws:dynamodb::000000000000:global-table/joined"
    assert (description["GlobalTableStatus"], description["ReplicationGroup"]) == ("CREATING", group("us-east-1", "us-west-2"))
    described = west.describe_global_table(GlobalTableName="joined")["GlobalTableDescription"]
    assert (described["GlobalTableStatus"], described["CreationDateTime"]) == ("ACTIVE", description["CreationDateTime"])
    table = west.describe_table(TableName="joined")["Table"]
    assert table["GlobalTableVersion"] == "2017.11.29" and "Replicas" not in table

    east.put_item(TableName="joined", Item={"k": {"S": "e"}})
    west.put_item(TableName="joined", Item={"k": {"S": "w"}})
    wait_for(lambda: items(east, "joined") == items(west, "joined") == {"e", "w"}, 30, "both writes")
    # One that joins is given what there is.
    update = east.update_global_table(GlobalTableName="joined", ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    assert update["GlobalTableDescription"]["GlobalTableStatus"] == "UPDATING"
    assert items(north, "joined") == {"e", "w"}
    region.kill()
    region.start()
    north.put_item(TableName="joined", Item={"k": {"S": "n"}})
    wait_for(lambda: items(east, "joined") == items(west, "joined") == {"e", "w", "n"}, 30, "the third's write")
    # One that parts keeps its items and goes on alone.
    east.update_global_table(GlobalTableName="joined", ReplicaUpdates=[{"Delete": {"RegionName": "us-west-2"}}])
    assert regions_of(north, "joined") == ["us-east-1", "eu-west-1"]
    assert "GlobalTableVersion" not in west.describe_table(TableName="joined")["Table"]
    west.put_item(TableName="joined", Item={"k": {"S": "alone"}})
    east.put_item(TableName="joined", Item={"k": {"S": "together"}})
    wait_for(lambda: "together" in items(north, "joined"), 30, "the write after")
    assert "together" not in items(west, "joined") and "alone" not in items(east, "joined")

    make(east, "other-table")
    east.create_global_table(GlobalTableName="other-table", ReplicationGroup=group("us-east-1"))
    listed = east.list_global_tables(RegionName="eu-west-1")["GlobalTables"]
    assert listed == [{"GlobalTableName": "joined", "ReplicationGroup": group("us-east-1", "eu-west-1")}]
    first = east.list_global_tables(Limit=1)
    assert first["LastEvaluatedGlobalTableName"] == "joined"
    rest = east.list_global_tables(ExclusiveStartGlobalTableName="joined")
    assert [t["GlobalTableName"] for t in rest["GlobalTables"]] == ["other-table"] and "LastEvaluatedGlobalTableName" not in rest
    # A deleted table has left; the global table ends with its last one.
    north.delete_table(TableName="joined")
    assert regions_of(east, "joined") == ["us-east-1"]
    east.delete_table(TableName="joined")
    assert code(east.describe_global_table, GlobalTableName="joined") == "GlobalTableNotFoundException"


def test_what_cannot_be_joined_is_refused_and_changes_nothing(region):
    east, west, _ = clients(region)
    make(east, "refused")

    def create(name="refused", *regions):
        return code(east.create_global_table, GlobalTableName=name, ReplicationGroup=group(*(regions or REGIONS[:2])))

    assert create() == "TableNotFoundException"
    make(west, "refused", stream={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    assert create() == "ValidationException"
    west.delete_table(TableName="refused")
    make(west, "refused", sort=True)
    assert create() == "ValidationException"
    west.delete_table(TableName="refused")
    make(west, "refused")
    west.put_item(TableName="refused", Item={"k": {"S": "x"}})
    assert create() == "ValidationException"
    west.delete_item(TableName="refused", Key={"k": {"S": "x"}})
    assert create("refused", "us-east-1", "us-east-1") == "ValidationException"
    # Nothing of that has joined anything.
    assert "GlobalTableVersion" not in east.describe_table(TableName="refused")["Table"]
    east.create_global_table(GlobalTableName="refused", ReplicationGroup=group(*REGIONS[:2]))
    assert create() == "GlobalTableAlreadyExistsException"
    update = dict(GlobalTableName="refused")
    assert code(east.update_global_table, **update, ReplicaUpdates=[{"Create": {"RegionName": "us-west-2"}}]) == (
        "ReplicaAlreadyExistsException")
    assert code(east.update_global_table, **update, ReplicaUpdates=[{"Delete": {"RegionName": "eu-west-1"}}]) == (
        "ReplicaNotFoundException")
    assert code(east.update_global_table, **update, ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}]) == (
        "TableNotFoundException")
    missing = dict(GlobalTableName="missing")
    for call in (east.describe_global_table, east.describe_global_table_settings, east.update_global_table_settings):
        assert code(call, **missing) == "GlobalTableNotFoundException"
    with pytest.raises(ClientError, match="Disabling Stream is not allowed for a Global Table replica"):
        east.update_table(TableName="refused", StreamSpecification={"StreamEnabled": False})
    with pytest.raises(ClientError, match="Cannot add, delete, or update the local region through ReplicaUpdates"):
        make(east, "local")
        east.update_table(TableName="local", ReplicaUpdates=[{"Create": {"RegionName": "us-east-1"}}])


def test_settings_are_each_regions_own(region):
    east, west, _ = clients(region)
    index = {
        "IndexName": "byName", "KeySchema": [{"AttributeName": "n", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"},
        "ProvisionedThroughput": {"ReadCapacityUnits": 2, "WriteCapacityUnits": 2},
    }
    for client in (east, west):
        make(client, "settings", BillingMode="PROVISIONED", GlobalSecondaryIndexes=[index],
             AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in "kn"],
             ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6})
    east.create_global_table(GlobalTableName="settings", ReplicationGroup=group(*REGIONS[:2]))
    [one, two] = east.describe_global_table_settings(GlobalTableName="settings")["ReplicaSettings"]
    assert one == {
        "RegionName": "us-east-1", "ReplicaStatus": "ACTIVE",
        "ReplicaProvisionedReadCapacityUnits": 5, "ReplicaProvisionedReadCapacityAutoScalingSettings": DISABLED,
        "ReplicaProvisionedWriteCapacityUnits": 6, "ReplicaProvisionedWriteCapacityAutoScalingSettings": DISABLED,
        "ReplicaGlobalSecondaryIndexSettings": [{
            "IndexName": "byName", "IndexStatus": "ACTIVE",
            "ProvisionedReadCapacityUnits": 2, "ProvisionedReadCapacityAutoScalingSettings": DISABLED,
            "ProvisionedWriteCapacityUnits": 2, "ProvisionedWriteCapacityAutoScalingSettings": DISABLED,
        }],
    }
    policy = {"PolicyName": "p", "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 70.0}}
    east.update_global_table_settings(
        GlobalTableName="settings", GlobalTableProvisionedWriteCapacityUnits=9,
        GlobalTableProvisionedWriteCapacityAutoScalingSettingsUpdate={
            "MinimumUnits": 5, "MaximumUnits": 50, "ScalingPolicyUpdate": policy},
        GlobalTableGlobalSecondaryIndexSettingsUpdate=[{"IndexName": "byName", "ProvisionedWriteCapacityUnits": 4}],
        ReplicaSettingsUpdate=[{"RegionName": "us-west-2", "ReplicaProvisionedReadCapacityUnits": 11}])
    [one, two] = west.describe_global_table_settings(GlobalTableName="settings")["ReplicaSettings"]
    units = [(s["ReplicaProvisionedReadCapacityUnits"], s["ReplicaProvisionedWriteCapacityUnits"]) for s in (one, two)]
    assert units == [(5, 9), (11, 9)]
    assert one["ReplicaProvisionedWriteCapacityAutoScalingSettings"] == {
        "MinimumUnits": 5, "MaximumUnits": 50, "ScalingPolicies": [policy]}
    throughput = west.describe_table(TableName="settings")["Table"]["ProvisionedThroughput"]
    assert (throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]) == (11, 9)
    assert two["ReplicaGlobalSecondaryIndexSettings"][0]["ProvisionedWriteCapacityUnits"] == 4
    wrong = [{"IndexName": "no-index", "ProvisionedWriteCapacityUnits": 4}]
    assert code(east.update_global_table_settings, GlobalTableName="settings", GlobalTableProvisionedWriteCapacityUnits=1,
                GlobalTableGlobalSecondaryIndexSettingsUpdate=wrong) == "IndexNotFoundException"
    assert code(east.update_global_table_settings, GlobalTableName="settings",
                ReplicaSettingsUpdate=[{"RegionName": "eu-west-1"}]) == "ReplicaNotFoundException"
    # What was refused is not half done.
    [one, _] = west.describe_global_table_settings(GlobalTableName="settings")["ReplicaSettings"]
    assert one["ReplicaProvisionedWriteCapacityUnits"] == 9
    east.update_global_table_settings(GlobalTableName="settings", GlobalTableBillingMode="PAY_PER_REQUEST")
    assert west.describe_table(TableName="settings")["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_auto_scaling_of_replicas_is_kept(region):
    east, west, _ = clients(region)
    make(east, "scaled")
    assert east.describe_table_replica_auto_scaling(TableName="scaled")["TableAutoScalingDescription"] == {
        "TableName": "scaled", "TableStatus": "ACTIVE", "Replicas": []}
    setting = {"MinimumUnits": 1, "MaximumUnits": 10, "ScalingPolicyUpdate": {
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 50.0, "ScaleInCooldown": 60}}}
    update = dict(TableName="scaled", ProvisionedWriteCapacityAutoScalingUpdate=setting)
    assert code(east.update_table_replica_auto_scaling, **update) == "ValidationException"
    east.update_table(TableName="scaled", ReplicaUpdates=[{"Create": {"RegionName": "us-west-2"}}])

    def both():
        replicas = east.describe_table(TableName="scaled")["Table"]["Replicas"]
        return [r["ReplicaStatus"] for r in replicas] == ["ACTIVE"]

    wait_for(both, 30, "the replica")
    east.update_table_replica_auto_scaling(
        **update, ReplicaUpdates=[{"RegionName": "us-west-2", "ReplicaProvisionedReadCapacityAutoScalingUpdate": setting}])
    kept = {"MinimumUnits": 1, "MaximumUnits": 10, "ScalingPolicies": [
        {"TargetTrackingScalingPolicyConfiguration": {"TargetValue": 50.0, "ScaleInCooldown": 60}}]}
    told = west.describe_table_replica_auto_scaling(TableName="scaled")["TableAutoScalingDescription"]["Replicas"]
    by_region = {r["RegionName"]: r for r in told}
    assert set(by_region) == set(REGIONS[:2])
    for r in by_region.values():
        assert r["ReplicaProvisionedWriteCapacityAutoScalingSettings"] == kept
    assert by_region["us-west-2"]["ReplicaProvisionedReadCapacityAutoScalingSettings"] == kept
    assert by_region["us-east-1"]["ReplicaProvisionedReadCapacityAutoScalingSettings"] == DISABLED
    wrong = [{"RegionName": "eu-west-1"}]
    assert code(east.update_table_replica_auto_scaling, TableName="scaled", ReplicaUpdates=wrong) == "ResourceNotFoundException"
