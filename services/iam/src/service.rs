//! The operations, each calling down to its noun.

use std::sync::{Arc, Weak};

use cloud::{Cloud, Context, Service};
use store::{Scope, Table, Tx};
use wire::Fault;

use crate::access_key::AccessKey;
use crate::account::Account;
use crate::api;
use crate::certificate::{ServerCertificateRow, Upload};
use crate::group::Group;
use crate::instance_profile::InstanceProfile;
use crate::key_use::{KeyUse, Recent};
use crate::mfa::MfaDevice;
use crate::policy::{Policy, Uses};
use crate::provider::Provider;
use crate::role::Role;
use crate::user::User;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let iam = Arc::new_cyclic(|me: &Weak<Iam>| Iam {
        me: me.clone(),
        cloud: cloud.clone(),
        roles: cloud.store.table("iam.roles"),
        users: cloud.store.table("iam.users"),
        groups: cloud.store.table("iam.groups"),
        policies: cloud.store.table("iam.policies"),
        uses: cloud.store.table("iam.policy_uses"),
        profiles: cloud.store.table("iam.instance_profiles"),
        access_keys: cloud.store.table("iam.access_keys"),
        key_uses: cloud.store.table("iam.key_uses"),
        recent_uses: Recent::default(),
        accounts: cloud.store.table("iam.accounts"),
        providers: cloud.store.table("iam.providers"),
        mfa_devices: cloud.store.table("iam.mfa_devices"),
        server_certificates: cloud.store.table("iam.server_certificates"),
        uploads: cloud.store.table("iam.uploads"),
    });
    cloud.ports.set_users(iam.clone());
    cloud.ports.set_roles(iam.clone());
    cloud.ports.set_mfa_devices(iam.clone());
    let weak = Arc::downgrade(&iam);
    cloud.after_reset(move || {
        if let Some(iam) = weak.upgrade() {
            iam.recent_uses.clear();
        }
    });
    Service::new(api::Api(iam))
}

/// A row by account and name. Names differ in more than their case, so keys are lower case.
pub(crate) type ByName<V> = Table<(String, String), V>;

/// The service's state; IAM knows no region.
pub(crate) struct Iam {
    pub(crate) me: Weak<Iam>,
    pub(crate) cloud: Cloud,
    pub(crate) roles: ByName<Role>,
    pub(crate) users: ByName<User>,
    pub(crate) groups: ByName<Group>,
    /// By account and ARN.
    pub(crate) policies: ByName<Policy>,
    /// How often a policy is attached, AWS's own ones included; by account and ARN.
    pub(crate) uses: ByName<Uses>,
    pub(crate) profiles: ByName<InstanceProfile>,
    /// By account and id.
    pub(crate) access_keys: ByName<AccessKey>,
    /// By account and id.
    pub(crate) key_uses: ByName<KeyUse>,
    pub(crate) recent_uses: Recent,
    pub(crate) accounts: ByName<Account>,
    /// By account and ARN.
    pub(crate) providers: ByName<Provider>,
    /// By account and serial number.
    pub(crate) mfa_devices: ByName<MfaDevice>,
    pub(crate) server_certificates: ByName<ServerCertificateRow>,
    /// By account, the user's id, and id.
    pub(crate) uploads: Table<(String, String, String), Upload>,
}

impl Iam {
    /// Changes an account's state. Changes are few, and many concern several nouns: one lock for an account.
    pub(crate) async fn transact<R>(
        &self,
        account: &str,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["iam", account];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Iam for Iam {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Iam::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_role: CreateRoleInput => CreateRoleOutput,
    get_role: GetRoleInput => GetRoleOutput,
    delete_role: DeleteRoleInput => DeleteRoleOutput,
    list_roles: ListRolesInput => ListRolesOutput,
    update_role: UpdateRoleInput => UpdateRoleOutput,
    update_role_description: UpdateRoleDescriptionInput => UpdateRoleDescriptionOutput,
    update_assume_role_policy: UpdateAssumeRolePolicyInput => UpdateAssumeRolePolicyOutput,
    create_user: CreateUserInput => CreateUserOutput,
    get_user: GetUserInput => GetUserOutput,
    delete_user: DeleteUserInput => DeleteUserOutput,
    list_users: ListUsersInput => ListUsersOutput,
    update_user: UpdateUserInput => UpdateUserOutput,
    create_group: CreateGroupInput => CreateGroupOutput,
    get_group: GetGroupInput => GetGroupOutput,
    delete_group: DeleteGroupInput => DeleteGroupOutput,
    list_groups: ListGroupsInput => ListGroupsOutput,
    update_group: UpdateGroupInput => UpdateGroupOutput,
    add_user_to_group: AddUserToGroupInput => AddUserToGroupOutput,
    remove_user_from_group: RemoveUserFromGroupInput => RemoveUserFromGroupOutput,
    list_groups_for_user: ListGroupsForUserInput => ListGroupsForUserOutput,
    put_role_policy: PutRolePolicyInput => PutRolePolicyOutput,
    get_role_policy: GetRolePolicyInput => GetRolePolicyOutput,
    delete_role_policy: DeleteRolePolicyInput => DeleteRolePolicyOutput,
    list_role_policies: ListRolePoliciesInput => ListRolePoliciesOutput,
    put_user_policy: PutUserPolicyInput => PutUserPolicyOutput,
    get_user_policy: GetUserPolicyInput => GetUserPolicyOutput,
    delete_user_policy: DeleteUserPolicyInput => DeleteUserPolicyOutput,
    list_user_policies: ListUserPoliciesInput => ListUserPoliciesOutput,
    put_group_policy: PutGroupPolicyInput => PutGroupPolicyOutput,
    get_group_policy: GetGroupPolicyInput => GetGroupPolicyOutput,
    delete_group_policy: DeleteGroupPolicyInput => DeleteGroupPolicyOutput,
    list_group_policies: ListGroupPoliciesInput => ListGroupPoliciesOutput,
    attach_role_policy: AttachRolePolicyInput => AttachRolePolicyOutput,
    detach_role_policy: DetachRolePolicyInput => DetachRolePolicyOutput,
    list_attached_role_policies: ListAttachedRolePoliciesInput => ListAttachedRolePoliciesOutput,
    attach_user_policy: AttachUserPolicyInput => AttachUserPolicyOutput,
    detach_user_policy: DetachUserPolicyInput => DetachUserPolicyOutput,
    list_attached_user_policies: ListAttachedUserPoliciesInput => ListAttachedUserPoliciesOutput,
    attach_group_policy: AttachGroupPolicyInput => AttachGroupPolicyOutput,
    detach_group_policy: DetachGroupPolicyInput => DetachGroupPolicyOutput,
    list_attached_group_policies: ListAttachedGroupPoliciesInput => ListAttachedGroupPoliciesOutput,
    put_role_permissions_boundary: PutRolePermissionsBoundaryInput => PutRolePermissionsBoundaryOutput,
    delete_role_permissions_boundary: DeleteRolePermissionsBoundaryInput => DeleteRolePermissionsBoundaryOutput,
    put_user_permissions_boundary: PutUserPermissionsBoundaryInput => PutUserPermissionsBoundaryOutput,
    delete_user_permissions_boundary: DeleteUserPermissionsBoundaryInput => DeleteUserPermissionsBoundaryOutput,
    create_policy: CreatePolicyInput => CreatePolicyOutput,
    get_policy: GetPolicyInput => GetPolicyOutput,
    delete_policy: DeletePolicyInput => DeletePolicyOutput,
    list_policies: ListPoliciesInput => ListPoliciesOutput,
    create_policy_version: CreatePolicyVersionInput => CreatePolicyVersionOutput,
    get_policy_version: GetPolicyVersionInput => GetPolicyVersionOutput,
    delete_policy_version: DeletePolicyVersionInput => DeletePolicyVersionOutput,
    list_policy_versions: ListPolicyVersionsInput => ListPolicyVersionsOutput,
    set_default_policy_version: SetDefaultPolicyVersionInput => SetDefaultPolicyVersionOutput,
    list_entities_for_policy: ListEntitiesForPolicyInput => ListEntitiesForPolicyOutput,
    create_instance_profile: CreateInstanceProfileInput => CreateInstanceProfileOutput,
    get_instance_profile: GetInstanceProfileInput => GetInstanceProfileOutput,
    delete_instance_profile: DeleteInstanceProfileInput => DeleteInstanceProfileOutput,
    list_instance_profiles: ListInstanceProfilesInput => ListInstanceProfilesOutput,
    list_instance_profiles_for_role: ListInstanceProfilesForRoleInput => ListInstanceProfilesForRoleOutput,
    add_role_to_instance_profile: AddRoleToInstanceProfileInput => AddRoleToInstanceProfileOutput,
    remove_role_from_instance_profile: RemoveRoleFromInstanceProfileInput => RemoveRoleFromInstanceProfileOutput,
    tag_role: TagRoleInput => TagRoleOutput,
    untag_role: UntagRoleInput => UntagRoleOutput,
    list_role_tags: ListRoleTagsInput => ListRoleTagsOutput,
    tag_user: TagUserInput => TagUserOutput,
    untag_user: UntagUserInput => UntagUserOutput,
    list_user_tags: ListUserTagsInput => ListUserTagsOutput,
    tag_policy: TagPolicyInput => TagPolicyOutput,
    untag_policy: UntagPolicyInput => UntagPolicyOutput,
    list_policy_tags: ListPolicyTagsInput => ListPolicyTagsOutput,
    tag_instance_profile: TagInstanceProfileInput => TagInstanceProfileOutput,
    untag_instance_profile: UntagInstanceProfileInput => UntagInstanceProfileOutput,
    list_instance_profile_tags: ListInstanceProfileTagsInput => ListInstanceProfileTagsOutput,
    create_access_key: CreateAccessKeyInput => CreateAccessKeyOutput,
    list_access_keys: ListAccessKeysInput => ListAccessKeysOutput,
    update_access_key: UpdateAccessKeyInput => UpdateAccessKeyOutput,
    delete_access_key: DeleteAccessKeyInput => DeleteAccessKeyOutput,
    create_service_specific_credential: CreateServiceSpecificCredentialInput => CreateServiceSpecificCredentialOutput,
    list_service_specific_credentials: ListServiceSpecificCredentialsInput => ListServiceSpecificCredentialsOutput,
    update_service_specific_credential: UpdateServiceSpecificCredentialInput => UpdateServiceSpecificCredentialOutput,
    reset_service_specific_credential: ResetServiceSpecificCredentialInput => ResetServiceSpecificCredentialOutput,
    delete_service_specific_credential: DeleteServiceSpecificCredentialInput => DeleteServiceSpecificCredentialOutput,
    get_access_key_last_used: GetAccessKeyLastUsedInput => GetAccessKeyLastUsedOutput,
    create_login_profile: CreateLoginProfileInput => CreateLoginProfileOutput,
    get_login_profile: GetLoginProfileInput => GetLoginProfileOutput,
    update_login_profile: UpdateLoginProfileInput => UpdateLoginProfileOutput,
    delete_login_profile: DeleteLoginProfileInput => DeleteLoginProfileOutput,
    change_password: ChangePasswordInput => ChangePasswordOutput,
    create_virtual_mfa_device: CreateVirtualMFADeviceInput => CreateVirtualMFADeviceOutput,
    delete_virtual_mfa_device: DeleteVirtualMFADeviceInput => DeleteVirtualMFADeviceOutput,
    enable_mfa_device: EnableMFADeviceInput => EnableMFADeviceOutput,
    deactivate_mfa_device: DeactivateMFADeviceInput => DeactivateMFADeviceOutput,
    resync_mfa_device: ResyncMFADeviceInput => ResyncMFADeviceOutput,
    get_mfa_device: GetMFADeviceInput => GetMFADeviceOutput,
    list_mfa_devices: ListMFADevicesInput => ListMFADevicesOutput,
    list_virtual_mfa_devices: ListVirtualMFADevicesInput => ListVirtualMFADevicesOutput,
    tag_mfa_device: TagMFADeviceInput => TagMFADeviceOutput,
    untag_mfa_device: UntagMFADeviceInput => UntagMFADeviceOutput,
    list_mfa_device_tags: ListMFADeviceTagsInput => ListMFADeviceTagsOutput,
    create_open_id_connect_provider: CreateOpenIDConnectProviderInput => CreateOpenIDConnectProviderOutput,
    get_open_id_connect_provider: GetOpenIDConnectProviderInput => GetOpenIDConnectProviderOutput,
    delete_open_id_connect_provider: DeleteOpenIDConnectProviderInput => DeleteOpenIDConnectProviderOutput,
    list_open_id_connect_providers: ListOpenIDConnectProvidersInput => ListOpenIDConnectProvidersOutput,
    update_open_id_connect_provider_thumbprint: UpdateOpenIDConnectProviderThumbprintInput => UpdateOpenIDConnectProviderThumbprintOutput,
    add_client_id_to_open_id_connect_provider: AddClientIDToOpenIDConnectProviderInput => AddClientIDToOpenIDConnectProviderOutput,
    remove_client_id_from_open_id_connect_provider: RemoveClientIDFromOpenIDConnectProviderInput => RemoveClientIDFromOpenIDConnectProviderOutput,
    tag_open_id_connect_provider: TagOpenIDConnectProviderInput => TagOpenIDConnectProviderOutput,
    untag_open_id_connect_provider: UntagOpenIDConnectProviderInput => UntagOpenIDConnectProviderOutput,
    list_open_id_connect_provider_tags: ListOpenIDConnectProviderTagsInput => ListOpenIDConnectProviderTagsOutput,
    create_saml_provider: CreateSAMLProviderInput => CreateSAMLProviderOutput,
    get_saml_provider: GetSAMLProviderInput => GetSAMLProviderOutput,
    update_saml_provider: UpdateSAMLProviderInput => UpdateSAMLProviderOutput,
    delete_saml_provider: DeleteSAMLProviderInput => DeleteSAMLProviderOutput,
    list_saml_providers: ListSAMLProvidersInput => ListSAMLProvidersOutput,
    tag_saml_provider: TagSAMLProviderInput => TagSAMLProviderOutput,
    untag_saml_provider: UntagSAMLProviderInput => UntagSAMLProviderOutput,
    list_saml_provider_tags: ListSAMLProviderTagsInput => ListSAMLProviderTagsOutput,
    create_account_alias: CreateAccountAliasInput => CreateAccountAliasOutput,
    delete_account_alias: DeleteAccountAliasInput => DeleteAccountAliasOutput,
    list_account_aliases: ListAccountAliasesInput => ListAccountAliasesOutput,
    update_account_password_policy: UpdateAccountPasswordPolicyInput => UpdateAccountPasswordPolicyOutput,
    get_account_password_policy: GetAccountPasswordPolicyInput => GetAccountPasswordPolicyOutput,
    delete_account_password_policy: DeleteAccountPasswordPolicyInput => DeleteAccountPasswordPolicyOutput,
    get_account_summary: GetAccountSummaryInput => GetAccountSummaryOutput,
    get_account_authorization_details: GetAccountAuthorizationDetailsInput => GetAccountAuthorizationDetailsOutput,
    generate_credential_report: GenerateCredentialReportInput => GenerateCredentialReportOutput,
    get_credential_report: GetCredentialReportInput => GetCredentialReportOutput,
    create_service_linked_role: CreateServiceLinkedRoleInput => CreateServiceLinkedRoleOutput,
    delete_service_linked_role: DeleteServiceLinkedRoleInput => DeleteServiceLinkedRoleOutput,
    get_service_linked_role_deletion_status: GetServiceLinkedRoleDeletionStatusInput => GetServiceLinkedRoleDeletionStatusOutput,
    simulate_custom_policy: SimulateCustomPolicyInput => SimulateCustomPolicyOutput,
    simulate_principal_policy: SimulatePrincipalPolicyInput => SimulatePrincipalPolicyOutput,
    get_context_keys_for_custom_policy: GetContextKeysForCustomPolicyInput => GetContextKeysForCustomPolicyOutput,
    get_context_keys_for_principal_policy: GetContextKeysForPrincipalPolicyInput => GetContextKeysForPrincipalPolicyOutput,
    upload_server_certificate: UploadServerCertificateInput => UploadServerCertificateOutput,
    get_server_certificate: GetServerCertificateInput => GetServerCertificateOutput,
    update_server_certificate: UpdateServerCertificateInput => UpdateServerCertificateOutput,
    delete_server_certificate: DeleteServerCertificateInput => DeleteServerCertificateOutput,
    list_server_certificates: ListServerCertificatesInput => ListServerCertificatesOutput,
    tag_server_certificate: TagServerCertificateInput => TagServerCertificateOutput,
    untag_server_certificate: UntagServerCertificateInput => UntagServerCertificateOutput,
    list_server_certificate_tags: ListServerCertificateTagsInput => ListServerCertificateTagsOutput,
    upload_signing_certificate: UploadSigningCertificateInput => UploadSigningCertificateOutput,
    update_signing_certificate: UpdateSigningCertificateInput => UpdateSigningCertificateOutput,
    delete_signing_certificate: DeleteSigningCertificateInput => DeleteSigningCertificateOutput,
    list_signing_certificates: ListSigningCertificatesInput => ListSigningCertificatesOutput,
    upload_ssh_public_key: UploadSSHPublicKeyInput => UploadSSHPublicKeyOutput,
    get_ssh_public_key: GetSSHPublicKeyInput => GetSSHPublicKeyOutput,
    update_ssh_public_key: UpdateSSHPublicKeyInput => UpdateSSHPublicKeyOutput,
    delete_ssh_public_key: DeleteSSHPublicKeyInput => DeleteSSHPublicKeyOutput,
    list_ssh_public_keys: ListSSHPublicKeysInput => ListSSHPublicKeysOutput,
}
