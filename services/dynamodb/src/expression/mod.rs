//! Expressions: one parser for conditions, filters, key conditions, projections and updates.

pub mod condition;
pub mod key_condition;
pub mod parser;
pub mod path;
pub mod projection;
pub mod reserved;
pub mod token;
pub mod update;

#[cfg(test)]
mod tests;

pub use condition::Condition;
pub use key_condition::KeyCondition;
pub use parser::Placeholders;
pub use path::Path;
pub use projection::Projection;
pub use update::Update;
