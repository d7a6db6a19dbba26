//! The errors of SelectObjectContent, with AWS's codes
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#SelectObjectContentErrorCodeList>).

use std::borrow::Cow;

use wire::Fault;

use super::token::Position;

/// An error of that code.
pub fn of(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::sender(400, code, message)
}

/// An error of that code, whose message goes on with where in the expression it was found.
pub fn at(code: &'static str, message: &str, at: Position) -> Fault {
    of(
        code,
        format!("{message} at line {}, column {}.", at.line, at.column),
    )
}

macro_rules! faults {
    ($($name:ident $code:literal $message:literal)*) => {
        $(#[doc = concat!("`", $code, "`.")]
        pub fn $name() -> Fault {
            of($code, $message)
        })*
    };
}

faults! {
    cast_failed "CastFailed" "Attempt to convert from one data type to another using CAST failed in the SQL expression."
    integer_overflow "IntegerOverflow" "Integer overflow or underflow occurred in the SQL expression."
    number_format "NumberFormatError" "An error occurred while parsing a number. This error can be caused by underflow or overflow of integers."
    invalid_arguments "EvaluatorInvalidArguments" "Incorrect number of arguments in the function call in the SQL expression."
    argument_type "IncorrectSqlFunctionArgumentType" "Incorrect type of arguments in the function call in the SQL expression."
    illegal_argument "IllegalSqlFunctionArgument" "Illegal argument was used in the SQL function."
    not_evaluated "ExternalEvalException" "The query cannot be evaluated. Check the file and try again."
    invalid_like "LikeInvalidInputs" "Invalid argument given to the LIKE clause in the SQL expression."
    invalid_escape "EvaluatorLikePatternInvalidEscapeSequence" "Invalid argument given to the LIKE expression."
    invalid_timestamp "ValueParseFailure" "Timestamp parse failure in the SQL expression."
    too_complex "MaxOperatorsExceeded" "Failed to parse SQL expression, try reducing complexity. For example, reduce number of operators used."
    missing_headers "MissingHeaders" "Some headers in the query are missing from the file. Please check the file and try again."
    ambiguous_name "AmbiguousFieldName" "Some field name in the query matches to multiple fields in the file. Please check the query and the file, and try again."
    record_too_large "OverMaxRecordSize" "The character number in one record is more than our max threshold, maxCharsPerRecord: 1,048,576"
    csv_parsing "CSVParsingError" "Error parsing CSV file. Please check the file and try again."
    json_parsing "JSONParsingError" "Error parsing JSON file. Please check the file and try again."
    parquet_parsing "ParquetParsingError" "Error parsing Parquet file. Please check the file and try again."
    parquet_codec "ParquetUnsupportedCompressionCodec" "The specified Parquet compression codec is not supported."
    quoted_delimiter "CSVEscapingRecordDelimiter" "A quoted record delimiter was found in the file. To allow quoted record delimiters, please set AllowQuotedRecordDelimiter to 'TRUE'."
    truncated "TruncatedInput" "Object decompression failed. Check that the object is properly compressed using the format specified in the request."
    structure "UnsupportedSqlStructure" "Encountered an unsupported SQL structure. Check the SQL Reference."
    operation "UnsupportedSqlOperation" "Encountered an unsupported SQL operation."
    invalid_parameter "InvalidRequestParameter" "The value of a parameter in SelectRequest element is invalid. Check the service API documentation and try again."
    serialization_conflict "ObjectSerializationConflict" "The SelectRequest entity can only contain one of CSV or JSON. Check the service documentation and try again."
    missing_parameter "MissingRequiredParameter" "The SelectRequest entity is missing a required parameter. Check the service documentation and try again."
    invalid_scan_range "InvalidScanRange" "The provided scan range is invalid."
    no_scan_range "UnsupportedScanRangeInput" "Scan range queries are not supported on this type of object. Please check the service documentation and try again."
}
