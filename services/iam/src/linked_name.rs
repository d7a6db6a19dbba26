//! The roles that services of AWS have for themselves: their names, and the policies that they come with.

/// A service's own role.
pub(crate) struct Linked {
    /// The service's principal without `.amazonaws.com`.
    pub service: &'static str,
    /// What follows `AWSServiceRoleFor` in the role's name.
    pub stem: &'static str,
    /// AWS's policy for it, under `aws-service-role/`.
    pub policy: &'static str,
    /// The description that it has unless another is given.
    pub description: Option<&'static str>,
}

const fn linked(service: &'static str, stem: &'static str, policy: &'static str) -> Linked {
    Linked {
        service,
        stem,
        policy,
        description: None,
    }
}

/// The role of the service of that name.
pub(crate) fn of(service: &str) -> Option<&'static Linked> {
    ALL.iter().find(|linked| linked.service == service)
}

static ALL: &[Linked] = &[
    linked(
        "accountdiscovery.ssm",
        "AmazonSSM_AccountDiscovery",
        "AWSSystemsManagerAccountDiscoveryServicePolicy",
    ),
    linked(
        "acm",
        "CertificateManager",
        "CertificateManagerServiceRolePolicy",
    ),
    linked("appmesh", "AppMesh", "AWSAppMeshServiceRolePolicy"),
    linked(
        "appstream.application-autoscaling",
        "ApplicationAutoScaling_AppStreamFleet",
        "AWSApplicationAutoscalingAppStreamFleetPolicy",
    ),
    linked("autoscaling", "AutoScaling", "AutoScalingServiceRolePolicy"),
    linked(
        "autoscaling-plans",
        "AutoScalingPlans_EC2AutoScaling",
        "AWSAutoScalingPlansEC2AutoScalingPolicy",
    ),
    linked(
        "backup",
        "Backup",
        "AWSBackupServiceLinkedRolePolicyForBackup",
    ),
    linked("batch", "Batch", "BatchServiceRolePolicy"),
    linked(
        "cassandra.application-autoscaling",
        "ApplicationAutoScaling_CassandraTable",
        "AWSApplicationAutoscalingCassandraTablePolicy",
    ),
    linked(
        "cks.kms",
        "KeyManagementServiceCustomKeyStores",
        "AWSKeyManagementServiceCustomKeyStoresServiceRolePolicy",
    ),
    linked(
        "cloudfront.logger",
        "CloudFrontLogger",
        "AWSCloudFrontLogger",
    ),
    linked("cloudtrail", "CloudTrail", "CloudTrailServiceRolePolicy"),
    linked(
        "codestar-notifications",
        "CodeStarNotifications",
        "AWSCodeStarNotificationsServiceRolePolicy",
    ),
    linked(
        "comprehend.application-autoscaling",
        "ApplicationAutoScaling_ComprehendEndpoint",
        "AWSApplicationAutoscalingComprehendEndpointPolicy",
    ),
    linked("config", "Config", "AWSConfigServiceRolePolicy"),
    linked(
        "connect",
        "AmazonConnect",
        "AmazonConnectServiceLinkedRolePolicy",
    ),
    linked(
        "custom-resource.application-autoscaling",
        "ApplicationAutoScaling_CustomResource",
        "AWSApplicationAutoScalingCustomResourcePolicy",
    ),
    linked("dms", "DMSServerless", "AWSDMSServerlessServiceRolePolicy"),
    linked(
        "dms-fleet-advisor",
        "DMSFleetAdvisor",
        "AWSDMSFleetAdvisorServiceRolePolicy",
    ),
    linked(
        "docdb-elastic",
        "DocDB-Elastic",
        "AmazonDocDB-ElasticServiceRolePolicy",
    ),
    linked(
        "dynamodb.application-autoscaling",
        "ApplicationAutoScaling_DynamoDBTable",
        "AWSApplicationAutoscalingDynamoDBTablePolicy",
    ),
    linked(
        "ec2-instance-connect",
        "Ec2InstanceConnect",
        "Ec2InstanceConnectEndpoint",
    ),
    linked(
        "ec2.application-autoscaling",
        "ApplicationAutoScaling_EC2SpotFleetRequest",
        "AWSApplicationAutoscalingEC2SpotFleetRequestPolicy",
    ),
    linked("ecr", "ECRTemplate", "ECRTemplateServiceRolePolicy"),
    linked("ecs", "ECS", "AmazonECSServiceRolePolicy"),
    linked(
        "ecs.application-autoscaling",
        "ApplicationAutoScaling_ECSService",
        "AWSApplicationAutoscalingECSServicePolicy",
    ),
    linked("eks", "AmazonEKS", "AmazonEKSServiceRolePolicy"),
    linked(
        "eks-connector",
        "AmazonEKSConnector",
        "AmazonEKSConnectorServiceRolePolicy",
    ),
    linked(
        "eks-fargate",
        "AmazonEKSForFargate",
        "AmazonEKSForFargateServiceRolePolicy",
    ),
    linked(
        "eks-nodegroup",
        "AmazonEKSNodegroup",
        "AWSServiceRoleForAmazonEKSNodegroup",
    ),
    linked("elasticache", "ElastiCache", "ElastiCacheServiceRolePolicy"),
    linked(
        "elasticache.application-autoscaling",
        "ApplicationAutoScaling_ElastiCacheRG",
        "AWSApplicationAutoscalingElastiCacheRGPolicy",
    ),
    linked(
        "elasticbeanstalk",
        "ElasticBeanstalk",
        "AWSElasticBeanstalkServiceRolePolicy",
    ),
    linked(
        "elasticfilesystem",
        "AmazonElasticFileSystem",
        "AmazonElasticFileSystemServiceRolePolicy",
    ),
    linked(
        "elasticloadbalancing",
        "ElasticLoadBalancing",
        "AWSElasticLoadBalancingServiceRolePolicy",
    ),
    linked("elasticmapreduce", "EMRCleanup", "AmazonEMRCleanupPolicy"),
    linked(
        "email.cognito-idp",
        "AmazonCognitoIdpEmailService",
        "AmazonCognitoIdpEmailServiceRolePolicy",
    ),
    linked(
        "emr-containers",
        "AmazonEMRContainers",
        "AmazonEMRContainersServiceRolePolicy",
    ),
    linked("emrwal", "EMRWAL", "EMRDescribeClusterPolicyForEMRWAL"),
    linked(
        "es",
        "AmazonElasticsearchService",
        "AmazonElasticsearchServiceRolePolicy",
    ),
    linked("fis", "FIS", "AmazonFISServiceRolePolicy"),
    linked(
        "grafana",
        "AmazonGrafana",
        "AmazonGrafanaServiceLinkedRolePolicy",
    ),
    linked(
        "guardduty",
        "AmazonGuardDuty",
        "AmazonGuardDutyServiceRolePolicy",
    ),
    linked(
        "imagebuilder",
        "ImageBuilder",
        "AWSServiceRoleForImageBuilder",
    ),
    linked(
        "iotmanagedintegrations",
        "IoTManagedIntegrations",
        "AWSIoTManagedIntegrationsRolePolicy",
    ),
    linked("kafka", "Kafka", "KafkaServiceRolePolicy"),
    linked(
        "kafka.application-autoscaling",
        "ApplicationAutoScaling_KafkaCluster",
        "AWSApplicationAutoscalingKafkaClusterPolicy",
    ),
    linked(
        "kafkaconnect",
        "KafkaConnect",
        "KafkaConnectServiceRolePolicy",
    ),
    linked(
        "lakeformation",
        "LakeFormationDataAccess",
        "LakeFormationDataAccessServiceRolePolicy",
    ),
    linked(
        "lambda.application-autoscaling",
        "ApplicationAutoScaling_LambdaConcurrency",
        "AWSApplicationAutoscalingLambdaConcurrencyPolicy",
    ),
    linked("lex", "LexBots", "AmazonLexBotPolicy"),
    linked("lexv2", "LexV2Bots", "AmazonLexV2BotPolicy"),
    linked("lightsail", "Lightsail", "LightsailExportAccess"),
    linked("m2", "AWSM2", "AWSM2ServicePolicy"),
    linked("memorydb", "MemoryDB", "MemoryDBServiceRolePolicy"),
    linked("mq", "AmazonMQ", "AmazonMQServiceRolePolicy"),
    linked(
        "mrk.kms",
        "KeyManagementServiceMultiRegionKeys",
        "AWSKeyManagementServiceMultiRegionKeysServiceRolePolicy",
    ),
    linked(
        "notifications",
        "AwsUserNotifications",
        "AWSUserNotificationsServiceLinkedRolePolicy",
    ),
    linked(
        "observability.aoss",
        "AmazonOpenSearchServerless",
        "AmazonOpenSearchServerlessServiceRolePolicy",
    ),
    linked(
        "opensearchservice",
        "AmazonOpenSearchService",
        "AmazonOpenSearchServiceRolePolicy",
    ),
    linked(
        "ops.apigateway",
        "APIGateway",
        "APIGatewayServiceRolePolicy",
    ),
    linked(
        "ops.emr-serverless",
        "AmazonEMRServerless",
        "AmazonEMRServerlessServiceRolePolicy",
    ),
    linked(
        "opsdatasync.ssm",
        "SystemsManagerOpsDataSync",
        "AWSSystemsManagerOpsDataSyncServiceRolePolicy",
    ),
    linked(
        "opsinsights.ssm",
        "AmazonSSM_OpsInsights",
        "AWSSSMOpsInsightsServiceRolePolicy",
    ),
    linked(
        "organizations",
        "Organizations",
        "AWSOrganizationsServiceTrustPolicy",
    ),
    linked(
        "pullthroughcache.ecr",
        "ECRPullThroughCache",
        "AWSECRPullThroughCache_ServiceRolePolicy",
    ),
    linked(
        "ram",
        "ResourceAccessManager",
        "AWSResourceAccessManagerServiceRolePolicy",
    ),
    Linked {
        description: Some("Allows Amazon RDS to manage AWS resources on your behalf"),
        ..linked("rds", "RDS", "AmazonRDSServiceRolePolicy")
    },
    linked(
        "rds.application-autoscaling",
        "ApplicationAutoScaling_RDSCluster",
        "AWSApplicationAutoscalingRDSClusterPolicy",
    ),
    linked(
        "redshift",
        "Redshift",
        "AmazonRedshiftServiceLinkedRolePolicy",
    ),
    linked(
        "replication.cassandra",
        "KeyspacesReplication",
        "KeyspacesReplicationServiceRolePolicy",
    ),
    linked(
        "replication.ecr",
        "ECRReplication",
        "ECRReplicationServiceRolePolicy",
    ),
    linked(
        "repository.sync.codeconnections",
        "GitSync",
        "AWSGitSyncServiceRolePolicy",
    ),
    linked(
        "resource-explorer-2",
        "ResourceExplorer",
        "AWSResourceExplorerServiceRolePolicy",
    ),
    linked(
        "rolesanywhere",
        "RolesAnywhere",
        "AWSRolesAnywhereServicePolicy",
    ),
    linked(
        "s3-outposts",
        "S3OnOutposts",
        "AWSS3OnOutpostsServiceRolePolicy",
    ),
    linked(
        "sagemaker.application-autoscaling",
        "ApplicationAutoScaling_SageMakerEndpoint",
        "AWSApplicationAutoscalingSageMakerEndpointPolicy",
    ),
    linked("ses", "AmazonSES", "AmazonSESServiceRolePolicy"),
    linked("shield", "AWSShield", "AWSShieldServiceRolePolicy"),
    linked("spot", "EC2Spot", "AWSEC2SpotServiceRolePolicy"),
    Linked {
        description: Some("Provides access to AWS Resources managed or used by Amazon SSM."),
        ..linked("ssm", "AmazonSSM", "AmazonSSMServiceRolePolicy")
    },
    linked(
        "ssm-incidents",
        "IncidentManager",
        "AWSIncidentManagerServiceRolePolicy",
    ),
    linked("ssm-quicksetup", "SSMQuickSetup", "SSMQuickSetupRolePolicy"),
    Linked {
        description: Some(
            "Service-linked role used by AWS SSO to manage AWS resources, including IAM roles, policies and SAML IdP on your behalf.",
        ),
        ..linked("sso", "SSO", "AWSSSOServiceRolePolicy")
    },
    linked(
        "transitgateway",
        "VPCTransitGateway",
        "AWSVPCTransitGatewayServiceRolePolicy",
    ),
    linked(
        "vpcorigin.cloudfront",
        "CloudFrontVPCOrigin",
        "AWSCloudFrontVPCOriginServiceRolePolicy",
    ),
    linked("waf", "WAFLogging", "WAFLoggingServiceRolePolicy"),
    linked("wafv2", "WAFV2Logging", "WAFV2LoggingServiceRolePolicy"),
];
