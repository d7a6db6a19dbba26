//! The forms in which a request may name a function.

use cloud::Context;
use wire::Fault;

use crate::errors;

/// A function, and perhaps one of its versions or aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The account that owns it.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub function: String,
    /// A version's number, `$LATEST`, or an alias.
    pub qualifier: Option<String>,
}

/// The qualifier of the version that can be changed.
pub const LATEST: &str = "$LATEST";

impl Name {
    /// Reads `name`, `name:qualifier`, `account:function:name` or an ARN, each perhaps with a qualifier.
    pub fn read(ctx: &Context, text: &str, qualifier: Option<&str>) -> Result<Name, Fault> {
        // Each part but the name may be left out: `arn:aws:lambda:`, region, account, `function:`, qualifier.
        let mut rest: Vec<&str> = text.split(':').collect();
        if let ["arn", _, "lambda", after @ ..] = rest.as_slice() {
            rest = after.to_vec();
        }
        let is_account = |part: &str| auth::account::is_account_id(part);
        let mut region = ctx.region.as_str();
        if let [given, after @ .., _] = rest.as_slice()
            && after.first().is_some_and(|next| is_account(next))
        {
            region = given;
            rest.remove(0);
        }
        let mut account = ctx.account.as_str();
        if let [given, _, ..] = rest.as_slice()
            && is_account(given)
        {
            account = given;
            rest.remove(0);
        }
        if let ["function", _, ..] = rest.as_slice() {
            rest.remove(0);
        }
        let (function, own) = match rest.as_slice() {
            [function] => (*function, None),
            [function, own] => (*function, Some(*own)),
            _ => {
                return Err(errors::invalid_parameter_value_exception(format!(
                    "{text} is not a valid function name"
                )));
            }
        };
        if region != ctx.region {
            let text = format!(
                "Functions from '{region}' are not reachable in this region ('{}')",
                ctx.region
            );
            return Err(errors::resource_not_found_exception(text));
        }
        if let (Some(own), Some(asked)) = (own, qualifier)
            && own != asked
        {
            let text = "The derived qualifier from the function name does not match the specified qualifier.";
            return Err(errors::invalid_parameter_value_exception(text));
        }
        Ok(Name {
            account: account.to_owned(),
            region: region.to_owned(),
            function: function.to_owned(),
            qualifier: qualifier.or(own).map(str::to_owned),
        })
    }

    /// Reads a function's ARN; `None` for anything else.
    pub fn of_arn(arn: &cloud::Arn) -> Option<Name> {
        let rest = arn.resource.strip_prefix("function:")?;
        let (function, qualifier) = match rest.split_once(':') {
            Some((function, qualifier)) => (function, Some(qualifier)),
            None => (rest, None),
        };
        (arn.service == "lambda").then(|| Name {
            account: arn.account.clone(),
            region: arn.region.clone(),
            function: function.to_owned(),
            qualifier: qualifier.map(str::to_owned),
        })
    }

    /// The key of the function's rows.
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.function)
    }

    /// The key of what belongs to the function's qualifier.
    pub fn qualified(&self) -> (&str, &str, &str, &str) {
        (
            &self.account,
            &self.region,
            &self.function,
            self.qualifier(),
        )
    }

    /// The qualifier, `$LATEST` without one.
    pub fn qualifier(&self) -> &str {
        self.qualifier.as_deref().unwrap_or(LATEST)
    }

    /// The function's ARN without a qualifier.
    pub fn arn(&self) -> String {
        let resource = format_args!("function:{}", self.function);
        cloud::arn::text("lambda", &self.region, &self.account, resource)
    }

    /// The ARN with the qualifier, where there is one.
    pub fn full_arn(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.arn()),
            None => self.arn(),
        }
    }

    /// The ARN with that qualifier.
    pub fn arn_of(&self, qualifier: &str) -> String {
        format!("{}:{qualifier}", self.arn())
    }

    /// That there is nothing of that qualifier, in the words for an alias or for a version.
    pub fn absent(&self) -> Fault {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        match &self.qualifier {
            Some(alias) if alias.bytes().all(is_word) && alias.parse::<u64>().is_err() => {
                errors::resource_not_found_exception(format!(
                    "Cannot find alias arn: {}",
                    self.full_arn()
                ))
            }
            _ => self.not_found(),
        }
    }

    /// That there is no such function.
    pub fn not_found(&self) -> Fault {
        errors::resource_not_found_exception(format!("Function not found: {}", self.full_arn()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, qualifier: Option<&str>) -> Result<Name, Fault> {
        let ctx = Context::internal("000000000000", "us-east-1", "lambda", wire::Timestamp(0));
        Name::read(&ctx, text, qualifier)
    }

    #[test]
    fn a_function_is_named_in_any_of_its_forms() {
        let plain = read("f", None).expect("a name");
        assert_eq!(
            plain.arn(),
            "arn:aws:lambda:us-east-1:000000000000:function:f"
        );
        for text in [
            "f:1",
            "000000000000:function:f:1",
            "arn:aws:lambda:us-east-1:000000000000:function:f:1",
        ] {
            let name = read(text, None).expect("a name");
            assert_eq!(
                (name.function.as_str(), name.qualifier()),
                ("f", "1"),
                "{text}"
            );
        }
        assert_eq!(read("f", Some("live")).expect("a name").qualifier(), "live");
        assert!(read("f:1", Some("2")).is_err_and(|e| e.is("InvalidParameterValueException")));
        let far = read("arn:aws:lambda:eu-west-1:000000000000:function:f", None);
        assert!(far.is_err_and(|e| e.is("ResourceNotFoundException")));
    }
}
