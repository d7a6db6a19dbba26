//! An account's own names of buckets: `prefix-account-region-an`.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html>

use wire::Fault;

use crate::api::bucket_namespace::{ACCOUNT_REGIONAL, GLOBAL};
use crate::fault;

/// Checks that a new bucket's name is of the namespace that is asked for in `x-amz-bucket-namespace`.
pub(crate) fn check(
    name: &str,
    asked: Option<&str>,
    account: &str,
    region: &str,
) -> Result<(), Fault> {
    let suffix = format!("-{account}-{region}-an");
    let is_own = name
        .strip_suffix(&suffix)
        .is_some_and(|prefix| !prefix.is_empty());
    let refuse = |code: &'static str, message: String| {
        Err(Fault::sender(400, code, message).field("BucketName", name))
    };
    match asked {
        Some(ACCOUNT_REGIONAL) if is_own => Ok(()),
        Some(ACCOUNT_REGIONAL) => refuse(
            "InvalidNamespaceHeader",
            format!(
                "The requested bucket name did not include the account-regional namespace suffix, but the provided \
                 x-amz-bucket-namespace header value is account-regional. Specify {suffix} as the bucket name suffix to \
                 create a bucket in your account-regional namespace, or remove the header."
            ),
        ),
        // Who may make the name does not matter here: without the header, nobody may.
        None if is_of_some_account(name) => refuse(
            "MissingNamespaceHeader",
            "The requested bucket name includes an account-regional namespace suffix, but the x-amz-bucket-namespace \
             header is missing. Set the header to account-regional, or remove the suffix."
                .to_owned(),
        ),
        Some(GLOBAL) if is_of_some_account(name) => refuse(
            "InvalidNamespaceHeader",
            "The requested bucket name includes an account-regional namespace suffix, but the provided \
             x-amz-bucket-namespace header value is global. Set the header to account-regional, or remove the suffix."
                .to_owned(),
        ),
        None | Some(GLOBAL) => Ok(()),
        Some(other) => Err(fault::invalid_argument(
            "Invalid x-amz-bucket-namespace header value",
            "x-amz-bucket-namespace",
            other,
        )),
    }
}

/// Whether a name ends as those of an account's namespace do: account, region, `an`.
fn is_of_some_account(name: &str) -> bool {
    let parts: Vec<&str> = name.rsplitn(6, '-').collect();
    let ["an", number, place, area, account, prefix] = parts[..] else {
        return false;
    };
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    !prefix.is_empty()
        && auth::account::is_account_id(account)
        && is_name(area)
        && is_name(place)
        && number.parse::<u8>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_name_and_its_header_belong_together() {
        let code = |name, asked| {
            check(name, asked, "111122223333", "us-west-2")
                .err()
                .map(|fault| fault.code.to_string())
        };
        let (own, regional) = ("b-111122223333-us-west-2-an", Some("account-regional"));
        let invalid = Some("InvalidNamespaceHeader".to_owned());
        let missing = Some("MissingNamespaceHeader".to_owned());
        assert_eq!(code(own, regional), None);
        assert_eq!(code("b", None), None);
        assert_eq!(code("plan-an", None), None);
        assert_eq!(code("b", Some("global")), None);
        assert_eq!(code("b", regional), invalid);
        assert_eq!(code("-111122223333-us-west-2-an", regional), invalid);
        assert_eq!(code("b-111122223333-us-west-1-an", regional), invalid);
        assert_eq!(code("b-000000000001-us-west-2-an", regional), invalid);
        assert_eq!(code("b-000000000001-eu-west-1-an", None), missing);
        assert_eq!(code(own, None), missing);
        assert_eq!(code(own, Some("global")), invalid);
        assert_eq!(code("b", Some("mine")), Some("InvalidArgument".to_owned()));
    }
}
