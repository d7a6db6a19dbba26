//! Accounts and the ids that carry them.
//!
//! The characters of an access key id or unique id after its four-letter prefix are base32; the first 41 bits are a
//! one and the account number. Ids minted before AWS encoded the account have a zero there.

/// The account of requests that name none.
pub const DEFAULT_ACCOUNT: &str = "000000000000";

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LARGEST_ACCOUNT: u64 = 999_999_999_999;
const MARK: u64 = 1 << 40;

/// A source of randomness: fills the buffer.
pub trait RandomBytes {
    /// Fills `buffer` with random bytes.
    fn fill(&mut self, buffer: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> RandomBytes for F {
    fn fill(&mut self, buffer: &mut [u8]) {
        self(buffer);
    }
}

/// What an id identifies, told by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// A long-lived access key, `AKIA`.
    AccessKey,
    /// A temporary access key, `ASIA`.
    TemporaryAccessKey,
    /// A role, `AROA`.
    Role,
    /// A user, `AIDA`.
    User,
    /// A group, `AGPA`.
    Group,
    /// A managed policy, `ANPA`.
    ManagedPolicy,
    /// An instance profile, `AIPA`.
    InstanceProfile,
    /// A server certificate, `ASCA`.
    ServerCertificate,
    /// A public key, `APKA`.
    PublicKey,
    /// A service-specific credential, `ACCA`.
    ServiceCredential,
    /// A version of a managed policy, `ANVA`.
    PolicyVersion,
}

impl IdKind {
    /// The four letters that ids of this kind begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::AccessKey => "AKIA",
            Self::TemporaryAccessKey => "ASIA",
            Self::Role => "AROA",
            Self::User => "AIDA",
            Self::Group => "AGPA",
            Self::ManagedPolicy => "ANPA",
            Self::InstanceProfile => "AIPA",
            Self::ServerCertificate => "ASCA",
            Self::PublicKey => "APKA",
            Self::ServiceCredential => "ACCA",
            Self::PolicyVersion => "ANVA",
        }
    }

    /// The length of ids of this kind: 20 for access keys, 21 for the others.
    pub fn id_length(self) -> usize {
        match self {
            Self::AccessKey | Self::TemporaryAccessKey | Self::PublicKey => 20,
            _ => 21,
        }
    }
}

/// The account of an access key: itself if it is twelve digits, else the account it encodes, else all zeros.
pub fn account_of_access_key(access_key_id: &str) -> String {
    if is_account_id(access_key_id) {
        return access_key_id.to_owned();
    }
    encoded_account(access_key_id).unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned())
}

/// Whether this is an account id: twelve digits.
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The account that an id encodes, if it does.
pub fn encoded_account(id: &str) -> Option<String> {
    let bytes = id.as_bytes();
    let is_known = matches!(bytes.first(), Some(b'A' | b'L'));
    if !is_known || bytes.len() < 20 {
        return None;
    }
    // Nine characters hold 45 bits, of which the first 41 are ours.
    let mut bits: u64 = 0;
    for byte in bytes.get(4..13)? {
        let value = BASE32.iter().position(|letter| letter == byte)?;
        bits = bits << 5 | value as u64;
    }
    let value = bits >> 4;
    if value & MARK == 0 {
        return None;
    }
    let account = value & (MARK - 1);
    (account <= LARGEST_ACCOUNT).then(|| format!("{account:012}"))
}

/// Mints an id from which the account can be read back. An account that is not twelve digits counts as zero.
pub fn mint_id(kind: IdKind, account: &str, random: &mut dyn RandomBytes) -> String {
    let account = account.parse::<u64>().unwrap_or(0).min(LARGEST_ACCOUNT);
    let mut noise = [0u8; 17];
    random.fill(&mut noise);
    let bits = (MARK | account) << 4 | u64::from(noise[16] & 0x0f);
    let mut id = String::with_capacity(kind.id_length());
    id.push_str(kind.prefix());
    for index in (0..9).rev() {
        id.push(base32((bits >> (5 * index)) as u8));
    }
    for byte in noise.iter().take(kind.id_length() - 13) {
        id.push(base32(*byte));
    }
    id
}

/// Mints a secret access key: 40 characters of base64.
pub fn mint_secret(random: &mut dyn RandomBytes) -> String {
    use base64::Engine;
    let mut bytes = [0u8; 30];
    random.fill(&mut bytes);
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn base32(value: u8) -> char {
    char::from(BASE32[usize::from(value & 31)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn constant(byte: u8) -> impl RandomBytes {
        move |buffer: &mut [u8]| buffer.fill(byte)
    }

    #[test]
    fn a_twelve_digit_key_is_the_account() {
        assert_eq!(account_of_access_key("123456789012"), "123456789012");
    }

    #[test]
    fn a_published_access_key_decodes_to_its_account() {
        // From the publications on the encoding.
        assert_eq!(
            encoded_account("ASIAQNZGKIQY56JQ7WML").as_deref(),
            Some("029608264753")
        );
    }

    #[test]
    fn a_key_without_an_account_belongs_to_the_default_one() {
        for key in ["test", "AKIAIOSFODNN7EXAMPLE", "", "1234567890123", "AKIAé"] {
            assert_eq!(account_of_access_key(key), DEFAULT_ACCOUNT, "{key}");
        }
    }

    #[test]
    fn a_minted_secret_has_forty_characters() {
        assert_eq!(mint_secret(&mut constant(7)).len(), 40);
    }

    proptest! {
        #[test]
        fn the_account_of_a_minted_id_is_read_back(account in 0u64..=LARGEST_ACCOUNT, byte: u8) {
            let account = format!("{account:012}");
            for kind in [IdKind::AccessKey, IdKind::TemporaryAccessKey, IdKind::Role, IdKind::ManagedPolicy] {
                let id = mint_id(kind, &account, &mut constant(byte));
                prop_assert_eq!(id.len(), kind.id_length());
                prop_assert!(id.starts_with(kind.prefix()));
                let decoded = encoded_account(&id);
                prop_assert_eq!(decoded.as_deref(), Some(account.as_str()));
            }
        }

        #[test]
        fn any_text_has_an_account(key in "\\PC*") {
            prop_assert!(is_account_id(&account_of_access_key(&key)));
        }
    }
}
