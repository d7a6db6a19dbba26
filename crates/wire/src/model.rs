//! A service's model: its protocols and its operations.

use crate::schema::Schema;

/// A wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `application/x-amz-json-1.0`
    AwsJson10,
    /// `application/x-amz-json-1.1`
    AwsJson11,
    /// REST with JSON bodies.
    RestJson,
    /// REST with XML bodies.
    RestXml,
    /// Form-encoded requests, XML answers.
    AwsQuery,
    /// The same, answered in JSON: to who says that it accepts that.
    AwsQueryJson,
    /// EC2's form of the query protocol.
    Ec2Query,
    /// Smithy RPC v2 with CBOR.
    RpcV2Cbor,
    /// JSON 1.1 with CBOR bodies (`application/x-amz-cbor-1.1`), as Kinesis takes.
    AwsCbor11,
}

/// How much of an operation is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// It does what it says.
    Real,
    /// Kept and read back, without effect.
    Stored,
}

/// How a service reports constraints that do not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// With that error code, and AWS's list of violations as the message.
    Listed(&'static str),
    /// As S3 does: only what the body's document breaks, as `MalformedXML`.
    S3,
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// The model's name.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// URI template, as the model's `requestUri`.
    pub uri: &'static str,
    /// The status of success.
    pub status: u16,
    /// Input shape; absent where the operation takes none.
    pub input: &'static Schema,
    /// Output shape.
    pub output: &'static Schema,
    /// The element around the output in query protocols.
    pub wrapper: Option<&'static str>,
    /// How much of it is real.
    pub fidelity: Fidelity,
    /// The code of constraints that do not hold, where it is not the service's ([`Validation::Listed`]).
    pub refusal: Option<&'static str>,
}

/// What the generator knows of a whole service.
#[derive(Debug)]
pub struct ServiceModel {
    /// AWS's short name: `s3`, `lambda`.
    pub name: &'static str,
    /// The service id, as SDKs show it.
    pub id: &'static str,
    /// The name in a credential scope.
    pub signing_name: &'static str,
    /// The prefix of its endpoint's host.
    pub endpoint_prefix: &'static str,
    /// The model's API version.
    pub api_version: &'static str,
    /// Protocols, the default first.
    pub protocols: &'static [Protocol],
    /// `X-Amz-Target` prefix of the JSON protocols.
    pub target_prefix: Option<&'static str>,
    /// XML namespace of answers.
    pub namespace: Option<&'static str>,
    /// JSON service that answers query error codes in `x-amzn-query-error`.
    pub query_compatible: bool,
    /// How constraints are reported.
    pub validation: Validation,
    /// The operations that exist here.
    pub operations: &'static [Operation],
    /// REST operations that are modelled and absent here: name, method, URI template.
    pub absent: &'static [(&'static str, &'static str, &'static str)],
}

impl ServiceModel {
    /// The index of the operation of that name.
    pub fn operation(&self, name: &str) -> Option<usize> {
        self.operations.iter().position(|o| o.name == name)
    }
    /// Whether the model knows the name although it is absent here.
    pub fn knows_absent(&self, name: &str) -> bool {
        self.absent.iter().any(|a| a.0 == name)
    }
}
